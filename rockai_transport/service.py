"""`Service`: every assumption about the live gateway, as a setting.

Invariants of this module: nothing that nobody could check at the live service is a constant anywhere else. If
the service differs from what ``docs/http-api.md`` tells, it is overridden here, without waiting for a
release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["STATUSES", "Service"]

STATUSES = ("starting", "processing", "succeeded", "failed", "canceled")
"""Our words for how a prediction stands."""


@dataclass(frozen=True)
class Service:
    """Assumptions about the service; override them if your deployment differs.

    Example:
        A gateway that says ``aborted``, and whose streams end without an end event:

        >>> service = Service(
        ...     statuses={**Service().statuses, "aborted": "canceled"}, requires_end_event=False
        ... )
        >>> Client(service=service).run("sandbox/echo", {"prompt": "Hello"}).text
        'Hello'
    """

    create_path: str = "/predictions"
    """POST: create a prediction (quick start)."""
    get_path: str = "/predictions/{id}"
    """GET: a prediction as it is now (quick start)."""
    cancel_path: str = "/predictions/{id}/cancel"
    """POST: cancel a prediction (quick start)."""
    run_path: str = "/run"
    """POST: run and wait (quick start)."""
    run_stream_path: str = "/run_sse"
    """POST: run and stream (quick start)."""
    stream_path: str | None = None
    """GET: the event stream of a created prediction. None: the address in its ``urls.stream``
    (public API page, August 2024)."""

    auth_header: str = "Authorization"
    """The header that carries the token."""
    auth_scheme: str = "Bearer"
    """What stands before the token in that header; empty: nothing."""

    output_event: str = "output"
    """The name of an event that carries a piece of output (recorded from the model server)."""
    end_events: tuple[str, ...] = ("done",)
    """The names of the events that end a stream (recorded from the model server)."""
    error_events: tuple[str, ...] = ("error",)
    """The names of the events that say that the model failed (seen at peers)."""
    end_marker: str = "[DONE]"
    """The data that ends a stream of unnamed events (seen at peers)."""
    requires_end_event: bool = True
    """Whether a stream of output events without an end event is cut. False: one that ends by its own
    framing (last chunk, full Content-Length) after at least one piece is whole."""

    statuses: Mapping[str, str] = field(default_factory=lambda: dict(zip(STATUSES, STATUSES, strict=True)))
    """The service's words for a prediction's status → ours. Terminal are ``succeeded``, ``failed`` and
    ``canceled``; a word that is not listed is kept as it is, and is not terminal."""
    missing_route_statuses: tuple[int, ...] = (405, 410)
    """HTTP statuses that say a route does not exist, besides a 404 that speaks of the route itself."""
    read_prediction: Callable[[Any], Any] | None = None
    """Decoded JSON of an answer → the flat shape of a prediction (or the answer itself, unchanged)."""
