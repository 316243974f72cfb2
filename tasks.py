"""The project's verbs, as plain Python: `make test` and `python3 tasks.py test` are the same.

Each verb first creates the environment that it needs: `.venv`, or `.venv-demo` with the packages for the
demo. It is kept as long as `pyproject.toml` and `constraints.txt` do not change. Only the standard library is
used, and nothing newer than Python 3.8, so that an old `python3` can still find a newer one, or say what to
do.

Invariants: the stamp in `.venv` is written last. An interrupted installation is reported and repeated.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from commands import ROOT, VENV, each, hold_interrupts, module, must, python, run, say, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform != "win32":
    import fcntl

DEMO_VENV = ROOT / ".venv-demo"
CONSTRAINTS = ROOT / "constraints.txt"
PYPROJECT = ROOT / "pyproject.toml"
STAMP = ".made-by-tasks"
UNFINISHED = "unfinished"
# The project with the extras that its tests and examples use, and its developers' tools.
EVERYTHING = ["--editable", ".[all,ray]", "--group", "dev"]
DEMO = ["--editable", ".[demo]"]
# The second version of MCP's SDK, in a folder beside the first one, which LangChain's adapter needs.
SECOND_SDK = {"mcp": "2.3.0", "mcp-types": "2.3.0"}
OLDEST = (3, 11)
# Tried in this order if the running Python is too old; the classifiers' first one comes first.
MINORS = (13, 12, 11, 14, 15, 16)


class Verb(NamedTuple):
    """One row of the table at the end of this file."""

    run: Callable[[], None]
    help: str


# --- the environment ----------------------------------------------------------------------------------------


def version_of(executable: str) -> tuple[int, ...]:
    """Return the version of a Python, () if it does not run (a pyenv shim may exist and refuse)."""
    command = [executable, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in printed.split())


def find_python(exactly: tuple[int, ...] = ()) -> str:
    """Return a Python that is new enough, the running one first; "" if there is none."""

    def suits(version: tuple[int, ...]) -> bool:
        return version == exactly if exactly else version >= OLDEST

    if suits(sys.version_info[:2]):
        # Not the one inside .venv, which may be removed next.
        return str(getattr(sys, "_base_executable", "") or sys.executable)
    names = [f"python3.{minor}" for minor in MINORS] + ["python3", "python"]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    # pyenv's own commands refuse the versions that are not configured.
    found = [path for path in map(shutil.which, names) if path] + [
        str(path) for path in sorted(pyenv.glob("versions/3.*/bin/python"), reverse=True)
    ]
    return next((path for path in found if suits(version_of(path))), "")


def no_python(wanted: str) -> SystemExit:
    """Return what to do if no Python is suitable."""
    return SystemExit(
        f"tasks.py: this needs Python {wanted}. It was started by Python {sys.version.split()[0]},\n"
        "and none that fits is on the PATH. Install one (apt install python3.11 python3.11-venv,\n"
        "brew install python@3.13, or from python.org) or uv, which brings its own, and try again.\n"
        "One that is not on the PATH can be named: make PYTHON=/where/it/is/python3.13 test,\n"
        "or /where/it/is/python3.13 tasks.py test."
    )


def create(venv: Path, exactly: tuple[int, ...]) -> None:
    """Create an empty environment, which replaces a broken or incomplete one."""
    chosen, uv = find_python(exactly), shutil.which("uv")
    wanted = ".".join(map(str, exactly)) or ">=3.11"
    for command in (
        # --seed: the packaging check and `pip list` need a pip inside.
        [uv, "venv", "--quiet", "--seed", "--python", chosen or wanted, str(venv)] if uv else [],
        [chosen, "-m", "venv", str(venv)] if chosen else [],
    ):
        if venv.exists():
            shutil.rmtree(str(venv))
        if command and watched(command, venv) == 0:
            return
    raise no_python(wanted) if not chosen else SystemExit(f"tasks.py: making {venv.name} failed, see above.")


def install(venv: Path, constraints: Path, wanted: list[str]) -> None:
    """Install the project, editable, with the wanted extras, at the versions of the constraints."""
    wanted = ["--constraint", str(constraints), *wanted]
    uv = shutil.which("uv")
    if uv and watched([uv, "pip", "install", "--python", python(venv), *wanted], venv) == 0:
        return
    if uv:
        say("tasks.py: uv could not install this; trying pip, which may know a mirror that uv does not.")
    pip_install(venv, *wanted)


def pip_install(venv: Path, *wanted: str) -> None:
    """Install with pip; first a pip that supports dependency groups, which Python 3.11 does not include."""
    newer = [["pip>=25.1"]] if "--group" in wanted else []
    for what in (*newer, wanted):
        # Compiling everything takes as long as the rest; Python compiles what is imported.
        command = [python(venv), "-m", "pip", "install", "--no-compile", "--progress-bar", "off", *what]
        if watched(command, venv):
            raise SystemExit(f"tasks.py: installing into {venv.name} failed; the lines above say why.")


def install_second_sdk(venv: Path, constraints: Path) -> None:
    """Install the SDK's second version alone; what it needs is there already."""
    sign = "==" if constraints == CONSTRAINTS else ">="  # the matrix also takes the newest
    folder = venv / "mcp-2"
    if folder.exists():
        shutil.rmtree(str(folder))
    wanted = [f"{name}{sign}{version}" for name, version in SECOND_SDK.items()]
    pip_install(venv, "--no-deps", "--target", str(folder), *wanted)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let only one process at a time create the environment; the lock ends with the process."""
    with PYPROJECT.open("rb") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(constraints: Path) -> str:
    """Hash what an environment is made from, including the folder, which an editable install records."""
    made_from = hashlib.sha256()
    second = str(SECOND_SDK).encode()
    for part in (str(ROOT).encode(), PYPROJECT.read_bytes(), constraints.read_bytes(), second):
        made_from.update(hashlib.sha256(part).digest())
    return made_from.hexdigest()


def is_ready(venv: Path, constraints: Path) -> bool:
    """Whether an environment is up to date."""
    stamp = venv / STAMP
    return stamp.exists() and stamp.read_text(encoding="ascii") == digest(constraints) and works(venv)


def works(venv: Path) -> bool:
    """Whether an environment has a Python that runs."""
    return version_of(python(venv)) >= OLDEST


def env(
    venv: Path = VENV,
    exactly: tuple[int, ...] = (),
    constraints: Path = CONSTRAINTS,
    wanted: list[str] = EVERYTHING,
) -> None:
    """Create an environment, unless it is up to date."""
    stamp = venv / STAMP
    with alone():
        if is_ready(venv, constraints):
            return
        say(f"tasks.py: making {venv.name} (the first time takes a minute or two)")
        began = time.monotonic()
        if not stamp.exists() or stamp.read_text(encoding="ascii") == UNFINISHED or not works(venv):
            create(venv, exactly)
        stamp.write_text(UNFINISHED, encoding="ascii")
        install(venv, constraints, wanted)
        if wanted is EVERYTHING:
            install_second_sdk(venv, constraints)
        stamp.write_text(digest(constraints), encoding="ascii")
        say(f"tasks.py: {venv.name} is ready after {time.monotonic() - began:.0f} s")


# --- the verbs ----------------------------------------------------------------------------------------------


# Name of the step → its command. pyproject.toml has ruff's rules and mypy's paths.
LINT = {
    "ruff check": module("ruff", "check", "--output-format", "concise", "."),
    "ruff format": module("ruff", "format", "--check", "."),
    "codespell": module("codespell_lib"),
    "zizmor": [str(Path(python()).with_name("zizmor")), "--offline", "--quiet", ".github"],
}
TYPES = {"mypy": module("mypy")}
PYRIGHT = {"pyright": module("pyright", "--pythonpath", python())}  # it is fetched from npm
# Each worker imports and collects everything; three more than there are cores, because tests mostly wait.
WORKERS = ("--numprocesses", str((os.cpu_count() or 1) + 3), "--dist", "worksteal")
PURE = ("rockai_transport/protocol/*", "rockai_transport/prompting/*")
LONG = ("crash", "hold_nothing", "within_httpcore")  # what `make soak` runs of the tests
PACKAGING = {"packaging": [python(), str(Path("tests") / "packaging" / "check.py")]}


def lint() -> None:
    """Ruff, codespell and zizmor."""
    env()
    each(LINT)


def types() -> None:
    """Mypy, and pyright in the mode that most editors use."""
    env()
    each({**TYPES, **PYRIGHT})


def check() -> None:
    """Run what takes less than a minute: no tests with sockets or processes."""
    env()
    each({"pytest": module("pytest", *WORKERS, "-m", "not sockets"), **LINT, **TYPES})


def test() -> None:
    """Run everything that must pass before a change is merged."""
    env()
    each({"pytest": module("pytest", *WORKERS), **LINT, **TYPES, **PACKAGING})


def demo() -> None:
    """Run the demo in an environment with only its packages, or in `.venv` if that is up to date.

    LIVE=1 and YES=1 reach it through the environment. Ctrl-C waits until the demo can end with one line.
    """
    venv = VENV if is_ready(VENV, CONSTRAINTS) else DEMO_VENV
    if venv is DEMO_VENV:
        env(venv, wanted=DEMO)
    hold_interrupts(hold=True)
    code = run(module("demo", venv=venv))
    if code:
        raise SystemExit(code)


def coverage() -> None:
    """Run all tests and measure the coverage of the packages; too little is an error.

    Code that decides without sockets is covered completely, including each branch.
    """
    env()
    must(module("pytest", *WORKERS, "--cov"), "the tests, or their coverage,")
    pure = ("--include", ",".join(PURE), "--fail-under", "100", "--show-missing")
    must(module("coverage", "report", *pure), "the coverage of the pure modules")


def build() -> None:
    """Build what is published into dist/: the project, and the thin packages in distributions/."""
    env()
    said = (ROOT / "rockai_transport" / "_version.py").read_text(encoding="utf-8")
    version = said.split('__version__ = "')[1].split('"')[0]
    tag = os.environ.get("TAG", f"v{version}")
    if tag != f"v{version}":
        raise SystemExit(f"tasks.py: the tag is {tag}, but rockai_transport/_version.py says {version}.")
    if (ROOT / "dist").exists():
        shutil.rmtree(str(ROOT / "dist"))
    for folder in (ROOT, *(path.parent for path in sorted(ROOT.glob("distributions/*/pyproject.toml")))):
        command = module("build", "--no-isolation", "--outdir", "dist", str(folder))
        must(command, f"building {folder.name}")


def floors() -> str:
    """Return the lowest allowed version of each package that a user installs, as constraints."""
    text = PYPROJECT.read_text(encoding="utf-8").split("[dependency-groups]")[0].split("[project]")[1]
    lowest = re.findall(r'"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?>=([\w.]+)', text)
    return "".join(f"{name}=={version}\n" for name, version in sorted(set(lowest)))


def matrix() -> None:
    """Run the tests on each installed Python, and on the lowest and newest versions; ONLY=lowest picks."""
    folder = ROOT / ".venv-matrix"
    folder.mkdir(exist_ok=True)
    rows = {f"3.{minor}": ((3, minor), CONSTRAINTS) for minor in sorted(MINORS) if find_python((3, minor))}
    for name, pins in {"lowest": floors(), "newest": ""}.items():
        constraints = folder / f"{name}.txt"
        constraints.write_text(pins, encoding="ascii")
        rows[name] = (OLDEST, constraints)
    only = os.environ.get("ONLY", "")
    if only and only not in rows:
        raise SystemExit(f"tasks.py: ONLY={only} is not one of {', '.join(rows)}.")
    codes = {}
    for name, (exactly, constraints) in rows.items():
        if only in {"", name}:
            venv = folder / name
            env(venv, exactly, constraints)
            codes[name] = run(module("pytest", *WORKERS, venv=venv))
    say("".join(f"\n{name:<12} {'FAILED' if code else 'ok'}" for name, code in codes.items()))
    if any(codes.values()):
        raise SystemExit(1)


def soak() -> None:
    """Leave, interrupt and kill far more often than `make test` does; docs/reliability.md has the figures."""
    env()
    os.environ["SOAK"] = "1"  # the tests listed here then do more
    must([python(), str(Path("tests") / "faults" / "soak.py")], "leaving and interrupting")
    must(module("pytest", "-k", " or ".join(LONG)), "killing agents, letting them sleep, and ending loops")


def bench() -> None:
    """Compare with other clients; benchmarks/RESULTS.md is written."""
    env()
    must(module("benchmarks"), "the benchmarks")


def bench_quick() -> None:
    """Compare with other clients, with fewer measurements; only printed."""
    env()
    must(module("benchmarks", "--quick"), "the benchmarks")


def notebooks() -> None:
    """Run the notebooks on the sandbox, and store their outputs in them."""
    env()
    must([python(), str(Path("tests") / "notebooks" / "run.py")], "running the notebooks")


def docs() -> None:
    """Build the documentation in site/; a warning is an error."""
    env()
    must(module("mkdocs", "build", "--strict"), "building the documentation")  # --quiet would hide warnings
    say("The documentation is in site/index.html.")


def docs_serve() -> None:
    """Show the documentation on a local port, and rebuild it when a page changes."""
    env()
    must(module("mkdocs", "serve"), "serving the documentation")


def lock() -> None:
    """Resolve everything with plain pip in an empty environment, and write the versions down."""
    oldest = find_python(exactly=OLDEST)
    if not oldest:
        raise no_python("3.11 exactly, so that the locked versions suit every Python from there on")
    with tempfile.TemporaryDirectory() as temporary:
        fresh, report = Path(temporary) / "venv", Path(temporary) / "report.json"
        must([oldest, "-m", "venv", str(fresh)], "making a fresh environment")
        pip_install(fresh, "--dry-run", "--ignore-installed", "--report", str(report), *EVERYTHING)
        found = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    versions = {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"] for item in found}
    del versions["rockai-integrations"]
    lines = [
        "# The versions this project is developed and tested with, resolved by plain pip.",
        f"# Written by `python3 tasks.py lock` with Python {OLDEST[0]}.{OLDEST[1]} on {sys.platform}.",
        *(f"{name}=={version}" for name, version in sorted(versions.items())),
    ]
    CONSTRAINTS.write_text("\n".join(lines) + "\n", encoding="ascii")
    say(f"constraints.txt: {len(versions)} versions")


def show_help() -> None:
    """Print the table of verbs."""
    say("make VERB, or python3 tasks.py VERB (the same thing, on Windows too):\n")
    for name, verb in VERBS.items():
        say(f"  {name:<11} {verb.help}")


# A new verb is one function, one row here, and its name in the Makefile.
VERBS = {
    "help": Verb(show_help, "this list"),
    "demo": Verb(demo, "the main job on a local sandbox; LIVE=1 for the real service (YES=1: do not ask)"),
    "test": Verb(test, "all checks: ruff, mypy, all tests, and the wheel installed once per extra"),
    "check": Verb(check, "ruff, mypy, and the tests without sockets: less than a minute"),
    "lint": Verb(lint, "ruff check, ruff format --check, codespell, zizmor"),
    "types": Verb(types, "mypy --strict, and pyright in standard mode"),
    "notebooks": Verb(notebooks, "run the notebooks on the sandbox and store their outputs"),
    "docs": Verb(docs, "build the documentation in site/, warnings are errors"),
    "docs-serve": Verb(
        docs_serve, "show the documentation at http://127.0.0.1:8000/, rebuilt at each change"
    ),
    "env": Verb(env, "make or bring up to date the environment, .venv (each verb does so by itself)"),
    "bench": Verb(bench, "compare with other clients, and write benchmarks/RESULTS.md (10 to 15 min)"),
    "bench-quick": Verb(bench_quick, "the same in under three minutes, printed only"),
    "soak": Verb(soak, "leave 1,000 streams, interrupt 900 calls, kill 50 agents, let 1,000 sleep"),
    "build": Verb(build, "build what is published into dist/; TAG=v1.2.3 must be the version"),
    "coverage": Verb(coverage, "all tests, and how much of the packages they run"),
    "matrix": Verb(matrix, "all tests on each installed Python, and on the lowest and newest versions"),
    "lock": Verb(lock, "write constraints.txt anew from pyproject.toml"),
}


def main(arguments: list[str]) -> None:
    """Run verbs in turn; NAME=VALUE goes to the environment, as with make."""
    verbs = [word for word in arguments if "=" not in word] or ["help"]
    unknown = [word for word in verbs if word not in VERBS]
    if unknown:
        raise SystemExit(f"tasks.py: no verb {unknown[0]!r}; there are: {', '.join(VERBS)}.")
    for name, _, value in (word.partition("=") for word in arguments if "=" in word):
        os.environ[name] = value
    try:
        for word in verbs:
            VERBS[word].run()
    except KeyboardInterrupt:
        say("tasks.py: stopped.")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main(sys.argv[1:])
