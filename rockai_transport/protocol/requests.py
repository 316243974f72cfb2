"""One HTTP call as a value: what is sent, and what came back.

Law of this module: no clock, no sleep, no socket. A call names a path below the base URL, never another
origin; only a download names a whole address, and it carries no token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rockai_transport.protocol.inputs import encode_body
from rockai_transport.protocol.references import path_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rockai_transport.protocol.prediction import Prediction
    from rockai_transport.protocol.references import ModelReference
    from rockai_transport.service import Service

__all__ = [
    "Request",
    "Response",
    "ResponseHead",
    "cancel_call",
    "create_call",
    "download_call",
    "get_call",
    "run_call",
    "stream_call",
]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


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
    """Whether it may start a prediction that is paid for. Then it is never sent twice."""
    download: bool = False
    """Whether ``target`` is a whole address, asked without any credentials."""
    public_only: bool = False
    """Whether an address that turns out to be private is refused, before anything is sent there."""

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no harm: GET, and cancel."""
        return not self.starts

    def __str__(self) -> str:
        return f"{self.method} {self.target.partition('?')[0]}"


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers of an answer whose body is still to be read."""

    status_code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    received_at: float
    """Seconds since the epoch: what a Retry-After date is measured against."""

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
        return "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")


@dataclass(frozen=True)
class Response(ResponseHead):
    """A whole answer."""

    body: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The body as text: UTF-8, as JSON is."""
        return self.body.decode("utf-8", "replace")

    @cached_property
    def decoded(self) -> Any:
        """The decoded JSON of the body; `NotImplemented` where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return NotImplemented

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


def create_call(
    service: Service, reference: ModelReference, model_input: Mapping[str, Any], options: Mapping[str, Any]
) -> Request:
    """Create a prediction; ``options`` are ``stream`` and the webhook's two keys, as far as they are set."""
    body = {**reference.body(), "input": model_input, **options}
    return Request("POST", service.create_path, body=encode_body(body), starts=True)


def run_call(
    service: Service, reference: ModelReference, model_input: Mapping[str, Any], *, stream: bool
) -> Request:
    """Run a model at once: the model goes as its user wrote it."""
    body = encode_body({"model": reference.written, "input": model_input})
    if stream:
        return Request("POST", service.run_stream_path, body=body, accept=EVENT_STREAM, starts=True)
    return Request("POST", service.run_path, body=body, starts=True)


def get_call(service: Service, prediction_id: Any) -> Request:
    """Look at a prediction."""
    return Request("GET", _path(service.get_path, prediction_id))


def cancel_call(service: Service, prediction_id: Any) -> Request:
    """Cancel a prediction. The quick start sends no body, and so does this."""
    return Request("POST", _path(service.cancel_path, prediction_id))


def stream_call(service: Service, prediction: Prediction) -> Request | None:
    """Follow a created prediction; None where the service did not say at which address.

    Whatever origin ``urls.stream`` names, its path and query are asked at the base URL's own: the token goes
    nowhere else.
    """
    if service.stream_path is not None:
        return Request("GET", _path(service.stream_path, prediction.id), accept=EVENT_STREAM)
    try:
        url = urlsplit(prediction.urls.get("stream", ""))
    except ValueError:
        return None
    if not url.path:
        return None
    target = url.path if url.path.startswith("/") else f"/{url.path}"
    return Request(
        "GET", f"{target}?{url.query}" if url.query else target, below_base=False, accept=EVENT_STREAM
    )


def download_call(url: str, *, public_only: bool) -> Request:
    """Fetch an output file, without any credentials."""
    return Request("GET", url, accept="*/*", download=True, public_only=public_only)


def _path(template: str, prediction_id: Any) -> str:
    return template.replace("{id}", path_segment(prediction_id))
