"""Responses that are compressed although nobody asked for it, decoded within a limit.

A kilobyte can hold gigabytes of zeros: httpx decodes each chunk whole. Here no step gives more than a part,
and all together no more than the limit.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from rockai_transport.errors import InvalidResponseError
from rockai_transport.protocol.messages import ResponseHead

__all__ = ["DECODED_LIMIT", "adecoded", "decoded"]

DECODED_LIMIT = 64 * 1024**2
"""Bytes of one response of the API; a download has a limit of its own."""
_PART = 64 * 1024
_ZLIB = 15
_GZIP = 31
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class _Decoder:
    """Gives the decoded parts of each chunk."""

    def __init__(self, head: ResponseHead, limit: float) -> None:
        encoding = head.headers.get("content-encoding", "")
        if encoding.strip().lower() not in _ENCODINGS:
            raise InvalidResponseError(
                f"A response came with Content-Encoding {encoding!r}, though none was asked for. "
                "Is a proxy in the way that compresses?"
            )
        self._zlib: Any = None
        self._size = 0
        self._limit = limit

    def parts(self, chunk: bytes) -> Iterator[bytes]:
        """The parts of one chunk; of gzip there may be several members, one after another."""
        while chunk:
            if self._zlib is None:
                self._zlib = zlib.decompressobj(_window_bits(chunk[0]))
            try:
                part = self._zlib.decompress(chunk, _PART)
            except zlib.error as error:
                raise InvalidResponseError(f"A response cannot be decoded: {error}") from error
            self._size += len(part)
            if self._size > self._limit:
                raise InvalidResponseError(f"A response is larger than {self._limit:.0f} bytes when decoded.")
            if part:
                yield part
            chunk = self._zlib.unconsumed_tail
            if self._zlib.eof:
                chunk, self._zlib = self._zlib.unused_data, None

    def end(self) -> None:
        """Take note that there are no more chunks.

        Raises:
            InvalidResponseError: It is cut.
        """
        if self._zlib is not None:
            raise InvalidResponseError("A response that came compressed is cut: its end is missing.")


def _window_bits(first: int) -> int:
    """What zlib calls the format that a first byte tells: gzip, zlib, or «deflate» without its header."""
    return _GZIP if first == 0x1F else _ZLIB if first & 0x0F == 8 else -_ZLIB  # noqa: PLR2004 - RFC 1950, 1952


def decoded(chunks: Iterator[bytes], head: ResponseHead, limit: float) -> Iterator[bytes]:
    """The decoded parts of a body.

    Args:
        chunks: The body as it comes.
        head: The response's head.
        limit: Decoded bytes that are accepted.

    Raises:
        InvalidResponseError: It cannot be decoded, or is too large.
    """
    decoder = _Decoder(head, limit)
    for chunk in chunks:
        yield from decoder.parts(chunk)
    decoder.end()


async def adecoded(chunks: AsyncIterator[bytes], head: ResponseHead, limit: float) -> AsyncIterator[bytes]:
    """As `decoded`."""
    decoder = _Decoder(head, limit)
    async for chunk in chunks:
        for part in decoder.parts(chunk):
            yield part
    decoder.end()
