"""Drive a lifecycle flow: with blocking calls, or with ``await``.

Laws of this module: what is shielded is finished before a cancellation is told to the flow, since a start
that was sent must be remembered; and whoever leaves is kept for two seconds at most. That holds at the end of
``asyncio.run`` too, which at Ctrl-C cancels every task that it can see.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from rockai_transport.jobs.effects import Do, Effect, Flow, Now, Pause, Together
from rockai_transport.protocol.operations import FAREWELL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["drive", "drive_async"]

T = TypeVar("T")


def drive(flow: Flow[T], hands: Any) -> T:
    """Do what a flow asks for until it returns.

    Args:
        flow: The flow.
        hands: Holds ``client``, ``records`` and ``site``, whose methods the flow names.
    """
    step: Callable[[Any], Effect] = flow.send
    told: Any = None
    try:
        while True:
            effect = step(told)
            try:
                told, step = _perform(effect, hands), flow.send
            except BaseException as error:  # noqa: BLE001 - Ctrl-C too is for the flow to decide on
                told, step = error, flow.throw
    except StopIteration as end:
        value: T = end.value
        return value


async def drive_async(flow: Flow[T], hands: Any) -> T:
    """As `drive`, with ``await``."""
    driver = _AsyncDriver(flow, hands)
    value: T = await driver.run()
    return value


class _AsyncDriver:
    """Drives one flow, and holds a cancellation back for as long as something shielded is under way."""

    def __init__(self, flow: Flow[Any], hands: Any) -> None:
        self._flow = flow
        self._hands = hands
        self._left: asyncio.CancelledError | None = None
        self._told = False
        self._give_up = 0.0

    async def run(self) -> Any:
        step: Callable[[Any], Effect] = self._flow.send
        told: Any = None
        try:
            while True:
                effect = step(told)
                try:
                    told, step = await self._perform(effect), self._flow.send
                except BaseException as error:  # noqa: BLE001 - a cancellation too is for the flow to decide on
                    told, step = error, self._flow.throw
        except StopIteration as end:
            if self._left is not None:
                raise self._left from None
            return end.value
        except Exception as error:
            # Whatever failed while leaving: who was canceled leaves as canceled.
            if self._left is not None:
                raise self._left from error
            raise

    async def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, Now):
            return time.time()
        if isinstance(effect, Together):
            return await self._shielded(_gathered([self._call(call) for call in effect.calls]))
        if isinstance(effect, Do) and effect.shielded:
            return await self._shielded(self._call(effect))
        if self._left is not None and not self._told:
            self._told = True
            raise self._left
        try:
            return None if isinstance(effect, Pause) else await self._call(effect)
        except asyncio.CancelledError as error:
            self._leave(error)
            self._told = True
            raise

    def _leave(self, error: asyncio.CancelledError) -> None:
        if self._left is None:
            self._left, self._give_up = error, time.monotonic() + FAREWELL_SECONDS

    async def _call(self, call: Do) -> Any:
        result = _method(self._hands, call, asynchronous=True)(*call.args, **call.kwargs)
        return await result if inspect.isawaitable(result) else result

    async def _shielded(self, awaitable: Awaitable[Any]) -> Any:
        """Run it in a task of its own, which a cancellation reaches only when the time is up."""
        task = _out_of_sight(awaitable)
        while not task.done():
            left = None if self._left is None else self._give_up - time.monotonic()
            if left is not None and left <= 0:
                task.cancel()
                self._told = True
                raise self._left or asyncio.CancelledError
            try:
                await asyncio.wait({task}, timeout=left)
            except asyncio.CancelledError as error:
                self._leave(error)
        return task.result()


def _perform(effect: Effect, hands: Any) -> Any:
    if isinstance(effect, Now):
        return time.time()
    if isinstance(effect, Pause):
        return None
    if isinstance(effect, Together):
        return _side_by_side(effect.calls, hands)
    return _method(hands, effect, asynchronous=False)(*effect.args, **effect.kwargs)


def _method(hands: Any, call: Do, *, asynchronous: bool) -> Callable[..., Any]:
    """The method that a flow names; the async ones of the records begin with an ``a``."""
    owner = hands.client.predictions if call.on == "predictions" else getattr(hands, call.on)
    prefix = "a" if asynchronous and call.on == "records" else ""
    method: Callable[..., Any] = getattr(owner, f"{prefix}{call.method}")
    return method


def _out_of_sight(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    """A task that ``asyncio.all_tasks`` does not show: only who waits for it decides when it is canceled.

    A workflow runs in tasks of its own, which are left to the end of ``asyncio.run`` when Ctrl-C stops the
    program. There all tasks are canceled at once: a start whose answer is on its way would be lost.
    """
    task = asyncio.ensure_future(awaitable)
    # Documented for those who write tasks: docs.python.org/3/library/asyncio-extending.html
    asyncio.tasks._unregister_task(task)  # noqa: SLF001
    return task


async def _gathered(awaitables: list[Awaitable[Any]]) -> list[Any]:
    tasks = [_out_of_sight(awaitable) for awaitable in awaitables]
    late = (await asyncio.wait(tasks, timeout=FAREWELL_SECONDS))[1] if tasks else ()
    for task in late:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _side_by_side(calls: tuple[Do, ...], hands: Any) -> list[Any]:
    """Each in a thread that nobody waits for longer than two seconds."""
    results: list[Any] = [TimeoutError("not done within two seconds")] * len(calls)

    def call(index: int) -> None:
        try:
            results[index] = _perform(calls[index], hands)
        except Exception as error:  # noqa: BLE001 - the flow looks at what failed
            results[index] = error

    threads = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(len(calls))]
    give_up = time.monotonic() + FAREWELL_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(give_up - time.monotonic(), 0))
    return list(results)
