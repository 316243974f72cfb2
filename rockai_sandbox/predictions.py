"""Predictions and how they change.

Invariants: every change happens under the sandbox's one condition and notifies it, and nothing
changes after a terminal status. So whoever waits, waits for a state and never for a time.
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

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
StartedBy = Literal["create", "run", "run_sse"]
KEPT = 10_000
"""How many predictions a sandbox remembers; the oldest finished ones are forgotten first."""


def now() -> str:
    """Return the time as the service writes it: ISO 8601, UTC, without a zone."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def new_id() -> str:
    """Return an id of the shape that docs/http-api.md shows: 24 hex digits that begin with the time."""
    return f"{int(time.time()):08x}{secrets.token_hex(8)}"


class Changes(threading.Condition):
    """The sandbox's one condition, which counts what it was notified of."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def notify_all(self) -> None:
        """Wake all that wait; to be called with the condition held."""
        self._count += 1
        super().notify_all()

    def wait_until(self, look: Callable[[], Any], timeout: float) -> Any:
        """Look now and after every change, with the condition free, so that looking may change something.

        Returns:
            The first true value that looking gave; the last false one if the seconds are over.
        """
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
    """What the sandbox was asked to do and how it stands: a snapshot that never changes.

    Attributes:
        id: 24 hex digits.
        model: ``owner/name``; ``sandbox/unnamed`` where a bare version was scripted.
        version: 64 hex digits; made up from the name for a model that is scripted without one.
        input: What the client gave the model.
        started_by: The call that started it: ``"create"``, ``"run"`` or ``"run_sse"``.
        status: ``"starting"``, ``"processing"``, ``"succeeded"``, ``"failed"`` or ``"canceled"``.
        output: What the model gave; while it speaks, the list of the pieces so far; `None` before.
        error: Why it failed; empty while it did not.
        logs: The whole log so far.
        metrics: ``{"predict_time": seconds}`` at the end, and token counts where the sandbox reports them;
            `None` before, and where the model never began.
        created_at: When it was asked for: ISO 8601, UTC, without a zone.
        started_at: When the model began, in the same form; `None` before.
        completed_at: When it ended, in the same form; `None` before.
        stream: Whether the client said ``"stream": true``.
        webhook: The address that the client gave; it is called if it is this machine's. `None` without one.
        webhook_events_filter: The events that the client wants there, as it gave them.

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
        """Whether nothing will change any more: it succeeded, failed or was canceled.

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
    """One prediction under way: the pieces said so far, and the snapshot of everything else.

    Attributes:
        changed: The sandbox's condition, notified of every change.
        pieces: The text pieces so far.
        began: When the model began, on the monotonic clock; `None` while it is cold.
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
        """The status now."""
        return self._state.status

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self._state.is_terminal

    @property
    def error(self) -> str:
        """Why it failed; empty while it did not."""
        return self._state.error

    @property
    def logs(self) -> list[str]:
        """The log so far, in the parts it was written in."""
        return self._log

    def snapshot(self) -> SandboxPrediction:
        """Return how the prediction stands; while a model speaks, the output is the pieces so far."""
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
        """Give the running event loop an event that every change sets, inside a ``with`` block."""
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
        """Wake the one who waits. Harmless after the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait until it is set; if it was set since the last wait, do not wait."""
        await self._event.wait()
        self._event.clear()


class Ledger:
    """All predictions of one sandbox, in the order they were asked for."""

    def __init__(self, changed: Changes, kept: int = KEPT) -> None:
        self._changed = changed
        self._kept = kept
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def open(self, prediction: SandboxPrediction) -> Job:
        """Note a new prediction and return its job."""
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
