"""What one run of an agent is: what ends with it, what it orders twice, and whose predictions are whose."""

import asyncio
import inspect
import socket
import typing

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step
from llama_index_harness import WARNINGS, AgentHarness, function_agent
from mcp.server.fastmcp import FastMCP
from pydantic import BaseModel
from scripted_llm import jobs, make_spec, prediction_id
from workflows.errors import WorkflowCancelledByUser

from rockai_sandbox import ECHO, NEVER_ENDS
from rockai_transport import GENERATE_IMAGE, ConfigurationError, HostedModel

pytestmark = [pytest.mark.filterwarnings(one) for one in WARNINGS]

ASK = "go"
ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text")
SAY = HostedModel(
    "say",
    ECHO,
    "Says it.",
    {
        "properties": {
            "prompt": {"type": "string", "description": "What to say."},
            "how": {"enum": ["loud", "low"]},
            "times": {"type": "integer", "default": 1},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["prompt"],
    },
    output="text",
)


def start(prompt="a"):
    return ("start_prediction", {"model": "endless", "input": {"prompt": prompt}})


def statuses(sandbox):
    return [one.status for one in jobs(sandbox)]


def expect(sandbox, expected):
    """How the predictions stand, once those that were just started are at work."""
    sandbox.wait_for(lambda it: "starting" not in statuses(it))
    assert statuses(sandbox) == expected


def in_turns(*turns):
    """A script that makes these turns, one after the other."""
    left = list(turns)
    return lambda _: left.pop(0)


def tools_of(spec):
    return {tool.metadata.name: tool for tool in spec.to_tool_list()}


def step_of(tool, state=None, **arguments):
    """A workflow of one's own whose only step calls a tool."""

    class Own(Workflow):
        @step
        async def go(self, ctx: Context[state or dict], ev: StartEvent) -> StopEvent:
            return StopEvent(result=await tool.acall(**arguments))

    return Own(timeout=20)


class Typed(BaseModel):
    title: str = ""


async def test_an_abort_while_a_tool_saves_a_file(sandbox, tmp_path):
    """Ends what else the run has started, though the file host hangs."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}/a.png"
        sandbox.model(GENERATE_IMAGE.model)(lambda given: address)
        spec = make_spec(sandbox, ENDLESS, save_to=tmp_path)
        script = in_turns([start()], [("generate_image", {"prompt": "x"})])
        handler = function_agent(script, spec.to_tool_list()).run(ASK)
        await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing", "succeeded"])
        await handler.cancel_run()
        with pytest.raises(WorkflowCancelledByUser):
            await handler
        ended = ["canceled", "succeeded"]
        await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ended, 2.5)


async def test_a_hook_takes_a_handler(sandbox):
    """The agent itself, given by mistake, is no run: nothing would be canceled."""
    spec = make_spec(sandbox, ENDLESS)
    agent = function_agent(in_turns("done"), spec.to_tool_list())
    for hook in (spec.cancel_on_abort, spec.let_go_on):
        with pytest.raises(ConfigurationError, match=r"agent\.run"):
            hook(agent)


async def test_a_hook_ends_a_run_that_was_canceled_before_it_began(sandbox):
    """LlamaIndex forgets it then, and it went on: its tools started what nobody canceled (workflows 2.26)."""
    spec, asked = make_spec(sandbox, ENDLESS), []
    agent = function_agent(asked.append, spec.to_tool_list())

    async def program():
        await spec.cancel_on_abort(agent.run(ASK))

    task = asyncio.create_task(program())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(200):  # turns of the loop, in which the agent would ask its LLM
        await asyncio.sleep(0)
    assert asked == []


async def cancel_awaiting(sandbox, workflow, predictions, *ask):
    """Cancel a task that awaits a run, once its tools wait for these many predictions."""

    async def program():
        await workflow.run(*ask)

    def awaited(it):
        polled = {one.path for one in it.requests if one.method == "GET" and one.outcome == "complete"}
        return len(polled) == predictions

    task = asyncio.create_task(program())
    await asyncio.to_thread(sandbox.wait_for, awaited)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["canceled"] * predictions, 2.5)


async def test_a_canceled_task_ends_all_calls_of_a_message(sandbox):
    """The last of them too, which the workflow's loop would lose (workflows 2.26)."""
    spec = make_spec(sandbox, ENDLESS, max_running=9)
    script = in_turns([("endless", {"prompt": "a"}), ("endless", {"prompt": "b"})])
    await cancel_awaiting(sandbox, function_agent(script, spec.to_tool_list()), 2, ASK)


async def test_a_canceled_task_ends_the_call_of_an_own_workflow(sandbox):
    """Though its first step makes it."""
    tool = tools_of(make_spec(sandbox, ENDLESS))["endless"]
    await cancel_awaiting(sandbox, step_of(tool, prompt="a"), 1)


async def test_an_abort_ends_no_earlier_turn_s_prediction(sandbox):
    """What was left running on purpose goes on."""
    spec = make_spec(sandbox, ENDLESS, max_running=9)
    harness = AgentHarness(sandbox, "FunctionAgent", "scripted")
    harness.set_agent(in_turns([start("first")], "started", [("endless", {"prompt": "second"})]), spec)
    await harness.ask(ASK)
    handler = harness.run(ASK)
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing"] * 2)
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing", "canceled"], 2.5)


async def abort_while_thinking(spec, watch):
    """Abort an agent that has started a prediction, and whose LLM thinks about the answer."""
    thinks = asyncio.Event()

    class Thinking(MockFunctionCallingLLM):
        async def astream_chat(self, messages, **kwargs):
            if any(message.role == "tool" for message in messages):
                thinks.set()
                await asyncio.Event().wait()
            return await super().astream_chat(messages, **kwargs)

    def reply(messages, **_):
        block = {
            "block_type": "tool_call",
            "tool_call_id": "1",
            "tool_name": start()[0],
            "tool_kwargs": start()[1],
        }
        return ChatMessage(role="assistant", blocks=[block])

    llm = Thinking(response_generator=reply, is_chat_model=True)
    handler = function_agent(None, spec.to_tool_list(), llm).run(ASK)
    if watch:
        assert spec.cancel_on_abort(handler) is handler
    await thinks.wait()
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler


async def test_an_abort_while_the_llm_thinks(sandbox):
    """`cancel_on_abort` ends what the run has under way; without it that goes on, as the docs say."""
    spec = make_spec(sandbox, ENDLESS, max_running=9)
    await abort_while_thinking(spec, watch=False)
    expect(sandbox, ["processing"])
    await abort_while_thinking(spec, watch=True)
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing", "canceled"], 2.5)


async def test_a_normal_end_cancels_nothing(sandbox):
    """With `cancel_on_abort` too."""
    spec = make_spec(sandbox, ENDLESS)
    agent = function_agent(in_turns([start()], "started"), spec.to_tool_list())
    assert str(await spec.cancel_on_abort(agent.run(ASK))) == "started"
    expect(sandbox, ["processing"])


async def test_a_block_is_about_its_own_agent(sandbox):
    """Another conversation's block that ends normally leaves this one's predictions alone."""
    spec = make_spec(sandbox, ENDLESS)
    agent = function_agent(in_turns([start("ann")], "ok", [start("bob")], "ok"), spec.to_tool_list())
    async with spec.leaving_nothing_running():
        await agent.run(ASK)

        async def bob():
            async with spec.leaving_nothing_running():
                await agent.run(ASK)

        await asyncio.create_task(bob())
        expect(sandbox, ["processing", "canceled"])
    assert statuses(sandbox) == ["canceled", "canceled"]


@pytest.mark.parametrize("tool", [start(), ("endless", {"prompt": "a"})], ids=["start", "its own tool"])
@pytest.mark.parametrize("kind", ["FunctionAgent", "AgentWorkflow"])
async def test_the_same_order_in_a_later_turn(sandbox, kind, tool):
    """Gets the prediction that runs, with «already running»; in the same turn two are two."""
    spec = make_spec(sandbox, ENDLESS, max_wait=0.2, max_running=9)
    harness = AgentHarness(sandbox, kind, "scripted")
    harness.set_agent(in_turns([tool, tool], [tool], "ok"), spec)
    await harness.ask(ASK)
    one, two, again = [output.content for output in harness.came]
    assert prediction_id(one) != prediction_id(two)
    assert prediction_id(again) in (prediction_id(one), prediction_id(two))
    assert "already running" in again
    assert len(jobs(sandbox)) == 2


async def test_the_same_order_in_a_later_run_of_the_conversation(sandbox):
    """It is one too; and allowed by the setting."""
    for settings, started in (({}, 1), ({"duplicates": "allow"}, 2)):
        spec = make_spec(sandbox, ENDLESS, max_running=9, **settings)
        harness = AgentHarness(sandbox, "FunctionAgent", "scripted")
        look = [("list_predictions", {})]
        harness.set_agent(in_turns([start()], "ok", look, [start()], "ok"), spec)
        before = len(jobs(sandbox))
        await harness.ask(ASK)
        await harness.ask(ASK)
        assert len(jobs(sandbox)) - before == started


async def test_the_same_order_in_a_later_turn_after_a_lost_answer(sandbox):
    """The call has another id, and is refused with the record's key."""
    spec = make_spec(sandbox, ENDLESS)
    sandbox.drop_next(method="POST")
    harness = AgentHarness(sandbox, "FunctionAgent", "scripted")
    harness.set_agent(in_turns([start()], [start()], "ok"), spec)
    await harness.ask(ASK)
    (unknown,) = spec.receipt().unknown
    assert all(unknown.key in output.content for output in harness.came)
    assert sum(request.method == "POST" for request in sandbox.requests) == 1


async def test_typed_contexts_are_conversations_of_their_own(sandbox):
    """One neither lists nor cancels what another has started; in the same run it does."""
    spec = make_spec(sandbox, ENDLESS, store={})
    tools = tools_of(spec)
    await step_of(tools["start_prediction"], Typed, model="endless", input={"prompt": "mine"}).run()
    listed = await step_of(tools["list_predictions"], Typed).run()
    assert "No predictions" in listed.content
    by_id = {"prediction_id": jobs(sandbox)[0].id}
    assert (
        "not a prediction of this conversation"
        in (await step_of(tools["cancel_prediction"], Typed, **by_id).run()).content
    )
    expect(sandbox, ["processing"])

    class Twice(Workflow):
        @step
        async def go(self, ctx: Context[Typed], ev: StartEvent) -> StopEvent:
            await tools["start_prediction"].acall(model="endless", input={"prompt": "own"})
            return StopEvent(result=await tools["list_predictions"].acall())

    listed = await Twice(timeout=20).run()
    assert jobs(sandbox)[-1].id in listed.content


def test_a_blocking_call_asks_for_its_scope(sandbox):
    """As an awaited one does."""
    who = ["ann"]
    tools = tools_of(make_spec(sandbox, ENDLESS, scope=lambda _: who[0]))
    tools["start_prediction"].call(model="endless", input={"prompt": "x"})
    assert jobs(sandbox)[0].id in tools["list_predictions"].call().content
    who[0] = "bob"
    assert "No predictions" in tools["list_predictions"].call().content


def raises(_):
    raise LookupError("who is it?")


@pytest.mark.parametrize("scope", [raises, lambda _: None, lambda _: ""])
async def test_a_scope_that_names_no_conversation_is_an_answer(sandbox, scope):
    """No call raises; nothing is sent."""
    tool = tools_of(make_spec(sandbox, scope=scope))["generate_image"]
    outputs = [tool.call(prompt="x"), await tool.acall(prompt="x"), await step_of(tool, prompt="x").run()]
    assert all(output.is_error for output in outputs)
    assert all("not set up for this conversation" in output.content for output in outputs)
    assert not sandbox.requests


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_a_call_while_the_state_is_edited_is_an_answer(sandbox, in_a_task):
    """Its record cannot be written then: nothing is sent or raised, and it does not wait for ever."""
    tool = tools_of(make_spec(sandbox))["generate_image"]

    class Editing(Workflow):
        @step
        async def go(self, ctx: Context, ev: StartEvent) -> StopEvent:
            async with ctx.store.edit_state() as state:
                state["x"] = 1
                call = tool.acall(prompt="x")
                return StopEvent(result=await (asyncio.create_task(call) if in_a_task else call))

    output = await Editing(timeout=20).run()
    assert output.is_error
    assert "nothing was sent" in output.content
    assert not sandbox.requests


# mcp below 1.30 warns with newer versions of pydantic-settings.
@pytest.mark.filterwarnings("ignore:Field 'lifespan' has an incomplete definition")
async def test_a_tool_s_function_says_what_it_takes(sandbox):
    """By its signature and its type hints, for those that publish it; what is left out is not sent."""
    tool = tools_of(make_spec(sandbox, SAY))["say"]
    parameters = inspect.signature(tool.async_fn).parameters
    assert list(parameters) == ["prompt", "how", "times", "tags"]
    assert [one.default for one in parameters.values()] == [inspect.Parameter.empty, None, 1, None]
    hints = typing.get_type_hints(tool.async_fn)
    assert hints["prompt"] is str
    assert hints["tags"] == list[str] | None
    assert hints["return"] is str
    assert tool.async_fn.__name__ == "say"
    assert "Says it." in tool.async_fn.__doc__

    server = FastMCP("tools")
    server.add_tool(tool.async_fn)
    (listed,) = await server.list_tools()
    assert listed.inputSchema["required"] == ["prompt"]
    assert listed.inputSchema["properties"]["prompt"]["description"] == "What to say."
    content, _ = await server.call_tool("say", {"prompt": "hello"})
    assert "succeeded" in content[0].text
    assert jobs(sandbox)[0].input == {"prompt": "hello", "times": 1}
