"""One LlamaIndex tool of a `RockAIToolSpec`: how it is called, and what it knows about the run around it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial, update_wrapper
from itertools import starmap
from typing import Any

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.workflow import Context, Event, HumanResponseEvent, InputRequiredEvent
from llama_index_instrumentation.dispatcher import active_instrument_tags
from workflows.errors import WorkflowRuntimeError
from workflows.runtime.types.results import StepWorkerStateContextVar, WaitingForEvent

from llama_index_rockai.responses import file_block
from llama_index_rockai.sleeping import can_sleep, name_of, suspended, thread_of, waiter_prefix
from rockai_transport import HostedModel
from rockai_transport.adapters.toolkits import (
    CallContext,
    Progress,
    ToolAnswer,
    Toolset,
    argument_class,
    media_files,
    published,
    refusal,
)

_STATE_SECONDS = 5.0
"""Seconds for which a call waits if another task is editing its Context's state."""
_YES = frozenset({"y", "yes", "ok", "true", "approve", "approved"})


class PredictionProgressEvent(Event):
    """The progress of a prediction, written to the stream of the agent's run.

    Attributes:
        prediction_id: The prediction's id; None if the service returned none.
        model: The name of the `HostedModel`; empty if it is not known.
        status: The service's status: ``starting``, ``processing``, ``succeeded``, ``failed``, ``canceled``.
        progress: 0 to 1; None if the model's logs do not show it.
        elapsed: Seconds since the start.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
        >>> async for event in agent.run("Generate an image of a lighthouse.").stream_events():
        ...     if isinstance(event, PredictionProgressEvent):
        ...         print(f"{event.model}: {event.status}, {event.progress or 0:.0%}")
        generate_image: starting, 0%
        ...succeeded, 100%
    """

    prediction_id: str | None
    model: str
    status: str
    progress: float | None
    elapsed: float


class ApprovalRequiredEvent(InputRequiredEvent):
    """Asks a person before a start: answer with ``HumanResponseEvent(response="yes", key=event.key)``.

    Any response but "y", "yes", "ok", "true", "approve" and "approved" is a no: nothing is started, and the
    agent is told so.

    Attributes:
        prefix: The question for the person: the maximum cost, and what is left of ``max_cost``.
        key: Identifies this question; the answer repeats it.
        model: The name of the `HostedModel`.
        input: The input that would be sent to it.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> from llama_index.core.workflow import Context, HumanResponseEvent
        >>> tools = RockAIToolSpec([GENERATE_IMAGE], approval=True).to_tool_list()
        >>> agent = FunctionAgent(tools=tools, llm=llm)
        >>> context = Context(agent)
        >>> async for event in agent.run("Generate an image of a lighthouse.", ctx=context).stream_events():
        ...     if isinstance(event, ApprovalRequiredEvent):
        ...         print(event.prefix, event.input)
        ...         context.send_event(HumanResponseEvent(response="yes", key=event.key))
        Start generate_image? It costs money. {'prompt': 'a lighthouse'}
    """

    prefix: str
    key: str
    model: str
    input: dict[str, Any]


class _ToolCalledEvent(Event):
    """Sent to the run by each call; no step takes it."""


class RockAIFunctionTool(FunctionTool):
    """A tool that runs predictions; made by `RockAIToolSpec.to_tool_list`."""

    def __init__(self, toolset: Toolset, name: str, *, approval: bool, rich_content: bool) -> None:
        self._toolset = toolset  # the first attribute: it tells pickle what to do instead
        schema, text = toolset.schemas[name], toolset.descriptions[name]
        function = published(self.acall, name, text, schema)

        def blocking(*args: Any, **arguments: Any) -> str:
            return self.call(*args, **arguments).content

        metadata = ToolMetadata(text, name, argument_class(name, schema))
        # Without a parameter for the Context, which `CodeActAgent` refuses: a step knows its own.
        super().__init__(fn=update_wrapper(blocking, function), async_fn=function, metadata=metadata)
        self._name = name
        self._approval = approval
        self._rich_content = rich_content
        self._parameters = list(schema["properties"])

    def call(self, /, *args: Any, **kwargs: Any) -> ToolOutput:
        """Execute a call and block; it cannot use a Context's store, which has only async methods."""
        arguments, context, answer = self._read(args, kwargs)
        if answer is None:
            answer = self._toolset.call(self._name, arguments, partial(self._alone, context))
        return self._output(answer, arguments)

    async def acall(self, /, *args: Any, **kwargs: Any) -> ToolOutput:
        """Execute a call. Canceling it cancels the running predictions of its run."""
        arguments, context, answer = self._read(args, kwargs)
        if answer is None:
            found = partial(self._call_context, context)
            answer = await self._toolset.acall(self._name, arguments, found, interruptions=(WaitingForEvent,))
            answer = suspended(answer, _tool_id())
        return self._output(answer, arguments)

    def _read(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Context | None, ToolAnswer | None]:
        """Return the arguments, the Context, and an error if positional arguments are wrong."""
        # Core passes a single argument by position: llama_index/core/tools/calling.py.
        arguments = {**dict(zip(self._parameters, args, strict=False)), **kwargs}
        context = _running_context()
        twice = [name for name in self._parameters[: len(args)] if name in kwargs]
        if not twice and len(args) <= len(self._parameters):
            return arguments, context, None
        count = "1 argument was" if len(args) == 1 else f"{len(args)} arguments were"
        wrong = f"{twice[0]!r} was given twice" if twice else f"{count} given"
        takes = ", ".join(self._parameters) or "none"
        return arguments, context, refusal(f"{self._name}: {wrong}; it takes {takes}. Nothing was sent.")

    async def _alone(self, context: Context | None) -> CallContext:
        """Return the context of a call that does not use a Context, so that nobody can be asked."""
        return CallContext(self._toolset.scope_of(context, None), approve=lambda *_: not self._approval)

    async def _call_context(self, context: Context | None) -> CallContext:
        """Return the context of this call."""
        _wake_run()
        if context is None:
            return await self._alone(None)
        async with asyncio.timeout(_STATE_SECONDS):
            own, is_kept = await name_of(context)
            scope, answers, asked = self._toolset.scope_of(context, own), "", ""
            if hasattr(_event(), "tool_id"):  # an agent's call
                answers = str(await context.store.get("num_iterations", default=""))
                asked = str(await context.store.get("user_msg_str", default=""))
        return CallContext(
            scope,
            (answers, asked, _tool_id()),  # LLMs repeat their ids, or have none
            partial(_report, context),
            partial(_ask, context) if self._approval else None,
            turn=answers and f"{_run_id()}:{answers}",  # shared by the calls of one message
            run=_run_id(),
            thread=thread_of(own, scope, is_kept=is_kept) if can_sleep(_run_id()) else "",
            store=context if is_kept else None,
        )

    def _output(self, answer: ToolAnswer, arguments: Mapping[str, Any]) -> ToolOutput:
        blocks: list[ContentBlock] = [TextBlock(text=answer.text)]
        if self._rich_content:
            blocks += filter(None, starmap(file_block, media_files(answer.result)))
        return ToolOutput(
            blocks=blocks,
            tool_name=self._name,
            raw_input={"args": (), "kwargs": dict(arguments)},
            raw_output=answer.result,
            is_error=answer.is_error,
        )


def _report(context: Context, progress: Progress) -> None:
    """Report progress on the stream of the run."""
    context.write_event_to_stream(PredictionProgressEvent(**progress._asdict()))


async def _ask(
    context: Context, model: HostedModel, model_input: Mapping[str, Any], key: str, question: str
) -> bool:
    """Ask a person through the Context, before anything is started.

    Once there is an answer, ``wait_for_event`` runs the tool again from its beginning; nothing was sent yet.
    """
    asked = ApprovalRequiredEvent(prefix=question, key=key, model=model.name, input=dict(model_input))
    response = await context.wait_for_event(
        HumanResponseEvent,
        waiter_event=asked,
        waiter_id=f"{waiter_prefix(_tool_id())}{key}",
        requirements={"key": key},
    )
    return str(response.response).strip().lower() in _YES


def _running_context() -> Context | None:
    """Return the Context of the running step, for a user's own workflow that calls a tool; else None."""
    try:
        return Context.get_step_context()
    except WorkflowRuntimeError:  # not in a step
        return None


def _wake_run() -> None:
    """Wake the loop of the running workflow, so that it cancels this step if its own task is canceled.

    The loop keeps the steps that it starts only after it has waited for the next event; a cancellation during
    this wait loses them (workflows/runtime/control_loop/runner.py, `run`).
    """
    if (context := _running_context()) is not None:
        context.send_event(_ToolCalledEvent())


def _tool_id() -> str:
    """Return the id of the running tool call, from the running step's event: agents do not pass it to tools.

    If it cannot be read, calls in one Context differ only by model and input, so that the same input is
    started once.
    """
    return str(getattr(_event(), "tool_id", ""))


def _event() -> Any:
    return getattr(StepWorkerStateContextVar.get(None), "event", None)


def _run_id() -> str | None:
    """Return the id of the current run (workflows/context/context.py); None if it is not available."""
    run_id = active_instrument_tags.get().get("llamaindex.run_id")
    return None if run_id is None else str(run_id)
