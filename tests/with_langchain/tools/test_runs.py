"""What one run of an agent is: what ends with it, what it orders twice, and whose predictions are whose."""

import asyncio
import signal
import socket
import threading

import anyio
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_harness import thread, with_agent, with_graph
from langgraph.graph import START, MessagesState, StateGraph
from scripted import ScriptedModel, call, jobs, make_toolkit, prediction_id, results

from rockai_sandbox import NEVER_ENDS
from rockai_transport import GENERATE_IMAGE, HostedModel

ASK = {"messages": [("user", "go")]}
ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text")


def start(prompt="a"):
    return ("start_prediction", {"model": "endless", "input": {"prompt": prompt}})


def statuses(sandbox):
    return [one.status for one in jobs(sandbox)]


def expect(sandbox, expected):
    """How the predictions stand, once those that were just started are at work."""
    sandbox.wait_for(lambda it: "starting" not in statuses(it))
    assert statuses(sandbox) == expected


def in_turns(*turns):
    """A script that makes these turns, one after the other, whatever the conversation was before."""
    left = list(turns)

    def script(_):
        turn = left.pop(0)
        return turn if isinstance(turn, AIMessage) else call(*turn, ids=f"turn{len(left)}")

    return script


class Thinking(ScriptedModel):
    """A model that thinks for ever once a tool has answered."""

    thinks: asyncio.Event

    async def _agenerate(self, messages, *args, **kwargs):
        if results(messages):
            self.thinks.set()
            await asyncio.Event().wait()
        return self._generate(messages)


@pytest.fixture
def hanging_file_host():
    """A server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/a.png"


@pytest.mark.parametrize("build", [with_agent, with_graph])
async def test_an_abort_while_a_tool_saves_a_file(sandbox, tmp_path, hanging_file_host, build):
    """Ends what else the run has started, though the file host hangs."""
    sandbox.model(GENERATE_IMAGE.model)(lambda given: hanging_file_host)
    toolkit = make_toolkit(sandbox, ENDLESS, save_to=tmp_path)
    agent = build(in_turns([start()], [("generate_image", {"prompt": "x"})]), toolkit.get_tools())
    task = asyncio.create_task(agent.ainvoke(ASK, thread()))
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing", "succeeded"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["canceled", "succeeded"], 2.5)


async def test_an_abort_without_a_thread_id(sandbox):
    """A tool that is active knows its run without one."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    model = ScriptedModel(script=in_turns([start()], [("endless", {"prompt": "b"})]))
    agent = create_agent(model, toolkit.get_tools())
    task = asyncio.create_task(agent.ainvoke(ASK))
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing"] * 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses(sandbox) == ["canceled", "canceled"]


async def test_an_abort_ends_no_earlier_turn_s_prediction(sandbox):
    """What was left running on purpose goes on, until a run that waits for it is aborted."""
    toolkit = make_toolkit(sandbox, ENDLESS, max_running=9)
    wait = {}
    script = in_turns(
        [start("first")],
        AIMessage("started"),
        [("endless", {"prompt": "second"})],
        [("wait_for_prediction", wait)],
    )
    agent = with_agent(script, toolkit.get_tools())
    await agent.ainvoke(ASK, thread())
    wait["prediction_id"] = jobs(sandbox)[0].id
    for left in (["processing", "canceled"], ["canceled", "canceled"]):
        looks = len(sandbox.requests)
        task = asyncio.create_task(agent.ainvoke(ASK, thread()))
        await asyncio.to_thread(sandbox.wait_for, lambda it, looks=looks: len(it.requests) > looks + 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        expect(sandbox, left)


async def abort_while_thinking(toolkit, config):
    """Abort an agent that has started a prediction, and whose model thinks about the answer."""
    model = Thinking(script=in_turns([start("left")]), thinks=asyncio.Event())
    task = asyncio.create_task(create_agent(model, toolkit.get_tools()).ainvoke(ASK, config))
    await model.thinks.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("config", [thread(), {}], ids=["a thread", "no thread id"])
async def test_an_abort_while_the_model_thinks(sandbox, config):
    """The handler ends what the run has under way; without one it goes on, as the docs say."""
    toolkit = make_toolkit(sandbox, ENDLESS, max_running=9, duplicates="allow")
    await abort_while_thinking(toolkit, config)
    expect(sandbox, ["processing"])
    await abort_while_thinking(toolkit, {**config, "callbacks": [toolkit.cancel_on_abort()]})
    expect(sandbox, ["processing", "canceled"])


async def test_a_handler_tells_its_runs_apart(sandbox):
    """One handler for all runs of an agent: an abort ends its own run's, a normal end nothing."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    handler = toolkit.cancel_on_abort()
    calm = create_agent(ScriptedModel(script=in_turns([start("calm")], AIMessage("ok"))), toolkit.get_tools())
    await calm.ainvoke(ASK, {**thread("calm"), "callbacks": [handler]})
    expect(sandbox, ["processing"])
    await abort_while_thinking(toolkit, {**thread("left"), "callbacks": [handler]})
    expect(sandbox, ["processing", "canceled"])


async def test_a_handler_remembers_nothing_of_a_run_that_is_over(sandbox):
    """Nor of a canceled tool, whose end core does not report: one handler may serve any number of runs."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    handler = toolkit.cancel_on_abort()
    agent = with_agent(in_turns([("endless", {"prompt": "a"})]), toolkit.get_tools())
    task = asyncio.create_task(agent.ainvoke(ASK, {**thread(), "callbacks": [handler]}))
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing"])
    assert handler._runs
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not handler._runs


@pytest.mark.parametrize("mode", ["custom", "messages", "values", "astream_events"])
async def test_a_streamed_response_whose_client_leaves(sandbox, mode):
    """FastAPI cancels again and again, so that `astream` may not tell the tool: the handler ends it."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    agent = create_agent(
        ScriptedModel(script=in_turns([start()], [("endless", {"prompt": "b"})])), toolkit.get_tools()
    )

    async def respond():
        events = agent.astream_events(ASK, version="v2")
        handled = agent.astream(ASK, {"callbacks": [toolkit.cancel_on_abort()]}, stream_mode=mode)
        async for _ in events if mode == "astream_events" else handled:
            pass

    async with anyio.create_task_group() as response:
        response.start_soon(respond)
        await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing"] * 2)
        response.cancel_scope.cancel()
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["canceled"] * 2, 2.5)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal reaches a thread")
def test_ctrl_c_in_a_sync_graph_with_the_handler(sandbox):
    """What the tools' threads cannot be told, the root of the run is."""
    toolkit = make_toolkit(sandbox, ENDLESS, max_wait=1.0)
    agent = with_graph(in_turns([start()], [("endless", {"prompt": "b"})]), toolkit.get_tools())

    def press():
        sandbox.wait_for(lambda it: statuses(it) == ["processing"] * 2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    presses = threading.Thread(target=press)
    presses.start()
    with pytest.raises(KeyboardInterrupt):
        agent.invoke(ASK, {**thread(), "callbacks": [toolkit.cancel_on_abort()]})
    presses.join()
    sandbox.wait_for(lambda it: statuses(it) == ["canceled", "canceled"])


async def test_a_block_is_about_its_own_agent(sandbox):
    """Another conversation's block that ends normally leaves this one's predictions alone."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    ann_started, bob_left = asyncio.Event(), asyncio.Event()

    async def turn(name):
        model = ScriptedModel(script=in_turns([start(name)], AIMessage("started")))
        await create_agent(model, toolkit.get_tools()).ainvoke(ASK, thread(name))

    async def ann():
        async with toolkit.leaving_nothing_running():
            await turn("ann")
            ann_started.set()
            await bob_left.wait()
            expect(sandbox, ["processing", "canceled"])

    async def bob():
        await ann_started.wait()
        async with toolkit.leaving_nothing_running():
            await turn("bob")
        bob_left.set()

    await asyncio.gather(ann(), bob())
    assert statuses(sandbox) == ["canceled", "canceled"]


@pytest.mark.parametrize("build", [with_agent, with_graph])
@pytest.mark.parametrize("tool", [start(), ("endless", {"prompt": "a"})], ids=["start", "its own tool"])
def test_the_same_order_in_a_later_turn(sandbox, build, tool):
    """Gets the prediction that runs, with «already running»; in the same turn two are two."""
    toolkit = make_toolkit(sandbox, ENDLESS, max_wait=0.2, max_running=9)
    agent = build(in_turns([tool, tool], [tool], AIMessage("ok")), toolkit.get_tools())
    messages = agent.invoke(ASK, thread())["messages"]
    one, two, again = results(messages)
    assert prediction_id(one) != prediction_id(two)
    assert prediction_id(again) in (prediction_id(one), prediction_id(two))
    assert "already running" in again.text
    assert len(jobs(sandbox)) == 2


def test_the_same_order_may_be_allowed(sandbox):
    """By the developer."""
    toolkit = make_toolkit(sandbox, ENDLESS, duplicates="allow", max_running=9)
    agent = with_agent(in_turns([start()], [start()], AIMessage("ok")), toolkit.get_tools())
    agent.invoke(ASK, thread())
    assert len(jobs(sandbox)) == 2


def test_the_same_order_in_a_later_turn_after_a_lost_answer(sandbox):
    """The call has another id, and is refused with the record's key."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    sandbox.drop_next(method="POST")
    agent = with_agent(in_turns([start()], [start()], AIMessage("ok")), toolkit.get_tools())
    lost, again = results(agent.invoke(ASK, thread())["messages"])
    (unknown,) = toolkit.receipt().unknown
    assert unknown.key in lost.text
    assert unknown.key in again.text
    assert sum(request.method == "POST" for request in sandbox.requests) == 1


@pytest.mark.parametrize("build", [with_agent, with_graph])
@pytest.mark.parametrize(("wanted", "predictions"), [(start(), 1), (("generate_image", {"prompt": "a"}), 2)])
def test_a_replayed_checkpoint(sandbox, build, wanted, predictions):
    """Its tool calls are new ones for LangGraph; they join what still runs, and repeat what has ended."""
    toolkit = make_toolkit(sandbox, ENDLESS)
    agent = build(in_turns([wanted], AIMessage("ok"), AIMessage("ok")), toolkit.get_tools())
    agent.invoke(ASK, thread())
    earlier = next(one for one in agent.get_state_history(thread()) if one.next == ("tools",))
    agent.invoke(None, earlier.config)
    assert len(jobs(sandbox)) == predictions


def test_equal_calls_of_one_s_own_in_a_node(sandbox):
    """Nothing tells them apart when the node runs again: they are one start, and the answers say so."""
    toolkit = make_toolkit(sandbox)
    draw = toolkit.get_tools()[0]
    said = []

    def node(state):
        said.extend(draw.invoke({"prompt": "x"}) for _ in range(3))
        return state

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.compile().invoke(ASK, thread())
    assert len(jobs(sandbox)) == 1
    assert ["nothing new was started" in one for one in said] == [False, True, True]


@pytest.mark.parametrize("scope", [lambda _: None, lambda _: "", lambda config: config["no such"]])
def test_a_scope_that_names_no_conversation(sandbox, scope):
    """Nothing is sent: everybody's predictions would be everybody's."""
    toolkit = make_toolkit(sandbox, scope=scope)
    assert "not set up for this conversation" in toolkit.get_tools()[0].invoke({"prompt": "x"})
    assert not sandbox.requests
