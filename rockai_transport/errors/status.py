"""The errors for HTTP error responses, by status."""

from __future__ import annotations

from typing import Any

from rockai_transport.errors.base import RockAIError
from rockai_transport.protocol.messages import Response
from rockai_transport.protocol.prediction import Prediction


class APIStatusError(RockAIError):
    """The service responded with an error.

    Args:
        message: What went wrong, and what to do about it.
        status_code: The HTTP status, or the ``code`` of an envelope that arrived with HTTP 200.
        body: The decoded JSON of the response, else its text.
        request_id: The response's ``x-request-id``, if any.
        retry_after: Seconds that the service asked to wait, if it did.
        response: Status, headers and bytes of the response.
        may_have_started: As in `RockAIError`.
        prediction: As in `RockAIError`.
        partial_text: As in `RockAIError`.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except APIStatusError as error:
        ...     print(error.status_code, error.request_id)
        400 req-7
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        response: Response | None = None,
        may_have_started: bool = False,
        prediction: Prediction | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(
            message, may_have_started=may_have_started, prediction=prediction, partial_text=partial_text
        )
        self.status_code = status_code
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after
        self.response = response


class BadRequestError(APIStatusError):
    """400 or 422: the service or the model does not accept this input.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello", "max_length": 9})
        ... except BadRequestError as error:
        ...     print([problem["loc"] for problem in error.body["detail"]])
        [['body', 'input', 'max_length']]
    """


class AuthenticationError(APIStatusError):
    """401: no token, or a wrong one.

    Example:
        >>> try:
        ...     Client(api_token="r8_of_last_year").run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except AuthenticationError as error:
        ...     print(error.status_code)
        401
    """


class PermissionDeniedError(APIStatusError):
    """403: the token is valid, but lacks the permission.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except PermissionDeniedError as error:
        ...     print(error.status_code)
        403
    """


class PaymentRequiredError(PermissionDeniedError):
    """402: no wallet, or no balance.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except PaymentRequiredError as error:
        ...     print(error.status_code)
        402
    """


class NotFoundError(APIStatusError):
    """404: no such model, version, prediction or route.

    Example:
        >>> try:
        ...     client.predictions.get("no-such-id")
        ... except NotFoundError as error:
        ...     print(error.body)
        {'detail': 'id not found'}
    """


class ConflictError(APIStatusError):
    """409: the request contradicts the prediction's state.

    Example:
        >>> try:
        ...     client.predictions.cancel("a-prediction")
        ... except ConflictError as error:
        ...     print(error.status_code)
        409
    """


class RateLimitError(APIStatusError):
    """429: too many requests; ``retry_after`` is the number of seconds to wait, if the service sent it.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except RateLimitError as error:
        ...     print(f"Again in {error.retry_after:.0f} s")
        Again in 90 s
    """


class InternalServerError(APIStatusError):
    """5xx: the service, its gateway or the model server failed.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except InternalServerError as error:
        ...     print(error.status_code, error.may_have_started)
        502 True
    """


_FAILED = "The service, its gateway, or the model itself failed."
_GATEWAY_TIMEOUT = (InternalServerError, f"{_FAILED} If the model is cold, route='predictions' waits by id.")
_ERRORS: dict[int, tuple[type[APIStatusError], str]] = {
    400: (BadRequestError, "Check the input against the model's page on rockai.online."),
    401: (
        AuthenticationError,
        "Check ROCKAI_API_TOKEN or api_token=; https://www.rockai.online/setting/token shows your token.",
    ),
    402: (PaymentRequiredError, "The account has no wallet or no balance: top it up on rockai.online."),
    403: (PermissionDeniedError, "The token is not allowed to do this. Use one that is."),
    404: (NotFoundError, "Check the model's name and version, or the prediction's id."),
    407: (APIStatusError, "A proxy asks for credentials: write them into its address in the environment."),
    409: (ConflictError, "Look at the prediction's state with predictions.get, then decide."),
    413: (APIStatusError, "The request is too large: pass files as https addresses, or send less text."),
    422: (BadRequestError, "Check the input's keys against the model's page on rockai.online."),
    429: (RateLimitError, "Send fewer requests at once, or wait as long as retry_after says."),
    504: _GATEWAY_TIMEOUT,
    524: _GATEWAY_TIMEOUT,
}
_CLASS_ERRORS: dict[int, tuple[type[APIStatusError], str]] = {
    0: (APIStatusError, "If this code is no failure, translate it with Service(read_prediction=…)."),
    3: (
        APIStatusError,
        "Redirects are not followed, the token goes to one origin only: set base_url to the new address.",
    ),
    5: (InternalServerError, _FAILED),
}


def kind_and_advice(status: int) -> tuple[type[APIStatusError], str]:
    """Return the exception class for a status, and what to do about it."""
    return _ERRORS.get(status) or _CLASS_ERRORS.get(status // 100, (APIStatusError, ""))
