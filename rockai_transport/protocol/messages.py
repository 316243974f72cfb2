"""One HTTP request and its response, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["EVENT_STREAM", "JSON", "Request", "Response", "ResponseHead"]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
_MAX_DEPTH = 100
_MAX_SHOWN = 200


@dataclass(frozen=True)
class Request:
    """One HTTP request, without its origin and its token."""

    method: str
    target: str
    """A path (and query) at the base URL; a whole address only in a download."""
    below_base: bool = True
    """Whether ``target`` stands below the base URL's path, or at its origin's root."""
    body: bytes | None = None
    accept: str = JSON
    starts: bool = False
    """Whether it may start a prediction that is paid for. Then it is never sent twice; all else may be."""
    download: bool = False
    """Whether ``target`` is a whole address, asked without any credentials."""
    public_only: bool = False
    """Whether an address that turns out to be private is refused, before anything is sent there."""

    def __str__(self) -> str:
        target = self.target.partition("?")[0]
        return f"{self.method} {target if len(target) <= _MAX_SHOWN else f'{target[:_MAX_SHOWN]}…'}"


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers of a response whose body is still to be read."""

    status_code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    received_at: float
    """Seconds since the epoch: what a Retry-After date is measured against."""
    http_version: str = field(default="HTTP/1.1", kw_only=True)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300  # noqa: PLR2004 - the HTTP classes of status

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_framed(self) -> bool:
        """Whether the body says itself where it ends, so that a cut is noticed."""
        if self.http_version not in ("HTTP/1.0", "HTTP/1.1"):
            return True
        is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        return is_chunked or "content-length" in self.headers


@dataclass(frozen=True)
class Response(ResponseHead):
    """A whole response."""

    body: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The body as text: UTF-8, as JSON is."""
        return self.body.decode("utf-8", "replace")

    @cached_property
    def decoded(self) -> Any:
        """The decoded JSON of the body; `NotImplemented` where it is none, or is nested too deep."""
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
        """The decoded JSON, as `httpx.Response.json` gives it."""
        return json.loads(self.body)

    @property
    def content(self) -> Any:
        """The decoded JSON where it is JSON, else the text."""
        return self.decoded if self.is_json else self.text


def _is_too_deep(decoded: Any) -> bool:
    """Whether JSON is nested deeper than what compares, copies or shows it can follow."""
    level = [decoded] if isinstance(decoded, dict | list) else []
    for _ in range(_MAX_DEPTH):
        below = [value.values() if isinstance(value, dict) else value for value in level]
        level = [item for items in below for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True
