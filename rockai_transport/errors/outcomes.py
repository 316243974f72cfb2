"""The errors of a run's outcome: of the prediction, of its stream, and responses that cannot be parsed."""

from __future__ import annotations

from typing import Any

from rockai_transport.errors.base import RockAIError
from rockai_transport.protocol.prediction import Prediction


class PredictionError(RockAIError):
    """A prediction did not succeed, or not in time.

    Args:
        message: What went wrong.
        prediction: The prediction, as last seen; None if the service returned none.
        partial_text: The text received from a stream before.
        may_have_started: True by default, because a failed prediction had started.

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
        # A failed prediction had started; add advice only for one that continues.
        return super()._advice() if self.prediction is not None else ""


class PredictionFailedError(PredictionError):
    """The model failed; ``str()`` returns its own message.

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
    """Waiting timed out. The prediction continues, and you can wait for it again.

    Example:
        >>> started = client.predictions.create(model="sandbox/stays-cold", input={"prompt": "Hello"})
        >>> try:
        ...     client.predictions.wait(started, timeout=0.1)
        ... except PredictionTimeoutError as error:
        ...     print(error.prediction.status)  # wait for it again, or cancel it
        starting
    """


class StreamInterruptedError(RockAIError):
    r"""A stream was interrupted. ``partial_text`` is exactly the text received so far.

    Args:
        message: What went wrong.
        partial_text: The text received so far.
        prediction: The prediction, if its id is known; you can still wait for it.
        may_have_started: True by default, because an interrupted stream had started.

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
    """The service's response cannot be parsed, or the model's answer does not have the required format.

    Args:
        message: What was expected and what arrived.
        body: The response: decoded JSON, else text.
        by_model: Whether the model's answer is invalid, and the service's response valid.
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
        # The model has answered: no prediction is running.
        return "" if self.by_model else super()._advice()
