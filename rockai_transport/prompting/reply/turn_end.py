"""Where an answer ends although the model continues: at a chat template token that ends or opens a turn.

If a server does not stop there, it sends the token as text, and the model invents what follows: the user's
next message, a tool's result. A token does not end the answer inside a code fence, right after a single
backtick, or between two on a line: models write about such tokens too. ``</s>`` does not if an ``<s>`` is
open, as in HTML, and ``<tool_response>``, which the tool instructions name, does only at the start of a line
or behind a call. If the answer starts with the opening of the model's own turn, this is skipped.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rockai_transport.prompting.reply.token_set import FENCE_MARKS, FENCES, TICK, Stage, TokenSet, read_fence

_STRUCK: Final = ("<s>", "</s>")  # HTML's tags for struck-out text; both are control tokens too
_RESULT: Final = "<tool_response>"
_SPAN_END: Final = re.compile("[`\n]")
_BELOW: Final = re.compile(r"`{3,12}[\w+-]{0,30}[ \t]{0,9}(?:[\r\n]|(\Z))")
_LONGEST_SPAN: Final = 400
_BEFORE_RESULTS: Final = ("", ">", "}", "]", ")")


class TurnEnd(Stage[str]):
    """Takes pieces of a chat answer, returns the text; leave the stream once :attr:`token` is set.

    Attributes:
        token: The token that ended the answer, or None.
    """

    def __init__(self, tokens: tuple[str, ...] = (), cues: tuple[str, ...] = ()) -> None:
        """Create a cutter.

        Args:
            tokens: The tokens that end the answer.
            cues: Possible openings of the model's own turn.
        """
        self._ends, self._first, notable = turn_tokens(tokens, cues)
        self._notable = re.compile(f"[{re.escape(notable)}]" if notable else r"(?!)")
        self._cues = cues
        self._begun = False
        self._before = ""  # the last character of the line, except for white space
        self._fences: list[str] = []  # that are open
        self._behind_tick = False
        self._in_span = False  # whether the line has an odd number of single backticks
        self._in_row = False  # whether it has an odd number of fences behind other text
        self._struck = 0  # number of open <s>
        self.token: str | None = None

    @property
    def settled(self) -> bool:
        """Whether a piece without a notable character would be returned unchanged."""
        return self._begun and not (self._held or self.token)

    def pass_over(self, text: str) -> None:
        """Record text that ends nothing and was delivered unchanged.

        Args:
            text: The next text of the answer.
        """
        if text:
            self._behind_tick = False
            _, line_break, line = text.rpartition("\n")
            self._before = line.rstrip()[-1:] or ("" if line_break else self._before)
            self._in_span = self._in_span and not line_break
            self._in_row = self._in_row and not line_break
            self._begun = self._begun or not text.isspace()

    def _read(self, text: str, *, final: bool) -> str:
        if self.token:
            return ""
        emitted, start, at = "", 0, 0
        while found := self._notable.search(text, at):
            place = found.start()
            self.pass_over(text[at:place])
            end = self._token_end(text, place, final=final)
            in_span = self._is_in_span(text, place, end, final=final)
            if end < 0 or in_span is None:
                self._held = text[place:]
                return emitted + text[start:place]
            token = text[place:end]
            if token in self._cues and not self._begun:
                emitted, start, at = emitted + text[start:place], end, end
            elif token[:1] not in ("", *FENCE_MARKS) and not in_span and self._ends_here(token):
                self.token = token
                return emitted + text[start:place]
            else:
                at = place + max(1, len(token))
                self.pass_over(text[place:at])
                self._behind_tick = token == TICK
                self._in_span ^= token == TICK
        self.pass_over(text[at:])
        return emitted + text[start:]

    def _token_end(self, text: str, at: int, *, final: bool) -> int:
        """Return the end of the token here, and note a code fence; as `TokenSet.end`."""
        at_start = self._before in ("", ">")
        if text[at] == "~" and not at_start:
            return at
        end = (self._ends if self._begun else self._first).end(text, at, final=final)
        if text[at:end] not in FENCES:
            return end
        if not at_start:
            # Behind other text, as in a list, one opens code only if the code begins on the next line.
            below = None if self._fences or self._in_row else _BELOW.match(text, at)
            if below is None:
                self._in_row = not self._in_row
                return end
            if below[1] is not None and not final:
                return -1
        return read_fence(text, at, self._fences, final=final)

    def _is_in_span(self, text: str, at: int, end: int, *, final: bool) -> bool | None:
        """Return whether a token is between two backticks on its line; None if what follows decides."""
        if not self._in_span or end <= at or text[at] in FENCE_MARKS:
            return False
        closing = _SPAN_END.search(text, end, end + _LONGEST_SPAN)
        if closing is None:
            return False if final or len(text) >= end + _LONGEST_SPAN else None
        return closing[0] == TICK

    def _ends_here(self, token: str) -> bool:
        in_prose = token == _RESULT and self._before not in _BEFORE_RESULTS
        if self._fences or self._behind_tick or in_prose:
            return False
        if token in _STRUCK:
            self._struck += 1 if token == _STRUCK[0] else -1
            return self._struck < 0
        return True


@lru_cache(maxsize=64)
def turn_tokens(tokens: tuple[str, ...], cues: tuple[str, ...]) -> tuple[TokenSet, TokenSet, str]:
    """Return what :class:`TurnEnd` searches for.

    Args:
        tokens: As for :class:`TurnEnd`.
        cues: As for :class:`TurnEnd`.

    Returns:
        The tokens to find in the answer (including backticks), those at its beginning, and the first
        characters of both.
    """
    struck = _STRUCK if _STRUCK[1] in tokens else ()
    ends = TokenSet(*tokens, *struck, *((TICK, *FENCES) if tokens else ()))
    first = TokenSet(*ends.tokens, *cues)
    return ends, first, "".join(sorted({token[0] for token in ends.tokens + cues})) if tokens else ""
