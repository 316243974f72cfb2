"""Files that models produced, served from a separate origin, like a CDN; reads only this machine's files."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import secrets
import threading
from collections import OrderedDict
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from rockai_sandbox.options import HEADER_VALUE

KEPT_BYTES = 256 * 1024 * 1024
"""The most that a sandbox keeps. Beyond that it drops the oldest files, but never the newest one."""

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (4, b"ftyp", "video/mp4"),
)
"""Offset, bytes and media type of the formats that a model is likely to produce."""

EXTENSIONS = {"audio/wav": ".wav", "application/octet-stream": ".bin"}
"""File extensions where `mimetypes` knows none, or a different one on each system."""


class File(NamedTuple):
    """A file on the file server."""

    content: bytes
    media_type: str


def media_type_of(content: bytes) -> str:
    """Return the media type that the first bytes indicate, otherwise ``application/octet-stream``."""
    for offset, signature, media_type in SIGNATURES:
        if content[offset : offset + len(signature)] == signature:
            return media_type
    return "application/octet-stream"


class FileStore:
    """The files of one sandbox: thread-safe, at most `KEPT_BYTES`.

    Attributes:
        origin: Scheme, host and port under which they are served; set by the server.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.origin = ""
        self._kept_bytes = kept_bytes
        self._files: OrderedDict[str, File] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, content: bytes, media_type: str) -> str:
        """Store a file and return its URL.

        Raises:
            TypeError: The content is not bytes.
            ValueError: The media type is not text that a header can hold.
        """
        if not isinstance(content, bytes | bytearray | memoryview):
            raise TypeError(f"a file's content is bytes, not {type(content).__name__}")
        HEADER_VALUE.check("media_type", media_type)
        extension = EXTENSIONS.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"
        path = f"/{secrets.token_urlsafe(16)}/output{extension}"
        with self._lock:
            self._files[path] = File(content, media_type)
            while len(self._files) > 1 and self._size() > self._kept_bytes:
                self._files.popitem(last=False)
        return self.origin + path

    def get(self, path: str) -> File | None:
        """Return the file at a path of the file server."""
        with self._lock:
            return self._files.get(path)

    def read(self, url: str) -> bytes | None:
        """Return the content of a ``data:`` URI or of one of our URLs; `None` for others: nothing is fetched.

        Raises:
            ValueError: The ``data:`` URI is malformed, or there is no file at our URL.
        """
        if url.startswith("data:"):
            return _decode(url)
        if not url.startswith(self.origin + "/"):
            return None
        file = self.get(url.removeprefix(self.origin))
        if file is None:
            raise ValueError(f"no such file: {url}")
        return file.content

    def _size(self) -> int:
        return sum(len(file.content) for file in self._files.values())


def _decode(uri: str) -> bytes:
    head, comma, data = uri.partition(",")
    if not comma:
        raise ValueError("a data URI needs a comma")
    raw = unquote_to_bytes(data)
    if not head.endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a data URI with bad base64: {error}") from error
