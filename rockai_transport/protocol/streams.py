"""Following one event stream, from the head of its answer to its end.

Law of this module: a stream that ends before its end is an error, never a short answer, and
``partial_text`` is exactly what was handed on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rockai_transport.errors import ConfigurationError, RockAIError, StreamInterruptedError
from rockai_transport.protocol import responses as answers
from rockai_transport.protocol.effects import Close, Effect, Flow, TransportFailure, now, read
from rockai_transport.protocol.events import End, EventReader, Piece
from rockai_transport.protocol.exchange import Opened, read_rest, transport_error
from rockai_transport.protocol.requests import EVENT_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.config import Settings
    from rockai_transport.protocol.prediction import Prediction
    from rockai_transport.protocol.requests import Request

__all__ = ["Reading", "Transcript", "closed_elsewhere", "follow", "read_already"]

_DRAIN_SECONDS = 0.1


@dataclass
class Transcript:
    """What one stream has said so far: shared between its flow and whoever reads it."""

    pieces: list[str] = field(default_factory=list)
    prediction: Prediction | None = None
    callback_failed: bool = False

    @property
    def text(self) -> str:
        """Exactly what was handed on."""
        return "".join(self.pieces)

    @property
    def known(self) -> Prediction:
        """The prediction, where there must be one."""
        if self.prediction is None:
            raise AssertionError("a transcript was asked for a prediction before there was one")
        return self.prediction

    def made_of_pieces(self, known: Prediction) -> Prediction:
        """The prediction at the stream's good end: what the service said, else what it streamed."""
        if known.is_terminal:
            return known
        return replace(known, status="succeeded", output=list(self.pieces))


@dataclass(frozen=True)
class Reading:
    """One stream on its way to its reader."""

    transcript: Transcript
    deliver: Callable[[str], Effect]
    """How a piece is handed on: to whoever iterates, or to a callback."""
    until: float
    """The moment of `Now`'s clock when the total runs out."""

    def hand_on(self, text: str) -> Flow[None]:
        """Hand a piece on, unless it is empty."""
        if not text:
            return
        self.transcript.pieces.append(text)
        try:
            yield self.deliver(text)
        except Exception:
            self.transcript.callback_failed = True
            raise


def follow(
    settings: Settings, call: Request, opened: Opened, reading: Reading, known: Prediction
) -> Flow[bool]:
    """Hand on the pieces of an open answer, whatever form it has.

    Returns:
        Whether it came to its end; False where the answer was a prediction that is still to be waited for.

    Raises:
        APITimeoutError: The first event, the next byte, or the end did not come in time.
        StreamInterruptedError: It broke off.
        PredictionError: The service says that the model failed, or that the prediction was canceled.
    """
    if opened.head.media_type == EVENT_STREAM:
        end = yield from _follow_events(settings, call, opened, reading)
        if end.status != "succeeded":
            transcript = reading.transcript
            transcript.prediction = replace(known, status=end.status, error=end.message or None)
            answers.finished(transcript.prediction, transcript.text)
        return True
    try:
        reply = yield from read_rest(settings, call, opened, reading.until)
    except TransportFailure as failure:
        raise transport_error(call, failure)  # noqa: B904 - it names its cause itself
    reading.transcript.prediction = prediction = answers.read_output(settings.service, call, reply, known)
    if not prediction.is_terminal:
        return False
    yield from reading.hand_on(answers.finished(prediction).text)
    return True


def closed_elsewhere(transcript: Transcript) -> StreamInterruptedError:
    """The exception for who waits for a piece of a stream that somebody else has closed."""
    return _interrupted("it was closed while its next piece was waited for", transcript)


def read_already(transcript: Transcript) -> ConfigurationError:
    """The exception for who iterates over a stream that was read, or left: another go would give nothing."""
    return ConfigurationError(
        f"This stream is over, and is read once: the {len(transcript.text)} characters that came "
        "are in its `text`. For another answer, make another stream.",
        prediction=transcript.prediction,
        partial_text=transcript.text,
        may_have_started=transcript.prediction is not None or bool(transcript.text),
    )


def _follow_events(settings: Settings, call: Request, opened: Opened, reading: Reading) -> Flow[End]:
    reader = EventReader(settings.service)
    end = End()
    while not reader.ended:
        try:
            chunk = yield from _next_bytes(settings, opened, reading.until, started=reader.seen_event)
        except TransportFailure as failure:
            raise _stream_error(call, failure, reading.transcript)  # noqa: B904 - likewise
        if not chunk:
            if reader.is_whole(framed=opened.head.is_framed):
                break
            raise _interrupted("it ended before its end event", reading.transcript)
        for event in reader.feed(chunk):
            if isinstance(event, Piece):
                yield from reading.hand_on(event.text)
            else:
                end = event
    yield from _drain()
    return end


def _next_bytes(settings: Settings, opened: Opened, until: float, *, started: bool) -> Flow[bytes]:
    """Before the first event only its own limit counts, so that heartbeats do not put it off."""
    if started:
        return (yield from read(settings.timeouts.idle, until))
    return (yield from read(math.inf, min(until, opened.first_by), opened.notices))


def _drain() -> Flow[None]:
    """Read what little follows the end event, so that the connection can be used again."""
    until = (yield from now()) + _DRAIN_SECONDS
    try:
        while (yield from read(_DRAIN_SECONDS, until)):
            pass
    except TransportFailure:
        pass
    yield Close()


def _stream_error(call: Request, failure: TransportFailure, transcript: Transcript) -> RockAIError:
    """A limit that ran out is a time-out; anything else cut the stream."""
    error = transport_error(call, failure)
    if not failure.timed_out:
        interrupted = _interrupted(str(failure), transcript)
        interrupted.__cause__ = error.__cause__
        return interrupted
    if transcript.text:
        error.args = (f"The time limit ran out in the middle of the stream. {_kept(transcript)}",)
    error.partial_text, error.prediction = transcript.text, transcript.prediction
    error.may_have_started = True
    return error


def _interrupted(why: str, transcript: Transcript) -> StreamInterruptedError:
    return StreamInterruptedError(
        f"The stream broke off: {why}. {_kept(transcript)}",
        partial_text=transcript.text,
        prediction=transcript.prediction,
    )


def _kept(transcript: Transcript) -> str:
    return f"The {len(transcript.text)} characters that had arrived are in `partial_text`."
