"""Saves the files of an output, from addresses that a model has written.

Invariants of this module: downloads send no credentials. An address is http, https or data. A private address
is refused before anything is sent, unless the service itself has one or the user allows it. A file is
streamed next to its destination and then moved there. Its name consists of the prediction's id and the file's
type.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mimetypes
import re
import secrets
from base64 import b64decode
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from rockai_transport.config import Settings, check_flag, check_whole, is_private
from rockai_transport.errors import ConfigurationError, InvalidResponseError
from rockai_transport.protocol.exchange import read_body, with_retries
from rockai_transport.protocol.inputs import sniff_media_type
from rockai_transport.protocol.io import IO, AttemptLimits
from rockai_transport.protocol.messages import REDIRECTS, Request, ResponseHead
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.responses import status_error

DATA_URI = re.compile("(?i)data:")
"""Matches an address that contains the file itself; a scheme may be written in any case (RFC 3986)."""
_ADDRESS = r"(?i)https?://|data:"
_NO_FILE = frozenset({202, 204, 205, 206})
"""2xx statuses without a file: not ready yet, no content, or a part that was not requested."""
_MAX_REDIRECTS = 5
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_PART = 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
"""Maximum bytes that are read of an error: a model chose the host that sends it."""
_SAYS_NOTHING = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/binary"})


def file_addresses(output: Any) -> list[str]:
    """Return the strings of an output that are file addresses, in order."""
    if isinstance(output, str):
        return [output] if re.match(_ADDRESS, output) else []
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list):
        return [address for item in output for address in file_addresses(item)]
    return []


async def download_files(
    io: IO,
    settings: Settings,
    prediction: Prediction,
    folder: str | Path,
    until: float,
    *,
    max_bytes: int,
    allow_private: bool,
) -> list[Path]:
    """Save every file of an output in a folder.

    Raises:
        ConfigurationError: The prediction has not succeeded, or the folder is not writable.
        InvalidResponseError: An address or a file is not accepted.
        RockAIError: A file could not be fetched.
    """
    if not isinstance(prediction, Prediction):
        raise ConfigurationError(
            f"download needs a Prediction, not {type(prediction).__name__}: predictions.get(id) gives it."
        )
    if prediction.status != "succeeded":
        raise ConfigurationError(
            f"Prediction {prediction.id} is {prediction.status}: only a prediction that has succeeded has "
            "files. predictions.wait returns one."
        )
    max_bytes = check_whole(max_bytes, "max_bytes", 1)
    check_flag(allow_private, "allow_private")
    public_only = not allow_private and not is_private(urlsplit(settings.base_url).hostname)
    try:
        place = Path(folder).expanduser()  # noqa: ASYNC240 - does not read the disk
    except (TypeError, RuntimeError) as error:  # RuntimeError: the user in the path does not exist
        raise ConfigurationError(f"folder={folder!r} cannot be used: {error}") from None
    addresses = file_addresses(prediction.output)
    paths = []
    for number, address in enumerate(addresses, 1):
        stem = _stem(prediction, address, number if len(addresses) > 1 else None)
        sink = _Sink(place, stem, max_bytes)
        if DATA_URI.match(address):
            paths.append(await io.in_thread(partial(_save_data_uri, sink, address)))
        else:
            paths.append(await _fetch(io, settings, address, sink, until, public_only=public_only))
    return paths


async def _fetch(
    io: IO, settings: Settings, address: str, sink: _Sink, until: float, *, public_only: bool
) -> Path:
    """Fetch one file. Follow redirects, and check each new address."""
    for _ in range(_MAX_REDIRECTS + 1):
        _check_address(address, public_only=public_only)
        # Without any credentials.
        request = Request("GET", address, accept="*/*", download=True, public_only=public_only)
        attempt = partial(_attempt, io, settings, request, sink)
        fetched = await with_retries(io, settings, request, until, math.inf, attempt)
        if isinstance(fetched, Path):
            return fetched
        address = fetched
    raise InvalidResponseError(
        f"{_MAX_REDIRECTS} redirects and no file, the last to {_shown(address)}.", body=address
    )


async def _attempt(
    io: IO, settings: Settings, request: Request, sink: _Sink, limits: AttemptLimits
) -> Path | str:
    """Make one attempt; return the saved file's path, or the address of a redirect."""
    head = await io.open(request, limits.first_by)
    if head.status_code in REDIRECTS and "location" in head.headers:
        await io.close()
        with contextlib.suppress(ValueError):  # it is no web address, and refused as one
            return urljoin(request.target, head.headers["location"])
        return head.headers["location"]
    if not head.is_success:
        response = await read_body(io, settings.timeouts.idle, head, limits.until, [], _MAX_ERROR_BYTES)
        raise status_error(settings.service, request, response, response.status_code)
    if head.status_code in _NO_FILE:
        raise InvalidResponseError(f"{request} was answered {head.status_code}, which is no whole file.")
    try:
        return await _save(io, settings, head, sink, limits.until)
    except GeneratorExit:  # nothing can be awaited any more
        sink.discard()
        raise
    except BaseException:
        await io.in_thread(sink.discard)
        raise


async def _save(io: IO, settings: Settings, head: ResponseHead, sink: _Sink, until: float) -> Path:
    """Stream a body into a file, part by part."""
    part = bytearray()
    while chunk := await io.read(settings.timeouts.idle, until):
        part += chunk
        if len(part) >= _PART:
            await io.in_thread(partial(sink.write, bytes(part)))
            part.clear()
    await io.in_thread(partial(sink.write, bytes(part)))
    await io.close()
    return await io.in_thread(partial(sink.finish, head.media_type))


def _save_data_uri(sink: _Sink, address: str) -> Path:
    """Save a file that the output itself contains: ``data:[type][;base64],…``."""
    header, comma, body = address[5:].partition(",")
    media_type = header.partition(";")[0].strip().lower()
    unreadable = InvalidResponseError("The output holds a data: URI that cannot be read.", body=address[:100])
    if not comma:
        raise unreadable
    try:
        content = unquote_to_bytes(body)
        if "".join(header.split()).lower().endswith(";base64"):
            content = _from_base64(content)
    except ValueError:
        raise unreadable from None
    try:
        sink.write(content)
        return sink.finish(media_type)
    except BaseException:
        sink.discard()
        raise


def _from_base64(text: bytes) -> bytes:
    """Decode base64 of either alphabet, with or without line breaks and padding.

    Raises:
        ValueError: It is not base64.
    """
    text = b"".join(text.split()).translate(_URL_ALPHABET).rstrip(b"=")
    return b64decode(text + b"=" * (-len(text) % 4), validate=True)


@dataclass
class _Sink:
    """A file in progress: written next to its destination, and moved there when it is complete."""

    folder: Path
    stem: str
    max_bytes: int
    _start: bytes = b""
    _size: int = 0

    def __post_init__(self) -> None:
        self._temporary = self.folder / f".{self.stem}-{secrets.token_hex(8)}.part"

    def write(self, part: bytes) -> None:
        """Append to the temporary file; the first call creates it."""
        self._start = self._start or part[:16]
        self._size += len(part)
        if self._size > self.max_bytes:
            raise InvalidResponseError(
                f"A file is larger than {self.max_bytes} bytes. Pass a larger max_bytes to accept it."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._temporary.open("ab") as file:
                file.write(part)
        except (OSError, ValueError) as error:  # ValueError: NUL, or a lone surrogate
            why = "it is no folder" if isinstance(error, FileExistsError) else error
            raise ConfigurationError(f"{str(self.folder)!r} cannot be written: {why}") from error

    def finish(self, media_type: str) -> Path:
        """Move the file to its destination; return its path."""
        path = self.folder / f"{self.stem}{_suffix(media_type, self._start)}"
        try:
            self._temporary.replace(path)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error}") from error
        return path

    def discard(self) -> None:
        """Delete the temporary file; the next attempt starts again."""
        with contextlib.suppress(OSError, ValueError):  # there is none
            self._temporary.unlink()
        self._start, self._size = b"", 0


def _stem(prediction: Prediction, address: str, number: int | None) -> str:
    """Return the name without its suffix: the id, or else a hash, so that no other output has this name."""
    identity = prediction.id or address
    name = re.sub(r"[^0-9A-Za-z_-]", "_", prediction.id or "output")[:80]
    if name != prediction.id:
        name += f"-{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return name if number is None else f"{name}-{number}"


def _suffix(media_type: str, start: bytes) -> str:
    """Return a file's suffix, from its type, or else from its first bytes."""
    declared = "" if media_type in _SAYS_NOTHING else media_type
    for name in (declared, sniff_media_type(start) or ""):
        # Python knows only one spelling of some types: audio/x-wav, audio/flac.
        for spelling in (name, name.replace("/x-", "/"), name.replace("/", "/x-", 1)):
            if ending := mimetypes.guess_extension(spelling, strict=False):
                return ending
    return ".bin"


def _check_address(address: str, *, public_only: bool) -> None:
    host = None
    with contextlib.suppress(ValueError):  # it is no address, or its port is none
        parts = urlsplit(address)
        _ = parts.port
        host = parts.hostname if parts.scheme in ("http", "https") else None
    if not host:
        raise InvalidResponseError(
            f"The output names a file at {_shown(address)}, which is no web address.", body=address
        )
    if public_only and is_private(host):
        raise private_address_error(host, address)


def private_address_error(host: str, address: str | None = None) -> InvalidResponseError:
    """Return the error for a file at a private address."""
    return InvalidResponseError(
        f"The output names a file at the private address {host}, which is not fetched. "
        "Pass allow_private=True to download if you trust it.",
        body=address,
    )


def _shown(address: str) -> str:
    """Return the part of an address that a message may show: its query may contain a signature."""
    return repr(address.partition("?")[0][:200])
