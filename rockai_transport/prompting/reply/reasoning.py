"""Tell a model's reasoning (``<think>…</think>``) from its answer, while it streams.

The rule: reasoning stands at the beginning of a reply only. The first thing in the reply but white space must
be ``<think>``; everything up to the first ``</think>``, or to the end of an unclosed block, is reasoning, and
everything behind it is the answer. White space around the tags (before ``<think>``, behind ``</think>``)
belongs to them; all other text comes out exactly. A ``<think>`` anywhere later is text: models write about
such tags too. Some chat templates (DeepSeek-R1's) open the block in the prompt already; a reader made with
``inside=True`` begins inside it.

Where nobody knew that the template opened it, the first ``</think>`` of a reply without ``<think>`` ends
reasoning as well. What stands before it came out as text by then: :class:`ReasoningEnd` says that it was
reasoning, and whoever puts a whole reply together takes it for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rockai_transport.prompting.reply.token_set import TokenSet

OPEN_TAG: Final = "<think>"
CLOSE_TAG: Final = "</think>"
_CLOSING: Final = {OPEN_TAG: CLOSE_TAG, "<|channel|>analysis<|message|>": "<|end|>"}
"""What opens reasoning, and what closes it; the second pair is Harmony's (gpt-oss)."""
# What Harmony writes before the answer itself.
_PREFACES: Final = tuple(
    f"{start}<|channel|>{channel}<|message|>"
    for start in ("<|start|>assistant", "")
    for channel in ("final", "commentary")
)
_TICK: Final = "`"
NOTABLE: Final = "<" + _TICK
"""The characters that matter in a piece of the answer."""

_OPENINGS: Final = TokenSet(*_CLOSING, *_PREFACES)
_OPEN: Final = TokenSet(OPEN_TAG)
_BEHIND: Final = TokenSet(*_PREFACES)
_TAGS: Final = TokenSet(OPEN_TAG, CLOSE_TAG)

_State = Literal["start", "opened", "inside", "after", "answer"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A new piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningEnd(TextDelta):
    """A ``</think>`` that nothing had opened: the text so far was reasoning. It ends with the tag."""


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A new piece of the reasoning that precedes the answer."""

    text: str


_Parts = list[TextDelta | ReasoningDelta]


class ReasoningSplitter:
    """Feed it pieces of a reply; it returns them as answer or as reasoning."""

    def __init__(self, *, inside: bool = False, unannounced: bool = True, begun: bool = False) -> None:
        """Make a splitter.

        Args:
            inside: Whether the prompt ended with an open ``<think>``, so that the reply begins in the block.
            unannounced: Whether a ``</think>`` that nothing opened ends reasoning.
            begun: Whether the answer has begun before the first piece.
        """
        self._state: _State = "opened" if inside else "answer" if begun else "start"
        self._close = CLOSE_TAG
        self._unannounced = unannounced and not inside
        self._blank: list[str] = []
        self._held = ""
        self._before = ""  # the last character that came out as text

    @property
    def inside(self) -> bool:
        """Whether reasoning is open."""
        return self._state in ("opened", "inside")

    @property
    def settled(self) -> bool:
        """Whether a piece without a character of :data:`NOTABLE` is text of the answer, as it is."""
        return self._state == "answer" and not self._held and self._before != _TICK

    def feed(self, piece: str) -> _Parts:
        """Take the next piece.

        Args:
            piece: Any part of the reply.

        Returns:
            What can be told apart by now, in order, without empty deltas.
        """
        return self._read(piece, final=False)

    def flush(self) -> _Parts:
        """End the reply.

        Returns:
            What was held back.
        """
        parts = self._read("", final=True)
        held = "".join(self._blank) + self._held
        self._blank, self._held = [], ""
        if held:
            parts.append(ReasoningDelta(held) if self.inside else TextDelta(held))
        return parts

    def _read(self, piece: str, *, final: bool) -> _Parts:
        if self._state in ("start", "opened") and not self._held and (not piece or piece.isspace()):
            self._blank.append(piece)
            return []
        self._held += piece
        parts: _Parts = []
        if self._state in ("start", "opened"):
            self._read_start(final=final)
        if self._state == "inside":
            parts += self._read_inside(final=final)
        if self._state == "after":
            self._read_after(final=final)
        if self._state == "answer":
            parts += self._read_answer(final=final)
        return parts

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _read_start(self, *, final: bool) -> None:
        begin = self._held.lstrip()
        end = (_OPENINGS if self._state == "start" else _OPEN).end(begin, 0, final=final)
        if end < 0:
            return
        opening = begin[:end]
        self._held = begin[end:] if opening else "".join(self._blank) + self._held
        self._blank = []
        self._unannounced = self._unannounced and not opening
        self._close = _CLOSING.get(opening, self._close)
        self._state = "inside" if opening in _CLOSING or self._state == "opened" else "answer"

    def _read_inside(self, *, final: bool) -> _Parts:
        reasoning, closed, self._held = self._held.partition(self._close)
        if closed:
            self._state = "after"
        elif not final:
            kept = len(reasoning) - _partial_suffix(reasoning, self._close)
            reasoning, self._held = reasoning[:kept], reasoning[kept:]
        return [ReasoningDelta(reasoning)] if reasoning else []

    def _read_after(self, *, final: bool) -> None:
        self._held = self._held.lstrip()
        end = _BEHIND.end(self._held, 0, final=final) if self._held else -1
        if end >= 0:
            self._take(end)
            self._state = "answer"

    def _read_answer(self, *, final: bool) -> _Parts:
        if not self._unannounced:
            text = self._take(len(self._held))
            return [TextDelta(text)] if text else []
        at = 0
        while (at := self._held.find("<", at)) >= 0:
            end = _TAGS.end(self._held, at, final=final)
            if end < 0 or (end == len(self._held) and not final):
                break
            if self._held.startswith(OPEN_TAG, at):
                self._unannounced, at = False, len(self._held)
            elif end > at and not self._is_quoted(at, end):
                return self._end_unannounced(at, final=final)
            else:
                at = max(end, at + 1)
        text = self._take(at if at >= 0 else len(self._held))
        self._before = text[-1:] or self._before
        return [TextDelta(text)] if text else []

    def _end_unannounced(self, at: int, *, final: bool) -> _Parts:
        self._unannounced, self._state = False, "after"
        text = self._take(at)
        self._take(len(CLOSE_TAG))
        parts: _Parts = [TextDelta(text)] if text else []
        return [*parts, ReasoningEnd(CLOSE_TAG), *self._read("", final=final)]

    def _is_quoted(self, at: int, end: int) -> bool:
        return _TICK in (self._held[at - 1] if at else self._before, self._held[end : end + 1])


def _partial_suffix(text: str, tag: str) -> int:
    """Length of the longest end of the text that could begin the tag."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)
