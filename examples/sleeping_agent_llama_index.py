"""A LlamaIndex agent sleeps while its video is made: its Context is saved, and a webhook resumes it.

    pip install ".[llama-index]" uvicorn
    export WEBHOOK_URL=https://example.com/rockai  # your own address, where the service can call this program
    python sleeping_agent_llama_index.py

The sandbox calls the webhook on this machine. In an application, `STARTED` and `CONTEXTS` are mappings from
strings to strings that a database keeps.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvicorn
from llama_index.core.agent.workflow import FunctionAgent

from llama_index_rockai import (
    ANIMATE_IMAGE,
    GENERATE_IMAGE,
    RockAI,
    RockAIToolSpec,
    resume_workflow,
    run_until_asleep,
)
from rockai_transport import Client
from rockai_transport.jobs.webhooks import WebhookReceiver

STARTED: dict[str, str] = {}
CONTEXTS: dict[str, str] = {}
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
        toolkit = RockAIToolSpec(
            [GENERATE_IMAGE, ANIMATE_IMAGE],
            webhook_url=os.environ.get("WEBHOOK_URL", here),
            store=STARTED,
            max_wait=0.2,  # sleep soon; by default, a tool first waits for five seconds
        )
        llm = RockAI(model="meta/meta-llama-3-70b-instruct")
        agent = FunctionAgent(tools=[*toolkit.to_tool_list()], llm=llm)
        done = asyncio.Event()

        def end(record: Any, result: Any) -> None:
            print(f"The webhook has woken the agent: {record.model}.\n{result}")
            done.set()

        resume = resume_workflow(agent, toolkit, CONTEXTS, end)
        receiver = WebhookReceiver(client, STARTED, resume)
        server = uvicorn.Server(uvicorn.Config(receiver, ws="none", log_level="warning"))
        async with asyncio.TaskGroup() as tasks:  # if the server fails, the agent's run ends too
            tasks.create_task(server.serve(sockets=[listener]))
            if await run_until_asleep(agent.run(TASK), toolkit, CONTEXTS) is None:
                print(f"The agent sleeps: {len(CONTEXTS)} saved.")
                await done.wait()
            server.should_exit = True
        print(toolkit.receipt(store=STARTED))
        await toolkit.aclose()


if __name__ == "__main__":
    asyncio.run(main())
