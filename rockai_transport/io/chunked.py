"""Plain chunks of a response's body, cut out of the connection without h11, which takes some 9 µs for each.

Invariants of this module: h11 is given the head of a response and no byte of the body with it. Only plain
chunks are read here: CR LF, a number, CR LF, as many bytes. Where anything else comes (an extension, the
last chunk and its trailers, garbage, the end of the connection), h11 reads on from that byte. So h11 says how
a body ends, and whether the connection can be used again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

__all__ = ["SEND_PART", "BaseStream", "ChunkReader", "read_past_h11"]

SEND_PART = 64 * 1024
"""Bytes of a request that are sent at once, about."""
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


class BaseStream:
    """What both kinds of connection know of the bytes that they carry.

    A request's head and body go out together: httpcore writes them one after the other, and then nothing, at
    the request's end; one segment in place of two halves what sending costs. What comes back is split, so
    that h11 gets the head of a response by itself.
    """

    unsent = b""  # what was written of a request and is to be sent before an answer is waited for
    at_body = False  # whether all of a head was given out, and nothing else
    rest = b""  # what has come and was not given out yet
    _tail: bytes | None = None  # the end of what was given out of a head; None: behind it
    _stream: Any

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def add(self, part: bytes) -> bool:
        """Take a part of a request, after which a head comes; whether what is unsent is to be sent now."""
        if self._tail is None:
            self._tail, self.at_body = b"", False
        self.unsent += part
        return not part or len(self.unsent) >= SEND_PART

    def split(self, data: bytes) -> bytes:
        """What of the next bytes is given out now; the others stay as `rest`."""
        self.rest = b""
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


@dataclass
class _Body:
    """A chunked body. `ChunkReader` begins, and h11 ends."""

    stream: Any
    connection: Any

    def __iter__(self) -> Iterator[bytes]:
        chunks = ChunkReader()
        while not chunks.ended and (data := self.connection.read_body()):
            yield chunks.feed(data)
        self.connection.rest = chunks.rest if chunks.ended else b""
        yield from self.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = ChunkReader()
        while not chunks.ended and (data := await self.connection.read_body()):
            yield chunks.feed(data)
        self.connection.rest = chunks.rest if chunks.ended else b""
        async for data in self.stream:
            yield data

    def __getattr__(self, name: str) -> Any:  # close, or aclose
        return getattr(self.stream, name)


def read_past_h11(response: httpcore.Response) -> httpcore.Response:
    """Have a body read by `ChunkReader`, where it is chunked and no byte of it was read yet."""
    connection = response.extensions.get("network_stream")
    headers = httpx.Headers(response.headers)
    is_chunked = headers.get("transfer-encoding", "").lower() == "chunked" and "content-length" not in headers
    if is_chunked and isinstance(connection, BaseStream) and connection.at_body:
        response.stream = _Body(response.stream, connection)
    return response
