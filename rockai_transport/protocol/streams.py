"""One stream of text, batch by batch, from its request to its end.

Invariants of this module: a stream that ends before its end is an error, never a short answer;
``partial_text`` is exactly what was handed on; whoever leaves early is followed by the cancel of the
prediction, where its id is known.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rockai_transport.config import Settings
from rockai_transport.errors import APITimeoutError, ConfigurationError, RockAIError, StreamInterruptedError
from rockai_transport.protocol.events import EventReader
from rockai_transport.protocol.exchange import OpenResponse, transport_error
from rockai_transport.protocol.io import IO, Notices, TransportFailure
from rockai_transport.protocol.messages import Request
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.responses import finished

__all__ = [
    "EventStreamBody",
    "RunStream",
    "StreamState",
    "call_with_each",
    "closed_elsewhere",
    "read_already",
]

_DRAIN_SECONDS = 0.1


@dataclass
class StreamState:
    """What one stream has said so far: shared between its operation and whoever reads it."""

    pieces: list[str] = field(default_factory=list)
    ready: deque[str] = field(default_factory=deque)
    """The last of the pieces: those that have come, and are not handed on yet."""
    prediction: Prediction | None = None
    callback_failed: bool = False
    was_canceled: bool = False
    """Whether a cancel was sent on leaving, whatever came of it."""

    @property
    def text(self) -> str:
        """Exactly what was handed on."""
        return "".join(self.pieces[: len(self.pieces) - len(self.ready)])

    def take(self, batch: list[str]) -> str:
        """Take pieces that came together, one at least; give the first, and keep the others ready."""
        self.pieces += batch
        if len(batch) > 1:
            self.ready.extend(batch[1:])
        return batch[0]

    def take_ready(self) -> list[str]:
        """Take all that is ready."""
        taken: list[str] = []
        with contextlib.suppress(IndexError):  # another thread may drop them meanwhile
            while True:
                taken.append(self.ready.popleft())
        return taken

    def drop_ready(self) -> bool:
        """Forget what was not handed on, as its reader has left; whether there was any.

        Another thread may be taking pieces meanwhile: what it takes from the left stays a prefix.
        """
        dropped = 0
        with contextlib.suppress(IndexError):
            while True:
                self.ready.pop()
                dropped += 1
        del self.pieces[len(self.pieces) - dropped :]
        return dropped > 0

    def concluded(self, known: Prediction) -> Prediction:
        """The prediction at the stream's good end: what the service said, else what it streamed."""
        prediction = self.prediction or known
        if prediction.is_terminal:
            return prediction
        return replace(prediction, status="succeeded", output=list(self.pieces))


class EventStreamBody:
    """An open event stream: its reader, its limits, and what its end means.

    Before the first event only its own limit counts, so that heartbeats do not put it off.
    """

    def __init__(
        self, settings: Settings, request: Request, opened: OpenResponse, state: StreamState, until: float
    ) -> None:
        self.request = request
        self.until = min(until, opened.limits.first_by)
        self.within = math.inf
        self.notices: Notices | None = opened.limits.notices
        self.feed: Callable[[bytes], list[str]] = self._feed_first
        """Take bytes; give the pieces that they complete."""
        self._settings = settings
        self._opened = opened
        self._state = state
        self._total = until
        self._reader = EventReader(settings.service)

    @property
    def ended(self) -> bool:
        """Whether the end event has come."""
        return self._reader.end is not None

    def end(self) -> None:
        """Take note that there are no more bytes.

        Raises:
            StreamInterruptedError: That was not the end.
        """
        if not self._reader.is_whole(framed=self._opened.head.is_framed):
            raise _interrupted("it ended before its end event", self._state)

    def concluded(self, known: Prediction) -> Prediction | None:
        """What its end event says of the prediction; None for success.

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
    """One stream: gives batches of pieces, and is left."""

    io: IO
    """How it is read."""
    state: StreamState
    """What it has said so far."""
    known: Prediction
    """What is known of the prediction before the service has said a word."""
    begin: Callable[[], Awaitable[EventStreamBody | None]]
    """Sends the request; gives the open event stream, or None where the prediction was waited for."""
    cancel: Callable[[], Awaitable[Prediction | None]]
    """Closes the connection, and cancels the prediction where its id is known; what became of it."""
    for_run: bool = False
    """Whether it serves a `run`, which goes on to wait for the prediction: then a time limit that runs out
    cancels nothing, and the end of the stream is not yet the prediction's."""
    body: Any = None  # an `EventStreamBody`: pyright takes its attribute `feed` for a method
    started: bool = False
    finished: bool = False

    async def next_batch(self) -> list[str]:
        """The next pieces, all that came together; none at the good end.

        Raises:
            APITimeoutError: The first event, the next byte, or the end did not come in time.
            StreamInterruptedError: It broke off.
            PredictionError: The service says that the model failed, or that the prediction was canceled.
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
            raise error  # noqa: B904 - it names its cause itself
        except BaseException as error:
            self._inform(error)
            await self.leave(error)
            raise
        return pieces

    async def leave(self, error: BaseException | None = None) -> None:
        """Leave: close the connection at once, and cancel the prediction, unless the stream ended by itself.

        Args:
            error: What ends it; None where its reader leaves.
        """
        if self.finished:
            return
        self.finished = True
        try:
            await self._leave(error)
        except KeyboardInterrupt:
            self.finished = False  # whoever drops the stream leaves it again
            raise

    async def _leave(self, error: BaseException | None) -> None:
        left = not isinstance(error, Exception) or self.state.callback_failed
        timed_out = not self.for_run and isinstance(error, APITimeoutError)
        if not self.started:
            return
        if not (left or timed_out):
            await self.io.close()
            return
        ended = await self.cancel()
        # An answer without a prediction tells no end: then nothing is known but that it was asked.
        if ended is not None and ended.is_terminal and not left and isinstance(error, RockAIError):
            error.prediction = ended
            error.args = (f"{error.message} Prediction {ended.id} is {ended.status} now.",)

    def _inform(self, error: BaseException) -> None:
        """Every error after the start of a prediction carries it."""
        prediction = self.state.prediction
        if isinstance(error, RockAIError) and self.body is not None:
            error.may_have_started |= self.body.request.starts
        if isinstance(error, RockAIError) and prediction is not None and prediction.id:
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
        """A limit that ran out is a timeout; anything else cut the stream."""
        if self.body is None:
            raise AssertionError("only a body is read without translation") from failure
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
        """Read what little follows the end event, so that the connection can be used again."""
        until = self.io.now() + _DRAIN_SECONDS
        with contextlib.suppress(TransportFailure):
            while await self.io.read(_DRAIN_SECONDS, until):
                pass
        await self.io.close()


def closed_elsewhere(state: StreamState) -> StreamInterruptedError:
    """The exception for who reads on in a stream that somebody else has closed."""
    return _interrupted("it was closed elsewhere before its end", state)


def read_already(state: StreamState) -> ConfigurationError:
    """The exception for who iterates over a stream that was read, or left: another go would give nothing."""
    return ConfigurationError(
        f"This stream is over, and is read once: the {len(state.text)} characters that came "
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


async def call_with_each(
    io: IO, on_text: Callable[[str], Any], batch: list[str], state: StreamState, stream: RunStream
) -> None:
    """Call the user's function with each piece; a failing one, or leaving within it, ends the run."""
    for piece in batch:
        state.pieces.append(piece)
        try:
            await io.call(on_text, piece)
        except GeneratorExit:
            raise
        except BaseException as error:
            state.callback_failed = True
            await stream.leave(error)
            raise
