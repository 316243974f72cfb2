"""`Service`: every assumption about the live gateway, as a setting.

Invariants of this module: whatever could not be checked at the live service is a setting here, and a constant
nowhere else. If the service differs from ``docs/http-api.md``, you can override it here without waiting for a
release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TERMINAL_STATUSES = ("succeeded", "failed", "canceled")
STATUSES = ("starting", "processing", *TERMINAL_STATUSES)
"""The statuses of a prediction, as this package names them."""


@dataclass(frozen=True)
class Service:
    """Assumptions about the service; override them if your deployment differs.

    Attributes:
        create_path: POST: create a prediction (quick start).
        get_path: GET: the current state of a prediction (quick start).
        cancel_path: POST: cancel a prediction (quick start).
        run_path: POST: run and wait (quick start).
        run_stream_path: POST: run and stream (quick start).
        stream_path: GET: the event stream of a created prediction. None: the address in its ``urls.stream``
            (public API page, August 2024).
        auth_header: The header that carries the token.
        auth_scheme: The scheme before the token in that header; empty: none.
        stream_content_type: The content type of an event stream, without parameters (quick start).
        output_event: The name of an event that carries a piece of output (recorded from the model server).
        end_events: The names of the events that end a stream (recorded from the model server).
        error_events: The names of the events that report a failure of the model (seen in similar services).
        end_marker: The data that ends a stream of unnamed events (seen in similar services).
        requires_end_event: Whether a stream of output events without an end event counts as interrupted.
            False: it is complete if its framing is complete (last chunk, full Content-Length) and it had at
            least one piece.
        statuses: The service's statuses → ours, by default the five under the same names. ``succeeded``,
            ``failed`` and ``canceled`` are terminal. A status that is not listed is kept as it is, and is not
            terminal.
        missing_route_statuses: HTTP statuses that mean a missing route, besides a 404 about the route itself.
        read_prediction: Decoded JSON of a response → the flat shape of a prediction (or the JSON itself,
            unchanged). If it returns None, the JSON counts as the function has left it.

    Example:
        A gateway that reports ``aborted``, and whose streams end without an end event:

        >>> service = Service(
        ...     statuses={**Service().statuses, "aborted": "canceled"}, requires_end_event=False
        ... )
        >>> Client(service=service).run("sandbox/echo", {"prompt": "Hello"}).text
        'Hello'
    """

    create_path: str = "/predictions"
    get_path: str = "/predictions/{id}"
    cancel_path: str = "/predictions/{id}/cancel"
    run_path: str = "/run"
    run_stream_path: str = "/run_sse"
    stream_path: str | None = None

    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"

    stream_content_type: str = "text/event-stream"
    output_event: str = "output"
    end_events: tuple[str, ...] = ("done",)
    error_events: tuple[str, ...] = ("error",)
    end_marker: str = "[DONE]"
    requires_end_event: bool = True

    statuses: Mapping[str, str] = field(
        default_factory=lambda: dict(zip(STATUSES, STATUSES, strict=True)), hash=False
    )
    missing_route_statuses: tuple[int, ...] = (405, 410)
    read_prediction: Callable[[Any], Any] | None = None
