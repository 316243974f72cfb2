"""Runs operations that must finish, even if the waiting task is canceled or its event loop ends.

Invariants of this module: such an operation ends by itself, is given up by `run_detached`, or is canceled by
its own timeout; nothing else cancels it. If the waiting caller is canceled, it waits at most two more
seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine
from itertools import filterfalse
from typing import Any, ParamSpec, TypeVar

from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS

P = ParamSpec("P")
T = TypeVar("T")
_LAST_SECONDS = 0.25
"""Seconds for a given-up task to end."""
_GOING_ON: set[asyncio.Task[Any]] = set()
"""Tasks that nobody awaits any more; the event loop keeps only weak references to them."""


class DetachedTask(asyncio.Task[T]):
    """A task that neither other tasks nor the end of `asyncio.run` cancel.

    At its end, `asyncio.run` cancels all tasks while the loop is stopped, and then waits for them, also for
    this one. A cancellation while the loop runs, and not from another task, is a timeout inside this task,
    and is obeyed.

    Args:
        operation: The operation to run.
        within: Seconds until it is given up.
    """

    def __init__(self, operation: Coroutine[Any, Any, T], within: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(operation, loop=loop)
        if within < math.inf:
            timer = loop.call_later(within, self.give_up)
            self.add_done_callback(lambda _: timer.cancel())

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task, if its own timeout asks for it."""
        loop = self.get_loop()
        if not loop.is_running():
            if self in _GOING_ON:  # the end of `asyncio.run` waits for it, but not long
                loop.call_later(CANCEL_GRACE_SECONDS, self.give_up)
            return False
        if asyncio.current_task(loop) not in (None, self):
            return False
        return super().cancel(msg)

    def give_up(self) -> None:
        """Cancel the task."""
        super().cancel()


async def directly(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function here."""
    return function(*args, **kwargs)


async def to_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, which never ends if the function raises StopIteration (here a RuntimeError)."""
    return await asyncio.to_thread(lambda: run_blocking(directly(function, *args, **kwargs)))


async def run_detached(
    operation: Coroutine[Any, Any, T],
    within: float = math.inf,
    grace: float = CANCEL_GRACE_SECONDS,
    *,
    patience: float = math.inf,
    meanwhile: Callable[[], Coroutine[Any, Any, Any]] | None = None,
) -> T:
    """Run an operation in a task that no cancellation reaches, and wait for it.

    A cancellation that arrives during the wait is raised afterwards.

    Args:
        operation: The operation to run.
        within: Seconds until it is given up.
        grace: Seconds until it is given up after the caller was canceled.
        patience: Seconds until the caller stops waiting; the operation continues in the background.
        meanwhile: Another operation to run once the caller is canceled, within the grace period.

    Returns:
        The operation's result.

    Raises:
        TimeoutError: The operation was given up, or continues in the background.
    """
    task = DetachedTask(operation, within)
    tasks: list[DetachedTask[Any]] = [task]
    left_by, give_up = time.monotonic() + patience, math.inf
    canceled: asyncio.CancelledError | None = None
    # A cancel scope cancels every wait for them, even if they have ended.
    while pending := set(filterfalse(asyncio.Task.done, tasks)):
        left = min(give_up, left_by if canceled is None else math.inf) - time.monotonic()
        if left <= 0:
            break
        try:
            await asyncio.wait(pending, timeout=None if left == math.inf else left)
        except asyncio.CancelledError as error:
            if meanwhile is not None and canceled is None:
                tasks.append(DetachedTask(meanwhile(), grace))
            canceled = error
            give_up = min(give_up, time.monotonic() + grace)
    if canceled is None and not task.done():
        _GOING_ON.add(task)
        task.add_done_callback(_GOING_ON.discard)
        raise TimeoutError("it goes on")
    if pending:
        await _given_up(pending)
    if task.cancelled() or not task.done():
        raise canceled or TimeoutError("there was no time to finish it")
    if canceled is not None:
        raise canceled from task.exception()
    return task.result()


async def _given_up(pending: set[DetachedTask[Any]]) -> None:
    """Cancel tasks and let them end: the loop may be closed next, with tasks still pending."""
    for task in pending:
        task.give_up()
    give_up = time.monotonic() + _LAST_SECONDS
    while pending and (left := give_up - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):  # the caller gets only one cancellation
            await asyncio.wait(pending, timeout=left)
        pending = set(filterfalse(asyncio.Task.done, pending))
