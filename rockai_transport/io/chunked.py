"""Plain chunks of a response's body, cut out of the connection without h11, which takes some 9 µs for each.

Invariants of this module: h11 is given the head of a response and no byte of the body with it. Only plain
chunks are read here: CR LF, a number, CR LF, as many bytes. Where anything else comes (an extension, the
last chunk and its trailers, garbage, the end of the connection), h11 reads on from that byte. So h11 says how
a body ends, and whether the connection can be used again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpcore

__all__ = ["ChunkReader", "HeadSplitter", "read_past_h11"]

_LINE_END = b"\r\n"
_BLANK_LINE = re.compile(rb"\n\r?\n")  # as h11 finds the end of a head
_BOUNDARY = re.compile(rb"\r\n([0-9A-Fa-f]{1,7})\r\n")
_PART_OF_BOUNDARY = re.compile(rb"(?:\r(?:\n[0-9A-Fa-f]{0,7}\r?)?)?")


class ChunkReader:
    """Takes the bytes of a chunked body for as long as its chunks are plain."""

    def __init__(self) -> None:
        self.ended = False  # whether something else has come than a plain chunk
        # What was not read yet; at the end, what h11 is to read. The first chunk has no line end before it.
        self.rest = _LINE_END
        self._left = 0  # bytes of the last chunk that are still to come

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give the content that they bring."""
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
            # h11 does not know that a chunk came before: where its line end is missing, h11 refuses this.
            self.rest = self.rest[2:] if self.rest.startswith(_LINE_END) else _LINE_END
        return b"".join(content)


class HeadSplitter:
    """Splits what comes over a connection, so that h11 gets the head of a response by itself."""

    at_body = False  # whether all of a head was given out, and nothing else
    rest = b""  # what has come and was not given out yet
    _tail: bytes | None = None  # the end of what was given out of a head; None: behind it

    def begin(self) -> None:
        """A request leaves: a head comes next."""
        if self._tail is None:
            self._tail, self.at_body = b"", False

    def split(self, data: bytes) -> bytes:
        """What of the next bytes is given out now."""
        if self._tail is None:
            self.at_body = False
            return data
        seen = self._tail + data
        if not (blank_line := _BLANK_LINE.search(seen)):
            self._tail = seen[-2:]
            return data
        end = blank_line.end() - len(self._tail)
        self._tail, self.at_body, self.rest = None, True, data[end:]
        return data[:end]

    def take_rest(self) -> bytes:
        """What has come already."""
        rest, self.rest = self.rest, b""
        return rest


class _Body:
    """A chunked body. `ChunkReader` begins, and h11 ends."""

    def __init__(self, stream: Any, connection: Any) -> None:
        self._stream, self._connection = stream, connection

    def __iter__(self) -> Iterator[bytes]:
        chunks = ChunkReader()
        while not chunks.ended and (data := self._connection.read_body()):
            yield chunks.feed(data)
        self._connection.rest = chunks.rest if chunks.ended else b""
        yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = ChunkReader()
        while not chunks.ended and (data := await self._connection.read_body()):
            yield chunks.feed(data)
        self._connection.rest = chunks.rest if chunks.ended else b""
        async for data in self._stream:
            yield data

    def __getattr__(self, name: str) -> Any:  # close, or aclose
        return getattr(self._stream, name)


def read_past_h11(response: httpcore.Response) -> httpcore.Response:
    """Have a body read by `ChunkReader`, where it is chunked and no byte of it was read yet."""
    connection = response.extensions.get("network_stream")
    headers = {name.lower(): value.lower() for name, value in response.headers}
    is_chunked = headers.get(b"transfer-encoding") == b"chunked" and b"content-length" not in headers
    if is_chunked and isinstance(connection, HeadSplitter) and connection.at_body:
        response.stream = _Body(response.stream, connection)
    return response
