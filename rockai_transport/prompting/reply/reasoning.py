"""Tell a model's reasoning (``<think>…</think>``) from its answer, while it streams.

The rule: reasoning stands at the beginning of a reply only. The first thing in the reply but white space must
be ``<think>``; everything up to the first ``</think>``, or to the end of an unclosed block, is reasoning, and
everything behind it is the answer. White space around the tags (before ``<think>``, behind ``</think>``)
belongs to them; all other text comes out exactly. A ``<think>`` anywhere later is text: models write about
such tags too. Some chat templates (DeepSeek-R1's) open the block in the prompt already; a reader made with
``inside=True`` begins inside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

OPEN_TAG: Final = "<think>"
CLOSE_TAG: Final = "</think>"

_State = Literal["start", "inside", "after", "answer"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A new piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A new piece of the reasoning that precedes the answer."""

    text: str


class ReasoningSplitter:
    """Feed it pieces of a reply; it returns them as answer or as reasoning."""

    def __init__(self, *, inside: bool = False) -> None:
        """Make a splitter.

        Args:
            inside: Whether the prompt ended with an open ``<think>``, so that the reply begins in the block.
        """
        self._state: _State = "inside" if inside else "start"
        self._held = ""

    def feed(self, piece: str) -> list[TextDelta | ReasoningDelta]:
        """Take the next piece.

        Args:
            piece: Any part of the reply.

        Returns:
            What can be told apart by now, in order, without empty deltas.
        """
        self._held += piece
        parts: list[TextDelta | ReasoningDelta] = []
        if self._state == "start":
            self._read_start()
        if self._state == "inside":
            parts += self._read_inside()
        if self._state == "after":
            self._held = self._held.lstrip()
            if self._held:
                self._state = "answer"
        if self._state == "answer" and self._held:
            parts.append(TextDelta(self._take()))
        return parts

    def flush(self) -> list[TextDelta | ReasoningDelta]:
        """End the reply.

        Returns:
            What was held back.
        """
        if not self._held:
            return []
        held = self._take()
        return [ReasoningDelta(held) if self._state == "inside" else TextDelta(held)]

    def _take(self) -> str:
        held, self._held = self._held, ""
        return held

    def _read_start(self) -> None:
        begin = self._held.lstrip()
        if begin.startswith(OPEN_TAG):
            self._state = "inside"
            self._held = begin.removeprefix(OPEN_TAG)
        elif not OPEN_TAG.startswith(begin):
            self._state = "answer"

    def _read_inside(self) -> list[TextDelta | ReasoningDelta]:
        reasoning, tag, rest = self._held.partition(CLOSE_TAG)
        if tag:
            self._state, self._held = "after", rest
        else:
            keep = _partial_suffix(reasoning, CLOSE_TAG)
            reasoning, self._held = reasoning[: len(reasoning) - keep], reasoning[len(reasoning) - keep :]
        return [ReasoningDelta(reasoning)] if reasoning else []


def _partial_suffix(text: str, tag: str) -> int:
    """Length of the longest end of the text that could begin the tag."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)
