"""The site, as `make docs` builds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documentation.public import PACKAGES, PUBLIC

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning would have ended the build."""
    folder = tmp_path_factory.mktemp("site")
    # Without --quiet, which hides warnings from --strict too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
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
    """Every public name has an entry of its own, and so has each public method, inherited ones too."""
    text = "".join(path.read_text("utf-8") for path in (site / "reference").rglob("index.html"))
    anchors = set(re.findall(r'id="([\w.]+)"', text))
    assert [name for name in PUBLIC if name not in anchors | set(PACKAGES)] == []


def test_an_example_looks_like_code(site):
    """What stands behind `>>>` is highlighted as a session, not quoted as prose."""
    for path in (site / "reference").rglob("index.html"):
        text = path.read_text("utf-8")
        assert "&gt;&gt;&gt;" in text, path
        assert not re.search(r"<blockquote>|<p>&gt;&gt;&gt;", text), path


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
