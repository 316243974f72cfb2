"""tasks.py, as far as it can be checked without making environments."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import commands

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tasks() -> ModuleType:
    """The module, imported from its file."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run tasks.py as a user would."""
    command = [sys.executable, str(ROOT / "tasks.py"), *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)


FILES = pytest.mark.parametrize("name", ["tasks.py", "commands.py"])


@pytest.mark.parametrize("place", ["lib/python3.13/site-packages", "Lib/site-packages"])
def test_progress_counts_packages_without_entering_them(tmp_path: Path, place: str) -> None:
    """What an installer removes meanwhile is below the packages' list, so the count cannot fail there."""
    for name in ("one.dist-info", "two.dist-info", "one/_vendor/three.dist-info"):
        (tmp_path / place / name).mkdir(parents=True)
    output = io.BytesIO(b"  Downloading one-1.0.tar.gz\n")
    assert commands.progress(output, tmp_path).startswith("  2 packages installed  Downloading one")


@FILES
def test_an_old_python_can_read_it(name: str) -> None:
    """Python 3.8 parses the file, so that it can say what to do instead of failing with a SyntaxError."""
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


@FILES
def test_only_the_standard_library(name: str) -> None:
    """Nothing has to be installed to run it."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, "commands"}


def test_make_knows_the_same_verbs(tasks: ModuleType) -> None:
    """The Makefile and the table of verbs name the same verbs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    [targets] = re.findall(r"^(.*):\n\t", makefile, re.MULTILINE)
    assert phony.split() == targets.split()
    assert set(phony.split()) == set(tasks.VERBS)


def test_help_lists_every_verb(tasks: ModuleType) -> None:
    """`help`, and no verb at all, list the verbs."""
    for words in ((), ("help",)):
        done = run(*words)
        assert done.returncode == 0
        assert re.findall(r"^  ([\w-]+) ", done.stdout, re.MULTILINE) == list(tasks.VERBS)


def test_an_unknown_verb() -> None:
    """An unknown verb fails and names the known ones, before anything is done."""
    done = run("tset")
    assert done.returncode == 1
    assert "no verb 'tset'; there are: help, demo, test" in done.stderr


def test_constraints_are_plain_and_sorted() -> None:
    """The lock file holds exact versions only: no address, no path, not the project itself."""
    lines = (ROOT / "constraints.txt").read_text(encoding="ascii").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.!+]*", pin) for pin in pins)
    names = [pin.split("==")[0] for pin in pins]
    assert names == sorted(set(names))
    assert "rockai-integrations" not in names


def test_every_dependency_has_a_floor_and_a_pin() -> None:
    """Each requirement states a lowest version (else pip backtracks for minutes) and is in the lock file."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = settings["project"], settings["dependency-groups"]
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    wanted = [one for entries in lists for one in entries if isinstance(one, str)]
    wanted = [one for one in wanted if not one.startswith(project["name"] + "[")]
    assert not [one for one in wanted if ">=" not in one]
    pins = (ROOT / "constraints.txt").read_text(encoding="ascii")
    names = [re.split(r"[\[>=<]", one)[0] for one in wanted]
    assert not [name for name in names if f"\n{name}==" not in pins]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_ci_runs_what_the_readme_says() -> None:
    """.ci/run can be executed and calls `make test`."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "exec make test" in script.read_text(encoding="utf-8")
