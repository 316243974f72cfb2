"""Core's events around a public method, and a guard around them so that a stream can be left.

Core's wrapper of a stream does not close the generator that it wraps (llms/callbacks.py:84-128, 187-230):
after ``close()``, the garbage collector must find it. An event handler that keeps the `ExceptionEvent` also
keeps the generator, its connection and its prediction. The guard holds both and closes both, the wrapper
first.

It cannot detect a ``break`` out of a loop while the generator is still referenced.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final, TypeVar, cast

from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.llm import LLM

from llama_index_rockai.messages import message_list
from llama_index_rockai.tool_calls import function_schemas
from rockai_transport.adapters import check_call

Method = Callable[..., Any]
F = TypeVar("F", bound=Method)

CALL_KEYWORDS: Final = frozenset(
    {"output_cls", "parallel_tool_calls", "strict", "system_prompt", "tool_choice", "tools"}
)
"""Arguments of a call that belong to LlamaIndex or this package, not to the model; ``strict`` is for services
that check schemas."""


def observed(callback: Callable[[], Method]) -> Callable[[F], F]:
    """Add core's events to a public method: one start, one end, one token count, one rate limit.

    Invalid arguments of a call are refused before that, because core puts the arguments into its events
    unchanged.

    Args:
        callback: ``llm_chat_callback`` or ``llm_completion_callback``.

    Returns:
        The decorator. A decorated public method must not call another one, or everything would count twice.
    """

    def decorate(method: F) -> F:
        make = _observed_async if inspect.iscoroutinefunction(method) else _observed
        return cast("F", functools.wraps(method)(make(callback, method)))

    return decorate


def _observed(callback: Callable[[], Method], method: Method) -> Method:
    def call(llm: LLM, *args: Any, **kwargs: Any) -> Any:
        args, hidden = _prepare(callback, llm, args, kwargs)
        inner: Any = None

        # No functools.wraps: core would take `__wrapped__` as already decorated (callbacks.py:258).
        def work(*args: Any, **kwargs: Any) -> Any:
            nonlocal inner
            inner = method(*args, **kwargs, **hidden)
            return inner

        outer = callback()(work)(llm, *args, **kwargs)
        return _guarded(outer, inner) if isinstance(outer, Generator) else outer

    return call


def _observed_async(callback: Callable[[], Method], method: Method) -> Method:
    async def call(llm: LLM, *args: Any, **kwargs: Any) -> Any:
        args, hidden = _prepare(callback, llm, args, kwargs)
        inner: Any = None

        async def work(*args: Any, **kwargs: Any) -> Any:
            nonlocal inner
            inner = await method(*args, **kwargs, **hidden)
            return inner

        outer = await callback()(work)(llm, *args, **kwargs)
        return _aguarded(outer, inner) if isinstance(outer, AsyncGenerator) else outer

    return call


def _prepare(
    callback: Callable[[], Method], llm: LLM, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Refuse invalid arguments of a call, and remove what core's events must not contain.

    Exporters write events as JSON, which supports neither classes nor tools: only their descriptions remain.
    """
    check_call(type(llm).__name__, kwargs, type(llm).model_fields, CALL_KEYWORDS, "additional_kwargs")
    if callback is llm_chat_callback:
        args = (*map(message_list, args[:1]), *args[1:])
        if "messages" in kwargs:
            kwargs["messages"] = message_list(kwargs["messages"])
    if "tools" in kwargs:
        kwargs["tools"] = function_schemas(kwargs["tools"])
    return args, {"output_cls": kwargs.pop("output_cls")} if "output_cls" in kwargs else {}


def _guarded(outer: Generator[Any, None, None], inner: Generator[Any, None, None]) -> Any:
    with contextlib.closing(inner), contextlib.closing(outer):
        yield from outer


async def _aguarded(outer: AsyncGenerator[Any, None], inner: AsyncGenerator[Any, None]) -> Any:
    async with contextlib.aclosing(inner), contextlib.aclosing(outer):
        async for chunk in outer:
            yield chunk
