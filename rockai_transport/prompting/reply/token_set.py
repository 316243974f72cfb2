"""Finds literal tokens and white space at a position of a text that may continue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

BYTE_ORDER_MARK: Final = "\ufeff"
TICK: Final = "`"
FENCES: Final = ("```", "~~~")
FENCE_MARKS: Final = "`~"
MOST_SPACE: Final = 200
"""Maximum white space between a call's parts; more of it is text, so that little is held back."""
SUFFIX: Final = "…"
"""Stands in a token for a suffix that differs between checkpoints."""
ANY_SUFFIX, MOST_SUFFIX = r"[\w-]{1,16}", 16

T_co = TypeVar("T_co", covariant=True)
_SPACE: Final = re.compile(rf"[\s{BYTE_ORDER_MARK}]{{0,{MOST_SPACE}}}")
_FENCE_AND_LANGUAGE: Final = re.compile(r"(`{3,12}|~{3,12})([\w+-]{0,30})")


class Stage(Protocol[T_co]):
    """Reads a text in pieces; returns what is decided, and holds back what is not."""

    _held: str = ""

    def feed(self, piece: str) -> T_co:
        """Take the next piece.

        Args:
            piece: Any part of the text.

        Returns:
            What is decided so far.
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
        """Read the held text and the new text, and hold back what is not decided."""
        ...


class TokenSet:
    """A set of tokens; at any position, the longest one counts."""

    def __init__(self, *tokens: str) -> None:
        """Create a set.

        Args:
            tokens: The tokens; none of them is empty. A ``[{`` at the end of one must follow it, but is not
                part of it. A :data:`SUFFIX` in one stands for any.
        """
        self.tokens = tokens
        self._longest = max(map(len, tokens), default=0) + MOST_SUFFIX
        self._beginnings = frozenset(token[:length] for token in tokens for length in range(len(token)))
        pattern = one_of(tokens) if tokens else r"(?!)"
        self._pattern = re.compile(pattern.replace(r"\[\{", r"(?=\[\{)").replace(SUFFIX, ANY_SUFFIX))
        self._first = re.compile("|".join(re.escape(token[0]) for token in tokens) or "(?!)")
        begun = {token.partition(SUFFIX)[0] for token in tokens if SUFFIX in token}
        self._in_suffix = re.compile(rf"(?:{one_of(begun)}){ANY_SUFFIX}\uff5c?\Z" if begun else r"(?!)")

    def end(self, text: str, at: int, *, final: bool = False) -> int:
        """Find the end of the token at a position.

        Args:
            text: The text so far.
            at: The position.
            final: Whether no more text follows.

        Returns:
            Its end; ``at`` if there is none; -1 if it depends on what follows.
        """
        may_grow = not final and len(text) - at < self._longest
        if may_grow and (text[at:] in self._beginnings or self._in_suffix.match(text, at)):
            return -1
        found = self._pattern.match(text, at)
        return found.end() if found else at

    def search(self, text: str, *, final: bool = False) -> tuple[int, int]:
        """Find the first token.

        Args:
            text: The text so far.
            final: Whether no more text follows.

        Returns:
            Its position and its end; twice where one may begin at the end of the text, if there is none.
        """
        if found := self._pattern.search(text):
            return found.span()
        begun = (one.start() for one in self._first.finditer(text, max(0, len(text) - self._longest)))
        at = next((at for at in begun if not final and self.end(text, at) < 0), len(text))
        return at, at


def one_of(tokens: Iterable[str]) -> str:
    """Return a pattern for the longest of the tokens; what they share is tried once, since there are many."""
    groups: dict[str, list[str]] = {}
    for token in tokens:
        groups.setdefault(token[:1], []).append(token)
    ends = bool(groups.pop("", ()))
    branches = []
    for group in groups.values():
        low, high = min(group), max(group)
        length = next((at for at, one in enumerate(low) if one != high[at]), len(low))
        branches.append(re.escape(low[:length]) + one_of([token[length:] for token in group]))
    pattern = "|".join(branches)
    if ends:
        return f"(?:{pattern})?" if branches else ""
    return f"(?:{pattern})" if len(branches) > 1 else pattern


def unfinished(text: str, tokens: Sequence[str]) -> int:
    """Find where an incomplete token could begin at the end of the text.

    Args:
        text: The text so far, without any of the tokens.
        tokens: The tokens.

    Returns:
        The first such position; the text's length if there is none.
    """
    first = max(0, len(text) - max(map(len, tokens), default=0) + 1)
    begun = (at for at in range(first, len(text)) if any(token.startswith(text[at:]) for token in tokens))
    return next(begun, len(text))


def read_fence(text: str, at: int, opened: list[str], *, final: bool) -> int:
    """Read a code fence. One with a language, or of another length, is an inner one, as in a README.

    Args:
        text: The text so far.
        at: Where the fence begins.
        opened: The fences that are open; the innermost is the last.
        final: Whether no more text follows.

    Returns:
        Its end; -1 if what it does depends on what follows.
    """
    found = _FENCE_AND_LANGUAGE.match(text, at)
    if found is None:
        return -1
    fence, language = found.groups()
    is_open = fence in opened[-9:]  # only the last ones are searched: it takes no time
    end = found.end() if is_open else found.end(1)  # one that is not open opens, whatever its language is
    if end == len(text) and not final:
        return -1
    if not is_open or (language and text.startswith(("\n", "\r"), found.end())):
        opened.append(fence)
    else:
        while opened.pop() != fence:
            pass
    return found.end(1)


def skip_space(text: str, at: int) -> int:
    """Find the next character that is not white space, within a limited distance.

    Args:
        text: The text so far.
        at: Where to begin.

    Returns:
        Its index; the text's length if only white space follows.
    """
    found = _SPACE.match(text, at)
    return found.end() if found else at


def is_blank(text: str) -> bool:
    """Return whether a text is only white space.

    Args:
        text: The text; a byte order mark counts as white space.

    Returns:
        Whether it is.
    """
    return not text or text.isspace() or not text.replace(BYTE_ORDER_MARK, "").strip()
