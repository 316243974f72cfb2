"""Separates a model's reasoning (``<think>…</think>``) from its answer, while it streams.

The rule: only the beginning of a reply can be reasoning. The reply must start with ``<think>`` (or another
family's tag for it), after optional white space. Everything up to the first ``</think>``, or to the end of an
unclosed block, is reasoning; everything after it is the answer. White space around the tags (before
``<think>``, after ``</think>``) belongs to them, and so do further ``</think>`` right behind the first; all
other text is delivered exactly. A later ``<think>`` is text: models write about such tags too. Some chat
templates (DeepSeek-R1's) open the block in the prompt already; a reader with ``inside="</think>"`` starts
inside it, unless the reply opens a part itself.

If it was not known that the template opened the block, the first ``</think>`` (or another family's tag) of a
reply without any opening also ends reasoning, unless it is quoted or within a sentence. By then the text
before it was delivered as text: :class:`ReasoningEnd` reports that it was reasoning, and code that builds a
complete reply treats it as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.reply.token_set import (
    ANY_SUFFIX,
    BYTE_ORDER_MARK,
    FENCE_MARKS,
    FENCES,
    MOST_SUFFIX,
    SUFFIX,
    TICK,
    Stage,
    TokenSet,
    is_blank,
    read_fence,
)

CLOSE_TAG: Final = "</think>"
NOTABLE: Final = f"<{FENCE_MARKS}"
"""The characters that matter in a piece of the answer."""

_ALL_FORMATS: Final[list[dict[str, Any]]] = read_table("reply/reasoning_formats.json")["formats"]
_FORMATS: Final = [row for row in _ALL_FORMATS if "template" not in row]
_Meaning = tuple[TokenSet | None, TokenSet | None]


def _meanings(row: Mapping[str, Any]) -> dict[str, _Meaning]:
    """Return a family's opening tags: the closing tags of each that opens reasoning, and what to skip."""
    dropped = TokenSet(*row["dropped"], TICK, *FENCES) if "dropped" in row else None
    closing = {opening: TokenSet(*tags) for opening, tags in row["reasoning"].items()}
    return {opening: (closing.get(opening), dropped) for opening in (*closing, *row.get("answer", ()))}


_MEANINGS: Final = {opening: one for row in _FORMATS for opening, one in _meanings(row).items()}
_OPENINGS: Final = TokenSet(*_MEANINGS)
WORDS: Final = {row["template"]: _meanings(row) for row in _ALL_FORMATS if "template" in row}
"""The words that open a part of a reply, if the server leaves out the tokens of a chat template."""
_BEHIND_WORD: Final = re.compile(r"[^\sa-z.,:;!?)_=/-]")  # else it begins an answer, or a name in one
FIRST: Final = frozenset(("", BYTE_ORDER_MARK, *(opening[0] for opening in _MEANINGS)))
"""The first characters, after white space, of replies that may start with reasoning."""
_CLOSING: Final = [(row, close) for row in _FORMATS for tags in row["reasoning"].values() for close in tags]
_BEHIND: Final = TokenSet(
    *(one for row in _FORMATS for one in (*row.get("answer", ()), *row.get("again", ()))),
    *(close for _, close in _CLOSING),
)
# What ends reasoning without an opening: not what also ends other parts, nor what begins with a character for
# which an answer is not searched.
_CLOSINGS: Final = frozenset(
    close for row, close in _CLOSING if close[0] in NOTABLE and close not in row.get("dropped", ())
)
# The opening tags of the same families: a closing tag after one of them closes it, not the reply's beginning.
_LATE: Final = {tag for tag, (close, _) in _MEANINGS.items() if close and close.tokens[0] in _CLOSINGS}
_TAGS: Final = TokenSet(*_LATE, *_CLOSINGS, TICK, *FENCES)  # searched in an answer without an opening tag
_NOTABLE: Final = re.compile(f"[{NOTABLE}]")
_LINE_START: Final = re.compile(r"(?:\A|[\r\n>]) {0,3}\Z")
_BLANK: Final = re.compile(rf"\A[\s{BYTE_ORDER_MARK}]+")
_SUFFIX: Final = re.compile(rf"(?<=think:){ANY_SUFFIX}(?=>\Z)")
_LONGEST_TAG: Final = max(map(len, _MEANINGS)) + MOST_SUFFIX
_State = Literal["start", "inside", "behind", "answer"]
_QUOTES: Final = "\"'“”"


def _as_listed(tag: str) -> str:
    """Return a tag as the table has it, whatever its suffix is."""
    return _SUFFIX.sub(SUFFIX, tag)


def closing_tag(prompt: str) -> str:
    """Return what closes the reasoning in which a prompt ends.

    Args:
        prompt: The prompt, as a chat template ends it.

    Returns:
        The tag; empty if the prompt ends in no reasoning.
    """
    end = _as_listed(prompt.rstrip()[-_LONGEST_TAG:])
    openings = ((tag, close) for tag, (close, _) in _MEANINGS.items() if close)
    return next((close.tokens[0] for tag, close in openings if end.endswith(tag.rstrip())), "")


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A new piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningEnd(TextDelta):
    """A ``</think>`` without an opening: the text so far was reasoning. It ends with the tag.

    Attributes:
        tag: The tag: ``</think>``, or another family's.
    """

    tag: str = CLOSE_TAG


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A new piece of the reasoning before the answer."""

    text: str


_Parts = list[TextDelta | ReasoningDelta]


class ReasoningSplitter(Stage[_Parts]):
    """Takes the pieces of a reply, and returns them as answer or reasoning, without empty deltas.

    A :class:`ReasoningEnd` is the last part that is returned at once; ``feed("")`` returns what follows it.
    """

    def __init__(
        self, *, inside: str = "", unannounced: bool = True, begun: bool = False, template: str = ""
    ) -> None:
        """Create a splitter.

        Args:
            inside: The tag that closes the block in which the reply starts, because the prompt opened it.
            unannounced: Whether a ``</think>`` without an opening ends reasoning.
            begun: Whether the answer began before the first piece.
            template: The name of the model's chat template.
        """
        self._words = WORDS.get(template, {})
        self._openings = TokenSet(*_MEANINGS, *self._words) if self._words else _OPENINGS
        self._state: _State = "answer" if begun else "start"
        self._opened = bool(inside)
        self._close = TokenSet(*([inside] if inside else []))
        self._tags = _TAGS if unannounced and not inside else None
        self._blank: list[str] = []
        self._before = ""  # the last four characters that were delivered as text
        self._fences: list[str] = []  # that are open

    @property
    def settled(self) -> bool:
        """Whether a piece without a character in :data:`NOTABLE` is unchanged text of the answer."""
        return self._state == "answer" and not self._held and self._before[-1:] != "`"

    def pass_over(self, text: str) -> None:
        """Record text of the answer that was delivered unchanged.

        Args:
            text: The next text of the answer.
        """
        self._before = (self._before + text[-4:])[-4:]

    def _read(self, text: str, *, final: bool) -> _Parts:
        if self._state in ("start", "behind") and not final and is_blank(text):
            self._blank.append(text)
            return []
        self._held = text
        parts: _Parts = []
        before = None
        while before != self._state and not (parts and isinstance(parts[-1], ReasoningEnd)):
            before = self._state
            if before == "inside":
                parts += self._read_inside(final=final)
            elif before == "answer":
                parts += self._read_answer(final=final)
            else:
                self._read_opening(final=final)
        return parts

    def go_on(self) -> None:
        """Read on behind a :class:`ReasoningEnd` as behind other text: it was in a call."""
        self._state = "answer"

    def _read_opening(self, *, final: bool) -> None:
        """Continue in what was opened: reasoning, or the answer, which needs no opening tag."""
        openings = self._openings if self._state == "start" else _BEHIND
        while True:
            begin = _BLANK.sub("", self._held)
            end = openings.end(begin, 0, final=final)
            if begin[: max(end, 0)] in self._words and not _BEHIND_WORD.match(begin, end):
                end = -1 if end == len(begin) and not final else 0
            if end <= 0 or self._close.end(begin, 0) != end:
                break
            self._held = begin[end:]  # closed once more
        if end < 0:
            return
        opening = begin[:end]
        if opening or self._state == "behind":
            self._held = begin[end:]
        else:
            self._held = "".join(self._blank) + self._held
        self._blank = []
        meanings = self._words if opening in self._words else _MEANINGS
        close, self._tags = meanings.get(_as_listed(opening), (None, self._tags))
        self._state = "inside" if close or (self._opened and not opening) else "answer"
        self._close, self._opened = close or self._close, False

    def _read_inside(self, *, final: bool) -> _Parts:
        begin, end = self._close.search(self._held, final=final)
        self._state = "behind" if end > begin else "inside"
        reasoning, self._held = self._held[:begin], self._held[end:]
        return [ReasoningDelta(reasoning)] if reasoning else []

    def _read_answer(self, *, final: bool) -> _Parts:
        parts: _Parts = []
        at = 0
        while self._tags and (found := _NOTABLE.search(self._held, at)):
            place = found.start()
            at_start = self._held[place] != "~" or _LINE_START.search(self._text_before(place))
            end = self._tags.end(self._held, place, final=final) if at_start else place
            if self._held[place:end] in FENCES:
                end = read_fence(self._held, place, self._fences, final=final)
            token = self._held[place:end]
            listed = _as_listed(token)
            closes = listed in _CLOSINGS
            # What follows a tag decides whether it is quoted.
            if end < 0 or (place < end == len(self._held) and not final):
                return parts + self._take(place)
            at = max(end, place + 1)
            if listed in _LATE:
                self._tags = None
            elif token[:1] not in ("", *FENCE_MARKS) and not (closes and self._is_quoted(place, end)):
                parts += self._take(place)
                self._held, at = self._held[len(token) :], 0
                if closes:
                    self._tags, self._state, self._close = None, "behind", TokenSet(listed)
                    return [*parts, ReasoningEnd(token, token)]
        return parts + self._take(len(self._held))

    def _take(self, length: int) -> _Parts:
        text, self._held = self._held[:length], self._held[length:]
        self.pass_over(text)
        return [TextDelta(text)] if text else []

    def _text_before(self, at: int) -> str:
        return (self._before + self._held[max(0, at - 4) : at])[-4:]

    def _is_quoted(self, at: int, end: int) -> bool:
        before, behind = self._text_before(at)[-2:], self._held[end : end + 1]
        around = before[-1:], behind
        in_prose = around == (" ", " ") and before[0].isalnum()
        in_quotes = all(one and one in _QUOTES for one in around)
        return bool(self._fences) or in_prose or in_quotes or "`" in around
