"""Status, headers and body → a value or an exception: the one place where an answer is judged.

Invariants of this module: whatever the service answers, it is read here, and comes out as a `Prediction` or
as one of the exceptions of `rockai_transport.errors`, which says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

from rockai_transport.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    PredictionCanceledError,
    PredictionFailedError,
    RateLimitError,
)
from rockai_transport.protocol.messages import Request, Response
from rockai_transport.protocol.prediction import Prediction, is_prediction, read_prediction
from rockai_transport.protocol.retry import Failure, retry_after
from rockai_transport.service import Service

__all__ = [
    "Answer",
    "accepted",
    "finished",
    "is_missing_route",
    "read_canceled",
    "read_created",
    "read_fetched",
    "read_output",
    "status_error",
]

_ERRORS: dict[int, tuple[type[APIStatusError], str]] = {
    400: (BadRequestError, "Check the input against the model's page on rockai.online."),
    401: (
        AuthenticationError,
        "Check ROCKAI_API_TOKEN or api_token=; https://www.rockai.online/setting/token shows your token.",
    ),
    402: (PaymentRequiredError, "The account has no wallet or no balance: top it up on rockai.online."),
    403: (PermissionDeniedError, "The token is not allowed to do this."),
    404: (NotFoundError, "Check the model's name and version, or the prediction's id."),
    409: (ConflictError, "Look at the prediction's state with predictions.get, then decide."),
    422: (BadRequestError, "Check the input's keys against the model's page on rockai.online."),
    429: (RateLimitError, "Send fewer at once, or wait as long as retry_after says."),
}
_CLASS_ERRORS: dict[int, tuple[type[APIStatusError], str]] = {
    3: (
        APIStatusError,
        "Redirects are not followed, the token goes to one origin only: set base_url to the new address.",
    ),
    4: (APIStatusError, ""),
    5: (
        InternalServerError,
        "The service, its gateway, or the model itself broke.",
    ),
}
_SEE_OTHER = 303
_REQUEST_TIMEOUT = 408
_BODY_IN_MESSAGE = 300
_MAX_REASONS = 10


class Answer(NamedTuple):
    """An answer that says yes, read once."""

    request: Request
    response: Response
    body: Any
    """Its JSON, as the service's own hook gives it; `NotImplemented` where it is none."""
    data: Any
    """The same without its envelope, ``{"code": 200, "msg": "success", "data": …}``, the older shape."""


def accepted(service: Service, request: Request, response: Response) -> Answer:
    """Read an answer that says yes, by its HTTP status and by its envelope's ``code``.

    Raises:
        APIStatusError: It says no.
        InvalidResponseError: The service's own `read_prediction` hook failed on the answer.
    """
    status = response.status_code
    if response.is_success:
        body = response.decoded
        if service.read_prediction is not None and response.is_json:
            body = _hooked(service.read_prediction, response)
        code = body.get("code") if isinstance(body, dict) and ("data" in body or "msg" in body) else None
        if not isinstance(code, int) or isinstance(code, bool):
            return Answer(request, response, body, body)
        if 200 <= code < 300:  # noqa: PLR2004 - read like an HTTP status
            return Answer(request, response, body, body.get("data"))
        status = code
    raise status_error(service, request, response, status)


def status_error(service: Service, request: Request, response: Response, status: int) -> APIStatusError:
    """The exception for an answer that says no.

    ``may_have_started`` is true where the call starts a prediction and the answer does not rule out that it
    did: a 5xx or a 408 may come from a gateway in front of a model that is already running.
    """
    kind, advice = _ERRORS.get(status) or _CLASS_ERRORS.get(status // 100, (APIStatusError, ""))
    if request.download:
        advice = "The file may be gone; its address is asked without the token."
    elif _says_no_route(service, response) and request.below_base:
        route = "There may be no such route: check base_url (https://api.rockai.online/v1) and route=."
        advice = f"{advice} {route}".strip()
    said = _reason(response)
    asked = retry_after(response)
    return kind(
        f"{request} was answered {status}{f': {said}' if said else ''}. {advice}".strip(),
        status_code=status,
        body=response.content,
        request_id=response.headers.get("x-request-id"),
        retry_after=asked,
        response=response,
        may_have_started=request.starts and _may_have_been_done(status, asked),
    )


def _may_have_been_done(status: int, asked: float | None) -> bool:
    """Whether an answer leaves open that the call was carried out; one that refuses it does not."""
    if Failure.of_response(status, asked) is Failure.REFUSED:
        return False
    # An envelope's code may be none of HTTP's.
    return not 300 <= status < 500 or status in (_REQUEST_TIMEOUT, _SEE_OTHER)  # noqa: PLR2004


def is_missing_route(service: Service, error: APIStatusError) -> bool:
    """Whether a refusal says that the service has no such route, by its HTTP status.

    405, 410, or a 404 that is not JSON or is exactly ``{"detail": "Not Found"}``: what frameworks and
    gateways answer for a path that nobody serves. A 404 with other words is about the model.
    """
    return error.response is not None and _says_no_route(service, error.response)


def _says_no_route(service: Service, response: Response) -> bool:
    if response.status_code in service.missing_route_statuses:
        return True
    return response.status_code == HTTPStatus.NOT_FOUND and (
        not response.is_json or response.decoded == {"detail": "Not Found"}
    )


def read_created(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the answer to create: a prediction with an id, or one that is done already."""
    prediction = _read(service, answer, known)
    if prediction is None or not (prediction.id or prediction.is_terminal):
        raise _invalid(answer, "a prediction with an id")
    return prediction


def read_fetched(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the answer to get: a prediction, which may lack the id it was asked with."""
    prediction = _read(service, answer, known, asked_by_id=True)
    if prediction is None:
        raise _invalid(answer, "a prediction")
    return prediction


def read_canceled(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the answer to cancel: any 2xx that is no prediction leaves it as last known."""
    return _read(service, answer, known, asked_by_id=True) or known


def read_output(service: Service, answer: Answer, known: Prediction) -> Prediction:
    """Read the answer to run: a prediction, or any other JSON, which is the output itself.

    "The model's result, directly" is all that the quick start says of it, so every shape is taken.
    """
    prediction = _read(service, answer, known)
    if prediction is not None:
        if not (prediction.is_terminal or prediction.id):
            raise _invalid(answer, "a prediction that has ended or has an id to wait for")
        return prediction
    if answer.body is NotImplemented:
        raise _invalid(answer, "JSON")
    raw = {"status": "succeeded", "output": answer.data}
    return replace(known, status="succeeded", output=answer.data, error=None, raw=raw)


def finished(prediction: Prediction, partial_text: str = "") -> Prediction:
    """Hand on a prediction that succeeded; raise what a failed or canceled one means."""
    if prediction.status == "failed":
        raise PredictionFailedError(
            prediction.error or "The model failed, without a word why.", prediction, partial_text
        )
    if prediction.status == "canceled":
        raise PredictionCanceledError(
            f"Prediction {prediction.id or '(without id)'} was canceled.", prediction, partial_text
        )
    return prediction


def _read(
    service: Service, answer: Answer, known: Prediction, *, asked_by_id: bool = False
) -> Prediction | None:
    """The prediction in an answer, flat or enveloped; None where there is none."""
    data = answer.body if is_prediction(answer.body) else answer.data
    return read_prediction(service, data, known) if is_prediction(data, asked_by_id=asked_by_id) else None


def _hooked(hook: Callable[[Any], Any], response: Response) -> Any:
    try:
        return hook(response.json())  # decoded anew: a hook may take it to pieces
    except Exception as error:
        raise InvalidResponseError(
            f"Service.read_prediction failed on an answer: {type(error).__name__}: {error}",
            body=response.decoded,
        ) from error


def _invalid(answer: Answer, expected: str) -> InvalidResponseError:
    request, response = answer.request, answer.response
    return InvalidResponseError(
        f"{request} was answered {response.status_code}, but not with {expected}: "
        f"{_excerpt(response.text)!r}. "
        "Is base_url the API's own address, and no proxy or login page in the way?",
        body=response.content,
        may_have_started=request.starts,
    )


def _reason(response: Response) -> str:
    """What the service says of its refusal, in one line."""
    data = response.decoded
    if isinstance(data, dict):
        said = next((data[key] for key in ("detail", "msg", "message", "error") if data.get(key)), "")
        if isinstance(said, list):
            more = f" … and {len(said) - _MAX_REASONS} more" if len(said) > _MAX_REASONS else ""
            return "; ".join(map(_validation_reason, said[:_MAX_REASONS])) + more
        return _excerpt(str(said))
    return "" if response.media_type == "text/html" else _excerpt(response.text)


def _validation_reason(item: Any) -> str:
    """One of pydantic's complaints: ``{"type": …, "loc": […], "msg": …, "input": …}``."""
    if not isinstance(item, dict):
        return _excerpt(str(item))
    location = item.get("loc")
    where = ".".join(map(str, location)) if isinstance(location, list) else ""
    return _excerpt(f"{where}: {item.get('msg', item.get('type', 'invalid'))}")


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _BODY_IN_MESSAGE else f"{text[:_BODY_IN_MESSAGE]}…"
