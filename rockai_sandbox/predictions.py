"""Predictions and how they change.

Invariants: every change is made while holding the sandbox's one condition, and notifies it; nothing
changes after a terminal status. So all waits are for a state, never for a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rockai_sandbox.options import SECONDS

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
StartedBy = Literal["create", "run", "run_sse"]
KEPT = 10_000
"""The most predictions that a sandbox keeps; it drops the oldest finished ones first."""


def now() -> str:
    """Return the time as the service writes it: ISO 8601, UTC, without a zone."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def new_id() -> str:
    """Return an id of the shape that docs/http-api.md shows: 24 hex digits that begin with the time."""
    return f"{int(time.time()):08x}{secrets.token_hex(8)}"


class Changes(threading.Condition):
    """The sandbox's one condition, which counts its notifications."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def notify_all(self) -> None:
        """Wake all waiters; the caller must hold the condition."""
        self._count += 1
        super().notify_all()

    def wait_until(self, look: Callable[[], Any], timeout: float) -> Any:
        """Call ``look`` now and after every change. The condition is not held, so ``look`` may change state.

        Returns:
            The first true value of ``look``; after the timeout, the last false one.

        Raises:
            ValueError: The timeout is not a number of seconds.
        """
        SECONDS.check("timeout", timeout)
        give_up = time.monotonic() + timeout
        while True:
            seen = self._count
            found = look()
            left = give_up - time.monotonic()
            if found or left <= 0:
                return found
            with self:
                self.wait_for(lambda seen=seen: self._count != seen, left)  # type: ignore[misc] # mypy knows no type of `seen`


@dataclass(frozen=True, kw_only=True)
class SandboxPrediction:
    """A prediction that was started on the sandbox, with its status: an immutable snapshot.

    Attributes:
        id: 24 hex digits.
        model: ``owner/name``; ``sandbox/unnamed`` if a bare version was scripted.
        version: 64 hex digits; derived from the name if the model is scripted without a version.
        input: The input that the client sent.
        started_by: The call that started it: ``"create"``, ``"run"`` or ``"run_sse"``.
        status: ``"starting"``, ``"processing"``, ``"succeeded"``, ``"failed"`` or ``"canceled"``.
        output: The model's output; while it streams, the list of the pieces so far; `None` before.
        error: Why it failed; empty if it did not fail.
        logs: The whole log so far.
        metrics: ``{"predict_time": seconds}`` at the end, and token counts if the sandbox reports them;
            `None` before, and if the model never started.
        created_at: When it was created: ISO 8601, UTC, without a time zone.
        started_at: When the model started, in the same format; `None` before.
        completed_at: When it ended, in the same format; `None` before.
        stream: Whether the client sent ``"stream": true``.
        webhook: The address that the client sent; it is called if it is on this machine. `None` without one.
        webhook_events_filter: The events for this webhook, as the client sent them.

    Example:
        >>> reply = client.run(ECHO, {"prompt": "Hello"})
        >>> asked = sandbox.predictions[-1]
        >>> asked.model, asked.input, asked.started_by
        ('sandbox/echo', {'prompt': 'Hello'}, 'run')
    """

    id: str
    model: str
    version: str
    input: dict[str, Any]
    started_by: StartedBy
    status: str = "starting"
    output: Any = None
    error: str = ""
    logs: str = ""
    metrics: dict[str, Any] | None = None
    created_at: str = field(default_factory=now)
    started_at: str | None = None
    completed_at: str | None = None
    stream: bool = False
    webhook: str | None = None
    webhook_events_filter: list[str] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended: it succeeded, failed or was canceled.

        Example:
            >>> started = client.predictions.create(model=NEVER_ENDS, input={})
            >>> sandbox.predictions[-1].is_terminal
            False
            >>> canceled = client.predictions.cancel(started)
            >>> sandbox.predictions[-1].is_terminal
            True
        """
        return self.status in TERMINAL


class Job:
    """One running prediction: the pieces so far, and a snapshot of everything else.

    Attributes:
        changed: The sandbox's condition, notified of every change.
        pieces: The text pieces so far.
        began: When the model started, on the monotonic clock; `None` while it is cold.
    """

    def __init__(self, changed: Changes, prediction: SandboxPrediction) -> None:
        self.changed = changed
        self.pieces: list[str] = []
        self.began: float | None = None
        self._state = prediction
        self._log: list[str] = []
        self._listeners: set[Callable[[], None]] = set()

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self._state.id

    @property
    def status(self) -> str:
        """The current status."""
        return self._state.status

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self._state.is_terminal

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not fail."""
        return self._state.error

    @property
    def logs(self) -> list[str]:
        """The log so far, in the parts it was written in."""
        return self._log

    def snapshot(self) -> SandboxPrediction:
        """Return the prediction as it is now; while the model streams, the output is the pieces so far."""
        with self.changed:
            output = list(self.pieces) if self.pieces and not self.is_terminal else self._state.output
            return replace(self._state, output=output, logs="".join(self._log))

    def update(self, **changes: Any) -> bool:
        """Change the snapshot's fields; return whether that was still possible."""
        with self.changed:
            if self.is_terminal:
                return False
            self._state = replace(self._state, **changes)
            self._notify()
            return True

    def add_piece(self, piece: str) -> bool:
        """Append one piece of the output; return whether that was still possible."""
        with self.changed:
            if self.is_terminal:
                return False
            self.pieces.append(piece)
            self._notify()
            return True

    def add_log(self, text: str) -> None:
        """Append to the logs."""
        with self.changed:
            if not self.is_terminal:
                self._log.append(text)
                self._notify()

    def _notify(self) -> None:
        self.changed.notify_all()
        for listener in self._listeners:
            listener()

    @contextlib.contextmanager
    def change_event(self) -> Iterator[ThreadsafeEvent]:
        """Yield an event of the running event loop that every change sets, inside a ``with`` block."""
        event = ThreadsafeEvent()
        with self.changed:
            self._listeners.add(event.set)
        try:
            yield event
        finally:
            with self.changed:
                self._listeners.discard(event.set)


class ThreadsafeEvent:
    """An asyncio event that can be set from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the waiter. After the loop has ended, this does nothing."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait until it is set; return at once if it was set since the last wait."""
        await self._event.wait()
        self._event.clear()


class Ledger:
    """All predictions of one sandbox, in the order of their creation."""

    def __init__(self, changed: Changes, kept: int = KEPT) -> None:
        self._changed = changed
        self._kept = kept
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def open(self, prediction: SandboxPrediction) -> Job:
        """Add a new prediction and return its job."""
        job = Job(self._changed, prediction)
        with self._changed:
            self._jobs[job.id] = job
            if len(self._jobs) > self._kept:
                self._forget_oldest_finished()
            self._changed.notify_all()
        return job

    def find(self, prediction_id: str) -> Job | None:
        """Return the job with that id, if it is known."""
        with self._changed:
            return self._jobs.get(prediction_id)

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def _forget_oldest_finished(self) -> None:
        for job in self._jobs.values():
            if job.is_terminal:
                del self._jobs[job.id]
                return
