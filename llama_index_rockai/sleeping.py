"""How a run sleeps until a prediction has ended: its Context is saved, its handler ends; later it resumes."""

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
from llama_index.core.workflow import Context, Event, Workflow
from workflows.context.state_store import UnserializableKeyWarning
from workflows.events import InternalDispatchEvent, WorkflowIdleEvent
from workflows.handler import WorkflowHandler
from workflows.runtime.types.results import (
    AddWaiter,
    DeleteWaiter,
    StepWorkerStateContextVar,
    WaitingForEvent,
)

from rockai_transport import ConfigurationError, Prediction
from rockai_transport.adapters.toolkits import Record, ToolAnswer

logger = logging.getLogger("rockai")

_SCOPE = "rockai-scope"
_typed_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""The names of runs whose Context has a typed state, by store."""
_awaited_runs: set[str] = set()
"""The ids of the runs that `run_until_asleep` waits for."""


class PredictionEndedEvent(Event):
    """Wakes the sleeping tools of a run: each polls its own prediction, and may sleep again.

    Attributes:
        prediction_id: The prediction that has ended.

    Example:
        >>> PredictionEndedEvent(prediction_id="p1").prediction_id
        'p1'
    """

    prediction_id: str


class _NeverSent(Event):
    """The event type of a restored waiter that already has its answer."""


_ENDED = f"{PredictionEndedEvent.__module__}.{PredictionEndedEvent.__name__}"


async def name_of(context: Context) -> tuple[str, bool]:
    """Return the name of a Context, and whether it can store records.

    The name stays the same when the Context is saved and restored. A Context with a typed state can store
    neither, and each of its runs gets its own name.
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
    """Return the key of a saved Context: its name if it can store that, else the scope from ``scope=``."""
    if is_kept:
        return name
    return scope if scope != name else ""


def can_sleep(run_id: str | None) -> bool:
    """Return whether a step is running, in a run that is saved when it sleeps."""
    return run_id in _awaited_runs and StepWorkerStateContextVar.get(None) is not None


def waiter_prefix(tool_id: str) -> str:
    """Return the prefix of the ids of everything that a tool call waits for; no other ids have it."""
    return f"rockai-{len(tool_id)}-{tool_id}-"


def suspended(answer: ToolAnswer, tool_id: str) -> ToolAnswer:
    """Return a tool's answer; if the tool sleeps, suspend its step instead.

    This works like ``Context.wait_for_event`` (workflows/context/internal_context.py), which would return the
    event of an earlier wake again. It has no ``requirements``, because a restored waiter loses them.

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
    """Wait until a run ends, or until only sleeping tools are left; this is not an abort.

    Args:
        handler: The return value of ``agent.run(...)``. Its events are read here and passed to ``on_event``.
        toolkit: The `RockAIToolSpec` with the agent's tools.
        contexts: Where to save the Context of a sleeping run, by its record's ``thread``: a dict, a
            `shelve`, or a database's mapping. The agent's memory is saved with it, as its messages.
        on_event: Called with each event of the run's stream; may be a coroutine function. If it returns an
            event, this is sent to the run: a person's answer to an `ApprovalRequiredEvent`.

    Returns:
        The run's result; None if it sleeps and is in ``contexts``.

    Raises:
        ConfigurationError: The handler, the toolkit or the mapping is not one. What the run raises is raised
            too.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
        >>> print(await run_until_asleep(agent.run("Generate an image of a lighthouse."), toolkit, {}))
        Here is what the tools say:
        Prediction ... (generate_image) succeeded...
    """
    run_id = run_id_of(handler)
    _awaited_runs.add(run_id)
    try:
        _check(toolkit, contexts)
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
        _awaited_runs.discard(run_id)
    contexts.pop(await _thread(toolkit, handler.ctx), None)
    return result


def resume_workflow(
    workflow: Any,
    toolkit: Any,
    contexts: MutableMapping[str, str],
    on_end: Callable[[Record, Any], Any] | None = None,
    on_event: Callable[[Event], Any] | None = None,
) -> Callable[[Record, Prediction], Awaitable[bool]]:
    """Return the function with which a `WebhookReceiver` resumes a run.

    Args:
        workflow: The agent or workflow, created by this process.
        toolkit: The `RockAIToolSpec` with its tools.
        contexts: Where `run_until_asleep` has saved the Context.
        on_end: Called with the record and the run's result when it ends; may be a coroutine function. After a
            crash it may be called again.
        on_event: As in `run_until_asleep`.

    Returns:
        The function; it returns False if nothing is saved yet.

    Raises:
        ConfigurationError: The workflow, the toolkit or the mapping is not one.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> from rockai_transport.jobs.webhooks import WebhookReceiver
        >>> agent, store, contexts = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm), {}, {}
        >>> receiver = WebhookReceiver(client, store, resume_workflow(agent, toolkit, contexts))
    """
    if not isinstance(workflow, Workflow):  # found only when it is resumed, a run would sleep forever
        raise ConfigurationError(
            f"resume_workflow needs an agent or a workflow, not {type(workflow).__name__}."
        )
    _check(toolkit, contexts)

    async def resume(record: Record, prediction: Prediction) -> bool:
        if (text := contexts.get(record.thread)) is None:
            return False
        saved = json.loads(text)
        handler = workflow.run(ctx=Context.from_dict(workflow, saved["context"]))
        if (memory := saved["memory"]) is not None:  # nothing runs before the first event
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


def _check(toolkit: Any, contexts: Any) -> None:
    from llama_index_rockai.tool_spec import RockAIToolSpec  # which imports this module

    if not (isinstance(toolkit, RockAIToolSpec) and isinstance(contexts, MutableMapping)):
        raise ConfigurationError("Pass the RockAIToolSpec itself, then a mapping for the Contexts.")


def run_id_of(handler: WorkflowHandler) -> str:
    """Return a run's id.

    Raises:
        ConfigurationError: It is not a handler.
    """
    if not isinstance(handler, WorkflowHandler):
        raise ConfigurationError(f"Pass what agent.run(...) returns, not {type(handler).__name__}.")
    return handler.run_id


async def _thread(toolkit: Any, context: Context) -> str:
    name, is_kept = await name_of(context)
    return thread_of(name, await toolkit.scope_of(context), is_kept=is_kept)


async def _saved(context: Context) -> str | None:
    """Return a Context with the agent's memory, which it does not save itself.

    None if anything but our tools waits: a person may be asked at this moment, by an event of this process. A
    person's answer is kept for the step that runs again. A restored waiter no longer knows whose answer it
    wants, so it would also take the next one.
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
