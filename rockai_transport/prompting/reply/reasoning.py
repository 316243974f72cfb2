"""Tell a model's reasoning (``<think>…</think>``) from its answer, while it streams.

The rule: reasoning stands at the beginning of a reply only. The first thing in the reply but white space
must be ``<think>`` (or another family's tag for it); everything up to the first ``</think>``, or to the end
of an unclosed block, is reasoning, and everything behind it is the answer. White space around the tags
(before ``<think>``, behind ``</think>``) belongs to them; all other text comes out exactly. A ``<think>``
anywhere later is text: models write about such tags too. Some chat templates (DeepSeek-R1's) open the block
in the prompt already; a reader made with ``inside=True`` begins inside it.

Where nobody knew that the template opened it, the first ``</think>`` of a reply without ``<think>`` ends
reasoning as well. What stands before it came out as text by then: :class:`ReasoningEnd` says that it was
reasoning, and whoever puts a whole reply together takes it for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.reply.token_set import (
    BYTE_ORDER_MARK,
    FENCE,
    TICK,
    Stage,
    TokenSet,
    is_blank,
    unfinished,
)

OPEN_TAG: Final = "<think>"
CLOSE_TAG: Final = "</think>"
NOTABLE: Final = "<`"
"""The characters that matter in a piece of the answer."""

_FORMATS: Final[list[dict[str, Any]]] = read_table("reply/reasoning_formats.json")["formats"]
_Meaning = tuple[str | None, TokenSet | None]


def _meanings(row: Mapping[str, Any]) -> dict[str, _Meaning]:
    """What a family opens: what closes it, where it is reasoning, and what is no text of the answer."""
    dropped = TokenSet(*row["dropped"], TICK, FENCE) if "dropped" in row else None
    closing = {**row["reasoning"], **dict.fromkeys(row.get("answer", ()))}
    return {opening: (close, dropped) for opening, close in closing.items()}


_MEANINGS: Final = {opening: one for row in _FORMATS for opening, one in _meanings(row).items()}
_OPENINGS: Final = TokenSet(*_MEANINGS)
FIRST: Final = frozenset(("", BYTE_ORDER_MARK, *(opening[0] for opening in _MEANINGS)))
"""What a reply begins with, behind white space, that may open with reasoning."""
_BEHIND: Final = TokenSet(
    *(one for row in _FORMATS for one in (*row.get("answer", ()), *row.get("again", ())))
)
_OPEN: Final = TokenSet(OPEN_TAG)
_TAGS: Final = TokenSet(OPEN_TAG, CLOSE_TAG, TICK, FENCE)  # looked for in an answer that nothing opened
_NOTABLE: Final = re.compile(f"[{NOTABLE}]")
_State = Literal["start", "inside", "behind", "answer"]
_QUOTES: Final = "\"'“”"


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A new piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningEnd(TextDelta):
    """A ``</think>`` that nothing had opened: the text so far was reasoning. It ends with the tag."""

    tag: ClassVar[str] = CLOSE_TAG


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A new piece of the reasoning that precedes the answer."""

    text: str


_Parts = list[TextDelta | ReasoningDelta]


class ReasoningSplitter(Stage[_Parts]):
    """Feed it pieces of a reply; it returns them as answer or as reasoning, without empty deltas."""

    def __init__(self, *, inside: bool = False, unannounced: bool = True, begun: bool = False) -> None:
        """Make a splitter.

        Args:
            inside: Whether the prompt ended with an open ``<think>``, so that the reply begins in the block.
            unannounced: Whether a ``</think>`` that nothing opened ends reasoning.
            begun: Whether the answer has begun before the first piece.
        """
        self._state: _State = "answer" if begun else "start"
        self._opened = inside
        self._close = CLOSE_TAG
        self._tags = _TAGS if unannounced and not inside else None
        self._blank: list[str] = []
        self._before = ""  # the last character that came out as text
        self._in_fence = False

    @property
    def inside(self) -> bool:
        """Whether reasoning is open."""
        return self._state == "inside" or self._opened

    @property
    def settled(self) -> bool:
        """Whether a piece without a character of :data:`NOTABLE` is text of the answer, as it is."""
        return self._state == "answer" and not self._held and self._before != "`"

    def pass_over(self, text: str) -> None:
        """Take note of text of the answer that came out as it is.

        Args:
            text: The next text of the answer.
        """
        self._before = text[-1:] or self._before

    def _read(self, text: str, *, final: bool) -> _Parts:
        if self._state in ("start", "behind") and not final and is_blank(text):
            self._blank.append(text)
            return []
        self._held = text
        parts: _Parts = []
        before = None
        while before != self._state:
            before = self._state
            if before == "inside":
                parts += self._read_inside(final=final)
            elif before == "answer":
                parts += self._read_answer(final=final)
            else:
                self._read_opening(final=final)
        return parts

    def _read_opening(self, *, final: bool) -> None:
        """Go on in what is opened here: reasoning, or the answer, which nothing needs to open."""
        begin = self._held.lstrip().removeprefix(BYTE_ORDER_MARK).lstrip()
        openings = _OPEN if self._opened else _OPENINGS if self._state == "start" else _BEHIND
        end = openings.end(begin, 0, final=final)
        if end < 0:
            return
        opening = begin[:end]
        if opening or self._state == "behind":
            self._held = begin[end:]
        else:
            self._held = "".join(self._blank) + self._held
        self._blank = []
        close, self._tags = _MEANINGS.get(opening, (None, self._tags))
        self._state = "inside" if close or self._opened else "answer"
        self._close, self._opened = close or self._close, False

    def _read_inside(self, *, final: bool) -> _Parts:
        reasoning, closed, self._held = self._held.partition(self._close)
        if closed:
            self._state = "behind"
        elif not final:
            kept = unfinished(reasoning, (self._close,))
            reasoning, self._held = reasoning[:kept], reasoning[kept:]
        return [ReasoningDelta(reasoning)] if reasoning else []

    def _read_answer(self, *, final: bool) -> _Parts:
        parts: _Parts = []
        at = 0
        while self._tags and (found := _NOTABLE.search(self._held, at)):
            place = found.start()
            end = self._tags.end(self._held, place, final=final)
            token = self._held[place:end]
            # What follows a tag says whether it is quoted.
            if end < 0 or (end == len(self._held) and token != FENCE and not final):
                return parts + self._take(place)
            at = max(end, place + 1)
            if token == FENCE:
                self._in_fence = not self._in_fence
            elif token == OPEN_TAG:
                self._tags = None
            elif token not in ("", TICK) and not (token == CLOSE_TAG and self._is_quoted(place, end)):
                parts += self._take(place)
                self._held, at = self._held[len(token) :], 0
                if token == CLOSE_TAG:
                    self._tags, self._state = None, "behind"
                    return [*parts, ReasoningEnd(CLOSE_TAG)]
        return parts + self._take(len(self._held))

    def _take(self, length: int) -> _Parts:
        text, self._held = self._held[:length], self._held[length:]
        self.pass_over(text)
        return [TextDelta(text)] if text else []

    def _is_quoted(self, at: int, end: int) -> bool:
        around = self._held[at - 1] if at else self._before, self._held[end : end + 1]
        return self._in_fence or "`" in around or all(one and one in _QUOTES for one in around)
