"""Bytes of an event stream → pieces of output, and the end.

The model server does not escape newlines: it writes ``event: output``, ``data: {piece}`` and a blank line
with the piece unchanged, so a piece that contains newlines breaks the framing (docs/http-api.md, «The event
stream»). A decoder that follows the SSE standard exactly drops every line break. This module reads line by
line, by the table on that page.

Invariants of this module: every byte is read once. A piece is delivered when its event is complete, not when
the next one begins. If named output events and the standard do not contradict each other, the standard
applies.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from rockai_transport.service import Service

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = ("data:", "event:", "id:", "retry:")
_HELD_FIELDS = ("id:", "retry:")
_UNNAMED = "message"  # the standard's name for events without a name
SIDE_EVENTS = frozenset({
    "log", "logs", "ping", "heartbeat", "keepalive", "start", "started", "status", "progress", "metadata",
    "metric", "metrics", "usage",
})  # fmt: skip
"""The names of events that hold no text. RockAI's are not known; these are usual names, and assumed."""
_CANCELED = frozenset({"canceled", "cancelled", "aborted"})
_FAILED = frozenset({"error", "failed", "failure"})


class End(NamedTuple):
    """The end of a stream."""

    status: str = "succeeded"
    """``succeeded``, ``failed`` or ``canceled``."""
    message: str = ""

    @classmethod
    def read(cls, data: str) -> End:
        """Read an end event. ``{}`` is the end; ``{"reason": "canceled"}`` and errors were seen elsewhere."""
        fields = _json_object(data)
        reason = str(fields.get("reason") or fields.get("status")).lower()
        if reason in _CANCELED:
            return cls("canceled", _reason(data))
        if reason in _FAILED or fields.get("error"):
            return cls.of_error(data)
        return cls()

    @classmethod
    def of_error(cls, data: str) -> End:
        """Read an error event."""
        return cls("failed", _reason(data))


class EventReader:
    """Reads one event stream: call `read` with the bytes as they arrive, and `is_whole` when they end.

    Almost every chunk contains only complete, well-formed output events. Right after an output event, another
    one changes no state: it is recognized by its first and last bytes, and extracted directly. The same holds
    for a stream's first event and its usual end. Everything else is read line by line, up to the next blank
    line. `read_lines` alone defines what is correct.

    Args:
        service: The names of the events, and whether an end event is required.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._opening = _opening(service.output_event)
        self._start = len(self._opening)
        self._usual_ends = _usual_ends(tuple(service.end_events))
        self._between_outputs = False  # whether an output event has just ended, and nothing has arrived since
        self.seen_event = False
        """Whether any event has arrived."""
        self.other_event = ""
        """The name of an event that was ignored, although nothing is known about it."""
        self.end: End | None = None
        """What the end event reports; None before it has arrived."""
        # The lines.
        self._parts: list[bytes] = []  # of an incomplete line
        self._after_cr = False  # whether a LF now would belong to the previous line end
        self._is_first = True
        # The current event, and what came before.
        self._name = ""
        self._data: list[str] = []
        self._after_piece = False  # whether an output event has ended, and no other event has begun
        self._after_comment = False
        self._held: list[str] = []
        self._is_named = False
        self._has_output = False

    def read(self, chunk: bytes) -> list[str]:
        """Read the next bytes; return the pieces that they complete, each exactly as the model wrote it."""
        if (  # usually one event with one line
            self._between_outputs
            and chunk.startswith(self._opening)
            and chunk.find(b"\n", self._start) == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
        ):
            text = chunk[self._start : -2].decode("utf-8", "replace")
            return [text] if text else []
        return self._read_mixed(chunk)

    def is_whole(self, *, framed: bool) -> bool:
        """Return whether a body that ended here was the complete stream.

        Args:
            framed: Whether the body's framing marks its end (last chunk, full Content-Length).
        """
        if self.end is not None:
            return True
        if (self._is_named and self._service.requires_end_event) or self._parts or self._data or self._name:
            return False
        return framed and self._has_output

    # Well-formed events, extracted from the bytes.

    def _read_mixed(self, chunk: bytes) -> list[str]:
        """Extract well-formed events; read the rest line by line, up to the blank line after it."""
        if self.end is not None:
            return []
        if b"\r" in chunk or self._after_cr:
            if chunk.endswith(b"\r"):
                return self.read_lines(chunk)
            chunk = self._without_rest_of_line_end(chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        pieces: list[str] = []
        at, size = 0, len(chunk)
        is_first = self._is_first and not self._parts
        if is_first and chunk.startswith(self._opening) and (at := self._cut(chunk, 0, pieces)):
            self._is_first = False
            self._between_outputs = self._after_piece = True
            self.seen_event = self._is_named = self._has_output = True
        while at < size and self.end is None:
            end = self._cut(chunk, at, pieces) if self._between_outputs else 0
            if not end:
                blank_line = chunk.find(b"\n\n", at)
                end = size if blank_line < 0 else blank_line + 2
                pieces += self.read_lines(chunk[at:end])
            at = end
        return pieces

    def _cut(self, chunk: bytes, at: int, pieces: list[str]) -> int:
        """Extract a well-formed event or a blank line from a chunk; return its end, 0 if there is none."""
        if chunk.startswith(b"\n", at):  # one line break per additional blank line
            pieces.append("\n")
            return at + 1
        if chunk.startswith(self._usual_ends, at):
            self.end, self._between_outputs = End(), False
            return len(chunk)
        start = at + self._start
        end = chunk.find(b"\n\n", start)
        if end < 0 or not chunk.startswith(self._opening, at):
            return 0
        data = chunk[start:end]
        if breaks := data.count(b"\n"):
            if breaks != data.count(b"\ndata: "):
                return 0
            data = data.replace(b"\ndata: ", b"\n")
        if data:
            pieces.append(data.decode("utf-8", "replace"))
        return end + 2

    # Line by line: the definition.

    def read_lines(self, chunk: bytes) -> list[str]:
        """As `read`, line by line."""
        pieces = [piece for line in self._lines(chunk) if (piece := self._read_line(line))]
        begun = self._held or self._after_comment or self._after_cr or self._parts
        self._between_outputs = self._is_named and self._after_piece and not begun
        return pieces

    def _without_rest_of_line_end(self, chunk: bytes) -> bytes:
        """Return the bytes without the LF of a CR LF whose CR arrived before."""
        if self._after_cr and chunk:
            self._after_cr = False
            return chunk.removeprefix(b"\n")
        return chunk

    def _lines(self, chunk: bytes) -> Iterator[str]:
        """Split bytes at LF, CR and CR LF only; return each line as soon as its end has arrived."""
        chunk = self._without_rest_of_line_end(chunk)
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        # bytes.splitlines splits only at LF, CR and CR LF; str.splitlines would split at U+2028 too.
        lines = chunk.splitlines()
        rest = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        for end_of_line in lines:
            line = b"".join((*self._parts, end_of_line))
            self._parts.clear()
            if self._is_first:
                self._is_first = False
                line = line.removeprefix(_BYTE_ORDER_MARK)
            yield line.decode("utf-8", "replace")
        if rest:
            self._parts.append(rest)

    def _read_line(self, line: str) -> str:
        """Read a line, by the table in docs/http-api.md; return the piece that it completes, if any."""
        if self._after_piece:
            return self._read_after_piece(line)
        if not line:
            return self._complete()
        if self._data and self._name == self._service.output_event and not line.startswith(_FIELDS):
            self._data.append(line)  # text of the piece
        else:
            self._read_field(line)
        return ""

    def _read_field(self, line: str) -> None:
        field, _, value = line.partition(":")
        if field == "event":
            self._name = value.removeprefix(" ")
        elif field == "data":
            self._data.append(value.removeprefix(" "))

    def _read_after_piece(self, line: str) -> str:
        """Read a line right after an output event, where blank and bare lines still belong to its piece."""
        is_end_of_comment = self._after_comment and not line
        self._after_comment = line.startswith(":")
        if self._after_comment or is_end_of_comment:
            return ""
        if line.startswith(_HELD_FIELDS):
            self._held.append(line)
            return ""
        held, self._held = self._held, []
        if line.startswith("event:"):
            self._after_piece = False
            self._read_field(line)  # an id or a delay before it has no meaning here
            return ""
        output = self._service.output_event
        if not (held or line):
            return self._read_event(output, "\n")  # one line break per additional blank line
        # The piece goes on after k blank lines: k + 1 line breaks, of which k - 1 are already delivered.
        self._after_piece, self._name, self._data = False, output, ["", "", *held]
        if not line:
            return self._complete()
        self._data.append(line)
        return ""

    def _complete(self) -> str:
        """Read the blank line after an event. Without data, only an event that ends the stream counts."""
        name, data, service = self._name, self._data, self._service
        self._name, self._data = "", []
        self._after_piece = bool(data) and name == service.output_event
        ends = name in service.end_events or name in service.error_events
        return self._read_event(name, "\n".join(data)) if data or ends else ""

    def _read_event(self, name: str, data: str) -> str:
        """Return the text of an event's piece; empty if the event contains none."""
        service, name = self._service, name or _UNNAMED
        self.seen_event = True
        if self.end is not None:
            return ""
        if name == service.output_event:
            self._is_named = True
        elif name in service.end_events:
            self.end = End.read(data)
        elif name in service.error_events:
            self.end = End.of_error(data)
        elif self._is_named or name != _UNNAMED:
            self.other_event = self.other_event or (name if data and name not in SIDE_EVENTS else "")
            return ""
        elif data == service.end_marker:
            self.end = End()
        if self.end is not None:
            return ""
        self._has_output = True
        return data


@functools.lru_cache(maxsize=16)
def _opening(name: str) -> bytes:
    """Return the start of a well-formed output event; no match if no line can hold the name."""
    if not name or "\r" in name or "\n" in name or name != name.strip():
        return b"\r"
    return f"event: {name}\ndata: ".encode("utf-8", "replace")


@functools.lru_cache(maxsize=16)
def _usual_ends(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the end events without further content."""
    return tuple(f"event: {name}\ndata: {{}}\n\n".encode() for name in names)


def _reason(data: str) -> str:
    """Return an error's message, from plain text or from JSON with ``detail``."""
    fields = _json_object(data)
    keys = ("detail", "message", "error", "msg", "reason")
    reason = next((fields[key] for key in keys if fields.get(key)), data)
    return reason if isinstance(reason, str) else json.dumps(reason, ensure_ascii=False)


def _json_object(data: str) -> dict[str, Any]:
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
