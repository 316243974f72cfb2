"""Splitting a text into pieces like a language model's: each about a word, a mark, or a line break."""

from __future__ import annotations

import re

PIECE = re.compile(
    r"""
    \n+                            # line breaks, several at once as in the recordings
    | [ ]{2,}(?=[ ])               # indentation, without the space that belongs to the word
    | [ ]?[\u3400-\u9fff\uf900-\ufaff]  # a Chinese character each
    | [ ]?[^\W\u3400-\u9fff\uf900-\ufaff]+  # a word with the space before it
    | [ ]?[^\w\s]{1,3}             # marks
    | \s                           # whatever space is left
    """,
    re.VERBOSE,
)


def split_tokens(text: str) -> list[str]:
    """Split a text into pieces; joined, they give the text again."""
    return PIECE.findall(text)


def count_tokens(text: str) -> int:
    """Return the number of pieces in a text."""
    return len(split_tokens(text))
