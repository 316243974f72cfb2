"""A model's input: from Python values to what JSON can hold.

A `pathlib.Path`, bytes or an open binary file becomes a data URI: inputs accept an ``https:`` URL or a
``data:`` URI (docs/http-api.md, «Files»).
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import mimetypes
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rockai_transport._forks import lock_across_forks
from rockai_transport.errors import ConfigurationError

MAX_FILE_BYTES = 10 * 1024 * 1024
"""The maximum size of each file in a request."""

_seeking = lock_across_forks()
"""Held while an open file is read and set back: another thread would read from wherever this one is."""

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"%PDF-", "application/pdf"),
)


def sniff_media_type(start: bytes) -> str | None:
    """Detect the media type from a file's first bytes; None if they do not show it."""
    for offset, signature, media_type in _SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return media_type
    return None


def check_input(value: Any) -> bool:
    """Refuse an invalid input before anything is sent; return whether it contains files."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"input must be a dict of the model's own input keys, not {type(value).__name__}. "
            'Example: {"prompt": "Hello"}; each model\'s page lists its keys.'
        )
    for key in value:
        if not isinstance(key, str):
            raise ConfigurationError(f"input key {key!r} must be a string.")
    try:
        return _has_files(value)
    except RecursionError:
        raise ConfigurationError("The input is nested too deeply, or holds itself.") from None


def check_webhook(address: Any, events: Any) -> dict[str, Any]:
    """Return a webhook's request keys. Refuse an invalid one: nobody would be notified of a paid run."""
    is_address = isinstance(address, str) and re.fullmatch(r"(?i)https?://[^\s/?#]\S*", address)
    if address is not None and not is_address:
        raise ConfigurationError("webhook must be a text that is an https:// address, without spaces.")
    is_list = isinstance(events, list | tuple) and all(isinstance(event, str) for event in events)
    if events is not None and not is_list:
        raise ConfigurationError(
            f"webhook_events_filter={events!r} must be a list of events: start, output, logs, completed."
        )
    if events and address is None:
        raise ConfigurationError("webhook_events_filter needs a webhook: without it, nobody is notified.")
    given = {"webhook": address, "webhook_events_filter": events}
    return {key: value for key, value in given.items() if value is not None}


def _has_files(value: Any) -> bool:
    """Return whether anything must be read from disk or encoded."""
    if isinstance(value, str):
        return False
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return _is_file(value)
    return any(map(_has_files, value))


def encode_input(value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a model's input, with its files as data URIs. May read from disk.

    Raises:
        ConfigurationError: A file is too large, cannot be read, or was opened as text.
    """
    encoded: dict[str, Any] = _converted(value, "input", _is_file)
    return encoded


def read_open_files(value: Any, where: str) -> Any:
    """Copy a value with the content of its open files as data URIs, for a value that is sent several times.

    A pipe can be read only once, and a file by only one thread at a time.

    Raises:
        ConfigurationError: As `encode_input`.
    """
    return _converted(value, where, _is_open_file)


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Encode the JSON of a request.

    Raises:
        ConfigurationError: It contains a value that JSON cannot hold.
    """
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_dict)
        try:
            return text.encode()
        except UnicodeEncodeError:  # surrogates: a pair of them is a character, one alone is U+FFFD
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"The input cannot be written as JSON: {error}. Values may be strings, numbers, booleans, lists, "
            "dicts, or files: a pathlib.Path, bytes, or a file opened with 'rb'."
        ) from None


def _as_dict(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise TypeError(f"a value of type {name}")


def _is_open_file(value: Any) -> bool:
    return callable(getattr(value, "read", None))


def _is_file(value: Any) -> bool:
    return isinstance(value, Path | bytes | bytearray | memoryview) or _is_open_file(value)


def _converted(value: Any, where: str, is_chosen: Callable[[Any], bool]) -> Any:
    """Copy a value with the chosen files in it as data URIs."""
    if isinstance(value, Mapping):
        return {key: _converted(item, f"{where}[{key!r}]", is_chosen) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_converted(item, f"{where}[{index}]", is_chosen) for index, item in enumerate(value)]
    return _data_uri(value, where) if is_chosen(value) else value


def _data_uri(value: Any, where: str) -> str:
    content, name = _read(value, where)
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{where} is larger than {MAX_FILE_BYTES // 1024**2} MiB. Upload it and give its https: URL."
        )
    kind, compression = mimetypes.guess_type(name)
    named = None if compression else kind
    media_type = named or sniff_media_type(content[:16]) or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _read_from_here(file: Any) -> Any:
    """Read the rest of a file, then seek back, so that a second call sends the same."""
    if not (callable(getattr(file, "seekable", None)) and file.seekable()):
        return _read_rest(file)
    with _seeking:
        here = file.tell()
        content = _read_rest(file)
        file.seek(here)
    return content


def _read_rest(file: Any) -> Any:
    if not isinstance(file, io.RawIOBase):
        return file.read(MAX_FILE_BYTES + 1)
    buffered = io.BufferedReader(file)  # an unbuffered pipe returns only what has arrived
    content = buffered.read(MAX_FILE_BYTES + 1)
    buffered.detach()
    return content


def _read(value: Any, where: str) -> tuple[bytes, str]:
    """Read the bytes of a file, at most one more than allowed, and its name if it has one."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), ""
    if inspect.iscoroutinefunction(getattr(value, "read", None)):
        raise ConfigurationError(f"{where} is read with await: give what `await file.read()` gives.")
    try:
        if isinstance(value, Path):
            with value.open("rb") as file:
                return file.read(MAX_FILE_BYTES + 1), value.name
        content = _read_from_here(value)
    except Exception as error:  # a user's file object may raise anything
        raise ConfigurationError(f"{where} cannot be read: {error or type(error).__name__}") from error
    if not isinstance(content, bytes):
        raise ConfigurationError(f"{where} was opened as text. Open it with open(path, 'rb').")
    if not content:
        why = "is empty, or was read to its end: seek(0), or open it again (a pipe can be sent only once)."
        raise ConfigurationError(f"{where} {why}")
    name = getattr(value, "name", "")
    return content, name if isinstance(name, str) else ""
