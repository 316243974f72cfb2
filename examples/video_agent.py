"""An agent that makes videos: it generates an image and animates it; shows the progress and the receipt."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain.agents import create_agent

from langchain_rockai import ANIMATE_IMAGE, GENERATE_IMAGE, ChatRockAI, RockAIToolkit

TASK = (
    "Generate an image with the prompt 'a statue made of porcelain', "
    "and then animate that image with the prompt 'the eyes of the statue blink'."
)


async def main() -> None:
    """Run the agent. If it is canceled, also by Ctrl-C, its predictions are canceled at the service."""
    toolkit = RockAIToolkit([GENERATE_IMAGE, ANIMATE_IMAGE], save_to="out", max_running=1, max_starts=4)
    agent: Any = create_agent(ChatRockAI(model="meta/meta-llama-3-70b-instruct"), tools=toolkit.get_tools())
    question = {"messages": [("user", TASK)]}
    try:
        async for mode, part in agent.astream(question, stream_mode=["updates", "custom"]):
            if mode == "custom":
                print(f"  {part['model']}: {part['status']}, {part['progress'] or 0:.0%}")
                continue
            for message in (message for update in part.values() for message in update["messages"]):
                for call in getattr(message, "tool_calls", ()):
                    print(f"agent → {call['name']}")
                if message.type == "tool":
                    print(message.text)
        print(toolkit.receipt())
    finally:
        await toolkit.aclose()


if __name__ == "__main__":
    asyncio.run(main())
