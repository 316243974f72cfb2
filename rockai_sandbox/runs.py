"""How a model's function is run: in a thread of its own, or on the loop where it is a coroutine.

A model is any function of its input. It may yield text pieces, return an output, or raise; it may take a
second parameter, its `Run`. A thread cannot be stopped from outside: a canceled model's thread ends at its
next piece, log line or `Hold`.
"""

import asyncio
import contextlib
import contextvars
import inspect
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from rockai_sandbox.files import FileStore, media_type_of
from rockai_sandbox.predictions import Job, Watch

ModelFunction = Callable[..., Any]
BAR_WIDTH = 10


class CanceledError(Exception):
    """Raised inside a model's function once its prediction is canceled."""


class Run:
    """What a model's function may do beside answering: log, report progress, save files, notice a stop.

    Attributes:
        input: the prediction's input.
        seconds_per_piece: the pace that the sandbox was asked for.
    """

    def __init__(self, job: Job, files: FileStore, seconds_per_piece: float = 0.0) -> None:
        self.input: dict[str, Any] = job.snapshot().input
        self.seconds_per_piece = seconds_per_piece
        self._job = job
        self._files = files
        self._began = time.monotonic()

    @property
    def is_canceled(self) -> bool:
        """Whether the prediction has been canceled, or the sandbox is stopping."""
        return self._job.is_terminal

    def check(self) -> None:
        """Raise `CanceledError` if the prediction has been canceled."""
        if self.is_canceled:
            raise CanceledError

    def pause(self, seconds: float) -> None:
        """Wait; a cancellation ends the wait by raising `CanceledError`."""
        with self._job.changed:
            self._job.changed.wait_for(lambda: self.is_canceled, seconds)
        self.check()

    def log(self, text: str) -> None:
        """Append text to the prediction's logs."""
        self._job.add_log(text)
        self.check()

    def progress(self, done: int, total: int) -> None:
        """Log a progress bar as tqdm writes it: a carriage return, then the bar."""
        self.log("\r" + progress_bar(done, total, time.monotonic() - self._began))

    def save(self, content: bytes, media_type: str | None = None) -> str:
        """Put a file on the file server and return its URL."""
        return self._files.add(content, media_type or media_type_of(content))

    def read(self, url: str) -> bytes | None:
        """Return what a ``data:`` URI or one of the sandbox's own URLs holds, `None` for any other."""
        return self._files.read(url)

    async def opened(self, hold: "Hold") -> None:
        """Wait for a `Hold` without blocking the loop: for models that are coroutines."""
        with self._job.watched() as watch, hold.watched_by(watch):
            while not hold.is_set() and not self.is_canceled:
                await watch.changed()
        self.check()


class Hold:
    """A gate in front of a model: the model waits at it, the test looks, then opens it.

    It is used like a `threading.Event`, but a cancellation and the sandbox's end also free the model.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._open = False
        self._arrivals = 0
        self._watches: set[Watch] = set()

    def is_set(self) -> bool:
        """Whether the gate is open."""
        return self._open

    def set(self) -> None:
        """Open the gate."""
        with self._changed:
            self._open = True
            self._changed.notify_all()
            for watch in self._watches:
                watch.wake()

    def wait(self) -> None:
        """Wait at the gate; inside a model, raise `CanceledError` if its prediction is canceled meanwhile."""
        run = current_run.get()
        with self._changed:
            self._arrivals += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open or (run is not None and run.is_canceled))
        if run is not None:
            run.check()

    def wait_until_reached(self, times: int = 1, timeout: float = 10.0) -> None:
        """Wait until models have come to the gate.

        Args:
            times: how many arrivals to wait for, counted from the beginning.
            timeout: seconds.

        Raises:
            TimeoutError: nobody came.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._arrivals >= times, timeout):
                raise TimeoutError(f"the gate was reached {self._arrivals} of {times} times in {timeout} s")

    @contextlib.contextmanager
    def watched_by(self, watch: Watch) -> Iterator[None]:
        """Wake a watch when the gate opens, inside a ``with`` block; entering counts as an arrival."""
        with self._changed:
            self._watches.add(watch)
            self._arrivals += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._watches.discard(watch)


current_run: contextvars.ContextVar[Run | None] = contextvars.ContextVar("current_run", default=None)


async def run_model(function: ModelFunction, run: Run, job: Job, threads: set[threading.Thread]) -> Any:
    """Run a model's function to its end and return its output.

    Text pieces go to the job as they come, and the output is then the list of them.

    Raises:
        Exception: whatever the function raised.
    """
    current_run.set(run)
    arguments = (run.input, run) if _takes_run(function) else (run.input,)
    if _is_async(function):
        return await _finish_async(function(*arguments), run, job)
    return await _in_thread(lambda: _finish(function(*arguments), run, job), threads)


async def _finish_async(result: Any, run: Run, job: Job) -> Any:
    if isinstance(result, AsyncIterator):
        async for piece in result:
            job.add_piece(as_text(piece, run))
            await asyncio.sleep(run.seconds_per_piece)
        return list(job.pieces)
    return as_output(await cast("Awaitable[Any]", result), run)


def _finish(result: Any, run: Run, job: Job) -> Any:
    if not isinstance(result, Iterator):
        return as_output(result, run)
    try:
        for piece in result:
            if not job.add_piece(as_text(piece, run)):
                raise CanceledError
            if run.seconds_per_piece:
                run.pause(run.seconds_per_piece)
    finally:
        if inspect.isgenerator(result):
            result.close()
    return list(job.pieces)


async def _in_thread(work: Callable[[], Any], threads: set[threading.Thread]) -> Any:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def target() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(work)
        except BaseException as raised:  # noqa: BLE001 - it is delivered to the loop
            # A StopIteration cannot pass through a future.
            error = RuntimeError("the model raised StopIteration") if _is_stop(raised) else raised
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:
            return  # the sandbox has stopped: nobody waits any more

    threads.difference_update([thread for thread in threads if not thread.is_alive()])
    thread = threading.Thread(target=target, name="rockai-sandbox-model", daemon=True)
    thread.start()
    threads.add(thread)
    return await future


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, StopIteration)


def _takes_run(function: ModelFunction) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(parameter.kind in positional for parameter in parameters) > 1


def _is_async(function: ModelFunction) -> bool:
    return inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function)


def as_output(value: Any, run: Run) -> Any:
    """Return an output as JSON: bytes in it, at any depth, become files and stand there as URLs."""
    if isinstance(value, bytes | bytearray):
        return run.save(bytes(value))
    if isinstance(value, list | tuple):
        return [as_output(item, run) for item in value]
    if isinstance(value, dict):
        return {str(key): as_output(item, run) for key, item in value.items()}
    json.dumps(value)  # what is no JSON fails here, as the model's own error
    return value


def as_text(piece: Any, run: Run) -> str:
    """Return a piece as text: bytes become a file's URL, what is neither becomes JSON."""
    output = as_output(piece, run)
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def progress_bar(done: int, total: int, seconds: float) -> str:
    """Write one line as tqdm does: `` 45%|████▌     | 9/20 [00:01<00:01,  9.80it/s]``."""
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
