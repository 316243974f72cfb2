"""mkdocs: the changelog is a page of the site; links to other files of the repository become plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

CHANGELOG = "CHANGELOG.md"


def on_files(files: Any, config: Any) -> Any:
    """Add the changelog, which stands at the root of the repository."""
    root = Path(config.config_file_path).parent
    files.append(File.generated(config, CHANGELOG, content=(root / CHANGELOG).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links out of docs/ lead to the page that is here, or to nothing."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(r"\]\((?:\.\./)+CHANGELOG\.md\)", f"]({up}{CHANGELOG})", markdown)
    outside = r"\[([^\]]+)\]\((?:\.\./)+(?:README|ARCHITECTURE|CONTRIBUTING|tests|examples|notebooks)[^)]*\)"
    return re.sub(outside, r"\1", markdown)
