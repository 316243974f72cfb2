"""What else an agent may meet with: people, limits, retries, other conversations."""

import asyncio
import time

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, ToolRetryMiddleware
from langchain_core.messages import AIMessage
from langchain_harness import thread, with_agent, with_graph
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import ScriptedModel, call, jobs, make_statue, make_toolkit, prediction_id, results

from langchain_rockai import RockAIToolkit
from rockai_sandbox import ECHO, NEVER_ENDS
from rockai_transport import HostedModel

ASK = {"messages": [("user", "make a video of a talking porcelain statue")]}
ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text")


async def test_leaving_may_let_it_run(sandbox, caplog):
    """With on_cancel="leave" nothing is canceled, and the id is told."""
    toolkit = make_toolkit(sandbox, ENDLESS, on_cancel="leave")
    agent = with_agent(lambda _: call(("endless", {"prompt": "x"})), toolkit.get_tools())
    with caplog.at_level("INFO", logger="rockai"):
        task = asyncio.create_task(agent.ainvoke(ASK, thread()))
        await asyncio.to_thread(sandbox.wait_for, "processing")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (prediction,) = jobs(sandbox)
    assert prediction.status == "processing"
    assert f"Prediction {prediction.id} goes on" in caplog.text


async def test_parallel_calls_share_the_limits(sandbox):
    """Of three videos asked for at once two start, and the third is refused in words."""

    def script(messages):
        start = [("start_prediction", {"model": "endless", "input": {"prompt": str(n)}}) for n in range(3)]
        return AIMessage("done") if results(messages) else call(*start)

    toolkit = make_toolkit(sandbox, ENDLESS)
    messages = (await with_agent(script, toolkit.get_tools()).ainvoke(ASK, thread()))["messages"]
    assert len(jobs(sandbox)) == 2
    (refused,) = [message for message in results(messages) if message.status == "error"]
    assert "2 are allowed at once" in refused.text
    await toolkit.acancel_running()
    assert {one.status for one in jobs(sandbox)} == {"canceled"}


@pytest.mark.parametrize("asynchronous", [True, False])
def test_tool_retry_middleware_starts_nothing_twice(sandbox, asynchronous):
    """A gateway's 502 on the start is an answer, not an exception that would be tried again."""
    sandbox.answer_next(502, "bad gateway", content_type="text/html", method="POST", times=None)

    def script(messages):
        return AIMessage("done") if results(messages) else call(("endless", {"prompt": "x"}))

    toolkit = make_toolkit(sandbox, ENDLESS)
    agent = with_agent(script, toolkit.get_tools(), middleware=[ToolRetryMiddleware(initial_delay=0)])
    state = asyncio.run(agent.ainvoke(ASK, thread())) if asynchronous else agent.invoke(ASK, thread())
    (answer,) = results(state["messages"])
    assert len([request for request in sandbox.requests if request.method == "POST"]) == 1
    assert "unknown whether this started" in answer.text
    assert answer.status == "error"
    assert len(toolkit.receipt().unknown) == 1


def test_a_person_approves_a_start(sandbox, toolkit):
    """HumanInTheLoopMiddleware stops before the video is started, and lets it start once."""
    middleware = [HumanInTheLoopMiddleware(interrupt_on={"animate_image": True})]
    agent = with_agent(make_statue, toolkit.get_tools(), middleware=middleware)
    state = agent.invoke(ASK, thread())
    assert "__interrupt__" in state
    assert len(jobs(sandbox)) == 1
    agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert [prediction.status for prediction in jobs(sandbox)] == ["succeeded", "succeeded"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_person_is_told_what_a_start_costs_and_what_is_left(sandbox, asynchronous):
    """For a model's own tool and for start_prediction; other tools are named with their arguments."""
    film = HostedModel("film", ECHO, "Films.", output="text", cost_per_run="0.1")
    toolkit = RockAIToolkit([film], sandbox.api_token, sandbox.base_url, max_cost=5)
    ask = {"allowed_decisions": ["approve"], "description": toolkit.approval_question}
    middleware = [
        HumanInTheLoopMiddleware(dict.fromkeys(["film", "start_prediction", "list_predictions"], ask))
    ]
    given = {"prompt": "x"}
    turns = [
        call(
            ("film", given), ("start_prediction", {"model": "film", "input": given}), ("list_predictions", {})
        ),
        call(("film", given)),
    ]
    agent = with_agent(lambda _: turns.pop(0), toolkit.get_tools(), middleware=middleware)
    said = []
    for question in (ASK, Command(resume={"decisions": [{"type": "approve"}] * 3})):
        state = await agent.ainvoke(question, thread()) if asynchronous else agent.invoke(question, thread())
        said += [one["description"] for one in state["__interrupt__"][0].value["action_requests"]]
    cost = "Start film? It costs 0.1 at most;"
    assert said[:2] == [f"{cost} 5 of 5 left. {given}"] * 2
    assert said[2:] == ["Call list_predictions with {}?", f"{cost} 4.8 of 5 left. {given}"]
    await toolkit.aclose()


def test_repeated_tool_call_ids_are_new_calls(sandbox, toolkit):
    """A model that gives every call the same id gets what it asks for in each turn."""

    def script(messages):
        return (
            AIMessage("done") if len(results(messages)) == 2 else call(("generate_image", {"prompt": "same"}))
        )

    with_agent(script, toolkit.get_tools()).invoke(ASK, thread())
    assert len(jobs(sandbox)) == 2


def test_a_node_that_is_run_again_gets_what_it_had_started(sandbox, toolkit):
    """A graph that failed after the tool, and is resumed in its store, pays once."""
    failures = iter([True])

    def script(messages):
        if results(messages):
            return AIMessage("done")
        return call(("generate_image", {"prompt": "x"}), ("get_prediction", {"prediction_id": "?"}))

    tools = toolkit.get_tools()

    def fails_once(request, handler):
        message = handler(request)
        if request.tool_call["name"] == "generate_image" and next(failures, False):
            raise RuntimeError("the node breaks after its tool")
        return message

    agent = with_graph(script, tools, wrap_tool_call=fails_once)
    with pytest.raises(RuntimeError, match="breaks after"):
        agent.invoke(ASK, thread())
    messages = agent.invoke(None, thread())["messages"]
    assert messages[-1].text == "done"
    assert len(jobs(sandbox)) == 1


def test_a_conversation_sees_only_its_own(sandbox, toolkit):
    """Another thread's prediction is neither shown nor canceled."""

    def start(messages):
        start = {"model": "generate_image", "input": {"prompt": "mine"}}
        return AIMessage("done") if results(messages) else call(("start_prediction", start))

    tools = toolkit.get_tools()
    agent = with_agent(start, tools)
    first = results(agent.invoke(ASK, thread("one"))["messages"])[0]
    found = prediction_id(first)

    def pry(messages):
        done = results(messages)
        if done:
            return AIMessage("done")
        return call(
            *((name, {"prediction_id": found}) for name in ("get_prediction", "cancel_prediction")),
            ("list_predictions", {}),
        )

    other = create_agent(ScriptedModel(script=pry), tools, checkpointer=InMemorySaver(), store=agent.store)
    got, canceled, listed = results(other.invoke(ASK, thread("two"))["messages"])
    assert "not a prediction of this conversation" in got.text
    assert "not a prediction of this conversation" in canceled.text
    assert listed.text == "No predictions were started in this conversation."
    assert sandbox.wait_for("succeeded").id == found


def test_a_sync_graph_ends_its_tools_at_their_bound(sandbox):
    """Threads cannot be canceled: the tool comes back at max_wait, with the id."""
    toolkit = make_toolkit(sandbox, ENDLESS, max_wait=0.2)

    def script(messages):
        done = results(messages)
        return AIMessage(done[-1].text) if done else call(("endless", {"prompt": "x"}))

    began = time.monotonic()
    text = with_agent(script, toolkit.get_tools()).invoke(ASK, thread())["messages"][-1].text
    assert time.monotonic() - began < 5
    assert jobs(sandbox)[0].id in text
    toolkit.cancel_running()
