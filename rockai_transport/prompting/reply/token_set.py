"""Literal tokens and white space, looked for at one place of a text that may go on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

BYTE_ORDER_MARK: Final = "\ufeff"
TICK: Final = "`"
FENCE: Final = "```"
MOST_SPACE: Final = 200
"""White space between a call's parts; more of it is text, so that what is held back stays small."""

T_co = TypeVar("T_co", covariant=True)
_SPACE: Final = re.compile(rf"[\s{BYTE_ORDER_MARK}]{{0,{MOST_SPACE}}}")


class Stage(Protocol[T_co]):
    """Reads a text that comes in pieces: what is decided is handed on, what is not is held back."""

    _held: str = ""

    def feed(self, piece: str) -> T_co:
        """Take the next piece.

        Args:
            piece: Any part of the text.

        Returns:
            What is decided by now.
        """
        text, self._held = self._held + piece, ""
        return self._read(text, final=False)

    def flush(self) -> T_co:
        """End the text.

        Returns:
            What was held back.
        """
        text, self._held = self._held, ""
        return self._read(text, final=True)

    def _read(self, text: str, *, final: bool) -> T_co:
        """Read what was held back and what has come, and hold back what is not decided."""


class TokenSet:
    """Some tokens; the longest that stands at a place is the one that counts."""

    def __init__(self, *tokens: str) -> None:
        """Make a set.

        Args:
            tokens: The tokens; none of them is empty. ``[{`` at the end of one must follow, and is no part
                of it.
        """
        self.tokens = tokens
        self._longest = max(map(len, tokens), default=0)
        self._beginnings = frozenset(token[:length] for token in tokens for length in range(len(token)))
        longest_first = sorted(tokens, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._pattern = re.compile(pattern.replace(r"\[\{", r"(?=\[\{)"))

    def end(self, text: str, at: int, *, final: bool = False) -> int:
        """Find the end of the token that stands at a place.

        Args:
            text: Text, known so far.
            at: The place.
            final: Whether no more text follows.

        Returns:
            Its end; ``at`` where there is none, -1 where it depends on what follows.
        """
        if not final and len(text) - at < self._longest and text[at:] in self._beginnings:
            return -1
        found = self._pattern.match(text, at)
        return found.end() if found else at


def unfinished(text: str, tokens: Sequence[str]) -> int:
    """Find where a token could begin that goes on behind the text.

    Args:
        text: Text, known so far, that holds none of the tokens.
        tokens: The tokens.

    Returns:
        The first such place; the text's length where there is none.
    """
    start = len(text)
    for token in tokens:
        for at in range(max(0, len(text) - len(token) + 1), start):
            if token.startswith(text[at:]):
                start = at
                break
    return start


def skip_space(text: str, at: int) -> int:
    """Find the next character that is no white space, a bounded way ahead.

    Args:
        text: Text, known so far.
        at: Where to begin.

    Returns:
        Its index; the text's length where only white space follows.
    """
    found = _SPACE.match(text, at)
    return found.end() if found else at


def is_blank(text: str) -> bool:
    """Whether a text is white space and nothing else.

    Args:
        text: The text; a byte order mark in it counts as white space.

    Returns:
        Whether it is.
    """
    return not text or text.isspace() or not text.replace(BYTE_ORDER_MARK, "").strip()
