"""The table: every probe, in the order in which what is learnt helps the next, and every check.

The free ones come first, so that nobody is asked to pay for what a wrong token or a missing route shows. The
first run is the one that is canceled at once: it tells whether a run can be stopped before others are
started, and its answer tells the model's version, by which the second is created. A cold model is waited for
where it has an id to cancel by; ``/run`` and ``/run_sse`` find it warm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rockai_transport.doctor import free_probes as free
from rockai_transport.doctor import lives, streams
from rockai_transport.doctor import paid_probes as paid
from rockai_transport.doctor.probes import Check, Probe

if TYPE_CHECKING:
    from rockai_transport.config import Route

__all__ = ["CHECKS", "PROBES"]

_DIRECT: frozenset[Route] = frozenset({"auto", "run"})
_STREAMED: frozenset[Route] = frozenset({"auto", "predictions"})

_AUTH = "«Base and authentication»"
_CALLS = "«The five calls»"
_PREDICTION = "«A prediction»"
_ERRORS = "«Errors»"
_EVENTS = "«The event stream»"

PROBES: tuple[Probe[Any], ...] = (
    Probe(
        "Look at an unknown id without a token",
        free.send_anonymous,
        (
            Check(
                "reach",
                "The base URL answers: no proxy and no log-in page is in the way",
                f"{_AUTH} [quickstart]",
                free.judge_reach,
                ("base_url",),
            ),
            Check("no-token", "Without a token: 401", f"{_ERRORS} [server]", free.judge_no_token),
        ),
    ),
    Probe(
        "Show the token",
        free.send_token,
        (
            Check(
                "token",
                "The token is taken as `Authorization: Bearer <token>`",
                f"{_AUTH} [quickstart]",
                free.judge_token,
                ("auth_header", "auth_scheme"),
            ),
        ),
    ),
    Probe(
        "Show a wrong token",
        free.send_wrong_token,
        (Check("wrong-token", "A wrong token: 401", f"{_ERRORS} [server]", free.judge_wrong_token),),
    ),
    Probe(
        "Ask for a route that nobody has",
        free.send_nowhere,
        (
            Check(
                "missing-route",
                'A missing route: 405, 410, or 404 with no JSON or {"detail":"Not Found"}',
                f"{_CALLS} [server]",
                free.judge_nowhere,
                ("missing_route_statuses",),
            ),
        ),
    ),
    Probe(
        "Knock at each route with an unknown id or an empty body",
        free.send_routes,
        (
            Check(
                "get-route",
                "GET /predictions/{id} exists",
                f"{_CALLS} [quickstart]",
                free.judge_route("get_path"),
                ("get_path",),
            ),
            Check(
                "create-route",
                "POST /predictions exists",
                f"{_CALLS} [quickstart]",
                free.judge_route("create_path"),
                ("create_path",),
            ),
            Check(
                "cancel-route",
                "POST /predictions/{id}/cancel exists",
                f"{_CALLS} [quickstart]",
                free.judge_route("cancel_path"),
                ("cancel_path",),
            ),
            Check(
                "run-route",
                "POST /run exists",
                f"{_CALLS} [quickstart]",
                free.judge_route("run_path"),
                ("run_path", "route"),
                _DIRECT,
            ),
            Check(
                "run-sse-route",
                "POST /run_sse exists",
                f"{_CALLS} [quickstart]",
                free.judge_route("run_stream_path"),
                ("run_stream_path", "route"),
                _DIRECT,
            ),
            Check("unknown-id", "An unknown id: 404 in JSON", f"{_ERRORS} [server]", free.judge_unknown_id),
        ),
    ),
    Probe(
        "Create a prediction of a model that does not exist",
        free.send_unknown_model,
        (
            Check(
                "unknown-model",
                "An unknown model is refused otherwise than a missing route",
                f"{_CALLS} [quickstart]",
                free.judge_unknown_model,
            ),
        ),
        obstacle=paid.needs_create,
    ),
    Probe(
        "Create with an input key too many, which should be refused, and then costs nothing",
        paid.send_wrong_key,
        (
            Check(
                "wrong-key",
                'A key that the model does not know: 422, {"detail": [{"loc": […], …}]}',
                f"{_CALLS} [server]",
                lives.judge_wrong_key,
            ),
        ),
        consent=True,
        obstacle=paid.needs_create,
    ),
    Probe(
        "Create a prediction, and cancel it at once",
        paid.send_canceled,
        (
            Check(
                "create", "Create takes the model as given", f"{_CALLS} [docs-2024-08]", lives.judge_created
            ),
            Check(
                "shape",
                "A prediction is flat, or enveloped in `data`",
                f"{_PREDICTION} [docs-2024-08]",
                lives.judge_shape,
                ("read_prediction",),
            ),
            Check(
                "fields",
                "Its fields are those of the page",
                f"{_PREDICTION} [docs-2024-08]",
                lives.judge_fields,
            ),
            Check(
                "get",
                "GET answers with the prediction, with its id or without",
                f"{_PREDICTION} [docs-2024-08]",
                lives.judge_get,
                ("get_path",),
            ),
            Check(
                "cancel",
                "Cancel is taken; it ends `canceled`, unless it had ended before",
                f"{_CALLS} [quickstart]",
                lives.judge_cancel,
                ("cancel_path",),
            ),
        ),
        runs=1,
        consent=True,
        obstacle=paid.needs_create,
    ),
    Probe(
        "Create a prediction with a stream, and follow it to its end",
        paid.send_followed,
        (
            Check(
                "create-by",
                "Create takes a version alone too",
                f"{_CALLS} [quickstart]",
                lives.judge_other_form,
            ),
            Check(
                "statuses",
                "A status is starting, processing, succeeded, failed or canceled",
                f"{_PREDICTION} [docs-2024-08]",
                lives.judge_statuses,
                ("statuses",),
            ),
            Check(
                "times",
                "Times are ISO 8601 without a zone",
                f"{_PREDICTION} [docs-2024-08]",
                lives.judge_times,
            ),
            Check(
                "output",
                "An output is a string, a list, an object or null",
                f"{_PREDICTION} [docs-2024-08]",
                lives.judge_output,
            ),
            Check(
                "stream-address",
                "`urls.stream` names the stream, at the base URL's origin",
                f"{_CALLS} [docs-2024-08]",
                lives.judge_stream_address,
                ("stream_path", "route"),
                _STREAMED,
            ),
            Check(
                "stream-type",
                "It is text/event-stream",
                f"{_CALLS} [docs-2024-08]",
                lives.on_stream(streams.judge_content_type),
                routes=_STREAMED,
            ),
            Check(
                "stream-pieces",
                "Pieces come in `output` events, or unnamed ones",
                f"{_EVENTS} [server]",
                lives.on_stream(streams.judge_pieces),
                ("output_event",),
                _STREAMED,
            ),
            Check(
                "stream-end",
                "A `done` event ends it",
                f"{_EVENTS} [server]",
                lives.on_stream(streams.judge_end),
                ("end_events", "end_marker", "requires_end_event"),
                _STREAMED,
            ),
            Check(
                "stream-newlines",
                "Newlines are not escaped",
                f"{_EVENTS} [server]",
                lives.on_stream(streams.judge_newlines),
                routes=_STREAMED,
            ),
            Check(
                "stream-framing",
                "The body says itself where it ends",
                f"{_EVENTS} [server]",
                lives.on_stream(streams.judge_framing),
                routes=_STREAMED,
            ),
        ),
        runs=1,
        consent=True,
        obstacle=paid.needs_create,
    ),
    Probe(
        "Run and wait: /run",
        paid.send_run,
        (
            Check(
                "run",
                "/run answers with JSON: the output, or a prediction",
                f"{_PREDICTION} [quickstart]",
                lives.judge_run,
                ("read_prediction",),
            ),
        ),
        runs=1,
        consent=True,
        obstacle=paid.needs_direct("run_path"),
        routes=_DIRECT,
    ),
    Probe(
        "Run and stream: /run_sse",
        paid.send_run_stream,
        (
            Check(
                "run-sse-type",
                "/run_sse answers with text/event-stream",
                f"{_CALLS} [quickstart]",
                lives.on_run(streams.judge_content_type),
            ),
            Check(
                "run-sse-pieces",
                "Pieces come in `output` events, or unnamed ones",
                f"{_EVENTS} [server]",
                lives.on_run(streams.judge_pieces),
                ("output_event",),
            ),
            Check(
                "run-sse-end",
                "A `done` event ends it",
                f"{_EVENTS} [server]",
                lives.on_run(streams.judge_end),
                ("end_events", "end_marker", "requires_end_event"),
            ),
            Check(
                "run-sse-newlines",
                "Newlines are not escaped",
                f"{_EVENTS} [server]",
                lives.on_run(streams.judge_newlines),
            ),
            Check(
                "run-sse-framing",
                "The body says itself where it ends",
                f"{_EVENTS} [server]",
                lives.on_run(streams.judge_framing),
            ),
            Check("run-sse-id", "/run_sse tells no prediction id", f"{_EVENTS} [server]", lives.judge_ids),
        ),
        runs=1,
        consent=True,
        obstacle=paid.needs_direct("run_stream_path"),
        routes=_DIRECT,
    ),
)
"""Every probe, in the order in which they are sent."""

CHECKS: tuple[Check[Any], ...] = tuple(check for probe in PROBES for check in probe.checks)
"""Every check, in the order of the report."""
