"""Build the wheel, install it once per extra into an empty environment, and try what can be imported.

Run by `python3 tasks.py test`; alone: `.venv/bin/python tests/packaging/check.py [CASE ...]`. What must
hold in each environment is said in probe.py. Not a pytest module, so that pytest does not do it again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).with_name("probe.py")
PACKAGES = ("rockai_transport", "langchain_rockai", "llama_index_rockai", "rockai_sandbox")
NOTEBOOKS = ROOT / "tests" / "notebooks" / "run.py"


def notebooks() -> dict[str, str]:
    """Give the extras that the first line of each notebook installs."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    return {
        name: text.split("%pip install --quiet")[1].split("[")[1].split("]")[0]
        for name, text in texts.items()
    }


# Name of the case, as probe.py knows it → what it installs; W is the wheel, D the wheels of distributions/.
CASES = {
    "llama-index": "W[llama-index]",
    "all": "W[all]",
    "langchain": "W[langchain]",
    "sandbox": "W[sandbox]",
    "templates-socks": "W[templates,socks]",
    "base": "W",
    "pytest-plugin": "pytest",  # every pytest run of every user loads our plug-in, whatever the extras
    **{f"{name}.ipynb": f"W[{extras}] ipykernel" for name, extras in notebooks().items()},
    "distributions": "D",  # under the names that the frameworks' users look for
}
DISTRIBUTIONS = sorted(path.parent for path in (ROOT / "distributions").glob("*/pyproject.toml"))
# The cases of one environment, in turn: a later one brings all that an earlier one has brought.
ENVIRONMENTS = (
    ("llama-index", "02_llama_index.ipynb", "all", "distributions"),
    ("langchain", "01_langchain.ipynb", "03_video_agent.ipynb"),
    ("sandbox",),
    ("templates-socks",),
    ("base", "pytest-plugin"),
)
LOCKED = ("--constraint", str(ROOT / "constraints.txt"))
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
    for source in (ROOT, *DISTRIBUTIONS):
        call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source))
    [wheel] = folder.glob("rockai_integrations-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    foreign = {name.split("/")[0] for name in names if ".dist-info/" not in name}.difference(PACKAGES)
    missing = {f"{package}/py.typed" for package in PACKAGES}.difference(names)
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        missing.add("LICENSE")
    if foreign or missing:
        raise CheckFailedError(f"{wheel.name}: holds {sorted(foreign)}, lacks {sorted(missing)}")
    return wheel


def pip(*words: str) -> None:
    """Call the project's pip, at the locked versions."""
    call(sys.executable, "-m", "pip", *words)


def wheels(wheel: Path) -> Path:
    """Download what the cases install, once for each state of the requirements: an index is slow to read."""
    made_from = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    made_from += Path(__file__).read_bytes()
    folder = Path(sys.prefix) / f"wheels-{hashlib.sha256(made_from).hexdigest()[:16]}"
    if not folder.exists():
        for older in folder.parent.glob("wheels-*"):
            shutil.rmtree(older)
        with tempfile.TemporaryDirectory(prefix="wheels-", dir=folder.parent) as unfinished:
            house = Path(unfinished) / "house"
            pip("download", "-qq", *LOCKED, "--dest", str(house), f"{wheel}[all]", "pytest", "ipykernel")
            (house / wheel.name).unlink(missing_ok=True)
            house.rename(folder)
    return folder


def examine(cases: Sequence[str], wheel: Path, house: Path, folder: Path) -> None:
    """Install cases into one empty environment, in turn, and probe each."""
    venv = folder / cases[0]
    call(sys.executable, "-m", "venv", "--without-pip", str(venv))
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for case in cases:
        others = sorted({*wheel.parent.glob("*.whl")} - {wheel})
        named = CASES[case].replace("W", str(wheel), 1)
        wanted = [str(path) for path in others] if named == "D" else named.split()
        source = ("--no-index", "--find-links", str(house))
        pip("--python", str(python), "install", "-qq", "--no-compile", *source, *LOCKED, *wanted)
        if case.endswith(".ipynb"):
            call(sys.executable, str(NOTEBOOKS), case, str(python))
        else:
            call(str(python), "-I", str(PROBE), case)
    if "distributions" in cases:
        pip("--python", str(python), "check")


def official_client() -> None:
    """Try the service's own client on sandboxes, in the environment that the benchmarks have for it."""
    sys.path.insert(0, str(ROOT))
    from benchmarks import sdk
    from rockai_sandbox import Sandbox

    if wrong := sdk.make_environment():
        raise CheckFailedError(f"{sdk.SDK} cannot be installed: {wrong}")
    program = str(Path(__file__).with_name("official_client.py"))
    with Sandbox("token") as flat, Sandbox("token", shape="enveloped") as enveloped:
        call(str(sdk.PYTHON), program, flat.base_url, enveloped.base_url, "token")


def main(chosen: list[str]) -> int:
    """Check the chosen cases, or all; 0 if all hold."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rockai-packaging-") as temporary, ThreadPoolExecutor(2) as pool:
        folder = Path(temporary)
        try:
            wheel = build(folder)
            house = wheels(wheel)
        except (CheckFailedError, subprocess.TimeoutExpired) as error:
            print(error)
            return 1
        chains = [cases for cases in ENVIRONMENTS if not chosen or {*cases} & {*chosen}]
        running = {", ".join(cases): pool.submit(examine, cases, wheel, house, folder) for cases in chains}
        if not chosen or "official-client" in chosen:
            running["official-client"] = pool.submit(official_client)
        for names, future in running.items():
            try:
                future.result()
                print(f"packaging: {names:<22} ok", flush=True)
            except (CheckFailedError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"packaging: {names:<22} FAILED\n{error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
