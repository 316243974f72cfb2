"""The time limits of asynchronous operations, with one timer per operation."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

from rockai_transport.protocol.io import Notices


@dataclass(slots=True, eq=False)
class Timer:
    """Wakes the waiting task when its time is up, and writes due notices to the log.

    All reads of a stream share one timer: it is not moved with each read, but set again if it fires early.

    Attributes:
        task: The task that waits. It is forgotten after its wait: the task of an ``anext`` holds the
            generator around the stream, which then would never be dropped.
    """

    task: asyncio.Task[Any] | None = None
    _handle: asyncio.TimerHandle | None = None
    _due: float = math.inf
    _until: float = math.inf
    _notices: Notices | None = None
    _rang: bool = False
    _cancellations: int = 0

    def wait(self, until: float, notices: Notices | None) -> None:
        """Start a wait of the current task, until this deadline at most."""
        self.task = task = asyncio.current_task()
        self._cancellations = task.cancelling() if task is not None else 0
        self._until, self._notices = until, notices
        due = until if notices is None else min(until, notices.due)
        if due < self._due:
            self._set(due)

    def ring(self) -> None:
        """Wake the task, if it waits."""
        if self.task is not None and not self._rang:
            self._rang = True
            self.task.cancel()

    def was_it(self) -> bool:
        """Return whether this timer alone caused the cancellation."""
        rang, self._rang = self._rang, False
        return rang and self.task is not None and self.task.uncancel() <= self._cancellations

    def stop(self) -> None:
        """End the wait."""
        self.task = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._due = None, math.inf

    def _set(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = due
        self._handle = asyncio.get_running_loop().call_later(max(due - time.monotonic(), 0), self._fire)

    def _fire(self) -> None:
        self._handle, self._due = None, math.inf
        if self.task is None:
            return  # the next wait sets the timer again
        moment, due, notices = time.monotonic(), self._until, self._notices
        if moment >= due:
            self.ring()
            return
        if notices is not None:
            notices.tell(moment)
            due = min(due, notices.due)
        self._set(due)
