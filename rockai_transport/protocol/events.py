"""Bytes of an event stream in, pieces of output and the end out.

The model server does not escape newlines: it writes ``event: output``, ``data: {piece}`` and a blank line
with the piece as it is, so a piece that holds newlines breaks the framing (docs/http-api.md, «The event
stream»). A decoder that follows the SSE standard to the letter drops every line break. Here the frames are
repaired line by line, after the table on that page, and written out again as the standard wants them;
httpx-sse then parses them.

Laws of this module: every byte is looked at once; a piece is handed on when its frame is complete, not when
the next begins; where named output events and the standard do not contradict each other, the standard holds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from httpx_sse import EventSource, ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx

    from rockai_transport.service import Service

__all__ = ["End", "EventReader", "Piece", "StreamEvent"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = ("data:", "event:", "id:", "retry:")
_HELD_FIELDS = ("id:", "retry:")
_CANCELED = frozenset({"canceled", "cancelled", "aborted"})
_FAILED = frozenset({"error", "failed", "failure"})


class Piece(NamedTuple):
    """A piece of output, exactly as the model said it."""

    text: str


class End(NamedTuple):
    """The end of a stream."""

    status: str = "succeeded"
    """``succeeded``, ``failed`` or ``canceled``."""
    message: str = ""


StreamEvent = Piece | End


class EventReader:
    """Reads one event stream: `feed` it the bytes as they come, ask `is_whole` when they end.

    Args:
        service: The names of the events, and whether an end event is required.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lines = _LineSplitter()
        self._frames = _FrameRepairer(service)
        self._named = False
        self._pieces = 0
        self.seen_event = False
        self.ended = False

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Take the next bytes; give the events that they complete."""
        frames = [frame for line in self._lines.feed(chunk) for frame in self._frames.feed(line)]
        read = (self._read(event) for event in _parse(frames)) if frames else ()
        return [event for event in read if event is not None]

    def is_whole(self, *, framed: bool) -> bool:
        """Whether a body that ended here was the whole stream.

        Args:
            framed: Whether the body said itself where it ends (last chunk, full Content-Length).
        """
        if self.ended:
            return True
        if (self._named and self._service.requires_end_event) or self._lines.pending or self._frames.pending:
            return False
        return framed and self._pieces > 0

    def _read(self, event: ServerSentEvent) -> StreamEvent | None:  # noqa: PLR0911 - one for each kind
        """One event of the standard → one of ours; None where it says nothing to us."""
        service = self._service
        self.seen_event = True
        if self.ended:
            return None
        if event.event == service.output_event:
            self._named = True
            return self._piece(event.data)
        if event.event in service.end_events:
            return self._end(_read_end(event.data))
        if event.event in service.error_events:
            return self._end(End("failed", _words(event.data)))
        if self._named or event.event not in ("", "message"):
            return None
        if event.data == service.end_marker:
            return self._end(End())
        return self._piece(event.data)

    def _piece(self, text: str) -> Piece:
        self._pieces += 1
        return Piece(text)

    def _end(self, end: End) -> End:
        self.ended = True
        return end


class _LineSplitter:
    """Bytes → lines, at LF, CR and CR LF only, each as soon as its end has arrived."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._after_cr = False
        self._first = True

    @property
    def pending(self) -> bool:
        """Whether a line has begun that has not ended."""
        return any(self._parts)

    def feed(self, chunk: bytes) -> Iterator[str]:
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        # bytes.splitlines knows LF, CR and CR LF only; str.splitlines would split at U+2028 too.
        lines = chunk.splitlines()
        rest = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        for line in lines:
            yield self._finish(line)
        if rest:
            self._parts.append(rest)

    def _finish(self, line: bytes) -> str:
        if self._parts:
            self._parts.append(line)
            line = b"".join(self._parts)
            self._parts = []
        if self._first:
            self._first = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        return line.decode("utf-8", "replace")


class _FrameRepairer:
    """Lines → frames as the standard wants them, after the table of docs/http-api.md.

    It is in one of three places: in a frame; in the text of an output event, after its first ``data:``
    line; or right after such an event, where blank and bare lines still belong to its piece.
    """

    def __init__(self, service: Service) -> None:
        self._output = service.output_event
        self._kept_without_data = service.end_events
        self._frame: list[str] = []
        self._name = ""
        self._has_data = False
        self._after_piece = False
        self._after_comment = False
        self._held: list[str] = []

    @property
    def pending(self) -> bool:
        """Whether a frame with data has begun that has not ended."""
        return self._has_data

    def feed(self, line: str) -> Iterator[list[str]]:
        if self._after_piece:
            yield from self._right_after_piece(line)
        elif not line:
            yield from self._complete()
        elif self._has_data and self._name == self._output and not line.startswith(_FIELDS):
            self._frame.append(f"data: {line}")
        else:
            self._field(line)

    def _field(self, line: str) -> None:
        """A line of a frame, read by the standard only as far as is needed to know where we are."""
        field, _, value = line.partition(":")
        if field == "event":
            self._name = value.removeprefix(" ")
        elif field == "data":
            self._has_data = True
        self._frame.append(line)

    def _complete(self) -> Iterator[list[str]]:
        """A blank line. Frames without data are dropped: httpx-sse would dispatch them, empty."""
        if self._has_data or self._name in self._kept_without_data:
            yield self._frame
        self._after_piece = self._has_data and self._name == self._output
        self._after_comment = False
        self._frame, self._name, self._has_data = [], "", False

    def _right_after_piece(self, line: str) -> Iterator[list[str]]:
        if line.startswith(":"):
            self._after_comment = True
            return
        if not line and self._after_comment:
            self._after_comment = False
            return
        self._after_comment = False
        if line.startswith(_HELD_FIELDS):
            self._held.append(line)
            return
        held, self._held = self._held, []
        if line.startswith("event:"):
            self._after_piece = False
            for field in (*held, line):
                self._field(field)
        elif held or line:
            yield from self._go_on([*held, line] if line else held, complete=not line)
        else:
            # One line break for each further blank line.
            yield [f"event: {self._output}", "data:", "data:"]

    def _go_on(self, text: Iterable[str], *, complete: bool) -> Iterator[list[str]]:
        """The piece goes on after k blank lines: k + 1 line breaks, of which k - 1 are out already."""
        self._after_piece = False
        self._name, self._has_data = self._output, True
        self._frame = [f"event: {self._output}", "data:", "data:", *(f"data: {line}" for line in text)]
        if complete:
            yield from self._complete()


class _Frames:
    """What httpx-sse's `EventSource` needs of a response: its headers and its text."""

    headers = {"content-type": "text/event-stream"}  # noqa: RUF012 - only read

    def __init__(self, text: str) -> None:
        self._text = text

    def iter_text(self) -> Iterator[str]:
        yield self._text


def _parse(frames: Iterable[list[str]]) -> Iterator[ServerSentEvent]:
    text = "".join("\n".join(frame) + "\n\n" for frame in frames)
    return EventSource(cast("httpx.Response", _Frames(text))).iter_sse()


def _read_end(data: str) -> End:
    """``{}`` is the end; ``{"reason": "canceled"}`` and errors were seen at a peer."""
    told = _json_object(data)
    reason = str(told.get("reason") or told.get("status")).lower()
    if reason in _CANCELED:
        return End("canceled", _words(data))
    if reason in _FAILED or told.get("error"):
        return End("failed", _words(data))
    return End()


def _words(data: str) -> str:
    """What an error says: a message, or JSON with ``detail``."""
    told = _json_object(data)
    words = next(
        (told[key] for key in ("detail", "message", "error", "msg", "reason") if told.get(key)), data
    )
    return words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)


def _json_object(data: str) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
