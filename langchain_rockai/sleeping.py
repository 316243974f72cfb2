"""How a graph sleeps until a prediction has ended, and is resumed; LangGraph is imported on use."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig

from rockai_transport import ConfigurationError, Prediction
from rockai_transport.adapters.toolkits import Record, ToolAnswer

SLEEPING = "rockai_sleeping"
"""The ``type`` of an interrupt's value; ``prediction_id`` is the prediction that it waits for."""


def interruptions() -> tuple[type[Exception], ...]:
    """Return the exceptions with which LangGraph stops a run to resume it; empty if it is not in use."""
    errors = sys.modules.get("langgraph.errors")
    return () if errors is None else (errors.GraphBubbleUp,)


def sleep(answer: ToolAnswer) -> NoReturn:
    """Interrupt the graph until the tool's prediction has ended.

    When the graph is resumed, the node runs again from its beginning. The resume value of an earlier
    interrupt is then returned again and means nothing: the tool has just polled, and the prediction has not
    ended.
    """
    from langgraph.types import interrupt

    prediction: Any = answer.result
    while True:
        interrupt({"type": SLEEPING, "prediction_id": prediction.id, "status": prediction.status})


def resume_graph(
    graph: Any, *, config: RunnableConfig | None = None, context: Any = None
) -> Callable[[Record, Prediction], Awaitable[bool]]:
    """Return the function with which a `WebhookReceiver` resumes a graph.

    Args:
        graph: A compiled graph with an async checkpointer, as from ``create_agent``.
        config: The configuration of its runs besides the thread: callbacks, a recursion limit.
        context: The graph's context, if it has one.

    Returns:
        The function. It resumes the record's thread with ``durability="sync"``, and returns False if the
        thread does not sleep or is not saved yet.

    Raises:
        ConfigurationError: The graph is not compiled.

    Example:
        >>> from langchain.agents import create_agent
        >>> from langgraph.checkpoint.memory import InMemorySaver
        >>> from langgraph.store.memory import InMemoryStore
        >>> from rockai_transport.jobs.webhooks import WebhookReceiver
        >>> store = InMemoryStore()
        >>> model = ChatRockAI(model="meta/meta-llama-3-70b-instruct")
        >>> agent = create_agent(model, toolkit.get_tools(), checkpointer=InMemorySaver(), store=store)
        >>> receiver = WebhookReceiver(client, store, resume_graph(agent))
    """
    if not hasattr(graph, "aget_state"):  # found only when it is resumed, it would sleep forever
        raise ConfigurationError(f"resume_graph needs a compiled graph, not {type(graph).__name__}.")

    async def resume(record: Record, prediction: Prediction) -> bool:
        from langgraph.types import Command

        known = {**(config or {}).get("configurable", {}), "thread_id": record.thread}
        thread: Any = {**(config or {}), "configurable": known}
        state = await graph.aget_state(thread)
        # One node may sleep for several predictions and show only one; it polls its own, and sleeps again.
        pauses = [one for one in state.interrupts if isinstance(one.value, dict)]
        asleep = [one for one in pauses if one.value.get("type") == SLEEPING]
        meant = [one for one in asleep if one.value["prediction_id"] == record.prediction_id] or asleep
        if not record.thread or not meant:
            return False
        command: Any = Command(resume={one.id: prediction.id for one in meant})
        await graph.ainvoke(command, thread, context=context, durability="sync")
        return True

    return resume
