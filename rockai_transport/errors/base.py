"""The base class, and the errors without an HTTP status."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

from rockai_transport.protocol.prediction import Prediction


class RockAIError(Exception):
    """The base class of every exception that this package raises.

    Args:
        message: What went wrong, and what to do about it.
        may_have_started: Whether a paid prediction may be running or finished although the call failed.
        prediction: The prediction, as last seen; None if it is not known.
        partial_text: The text received before a stream failed.

    Example:
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except RockAIError as error:
        ...     print(error.may_have_started)
        True
    """

    def __init__(
        self,
        message: str = "",
        *,
        may_have_started: bool = False,
        prediction: Prediction | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(_printable(str(message)))  # it may be another exception
        self.may_have_started = may_have_started
        self.prediction = prediction
        self.partial_text = partial_text

    @property
    def message(self) -> str:
        """What went wrong, without the advice that ``str()`` adds.

        Example:
            >>> RockAIError("No connection.", may_have_started=True).message
            'No connection.'
        """
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return _printable(f"{self.message} {self._advice()}".strip())

    def _advice(self) -> str:
        if self.prediction is not None and self.prediction.is_terminal:
            return ""
        if self.prediction is not None and self.prediction.id:
            known = self.prediction.id
            waiting = f"predictions.wait({known!r}) waits for it"
            return f"Prediction {known} may go on: {waiting}, predictions.cancel ends it."
        if self.may_have_started:
            return (
                "The prediction may have started, and may be charged: it was not sent a second time. "
                "Look at your predictions on rockai.online before you send it again."
            )
        return ""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), self.args, _picklable(self.__dict__))


def _printable(text: str) -> str:
    """Replace lone surrogates, from JSON or an address: they cannot be printed or logged."""
    return text.encode("utf-8", "replace").decode()


def _rebuild(cls: type[RockAIError], args: tuple[Any, ...], state: dict[str, Any]) -> RockAIError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def _picklable(state: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what can be pickled; replace everything else, such as a live response, by None."""
    kept = dict(state)
    for name, value in state.items():
        try:
            pickle.dumps(value)
        except Exception:  # noqa: BLE001 - another library's __reduce__ may raise anything
            kept[name] = None
    return kept


class ConfigurationError(RockAIError):
    """The caller's settings or arguments are invalid. No prediction was started, and nothing was paid for.

    One exception: reading a stream that is finished, or that another process began, raises it too;
    ``partial_text`` is then the stream's text.

    Example:
        >>> try:
        ...     client.run("llama", {"prompt": "Hello"})
        ... except ConfigurationError as error:
        ...     print(error.message)
        'llama' is not a model reference. ...
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in a notebook: frames as in a script, without ten lines around each."""
        from traceback import format_exception

        trace = self.__traceback__
        while trace and trace.tb_frame.f_globals.get("__name__", "").startswith("IPython."):
            trace = trace.tb_next
        return "".join(format_exception(type(self), self, trace)).splitlines()


class APIConnectionError(RockAIError):
    """The service could not be reached, or the connection broke before the response was complete.

    Example:
        >>> client = Client(base_url="http://127.0.0.1:9/v1", max_retries=0)  # nobody listens there
        >>> try:
        ...     client.run("meta/llama-2-7b-chat", {"prompt": "Hello"})
        ... except APIConnectionError as error:
        ...     print(error.may_have_started)
        False
    """


class APITimeoutError(APIConnectionError):
    """A timeout of a single call or of a stream expired.

    Example:
        >>> try:
        ...     client.run("sandbox/never-ends", {"prompt": "Count."}, timeout=0.1)
        ... except APITimeoutError as error:
        ...     print(error.may_have_started)
        True
    """


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
