"""Build the wheel, install it once per extra into an empty environment, and try what can be imported.

Run by `python3 tasks.py test`; alone: `.venv/bin/python tests/packaging/check.py [CASE ...]`. What must
hold in each environment is said in probe.py. Not a pytest module, so that pytest does not do it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).with_name("probe.py")
PACKAGES = ("rockai_transport", "langchain_rockai", "llama_index_rockai", "rockai_sandbox")

# Name of the case, as probe.py knows it → the extras it installs. The longest first: two cores stay busy.
CASES = {
    "all": "all",
    "llama-index": "llama-index",
    "langchain": "langchain",
    "sandbox": "sandbox",
    "templates-socks": "templates,socks",
    "base": "",
}
SECONDS = 600  # for one command; an index that hangs must not hang CI


class CheckFailedError(Exception):
    """Something a user would stumble over; the message is the output of the command that found it."""


def call(*command: str) -> str:
    """Run a command away from the project's folder and give what it printed."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise CheckFailedError(f"$ {' '.join(command)}\n{done.stdout.strip()}")
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel with the locked hatchling, and see that it holds the packages and nothing else."""
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    [wheel] = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    foreign = {name.split("/")[0] for name in names if ".dist-info/" not in name}.difference(PACKAGES)
    missing = {f"{package}/py.typed" for package in PACKAGES}.difference(names)
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        missing.add("LICENSE")
    if foreign or missing:
        raise CheckFailedError(f"{wheel.name}: holds {sorted(foreign)}, lacks {sorted(missing)}")
    return wheel


def pip(python: Path, *words: str) -> None:
    """Let the project's pip work on another environment, which then needs none of its own."""
    call(sys.executable, "-m", "pip", "--python", str(python), *words)


def examine(case: str, wheel: Path, folder: Path) -> float:
    """Install one case into an empty environment and probe it; gives the seconds it took."""
    began = time.monotonic()
    venv = folder / case
    call(sys.executable, "-m", "venv", "--without-pip", str(venv))
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = f"{wheel}[{CASES[case]}]" if CASES[case] else str(wheel)
    constraints = str(ROOT / "constraints.txt")
    install = ("install", "-qq", "--no-compile", "--constraint", constraints)
    pip(python, *install, wanted)
    pip(python, "check")
    call(str(python), "-I", str(PROBE), case)
    if case == "base":  # every pytest run of every user loads our plug-in, whatever the extras
        pip(python, *install, "pytest")
        call(str(python), "-I", str(PROBE), "pytest-plugin")
    return time.monotonic() - began


def main(chosen: list[str]) -> int:
    """Check the chosen cases, or all; 0 if all hold."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rockai-packaging-") as temporary, ThreadPoolExecutor(2) as pool:
        folder = Path(temporary)
        try:
            wheel = build(folder)
        except CheckFailedError as error:
            print(error)
            return 1
        running = {case: pool.submit(examine, case, wheel, folder) for case in chosen or CASES}
        for case, future in running.items():
            try:
                print(f"packaging: {case:<16} ok {future.result():6.1f} s", flush=True)
            except (CheckFailedError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"packaging: {case:<16} FAILED\n{error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
