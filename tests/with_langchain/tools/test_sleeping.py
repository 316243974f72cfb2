"""A graph sleeps until its prediction has ended, holds nothing meanwhile, and goes on by the delivery."""

import asyncio
import gc
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.store.memory import InMemoryStore
from langgraph.types import interrupt
from scripted import ScriptedModel, call, make_toolkit, results
from starlette.applications import Starlette
from starlette.routing import Mount

from langchain_rockai import resume_graph
from rockai_sandbox import Sandbox
from rockai_transport import Client, ConfigurationError, HostedModel
from rockai_transport.jobs.webhooks import WebhookReceiver
from tests.support.webhook_server import served

SLOW = "you/slow"
FILES = Path("/proc/self/fd")
SLEEPERS = 1000 if "SOAK" in os.environ else 100
WEBHOOK = "https://my.app/rockai"
VIDEO = HostedModel("video", SLOW, "Makes a video.", output="text")


def count_files():
    return len(list(FILES.iterdir()))


def script(messages):
    """Order two videos in one message, then say how it went."""
    done = results(messages)
    return AIMessage(" | ".join(one.text for one in done)) if done else call(*ORDERS)


TWO_VIDEOS = HumanMessage("two videos, please")
ORDERS = [("video", {"prompt": "a"}), ("video", {"prompt": "b"})]


def agent_of(kind, model, tools, **saved):
    """`create_agent`, whose calls are tasks of their own, or a plain `ToolNode`, whose calls are one task.

    "no model" is a graph of tools alone, which is given their calls.
    """
    if kind == "create_agent":
        return create_agent(model, tools, **saved)
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(tools))
    if kind == "no model":
        graph.add_edge(START, "tools")
        return graph.compile(**saved)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition, ["tools", END])
    graph.add_edge("tools", "model")
    return graph.compile(**saved)


class Service:
    """A sandbox whose videos end when they are told to."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.gates = {}

        @sandbox.model(SLOW)
        async def make(given, run):
            gate = self.gates.setdefault(given["prompt"], sandbox.hold())
            await run.opened(gate)
            return f"video of {given['prompt']}"

    def end(self, prompt):
        self.gates.setdefault(prompt, self.sandbox.hold()).set()
        return self.sandbox.wait_for(
            lambda it: next(
                (one for one in it.predictions if one.input == {"prompt": prompt} and one.is_terminal), None
            )
        )


class App:
    """A graph, as each of an application's processes makes it anew over what is saved."""

    def __init__(self, sandbox, kind="create_agent", url=WEBHOOK, script=script, max_wait=0.1):
        self.sandbox, self.kind, self.url, self.script, self.max_wait = sandbox, kind, url, script, max_wait
        self.saver, self.store = InMemorySaver(), InMemoryStore()
        self.restart()

    def restart(self):
        self.toolkit = make_toolkit(
            self.sandbox,
            VIDEO,
            max_wait=self.max_wait,
            max_running=2000,
            max_starts=2000,
            webhook_url=self.url,
        )
        self.graph = agent_of(
            self.kind,
            ScriptedModel(script=self.script),
            self.toolkit.get_tools(),
            checkpointer=self.saver,
            store=self.store,
        )
        client = Client(self.sandbox.api_token, self.sandbox.base_url)
        self.receiver = WebhookReceiver(client, self.store, self.resume)
        self.done = threading.Event()

    async def resume(self, record, prediction):
        is_resumed = await resume_graph(self.graph)(record, prediction)
        if not self.state(record.thread).next:
            self.done.set()
        return is_resumed

    async def run(self, thread="t", message=TWO_VIDEOS, **options):
        given = {"messages": [message]}
        return await self.graph.ainvoke(given, {"configurable": {"thread_id": thread}, **options})

    async def deliver(self, prediction):
        """Call the receiver as the service does; give the status."""
        sent = []

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            sent.append(message)

        query = urlsplit(prediction.webhook).query.encode()
        await self.receiver({"type": "http", "method": "POST", "query_string": query}, receive, send)
        return sent[0]["status"]

    def state(self, thread="t"):
        return self.graph.get_state({"configurable": {"thread_id": thread}})


@pytest.fixture
def service(sandbox):
    return Service(sandbox)


@pytest.mark.parametrize("kind", ["create_agent", "ToolNode"])
@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_two_sleeping_calls_go_on_after_a_restart(service, kind, order):
    """In whichever order they end, each is started once, and the agent says both."""
    app = App(service.sandbox, kind)
    result = await app.run()
    assert result["__interrupt__"]
    first, second = order
    app.restart()
    assert await app.deliver(service.end(first)) == 200
    assert app.state().next == ("tools",) * len(app.state().next) != ()
    app.restart()
    assert await app.deliver(service.end(second)) == 200
    assert app.state().next == ()
    said = app.state().values["messages"][-1].text
    assert "video of a" in said
    assert "video of b" in said
    assert len(service.sandbox.predictions) == 2
    assert [len(results(app.state().values["messages"]))] == [2]


async def test_both_have_ended_before_one_is_told(service):
    """The first delivery of two may find both done; the second then does nothing."""
    app = App(service.sandbox, "ToolNode")
    await app.run()
    ended = [service.end("a"), service.end("b")]
    assert await asyncio.gather(*map(app.deliver, ended)) == [200, 200]
    assert app.state().next == ()
    turns = [one for one in app.state().values["messages"] if isinstance(one, AIMessage)]
    assert len(turns) == 2
    assert len(service.sandbox.predictions) == 2


def test_a_graph_that_is_not_compiled_is_refused():
    """At once: its agents would sleep forever."""
    with pytest.raises(ConfigurationError, match="compiled graph, not StateGraph"):
        resume_graph(StateGraph(MessagesState))


async def test_racing_deliveries_and_sweeps_resume_once(service):
    """Five deliveries of each at once, and sweeps in between: the model is asked once more."""
    app = App(service.sandbox)
    await app.run()
    ended = [service.end("a"), service.end("b")]
    deliveries = [app.deliver(one) for one in ended for _ in range(5)]
    await asyncio.gather(*deliveries, *(app.receiver.sweep(older_than=0) for _ in range(2)))
    turns = [one for one in app.state().values["messages"] if isinstance(one, AIMessage)]
    assert len(turns) == 2
    assert app.state().next == ()
    assert len(service.sandbox.predictions) == 2


async def test_a_delivery_before_the_run_is_saved_is_kept(service):
    """It comes while the first run still goes on; the thread is resumed once it is saved."""

    class SlowSaver(InMemorySaver):
        async def aput_writes(self, *args, **kwargs):
            if sleeps():
                await saved.wait()
            return await super().aput_writes(*args, **kwargs)

    def sleeps(*_):
        return any(one.asleep for one in app.toolkit.receipt(store=app.store).started)

    saved = asyncio.Event()
    app = App(service.sandbox)
    app.saver = SlowSaver()
    app.script = lambda messages: (
        AIMessage(results(messages)[-1].text) if results(messages) else call(ORDERS[0])
    )
    app.restart()
    running = asyncio.create_task(app.run())
    await asyncio.to_thread(service.sandbox.wait_for, sleeps)
    delivery = asyncio.create_task(app.deliver(service.end("a")))
    await asyncio.sleep(0.3)
    assert not delivery.done()
    saved.set()
    await running
    assert await delivery == 200
    assert "video of a" in app.state().values["messages"][-1].text


@pytest.mark.parametrize("webhooks", ["in order", "twice", "out of order", "forged", "late", "never"])
def test_the_service_calls(webhooks):
    """Whatever the service does with its webhooks, the thread goes on, once; by a sweep where none comes."""
    apps = []
    with Sandbox(webhooks=webhooks) as sandbox, served(apps) as url:
        service = Service(sandbox)
        app = App(sandbox, url=url)
        apps.append(app.receiver)
        asyncio.run(app.run())
        service.end("a")
        service.end("b")
        if webhooks == "never":
            assert app.toolkit.sweep(app.resume, older_than=0, store=app.store)
        assert app.done.wait(10)
        if webhooks == "forged":
            assert {one.status for one in sandbox.deliveries if one.event == "forged"} == {403}
        turns = [one for one in app.state().values["messages"] if isinstance(one, AIMessage)]
        assert len(turns) == 2
        assert len(sandbox.predictions) == 2


def test_a_sync_graph_sleeps_too(service):
    """Its tools run in threads; it is resumed with ``await``."""
    app = App(service.sandbox)
    config = {"configurable": {"thread_id": "t"}}
    result = app.graph.invoke({"messages": [HumanMessage("two videos")]}, config)
    assert [one.value["type"] for one in result["__interrupt__"]] == ["rockai_sleeping"] * 2
    ended = [service.end("a"), service.end("b")]

    async def deliver():
        for one in ended:
            await app.deliver(one)

    asyncio.run(deliver())
    assert app.state().next == ()


async def test_without_a_checkpointer_or_a_store_it_polls(service):
    """There is nothing to resume from, or nothing that another process could read: it answers with the id."""
    app = App(service.sandbox)
    for saved in ({}, {"store": InMemoryStore()}, {"checkpointer": InMemorySaver()}):
        graph = agent_of("create_agent", ScriptedModel(script=script), app.toolkit.get_tools(), **saved)
        config = {"configurable": {"thread_id": str(saved)}}
        result = await graph.ainvoke({"messages": [HumanMessage("two videos")]}, config)
        assert "It goes on by itself" in result["messages"][-1].text


@pytest.mark.parametrize("how", ["await", "sync"])
async def test_an_interrupt_of_the_program_s_own_passes(service, how):
    """A function of the developer's, which a tool calls, may interrupt the graph too."""

    def ask(prediction_id):
        return interrupt({"may it be looked at?": prediction_id})

    toolkit = make_toolkit(service.sandbox, VIDEO, allowed_ids=ask)
    look = call(("get_prediction", {"prediction_id": "p1"}))
    model = ScriptedModel(script=lambda messages: AIMessage("done") if results(messages) else look)
    graph = create_agent(model, toolkit.get_tools(), checkpointer=InMemorySaver())
    config, given = {"configurable": {"thread_id": how}}, {"messages": [HumanMessage("look")]}
    result = await graph.ainvoke(given, config) if how == "await" else graph.invoke(given, config)
    assert [one.value for one in result["__interrupt__"]] == [{"may it be looked at?": "p1"}]


async def test_the_receiver_is_mounted(service):
    """In an app of Starlette's, as in FastAPI, below a path of its own."""
    apps = []
    with served(apps) as url:
        app = App(service.sandbox, url=f"{url}/hooks")
        apps.append(Starlette(routes=[Mount("/rockai/hooks", app.receiver)]))
        await app.run()
        ended = [service.end("a"), service.end("b")]
        await asyncio.to_thread(service.sandbox.wait_for, lambda it: len(it.deliveries) == len(ended))
        assert await asyncio.to_thread(app.done.wait, 10)
        assert {one.status for one in service.sandbox.deliveries} == {200}


async def test_sleeping_is_no_abort(service):
    """What sleeps goes on, whatever hook for aborts is around the run."""
    app = App(service.sandbox)
    async with app.toolkit.leaving_nothing_running():
        await app.run(callbacks=[app.toolkit.cancel_on_abort()])
    assert {one.status for one in service.sandbox.predictions} == {"processing"}


async def test_the_lifecycle_tools_sleep_as_well(service):
    """``wait_for_prediction`` sleeps; a look and a short wait do not."""

    def ask(messages):
        done = results(messages)
        if not done:
            return call(("start_prediction", {"model": "video", "input": {"prompt": "a"}}))
        prediction = done[0].text.split()[1]
        turns = [
            call(("get_prediction", {"prediction_id": prediction})),
            call(("wait_for_prediction", {"prediction_id": prediction, "timeout": 0.05})),
            call(("wait_for_prediction", {"prediction_id": prediction})),
        ]
        return turns[len(done) - 1] if len(done) <= len(turns) else AIMessage(done[-1].text)

    app = App(service.sandbox, script=ask)
    result = await app.run()
    assert len(results(result["messages"])) == 3
    (interrupt,) = result["__interrupt__"]
    ended = service.end("a")
    assert interrupt.value["prediction_id"] == ended.id
    await app.deliver(ended)
    assert "video of a" in app.state().values["messages"][-1].text


@pytest.mark.skipif(not FILES.is_dir(), reason="needs /proc to count sockets")
async def test_sleeping_threads_hold_nothing(service):
    """No task, thread or socket is left of them; one delivery wakes one, without a look before."""
    app = App(service.sandbox, "no model", max_wait=0.05)  # one look, and it sleeps
    few, open_files = 10, count_files()
    others = set(threading.enumerate())  # a thread of a test before may still end
    for first in range(0, SLEEPERS, few):
        threads = [f"thread-{first + number}" for number in range(few)]
        await asyncio.gather(*(app.run(thread, call(ORDERS[0])) for thread in threads))
    assert count_files() <= open_files + 4 * few  # two for each connection: the server is in this process
    await app.toolkit.aclose()
    gc.collect()
    assert len(service.sandbox.predictions) == SLEEPERS
    assert len(asyncio.all_tasks()) == 1
    theirs = ("asyncio_", "rockai-sandbox")
    assert [one for one in set(threading.enumerate()) - others if not one.name.startswith(theirs)] == []
    asked = service.sandbox.requests[-1].number
    ended = service.end("a")
    await app.deliver(ended)
    records = app.toolkit.receipt(store=app.store).started
    (thread,) = [one.thread for one in records if one.prediction_id == ended.id]
    other = next(one.thread for one in records if one.prediction_id != ended.id)
    assert app.state(thread).next == ()
    assert app.state(other).next != ()
    assert service.sandbox.requests[-1].number - asked == 2  # the receiver's look, and the woken tool's
