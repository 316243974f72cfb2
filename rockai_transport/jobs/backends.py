"""`Backends`: what one tool call works with. With blocking calls, or with ``await``.

Invariants of this module: the coroutines of `BlockingBackends` never suspend, so that `run_blocking` finishes
in one step what works with them. What is detached is finished before a cancellation is raised, since a start
that was sent must be remembered; that takes two seconds at most.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.io.detached import GRACE_SECONDS, DetachedTask, run_detached
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.stores import Records
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.prediction import Prediction, Update

__all__ = ["AsyncBackends", "Backends", "BlockingBackends", "PredictionCalls"]

T = TypeVar("T")
OnUpdate = Callable[[Update], Any] | None


class PredictionCalls(Protocol):
    """What the service is asked for; an `AsyncClient`'s ``predictions`` are this."""

    async def create(self, *, model: str, input: Mapping[str, Any]) -> Prediction:
        """Start a prediction."""

    async def get(self, prediction_id: str, /) -> Prediction:
        """Look at one once."""

    async def wait(self, prediction: Prediction, /, *, timeout: float, on_update: OnUpdate) -> Prediction:
        """Wait for its end, or until the time is up."""

    async def cancel(self, prediction: Prediction, /) -> Prediction:
        """Cancel it."""


class Backends(Protocol):
    """What one tool call works with, or one method for the developer."""

    context: CallContext
    predictions: PredictionCalls
    records: Records

    def was_canceled(self) -> bool:
        """Whether the caller was canceled, and may not know it yet."""

    def now(self) -> float:
        """Seconds since 1970."""

    async def download(self, prediction: Prediction, folder: Path) -> list[Path]:
        """Save the files of an output."""

    async def detached(self, operation: Coroutine[Any, Any, T], within: float) -> T:
        """Finish an operation; a cancellation that comes meanwhile is raised afterwards.

        Args:
            operation: What to finish. A cancellation waits for it, two seconds at most.
            within: Seconds after which it is given up.

        Raises:
            TimeoutError: Its time was up.
        """

    async def together(self, operations: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
        """Do several things at once, detached, for two seconds at most; give results, or exceptions."""


class AsyncBackends:
    """`Backends` with ``await``, for the task that makes it.

    Args:
        client: The client.
        records: Where starts are remembered.
        context: Where the call happens.
    """

    now = staticmethod(time.time)

    def __init__(self, client: AsyncClient, records: Records, context: CallContext) -> None:
        self.context, self.records, self._client = context, records, client
        self.predictions: PredictionCalls = client.predictions
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0

    def was_canceled(self) -> bool:
        """As `Backends.was_canceled`."""
        return self._task is not None and self._task.cancelling() > self._cancellations

    async def download(self, prediction: Prediction, folder: Path) -> list[Path]:
        """As `Backends.download`."""
        return await self._client.download(prediction, folder)

    async def detached(self, operation: Coroutine[Any, Any, T], within: float) -> T:
        """As `Backends.detached`."""
        try:
            return await run_detached(operation, within)
        finally:
            if self.was_canceled():
                await asyncio.sleep(0)  # raises the cancellation that came meanwhile

    async def together(self, operations: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
        """As `Backends.together`."""
        tasks = [DetachedTask(operation, GRACE_SECONDS) for operation in operations]
        return await self.detached(_gathered(tasks), math.inf)


class BlockingBackends:
    """`Backends` with blocking calls.

    Args:
        client: The client.
        records: Where starts are remembered.
        context: Where the call happens.
    """

    now = staticmethod(time.time)

    def __init__(self, client: Client, records: Records, context: CallContext) -> None:
        self.context, self.records, self._client = context, records, client
        self.predictions: PredictionCalls = _BlockingPredictions(client)

    def was_canceled(self) -> bool:
        """As `Backends.was_canceled`: Ctrl-C comes at once."""
        return False

    async def download(self, prediction: Prediction, folder: Path) -> list[Path]:
        """As `Backends.download`."""
        return self._client.download(prediction, folder)

    async def detached(self, operation: Coroutine[Any, Any, T], within: float) -> T:  # noqa: ARG002
        """As `Backends.detached`: nothing but its own limits ends a blocking call."""
        return await operation

    async def together(self, operations: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
        """As `Backends.together`: each in a thread that nobody waits for longer."""
        results: list[T | BaseException] = [TimeoutError("not done within two seconds")] * len(operations)

        def finish(index: int, operation: Coroutine[Any, Any, T]) -> None:
            try:
                results[index] = run_blocking(operation)
            except Exception as error:  # noqa: BLE001 - the caller looks at what failed
                results[index] = error

        threads = [threading.Thread(target=finish, args=one, daemon=True) for one in enumerate(operations)]
        give_up = time.monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(give_up - time.monotonic(), 0))
        return list(results)


class _BlockingPredictions:
    """`PredictionCalls` with blocking calls."""

    def __init__(self, client: Client) -> None:
        self._predictions = client.predictions

    async def create(self, *, model: str, input: Mapping[str, Any]) -> Prediction:
        return self._predictions.create(model=model, input=input)

    async def get(self, prediction_id: str, /) -> Prediction:
        return self._predictions.get(prediction_id)

    async def wait(self, prediction: Prediction, /, *, timeout: float, on_update: OnUpdate) -> Prediction:
        return self._predictions.wait(prediction, timeout=timeout, on_update=on_update)

    async def cancel(self, prediction: Prediction, /) -> Prediction:
        return self._predictions.cancel(prediction)


async def _gathered(tasks: Sequence[asyncio.Task[T]]) -> list[T | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)
