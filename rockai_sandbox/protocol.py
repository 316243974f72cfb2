"""The sandbox's assumptions about the service, as one value.

Invariants: an assumption about the HTTP API that a test may want to override is a field of `Protocol`, never
a branch elsewhere. The defaults come from docs/http-api.md; values it lacks are marked *assumed*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from rockai_sandbox.options import (
    BODY,
    FLAG,
    FUNCTION,
    HEADER_NAME,
    HEADER_VALUE,
    HEADERS,
    ID_PATH,
    LINE,
    PATH,
    STATUS,
    OptionRule,
    check_choice,
    made_of,
    or_none,
)

Generation = Literal["both", "old", "new"]
Shape = Literal["flat", "enveloped"]
RunAnswer = Literal["output", "prediction"]
Json = dict[str, Any]


def flat(prediction: Json) -> Any:
    """Respond with the prediction itself: the newer shape in docs/http-api.md."""
    return prediction


def enveloped(body: Any) -> Any:
    """Respond with ``{"data": …, "msg": "success", "code": 200}``: the older shape in docs/http-api.md."""
    return {"data": body, "msg": "success", "code": 200}


def bare_output(prediction: Json) -> Any:
    """Respond with the model's output alone."""
    return prediction["output"]


def enveloped_output(prediction: Json) -> Any:
    """Respond with an envelope whose ``data`` is the model's output."""
    return enveloped(prediction["output"])


def predict_time(seconds: float, _input_tokens: int, _output_tokens: int) -> Json:
    """Report the seconds a prediction took: the only metric in docs/http-api.md."""
    return {"predict_time": seconds}


def token_counts(seconds: float, input_tokens: int, output_tokens: int) -> Json:
    """Report token counts too, under a similar service's names. *Assumed*: RockAI is not known to count."""
    return {
        "predict_time": seconds,
        "input_token_count": input_tokens,
        "output_token_count": output_tokens,
    }


@dataclass(frozen=True)
class Event:
    """One event of a stream.

    Attributes:
        name: The value of its ``event:`` line; `None` omits the line.
        data: The value of its ``data:`` line.

    Raises:
        ValueError: The name is not one line of text, or the data are not text.

    Example:
        >>> from rockai_transport import Client
        >>> protocol = Protocol(output_event=None, done=Event(None, "[DONE]"))
        >>> with Sandbox(protocol=protocol) as local:
        ...     with Client(local.api_token, local.base_url) as client:
        ...         print(list(client.stream(ECHO, {"prompt": "Hello"})))
        ['Hello']
    """

    name: str | None
    data: str

    def __post_init__(self) -> None:
        or_none(LINE).check("name", self.name)
        made_of(str, "text").check("data", self.data)  # half a character too, as a model may say it

    def frame(self) -> bytes:
        r"""Encode the event as the model server does: newlines in the data are not escaped.

        Returns:
            The event's bytes, up to the blank line that ends it.

        Example:
            >>> Event("output", "Hello").frame()
            b'event: output\ndata: Hello\n\n'
        """
        name = "" if self.name is None else f"event: {self.name}\n"
        return f"{name}data: {self.data}\n\n".encode(errors="replace")


@dataclass(frozen=True)
class RawAnswer:
    """An HTTP response that is sent unchanged.

    Attributes:
        status: The HTTP status, from 200 to 599.
        body: The body, sent unchanged.
        content_type: The body's content type.
        headers: Additional headers.

    Raises:
        ValueError: The status, the body or a header cannot be sent.

    Example:
        >>> from rockai_transport import Client
        >>> gone = Protocol(run_path=None, no_route=RawAnswer(410, "<h1>gone</h1>", "text/html"))
        >>> with Sandbox(protocol=gone) as local, Client(local.api_token, local.base_url) as client:
        ...     print(client.run(ECHO, {"prompt": "Hello"}).text)
        ...     print([(request.path, request.status) for request in local.requests[:2]])
        Hello
        [('/v1/run', 410), ('/v1/predictions', 201)]
    """

    status: int
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        STATUS.check("status", self.status)
        BODY.check("body", self.body)
        if self.status in (204, 304) and self.body:
            raise ValueError(
                f"a response with status {self.status} has no body, so body is '', not {self.body!r}"
            )
        HEADER_VALUE.check("content_type", self.content_type)
        HEADERS.check("headers", self.headers)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Every assumption about the HTTP API; tests can override them.

    Paths are below ``base_path``, which may be empty. A path of ``None`` means that the service does not have
    this route.

    Attributes:
        base_path: The prefix of the API's paths.
        create_path: POST: create a prediction.
        get_path: GET: a prediction in its current state.
        cancel_path: POST: cancel a prediction.
        run_path: POST: run a model and wait for its output.
        run_sse_path: POST: run a model and stream its output.
        stream_path: GET: the event stream of an existing prediction.
        no_route: The response if there is no such route: FastAPI's own.
        auth_header: The header that contains the token.
        auth_scheme: The word before the token; empty if the header contains only the token.
        stream_needs_token: Whether ``urls.stream`` requires the token; the service's own client sends none
            there.
        create_status: The HTTP status of the response to create. *Assumed*, as of similar services; no source
            shows it.
        prediction_json: Builds the response body of create, get and cancel from a flat prediction.
        run_json: Builds run's response body from a flat prediction. *Assumed*: «the model's result,
            directly».
        run_reports_failure: Whether run returns a failed prediction for a failure; otherwise a bare 500, as
            the model server.
        get_carries_id: Whether the response to get contains the id; the one in docs/http-api.md does not.
        metrics: Builds ``metrics`` from the seconds taken, the input's tokens and the output's tokens.
        stream_content_type: The content type of a stream.
        output_event: The name of events with a piece of output; ``None`` omits their ``event:`` line.
        done: The last event of a stream; ``None`` for a service that only ends the body.
        canceled: The last event of a canceled stream; ``None`` aborts the connection (*assumed*).
        error: Builds a failure's event from its message; ``None`` aborts the connection, as recorded.
        logs_event: The name of events with new log text; ``None`` sends none, as recorded.

    Raises:
        ValueError: A field has an invalid value.

    Example:
        >>> from rockai_transport import Client
        >>> protocol = Protocol(run_path=None)
        >>> with Sandbox(protocol=protocol) as local, Client(local.api_token, local.base_url) as client:
        ...     print(client.run(ECHO, {"prompt": "Hello"}).text)  # it finds the other way
        ...     print(local.predictions[0].started_by)
        Hello
        create
    """

    base_path: str = "/v1"
    create_path: str | None = "/predictions"
    get_path: str | None = "/predictions/{id}"
    cancel_path: str | None = "/predictions/{id}/cancel"
    run_path: str | None = "/run"
    run_sse_path: str | None = "/run_sse"
    stream_path: str | None = "/predictions/stream/{id}"
    no_route: RawAnswer = RawAnswer(404, '{"detail":"Not Found"}')

    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"
    stream_needs_token: bool = False

    create_status: int = 201
    prediction_json: Callable[[Json], Any] = flat
    run_json: Callable[[Json], Any] = bare_output
    run_reports_failure: bool = False
    get_carries_id: bool = False
    metrics: Callable[[float, int, int], Json] = predict_time

    stream_content_type: str = "text/event-stream"
    output_event: str | None = "output"
    done: Event | None = Event("done", "{}")
    canceled: Event | None = None
    error: Callable[[str], Event] | None = None
    logs_event: str | None = None

    def __post_init__(self) -> None:
        for names, rule in PROTOCOL_RULES:
            for name in names.split():
                rule.check(name, getattr(self, name))

    def replace(self, **changes: Any) -> Protocol:
        """Override some assumptions.

        Args:
            **changes: Fields of `Protocol`, by name.

        Returns:
            A copy with these changes; the protocol itself does not change.

        Raises:
            TypeError: There is no such field.

        Example:
            >>> older = Protocol(stream_path=None)
            >>> moved = older.replace(base_path="/api/v2")
            >>> with Sandbox(protocol=moved) as local:
            ...     print(local.base_url)
            http://127.0.0.1:.../api/v2
        """
        return replace(self, **changes)


PROTOCOL_RULES: tuple[tuple[str, OptionRule], ...] = (
    ("base_path", OptionRule(PATH.what, lambda value: value == "" or PATH.fits(value))),
    ("create_path run_path run_sse_path", or_none(PATH)),
    ("get_path cancel_path stream_path", or_none(ID_PATH)),
    ("no_route", made_of(RawAnswer)),
    ("auth_header", HEADER_NAME),
    ("auth_scheme stream_content_type", HEADER_VALUE),
    ("stream_needs_token run_reports_failure get_carries_id", FLAG),
    ("create_status", STATUS),
    ("prediction_json run_json metrics", FUNCTION),
    ("output_event logs_event", or_none(LINE)),
    ("done canceled", or_none(made_of(Event))),
    ("error", or_none(FUNCTION)),
)
"""The valid values of the fields of `Protocol`."""

GENERATIONS: Mapping[Generation, Mapping[str, Any]] = {
    "both": {},
    "old": {"stream_path": None},  # the quick start
    "new": {"run_path": None, "run_sse_path": None},  # the later page no longer mentions these two
}
"""The routes that each generation of the API lacks."""

SHAPES: Mapping[tuple[Shape, RunAnswer], Mapping[str, Any]] = {
    ("flat", "output"): {},
    ("flat", "prediction"): {"run_json": flat, "run_reports_failure": True},
    ("enveloped", "output"): {"prediction_json": enveloped, "run_json": enveloped_output},
    ("enveloped", "prediction"): {
        "prediction_json": enveloped,
        "run_json": enveloped,
        "run_reports_failure": True,
    },
}
"""The fields that each JSON shape and each kind of response to run change."""


def choices(generation: Generation, shape: Shape, run_answer: RunAnswer, *, reports_usage: bool) -> Json:
    """Return the fields of `Protocol` that a sandbox's options change.

    Raises:
        ValueError: An option has an invalid value.
    """
    check_choice("generation", generation, get_args(Generation))
    check_choice("shape", shape, get_args(Shape))
    check_choice("run_answer", run_answer, get_args(RunAnswer))
    usage = {"metrics": token_counts} if reports_usage else {}
    return {**GENERATIONS[generation], **SHAPES[shape, run_answer], **usage}
