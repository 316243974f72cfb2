"""create_agent with two tools: invoked, streamed, resumed; the models read their prompts and nothing else."""

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from pydantic import BaseModel

from langchain_rockai import ChatRockAI

MODELS = [
    "mistralai/mistral-7b-instruct-v0.1",
    "meta/llama-2-7b-chat",
    "meta/meta-llama-3-70b-instruct",
    "sandbox/chatml",
]
QUESTION = "Get the weather in Paris, then multiply 6 and 7."


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    get_stream_writer()(f"looking at {city}")
    return f"It is sunny in {city}."


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def make_agent(model: str, **options: Any) -> Any:
    return create_agent(ChatRockAI(model=model), [get_weather, multiply], **options)


def told(messages):
    """Which tools were called with what, what they said, and the last words."""
    calls = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    results = [message.content for message in messages if isinstance(message, ToolMessage)]
    return [(call["name"], call["args"]) for call in calls], results, messages[-1].content


CALLS = [("get_weather", {"city": "Paris"}), ("multiply", {"a": 6, "b": 7})]
RESULTS = ["It is sunny in Paris.", "42"]


def check(messages):
    calls, results, words = told(messages)
    assert (calls, results) == (CALLS, RESULTS)
    assert all(result in words for result in RESULTS)


@pytest.mark.parametrize("model", MODELS)
def test_an_agent_runs_its_loop(sandbox, model):
    """Two tools, one after the other, then an answer: three runs."""
    check(make_agent(model).invoke({"messages": [("human", QUESTION)]})["messages"])
    assert len(sandbox.predictions) == 3


@pytest.mark.parametrize("model", MODELS)
async def test_an_agent_runs_its_loop_asynchronously(sandbox, model):
    """The same with await."""
    answer = await make_agent(model).ainvoke({"messages": [("human", QUESTION)]})
    check(answer["messages"])


def by_mode(events):
    modes = {"messages": [], "updates": [], "custom": []}
    for mode, event in events:
        modes[mode].append(event)
    return modes


def check_streamed(modes):
    """Text in pieces as it came, each step once, what the tool wrote."""
    chunks = [chunk for chunk, _ in modes["messages"] if isinstance(chunk, AIMessageChunk)]
    spoken = [chunk.text for chunk in chunks if chunk.text]
    assert len(spoken) > 5
    assert all(result in "".join(spoken) for result in RESULTS)
    assert "<tool_call>" not in "".join(spoken)
    assert modes["custom"] == ["looking at Paris"]
    steps = [step for update in modes["updates"] for step in update]
    assert steps == ["model", "tools", "model", "tools", "model"]
    check(
        [message for update in modes["updates"] for step in update.values() for message in step["messages"]]
    )


@pytest.mark.parametrize("model", MODELS)
def test_an_agent_is_streamed(sandbox, model):
    """messages, updates and custom."""
    stream = make_agent(model).stream(
        {"messages": [("human", QUESTION)]}, stream_mode=["messages", "updates", "custom"]
    )
    check_streamed(by_mode(stream))


async def test_an_agent_is_streamed_asynchronously(sandbox):
    """The same with async for."""
    stream = make_agent(MODELS[0]).astream(
        {"messages": [("human", QUESTION)]}, stream_mode=["messages", "updates", "custom"]
    )
    check_streamed(by_mode([event async for event in stream]))


def test_an_agent_is_resumed_from_its_checkpoints(sandbox, tmp_path):
    """Stopped before its second tool, and taken up by another process's objects: nothing runs twice."""
    where = str(tmp_path / "agent.sqlite")
    thread = {"configurable": {"thread_id": "t"}}
    with SqliteSaver.from_conn_string(where) as saver:
        agent = make_agent(MODELS[0], checkpointer=saver, interrupt_before=["tools"])
        agent.invoke({"messages": [("human", QUESTION)]}, thread)
        agent.invoke(None, thread)
    asked = len(sandbox.predictions)
    with SqliteSaver.from_conn_string(where) as saver:
        agent = make_agent(MODELS[0], checkpointer=saver)
        check(agent.invoke(None, thread)["messages"])
        assert len(sandbox.predictions) == asked + 1
        answer = agent.invoke({"messages": [("human", "Please multiply 2 and 3.")]}, thread)
        assert "6" in answer["messages"][-1].content


async def test_an_agent_is_resumed_from_its_checkpoints_asynchronously(sandbox, tmp_path):
    """With the asynchronous saver, and after the task was canceled between two steps."""
    where, thread = str(tmp_path / "agent.sqlite"), {"configurable": {"thread_id": "t"}}
    async with AsyncSqliteSaver.from_conn_string(where) as saver:
        agent = make_agent(MODELS[2], checkpointer=saver)
        seen = asyncio.Event()

        async def follow():
            async for _ in agent.astream({"messages": [("human", QUESTION)]}, thread, durability="sync"):
                seen.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(follow())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with AsyncSqliteSaver.from_conn_string(where) as saver:
        agent = make_agent(MODELS[2], checkpointer=saver)
        check((await agent.ainvoke(None, thread))["messages"])


class Report(BaseModel):
    """A report of the weather."""

    city: str


def test_an_agent_gives_a_structured_response(sandbox):
    """create_agent forces a tool for it, since the profile claims no structured output of its own."""
    agent = create_agent(ChatRockAI(model=MODELS[2]), [get_weather], response_format=Report)
    answer = agent.invoke({"messages": [("human", "Report the weather in Paris.")]})
    assert isinstance(answer["structured_response"], Report)


def test_a_tool_that_fails_is_told_to_the_model(sandbox, scripted):
    """Arguments that do not fit come back as an error, and the next call is right."""
    asked = scripted(
        '{"name": "multiply", "arguments": {"a": "six", "b": 7}}',
        '{"name": "multiply", "arguments": {"a": 6, "b": 7}}',
        "It is 42.",
        model="my/hermes",
    )
    agent = create_agent(ChatRockAI(model="my/hermes"), [multiply])
    messages = agent.invoke({"messages": [("human", "6 times 7?")]})["messages"]
    assert messages[-1].content == "It is 42."
    assert '"error": "Error invoking tool' in asked.inputs[1]["prompt"]
