"""Status, headers and body → a value or an exception. Responses are judged only here.

Invariants of this module: every response of the service becomes a `Prediction` or one of the exceptions of
`rockai_transport.errors`, which say what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

from rockai_transport.errors import (
    APIStatusError,
    InvalidResponseError,
    NotFoundError,
    PredictionCanceledError,
    PredictionFailedError,
)
from rockai_transport.errors.status import kind_and_advice
from rockai_transport.protocol.messages import EVENT_STREAM, REDIRECTS, Request, Response
from rockai_transport.protocol.prediction import UNKNOWN, Prediction, is_prediction, read_prediction
from rockai_transport.protocol.retry import retry_after, was_refused
from rockai_transport.service import Service

_BODY_IN_MESSAGE = 300  # maximum number of the body's characters in a message
_MAX_REASONS = 10  # maximum number of pydantic's errors in a message
_NO_ROUTE = "There may be no such route: check base_url (such as https://api.rockai.online/v1) and route=."
_ERROR = frozenset({"detail", "error", "message", "msg", "code", "status", "type", "title", "success"})
"""The keys of an object that is an error, whatever the HTTP status says."""
_SHORT_VALUES = rb"""\s* (?: "\w+" \s*:\s* (?: "(?:[^"\\]|\\.)*" | [\w.+-]+ ) \s*,\s* )*"""
_BEGUN = re.compile(
    rb"""
    \s* \{
    (?: %(before)b "data" \s*:\s* \{ )?                           # the envelope, if there is one
    (?= [^][{}]* "(?: model | version | status | created_at )" )  # a prediction, not an output with an id
    %(before)b "id" \s*:\s* "? ([\w-]+) "? \s*,
    """
    % {b"before": _SHORT_VALUES},
    re.VERBOSE,
)
"""A prediction as far as its id, which only short values precede, in an envelope or not."""
_SHORT = 10_000
"""The bytes of an incomplete body in which the id is searched."""


class Answer(NamedTuple):
    """A successful response, decoded once."""

    request: Request
    response: Response
    body: Any
    """The JSON, as the service's own hook returns it; `NotImplemented` if it is not JSON."""
    data: Any
    """The same without the envelope ``{"code": 200, "msg": "success", "data": …}`` of the older shape."""


def accepted(service: Service, request: Request, response: Response) -> Answer:
    """Read a response that is successful by its HTTP status and by its envelope's ``code``.

    Raises:
        APIStatusError: It is an error.
        InvalidResponseError: The service's own `read_prediction` hook failed on it.
    """
    status = response.status_code
    if response.is_success:
        body = response.decoded
        if service.read_prediction is not None and response.is_json:
            body = _hooked(service.read_prediction, response)
        code = body.get("code") if isinstance(body, dict) and ("data" in body or "msg" in body) else None
        if isinstance(code, str) and re.fullmatch("[345][0-9]{2}", code):
            code = int(code)
        if not isinstance(code, int) or isinstance(code, bool):
            return Answer(request, response, body, body)
        if 200 <= code < 300:  # noqa: PLR2004 - read like an HTTP status
            return Answer(request, response, body, body.get("data"))
        status = code
    raise status_error(service, request, response, status)


def status_error(service: Service, request: Request, response: Response, status: int) -> APIStatusError:
    """Return the exception for an error response.

    ``may_have_started`` is true if the call starts a prediction and the response does not rule out that it
    did: a 5xx or a 408 may come from a gateway in front of a model that is already running.
    """
    kind, advice = kind_and_advice(status)
    if request.download:
        advice = "The file may be gone; its address is asked without the token."
    elif _says_no_route(service, response) and request.below_base:
        advice = f"{advice} {_NO_ROUTE}".strip()
    reason = _reason(response).rstrip(".")
    wait_seconds = retry_after(response)
    return kind(
        f"{request} was answered {status}{f': {reason}' if reason else ''}. {advice}".strip(),
        status_code=status,
        body=response.content,
        request_id=response.headers.get("x-request-id"),
        retry_after=wait_seconds,
        response=response,
        may_have_started=request.starts and _may_have_been_done(status, wait_seconds),
    )


def _may_have_been_done(status: int, wait_seconds: float | None) -> bool:
    """Return whether the call may have been carried out; a refused call was not."""
    if was_refused(status, wait_seconds):
        return False
    # An envelope's code need not be an HTTP status.
    return not 300 <= status < 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SEE_OTHER)  # noqa: PLR2004


def is_missing_route(service: Service, error: APIStatusError) -> bool:
    """Return whether the service has no such route, from the HTTP status.

    405, 410, or a 404 that is not JSON or is exactly ``{"detail": "Not Found"}``: frameworks and gateways
    return these for an unknown path. A 404 with another message is about the model.
    """
    return error.response is not None and _says_no_route(service, error.response)


def is_gone(error: object) -> bool:
    """Return whether the service itself has said that it knows no such prediction."""
    return isinstance(error, NotFoundError) and not is_missing_route(Service(), error)


def _says_no_route(service: Service, response: Response) -> bool:
    if response.status_code in service.missing_route_statuses:
        return True
    if response.status_code != HTTPStatus.NOT_FOUND:
        return False
    return not response.is_json or response.decoded == {"detail": "Not Found"}


def read_whole(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the response to get, which may lack the requested id, or to create: it has one, or has ended."""
    prediction = _read(service, answer, known)
    if prediction is None or not (prediction.id or prediction.is_terminal):
        raise _invalid(answer, "a prediction" if known.id else "a prediction with an id")
    return prediction


def read_begun(body: bytes, known: Prediction) -> Prediction | None:
    """Read a prediction whose JSON breaks off: its id only, because the rest may be a part of the output."""
    found = _BEGUN.match(body, 0, _SHORT)
    return replace(known, id=found[1].decode(), status=UNKNOWN) if found else None


def read_canceled(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the response to cancel: if a 2xx contains no prediction, keep the known state."""
    return _read(service, answer, known) or known


def read_output(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the response to run: a prediction, or any other JSON but an error, which is the output itself.

    The quick start only says "The model's result, directly", so every shape is accepted.
    """
    prediction = _read(service, answer, known)
    if prediction is not None:
        if not (prediction.is_terminal or prediction.id):
            raise _invalid(answer, "a prediction that has ended or has an id to wait for")
        return prediction
    if answer.body is NotImplemented:
        raise _invalid(answer, "JSON")
    output = answer.data
    if isinstance(output, dict) and (output.get("error") or output.get("detail")) and output.keys() <= _ERROR:
        raise _invalid(answer, "an output")
    raw = {"status": "succeeded", "output": output}
    return replace(known, status="succeeded", output=output, error=None, raw=raw)


def finished(prediction: Prediction, partial_text: str = "") -> Prediction:
    """Return a prediction that has succeeded; raise the exception of one that has ended in another way."""
    if prediction.status == "succeeded":
        return prediction
    if prediction.status == "canceled":
        raise PredictionCanceledError(
            f"Prediction {prediction.id or '(without id)'} was canceled.", prediction, partial_text
        )
    raise PredictionFailedError(
        prediction.error or "The model failed, and gave no reason.", prediction, partial_text
    )


def _read(service: Service, answer: Answer, known: Prediction) -> Prediction | None:
    """Return the prediction in a response, flat or enveloped; None if there is none."""
    data = answer.body if is_prediction(answer.body) else answer.data
    is_found = is_prediction(data, asked_by_id=known.id is not None)
    return read_prediction(service, data, known) if is_found else None


def _hooked(hook: Callable[[Any], Any], response: Response) -> Any:
    try:
        decoded = response.json()  # decoded again: a hook may modify it, and return nothing
        read = hook(decoded)
    except Exception as error:
        raise InvalidResponseError(
            f"Service.read_prediction failed on a response: {type(error).__name__}: {error}.",
            body=response.decoded,
        ) from error
    if not isinstance(read, dict | list | str | int | float | None):
        raise InvalidResponseError(
            f"Service.read_prediction must return JSON, such as a dict, not a {type(read).__name__}.",
            body=response.decoded,
        )
    return decoded if read is None else read


def _invalid(answer: Answer, expected: str) -> InvalidResponseError:
    request, response = answer.request, answer.response
    advice = "Is base_url the API's own address, and no proxy or login page in the way?"
    if request.accept == EVENT_STREAM and response.text.lstrip().startswith(("event:", "data:")):
        advice = f"It looks like an event stream: set Service(stream_content_type={response.media_type!r})."
    return InvalidResponseError(
        f"{request} was answered {response.status_code}, but not with {expected}: "
        f"{_excerpt(response.text)!r}. {advice}",
        body=response.content,
        may_have_started=request.starts,
    )


def _reason(response: Response) -> str:
    """Return the service's error message, a web page's title, or the target of a redirect, on one line."""
    data = response.decoded
    if response.status_code in REDIRECTS and (target := response.headers.get("location")):
        return f"now at {_excerpt(target.partition('?')[0])}"
    if isinstance(data, dict):
        keys = ("detail", "msg", "message", "error")
        reason = next((data[key] for key in keys if data.get(key)), response.text)
        if isinstance(reason, list):
            more = f" … and {len(reason) - _MAX_REASONS} more" if len(reason) > _MAX_REASONS else ""
            return "; ".join(map(_validation_reason, reason[:_MAX_REASONS])) + more
        return _excerpt(str(reason))
    if response.media_type != "text/html":
        return _excerpt(response.text)
    title = re.search(r"(?i)<title\b[^>]*>([^<]+)", response.text[:10_000])
    return f"a web page, {_excerpt(title[1])!r}" if title else ""


def _validation_reason(item: Any) -> str:
    """Format one of pydantic's errors: ``{"type": …, "loc": […], "msg": …, "input": …}``."""
    if not isinstance(item, dict):
        return _excerpt(str(item))
    location = item.get("loc")
    where = ".".join(map(str, location)) if isinstance(location, list) else ""
    return _excerpt(f"{where}: {item.get('msg', item.get('type', 'invalid'))}")


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _BODY_IN_MESSAGE else f"{text[:_BODY_IN_MESSAGE]}…"
