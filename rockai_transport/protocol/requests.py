"""The request for each call of the service.

Invariants of this module: no clock, no sleep, no socket. A request has a path below the base URL, never
another origin; only a download has a full address, and it carries no token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rockai_transport.errors import InvalidResponseError
from rockai_transport.protocol.inputs import encode_body
from rockai_transport.protocol.messages import EVENT_STREAM, JSON, Request
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.references import ModelReference, path_segment
from rockai_transport.service import Service


@dataclass(frozen=True)
class RunRequest:
    """A run request, checked before anything is sent."""

    reference: ModelReference
    input: Any
    options: dict[str, Any] = field(default_factory=dict)
    has_files: bool = False
    """Whether the input contains anything to read from disk or to encode."""

    @property
    def partial(self) -> Prediction:
        """The prediction as known before the first response."""
        return Prediction(model=self.reference.name, version=self.reference.version, input=self.input)


def create_request(service: Service, run: RunRequest) -> Request:
    """Create a prediction; the options are ``stream`` and the two webhook keys, if they are set."""
    body = {**run.reference.body(), "input": run.input, **run.options}
    return Request("POST", service.create_path, body=encode_body(body), starts=True)


def run_request(service: Service, run: RunRequest, *, stream: bool) -> Request:
    """Run a model at once; the model reference is sent as the user wrote it."""
    body = encode_body({"model": run.reference.written, "input": run.input})
    if stream:
        return Request("POST", service.run_stream_path, body=body, accept=EVENT_STREAM, starts=True)
    return Request("POST", service.run_path, body=body, starts=True)


def prediction_request(method: str, path: str, prediction_id: Any, accept: str = JSON) -> Request:
    """Get, stream or cancel a prediction: like the quick start's, the request to cancel has no body."""
    # The id is the service's: a user's was checked before.
    own_path = path.replace("{id}", path_segment(prediction_id, InvalidResponseError))
    return Request(method, own_path, accept=accept)


def stream_request(service: Service, prediction: Prediction) -> Request | None:
    """Stream a created prediction; None if the service returned no address.

    The path and query of ``urls.stream`` are requested at the base URL's origin, whatever its own origin is:
    the token is sent nowhere else.
    """
    if service.stream_path is not None:
        return prediction_request("GET", service.stream_path, prediction.id, EVENT_STREAM)
    try:
        url = urlsplit(prediction.urls.get("stream", ""))
    except ValueError:
        return None
    if not url.path:
        return None
    target = url.path if url.path.startswith("/") else f"/{url.path}"
    if url.query:
        target = f"{target}?{url.query}"
    return Request("GET", target, below_base=False, accept=EVENT_STREAM)
