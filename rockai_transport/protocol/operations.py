"""Several calls as one: create, get, cancel, wait, run and stream, with the fall-backs between them.

Laws of this module:

* A call that starts a prediction is sent once. A fall-back from a route that does not exist is no second
  start, since the first was answered that nothing is there.
* Whoever leaves early, cancels, wherever the id is known. A stream that broke off cancels nothing: its
  prediction can still be waited for.
* What has been learnt of a prediction is never lost: every error after its start carries it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rockai_transport.config import check_timeout
from rockai_transport.errors import (
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    PredictionTimeoutError,
    RockAIError,
)
from rockai_transport.protocol import requests as calls
from rockai_transport.protocol import responses as answers
from rockai_transport.protocol.effects import (
    Close,
    Emit,
    Farewell,
    Flow,
    Tell,
    Work,
    now,
)
from rockai_transport.protocol.exchange import exchange, open_answer
from rockai_transport.protocol.inputs import check_input, check_webhook, encode_input, has_files
from rockai_transport.protocol.prediction import Prediction, is_unfetched
from rockai_transport.protocol.references import ModelReference, path_segment
from rockai_transport.protocol.streams import Reading, Transcript, follow
from rockai_transport.protocol.waiting import look, wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rockai_transport.config import Settings
    from rockai_transport.protocol.prediction import Update

__all__ = ["Flows", "Order"]

T = TypeVar("T")

FAREWELL_SECONDS = 2.0


@dataclass(frozen=True)
class Order:
    """What is to be run, checked before anything is sent."""

    reference: ModelReference
    input: Any
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> Prediction:
        """What is known of the prediction before the service has said a word."""
        return Prediction(model=self.reference.name, version=self.reference.version, input=self.input)


class Flows:
    """Every flow of one client. Holds its settings, and which routes it has found missing."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.missing_routes: set[str] = set()

    # What a user asks for.

    def run(self, order: Order, timeout: float | None) -> Flow[Prediction]:
        """Run and wait, by ``/run`` or by create and poll."""
        until = yield from self._until(timeout)
        order = yield from self._encoded(order)
        path = self.settings.service.run_path
        transcript = Transcript()
        if self._goes_direct(order, path):
            call = self._run_call(order)
            try:
                reply = yield from exchange(self.settings, call, until)
            except APIStatusError as error:
                if not self._may_fall_back(error):
                    raise
            else:
                transcript.prediction = answers.read_output(self.settings.service, call, reply, order.known)
                return (yield from self._finish_run(transcript, until, timeout))
        transcript.prediction = yield from self._create_instead(order, path, until)
        return (yield from self._finish_run(transcript, until, timeout))

    def run_with_text(
        self, order: Order, timeout: float | None, on_text: Callable[[str], Any]
    ) -> Flow[Prediction]:
        """Run through the event stream, telling each piece, and give the finished prediction."""
        until = yield from self._until(timeout)
        transcript = Transcript()
        flow = self._stream(order, Reading(transcript, partial(Tell, on_text), until))
        try:
            yield from self._canceling(transcript, flow, on_timeout=False)
        except APITimeoutError as error:
            if (
                transcript.callback_failed
                or transcript.prediction is None
                or transcript.prediction.id is None
            ):
                raise
            raise PredictionTimeoutError(error.message, transcript.prediction, transcript.text) from error
        if transcript.prediction is None:
            return transcript.made_of_pieces(order.known)
        return (yield from self._finish_run(transcript, until, timeout))

    def stream(self, order: Order, timeout: float | None, transcript: Transcript) -> Flow[None]:
        """Stream by ``/run_sse``, or by create and ``urls.stream``; a bad timeout is told at once."""
        if timeout is not None:
            check_timeout(timeout, "timeout")
        return self._stream_to_end(order, timeout, transcript)

    def _stream_to_end(self, order: Order, timeout: float | None, transcript: Transcript) -> Flow[None]:
        until = yield from self._until(timeout)
        flow = self._stream(order, Reading(transcript, Emit, until))
        yield from self._canceling(transcript, flow, on_timeout=True)
        transcript.prediction = transcript.made_of_pieces(transcript.prediction or order.known)

    def stream_prediction(self, target: Any, transcript: Transcript) -> Flow[None]:
        """Stream a prediction that was created before."""
        until = yield from self._until(None)
        transcript.prediction = self.known(target)
        flow = self._stream_created(Reading(transcript, Emit, until))
        yield from self._canceling(transcript, flow, on_timeout=True)
        transcript.prediction = transcript.made_of_pieces(transcript.prediction)

    def create(self, order: Order) -> Flow[Prediction]:
        """Create a prediction and do not wait for it."""
        until = yield from self._until(None)
        return (yield from self._create((yield from self._encoded(order)), until))

    def get(self, prediction_id: Any) -> Flow[Prediction]:
        """Look at a prediction once."""
        until = yield from self._until(None)
        return (yield from look(self.settings, self.known(prediction_id), until))

    def cancel(self, target: Any) -> Flow[Prediction]:
        """Cancel a prediction."""
        until = yield from self._until(None)
        return (yield from self._cancel(self.known(target), until))

    def wait(
        self, target: Any, timeout: float | None, on_update: Callable[[Update], Any] | None
    ) -> Flow[Prediction]:
        """Wait until a prediction has come to its end."""
        seconds = timeout if timeout is not None else self.settings.timeout
        until = yield from self._until(seconds if seconds is not None else self.settings.timeouts.wait)
        return (yield from wait(self.settings, self.known(target), until, math.inf, on_update))

    def download(
        self,
        prediction: Prediction,
        folder: str | Path,
        timeout: float | None,
        *,
        max_bytes: int,
        allow_private: bool,
    ) -> Flow[list[Path]]:
        """Save the files of a prediction's output."""
        from rockai_transport.protocol.downloads import download_files  # noqa: PLC0415 - few programs need it

        until = yield from self._until(timeout)
        return (
            yield from download_files(
                self.settings, prediction, folder, until, max_bytes=max_bytes, allow_private=allow_private
            )
        )

    # Checks, before anything is sent.

    def order(self, reference: ModelReference, model_input: Any, **options: Any) -> Order:
        """Check what is to be run.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        check_webhook(options.get("webhook"), options.get("webhook_events_filter"))
        return Order(
            reference,
            check_input(model_input),
            {key: value for key, value in options.items() if value not in (None, False)},
        )

    def preview(self, order: Order) -> dict[str, Any]:
        """The body that `run` sends first, decoded again; files are read here.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        order = replace(order, input=encode_input(order.input))
        direct = self._goes_direct(order, self.settings.service.run_path)
        call = self._run_call(order) if direct else self._create_call(order)
        body: dict[str, Any] = json.loads(call.body or b"{}")
        return body

    def known(self, target: Any) -> Prediction:
        """A prediction, or what is known of one by its id alone.

        Raises:
            ConfigurationError: It has no id, or one that no path can hold.
        """
        prediction = target if isinstance(target, Prediction) else Prediction(id=target)
        if prediction.id is None and isinstance(target, Prediction):
            raise ConfigurationError(
                "This prediction has no id, so the service cannot be asked about it: /run and /run_sse give "
                'none. Use route="predictions" to get one.'
            )
        path_segment(prediction.id)
        return prediction

    # Which way to go.

    def _goes_direct(self, order: Order, path: str) -> bool:
        """Whether ``/run`` or ``/run_sse`` is asked: they take a name, never a bare version."""
        return (
            self.settings.route != "predictions"
            and order.reference.name is not None
            and path not in self.missing_routes
        )

    def _may_fall_back(self, error: APIStatusError) -> bool:
        return self.settings.route == "auto" and answers.is_missing_route(self.settings.service, error)

    def _create_instead(self, order: Order, path: str, until: float) -> Flow[Prediction]:
        """Create; and if that took the place of a missing route, remember it once create was accepted."""
        direct = self._goes_direct(order, path)
        prediction = yield from self._create(order, until)
        if direct:
            self.missing_routes.add(path)
        return prediction

    # The single calls.

    def _until(self, timeout: float | None) -> Flow[float]:
        """The moment when the total runs out; a call without a timeout takes the client's."""
        moment = yield from now()
        timeout = timeout if timeout is not None else self.settings.timeout
        return math.inf if timeout is None else moment + check_timeout(timeout, "timeout")

    def _encoded(self, order: Order) -> Flow[Order]:
        """Turn files into data URIs; reading them is work for a disk."""
        if not has_files(order.input):
            return order
        encoded = yield Work(partial(encode_input, order.input))
        return replace(order, input=encoded)

    def _run_call(self, order: Order, *, stream: bool = False) -> calls.Request:
        return calls.run_call(self.settings.service, order.reference, order.input, stream=stream)

    def _create_call(self, order: Order) -> calls.Request:
        return calls.create_call(self.settings.service, order.reference, order.input, order.options)

    def _create(self, order: Order, until: float) -> Flow[Prediction]:
        call = self._create_call(order)
        reply = yield from exchange(self.settings, call, until)
        return answers.read_created(self.settings.service, call, reply, order.known)

    def _cancel(self, known: Prediction, until: float) -> Flow[Prediction]:
        call = calls.cancel_call(self.settings.service, known.id)
        reply = yield from exchange(self.settings, call, until)
        return answers.read_canceled(self.settings.service, reply, known)

    def _finish_run(self, transcript: Transcript, until: float, timeout: float | None) -> Flow[Prediction]:
        """Wait for the prediction of a run: it is canceled if the caller leaves, not when the time is up."""
        known = transcript.known
        if known.is_terminal:
            return answers.finished(known, transcript.text)
        unlimited = timeout is None and self.settings.timeout is None
        stall = self.settings.timeouts.stall if unlimited else math.inf
        flow = wait(self.settings, known, until, stall)
        try:
            return (yield from self._canceling(transcript, flow, on_timeout=False))
        except RockAIError as error:
            error.partial_text = error.partial_text or transcript.text
            raise

    # Streaming.

    def _stream(self, order: Order, reading: Reading) -> Flow[None]:
        order = yield from self._encoded(order)
        path = self.settings.service.run_stream_path
        if self._goes_direct(order, path):
            call = self._run_call(order, stream=True)
            try:
                opened = yield from open_answer(self.settings, call, reading.until)
            except APIStatusError as error:
                if not self._may_fall_back(error):
                    raise
            else:
                if not (yield from follow(self.settings, call, opened, reading, order.known)):
                    yield from self._hand_on_whole(reading)
                return
        streamed = replace(order, options={**order.options, "stream": True})
        reading.transcript.prediction = yield from self._create_instead(streamed, path, reading.until)
        yield from self._stream_created(reading)

    def _stream_created(self, reading: Reading) -> Flow[None]:
        """Follow a prediction that has an id, piece by piece, or as one piece where it has no stream."""
        transcript = reading.transcript
        if is_unfetched(transcript.known):
            transcript.prediction = yield from look(self.settings, transcript.known, reading.until)
        prediction = transcript.known
        call = None if prediction.is_terminal else calls.stream_call(self.settings.service, prediction)
        if call is None:
            yield from self._hand_on_whole(reading)
            return
        try:
            opened = yield from open_answer(self.settings, call, reading.until)
            ended = yield from follow(self.settings, call, opened, reading, prediction)
        except RockAIError as error:
            if not transcript.callback_failed:
                error.prediction = error.prediction or transcript.prediction
                error.may_have_started = True
            raise
        if not ended:
            yield from self._hand_on_whole(reading)

    def _hand_on_whole(self, reading: Reading) -> Flow[None]:
        """Wait for a prediction that cannot be streamed, and hand its output on as one piece."""
        transcript = reading.transcript
        limit = min(reading.until, (yield from now()) + self.settings.timeouts.first_byte)
        try:
            transcript.prediction = yield from wait(self.settings, transcript.known, limit, math.inf)
        except PredictionTimeoutError as error:
            # The reader of a stream waits for its first event, whichever way it comes.
            raise APITimeoutError(
                error.message, prediction=error.prediction, may_have_started=True
            ) from error
        yield from reading.hand_on(transcript.known.text)

    # Leaving.

    def _canceling(self, transcript: Transcript, flow: Flow[T], *, on_timeout: bool) -> Flow[T]:
        """Drive a flow; if its caller leaves it early, close the connection, then cancel the prediction."""
        try:
            return (yield from flow)
        except GeneratorExit:
            raise
        except BaseException as error:
            prediction = transcript.prediction
            left = transcript.callback_failed or not isinstance(error, Exception)
            if left or (on_timeout and isinstance(error, APITimeoutError)):
                try:
                    yield Close()
                except GeneratorExit:
                    raise
                except BaseException:  # a second cancellation, before the first one was dealt with
                    yield from self._bid_farewell(prediction)
                    raise
                ended = yield from self._bid_farewell(prediction)
                # An answer without a prediction tells no end: then nothing is known but that it was asked.
                if ended is not None and ended.is_terminal and not left and isinstance(error, RockAIError):
                    error.prediction = ended
                    error.args = (f"{error.message} Prediction {ended.id} is {ended.status} now.",)
            raise

    def _bid_farewell(self, prediction: Prediction | None) -> Flow[Prediction | None]:
        """Cancel what may still be running; what came of it, as far as there was time to hear."""
        if prediction is None or not prediction.id or prediction.is_terminal:
            return None
        ended: Prediction | None = yield Farewell(partial(self._farewell, prediction))
        return ended

    def _farewell(self, prediction: Prediction) -> Flow[Prediction]:
        until = (yield from now()) + FAREWELL_SECONDS
        return (yield from self._cancel(prediction, until))
