"""Bytes of an event stream → pieces of output, and the end.

The model server does not escape newlines: it writes ``event: output``, ``data: {piece}`` and a blank line
with the piece unchanged, so a piece that contains newlines breaks the framing (docs/http-api.md, «The event
stream»). A decoder that follows the SSE standard exactly drops every line break. This module repairs the
frames line by line, by the table on that page, and writes them as the standard requires; httpx-sse then
parses them.

Invariants of this module: every byte is read once. A piece is delivered when its frame is complete, not when
the next one begins. If named output events and the standard do not contradict each other, the standard
applies.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from httpx_sse import EventSource, ServerSentEvent

from rockai_transport.protocol.stream_end import End
from rockai_transport.service import Service

if TYPE_CHECKING:
    import httpx

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = ("data:", "event:", "id:", "retry:")
_HELD_FIELDS = ("id:", "retry:")
_LONGEST_TAIL = 512


class EventReader:
    """Reads one event stream: call `read` with the bytes as they arrive, and `is_whole` when they end.

    Almost every chunk contains only complete, well-formed output events. Right after an output event, another
    one changes no state: it is recognized by its first and last bytes, and extracted directly. The same holds
    for a stream's first event and its usual end. Everything else goes through `FrameReader`, up to the next
    blank line. `FrameReader` alone defines what is correct.

    Args:
        service: The names of the events, and whether an end event is required.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._opening = _opening(service.output_event)
        self._start = len(self._opening)
        self._usual_ends = _usual_ends(tuple(service.end_events))
        self._is_fresh = True
        self._between_outputs = False
        self._after_cr = False  # as `_LineSplitter.after_cr`
        self._tail = b""  # the beginning of a well-formed event that is not complete yet
        self.seen_event = False
        """Whether any event has arrived."""
        self.end: End | None = None
        """What the end event reports; None before it has arrived."""

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
        tail, self._tail = self._tail, b""
        self._repair(tail)
        return self._frames.is_whole(framed=framed)

    @functools.cached_property
    def _frames(self) -> FrameReader:
        """The reader that repairs frames, created on first use."""
        frames = FrameReader(self._service)
        if self.seen_event:
            frames.begin_after_output()
        return frames

    def _read_mixed(self, chunk: bytes) -> list[str]:
        """Extract well-formed events; pass the rest to the repairer, up to the blank line after it."""
        if self.end is not None:
            return []
        is_fresh, self._is_fresh = self._is_fresh, self._is_fresh and not chunk
        if self._tail:
            chunk, self._tail, self._between_outputs = self._tail + chunk, b"", True
        if b"\r" in chunk or self._after_cr:
            if chunk.endswith(b"\r"):
                return self._repair(chunk)
            if self._after_cr and chunk:
                chunk, self._after_cr = self._frames.lines.without_rest_of_line_end(chunk), False
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        pieces: list[str] = []
        at, size = 0, len(chunk)
        if is_fresh and chunk.startswith(self._opening) and b"\n\n" in chunk:
            self._between_outputs = self.seen_event = True
        while at < size and self.end is None:
            end = self._cut(chunk, at, pieces) if self._between_outputs else 0
            if not end:
                end = chunk.find(b"\n\n", at) + 2
                end = end if end > 1 else size
                pieces += self._repair(chunk[at:end])
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
        if not chunk.startswith(self._opening, at):
            return self._keep_tail(chunk, at) if self._opening.startswith(chunk[at : at + self._start]) else 0
        start = at + self._start
        end = chunk.find(b"\n\n", start)
        if end < 0:
            return self._keep_tail(chunk, at)
        data = chunk[start:end]
        if breaks := data.count(b"\n"):
            if breaks != data.count(b"\ndata: "):
                return 0
            data = data.replace(b"\ndata: ", b"\n")
        if data:
            pieces.append(data.decode("utf-8", "replace"))
        return end + 2

    def _keep_tail(self, chunk: bytes, at: int) -> int:
        """Keep the beginning of an event for the next chunk; the lines of a long one go to the repairer."""
        if len(chunk) - at > _LONGEST_TAIL:
            return 0
        self._tail, self._between_outputs = chunk[at:], False
        return len(chunk)

    def _repair(self, chunk: bytes) -> list[str]:
        frames = self._frames
        pieces = frames.read(chunk)
        self._between_outputs, self._after_cr = frames.between_outputs, frames.lines.after_cr
        self.seen_event, self.end = frames.seen_event, frames.end
        return pieces


class FrameReader:
    """Reads the same stream line by line; the definition of what is correct.

    Args:
        service: The names of the events, and whether an end event is required.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.lines = _LineSplitter()
        self._frames = _FrameRepairer(service)
        self._named = False
        self._outputs = 0
        self.seen_event = False
        self.end: End | None = None

    @property
    def between_outputs(self) -> bool:
        """Whether an output event has just ended, and nothing has begun since."""
        is_open = self.lines.after_cr or self.lines.parts
        return self._named and not is_open and self._frames.right_after_piece

    def begin_after_output(self) -> None:
        """Start as if an output event had just ended."""
        self._named = self.seen_event = True
        self._outputs = 1
        self.lines.is_first = False
        self._frames.after_piece = True

    def read(self, chunk: bytes) -> list[str]:
        """Read the next bytes; return the pieces that they complete, without empty ones."""
        frames = [frame for line in self.lines.feed(chunk) for frame in self._frames.feed(line)]
        texts = [self._read(event) for event in _parse(frames)] if frames else ()
        return [text for text in texts if text]

    def is_whole(self, *, framed: bool) -> bool:
        """As `EventReader.is_whole`."""
        if self.end is not None:
            return True
        if (self._named and self._service.requires_end_event) or self.lines.parts or self._frames.has_data:
            return False
        return framed and self._outputs > 0

    def _read(self, event: ServerSentEvent) -> str:
        """Return the text of an SSE event's piece; empty if the event contains none."""
        service = self._service
        self.seen_event = True
        if self.end is not None:
            return ""
        if event.event == service.output_event:
            self._named = True
        elif event.event in service.end_events:
            self.end = End.read(event.data)
        elif event.event in service.error_events:
            self.end = End.of_error(event.data)
        elif self._named or event.event not in ("", "message"):
            return ""
        elif event.data == service.end_marker:
            self.end = End()
        if self.end is not None:
            return ""
        self._outputs += 1
        return event.data


@functools.lru_cache(maxsize=16)
def _opening(name: str) -> bytes:
    """Return the start of an output event that needs no repair; no match if no line can hold the name."""
    if not name or "\r" in name or "\n" in name or name != name.strip():
        return b"\r"
    return f"event: {name}\ndata: ".encode("utf-8", "replace")


@functools.lru_cache(maxsize=16)
def _usual_ends(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the end events without further content."""
    return tuple(f"event: {name}\ndata: {{}}\n\n".encode() for name in names)


class _LineSplitter:
    """Bytes → lines, split only at LF, CR and CR LF, each as soon as its end has arrived."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        """The parts of an incomplete line."""
        self.after_cr = False
        """Whether a LF now would belong to the previous line end."""
        self.is_first = True

    def without_rest_of_line_end(self, chunk: bytes) -> bytes:
        """Return the bytes without the LF of a CR LF whose CR arrived before."""
        if self.after_cr and chunk:
            self.after_cr = False
            return chunk.removeprefix(b"\n")
        return chunk

    def feed(self, chunk: bytes) -> Iterator[str]:
        chunk = self.without_rest_of_line_end(chunk)
        if not chunk:
            return
        self.after_cr = chunk.endswith(b"\r")
        # bytes.splitlines splits only at LF, CR and CR LF; str.splitlines would split at U+2028 too.
        lines = chunk.splitlines()
        rest = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        for line in lines:
            yield self._finish(line)
        if rest:
            self.parts.append(rest)

    def _finish(self, line: bytes) -> str:
        if self.parts:
            self.parts.append(line)
            line = b"".join(self.parts)
            self.parts = []
        if self.is_first:
            self.is_first = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        return line.decode("utf-8", "replace")


class _FrameRepairer:
    """Lines → frames as the standard requires them, by the table in docs/http-api.md.

    It is in one of three states: in a frame; in the text of an output event, after its first ``data:`` line;
    or right after such an event, where blank and bare lines still belong to its piece.
    """

    def __init__(self, service: Service) -> None:
        self._output = service.output_event
        self._kept_without_data = service.end_events
        self._frame: list[str] = []
        self._name = ""
        self.has_data = False
        """Whether the frame that is not complete yet has data."""
        self.after_piece = False
        """Whether an output event has ended, and no other event has begun."""
        self._after_comment = False
        self._held: list[str] = []

    @property
    def right_after_piece(self) -> bool:
        """Whether an output event has just ended, and nothing has arrived since."""
        return self.after_piece and not (self._held or self._after_comment)

    def feed(self, line: str) -> Iterator[list[str]]:
        if self.after_piece:
            yield from self._right_after_piece(line)
        elif not line:
            yield from self._complete()
        elif self.has_data and self._name == self._output and not line.startswith(_FIELDS):
            self._frame.append(f"data: {line}")
        else:
            self._field(line)

    def _field(self, line: str) -> None:
        """Process a line of a frame, parsed only as far as needed to know the state."""
        field, _, value = line.partition(":")
        if field == "event":
            self._name = value.removeprefix(" ")
        elif field == "data":
            self.has_data = True
        self._frame.append(line)

    def _complete(self) -> Iterator[list[str]]:
        """Process a blank line. Frames without data are dropped: httpx-sse would dispatch them empty."""
        if self.has_data or self._name in self._kept_without_data:
            yield self._frame
        self.after_piece = self.has_data and self._name == self._output
        self._after_comment = False
        self._frame, self._name, self.has_data = [], "", False

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
            self.after_piece = False
            for field in (*held, line):
                self._field(field)
        elif held or line:
            yield from self._go_on([*held, line] if line else held, complete=not line)
        else:
            # One line break per additional blank line.
            yield [f"event: {self._output}", "data:", "data:"]

    def _go_on(self, text: Iterable[str], *, complete: bool) -> Iterator[list[str]]:
        """Continue a piece after k blank lines: k + 1 line breaks, of which k - 1 are already delivered."""
        self.after_piece = False
        self._name, self.has_data = self._output, True
        self._frame = [f"event: {self._output}", "data:", "data:", *(f"data: {line}" for line in text)]
        if complete:
            yield from self._complete()


class _Frames:
    """The parts of a response that httpx-sse's `EventSource` needs: headers and text."""

    headers = {"content-type": "text/event-stream"}  # noqa: RUF012 - only read

    def __init__(self, text: str) -> None:
        self._text = text

    def iter_text(self) -> Iterator[str]:
        yield self._text


def _parse(frames: Iterable[list[str]]) -> Iterator[ServerSentEvent]:
    text = "".join("\n".join(frame) + "\n\n" for frame in frames)
    return EventSource(cast("httpx.Response", _Frames(text))).iter_sse()
