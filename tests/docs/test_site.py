"""The site, as `make docs` builds it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rockai_transport", "langchain_rockai", "llama_index_rockai", "rockai_sandbox")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning would have ended the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return folder


def test_it_builds_without_a_warning(site):
    """All pages are there, also the service's own and the changelog."""
    for page in (
        "index.html",
        "http-api/index.html",
        "http-api-quickstart.zh/index.html",
        "CHANGELOG/index.html",
    ):
        assert (site / page).exists()


def test_all_public_names_are_in_the_reference(site):
    """Every name of every package's `__all__` has an entry with an anchor of its own."""
    text = "".join(path.read_text("utf-8") for path in (site / "reference").rglob("index.html"))
    anchors = set(re.findall(r'id="([\w.]+)"', text))
    for package in PACKAGES:
        names = set(importlib.import_module(package).__all__) - {"__version__"}
        shared = set(importlib.import_module("rockai_transport").__all__)
        missing = {
            name
            for name in names
            if f"{package}.{name}" not in anchors and not (package != "rockai_transport" and name in shared)
        }
        assert not missing, package


def test_it_needs_no_other_site(site):
    """No page loads a script, style or font from elsewhere."""
    for path in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', path.read_text("utf-8")
        )
        assert not [address for address in loaded if "rockai.online" not in address], path.name


def test_it_holds_no_path_of_this_machine(site):
    """Neither a page nor the search index tells where it was built."""
    for path in [*site.rglob("*.html"), *site.rglob("*.json")]:
        assert str(ROOT) not in path.read_text("utf-8"), path.name
