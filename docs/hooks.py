"""mkdocs: files outside docs/ become pages too, with working links; the footer shows the version.

Links to other files of the repository become plain text.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

from rockai_transport._version import __version__

_LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:|data:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
_TAB = re.compile(r'^=== "(.+)"$', re.MULTILINE)
_CELL = re.compile(r"<td>.*?</td>", re.DOTALL)
_LONG = re.compile(r"<code>[^<]{40,}</code>")
_BREAK = re.compile(r"(?<=[\w)\]])(?=\.[a-z])|(?<=\()")
_ALTERNATE = re.compile(r'<link rel="alternate"[^>]*>')


def on_config(config: Any) -> Any:
    """Write the version below every page."""
    config.copyright = f"rockai-integrations {__version__} · MIT licence"
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere in the repository: see `beside`."""
    root = Path(config.config_file_path).parent
    for path, page in beside(root).items():
        text = (root / path).read_text(encoding="utf-8")
        match posixpath.splitext(path)[1]:
            case ".ipynb":
                text = notebook(json.loads(text))
            case ".py":
                text = f"# {posixpath.basename(path)}\n\n```python\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point links out of docs/ to pages that exist here, or remove them; show tabs as titles."""
    pages = beside(Path(config.config_file_path).parent)
    origin = next((path for path, known in pages.items() if known == page.file.src_uri), "")
    folder = posixpath.dirname(origin or f"docs/{page.file.src_uri}")

    def link(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        here = path.removeprefix("docs/") if path.startswith("docs/") else pages.get(path)
        if here is None:
            return str(text)
        way = posixpath.relpath(here, posixpath.dirname(page.file.src_uri) or ".")
        return f"{image}[{text}]({way}{anchor or ''})"

    parts = _FENCE.split(markdown)  # every second one is code
    shown = (part if at % 2 else _TAB.sub(r"**\1**", _LINK.sub(link, part)) for at, part in enumerate(parts))
    return "".join(shown)


def on_page_content(content: str, **_: Any) -> str:
    """Let a long line of code in a table break at a dot or a parenthesis: the last column was cut off."""
    return _CELL.sub(lambda cell: _LONG.sub(lambda code: _BREAK.sub("<wbr>", code[0]), cell[0]), content)


@event_priority(100)  # before the search reads the page's title
def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> Any:
    """Make the navigation and the theme's own words (search, contents, next) Chinese on a Chinese page."""
    config.theme["language"] = "zh" if is_chinese(page) else "en"
    for item in [*nav.pages, *(section for listed in nav.pages for section in listed.ancestors)]:
        item.english = getattr(item, "english", item.title)
        chinese = config.extra["chinese_titles"].get(item.english, item.english)
        note = "（英文）" if item.is_page and not is_chinese(item) else ""
        item.title = f"{chinese}{note}" if is_chinese(page) else item.english
    return context


def on_post_page(output: str, **_: Any) -> str:
    """Remove the theme's claim that the two start pages are each page in another language.

    The theme's script asks for a sitemap beside each of them, and there is none in zh/.
    """
    return _ALTERNATE.sub("", output)


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same to 404.html."""
    return on_post_page(output_content)


def is_chinese(page: Any) -> bool:
    """Whether a page is written in Chinese."""
    return page.file.src_uri.startswith("zh/") or page.file.src_uri.endswith(".zh.md")


def beside(root: Path) -> dict[str, str]:
    """Return the files outside docs/ that are pages: their paths in the repository → the pages' paths."""
    found = [*root.glob("notebooks/*.ipynb"), *root.glob("examples/*.py"), *root.glob("examples/*.md")]
    paths = ["CHANGELOG.md", *(path.relative_to(root).as_posix() for path in sorted(found))]
    return {path: f"{posixpath.splitext(path)[0]}.md" for path in paths}


def notebook(content: Any) -> str:
    """Convert a notebook to Markdown, with its stored outputs."""
    parts = []
    for cell in content["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(f"```{'console' if source.startswith('%') else 'python'}\n{source}\n```")
            parts += [_output(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _output(output: Any) -> str:
    """Return one stored output: a picture or HTML unchanged, else the text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![Output](data:image/png;base64,{''.join(data['image/png']).strip()})"
    if "text/html" in data:
        return f"<div>{''.join(data['text/html']).strip()}</div>"
    text = html.escape("".join(output.get("text", data.get("text/plain", ""))).rstrip("\n"), quote=False)
    return f'<pre class="output">{text}</pre>'
