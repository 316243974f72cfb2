"""Reads plain chunks of a response's body from the connection without h11, which takes about 9 µs per chunk.

Invariants of this module: h11 receives the head of a response without any byte of the body. Only plain chunks
are read here: CR LF, a number, CR LF, and this number of bytes. At anything else (an extension, the last
chunk and its trailers, garbage, the end of the connection), h11 reads on from that byte. So h11 decides how a
body ends, and whether the connection can be reused. It is not reused if it has received anything more.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

SEND_PART = 64 * 1024
"""Approximate number of bytes of a request that are sent at once."""
_LINE_END = b"\r\n"
_BLANK_LINE = re.compile(rb"\n\r?\n")  # how h11 finds the end of a head
_INTERIM = re.compile(rb"HTTP/1\.\d 1")  # such as 103 (Early Hints): another head follows
_INTERIM_LENGTH = 10  # bytes that `_INTERIM` needs
_BODILESS = frozenset({204, 304})  # the statuses without a body, whatever the headers say (RFC 9112, 6.3)
_BOUNDARY = re.compile(rb"\r\n([0-9A-Fa-f]{1,7})\r\n")
_PART_OF_BOUNDARY = re.compile(rb"(?:\r(?:\n[0-9A-Fa-f]{0,7}\r?)?)?")


class ChunkReader:
    """Reads the bytes of a chunked body as long as its chunks are plain."""

    def __init__(self) -> None:
        self.ended = False  # whether anything but a plain chunk has arrived
        # The unread bytes; at the end, the bytes for h11. Before the first chunk there is no line end.
        self.rest = _LINE_END
        self._left = 0  # bytes of the last chunk that have not arrived yet

    def feed(self, data: bytes) -> bytes:
        """Read the next bytes; return their content."""
        data = self.rest + data
        content = [data[: self._left]]
        at = len(content[0])
        self._left -= at
        while not self._left:
            boundary = _BOUNDARY.match(data, at)
            if boundary is None or not (length := int(boundary[1], 16)):
                self.ended = boundary is not None or not _PART_OF_BOUNDARY.fullmatch(data, at)
                break
            content.append(data[boundary.end() : boundary.end() + length])
            at = boundary.end() + len(content[-1])
            self._left = length - len(content[-1])
        self.rest = data[at:]
        if self.ended:
            # h11 does not know that a chunk came before. If its line end is missing, h11 refuses this.
            self.rest = self.rest[2:] if self.rest.startswith(_LINE_END) else _LINE_END
        return b"".join(content)


class BaseStream:
    """The bytes that a connection of either kind carries.

    The head and the body of a request are sent together: httpcore writes one after the other, and nothing at
    the request's end. One segment instead of two halves the cost of sending. The received bytes are split, so
    that h11 gets the head of a response alone, and nothing beyond its end: that would be taken for the
    response to the next request.
    """

    unsent = b""  # bytes of a request to send before waiting for a response
    at_body = False  # whether exactly the whole head was returned
    rest = b""  # received bytes that were not returned yet
    is_closed = False  # whether this side has closed it, perhaps while another thread or task reads
    left = 0  # bytes of a body of known length that h11 has not got yet; 0: whatever arrives is passed on
    _tail: bytes | None = None  # the last returned bytes of a head; None: after the head
    _start = b""  # the first bytes of the head
    _stream: Any

    def get_extra_info(self, info: str) -> Any:
        # httpcore closes an idle connection that has something to read.
        return (info == "is_readable" and bool(self.rest)) or self._stream.get_extra_info(info)

    def add(self, part: bytes) -> bool:
        """Add a part of a request, before the next head; return whether to send the collected bytes now."""
        if self._tail is None:
            self._tail = b""
            self.at_body = False
            self.left = 0
        self.unsent += part
        return not part or len(self.unsent) >= SEND_PART

    def split(self, data: bytes) -> bytes:
        """Return the part of the next bytes to pass on now; the others stay in `rest`."""
        self.rest = b""
        if self._tail is None:
            self.at_body = False
            end = self.left or len(data)
            self.left = max(self.left - len(data), 0)
            self.rest = data[end:]
            return data[:end]
        seen = self._tail + data
        if len(self._start) < _INTERIM_LENGTH:
            self._start += data[:_INTERIM_LENGTH]
        if not (blank_line := _BLANK_LINE.search(seen)):
            self._tail = seen[-2:]
            return data
        end = blank_line.end() - len(self._tail)
        self.at_body = not _INTERIM.match(self._start)
        self._tail = None if self.at_body else b""
        self._start = b""
        self.rest = data[end:]
        return data[:end]

    def end_chunks(self, chunks: ChunkReader) -> None:
        """Keep what h11 reads of a chunked body: its end is a blank line, as that of a head."""
        if chunks.ended:
            self.rest, self._tail = chunks.rest, b""


@dataclass
class _Body:
    """A chunked body: `ChunkReader` reads its beginning, and h11 its end."""

    stream: Any
    connection: Any

    def __iter__(self) -> Iterator[bytes]:
        chunks = ChunkReader()
        while not chunks.ended and (data := self.connection.read_body()):
            yield chunks.feed(data)
        self.connection.end_chunks(chunks)
        yield from self.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = ChunkReader()
        while not chunks.ended and (data := await self.connection.read_body()):
            yield chunks.feed(data)
        self.connection.end_chunks(chunks)
        async for data in self.stream:
            yield data

    def __getattr__(self, name: str) -> Any:  # close or aclose
        return getattr(self.stream, name)


@dataclass
class LastBody:
    """The body of a response whose connection is in no pool any more: who closes it closes both."""

    stream: Any
    connection: Any

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self.stream)

    def close(self) -> None:
        try:
            self.stream.close()
        finally:
            self.connection.close()

    async def aclose(self) -> None:
        try:
            await self.stream.aclose()
        finally:
            await self.connection.aclose()


def read_past_h11(response: httpcore.Response) -> httpcore.Response:
    """Let `ChunkReader` read the body, if it is chunked and none of it was read yet."""
    connection = response.extensions.get("network_stream")
    if isinstance(connection, BaseStream) and connection.at_body:
        headers = httpx.Headers(response.headers)
        length, coding = headers.get("content-length"), headers.get("transfer-encoding", "").lower()
        if coding == "chunked" and length is None and response.status not in _BODILESS:
            response.stream = _Body(response.stream, connection)
        elif not coding:
            connection.left = int(length or 0)
    return response
