"""What a model's function uses while it runs: its `Run`, gates to wait at, and its cancellation.

A thread cannot be stopped from outside: a canceled model's thread ends at its next piece, log line or `Gate`.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from rockai_sandbox.files import FileStore, media_type_of
from rockai_sandbox.options import COUNT, SECONDS
from rockai_sandbox.predictions import Changes, Job, ThreadsafeEvent

BAR_WIDTH = 10


class CanceledError(Exception):
    """Raised inside a model's function once its prediction is canceled, or the sandbox is stopping.

    Do not suppress it; you may clean up and raise it again.

    Example:
        >>> gate, cleaned = sandbox.hold(), sandbox.hold()
        >>> @sandbox.model("you/slow")
        ... def slow(input):
        ...     try:
        ...         gate.wait()
        ...     except CanceledError:
        ...         cleaned.set()
        ...         raise
        >>> started = client.predictions.create(model="you/slow", input={})
        >>> gate.wait_until_reached()
        >>> client.predictions.cancel(started).status
        'canceled'
        >>> sandbox.wait_for(lambda _: cleaned.is_set())
        True
    """


class Run:
    """Lets a model's function log, report progress, save files, and notice a cancellation.

    Made by `Sandbox` for each prediction. A function receives it as a second parameter without a default, or
    as a parameter named ``run``.

    Attributes:
        input: The prediction's input.
        seconds_per_piece: The sandbox's setting of this name.

    Example:
        >>> @sandbox.model("you/painter")
        ... def paint(input, run):
        ...     run.log("mixing the colours")
        ...     return run.save(b"a picture", "image/png")
        >>> client.run("you/painter", {}).output
        'http://127.0.0.1:...png'
        >>> sandbox.predictions[-1].logs
        'mixing the colours'
    """

    def __init__(self, job: Job, files: FileStore, seconds_per_piece: float = 0.0) -> None:
        self.input: dict[str, Any] = deepcopy(job.snapshot().input)
        self.seconds_per_piece = seconds_per_piece
        self._job = job
        self._files = files
        self._began = time.monotonic()

    @property
    def is_canceled(self) -> bool:
        """Whether the prediction has been canceled, or the sandbox is stopping.

        Example:
            >>> left = sandbox.hold()
            >>> @sandbox.model("you/miner")
            ... def mine(input, run):
            ...     while not run.is_canceled:
            ...         hash("the next block")
            ...     left.set()
            >>> started = client.predictions.create(model="you/miner", input={})
            >>> begun = sandbox.wait_for("processing")
            >>> canceled = client.predictions.cancel(started)
            >>> sandbox.wait_for(lambda _: left.is_set())
            True
        """
        return self._job.is_terminal

    def check(self) -> None:
        """Raise if the prediction has been canceled; for long work without output.

        Raises:
            CanceledError: The prediction has been canceled.

        Example:
            >>> @sandbox.model("you/miner")
            ... def mine(input, run):
            ...     while True:
            ...         hash("the next block")
            ...         run.check()
            >>> started = client.predictions.create(model="you/miner", input={})
            >>> client.predictions.cancel(started).status
            'canceled'
        """
        if self.is_canceled:
            raise CanceledError

    def pause(self, seconds: float) -> None:
        """Wait; a cancellation ends the wait.

        Args:
            seconds: How long.

        Raises:
            CanceledError: The prediction has been canceled.

        Example:
            >>> @sandbox.model("you/slow")
            ... def slow(input, run):
            ...     run.pause(3600)
            >>> started = client.predictions.create(model="you/slow", input={})
            >>> client.predictions.cancel(started).status  # and the function ends at once
            'canceled'
        """
        SECONDS.check("seconds", seconds)
        self._job.changed.wait_until(lambda: self.is_canceled, seconds)
        self.check()

    def log(self, text: str) -> None:
        r"""Append text to the prediction's logs.

        Args:
            text: The text to append; add a line break yourself if you want one.

        Raises:
            CanceledError: The prediction has been canceled.

        Example:
            >>> @sandbox.model("you/slow")
            ... def slow(input, run):
            ...     run.log("loading\n")
            ...     return "done"
            >>> started = client.predictions.create(model="you/slow", input={})
            >>> client.predictions.wait(started).logs
            'loading\n'
        """
        self._job.add_log(text)
        self.check()

    def progress(self, done: int, total: int) -> None:
        r"""Log a progress bar like tqdm's: a carriage return, then the bar.

        Args:
            done: The number of finished steps.
            total: The total number of steps.

        Raises:
            CanceledError: The prediction has been canceled.

        Example:
            >>> @sandbox.model("you/painter")
            ... def paint(input, run):
            ...     run.progress(9, 20)
            ...     return "done"
            >>> client.run("you/painter", {}).text
            'done'
            >>> sandbox.predictions[-1].logs
            '\r 45%|████▌     | 9/20 [...it/s]'
        """
        self.log("\r" + progress_bar(done, total, time.monotonic() - self._began))

    def save(self, content: bytes, media_type: str | None = None) -> str:
        """Put a file on the file server.

        Args:
            content: The file's content.
            media_type: Its type; by default, the type that its first bytes indicate, otherwise
                ``application/octet-stream``.

        Returns:
            The file's URL.

        Raises:
            TypeError: The content is not bytes.

        Example:
            >>> @sandbox.model("you/painter")
            ... def paint(input, run):
            ...     return {"image": run.save(b"<svg/>", "image/svg+xml")}
            >>> client.run("you/painter", {}).output
            {'image': 'http://127.0.0.1:...svg'}
        """
        return self._files.add(content, media_type or media_type_of(content))

    def read(self, url: str) -> bytes | None:
        """Read a file from the model's input. Nothing is fetched from elsewhere.

        Args:
            url: A ``data:`` URI, or the URL of a file of this sandbox.

        Returns:
            The file's content; `None` for any other URL.

        Raises:
            ValueError: The ``data:`` URI is malformed, or this sandbox has no file at the URL.

        Example:
            >>> @sandbox.model("you/reader")
            ... def read(input, run):
            ...     return run.read(input["file"]).decode().upper()
            >>> client.run("you/reader", {"file": b"hello"}).text  # the client makes it a data URI
            'HELLO'
        """
        return self._files.read(url)

    async def opened(self, gate: Gate) -> None:
        """Wait at a `Gate` without blocking the event loop; for models that are asynchronous functions.

        Args:
            gate: The gate.

        Raises:
            CanceledError: The prediction was canceled during the wait.

        Example:
            >>> gate = sandbox.hold()
            >>> @sandbox.model("you/slow")
            ... async def slow(input, run):
            ...     await run.opened(gate)
            ...     return "at last"
            >>> started = client.predictions.create(model="you/slow", input={})
            >>> gate.wait_until_reached()
            >>> gate.set()
            >>> client.predictions.wait(started).text
            'at last'
        """
        with self._job.change_event() as change, gate._arrival(change):  # noqa: SLF001 - one idea in two classes
            while not gate.is_set() and not self.is_canceled:
                await change.wait()
        self.check()


class Gate:
    """A gate where a model waits until the test opens it.

    It works like a `threading.Event`, but a cancellation and the sandbox's end also release the model.
    Made by `Sandbox.hold`.

    Example:
        >>> gate = sandbox.hold()
        >>> @sandbox.model("you/slow")
        ... def slow(input):
        ...     gate.wait()
        ...     return "at last"
        >>> started = client.predictions.create(model="you/slow", input={})
        >>> gate.wait_until_reached()
        >>> client.predictions.get(started.id).status
        'processing'
        >>> gate.set()
        >>> client.predictions.wait(started).text
        'at last'
    """

    def __init__(self, changed: Changes) -> None:
        self._changed = changed
        self._open = False
        self._arrivals = 0
        self._waiting: set[ThreadsafeEvent] = set()

    def is_set(self) -> bool:
        """Say whether the gate is open. A model can also open a gate to signal something to the test.

        Returns:
            Whether it is open.

        Example:
            >>> told = sandbox.hold()
            >>> @sandbox.model("you/teller")
            ... def tell(input):
            ...     told.set()
            ...     return "told"
            >>> client.run("you/teller", {}).text
            'told'
            >>> told.is_set()
            True
        """
        return self._open

    def set(self) -> None:
        """Open the gate permanently: current waiters continue, and later calls of `wait` return at once.

        Example:
            >>> gate = sandbox.hold()
            >>> @sandbox.model("you/cold", cold_start=gate)
            ... def answer(input):
            ...     return "warm"
            >>> started = client.predictions.create(model="you/cold", input={})
            >>> client.predictions.get(started.id).status
            'starting'
            >>> gate.set()
            >>> client.predictions.wait(started).text
            'warm'
        """
        with self._changed:
            self._open = True
            self._changed.notify_all()
            for event in self._waiting:
                event.set()

    def wait(self) -> None:
        """Wait at the gate, without a timeout.

        For models that are plain functions or generators. An asynchronous model awaits `Run.opened` instead,
        because this method would block the sandbox's event loop.

        Raises:
            CanceledError: Inside a model: its prediction was canceled during the wait.

        Example:
            >>> gate = sandbox.hold()
            >>> @sandbox.model("you/talker")
            ... def talk(input):
            ...     yield "Well"
            ...     gate.wait()
            ...     yield ", hello"
            >>> for piece in client.stream("you/talker", {}):
            ...     print(repr(piece))  # the first is here before the model goes on
            ...     gate.set()
            'Well'
            ', hello'
        """
        run = current_run.get()
        with self._changed:
            self._arrivals += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open or (run is not None and run.is_canceled))
        if run is not None:
            run.check()

    def wait_until_reached(self, times: int = 1, timeout: float = 10.0) -> None:
        """Wait until models have reached the gate.

        Args:
            times: The number of arrivals to wait for, counted since the gate was created.
            timeout: Seconds.

        Raises:
            TimeoutError: Fewer models arrived within that time.

        Example:
            >>> gate = sandbox.hold()
            >>> @sandbox.model("you/slow")
            ... def slow(input):
            ...     gate.wait()
            >>> for day in ("Monday", "Tuesday"):
            ...     started = client.predictions.create(model="you/slow", input={"day": day})
            >>> gate.wait_until_reached(2)
            >>> [prediction.status for prediction in sandbox.predictions]
            ['processing', 'processing']
            >>> gate.set()
        """
        COUNT.check("times", times)
        if not self._changed.wait_until(lambda: self._arrivals >= times, timeout):
            raise TimeoutError(f"the gate was reached {self._arrivals} of {times} times in {timeout} s")

    @contextlib.contextmanager
    def _arrival(self, event: ThreadsafeEvent) -> Iterator[None]:
        """Set an event when the gate opens, inside a ``with`` block; entering counts as an arrival."""
        with self._changed:
            self._waiting.add(event)
            self._arrivals += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._waiting.discard(event)


current_run: contextvars.ContextVar[Run | None] = contextvars.ContextVar("current_run", default=None)


def progress_bar(done: int, total: int, seconds: float) -> str:
    """Return one line like tqdm's: `` 45%|████▌     | 9/20 [00:01<00:01,  9.80it/s]``."""
    share = done / total if total else 1.0
    eighths = int(share * BAR_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    rate = done / seconds if done and seconds > 0 else 0.0
    left = _clock((total - done) / rate) if rate else "?"
    speed = f"{rate:5.2f}it/s" if rate else "?it/s"
    return f"{share:4.0%}|{bar:<{BAR_WIDTH}}| {done}/{total} [{_clock(seconds)}<{left}, {speed}]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"
