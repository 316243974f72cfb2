"""How a graph sleeps until a prediction has ended, and how it is resumed; LangGraph is imported there."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig

from rockai_transport.adapters.toolkits import Prediction, Record, ToolAnswer

__all__ = ["SLEEPING", "interruptions", "resume_graph", "sleep"]

SLEEPING = "rockai_sleeping"
"""The ``type`` of an interrupt's value; ``prediction_id`` is what it sleeps for."""


def interruptions() -> tuple[type[Exception], ...]:
    """What LangGraph raises to stop a run that is to be resumed; nothing where it is not in use."""
    errors = sys.modules.get("langgraph.errors")
    return () if errors is None else (errors.GraphBubbleUp,)


def sleep(answer: ToolAnswer) -> NoReturn:
    """Interrupt the graph until the tool's prediction has ended.

    The node runs again from its beginning once it is resumed. What an earlier interrupt was resumed with is
    handed out again, and says nothing: the tool has just looked, and it is not time yet.
    """
    from langgraph.types import interrupt

    prediction: Any = answer.result
    while True:
        interrupt({"type": SLEEPING, "prediction_id": prediction.id, "status": prediction.status})


def resume_graph(
    graph: Any, *, config: RunnableConfig | None = None, context: Any = None
) -> Callable[[Record, Prediction], Awaitable[bool]]:
    """Make the function by which a `WebhookReceiver` resumes a graph.

    Args:
        graph: A compiled graph with a checkpointer that can be awaited: what ``create_agent`` gives.
        config: What its runs are configured with besides the thread: callbacks, a limit of recursion.
        context: The graph's context, where it has one.

    Returns:
        The function. It resumes the thread of the record, ``durability="sync"``; False where the thread does
        not sleep, or is not saved yet.

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

    async def resume(record: Record, prediction: Prediction) -> bool:
        from langgraph.types import Command

        known = {**(config or {}).get("configurable", {}), "thread_id": record.thread}
        thread: Any = {**(config or {}), "configurable": known}
        state = await graph.aget_state(thread)
        # One node may sleep for several, and shows one of them: it looks at its own, and sleeps again.
        asleep = [one for one in state.interrupts if _is_ours(one.value)]
        meant = [one for one in asleep if one.value["prediction_id"] == record.prediction_id] or asleep
        if not record.thread or not meant:
            return False
        command: Any = Command(resume={one.id: prediction.id for one in meant})
        await graph.ainvoke(command, thread, context=context, durability="sync")
        return True

    return resume


def _is_ours(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == SLEEPING
