"""Read calls out of a model's text, while it streams.

Laws of this module:

* Never an exception, never lost text: what is no call comes out as text, exactly; what was clearly meant as a
  call and cannot be read comes out as an :class:`InvalidToolCall`.
* Text is held back only where it begins like a call (:mod:`.call_syntax`), until that is decided.
* The parts do not depend on how the text was split into pieces.
* A reply that is nothing but calls and white space has no text.

Clearly meant is what stands behind a call marker, and what names a bound tool but is broken. An object that
names no bound tool is text, unless it is marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.call_syntax import (
    FENCE,
    FIRST_CHARACTERS,
    Opener,
    Verdict,
    match_opener,
    skip_space,
)
from rockai_transport.prompting.reply.call_values import ReadCall, read_calls
from rockai_transport.prompting.reply.json_values import ValueScanner
from rockai_transport.prompting.reply.reasoning import TextDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

ToolPart = TextDelta | ToolCall | InvalidToolCall


def new_call_id() -> str:
    """Make up an id for a call."""
    return f"call_{uuid4().hex}"


class ToolCallReader:
    """Feed it pieces of a reply; it returns text and calls.

    Inside, it is in one of three places: in text; in a value that may be a call; or behind such a value,
    where another value of the same call block, or its closing tag, may follow.
    """

    def __init__(
        self, names: Collection[str], *, parallel: bool = True, new_id: Callable[[], str] = new_call_id
    ) -> None:
        """Make a reader.

        Args:
            names: The names of the tools that may be called.
            parallel: Whether a reply may hold several calls; else all but the first are dropped.
            new_id: Makes a call's id.
        """
        self._names = names
        self._parallel = parallel
        self._new_id = new_id
        self._parts: list[ToolPart] = []
        self._called = False
        self._has_text = False
        self._space = ""  # white space that only counts once there is other text
        self._line_start = True
        self._in_fence = False  # inside a code fence that came out as text
        self._pending = ""  # what is not decided yet
        self._opener: Opener | None = None
        self._scanner: ValueScanner | None = None
        self._raw: list[str] = []  # the block's text since its last value that was a call
        self._value: list[str] = []  # the text of the value being read
        self._calls: list[ReadCall] = []  # the block's calls so far

    def feed(self, piece: str) -> list[ToolPart]:
        """Take the next piece.

        Args:
            piece: Any part of the reply.

        Returns:
            What is decided by now, in order.
        """
        text, self._pending = self._pending + piece, ""
        at = 0
        while at < len(text) and not self._pending:
            if self._scanner is not None:
                at = self._read_value(self._scanner, text, at)
            elif self._opener is not None:
                at = self._read_behind(self._opener, text, at)
            else:
                at = self._read_text(text, at)
        return self._take()

    def flush(self) -> list[ToolPart]:
        """End the reply.

        Returns:
            What was held back: a call that was not completed, or text.
        """
        if self._scanner is not None:
            self._end_value(self._scanner)
        if self._opener is not None:
            self._close_block()
        self._emit(self._pending)
        self._pending = ""
        if self._space and not self._called:
            self._parts.append(TextDelta(self._space))
        self._space = ""
        return self._take()

    def _read_text(self, text: str, start: int) -> int:
        at = start
        while at < len(text):
            verdict = self._verdict(text, at)
            if verdict != "text":
                self._emit(text[start:at])
                if isinstance(verdict, Opener):
                    self._open_block(verdict, text[at : verdict.body])
                    return verdict.body
                self._pending = text[at:]
                return len(text)
            if text.startswith(FENCE, at):
                self._in_fence = not self._in_fence
                at += len(FENCE) - 1
            if text[at] in "\r\n":
                self._line_start = True
            elif not text[at].isspace():
                self._line_start = False
            at += 1
        self._emit(text[start:])
        return len(text)

    def _verdict(self, text: str, at: int) -> Opener | Verdict:
        if text[at] not in FIRST_CHARACTERS:
            return "text"
        if self._in_fence and text.startswith(FENCE, at):
            return "text"  # it closes what came out as text, whatever follows
        return match_opener(text, at, line_start=self._line_start)

    def _read_value(self, scanner: ValueScanner, text: str, start: int) -> int:
        end = scanner.scan(text, start)
        part = text[start:end]
        self._raw.append(part)
        self._value.append(part)
        if end is None:
            return len(text)
        self._end_value(scanner)
        return end

    def _read_behind(self, opener: Opener, text: str, start: int) -> int:
        """Read what may follow a call inside its block: the closing tag, or another value."""
        at = skip_space(text, start)
        rest = text[at : at + len(opener.closer)]
        if opener.closer and rest == opener.closer:
            self._close_block(complete=True)
            return at + len(rest)
        body = skip_space(text, at + 1) if text[at : at + 1] in {",", ";"} else at
        if body == len(text) or (opener.closer and opener.closer.startswith(text[at:])):
            self._pending = text[start:]
            return len(text)
        if text[body] not in "{[":
            self._close_block()
            return start
        self._raw.append(text[start:body])
        self._open_value()
        return body

    def _open_block(self, opener: Opener, text: str) -> None:
        self._opener = opener
        self._raw = [text]
        self._open_value()

    def _open_value(self) -> None:
        self._scanner = ValueScanner()
        self._value = []

    def _end_value(self, scanner: ValueScanner) -> None:
        """Take the value for what it is: calls of this block, or text that ends the block."""
        opener = self._opener
        meant = opener is not None and opener.meant and not self._calls
        calls = read_calls("".join(self._value) + scanner.missing, self._names, meant=meant)
        self._scanner = None
        if calls is None:
            raw = "".join(self._raw)
            self._close_block()
            self._line_start = False
            self._emit(raw)
            return
        self._raw = []
        self._calls += calls
        if opener is not None and opener.bare:
            self._close_block()

    def _close_block(self, *, complete: bool = False) -> None:
        for call in self._calls:
            self._emit_call(call)
        if self._opener is not None and self._opener.closer == FENCE and not complete:
            self._in_fence = True
        self._opener = None
        self._calls = []
        self._raw = []
        self._line_start = True

    def _emit_call(self, call: ReadCall) -> None:
        if self._called and not self._parallel:
            return
        self._called = True
        if call.name is None or call.arguments is None:
            self._parts.append(InvalidToolCall(self._new_id(), call.name, call.raw, call.error))
        else:
            self._parts.append(ToolCall(self._new_id(), call.name, call.arguments))

    def _emit(self, text: str) -> None:
        if not self._has_text and (not text or text.isspace()):
            self._space += text
            return
        text, self._space, self._has_text = self._space + text, "", True
        if text:
            self._parts.append(TextDelta(text))

    def _take(self) -> list[ToolPart]:
        parts, self._parts = self._parts, []
        return parts
