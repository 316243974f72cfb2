"""Finishing what must be finished, whatever becomes of the task that waits for it, or of its event loop.

Invariants of this module: what runs here ends by itself, is given up by `run_detached`, or is canceled by a
timeout of its own; nothing else cancels it. Whoever is canceled while waiting waits two seconds longer at
most.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS as GRACE_SECONDS

__all__ = ["GRACE_SECONDS", "DetachedTask", "run_detached"]

T = TypeVar("T")


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
        if not loop.is_running() or asyncio.current_task(loop) not in (None, self):
            return False
        return super().cancel(msg)

    def give_up(self) -> None:
        """Cancel it."""
        super().cancel()


async def run_detached(operation: Coroutine[Any, Any, T], within: float, grace: float = GRACE_SECONDS) -> T:
    """Run an operation in a task that no cancellation reaches, and wait for it.

    A cancellation that comes meanwhile is told afterwards, at the caller's next ``await``.

    Args:
        operation: What to run.
        within: Seconds after which it is given up.
        grace: Seconds after which it is given up when the caller was canceled.

    Returns:
        What the operation returns.

    Raises:
        TimeoutError: It was given up.
    """
    task = DetachedTask(operation, within)
    give_up = math.inf
    canceled = False
    while not task.done() and (left := give_up - time.monotonic()) > 0:
        try:
            await asyncio.wait({task}, timeout=None if left == math.inf else left)
        except asyncio.CancelledError:
            canceled = True
            give_up = min(give_up, time.monotonic() + grace)
    if canceled and (caller := asyncio.current_task()) is not None:
        caller.uncancel()  # it has been taken note of, and is asked for again
        caller.cancel()
    if not task.done():
        task.give_up()
    elif not task.cancelled():
        return task.result()
    raise TimeoutError("there was no time to finish it")
