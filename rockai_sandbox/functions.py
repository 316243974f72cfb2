"""How a model's function is run: in a thread of its own, or on the loop where it is a coroutine.

A model is any function of its input. It may yield text pieces, return an output, or raise; it may take its
`Run` too: as a second parameter without a default, or as one named ``run``.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from rockai_sandbox.predictions import Job
from rockai_sandbox.runs import CanceledError, Run, current_run

ModelFunction = Callable[..., Any]


def check_function(function: Any) -> None:
    """Check that a function can be called as a model.

    Raises:
        TypeError: It cannot, whatever the input.
    """
    name = getattr(function, "__name__", None) or repr(function)
    try:
        arguments = ("the input", "the run") if _takes_run(function) else ("the input",)
        # The wrapper that a decorator made is what is called; it may take what the function in it does not.
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
    except (TypeError, ValueError) as error:  # a ValueError where Python cannot tell the parameters
        raise TypeError(
            f"{name} cannot be a model ({error}): it has to take the prediction's input, as in "
            "def talk(input), and gets the Run too if it takes a second parameter, as def talk(input, run)"
        ) from None


async def run_model(function: ModelFunction, run: Run, job: Job, threads: set[threading.Thread]) -> Any:
    """Run a model's function to its end and return its output.

    Text pieces go to the job as they come, and the output is then the list of them.

    Raises:
        Exception: Whatever the function raised.
    """
    current_run.set(run)
    arguments = (run.input, run) if _takes_run(function) else (run.input,)
    if _is_async(function):
        return await _finish_async(function(*arguments), run, job)
    result = await _in_thread(lambda: _finish(function(*arguments), run, job), threads)
    # What hides that it is asynchronous, as a lambda around a coroutine function, shows it now.
    return await _finish_async(result, run, job) if _is_awaited(result) else result


async def _finish_async(result: Any, run: Run, job: Job) -> Any:
    if isinstance(result, AsyncIterator):
        async for piece in result:
            job.add_piece(as_text(piece, run))
            await asyncio.sleep(run.seconds_per_piece)
        return list(job.pieces)
    return as_output(await cast("Awaitable[Any]", result), run)


def _finish(result: Any, run: Run, job: Job) -> Any:
    if not isinstance(result, Iterator):
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
                result.close()  # nobody awaits it any more
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
    """Whether there is a second parameter for the `Run`: one without a default, or of that name."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind in positional]
    return any(one.default is one.empty or one.name == "run" for one in parameters[1:2])


def _is_awaited(result: Any) -> bool:
    return isinstance(result, AsyncIterator) or inspect.isawaitable(result)


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
    json.dumps(value, allow_nan=False)  # what is no JSON fails here, as the model's own error
    return value


def as_text(piece: Any, run: Run) -> str:
    """Return a piece as text: bytes become a file's URL, what is neither becomes JSON."""
    output = as_output(piece, run)
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
