"""`WebhookReceiver`: resumes sleeping runs when a prediction has ended, by a webhook or by a sweep.

Invariants of this module:

* A request authenticates itself with the secret of its record. Its body is only a hint, because the service's
  signature is not known: the prediction is fetched from the service.
* Of all deliveries and sweeps for one end, one resumes the run: it claims this in the store. If its worker
  dies, the claim is taken over after `STALE` seconds.
* Only one worker at a time resumes a thread.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.errors import ConfigurationError, RockAIError
from rockai_transport.io.detached import run_detached, to_thread
from rockai_transport.jobs.budget import amount
from rockai_transport.jobs.keys import digest
from rockai_transport.jobs.records import GONE, REFUSED, RESUMED, STARTED, UNANSWERED, Record
from rockai_transport.jobs.stores import Records, Store, as_store, place_of
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.references import path_segment
from rockai_transport.protocol.responses import is_gone
from rockai_transport.protocol.webhooks import WebhookCall, echoes

logger = logging.getLogger("rockai")

Resume = Callable[[Record, Prediction], Any]
"""Resumes a sleeping run; False: there is nothing to resume yet. It may be a coroutine function."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STALE = 600.0
"""Seconds after which a worker that is resuming a run counts as dead."""
_DONE = "done"
_AWAKE = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds between polls of the record, while a tool call that still polls may see the end itself."""
_KEPT = (*_AWAKE, *[1.0] * 58)
"""Seconds between attempts, while a delivery waits up to a minute for the suspended run to be saved."""
_MOST_BODY = 16 * 1024 * 1024
"""Maximum bytes that are read of a delivery."""
_AT_ONCE = 8
"""Maximum number of predictions that a sweep handles at once."""


class WebhookReceiver:
    """An ASGI app that the service calls when a prediction has ended.

    Mount it in FastAPI or Starlette (``app.mount("/rockai", receiver)``), or serve it alone. It checks the
    secret in the address, gets the prediction from the service, and calls ``resume`` once when it has ended.
    It responds before it resumes: 200, 403 for a wrong secret, 404 if the service does not know the
    prediction, 405 if it is no POST, 503 if the service could not be reached.

    Args:
        client: A `Client` or `AsyncClient` with the token that started the predictions.
        store: The toolkit's ``store=``, or the graph's store: a mapping of strings, the path of an SQLite
            file, or a LangGraph store.
        resume: Called with the record and the prediction; may be a coroutine function. If it returns False,
            there is nothing to resume yet, and it is called again for up to a minute.
            An exception is logged, and a later delivery or `sweep` tries again.
            `langchain_rockai.resume_graph` and `llama_index_rockai.resume_workflow` return such functions.
        stale: Seconds after which a worker that is resuming a run counts as dead. Default: 600.

    Raises:
        ConfigurationError: One of these is something else.

    Example:
        >>> from rockai_transport.jobs.webhooks import WebhookReceiver
        >>> store = {}
        >>> receiver = WebhookReceiver(client, store, lambda record, prediction: print(prediction.status))
    """

    def __init__(
        self, client: Client | AsyncClient, store: Any, resume: Resume, *, stale: float = STALE
    ) -> None:
        if not callable(resume):  # found only when it is called, it would leave the agent asleep
            raise ConfigurationError(f"resume must be a function, not {type(resume).__name__}.")
        self._client = client if isinstance(client, AsyncClient) else AsyncClient.like(client)
        opened = store if isinstance(store, Store) else as_store(store)
        self._records: Records = opened.awaited
        self._resume = resume
        self._stale = float(amount(stale, "stale"))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI request.

        Args:
            scope: The ASGI scope.
            receive: Receives the body.
            send: Sends the response.

        Example:
            >>> from rockai_transport.jobs.webhooks import WebhookReceiver
            >>> receiver = WebhookReceiver(client, {}, print)
            >>> async def receive():
            ...     return {"type": "http.request", "body": b""}
            >>> async def send(message):
            ...     print(message.get("status", message["type"]))
            >>> forged = {"type": "http", "method": "POST", "query_string": b"rockai_secret=guess"}
            >>> await receiver(forged, receive, send)
            403
            http.response.body
        """
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            status, found = await self._read(scope, receive)
            headers = [(b"content-length", b"0")]
            with suppress(OSError):  # the service has left; its prediction has ended all the same
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
            if found is not None:
                await self._wake_safely(*found, _KEPT)

    async def sweep(self, *, older_than: float = STALE) -> list[Record]:
        """Check predictions whose webhook is overdue, and resume the runs of those that have ended.

        Args:
            older_than: Seconds since the agent fell asleep, or since the start if none sleeps.

        Returns:
            The records whose runs were resumed.

        Raises:
            ConfigurationError: ``older_than`` is no number of seconds.

        Example:
            >>> from rockai_transport.jobs.webhooks import WebhookReceiver
            >>> receiver = WebhookReceiver(client, {}, lambda record, prediction: None)
            >>> await receiver.sweep(older_than=60)
            []
        """
        older_than = float(amount(older_than, "older_than"))
        now = time.time()
        records = await self._records.all(None)
        crashed = {
            one.key.partition("@")[0]: one.key.rpartition("#")[0]
            for one in records
            if one.state == RESUMED and one.status != _DONE and one.created <= now - self._stale
        }
        due = [
            one
            for one in records
            if one.state == STARTED and (one.key in crashed or is_overdue(one, now - older_than))
        ]
        few = asyncio.Semaphore(_AT_ONCE)

        async def wake(record: Record) -> bool:
            async with few:
                try:
                    prediction = await self._client.predictions.get(record.prediction_id or "")
                except RockAIError as error:
                    logger.warning("Prediction %s could not be fetched: %s", record.prediction_id, error)
                    if not is_gone(error):
                        return False
                    prediction = Prediction(id=record.prediction_id, status=GONE)
                if not prediction.is_terminal and prediction.status != GONE:
                    return False
                return await self._wake_safely(record, prediction, (), crashed.get(record.key))

        woken = await asyncio.gather(*map(wake, due))
        return [record for record, is_woken in zip(due, woken, strict=True) if is_woken]

    # A delivery.

    async def _read(  # noqa: PLR0911 - one for each status
        self, scope: Message, receive: Receive
    ) -> tuple[int, tuple[Record, Prediction] | None]:
        """Return the response's status, and what to resume."""
        call = WebhookCall.read(scope.get("query_string", b""))
        if scope["method"] != "POST":
            return 405, None
        try:
            record = await self._records.find(call.record) if call else None
            if call is None or record is None or not call.proves(record.webhook_hash):
                return 403, None
            body = await _body(receive)
            if record.state == UNANSWERED:
                record = await self._resolved(record, body)
            if record is None or record.state != STARTED:
                return 200, None
            prediction = await self._client.predictions.get(record.prediction_id or "")
        except Exception as error:
            if is_gone(error):
                return 404, None
            if isinstance(error, RockAIError) and not isinstance(error, ConfigurationError):
                logger.warning("A webhook arrived, but its prediction could not be fetched: %s", error)
                return 503, None
            logger.exception("A webhook arrived, but could not be processed.")
            return 500, None
        return 200, (record, prediction) if prediction.is_terminal else None

    async def _resolved(self, record: Record, body: bytes) -> Record | None:
        """Return an unknown start's record with the id in the body, if the service confirms it."""
        try:
            event = json.loads(body)
            prediction_id = (event.get("data") or event)["id"]
            path_segment(prediction_id)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, ConfigurationError):
            return None
        prediction = await self._client.predictions.get(prediction_id)
        fresh = await self._records.find(place_of(record))
        if fresh is None or fresh.state != UNANSWERED:
            return fresh
        if not _agrees(prediction, record):
            return None
        resolved = fresh._replace(state=STARTED, prediction_id=prediction_id, note="")
        await self._records.put(resolved)
        return resolved

    # Resuming.

    async def _wake_safely(self, record: Record, prediction: Prediction, *how: Any) -> bool:
        try:
            return await self._wake(record, prediction, *how)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # otherwise the developer's function was canceled, not this
            logger.exception(
                "The run that waits for prediction %s could not be resumed.", record.prediction_id
            )
            return False

    async def _wake(
        self, record: Record, prediction: Prediction, pauses: Sequence[float], abandoned: str | None = None
    ) -> bool:
        """Resume the run that waits for this, unless another worker does; return whether it was resumed here.

        Args:
            record: The record of the start.
            prediction: The ended prediction.
            pauses: Seconds between attempts, while there is nothing to resume yet.
            abandoned: A claim whose worker has died: it may have seen the end without resuming.
        """
        place = place_of(record)
        fresh = record if abandoned else await self._left_alone(place)
        if fresh is None:
            return False
        async with self._claimed(abandoned or f"{fresh.key}@{fresh.asleep}", fresh) as claim:
            if claim is None:
                return False
            left = iter(pauses)
            thread = f"resuming {digest(fresh.scope, {'thread': fresh.thread})}"
            while True:
                async with self._claimed(thread, fresh) as turn:
                    current = await self._records.find(place) if turn else fresh
                    if current is None or not (current.is_awaited or abandoned):
                        return False
                    if turn and await self._resumed(claim, current, prediction):
                        return True
                    pause = next(left, None) if turn else _KEPT[-1]
                    if pause is None:
                        claim.is_done = not current.is_awaited  # nothing is left to resume
                        return False
                await asyncio.sleep(pause)

    async def _left_alone(self, place: str) -> Record | None:
        """Return the record once no tool call polls it any more; None: a tool call has seen the end."""
        record = await self._records.find(place)
        for pause in _AWAKE:
            if record is None or not record.is_awaited:
                return None
            if record.asleep is not None:
                break
            await asyncio.sleep(pause)
            record = await self._records.find(place)
        return record

    async def _resumed(self, claim: _Claim, record: Record, prediction: Prediction) -> bool:
        """Call the developer's function in a thread, because it may block; a coroutine runs here.

        A cancellation waits for the thread, which cannot be stopped: else another worker would resume it too.
        """

        async def called() -> Any:
            result = await to_thread(self._resume, record, prediction)
            claim.is_done = result is not False and not inspect.isawaitable(result)
            return result

        if inspect.iscoroutinefunction(self._resume):
            result: Any = self._resume(record, prediction)
        else:
            result = await run_detached(called(), grace=math.inf)
        if inspect.isawaitable(result):
            claim.is_done = await result is not False
        return claim.is_done

    @asynccontextmanager
    async def _claimed(self, name: str, about: Record) -> AsyncIterator[_Claim | None]:
        """Claim exclusive work; yield None if another worker has it. Unfinished work is released."""
        claim = _Claim()
        try:
            await run_detached(self._claim(claim, name, about), math.inf)
            yield claim if claim.records else None
        finally:
            for one in claim.records:
                ended = one._replace(status=_DONE) if claim.is_done else one._replace(state=REFUSED)
                await run_detached(self._records.put(ended))

    async def _claim(self, claim: _Claim, name: str, about: Record) -> None:
        """Claim it, and take over the claim of a dead worker."""
        mine: list[Record] = []
        for attempt in count():
            made = Record(f"{name}#{attempt}", about.scope, about.model, "", time.time(), RESUMED)
            mine.append(made._replace(nonce=uuid4().hex))
            if await self._records.claim(mine[-1]):
                claim.records = mine
                return
            held = await self._records.find(place_of(made))
            if held is None or held.status == _DONE or held.created > time.time() - self._stale:
                return


def is_overdue(record: Record, before: float) -> bool:
    """Whether a webhook for it is expected, and has been since before a time."""
    return record.is_awaited and (record.asleep or record.created) <= before


@dataclass
class _Claim:
    """Work that only one worker may do."""

    records: list[Record] = field(default_factory=list)
    """The claim's records; empty if another worker has the claim."""
    is_done: bool = False


def _agrees(prediction: Prediction, record: Record) -> bool:
    """Whether the prediction belongs to the record: by its webhook, otherwise by its input."""
    raw = prediction.raw if isinstance(prediction.raw, dict) else {}
    if address := raw.get("webhook"):
        return echoes(address, record.webhook_hash)
    model, version = prediction.model or "", prediction.version or ""
    names = (model, version, f"{model}:{version}")
    return any(hmac.compare_digest(digest(one, prediction.input or {}), record.digest) for one in names)


async def _body(receive: Receive) -> bytes:
    """Return the body, up to a reasonable length."""
    body, has_more = b"", True
    while has_more and len(body) <= _MOST_BODY:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    return body


async def _live(receive: Receive, send: Send) -> None:
    """Handle the lifespan protocol, if a server serves this app alone."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
