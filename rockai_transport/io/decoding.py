"""Decodes responses that are compressed although the request did not ask for it, within a limit.

A kilobyte can contain gigabytes of zeros, and httpx decodes each chunk completely. Here, no step returns more
than a part, and all parts together are within the limit.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from rockai_transport.errors import InvalidResponseError
from rockai_transport.protocol.messages import ResponseHead

DECODED_LIMIT = 64 * 1024**2
"""Maximum decoded bytes of an API response; a download has its own limit."""
_PART = 64 * 1024
"""Maximum decoded bytes per step."""
_ZLIB = 15  # zlib's codes for the formats, its `wbits`
_GZIP = 31
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class Decoded:
    """The decoded parts of a body.

    Args:
        body: The body as received.
        head: The response's head.
        limit: Maximum number of decoded bytes.
    """

    def __init__(self, body: Any, head: ResponseHead, limit: float) -> None:
        self._body = body
        self._encoding = head.headers.get("content-encoding", "")
        self._zlib: Any = None
        self._size = 0
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        self._begin()
        for chunk in self._body:
            yield from self._parts(chunk)
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._begin()
        async for chunk in self._body:
            for part in self._parts(chunk):
                yield part
        self._end()

    def _begin(self) -> None:
        if self._encoding.strip().lower() not in _ENCODINGS:
            raise InvalidResponseError(
                f"A response came with Content-Encoding {self._encoding!r}, though none was asked for. "
                "Does a proxy on the way compress responses?"
            )

    def _parts(self, chunk: bytes) -> Iterator[bytes]:
        """Decode one chunk; a gzip body may have several members, one after another."""
        has_more = False
        while chunk or has_more:
            if self._zlib is None:
                self._zlib = zlib.decompressobj(_window_bits(chunk[0]))
            try:
                part = self._zlib.decompress(chunk, _PART)
            except zlib.error as error:
                raise InvalidResponseError(f"A response cannot be decoded: {error}.") from error
            self._size += len(part)
            if self._size > self._limit:
                raise InvalidResponseError(f"A response is larger than {self._limit:.0f} bytes when decoded.")
            if part:
                yield part
            chunk = self._zlib.unconsumed_tail
            has_more = len(part) == _PART and not self._zlib.eof
            if self._zlib.eof:
                chunk = self._zlib.unused_data
                self._zlib = None

    def _end(self) -> None:
        if self._zlib is not None:
            raise InvalidResponseError("A response that came compressed is cut: its end is missing.")


def _window_bits(first: int) -> int:
    """Return zlib's code for the format that a first byte shows: gzip, zlib, or «deflate» without header."""
    if first == 0x1F:  # noqa: PLR2004 - RFC 1952
        return _GZIP
    return _ZLIB if first & 0x0F == 8 else -_ZLIB  # noqa: PLR2004 - RFC 1950
