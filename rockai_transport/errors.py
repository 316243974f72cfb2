"""The exceptions of this package, split by who is to blame.

.. code-block:: text

    RockAIError
    ├── ConfigurationError              the caller: nothing was sent
    ├── APIConnectionError              the network: no answer, or half of one
    │   └── APITimeoutError
    ├── APIStatusError                  the service answered, and said no
    │   ├── BadRequestError             400, 422
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       403
    │   │   └── PaymentRequiredError    402
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── RateLimitError              429
    │   └── InternalServerError         5xx
    ├── PredictionError                 the model, or our patience with it
    │   ├── PredictionFailedError
    │   ├── PredictionCanceledError
    │   └── PredictionTimeoutError
    ├── StreamInterruptedError          the stream ended before its end
    └── InvalidResponseError            an answer that cannot be read

Law of this module: whatever a handler needs is an attribute, never only text; every exception can be
pickled; and each says, in ``may_have_started``, whether a paid prediction may be running or done although
the call failed.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rockai_transport.wire.calls import Reply
    from rockai_transport.wire.prediction import Prediction

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PredictionCanceledError",
    "PredictionError",
    "PredictionFailedError",
    "PredictionTimeoutError",
    "RateLimitError",
    "RockAIError",
    "StreamInterruptedError",
]


class RockAIError(Exception):
    """The root of every exception that this package raises.

    Args:
        message: What went wrong, and what to do about it.
        may_have_started: True where a paid prediction may be running or done although the call failed.
        prediction: The prediction that the failed call was about, as last seen; None where none is known.
        partial_text: What a stream had handed on before it failed.
    """

    def __init__(
        self,
        message: str = "",
        *,
        may_have_started: bool = False,
        prediction: Prediction | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(message)
        self.may_have_started = may_have_started
        self.prediction = prediction
        self.partial_text = partial_text

    @property
    def message(self) -> str:
        """What went wrong, without the advice that ``str()`` adds."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.message} {self._advice()}".strip()

    def _advice(self) -> str:
        if self.prediction is not None and self.prediction.is_terminal:
            return ""
        if self.prediction is not None and self.prediction.id:
            known = self.prediction.id
            return f"Prediction {known} may go on: predictions.wait({known!r}) waits for it, cancel ends it."
        if self.may_have_started:
            return (
                "The prediction may have started, and may be charged: it was not sent a second time. "
                "Look at your predictions on rockai.online before you send it again."
            )
        return ""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), self.args, _picklable(self.__dict__))


def _rebuild(cls: type[RockAIError], args: tuple[Any, ...], state: dict[str, Any]) -> RockAIError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def _picklable(state: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what can be pickled; what cannot (a live response) becomes None."""
    kept: dict[str, Any] = {}
    for name, value in state.items():
        try:
            pickle.dumps(value)
        except Exception:  # noqa: BLE001 - a foreign object's __reduce__ may raise anything
            kept[name] = None
        else:
            kept[name] = value
    return kept


class ConfigurationError(RockAIError):
    """The caller's own settings or arguments are wrong. Nothing was sent, nothing was paid for."""


class APIConnectionError(RockAIError):
    """The service could not be reached, or the connection broke before the answer was whole."""


class APITimeoutError(APIConnectionError):
    """A time limit of a single call or of a stream ran out."""


class APIStatusError(RockAIError):
    """The service answered with an error.

    Args:
        message: What went wrong, and what to do about it.
        status_code: The HTTP status, or the ``code`` of an envelope that came under HTTP 200.
        body: The decoded JSON of the answer, else its text.
        request_id: The answer's ``x-request-id``, where it had one.
        retry_after: Seconds the service asked to wait, where it said so.
        response: Status, headers and bytes of the answer.
        may_have_started: As in `RockAIError`.
        prediction: As in `RockAIError`.
        partial_text: As in `RockAIError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        response: Reply | None = None,
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
    """400 or 422: the service or the model does not accept this input."""


class AuthenticationError(APIStatusError):
    """401: no token, or a wrong one."""


class PermissionDeniedError(APIStatusError):
    """403: the token is right, but not allowed to do this."""


class PaymentRequiredError(PermissionDeniedError):
    """402: the account cannot pay."""


class NotFoundError(APIStatusError):
    """404: no such model, version, prediction or route."""


class ConflictError(APIStatusError):
    """409: the request contradicts the state of what it is about."""


class RateLimitError(APIStatusError):
    """429: too many requests; ``retry_after`` says how many seconds to wait, where the service did."""


class InternalServerError(APIStatusError):
    """5xx: the service, its gateway or the model server broke."""


class PredictionError(RockAIError):
    """A prediction did not come to a good end, or not in time.

    Args:
        message: What went wrong.
        prediction: The prediction, as last seen; None where the service gave none.
        partial_text: What a stream had handed on before.
        may_have_started: True by default: a prediction that failed had started.
    """

    def __init__(
        self,
        message: str = "",
        prediction: Prediction | None = None,
        partial_text: str = "",
        *,
        may_have_started: bool = True,
    ) -> None:
        super().__init__(
            message, may_have_started=may_have_started, prediction=prediction, partial_text=partial_text
        )

    def _advice(self) -> str:
        # That it had started goes without saying; only one that goes on needs words.
        return super()._advice() if self.prediction is not None else ""


class PredictionFailedError(PredictionError):
    """The model failed; ``str()`` gives its own words."""


class PredictionCanceledError(PredictionError):
    """The prediction was canceled, here or elsewhere."""


class PredictionTimeoutError(PredictionError):
    """Waiting ended at its time limit. The prediction goes on and can be waited for again."""


class StreamInterruptedError(RockAIError):
    """A stream broke off before its end. ``partial_text`` is exactly what was handed on.

    Args:
        message: What went wrong.
        partial_text: What had been handed on.
        prediction: The prediction, where its id is known: it can still be waited for.
        may_have_started: True by default: a stream that broke off had started.
    """

    def __init__(
        self,
        message: str = "",
        *,
        partial_text: str = "",
        prediction: Prediction | None = None,
        may_have_started: bool = True,
    ) -> None:
        super().__init__(
            message, may_have_started=may_have_started, prediction=prediction, partial_text=partial_text
        )


class InvalidResponseError(RockAIError):
    """An answer that cannot be read: of the service, or of a model that was told to answer in a form.

    Args:
        message: What was expected and what came.
        body: The answer, decoded where it was JSON, else as text.
        may_have_started: As in `RockAIError`.
        prediction: As in `RockAIError`.
        partial_text: As in `RockAIError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        body: Any = None,
        may_have_started: bool = False,
        prediction: Prediction | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(
            message, may_have_started=may_have_started, prediction=prediction, partial_text=partial_text
        )
        self.body = body
