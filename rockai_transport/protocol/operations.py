"""Operations of several requests: create, get, cancel, wait, run and stream, with their fall-backs.

Invariants of this module:

* A request that starts a prediction is sent once. The fall-back from a missing route is not a second start,
  because the first request was refused.
* Leaving early cancels the prediction if its id is known. An interrupted stream cancels nothing: the caller
  can still wait for its prediction.
* Knowledge about a prediction is never lost: every error after its start carries it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rockai_transport.config import Settings, check_flag, check_timeout
from rockai_transport.errors import (
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    PredictionTimeoutError,
    RockAIError,
)
from rockai_transport.protocol import requests, responses
from rockai_transport.protocol.exchange import exchange, open_response
from rockai_transport.protocol.inputs import check_input, check_webhook, encode_input
from rockai_transport.protocol.io import IO, EventBody
from rockai_transport.protocol.messages import Request, Response
from rockai_transport.protocol.prediction import UNKNOWN, Prediction, Update, is_unfetched, must_be_fetched
from rockai_transport.protocol.references import ModelReference, path_segment
from rockai_transport.protocol.requests import RunRequest
from rockai_transport.protocol.streams import RunStream, StreamState
from rockai_transport.protocol.waiting import fetch, wait
from rockai_transport.sanitize import sanitize
from rockai_transport.service import Service

logger = logging.getLogger("rockai")

CANCEL_GRACE_SECONDS = 2.0
"""Maximum seconds for leaving; the prediction's cancel is answered by then, or given up."""


class Operations:
    """All operations of one client. It holds the client's settings, and the routes found missing."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.missing_routes: set[str] = set()

    # What a user calls.

    async def run(
        self, io: IO, run: RunRequest, timeout: float | None, on_text: Callable[[str], Any] | None = None
    ) -> Prediction:
        """Run and wait, with ``/run`` or with create and polling; with ``on_text``, with the event stream."""
        state = StreamState()
        try:
            if on_text is None:
                return await self._run(io, run, timeout, state)
            return await self._run_with_text(io, run, timeout, state, on_text)
        except (RockAIError, GeneratorExit):
            raise
        except BaseException:  # also what a signal handler or a user's hook raises
            await self.cancel_on_exit(io, state)
            raise

    async def _run(self, io: IO, run: RunRequest, timeout: float | None, state: StreamState) -> Prediction:
        until = self._until(io, timeout)
        run = await _encoded(io, run) if run.has_files else run
        path = self.settings.service.run_path
        if self._goes_direct(run, path):
            request = requests.run_request(self.settings.service, run, stream=False)
            try:
                await self._start(io, request, run, until, state, responses.read_output)
            except APIStatusError as error:
                if not self._may_fall_back(error):
                    raise
        if state.prediction is None:
            await self._create(io, run, until, state, path)
        return await self._finish_run(io, state, until, timeout)

    async def _run_with_text(
        self,
        io: IO,
        run: RunRequest,
        timeout: float | None,
        state: StreamState,
        on_text: Callable[[str], Any],
    ) -> Prediction:
        until = self._until(io, timeout)
        stream = self.stream(io, run, timeout, state, for_run=True)
        try:
            while batch := await stream.next_batch():
                await stream.call_with_each(on_text, batch)
        except APITimeoutError as error:
            if state.callback_failed or state.prediction is None or state.prediction.id is None:
                raise
            raise PredictionTimeoutError(error.message, state.prediction, state.text) from error
        if state.prediction is None:
            return state.concluded()
        if not state.prediction.is_terminal:  # the stream has ended, so poll without a delay
            state.prediction = replace(state.prediction, status=UNKNOWN)
        return await self._finish_run(io, state, until, timeout)

    def stream(
        self, io: IO, run: RunRequest, timeout: float | None, state: StreamState, *, for_run: bool = False
    ) -> RunStream:
        """Stream with ``/run_sse``, or with create and ``urls.stream``.

        Raises:
            ConfigurationError: The timeout is invalid.
        """
        if timeout is not None:
            check_timeout(timeout, "timeout")
        state.known = run.partial
        begin = partial(self._begin_stream, io, run, timeout, state)
        return RunStream(io, state, begin, self.cancel_on_exit, for_run)

    def stream_prediction(self, io: IO, target: Any, state: StreamState) -> RunStream:
        """Stream an existing prediction.

        Raises:
            ConfigurationError: It has no id.
        """
        state.prediction = state.known = self.known(target)

        async def begin() -> EventBody | None:
            return await self._begin_created(io, state, self._until(io, None))

        return RunStream(io, state, begin, self.cancel_on_exit)

    async def create(self, io: IO, run: RunRequest) -> Prediction:
        """Create a prediction, without waiting for it."""
        until = self._until(io, None)
        run = await _encoded(io, run) if run.has_files else run
        request = requests.create_request(self.settings.service, run)
        return await self._start(io, request, run, until, StreamState(), responses.read_whole)

    async def get(self, io: IO, prediction_id: Any) -> Prediction:
        """Get the current state of a prediction."""
        return await fetch(io, self.settings, self.known(prediction_id), self._until(io, None))

    async def cancel(self, io: IO, target: Any) -> Prediction:
        """Cancel a prediction."""
        return await self._cancel(io, self.known(target), self._until(io, None))

    async def wait(
        self, io: IO, target: Any, timeout: float | None, on_update: Callable[[Update], Any] | None
    ) -> Prediction:
        """Wait until a prediction ends."""
        seconds = timeout if timeout is not None else self.settings.timeout
        until = self._until(io, seconds if seconds is not None else self.settings.timeouts.wait)
        return await wait(io, self.settings, self.known(target), until, math.inf, on_update)

    async def download(
        self, io: IO, /, prediction: Prediction, folder: str | Path, timeout: float | None, **limits: Any
    ) -> list[Path]:
        """Save the files of a prediction's output, with the limits of `download_files`."""
        from rockai_transport.protocol.downloads import download_files

        until = self._until(io, timeout)
        return await download_files(io, self.settings, prediction, folder, until, **limits)

    # Checks, before anything is sent.

    def run_request(
        self,
        reference: ModelReference,
        model_input: Any,
        *,
        stream: bool = False,
        webhook: str | None = None,
        webhook_events_filter: Any = None,
    ) -> RunRequest:
        """Check a run request.

        Raises:
            ConfigurationError: It is invalid.
        """
        has_files = check_input(model_input)
        options: dict[str, Any] = {} if stream is False else {"stream": check_flag(stream, "stream")}
        if webhook is not None or webhook_events_filter is not None:
            options |= check_webhook(webhook, webhook_events_filter)
        return RunRequest(reference, model_input, options, has_files)

    def preview(self, run: RunRequest) -> dict[str, Any]:
        """Return the body that `run` sends first, as decoded JSON; reads the files.

        Raises:
            ConfigurationError: The body cannot be sent.
        """
        run = replace(run, input=encode_input(run.input))
        if self._goes_direct(run, self.settings.service.run_path):
            request = requests.run_request(self.settings.service, run, stream=False)
        else:
            request = requests.create_request(self.settings.service, run)
        body: dict[str, Any] = json.loads(request.body or b"{}")
        return body

    def known(self, target: Any) -> Prediction:
        """Return the prediction, or one with only an id if the id is all that is known.

        Raises:
            ConfigurationError: It has no id, or one that a path cannot contain.
        """
        prediction = target if isinstance(target, Prediction) else Prediction(id=target)
        if prediction.id is None and isinstance(target, Prediction):
            raise ConfigurationError(
                "This prediction has no id, so the service cannot be asked about it: /run and /run_sse give "
                'none. Use route="predictions" to get one.'
            )
        path_segment(prediction.id)
        return prediction

    # Which route to use.

    def _goes_direct(self, run: RunRequest, path: str) -> bool:
        """Return whether to use ``/run`` or ``/run_sse``: they accept a name, but no bare version."""
        return (
            self.settings.route != "predictions"
            and run.reference.name is not None
            and path not in self.missing_routes
        )

    def _may_fall_back(self, error: APIStatusError) -> bool:
        return self.settings.route == "auto" and responses.is_missing_route(self.settings.service, error)

    # The single requests.

    def _until(self, io: IO, timeout: float | None) -> float:
        """Return the deadline of a call; without its own timeout, the client's applies."""
        timeout = timeout if timeout is not None else self.settings.timeout
        return math.inf if timeout is None else io.now() + check_timeout(timeout, "timeout")

    async def _create(self, io: IO, run: RunRequest, until: float, state: StreamState, path: str) -> None:
        """Create. If this replaces a missing route, remember that route once create was accepted."""
        request = requests.create_request(self.settings.service, run)
        await self._start(io, request, run, until, state, responses.read_whole)
        if self._goes_direct(run, path):
            self.missing_routes.add(path)

    async def _start(
        self,
        io: IO,
        request: Request,
        run: RunRequest,
        until: float,
        state: StreamState,
        read: Callable[[Service, responses.Answer, Prediction], Prediction],
    ) -> Prediction:
        """Send a start. If the response is not read to its end, the id in what has arrived is still used."""
        service = self.settings.service
        received: list[bytes] = []
        try:
            answer = await exchange(io, self.settings, request, until, received)
            state.prediction = read(service, answer, run.partial)
        except (APIStatusError, InvalidResponseError, GeneratorExit):
            raise
        except BaseException as error:  # as in `run`, or a broken connection; raised again
            with contextlib.suppress(RockAIError):
                response = Response(200, {}, io.now(), b"".join(received))
                found = read(service, responses.accepted(service, request, response), run.partial)
                state.prediction = found if found.id else None
            state.prediction = state.prediction or responses.read_begun(b"".join(received), run.partial)
            if not isinstance(error, RockAIError):
                await self.cancel_on_exit(io, state)
            elif state.prediction is not None:  # only the end of the response is missing
                error.prediction = state.prediction
            raise
        return state.prediction

    async def _cancel(self, io: IO, known: Prediction, until: float) -> Prediction:
        service = self.settings.service
        request = requests.prediction_request("POST", service.cancel_path, known.id)
        answer = await exchange(io, self.settings, request, until)
        return responses.read_canceled(service, answer, known)

    async def _finish_run(
        self, io: IO, state: StreamState, until: float, timeout: float | None
    ) -> Prediction:
        """Wait for a run's prediction; cancel it if the caller leaves, but not at a timeout."""
        prediction = state.prediction or Prediction()
        if prediction.is_terminal:
            return responses.finished(prediction, state.text)
        unlimited = timeout is None and self.settings.timeout is None
        stall = self.settings.timeouts.stall if unlimited else math.inf
        try:
            return await wait(io, self.settings, prediction, until, stall)
        except RockAIError as error:
            error.partial_text = error.partial_text or state.text
            if not error.prediction:
                error.prediction, error.may_have_started = prediction, True
            raise

    # Streaming.

    async def _begin_stream(
        self, io: IO, run: RunRequest, timeout: float | None, state: StreamState
    ) -> EventBody | None:
        until = self._until(io, timeout)
        if run.has_files:
            run = await _encoded(io, run)
            state.known = run.partial
        path = self.settings.service.run_stream_path
        if self._goes_direct(run, path):
            request = requests.run_request(self.settings.service, run, stream=True)
            try:
                return await self._open_stream(io, request, state, until, run.partial)
            except APIStatusError as error:
                # With a prediction, the route exists, and the error is that of a poll.
                if state.prediction is not None or not self._may_fall_back(error):
                    raise
        streamed = replace(run, options={**run.options, "stream": True})
        await self._create(io, streamed, until, state, path)
        return await self._begin_created(io, state, until)

    async def _begin_created(self, io: IO, state: StreamState, until: float) -> EventBody | None:
        """Open the stream of a prediction with an id, or wait for the prediction if it has no stream."""
        prediction = state.prediction or Prediction()
        service = self.settings.service
        request = None if must_be_fetched(prediction) else requests.stream_request(service, prediction)
        if request is None and is_unfetched(prediction):
            state.prediction = prediction = await fetch(io, self.settings, prediction, until)
            request = requests.stream_request(service, prediction)
        if request is None or prediction.is_terminal:
            await self._wait_for_whole(io, state, prediction, until)
            return None
        return await self._open_stream(io, request, state, until, prediction)

    async def _open_stream(
        self, io: IO, request: Request, state: StreamState, until: float, known: Prediction
    ) -> EventBody | None:
        """Open an event stream. Any other response is the prediction, which may have to be waited for."""
        opened = await open_response(io, self.settings, request, until)
        if isinstance(opened, EventBody):
            return opened
        state.prediction = prediction = responses.read_output(self.settings.service, opened, known)
        await self._wait_for_whole(io, state, prediction, until)
        return None

    async def _wait_for_whole(self, io: IO, state: StreamState, prediction: Prediction, until: float) -> None:
        """Wait for a prediction that cannot be streamed: its output comes as one piece."""
        limit = min(until, io.now() + self.settings.timeouts.first_byte)
        try:
            state.prediction = await wait(io, self.settings, prediction, limit, math.inf)
        except PredictionTimeoutError as error:
            # For the reader, this is the timeout of the first event.
            raise APITimeoutError(
                error.message, prediction=error.prediction, may_have_started=True
            ) from error

    # Leaving.

    async def cancel_on_exit(self, io: IO, state: StreamState) -> Prediction | None:
        """Close the connection at once, then cancel the prediction; return its final state if known."""
        try:
            await io.close()
        finally:  # a second cancellation must not stop the request that cancels the prediction
            ended = await self._cancel_detached(io, state)
        return ended

    async def _cancel_detached(self, io: IO, state: StreamState) -> Prediction | None:
        """Cancel the prediction if it may still be running; return its state if the response was in time."""
        prediction = state.prediction
        if state.was_canceled or prediction is None or not prediction.id or prediction.is_terminal:
            return None

        async def cancel(io: IO) -> Prediction:
            return await self._cancel(io, prediction, io.now() + CANCEL_GRACE_SECONDS)

        ended = None
        try:
            state.was_canceled = True
            state.prediction = ended = await io.detached(cancel, CANCEL_GRACE_SECONDS)
        except (KeyboardInterrupt, SystemExit):
            state.was_canceled = False  # dropping the stream leaves it again
            raise
        except Exception as error:  # noqa: BLE001 - best effort: the original error is raised instead
            sanitize(error, self.settings.api_token)
            logger.debug("The cancel that was sent on leaving failed: %s", error)
        return ended


async def _encoded(io: IO, run: RunRequest) -> RunRequest:
    """Convert files to data URIs, in a thread, because this reads from disk."""
    return replace(run, input=await io.in_thread(partial(encode_input, run.input)))
