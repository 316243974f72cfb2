"""A durable agent: kill it at any point and restart it; it continues and never pays twice.

    pip install ".[agents]" langgraph-checkpoint-sqlite
    python durable_video_agent.py        # and again, after a crash

The checkpointer saves the conversation; the store records the started predictions. `durability="sync"` is
needed: by default LangGraph saves a step while the next one already runs, and a crash in between loses the
model's turn.

Set WEBHOOK_URL to the address of a `WebhookReceiver` over the same two files, and the agent sleeps while its
video is made, and this program ends (docs/how-to/sleeping-agents.md).
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.sqlite.aio import AsyncSqliteStore

from langchain_rockai import ANIMATE_IMAGE, GENERATE_IMAGE, ChatRockAI, RockAIToolkit

THREAD: RunnableConfig = {"configurable": {"thread_id": "statue"}}
TASK = (
    "Generate an image with the prompt 'a statue made of porcelain', "
    "and then animate that image with the prompt 'the eyes of the statue blink'."
)


async def main() -> None:
    """Start the task, continue it, or say that it is done, depending on the checkpoint."""
    webhook_url = os.environ.get("WEBHOOK_URL")
    toolkit = RockAIToolkit([GENERATE_IMAGE, ANIMATE_IMAGE], save_to="out", webhook_url=webhook_url)
    async with (
        AsyncSqliteSaver.from_conn_string("conversation.sqlite") as checkpointer,
        AsyncSqliteStore.from_conn_string("started.sqlite") as store,
    ):
        await store.setup()
        agent: Any = create_agent(
            ChatRockAI(model="meta/meta-llama-3-70b-instruct"),
            tools=toolkit.get_tools(),
            checkpointer=checkpointer,
            store=store,
        )
        state = await agent.aget_state(THREAD)
        if state.values and not state.tasks:  # `state.next` lacks a step that ended right before a crash
            print("This was done already:")
        else:
            question = None if state.tasks else {"messages": [("user", TASK)]}  # None: continue
            print("Going on." if state.tasks else "Beginning.", flush=True)
            options: dict[str, Any] = {"stream_mode": "custom", "durability": "sync"}
            async for event in agent.astream(question, THREAD, **options):
                print(f"  {event['model']}: {event['status']}, {event['progress'] or 0:.0%}", flush=True)
            if (await agent.aget_state(THREAD)).interrupts:
                print("The agent sleeps until the webhook is called.")
        print(await toolkit.areceipt(store=store, refresh=True))
    await toolkit.aclose()


if __name__ == "__main__":
    asyncio.run(main())
