"""Finishing what must be finished, whatever becomes of the task that waits for it, or of its event loop.

Invariants of this module: what runs here ends by itself, is given up by `run_detached`, or is canceled by a
timeout of its own; nothing else cancels it. Whoever is canceled while waiting waits two seconds longer at
most.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine
from itertools import filterfalse
from typing import Any, TypeVar

from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS as GRACE_SECONDS

__all__ = ["GRACE_SECONDS", "DetachedTask", "run_detached"]

T = TypeVar("T")
_LAST_SECONDS = 0.25
"""For a task that was given up to end in."""
_GOING_ON: set[asyncio.Task[Any]] = set()
"""Tasks that nobody waits for any more; the event loop alone would not keep them."""


class DetachedTask(asyncio.Task[T]):
    """A task that neither other tasks nor the end of `asyncio.run` cancel.

    That end cancels every task it sees while the loop stands still, and then waits for them: it waits for
    this one too. A cancel out of the running loop, from no other task, is a timeout inside of this one, and
    counts.

    Args:
        operation: What it does.
        within: Seconds after which it is given up.
    """

    def __init__(self, operation: Coroutine[Any, Any, T], within: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(operation, loop=loop)
        if within < math.inf:
            timer = loop.call_later(within, self.give_up)
            self.add_done_callback(lambda _: timer.cancel())

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, if a timeout of its own asks for it."""
        loop = self.get_loop()
        if not loop.is_running():
            if self in _GOING_ON:  # the end of `asyncio.run` waits for it: not for long
                loop.call_later(GRACE_SECONDS, self.give_up)
            return False
        if asyncio.current_task(loop) not in (None, self):
            return False
        return super().cancel(msg)

    def give_up(self) -> None:
        """Cancel it."""
        super().cancel()


async def run_detached(
    operation: Coroutine[Any, Any, T],
    within: float = math.inf,
    grace: float = GRACE_SECONDS,
    *,
    patience: float = math.inf,
    meanwhile: Callable[[], Coroutine[Any, Any, Any]] | None = None,
) -> T:
    """Run an operation in a task that no cancellation reaches, and wait for it.

    A cancellation that comes meanwhile is raised afterwards.

    Args:
        operation: What to run.
        within: Seconds after which it is given up.
        grace: Seconds after which it is given up when the caller was canceled.
        patience: Seconds after which the caller goes on without it; it goes on too, by itself.
        meanwhile: What else to run as soon as the caller is canceled, as long as there is grace.

    Returns:
        What the operation returns.

    Raises:
        TimeoutError: It was given up, or goes on.
    """
    task = DetachedTask(operation, within)
    tasks: list[DetachedTask[Any]] = [task]
    left_by, give_up = time.monotonic() + patience, math.inf
    canceled: asyncio.CancelledError | None = None
    # A cancel scope cancels each wait for them, also for those that have ended.
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
    """Give tasks up, and let them end: a loop may be closed next, and would find them pending."""
    for task in pending:
        task.give_up()
    give_up = time.monotonic() + _LAST_SECONDS
    while pending and (left := give_up - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):  # the caller is told of one already
            await asyncio.wait(pending, timeout=left)
        pending = set(filterfalse(asyncio.Task.done, pending))
