"""How a run sleeps until a prediction has ended: its Context is saved, its handler ends; later it goes on."""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.workflow import Context, Event
from workflows.context.state_store import UnserializableKeyWarning
from workflows.events import InternalDispatchEvent, WorkflowIdleEvent
from workflows.handler import WorkflowHandler
from workflows.runtime.types.results import (
    AddWaiter,
    DeleteWaiter,
    StepWorkerStateContextVar,
    WaitingForEvent,
)

from rockai_transport.adapters.toolkits import Prediction, Record, ToolAnswer

__all__ = [
    "PredictionEndedEvent",
    "can_sleep",
    "name_of",
    "resume_workflow",
    "run_until_asleep",
    "suspended",
    "thread_of",
    "waiter_prefix",
]

logger = logging.getLogger("rockai")

_SCOPE = "rockai-scope"
_typed_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""The names of the runs whose Context has a typed state, by their stores."""
_awaited_runs: set[str] = set()
"""The ids of the runs that `run_until_asleep` waits for."""


class PredictionEndedEvent(Event):
    """Wakes the tools of a run that sleep: each looks at its own prediction, and may sleep again.

    Attributes:
        prediction_id: The prediction that has ended.

    Example:
        >>> PredictionEndedEvent(prediction_id="p1").prediction_id
        'p1'
    """

    prediction_id: str


class _NeverSent(Event):
    """What a restored waiter that has its answer waits for."""


_ENDED = f"{PredictionEndedEvent.__module__}.{PredictionEndedEvent.__name__}"


async def name_of(context: Context) -> tuple[str, bool]:
    """The name of a Context, and whether it can keep records.

    It keeps its name when it is saved and restored; one with a typed state has room for neither, and each of
    its runs gets a name of its own.
    """
    try:
        async with context.store.edit_state() as state:
            name: str = state.get(_SCOPE) or f"context:{uuid4().hex}"
            state[_SCOPE] = name
    except (AttributeError, TypeError, ValueError):
        logger.warning(
            "The Context's state is typed: starts are remembered in this process only. Pass store=, and "
            "scope= so that a later run is the same conversation."
        )
        return _typed_names.setdefault(context.store, f"context:{uuid4().hex}"), False
    return name, True


def thread_of(name: str, scope: str, *, is_kept: bool) -> str:
    """What a saved Context goes by: its name, if it keeps that, else the scope, if ``scope=`` says one."""
    return name if is_kept else scope if scope != name else ""


def can_sleep(run_id: str | None) -> bool:
    """Whether a step is running, of a run that is saved once it sleeps."""
    return run_id in _awaited_runs and StepWorkerStateContextVar.get(None) is not None


def waiter_prefix(tool_id: str) -> str:
    """What the ids of all that a tool call waits for begin with, and nobody else's."""
    return f"rockai-{len(tool_id)}-{tool_id}-"


def suspended(answer: ToolAnswer, tool_id: str) -> ToolAnswer:
    """A tool's answer; one that sleeps suspends its step in place of it.

    As ``Context.wait_for_event`` does it (workflows/context/internal_context.py), which would hand out the
    event of an earlier wake again. Without ``requirements``: a restored waiter has forgotten them.

    Raises:
        WaitingForEvent: The tool sleeps.
    """
    call = waiter_prefix(tool_id)
    if answer.sleeps:
        raise WaitingForEvent(
            AddWaiter(
                waiter_id=f"{call}{getattr(answer.result, 'id', None)}",
                waiter_event=None,
                requirements={},
                timeout=None,
                event_type=PredictionEndedEvent,
            )
        )
    if (step := StepWorkerStateContextVar.get(None)) is not None:
        names = [waiter.waiter_id for waiter in step.state.collected_waiters]
        step.returns.return_values += [DeleteWaiter(waiter_id=one) for one in names if one.startswith(call)]
    return answer


async def run_until_asleep(
    handler: WorkflowHandler,
    toolkit: Any,
    contexts: MutableMapping[str, str],
    on_event: Callable[[Event], Any] | None = None,
) -> Any:
    """Wait for a run's end, or until nothing of it is left but tools that sleep; that is no abort.

    Args:
        handler: What ``agent.run(...)`` gives. Its events are read here, and handed to ``on_event``.
        toolkit: The `RockAIToolSpec` whose tools the agent has.
        contexts: Where the Context of a run that sleeps is kept, by its record's ``thread``: a dict, a
            `shelve`, a database's own. The agent's memory is saved with it, as its messages.
        on_event: Called with each event of the run's stream; may be a coroutine function. An event that it
            returns is sent to the run: a person's answer to an `ApprovalRequiredEvent`.

    Returns:
        The run's result; None: it sleeps, and is in ``contexts``.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
        >>> print(await run_until_asleep(agent.run("Generate an image of a lighthouse."), toolkit, {}))
        Here is what the tools say:
        Prediction ... (generate_image) succeeded...
    """
    _awaited_runs.add(handler.run_id)
    try:
        async for event in handler.stream_events(expose_internal=True):
            if isinstance(event, WorkflowIdleEvent) and (saved := await _saved(handler.ctx)):
                contexts[await _thread(toolkit, handler.ctx)] = saved
                toolkit.let_go_on(handler)
                await handler.cancel_run()
                return None
            if on_event is not None and not isinstance(event, InternalDispatchEvent):
                reply = on_event(event)
                if inspect.isawaitable(reply):
                    reply = await reply
                if isinstance(reply, Event):
                    handler.ctx.send_event(reply)
        result = await handler
    except BaseException:
        await handler.cancel_run()
        raise
    finally:
        _awaited_runs.discard(handler.run_id)
    contexts.pop(await _thread(toolkit, handler.ctx), None)
    return result


def resume_workflow(
    workflow: Any,
    toolkit: Any,
    contexts: MutableMapping[str, str],
    on_end: Callable[[Record, Any], Any] | None = None,
    on_event: Callable[[Event], Any] | None = None,
) -> Callable[[Record, Prediction], Awaitable[bool]]:
    """Make the function by which a `WebhookReceiver` resumes a run.

    Args:
        workflow: The agent or workflow, made anew by this process.
        toolkit: The `RockAIToolSpec` whose tools it has.
        contexts: Where `run_until_asleep` has saved the Context.
        on_end: Called with the record and the run's result once it ends; may be a coroutine function. After a
            crash it may be called a second time.
        on_event: As in `run_until_asleep`.

    Returns:
        The function; False where nothing is saved yet.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> from rockai_transport.jobs.webhooks import WebhookReceiver
        >>> agent, store, contexts = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm), {}, {}
        >>> receiver = WebhookReceiver(client, store, resume_workflow(agent, toolkit, contexts))
    """

    async def resume(record: Record, prediction: Prediction) -> bool:
        if (text := contexts.get(record.thread)) is None:
            return False
        saved = json.loads(text)
        handler = workflow.run(ctx=Context.from_dict(workflow, saved["context"]))
        if (memory := saved["memory"]) is not None:  # nothing runs before there is an event
            messages = [ChatMessage.model_validate(one) for one in memory["messages"]]
            restored = ChatMemoryBuffer.from_defaults(messages, token_limit=memory["token_limit"])
            await handler.ctx.store.set("memory", restored)
        handler.ctx.send_event(PredictionEndedEvent(prediction_id=prediction.id or ""))
        result = await run_until_asleep(handler, toolkit, contexts, on_event)
        if record.thread not in contexts and on_end is not None:  # a run may end without a result
            returned = on_end(record, result)
            if inspect.isawaitable(returned):
                await returned
        return True

    return resume


async def _thread(toolkit: Any, context: Context) -> str:
    name, is_kept = await name_of(context)
    return thread_of(name, await toolkit.scope_of(context), is_kept=is_kept)


async def _saved(context: Context) -> str | None:
    """A Context with the agent's memory, which it does not save itself.

    None where not only tools of ours wait: a person may be asked meanwhile, by an event of this process. What
    a person has answered stays, for the step that runs again. A restored waiter has forgotten whose answer it
    wants: it would take the next one too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnserializableKeyWarning)
        data = context.to_dict()
    waiters = [one for worker in data["workers"].values() for one in worker["collected_waiters"]]
    waiting = [one["waiting_for_event"] == _ENDED for one in waiters if one["resolved_event"] is None]
    if not waiting or not all(waiting):
        return None
    for one in waiters:
        if one["resolved_event"] is not None:
            one.update(waiting_for_event=f"{__name__}._NeverSent", has_requirements=False)
    memory = await context.store.get("memory", default=None)
    if memory is not None:
        messages = [one.model_dump(mode="json") for one in await memory.aget_all()]
        memory = {"messages": messages, "token_limit": getattr(memory, "token_limit", None)}
    return json.dumps({"context": data, "memory": memory})
