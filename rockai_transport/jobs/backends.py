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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.io.detached import DetachedTask, run_detached
from rockai_transport.jobs.agent_messages import ToolAnswer
from rockai_transport.jobs.stores import Store, sleep_here
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS
from rockai_transport.protocol.prediction import Prediction, Update

T = TypeVar("T")
OnUpdate = Callable[[Update], Coroutine[Any, Any, None]]
Operation = Coroutine[Any, Any, T]


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

    now, clock = staticmethod(time.time), staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)
    detached = staticmethod(run_detached)

    def __init__(self, client: AsyncClient, store: Store) -> None:
        self.records = store.awaited
        self.predictions, self.download = client.predictions, client.download
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0

    def was_canceled(self) -> bool:
        """Whether the caller was canceled, even if the cancellation has not been raised yet."""
        return self._task is not None and self._task.cancelling() > self._cancellations

    async def left_behind(self, steps: Steps, after: float, meanwhile: Callable[[], Operation[Any]]) -> Any:
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

    async def together(
        self, operations: Sequence[Operation[T]], within: float = CANCEL_GRACE_SECONDS
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

    now, clock = staticmethod(time.time), staticmethod(time.monotonic)
    sleep = staticmethod(sleep_here)

    def __init__(self, client: Client, store: Store) -> None:
        self.records, self._client = store.for_blocking(), client
        self.predictions = _BlockingPredictions(client)

    def was_canceled(self) -> bool:
        """As `AsyncBackends.was_canceled`: always False, because Ctrl-C is raised at once."""
        return False

    async def download(self, prediction: Prediction, folder: Path, *, timeout: float) -> list[Path]:
        """As `AsyncClient.download`."""
        return self._client.download(prediction, folder, timeout=timeout)

    async def detached(self, operation: Operation[T], within: float = math.inf) -> T:  # noqa: ARG002
        """As `AsyncBackends.detached`: only its own timeouts end a blocking call."""
        return await operation

    async def left_behind(self, steps: Steps, after: float, meanwhile: Callable[[], Operation[Any]]) -> Any:
        """As `AsyncBackends.left_behind`; Ctrl-C or another signal waits for it, two seconds at most.

        Only the second step runs in another thread, because a store may be bound to this one.
        """
        if (early := await steps.before()) is not None:
            return early
        future: Future[Any] = Future()  # created before its thread runs: Ctrl-C may come at once
        late = partial(_finish_late, steps)
        try:
            _in_thread(steps.operation(), future)
            _wait([future], after)
        except BaseException:  # Ctrl-C, or what a signal handler raises; raised again below
            run_blocking(meanwhile())
            _wait([future], CANCEL_GRACE_SECONDS)
            future.add_done_callback(late)  # called at once if it is done
            raise
        if future.done():
            return await steps.then(future.result())
        future.add_done_callback(late)
        return None

    async def together(
        self, operations: Sequence[Operation[T]], within: float = CANCEL_GRACE_SECONDS
    ) -> list[T | BaseException]:
        """As `AsyncBackends.together`: each in a thread that is not waited for after that time."""
        futures = [Future[T]() for _ in operations]
        for operation, future in zip(operations, futures, strict=True):
            _in_thread(operation, future)
        _wait(futures, within)
        late = TimeoutError("there was no time to finish it")
        return [(one.exception() or one.result()) if one.done() else late for one in futures]


Backends = AsyncBackends | BlockingBackends


def _wait(futures: Sequence[Future[Any]], seconds: float) -> None:
    wait_for_futures(futures, min(seconds, threading.TIMEOUT_MAX))


def _finish_late(steps: Steps, future: Future[Any]) -> None:
    try:
        run_blocking(steps.then(future.result()))
    finally:
        steps.ended()


def _in_thread(operation: Operation[T], future: Future[T]) -> None:
    """Finish an operation over blocking calls, in a thread that the end of the program does not wait for."""
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
