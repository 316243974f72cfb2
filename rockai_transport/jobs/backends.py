"""`Backends`: what one tool call uses, with blocking calls or with ``await``.

Invariants of this module: the coroutines of `BlockingBackends` never suspend, so that `run_blocking` finishes
their callers in one step. A detached operation finishes before a cancellation is raised, because a start
that was sent must be recorded; this takes two seconds at most. An operation that is left behind continues on
its own: in a task with ``await``, otherwise in a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.io.detached import GRACE_SECONDS, DetachedTask, run_detached
from rockai_transport.jobs.agent_messages import ToolAnswer
from rockai_transport.jobs.stores import Store
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.prediction import Prediction, Update

T = TypeVar("T")
OnUpdate = Callable[[Update], Coroutine[Any, Any, None]]
_LOCK_SECONDS = 10.0
_LOCK_LOOKS = 0.005


class Steps(Protocol):
    """An operation in three steps that must be finished once it has begun."""

    async def before(self) -> ToolAnswer | None:
        """The first step; if it returns an answer, the others are skipped."""

    async def operation(self) -> Any:
        """The step that may take long."""

    async def then(self, outcome: Any, /) -> Any:
        """The last step, which handles the result."""

    async def all(self) -> Any:
        """Run the steps one after the other; then call `ended`."""

    def ended(self) -> None:
        """Nothing more follows."""


class AsyncBackends:
    """What one tool call, or one method for the developer, uses; for the task that creates it.

    Args:
        client: The client.
        store: The store of records.
    """

    now = staticmethod(time.time)
    detached = staticmethod(run_detached)

    def __init__(self, client: AsyncClient, store: Store) -> None:
        self.records, self._client = store.awaited, client
        self.predictions = client.predictions
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0

    def was_canceled(self) -> bool:
        """Whether the caller was canceled, even if the cancellation has not been raised yet."""
        return self._task is not None and self._task.cancelling() > self._cancellations

    async def download(self, prediction: Prediction, folder: Path, timeout: float) -> list[Path]:
        """Save the files of an output, within ``timeout`` seconds."""
        return await self._client.download(prediction, folder, timeout=timeout)

    async def bounded(self, operation: Coroutine[Any, Any, T], within: float) -> T:
        """Run an operation for at most ``within`` seconds; a cancellation ends it at once.

        Raises:
            TimeoutError: It took longer.
        """
        async with asyncio.timeout(within):
            return await operation

    async def left_behind(
        self, steps: Steps, after: float, meanwhile: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """As `detached`, but after ``after`` seconds it continues on its own, and None is returned.

        Args:
            steps: The steps to finish.
            after: Seconds.
            meanwhile: Called as soon as the caller is canceled.
        """
        try:
            return await run_detached(steps.all(), patience=after, meanwhile=meanwhile)
        except TimeoutError:
            return None

    @asynccontextmanager
    async def locked(self, lock: threading.Lock) -> AsyncIterator[None]:
        """Hold a lock that blocking and awaited calls share; it is polled, because no event loop may block.

        Raises:
            TimeoutError: Another call has held it for ten seconds.
        """
        async with asyncio.timeout(_LOCK_SECONDS):
            while not lock.acquire(blocking=False):  # noqa: ASYNC110 - see above
                await asyncio.sleep(_LOCK_LOOKS)
        try:
            yield
        finally:
            lock.release()

    async def together(
        self, operations: Sequence[Coroutine[Any, Any, T]], within: float = GRACE_SECONDS
    ) -> list[T | BaseException]:
        """Run several operations at once, for at most ``within`` seconds; return results or exceptions.

        If the caller is detached, they are too.
        """
        tasks = [DetachedTask(operation, within) for operation in operations]
        try:
            return await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))
        except asyncio.CancelledError:
            for task in tasks:
                task.give_up()
            raise


class BlockingBackends:
    """As `AsyncBackends`, with blocking calls.

    Args:
        client: The client.
        store: The store of records.

    Raises:
        ConfigurationError: The store has only async methods.
    """

    now = staticmethod(time.time)

    def __init__(self, client: Client, store: Store) -> None:
        self.records, self._client = store.for_blocking(), client
        self.predictions = _BlockingPredictions(client)

    def was_canceled(self) -> bool:
        """As `AsyncBackends.was_canceled`: always False, because Ctrl-C is raised at once."""
        return False

    async def download(self, prediction: Prediction, folder: Path, timeout: float) -> list[Path]:
        """As `AsyncBackends.download`."""
        return self._client.download(prediction, folder, timeout=timeout)

    async def bounded(self, operation: Coroutine[Any, Any, T], within: float) -> T:
        """As `AsyncBackends.bounded`: a longer operation continues in its thread; its result is dropped."""
        return _in_thread(operation).result(_finite(within))

    async def detached(self, operation: Coroutine[Any, Any, T], within: float = math.inf) -> T:  # noqa: ARG002
        """As `AsyncBackends.detached`: only its own timeouts end a blocking call."""
        return await operation

    async def left_behind(
        self, steps: Steps, after: float, meanwhile: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """As `AsyncBackends.left_behind`; Ctrl-C waits for it, two seconds at most.

        Only the second step runs in another thread, because a store may be bound to this one.
        """
        if (early := await steps.before()) is not None:
            return early
        future: Future[Any] = Future()  # created before its thread runs: Ctrl-C may come at once
        late = partial(_finish_late, steps)
        try:
            _in_thread(steps.operation(), future)
            wait_for_futures([future], _finite(after))
        except KeyboardInterrupt:
            run_blocking(meanwhile())
            wait_for_futures([future], GRACE_SECONDS)
            future.add_done_callback(late)  # called at once if it is done
            raise
        if future.done():
            return await steps.then(future.result())
        future.add_done_callback(late)
        return None

    @asynccontextmanager
    async def locked(self, lock: threading.Lock) -> AsyncIterator[None]:
        """As `AsyncBackends.locked`."""
        if not lock.acquire(timeout=_LOCK_SECONDS):
            raise TimeoutError("another start of this conversation is being written down")
        try:
            yield
        finally:
            lock.release()

    async def together(
        self, operations: Sequence[Coroutine[Any, Any, T]], within: float = GRACE_SECONDS
    ) -> list[T | BaseException]:
        """As `AsyncBackends.together`: each in a thread that is not waited for after that time."""
        futures = [_in_thread(operation) for operation in operations]
        wait_for_futures(futures, within)
        late = TimeoutError("there was no time to finish it")
        return [(one.exception() or one.result()) if one.done() else late for one in futures]


Backends = AsyncBackends | BlockingBackends


def _finite(seconds: float) -> float:
    """Return the longest time that a thread can wait, if that is less."""
    return min(seconds, threading.TIMEOUT_MAX)


def _finish_late(steps: Steps, future: Future[Any]) -> None:
    try:
        run_blocking(steps.then(future.result()))
    finally:
        steps.ended()


def _in_thread(operation: Coroutine[Any, Any, T], future: Future[T] | None = None) -> Future[T]:
    """Finish an operation over blocking calls, in a thread that the end of the program does not wait for."""
    future = future or Future()
    context = contextvars.copy_context()

    def finish() -> None:
        try:
            future.set_result(context.run(run_blocking, operation))
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            future.set_exception(error)

    try:
        threading.Thread(target=finish, daemon=True).start()
    except RuntimeError:  # no more threads are available
        finish()
    return future


class _BlockingPredictions:
    """An `AsyncClient`'s ``predictions``, with blocking calls."""

    def __init__(self, client: Client) -> None:
        self._predictions = client.predictions

    async def create(self, *, model: str, input: Mapping[str, Any], **webhook: Any) -> Prediction:
        return self._predictions.create(model=model, input=input, **webhook)

    async def get(self, prediction_id: str, /) -> Prediction:
        return self._predictions.get(prediction_id)

    async def wait(self, prediction: Prediction, /, *, timeout: float, on_update: OnUpdate) -> Prediction:
        return self._predictions.wait(
            prediction, timeout=timeout, on_update=lambda update: run_blocking(on_update(update))
        )

    async def cancel(self, prediction: Prediction, /) -> Prediction:
        return self._predictions.cancel(prediction)
