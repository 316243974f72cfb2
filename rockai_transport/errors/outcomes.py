"""The errors of what came of a run: the prediction's, the stream's, and answers that cannot be read."""

from __future__ import annotations

from typing import Any

from rockai_transport.errors.base import RockAIError
from rockai_transport.protocol.prediction import Prediction

__all__ = [
    "InvalidResponseError",
    "PredictionCanceledError",
    "PredictionError",
    "PredictionFailedError",
    "PredictionTimeoutError",
    "StreamInterruptedError",
]


class PredictionError(RockAIError):
    """A prediction did not come to a good end, or not in time.

    Args:
        message: What went wrong.
        prediction: The prediction, as last seen; None where the service gave none.
        partial_text: What a stream had handed on before.
        may_have_started: True by default: a prediction that failed had started.

    Example:
        >>> started = client.predictions.create(model="sandbox/fails-half-way", input={"prompt": "Hello"})
        >>> try:
        ...     client.predictions.wait(started)
        ... except PredictionError as error:
        ...     print(error.prediction.status)
        failed
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
    """The model failed; ``str()`` gives its own words.

    Example:
        >>> started = client.predictions.create(model="sandbox/fails-half-way", input={"prompt": "Hello"})
        >>> try:
        ...     client.predictions.wait(started)
        ... except PredictionFailedError as error:
        ...     print(error)
        the model failed half-way
    """


class PredictionCanceledError(PredictionError):
    """The prediction was canceled, here or elsewhere.

    Example:
        >>> started = client.predictions.create(model="sandbox/never-ends", input={"prompt": "Count."})
        >>> canceled = client.predictions.cancel(started)
        >>> try:
        ...     client.predictions.wait(canceled)
        ... except PredictionCanceledError as error:
        ...     print(error.prediction.status)
        canceled
    """


class PredictionTimeoutError(PredictionError):
    """Waiting ended at its time limit. The prediction goes on and can be waited for again.

    Example:
        >>> started = client.predictions.create(model="sandbox/stays-cold", input={"prompt": "Hello"})
        >>> try:
        ...     client.predictions.wait(started, timeout=0.1)
        ... except PredictionTimeoutError as error:
        ...     print(error.prediction.status)  # wait for it again, or cancel it
        starting
    """


class StreamInterruptedError(RockAIError):
    r"""A stream broke off before its end. ``partial_text`` is exactly what was handed on.

    Args:
        message: What went wrong.
        partial_text: What had been handed on.
        prediction: The prediction, where its id is known: it can still be waited for.
        may_have_started: True by default: a stream that broke off had started.

    Example:
        >>> try:
        ...     print(*client.stream("sandbox/fails-half-way", {"prompt": "Hello"}))
        ... except StreamInterruptedError as error:
        ...     print(repr(error.partial_text))
        'This answer breaks off,\nhalf'
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
        by_model: Whether it is the model's answer, not in the form it was told; the service's is in order.
        may_have_started: As in `RockAIError`.
        prediction: As in `RockAIError`.
        partial_text: As in `RockAIError`.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except InvalidResponseError as error:
        ...     print(error.body)
        <html>Please log in.</html>
    """

    def __init__(
        self,
        message: str = "",
        *,
        body: Any = None,
        by_model: bool = False,
        may_have_started: bool = False,
        prediction: Prediction | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(
            message, may_have_started=may_have_started, prediction=prediction, partial_text=partial_text
        )
        self.body = body
        self.by_model = by_model

    def _advice(self) -> str:
        # The model has answered: there is nothing left to look after.
        return "" if self.by_model else super()._advice()
