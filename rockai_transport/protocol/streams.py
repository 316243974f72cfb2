"""One stream of text, batch by batch, from its request to its end.

Invariants of this module: an incomplete stream is an error, never a short answer. ``partial_text`` is exactly
the delivered text. Leaving early cancels the prediction if its id is known.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rockai_transport.errors import (
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    RockAIError,
    StreamInterruptedError,
)
from rockai_transport.protocol.exchange import below, transport_error
from rockai_transport.protocol.io import IO, EventBody, TransportFailure
from rockai_transport.protocol.prediction import UNKNOWN, Prediction
from rockai_transport.protocol.responses import finished

_DRAIN_SECONDS = 0.1
"""Seconds to wait for the end of a body whose end event has arrived."""


@dataclass
class StreamState:
    """The content of a stream so far, shared between its operation and its reader."""

    pieces: list[str] = field(default_factory=list)
    ready: deque[str] = field(default_factory=deque)
    """The pieces that have arrived and are not delivered yet."""
    known: Prediction = field(default_factory=Prediction)
    """The prediction as known before the first response, with the input as it is sent."""
    prediction: Prediction | None = None
    callback_failed: bool = False
    was_canceled: bool = False
    """Whether a cancel was sent on leaving, successful or not."""

    @property
    def text(self) -> str:
        """Exactly the delivered text."""
        return "".join(self.pieces[: len(self.pieces) - len(self.ready)])

    def take(self, batch: list[str]) -> str:
        """Store a batch of at least one piece; return the first, and keep the others ready."""
        self.pieces += batch
        if len(batch) > 1:
            self.ready.extend(batch[1:])
        return batch[0]

    def take_ready(self) -> list[str]:
        """Take all pieces that are ready."""
        taken: list[str] = []
        with contextlib.suppress(IndexError):  # another thread may drop them at the same time
            while True:
                taken.append(self.ready.popleft())
        return taken

    def drop_ready(self) -> bool:
        """Drop the pieces that are not delivered yet, because the reader left; return whether any existed.

        Another thread may take pieces at the same time. It takes them from the left, so they stay a prefix.
        """
        dropped = 0
        with contextlib.suppress(IndexError):
            while True:
                self.ready.pop()
                dropped += 1
        del self.pieces[len(self.pieces) - dropped :]
        return dropped > 0

    def concluded(self) -> Prediction:
        """Return the prediction at the stream's successful end: as reported, else with the streamed text."""
        prediction = self.prediction or self.known
        if prediction.is_terminal:
            return prediction
        return replace(prediction, status="succeeded", output=list(self.pieces))


@dataclass(eq=False)
class RunStream:
    """One stream: returns batches of pieces, and can be left."""

    io: IO
    """The stream's `IO`."""
    state: StreamState
    """Its content so far."""
    begin: Callable[[], Awaitable[EventBody | None]]
    """Sends the request; returns the open event stream, or None if it waited for the prediction instead."""
    cancel: Callable[[IO, StreamState], Awaitable[Prediction | None]]
    """Closes the connection, and cancels the prediction if its id is known; returns its final state."""
    for_run: bool = False
    """Whether it belongs to a `run`, which then waits for the prediction. In this case a timeout cancels
    nothing, and the end of the stream is not yet the end of the prediction."""
    body: Any = None  # the `EventBody` that `begin` returned
    started: bool = False
    finished: bool = False

    async def next_batch(self) -> list[str]:
        """Return the next batch of pieces; empty at the successful end.

        Raises:
            APITimeoutError: The first event, the next byte, or the end did not arrive in time.
            StreamInterruptedError: The stream was interrupted.
            PredictionError: The model failed, or the prediction was canceled, according to the service.
        """
        if self.finished:
            return []
        try:
            pieces = await (self.io.follow(self.body) if self.body is not None else self._first_batch())
            if not pieces:
                await self._end()
        except GeneratorExit:  # the event loop is gone: nothing can be awaited any more
            raise
        except (TransportFailure, EOFError) as failure:
            error = self._stream_error(failure)
            await self.leave(error)
            raise error  # noqa: B904 - it sets its cause itself
        except BaseException as error:
            self._inform(error)
            await self.leave(error)
            raise
        return pieces

    async def call_with_each(self, on_text: Callable[[str], Any], batch: list[str]) -> None:
        """Call the user's function with each piece; if it fails or leaves, the run ends."""
        for piece in batch:
            self.state.pieces.append(piece)
            try:
                await self.io.call(on_text, piece)
            except GeneratorExit:
                raise
            except BaseException as error:
                self.state.callback_failed = True
                await self.leave(error)
                raise

    async def leave(self, error: BaseException | None = None) -> None:
        """Close the connection at once, and cancel the prediction, unless the stream ended by itself.

        Args:
            error: The error that ends it; None if the reader leaves.
        """
        if self.finished:
            return
        self.finished = True
        try:
            await self._leave(error)
        except (KeyboardInterrupt, SystemExit):
            self.finished = False  # dropping the stream leaves it again
            raise

    async def _leave(self, error: BaseException | None) -> None:
        reader_left = not isinstance(error, RockAIError) or self.state.callback_failed
        timed_out = not self.for_run and isinstance(error, APITimeoutError)
        if not self.started:
            return
        if not (reader_left or timed_out):
            await self.io.close()
            return
        ended = await self.cancel(self.io, self.state)
        # A response without a prediction does not report the end: only the cancel request is known.
        if ended is not None and ended.is_terminal and not reader_left and isinstance(error, RockAIError):
            error.prediction = ended
            error.args = (f"{error.message} Prediction {ended.id} is {ended.status} now.",)

    def _inform(self, error: BaseException) -> None:
        """Add text and prediction to every error after its start; a user's id alone may be wrong."""
        prediction = self.state.prediction
        if isinstance(error, RockAIError) and self.body is not None:
            error.partial_text = error.partial_text or self.state.text
            error.may_have_started |= self.body.request.starts
        if isinstance(error, RockAIError) and prediction is not None and prediction.id:
            if prediction is self.state.known and prediction.status == UNKNOWN:
                return
            error.prediction = error.prediction or prediction
            error.may_have_started = True

    async def _first_batch(self) -> list[str]:
        if self.started:
            return []
        self.started = True
        self.body = await self.begin()
        if self.body is not None:
            return await self.io.follow(self.body)
        text = self.state.concluded().text
        return [text] if text else []

    def _stream_error(self, failure: TransportFailure | EOFError) -> RockAIError:
        """Return a timeout error for an expired limit, and an interrupted stream for anything else."""
        state = self.state
        if isinstance(failure, EOFError) or not failure.timed_out:
            interrupted = _interrupted(str(failure), state)
            interrupted.__cause__ = below(failure)
            return interrupted
        error = transport_error(self.body.request, failure)
        if state.text:
            error.args = (f"The time limit ran out in the middle of the stream. {_kept(state)}",)
        error.partial_text, error.prediction = state.text, state.prediction
        error.may_have_started = True
        return error

    async def _end(self) -> None:
        """Note the end of the stream.

        Raises:
            PredictionError: The model failed, or the prediction was canceled.
            InvalidResponseError: It had only events of an unknown name.
        """
        state = self.state
        if self.body is not None:
            await self._drain()
            end = self.body.reader.end
            if end is not None and end.status != "succeeded":
                known = state.prediction or state.known
                state.prediction = replace(known, status=end.status, error=end.message or None)
                finished(state.prediction, state.text)
            name = self.body.reader.other_event
            if name and not state.pieces and not (self.for_run and state.prediction):
                raise InvalidResponseError(
                    f"The stream had no output, but events named {name[:100]!r}, which were ignored. "
                    f"If these hold the text, set Service(output_event={name[:100]!r})."
                )
        if not self.for_run:
            state.prediction = state.concluded()
        self.finished = True

    async def _drain(self) -> None:
        """Read the few bytes after the end event, so that the connection can be reused."""
        until = self.io.now() + _DRAIN_SECONDS
        with contextlib.suppress(TransportFailure, InvalidResponseError):  # the latter: it cannot be decoded
            while await self.io.read(_DRAIN_SECONDS, until):
                pass
        await self.io.close()


def closed_elsewhere(state: StreamState) -> StreamInterruptedError:
    """Return the exception for reading a stream that was closed elsewhere."""
    return _interrupted("it was closed elsewhere before its end", state)


def read_already(state: StreamState) -> ConfigurationError:
    """Return the exception for iterating again over a stream that was read or left."""
    error = misused(
        f"This stream is over, and can be read only once: the {len(state.text)} characters that came "
        "are in its `text`. For another answer, make another stream.",
        state,
    )
    error.may_have_started = state.prediction is not None or bool(state.text)
    return error


def begun_in_another_process(state: StreamState) -> ConfigurationError:
    """Return the exception for a stream of the process that this one was forked from."""
    return misused("This stream was begun in another process, which reads on. Begin another one here.", state)


def misused(message: str, state: StreamState) -> ConfigurationError:
    """Return the exception for a stream that cannot be read here."""
    return ConfigurationError(
        message, prediction=state.prediction, partial_text=state.text, may_have_started=True
    )


def _interrupted(reason: str, state: StreamState) -> StreamInterruptedError:
    return StreamInterruptedError(
        f"The stream broke off: {reason}. {_kept(state)}",
        partial_text=state.text,
        prediction=state.prediction,
    )


def _kept(state: StreamState) -> str:
    return f"The {len(state.text)} characters that had arrived are in `partial_text`."
