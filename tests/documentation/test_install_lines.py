"""How the package is installed: one constant decides, and every page says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from rockai_transport._version import ON_PYPI, install_command

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "docs",
    "examples",
    "notebooks",
    "demo",
    *(f"{name}" for name in ("rockai_transport", "rockai_sandbox")),
)
PACKAGES = ("langchain_rockai", "llama_index_rockai")
PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in (*FOLDERS, *PACKAGES) for path in (ROOT / folder).rglob("*")),
]
PAGES = sorted(
    path for path in PAGES if path.suffix in {".md", ".ipynb", ".py"} and path.name != "_version.py"
)
LINE = re.compile(r"pip install (?:--quiet )?\\?\"(rockai-integrations|\.\.?)\[([\w,-]+)\]")


def found(path: Path) -> list[tuple[str, str]]:
    """What a page installs of ours: the name or the folder, and the extras."""
    return LINE.findall(path.read_text(encoding="utf-8"))


def test_the_lines_are_found():
    """The READMEs, the site's home, the notebooks and the examples show how to install it."""
    names = {path.name for path in PAGES if found(path)}
    assert {
        "README.md",
        "README.zh-CN.md",
        "index.md",
        "01_langchain.ipynb",
        "durable_video_agent.py",
    } <= names


def test_an_install_line_works_today():
    """Before the first release every page installs from a clone, afterwards from PyPI; the extras exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in PAGES:
        for source, extras in found(path):
            assert (source == "rockai-integrations") == ON_PYPI, path
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), path
    for name, words in (("README.md", "not on PyPI yet"), ("README.zh-CN.md", "尚未发布到 PyPI")):
        assert (words not in (ROOT / name).read_text(encoding="utf-8")) == ON_PYPI


def test_a_message_says_the_same_line():
    """A missing extra's error names the command that works."""
    assert LINE.match(install_command("langchain"))
    assert ("rockai-integrations" in install_command("langchain")) == ON_PYPI
