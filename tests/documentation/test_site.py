"""The site, as `make docs` builds it."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from documentation.public import PACKAGES, PUBLIC

from rockai_transport import __version__

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
    for page in ("index.html", "http-api.html", "http-api-quickstart.zh.html", "CHANGELOG.html"):
        assert (site / page).exists()


def test_all_public_names_are_in_the_reference(site):
    """Every public name has an entry of its own, and so has each public method, inherited ones too."""
    text = "".join(path.read_text("utf-8") for path in (site / "reference").rglob("*.html"))
    anchors = set(re.findall(r'id="([\w.]+)"', text))
    assert [name for name in PUBLIC if name not in anchors | set(PACKAGES)] == []


def test_a_page_names_no_other_page_as_its_translation(site):
    """The theme named both start pages on each page, and asked for a sitemap beside both: one was missing."""
    for path in site.rglob("*.html"):
        assert '<link rel="alternate"' not in path.read_text("utf-8"), path


def test_a_list_is_a_list(site):
    """Without a blank line before it, the site's Markdown reads a list as prose; a tab is none either."""
    for path in site.rglob("*.html"):
        for text in re.findall(r"<p>(.*?)</p>", path.read_text("utf-8"), re.DOTALL):
            assert not re.search(r'^(?:[-*] |1\. |\| |=== ")', text, re.MULTILINE), path


def test_a_line_of_code_in_a_table_can_break(site):
    """Lines stand side by side in «Migrating»: one that cannot break pushes the last column out of sight."""
    text = (site / "how-to/coming-from.html").read_text("utf-8")
    cells = re.findall(r"<td><code>([^\n]{60,})</code></td>", text)
    assert cells
    parts = [part for cell in cells for part in re.split(r"<wbr>| ", html.unescape(cell))]
    assert max(map(len, parts)) < 50
    assert "<wbr>" not in (site / "search/search_index.json").read_text("utf-8")


def test_an_example_looks_like_code(site):
    """What stands behind `>>>` is highlighted as a session, not quoted as prose."""
    for path in (site / "reference").rglob("*.html"):
        text = path.read_text("utf-8")
        assert "&gt;&gt;&gt;" in text, path
        assert not re.search(r"<blockquote>|<p>&gt;&gt;&gt;", text), path


def test_the_reference_shows_constructors_not_pydantic(site):
    """Fields have their types and defaults; what `Annotated` and `Field` tell pydantic is not shown."""
    shown = {}
    for path in (site / "reference").rglob("*.html"):
        text = re.sub(
            r'<details class="mkdocstrings-source">.*?</details>',
            "",
            path.read_text("utf-8"),
            flags=re.DOTALL,
        )
        shown[path.stem] = html.unescape(re.sub(r"<[^>]+>", "", text))
        assert not re.search(
            r"Annotated\[|Validator\(|= Field\(\s*default|model_(config|fields)\b", shown[path.stem]
        )
    for page, name in (("langchain_rockai", "ChatRockAI"), ("llama_index_rockai", "RockAI")):
        [signature] = re.findall(rf"^{name}\(\n(.*?)^\)", shown[page], re.DOTALL | re.MULTILINE)
        assert {"model", "api_token", "max_tokens", "chat_template"} <= set(re.findall(r"(\w+):", signature))


def test_each_name_has_its_source(site):
    """The reference shows the source of what it describes, and which file it is in."""
    for package in PACKAGES:
        text = (site / "reference" / f"{package}.html").read_text("utf-8")
        assert re.search(rf"Source code in <code>{package}/[\w/]+\.py</code>", text), package


def test_a_notebook_is_a_page_with_its_outputs(site):
    """Each notebook is a page: its headings, its code, and what its cells gave when they were run."""
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / f"{path.stem}.html").read_text("utf-8")
        text = html.unescape(re.sub(r"<[^>]+>", "", page))
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                assert "".join(cell["source"]).strip() in text
            for output in cell.get("outputs", []):
                assert "".join(output.get("text", "")).rstrip() in text
                for kind in ("image/png", "text/html"):
                    assert "".join(output.get("data", {}).get(kind, "")).strip() in page


def test_every_link_leads_to_a_file_of_the_site(site):
    """Opened from disk there is no server that makes `folder/` mean `folder/index.html`: links name files."""
    for path in site.rglob("*.html"):
        if path.name == "404.html":
            continue  # served only, from anywhere
        text = path.read_text("utf-8")
        for target in re.findall(r'(?:href|src)="(?!\w+:)([^"#?]+)', text):
            assert (path.parent / unquote(target)).is_file(), f"{path.relative_to(site)}: {target}"


def test_the_search_works_from_disk(site):
    """The index is a script too, and each page loads what replaces the worker that a browser refuses."""
    assert (site / "search" / "search_index.js").read_text("utf-8").startswith("var __index = {")
    for path in site.rglob("*.html"):
        [script] = re.findall(r'<script src="([^"]*iframe-worker.js)"', path.read_text("utf-8"))
        assert path.name == "404.html" or (path.parent / script).is_file()


def test_each_page_tells_the_version_and_leads_on(site):
    """The footer has the version, and the page before or after."""
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        assert f"rockai-integrations {__version__}" in text
        is_listed = path.name != "404.html" and not (
            path.parent.name == "examples" and path.name != "index.html"
        )
        assert not is_listed or "md-footer__link" in text, path.name


def test_a_chinese_page_is_chinese_all_around(site):
    """A browser is told the page's language, and the theme's own words are in it: search, contents, next."""
    for path in site.rglob("*.html"):
        language = re.search(r'<html lang="(\w+)"', path.read_text("utf-8"))
        is_chinese = path.parent.name == "zh" or path.name.endswith(".zh.html")
        assert language
        assert language[1] == ("zh" if is_chinese else "en"), path.name
    assert "目录" in (site / "zh" / "quick-start.html").read_text("utf-8")


def test_the_navigation_is_in_the_language_of_its_page(site):
    """On a Chinese page each title is Chinese, with a note where the page is English; elsewhere English."""
    for path in site.rglob("*.html"):
        if path.name == "404.html":
            continue
        text = path.read_text("utf-8")
        is_chinese = path.parent.name == "zh" or path.name.endswith(".zh.html")
        # Those of pages and sections; what leads to a heading of the page itself is its own.
        title = r'(?:<a href="(?!#)[^>]*>|<label[^>]*>)\s*<span class="md-ellipsis">\s*(.*?)\s*</span>'
        titles = re.findall(title, text, re.DOTALL)
        own, others = titles[-5:], titles[:-5]  # the section of the Chinese pages stands last
        assert all(re.search("[\u4e00-\u9fff]", title) for title in (titles if is_chinese else own)), (
            path.name
        )
        assert is_chinese or not re.search("[\u4e00-\u9fff]", "".join(others)), path.name
        assert ("快速开始（英文）" in titles) is is_chinese
        assert is_chinese or "（英文）" not in html.unescape(re.findall(r"<title>(.*?)</title>", text)[0])
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    titles = {entry["location"]: entry["title"] for entry in index["docs"]}
    assert titles["quick-start.html"] == "Quick start"


def test_no_markdown_is_left_over(site):
    """A table or a bold word that Markdown did not read as one would stand on the page with its signs."""
    for path in site.rglob("*.html"):
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
        # Line by line: a pattern that begins with `.*` is tried anew at each character of a long line.
        lines = [line for line in text.splitlines() if re.search(r"\| --- \||\*\*\w|\]\(\w", line)]
        assert lines == [], path.name


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
