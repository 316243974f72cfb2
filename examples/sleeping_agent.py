"""A LangGraph agent sleeps while its video is made: no process waits, and the service's webhook resumes it.

    pip install ".[agents]" uvicorn
    export WEBHOOK_URL=https://example.com/rockai  # your own address, where the service can call this program
    python sleeping_agent.py

The sandbox calls the webhook on this machine. In an application, the agent and the receiver are two processes
that share a checkpointer and a store, for example in SQLite or Postgres. Here they are one process, and both
are in memory.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvicorn
from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_rockai import ANIMATE_IMAGE, GENERATE_IMAGE, ChatRockAI, RockAIToolkit, resume_graph
from rockai_transport import Client
from rockai_transport.jobs.webhooks import WebhookReceiver

THREAD: RunnableConfig = {"configurable": {"thread_id": "statue"}}
TASK = (
    "Generate an image with the prompt 'a statue made of porcelain', "
    "and then animate that image with the prompt 'the eyes of the statue blink'."
)


async def main() -> None:
    """Start a video, sleep until the webhook arrives, and print the result."""
    with (
        socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0")))) as listener,
        Client() as client,
    ):
        here = f"http://127.0.0.1:{listener.getsockname()[1]}/rockai"
        toolkit = RockAIToolkit(
            [GENERATE_IMAGE, ANIMATE_IMAGE],
            webhook_url=os.environ.get("WEBHOOK_URL", here),
            max_wait=0.2,  # sleep soon; by default, a tool first waits for five seconds
        )
        store = InMemoryStore()
        model = ChatRockAI(model="meta/meta-llama-3-70b-instruct")
        agent: Any = create_agent(model, toolkit.get_tools(), checkpointer=InMemorySaver(), store=store)
        resume, done = resume_graph(agent), asyncio.Event()

        async def wake(record: Any, prediction: Any) -> bool:
            is_resumed = await resume(record, prediction)
            if is_resumed:
                print(f"The webhook says: {record.model} {prediction.status}. The agent was woken.")
            if not (await agent.aget_state(THREAD)).next:  # else it sleeps again, for the next one
                done.set()
            return is_resumed

        receiver = WebhookReceiver(client, store, wake)
        server = uvicorn.Server(uvicorn.Config(receiver, ws="none", log_level="warning"))
        async with asyncio.TaskGroup() as tasks:  # if the server fails, the agent's run ends too
            tasks.create_task(server.serve(sockets=[listener]))
            result = await agent.ainvoke({"messages": [("user", TASK)]}, THREAD)
            print(f"The agent sleeps: {[one.value['type'] for one in result['__interrupt__']]}")
            await done.wait()
            server.should_exit = True
        print((await agent.aget_state(THREAD)).values["messages"][-1].text)
        print(toolkit.receipt(store=store))
        await toolkit.aclose()


if __name__ == "__main__":
    asyncio.run(main())
