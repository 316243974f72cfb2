"""Where an answer ends although the model goes on: at a token of its chat template that ends or opens a turn.

A server that does not stop there sends the token as text, and what follows is made up: the user's next words,
a tool's result. A token is no end inside a code fence, nor where a single backtick stands before it: models
write about such tokens too. ``</s>`` is none where ``<s>`` stands open, as in HTML. The model's own opening
of its turn is passed over where the answer begins with it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rockai_transport.prompting.reply.token_set import FENCE, TICK, Stage, TokenSet

_STRUCK: Final = ("<s>", "</s>")


class TurnEnd(Stage[str]):
    """Feed it pieces of a chat answer, emit what it returns, leave the stream once :attr:`token` is set.

    Attributes:
        token: The token that ended the answer, or None.
    """

    def __init__(self, tokens: tuple[str, ...] = (), cues: tuple[str, ...] = ()) -> None:
        """Make one.

        Args:
            tokens: What ends the answer.
            cues: What the model may open its own turn with.
        """
        self._ends, self._first, notable = turn_tokens(tokens, cues)
        self._notable = re.compile(f"[{re.escape(notable)}]" if notable else r"(?!)")
        self._cues = cues
        self._begun = False
        self._line_start = True
        self._in_fence = False
        self._behind_tick = False
        self._struck = 0  # how many <s> are open
        self.token: str | None = None

    @property
    def settled(self) -> bool:
        """Whether a piece without a notable character would come out as it is."""
        return self._begun and not (self._held or self.token)

    def pass_over(self, text: str) -> None:
        """Take note of text that ends nothing and comes out as it is.

        Args:
            text: The next text of the answer.
        """
        if text:
            self._behind_tick = False
            _, line_break, line = text.rpartition("\n")
            self._line_start = (self._line_start or bool(line_break)) and not line.strip()
            self._begun = self._begun or not text.isspace()

    def _read(self, text: str, *, final: bool) -> str:
        if self.token:
            return ""
        emitted, start, at = "", 0, 0
        while found := self._notable.search(text, at):
            place = found.start()
            self.pass_over(text[at:place])
            end = (self._ends if self._begun else self._first).end(text, place, final=final)
            if end < 0:
                self._held = text[place:]
                return emitted + text[start:place]
            token = text[place:end]
            if token in self._cues and not self._begun:
                emitted, start, at = emitted + text[start:place], end, end
            elif token not in ("", TICK, FENCE) and self._ends_here(token):
                self.token = token
                return emitted + text[start:place]
            else:
                self._in_fence ^= token == FENCE and self._line_start
                at = place + max(1, len(token))
                self.pass_over(text[place:at])
                self._behind_tick = token == TICK
        self.pass_over(text[at:])
        return emitted + text[start:]

    def _ends_here(self, token: str) -> bool:
        if self._in_fence or self._behind_tick:
            return False
        if token in _STRUCK:
            self._struck += 1 if token == _STRUCK[0] else -1
            return self._struck < 0
        return True


@lru_cache(maxsize=64)
def turn_tokens(tokens: tuple[str, ...], cues: tuple[str, ...]) -> tuple[TokenSet, TokenSet, str]:
    """Name what :class:`TurnEnd` looks for.

    Args:
        tokens: As for :class:`TurnEnd`.
        cues: Likewise.

    Returns:
        What it looks for in the answer, backticks among it, what at its beginning, and the characters that
        these begin with.
    """
    struck = _STRUCK if _STRUCK[1] in tokens else ()
    ends = TokenSet(*tokens, *struck, *((TICK, FENCE) if tokens else ()))
    first = TokenSet(*ends.tokens, *cues)
    return ends, first, "".join(sorted({token[0] for token in ends.tokens + cues})) if tokens else ""
