"""One stream of text, batch by batch, from its request to its end.

Invariants of this module: an incomplete stream is an error, never a short answer. ``partial_text`` is exactly
the delivered text. Leaving early cancels the prediction if its id is known.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rockai_transport.config import Settings
from rockai_transport.errors import (
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    RockAIError,
    StreamInterruptedError,
)
from rockai_transport.protocol.events import EventReader
from rockai_transport.protocol.exchange import OpenResponse, transport_error
from rockai_transport.protocol.io import IO, Notices, TransportFailure
from rockai_transport.protocol.messages import Request
from rockai_transport.protocol.prediction import UNKNOWN, Prediction
from rockai_transport.protocol.responses import finished

_DRAIN_SECONDS = 0.1


@dataclass
class StreamState:
    """The content of a stream so far, shared between its operation and its reader."""

    pieces: list[str] = field(default_factory=list)
    ready: deque[str] = field(default_factory=deque)
    """The pieces that have arrived and are not delivered yet."""
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

    def concluded(self, known: Prediction) -> Prediction:
        """Return the prediction at the stream's successful end: as reported, else with the streamed text."""
        prediction = self.prediction or known
        if prediction.is_terminal:
            return prediction
        return replace(prediction, status="succeeded", output=list(self.pieces))


class EventStreamBody:
    """An open event stream: its reader, its limits, and the meaning of its end.

    Before the first event only the first-byte limit applies, so heartbeats do not extend it.
    """

    def __init__(
        self, settings: Settings, request: Request, opened: OpenResponse, state: StreamState, until: float
    ) -> None:
        self.request = request
        self.until = min(until, opened.limits.first_by)
        self.within = math.inf
        self.notices: Notices | None = opened.limits.notices
        self.feed: Callable[[bytes], list[str]] = self._feed_first
        """Returns the pieces that the given bytes complete."""
        self._settings = settings
        self._opened = opened
        self._state = state
        self._total = until
        self._reader = EventReader(settings.service)

    @property
    def ended(self) -> bool:
        """Whether the end event has arrived."""
        return self._reader.end is not None

    def end(self) -> None:
        """Handle the end of the bytes.

        Raises:
            StreamInterruptedError: The stream was not complete.
        """
        if not self._reader.is_whole(framed=self._opened.head.is_framed):
            raise _interrupted("it ended before its end event", self._state)

    def concluded(self, known: Prediction) -> Prediction | None:
        """Return what the end event reports about the prediction; None for success.

        Raises:
            PredictionError: The model failed, or the prediction was canceled.
        """
        end = self._reader.end
        if end is None or end.status == "succeeded":
            return None
        self._state.prediction = replace(known, status=end.status, error=end.message or None)
        return finished(self._state.prediction, self._state.text)

    def _feed_first(self, chunk: bytes) -> list[str]:
        pieces = self._reader.read(chunk)
        if self._reader.seen_event:
            self.until, self.within, self.notices = self._total, self._settings.timeouts.idle, None
            self.feed = self._reader.read
        return pieces


@dataclass(eq=False)
class RunStream:
    """One stream: returns batches of pieces, and can be left."""

    io: IO
    """The stream's `IO`."""
    state: StreamState
    """Its content so far."""
    known: Prediction
    """The prediction as known before the first response."""
    begin: Callable[[], Awaitable[EventStreamBody | None]]
    """Sends the request; returns the open event stream, or None if it waited for the prediction instead."""
    cancel: Callable[[IO, StreamState], Awaitable[Prediction | None]]
    """Closes the connection, and cancels the prediction if its id is known; returns its final state."""
    for_run: bool = False
    """Whether it belongs to a `run`, which then waits for the prediction. In this case a timeout cancels
    nothing, and the end of the stream is not yet the end of the prediction."""
    body: Any = None  # an `EventStreamBody`; pyright would treat its attribute `feed` as a method
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
        except TransportFailure as failure:
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
        except KeyboardInterrupt:
            self.finished = False  # dropping the stream leaves it again
            raise

    async def _leave(self, error: BaseException | None) -> None:
        left = not isinstance(error, Exception) or self.state.callback_failed
        timed_out = not self.for_run and isinstance(error, APITimeoutError)
        if not self.started:
            return
        if not (left or timed_out):
            await self.io.close()
            return
        ended = await self.cancel(self.io, self.state)
        # A response without a prediction does not report the end: only the cancel request is known.
        if ended is not None and ended.is_terminal and not left and isinstance(error, RockAIError):
            error.prediction = ended
            error.args = (f"{error.message} Prediction {ended.id} is {ended.status} now.",)

    def _inform(self, error: BaseException) -> None:
        """Add text and prediction to every error after its start; an id alone may be wrong."""
        prediction = self.state.prediction
        if isinstance(error, RockAIError) and self.body is not None:
            error.partial_text = error.partial_text or self.state.text
            error.may_have_started |= self.body.request.starts
        is_seen = prediction is not None and prediction.id and prediction.status != UNKNOWN
        if isinstance(error, RockAIError) and is_seen:
            error.prediction = error.prediction or prediction
            error.may_have_started = True

    async def _first_batch(self) -> list[str]:
        if self.started:
            return []
        self.started = True
        self.body = await self.begin()
        if self.body is not None:
            return await self.io.follow(self.body)
        text = self.state.concluded(self.known).text
        return [text] if text else []

    def _stream_error(self, failure: TransportFailure) -> RockAIError:
        """Return a timeout error for an expired limit, and an interrupted stream for anything else."""
        state, error = self.state, transport_error(self.body.request, failure)
        if not failure.timed_out:
            interrupted = _interrupted(str(failure), state)
            interrupted.__cause__ = error.__cause__
            return interrupted
        if state.text:
            error.args = (f"The time limit ran out in the middle of the stream. {_kept(state)}",)
        error.partial_text, error.prediction = state.text, state.prediction
        error.may_have_started = True
        return error

    async def _end(self) -> None:
        if self.body is not None:
            await self._drain()
            self.body.concluded(self.state.prediction or self.known)
        if not self.for_run:
            self.state.prediction = self.state.concluded(self.known)
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
    return ConfigurationError(
        f"This stream is over, and can be read only once: the {len(state.text)} characters that came "
        "are in its `text`. For another answer, make another stream.",
        prediction=state.prediction,
        partial_text=state.text,
        may_have_started=state.prediction is not None or bool(state.text),
    )


def _interrupted(reason: str, state: StreamState) -> StreamInterruptedError:
    return StreamInterruptedError(
        f"The stream broke off: {reason}. {_kept(state)}",
        partial_text=state.text,
        prediction=state.prediction,
    )


def _kept(state: StreamState) -> str:
    return f"The {len(state.text)} characters that had arrived are in `partial_text`."
