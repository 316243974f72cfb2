"""What a release publishes, and the workflows that do it."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from rockai_transport import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(ROOT.glob("distributions/*/pyproject.toml"))
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def verbs() -> set[str]:
    """The names of the verbs of tasks.py."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    return set(tasks.VERBS)


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_a_thin_package_has_the_version_of_the_project(path: Path) -> None:
    """Each package in distributions/ has the project's version, and needs that version of it."""
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    assert settings["project"]["name"] == path.parent.name
    source = path.parent / settings["tool"]["hatch"]["version"]["path"]
    assert source.resolve() == ROOT / "rockai_transport" / "_version.py"
    [needed] = settings["project"]["dependencies"]
    assert re.sub(r"\[.*\]", "", needed) == f"rockai-integrations>={__version__}"


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_a_thin_package_has_the_licence(path: Path) -> None:
    """Each has the project's LICENSE, which goes into its wheel: MIT asks for the text in every copy."""
    assert (path.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_version_is_the_same_everywhere() -> None:
    """CITATION.cff names the version that the packages have, and the changelog begins with it."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([\d.]+)", changes, re.MULTILINE)[0] == __version__


@pytest.mark.parametrize("folder", [".", *(path.parent.relative_to(ROOT).as_posix() for path in PROJECTS)])
def test_pypi_gets_no_dead_link(folder: str) -> None:
    """PyPI shows a readme without its repository: once it has an address, each link is absolute."""
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / folder / project["readme"]).read_text(encoding="utf-8")
    relative = re.findall(r"\]\((?!https://|#)([^)]+)\)", readme)
    assert not relative or "Source" not in project["urls"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_step_of_a_workflow_is_one_verb(path: Path) -> None:
    """What a workflow runs is one verb of tasks.py, so that anybody can run it; but for publishing."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    ours = [command.split() for command in commands if not command.startswith("pipx run uv publish")]
    assert ours
    assert all(words[:2] == ["python", "tasks.py"] and {*words[2:]} <= verbs() for words in ours)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_by_its_commit(path: Path) -> None:
    """A tag can be moved by who owns the action; a commit cannot."""
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)
