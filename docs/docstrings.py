"""griffe: what docstrings write for LangChain's own documentation, in the site's markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`~?([^`]+)`")
_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1 +.*\n|[ ]*\n)+)", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Turn code blocks and roles of reStructuredText into fences and code."""

    def fence(found: re.Match[str]) -> str:
        margin, language, code = found[1], found[2], found[3].strip("\n")
        shown = "\n".join(line.removeprefix("    ") for line in code.splitlines())
        return f"{margin}```{language}\n{shown}\n{margin}```\n\n"

    return _ROLE.sub(r"`\1`", _BLOCK.sub(fence, text + "\n")).rstrip("\n")


class Markdown(griffe.Extension):
    """Applies `to_markdown` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
