"""A set of literal tokens, looked for at one place of a text that may go on."""

from __future__ import annotations

import re


class TokenSet:
    """Some tokens; the longest that stands at a place is the one that counts."""

    def __init__(self, *tokens: str) -> None:
        """Make a set.

        Args:
            tokens: The tokens; none of them is empty.
        """
        self.tokens = tokens
        self._longest = max(map(len, tokens), default=0)
        longest_first = sorted(tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def end(self, text: str, at: int, *, final: bool = False) -> int:
        """Find the end of the token that stands at a place.

        Args:
            text: Text, known so far.
            at: The place.
            final: Whether no more text follows.

        Returns:
            Its end; ``at`` where there is none, -1 where it depends on what follows.
        """
        rest = len(text) - at
        if rest < self._longest and not final:
            tail = text[at:]
            if any(len(token) > rest and token.startswith(tail) for token in self.tokens):
                return -1
        found = self._pattern.match(text, at)
        return found.end() if found else at
