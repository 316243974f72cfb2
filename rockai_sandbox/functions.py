"""How a model's function is run: in its own thread, or on the event loop if it is a coroutine function.

A model is any function of its input. It may yield text pieces, return an output, or raise. It may also take
its `Run`: as a second parameter without a default, or as a parameter named ``run``.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import io
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

from rockai_sandbox.predictions import Job
from rockai_sandbox.runs import CanceledError, Run, current_run

ModelFunction = Callable[..., Any]


def check_function(function: Any) -> None:
    """Check that a function can be called as a model.

    Raises:
        TypeError: No input can be passed to it.
    """
    name = getattr(function, "__name__", None) or repr(function)
    try:
        arguments = ("the input", "the run") if _takes_run(function) else ("the input",)
        # The decorator's wrapper is called; it may take parameters that the wrapped function does not.
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
    except (TypeError, ValueError) as error:  # a ValueError if Python does not know the parameters
        raise TypeError(
            f"{name} cannot be a model ({error}): it has to take the prediction's input, as in "
            "def talk(input), and gets the Run too if it takes a second parameter, as def talk(input, run)"
        ) from None


async def run_model(function: ModelFunction, run: Run, job: Job, threads: set[threading.Thread]) -> Any:
    """Run a model's function to its end and return its output.

    If it yields text pieces, they are added to the job as they arrive, and the output is the list of them.

    Raises:
        Exception: Whatever the function raised.
    """
    current_run.set(run)
    arguments = (run.input, run) if _takes_run(function) else (run.input,)
    if _is_async(function):
        return await _finish_async(function(*arguments), run, job)
    result = await _in_thread(lambda: _finish(function(*arguments), run, job), threads)
    # A lambda around a coroutine function, for example, shows only now that it is asynchronous.
    return await _finish_async(result, run, job) if _is_awaited(result) else result


async def _finish_async(result: Any, run: Run, job: Job) -> Any:
    if isinstance(result, AsyncIterator):
        async for piece in result:
            job.add_piece(as_text(piece, run))
            await asyncio.sleep(run.seconds_per_piece)
        return list(job.pieces)
    return as_output(await cast("Awaitable[Any]", result), run)


def _finish(result: Any, run: Run, job: Job) -> Any:
    if not isinstance(result, Iterator) or isinstance(result, io.IOBase):
        return result if _is_awaited(result) else as_output(result, run)
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
            if inspect.iscoroutine(result):
                result.close()  # no longer awaited
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
            # A future cannot carry a StopIteration.
            error = RuntimeError("the model raised StopIteration") if _is_stop(raised) else raised
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:
            return  # the sandbox has stopped, so nothing waits for the result

    threads.difference_update([thread for thread in threads if not thread.is_alive()])
    thread = threading.Thread(target=target, name="rockai-sandbox-model", daemon=True)
    thread.start()
    threads.add(thread)
    return await future


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, StopIteration)


def _takes_run(function: ModelFunction) -> bool:
    """Whether there is a parameter for the `Run`: a second one without a default, or one named ``run``."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind in positional]
    return any(one.default is one.empty or one.name == "run" for one in parameters[1:2])


def _is_awaited(result: Any) -> bool:
    return isinstance(result, AsyncIterator) or inspect.isawaitable(result)


def _is_async(function: ModelFunction) -> bool:
    return inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function)


def as_output(value: Any, run: Run) -> Any:
    """Return an output as JSON: bytes and files in it, at any depth, are replaced by the URLs of files."""
    if isinstance(value, Path):
        value = value.read_bytes()
    elif isinstance(value, io.IOBase):
        with value:
            value = cast("io.BufferedIOBase", value).read()
    if isinstance(value, bytes | bytearray):
        return run.save(bytes(value))
    if isinstance(value, list | tuple):
        return [as_output(item, run) for item in value]
    if isinstance(value, dict):
        return {str(key): as_output(item, run) for key, item in value.items()}
    json.dumps(value, allow_nan=False)  # a value that is not JSON fails here, as the model's own error
    return value


def as_text(piece: Any, run: Run) -> str:
    """Return a piece as text: a file becomes its URL, other values become JSON."""
    output = as_output(piece, run)
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
