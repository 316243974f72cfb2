"""One LangChain tool of a `RockAIToolkit`: how it is called, and what it knows about the graph around it.

The tool works with langchain-core alone. LangGraph is never imported, only used if it is already running.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, PrivateAttr

from langchain_rockai.hooks import runs_around
from langchain_rockai.sleeping import interruptions, sleep
from rockai_transport.adapters.toolkits import (
    CallContext,
    Progress,
    ToolAnswer,
    Toolset,
    argument_class,
    media_files,
)

PROGRESS_EVENT = "rockai_progress"
"""The name of the custom event for progress."""

_CHECKPOINTER = "__pregel_checkpointer"
"""The config key of LangGraph's checkpointer; without one, nothing is saved that could be resumed."""


class RockAITool(BaseTool):
    """A tool that runs predictions; made by `RockAIToolkit.get_tools`."""

    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    rich_content: bool = False
    _toolset: Toolset = PrivateAttr()
    _arguments: type[BaseModel] = PrivateAttr()

    def __init__(self, toolset: Toolset, name: str, *, rich_content: bool) -> None:
        schema, text = toolset.schemas[name], toolset.descriptions[name]
        super().__init__(name=name, description=text, args_schema=schema, rich_content=rich_content)
        self._toolset = toolset
        self._arguments = argument_class(f"{name}_arguments", schema)

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:  # noqa: ARG002
        """Return a class for the arguments, with the tool's own JSON schema."""
        return self._arguments

    def _to_args_and_kwargs(self, tool_input: Any, tool_call_id: str | None) -> tuple[Any, dict[str, Any]]:
        # langchain-core's own tools override it too (langchain_core/tools/simple.py); `_run` gets no id.
        if isinstance(tool_input, str):  # the first argument, as for a schema that is a class
            tool_input = dict.fromkeys([*self.args][:1], tool_input)
        return (tool_call_id,), super()._to_args_and_kwargs(tool_input, tool_call_id)[1]

    def _run(self, tool_call_id: str | None = None, /, **arguments: Any) -> tuple[Any, Any]:
        context = partial(self._context, tool_call_id, dispatch_custom_event)
        answer = self._toolset.call(self.name, arguments, context, interruptions=interruptions())
        return self._output(answer, tool_call_id)

    async def _arun(self, tool_call_id: str | None = None, /, **arguments: Any) -> tuple[Any, Any]:
        context = partial(self._context, tool_call_id, adispatch_custom_event)
        answer = await self._toolset.acall(self.name, arguments, context, interruptions=interruptions())
        return self._output(answer, tool_call_id)

    async def _context(self, tool_call_id: str | None, dispatch: Callable[..., Any]) -> CallContext:
        """Return what a call can know about the run around it, from LangGraph's runtime and the config."""
        config, runtime = ensure_config(), _runtime()
        conversation = thread_scope(config)
        known = config.get("configurable", {})
        info = getattr(runtime, "execution_info", None)
        task_id = getattr(info, "task_id", None)
        # The checkpoint at the start of the running step; the calls of one message share it.
        turn = getattr(info, "checkpoint_id", None) or ""
        return CallContext(
            self._toolset.scope_of(config, conversation),
            (task_id, tool_call_id or "") if task_id else None,
            partial(_report, dispatch, getattr(runtime, "stream_writer", None)),
            turn=turn if tool_call_id else "",
            run=getattr(runtime, "control", None),  # one per run, including subgraphs
            thread=str(known["thread_id"]) if conversation and known.get(_CHECKPOINTER) else "",
            runs=runs_around(config, self._toolset),
            store=getattr(runtime, "store", None),
        )

    def _output(self, answer: ToolAnswer, tool_call_id: str | None) -> tuple[Any, Any]:
        if answer.sleeps:
            sleep(answer)
        content = _content(answer) if self.rich_content else answer.text
        if not answer.is_error:
            return content, answer.result
        if tool_call_id is None:
            raise ToolException(answer.text)
        # A ToolException would lose the artifact, the failed prediction.
        message = ToolMessage(
            content, artifact=answer.result, tool_call_id=tool_call_id, name=self.name, status="error"
        )
        return message, answer.result


def _runtime() -> Any:
    """Return LangGraph's runtime; None if no graph is running."""
    if "langgraph" in sys.modules:
        # LangGraph is missing, nothing runs, or the run is not a graph's.
        with suppress(ImportError, RuntimeError, KeyError):
            from langgraph.runtime import get_runtime

            return get_runtime()
    return None


def thread_scope(config: RunnableConfig) -> str | None:
    """Return the scope of a conversation, from its thread id; None if it has none."""
    thread_id = config.get("configurable", {}).get("thread_id")
    return None if thread_id in (None, "") else f"thread:{thread_id}"


def _report(dispatch: Callable[..., Any], write: Callable[[Any], None] | None, progress: Progress) -> Any:
    """Report progress with a custom event, and in LangGraph also with the stream writer."""
    if write is not None:
        write({"type": PROGRESS_EVENT, **progress._asdict()})
    return dispatch(PROGRESS_EVENT, progress._asdict())


def _content(answer: ToolAnswer) -> list[str | dict[Any, Any]]:
    """Return text, and a block for each file; a ``video`` block would be converted to a JSON string."""
    blocks: list[str | dict[Any, Any]] = [{"type": "text", "text": answer.text}]
    for kind, address, media_type in media_files(answer.result):
        named = {"type": "image"} if kind == "image" else {"type": "file", "mime_type": media_type}
        blocks.append({**named, "url": address})
    return blocks
