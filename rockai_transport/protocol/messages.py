"""One HTTP request and its response, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_DEPTH = 100
_MAX_SHOWN = 200


@dataclass(frozen=True)
class Request:
    """One HTTP request, without origin and token."""

    method: str
    target: str
    """A path (and query) at the base URL, or a full address for a download."""
    below_base: bool = True
    """Whether ``target`` is relative to the base URL's path, or to its origin's root."""
    body: bytes | None = None
    accept: str = JSON
    starts: bool = False
    """Whether it may start a paid prediction. Such a request is never sent twice; all others may be."""
    download: bool = False
    """Whether ``target`` is a full address, fetched without any credentials."""
    public_only: bool = False
    """Whether a private address is refused before anything is sent to it."""

    def __str__(self) -> str:
        target = self.target.partition("?")[0]
        return f"{self.method} {target if len(target) <= _MAX_SHOWN else f'{target[:_MAX_SHOWN]}…'}"

    __repr__ = __str__  # a log handler may show a record's arguments: no secret of a webhook, and no input


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers of a response whose body is not read yet."""

    status_code: int
    headers: Mapping[str, str]
    """Header names are in lower case."""
    received_at: float
    """Seconds since the epoch; a Retry-After date is compared with it."""
    http_version: str = field(default="HTTP/1.1", kw_only=True)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300  # noqa: PLR2004 - the HTTP classes of status

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; the first if a gateway added another."""
        return self.headers.get("content-type", "").partition(",")[0].partition(";")[0].strip().lower()

    @property
    def is_framed(self) -> bool:
        """Whether the framing marks the end of the body, so that a cut is noticed."""
        if self.http_version not in ("HTTP/1.0", "HTTP/1.1"):
            return True
        is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        return is_chunked or "content-length" in self.headers


@dataclass(frozen=True)
class Response(ResponseHead):
    """A complete response."""

    body: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The body as text. It is UTF-8, like JSON."""
        return self.body.decode("utf-8", "replace")

    @cached_property
    def decoded(self) -> Any:
        """The decoded JSON of the body; `NotImplemented` if it is not JSON, or nested too deeply."""
        try:
            decoded = json.loads(self.body)
        except (ValueError, RecursionError):
            return NotImplemented
        may_be_deep = self.body.count(b"[") + self.body.count(b"{") > _MAX_DEPTH
        return NotImplemented if may_be_deep and _is_too_deep(decoded) else decoded

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON."""
        return self.decoded is not NotImplemented

    def json(self) -> Any:
        """Return the decoded JSON, like `httpx.Response.json`."""
        return json.loads(self.body)

    @property
    def content(self) -> Any:
        """The decoded JSON, or the text if it is not JSON."""
        return self.decoded if self.is_json else self.text


def _is_too_deep(decoded: Any) -> bool:
    """Return whether JSON is nested too deeply to be compared, copied or printed."""
    level = [decoded] if isinstance(decoded, dict | list) else []
    for _ in range(_MAX_DEPTH):
        below = [value.values() if isinstance(value, dict) else value for value in level]
        level = [item for items in below for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True
