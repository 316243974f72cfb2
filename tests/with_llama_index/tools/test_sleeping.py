"""A run sleeps until its prediction has ended: its Context is saved, nothing is held; later it goes on."""

import asyncio
import gc
import json
import os
import threading
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import (
    Context,
    HumanResponseEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)
from llama_index_harness import WARNINGS
from pydantic import BaseModel
from scripted_llm import calling, make_spec
from workflows.errors import WorkflowCancelledByUser

from llama_index_rockai import ApprovalRequiredEvent, resume_workflow, run_until_asleep
from rockai_sandbox import Sandbox
from rockai_transport import Client, ConfigurationError, HostedModel
from rockai_transport.jobs.webhooks import WebhookReceiver
from tests.support.webhook_server import served

SLOW = "you/slow"
SLEEPERS = 1000 if "SOAK" in os.environ else 100
VIDEO = HostedModel("video", SLOW, "Makes a video.", output="text")
ORDERS = [("video", {"prompt": "a"}), ("video", {"prompt": "b"})]
AGENTS = {
    "FunctionAgent": lambda tools, script: FunctionAgent(tools=tools, llm=calling(script)),
    "AgentWorkflow": lambda tools, script: AgentWorkflow.from_tools_or_functions(tools, llm=calling(script)),
}
pytestmark = [pytest.mark.filterwarnings(one) for one in WARNINGS]


def script(said):
    """Order two videos in one message, then say how it went."""
    return " | ".join(said) if said else ORDERS


def order_one(said):
    """Order one video, then say how it went."""
    return said[-1] if said else ORDERS[:1]


class App:
    """An agent, as each of an application's processes makes it anew over what is saved."""

    def __init__(self, sandbox, kind="FunctionAgent", url="https://my.app/rockai", script=script, **settings):
        self.sandbox, self.kind, self.url, self.script = sandbox, kind, url, script
        self.settings = settings
        self.store, self.contexts, self.ends, self.gates = {}, {}, [], {}
        self.done = threading.Event()

        @sandbox.model(SLOW)
        async def make(given, run):
            await run.opened(self.gate(given["prompt"]))
            return f"video of {given['prompt']}"

        self.restart()

    def gate(self, prompt):
        return self.gates.setdefault(prompt, self.sandbox.hold())

    def restart(self, on_event=None):
        settings = {"max_wait": 0.1, "max_running": 2000, "max_starts": 2000, "store": self.store}
        self.toolkit = make_spec(self.sandbox, VIDEO, webhook_url=self.url, **settings | self.settings)
        made = callable(self.kind)
        self.agent = self.kind(self) if made else AGENTS[self.kind](self.toolkit.to_tool_list(), self.script)
        resume = resume_workflow(self.agent, self.toolkit, self.contexts, self.end_of, on_event)
        client = Client(self.sandbox.api_token, self.sandbox.base_url)
        self.receiver = WebhookReceiver(client, self.store, resume)

    async def end_of(self, record, result):
        self.ends.append(str(result))
        self.done.set()

    async def run(self, *, on_event=None, **options):
        asked = {} if isinstance(self.agent, Flow) else {"user_msg": "two videos"}
        handler = self.agent.run(**asked, **options)
        return await run_until_asleep(handler, self.toolkit, self.contexts, on_event)

    def end(self, prompt):
        self.gate(prompt).set()
        return self.sandbox.wait_for(
            lambda it: next(
                (one for one in it.predictions if one.is_terminal and one.input == {"prompt": prompt}), 0
            )
        )

    async def deliver(self, prediction):
        sent = []

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            sent.append(message)

        query = urlsplit(prediction.webhook).query.encode()
        await self.receiver({"type": "http", "method": "POST", "query_string": query}, receive, send)
        return sent[0]["status"]


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_two_sleeping_calls_go_on_after_a_restart(sandbox, kind, order):
    """In whichever order they end, each is started once, and the agent says both; its memory is as it was."""
    app = App(sandbox, kind)
    assert await app.run() is None
    for prompt in order:
        assert len(app.contexts) == 1
        app.restart()
        assert await app.deliver(app.end(prompt)) == 200
    (said,) = app.ends
    assert "video of a" in said
    assert "video of b" in said
    assert app.contexts == {}
    assert len(sandbox.predictions) == 2


async def test_what_is_no_handler_is_refused(sandbox):
    """Such as the result that was awaited already."""
    with pytest.raises(ConfigurationError, match="Pass what agent"):
        await run_until_asleep("the answer", make_spec(sandbox), {})


def test_what_is_no_workflow_is_refused_at_once(sandbox):
    """Found only when a run is resumed, it would sleep forever."""
    spec = make_spec(sandbox)
    for workflow in (spec, [], FunctionAgent):
        with pytest.raises(ConfigurationError, match="resume_workflow needs an agent or a workflow, not "):
            resume_workflow(workflow, spec, {})


async def test_what_is_no_toolkit_or_mapping_is_refused_at_the_beginning(sandbox):
    """An AttributeError came at the end, in place of the run's result. Nothing was asked, nothing runs on."""
    spec, asked = make_spec(sandbox), []
    alike = SimpleNamespace(let_go_on=spec.let_go_on)
    for toolkit, contexts in ((spec.to_tool_list(), {}), (alike, {}), ({}, spec), (spec, None)):
        agent = FunctionAgent(tools=[], llm=calling(asked.append))
        with pytest.raises(ConfigurationError, match="Pass the RockAIToolSpec itself"):
            resume_workflow(agent, toolkit, contexts)
        handler = agent.run("go")
        with pytest.raises(ConfigurationError, match="Pass the RockAIToolSpec itself"):
            await run_until_asleep(handler, toolkit, contexts)
        with pytest.raises(WorkflowCancelledByUser):
            await handler
    assert asked == []


@pytest.mark.parametrize("kind", AGENTS)
async def test_racing_deliveries_and_sweeps_resume_once(sandbox, kind):
    """Five deliveries of each at once, and sweeps in between: one end, of two starts."""
    app = App(sandbox, kind)
    await app.run()
    deliveries = [app.deliver(one) for one in (app.end("a"), app.end("b")) for _ in range(5)]
    await asyncio.gather(*deliveries, *(app.receiver.sweep(older_than=0) for _ in range(2)))
    assert len(app.ends) == 1
    assert len(sandbox.predictions) == 2


@pytest.mark.parametrize("webhooks", ["in order", "twice", "out of order", "forged", "never"])
def test_the_service_calls(webhooks):
    """Whatever the service does with its webhooks, the run goes on, once; by a sweep where none comes."""
    apps = []
    with Sandbox(webhooks=webhooks) as sandbox, served(apps) as url:
        app = App(sandbox, url=url)
        apps.append(app.receiver)
        asyncio.run(app.run())
        app.end("a")
        app.end("b")
        if webhooks == "never":
            asyncio.run(app.receiver.sweep(older_than=0))
        assert app.done.wait(10)
        sandbox.wait_for(lambda it: webhooks == "never" or len(it.deliveries) > 1)
        assert len(app.ends) == 1
        assert len(sandbox.predictions) == 2


async def test_a_delivery_before_the_context_is_saved_is_kept(sandbox):
    """It waits until there is something to resume."""
    app = App(sandbox)
    saved = app.contexts
    app.contexts = {}
    await app.run()
    delivery = asyncio.create_task(app.deliver(app.end("a")))
    app.end("b")
    await asyncio.sleep(0.3)
    assert not delivery.done()
    saved.update(app.contexts)
    assert await delivery == 200
    assert len(app.ends) == 1


async def test_sleeping_is_no_abort(sandbox):
    """The handler is ended, and a hook for aborts cancels nothing; a run that is canceled does not sleep."""
    app = App(sandbox)
    async with app.toolkit.leaving_nothing_running():
        handler = app.toolkit.cancel_on_abort(app.agent.run("two videos"))
        assert await run_until_asleep(handler, app.toolkit, app.contexts) is None
        await asyncio.sleep(0.1)
    assert {one.status for one in sandbox.predictions} == {"processing"}


async def test_a_caller_that_leaves_aborts_the_run(sandbox):
    """While its tools are awake; then nothing is saved, and the predictions are canceled."""
    app = App(sandbox)
    app.toolkit = make_spec(sandbox, VIDEO, webhook_url=app.url, store=app.store)
    app.agent = AGENTS["FunctionAgent"](app.toolkit.to_tool_list(), script)
    running = asyncio.create_task(app.run())
    await asyncio.to_thread(sandbox.wait_for, lambda it: len(it.predictions) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.to_thread(
        sandbox.wait_for, lambda it: all(one.status == "canceled" for one in it.predictions)
    )
    assert app.contexts == {}


async def test_without_a_store_of_its_own_it_polls(sandbox):
    """A record that is in the Context alone cannot be read by a receiver: the tool answers with the id."""
    toolkit = make_spec(sandbox, VIDEO, max_wait=0.1, webhook_url="https://my.app/")
    App(sandbox)
    agent = AGENTS["FunctionAgent"](toolkit.to_tool_list(), script)
    said = await run_until_asleep(agent.run("two videos", ctx=Context(agent)), toolkit, {})
    assert "It goes on by itself" in str(said)


async def test_its_memory_holds_as_much_as_before(sandbox):
    """A long conversation is as long for the LLM that goes on with it."""
    lengths = []

    def agent(app):
        llm = calling(order_one, lengths=lengths)
        return FunctionAgent(tools=app.toolkit.to_tool_list(), llm=llm)

    app = App(sandbox, agent)
    memory = ChatMemoryBuffer.from_defaults(token_limit=50_000)
    memory.set([ChatMessage(role="user", content="word " * 1000) for _ in range(9)])
    assert await app.run(memory=memory) is None
    app.restart()
    await app.deliver(app.end("a"))
    assert lengths == [10, 12]  # its own call, and the answer to that


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("kind", AGENTS)
async def test_what_a_person_has_approved_sleeps(sandbox, kind, order):
    """The answers stay with what is saved, and nobody is asked again; nor is a call carried out twice."""
    app = App(sandbox, kind, approval=True)
    asked = []

    async def approve(event):
        if isinstance(event, ApprovalRequiredEvent):
            asked.append(event.input["prompt"])
            return HumanResponseEvent(response="yes", key=event.key)
        return None

    assert await app.run(on_event=approve) is None
    for prompt in order:
        app.restart()
        await app.deliver(app.end(prompt))
    assert sorted(asked) == ["a", "b"]
    (said,) = app.ends
    assert said.count("video of a") == said.count("video of b") == 1
    assert len(sandbox.predictions) == 2


async def test_a_person_is_asked_after_a_run_was_woken(sandbox):
    """What `on_event` returns is their answer, in the process that goes on too."""
    turns = [ORDERS[:1], ORDERS[1:], "not twice"]
    app = App(sandbox, script=lambda said: turns[len(said)], approval=True)

    def answer(word):
        return lambda event: (
            HumanResponseEvent(response=word, key=event.key)
            if isinstance(event, ApprovalRequiredEvent)
            else None
        )

    assert await app.run(on_event=answer("yes")) is None
    app.restart(on_event=answer("no"))
    await app.deliver(app.end("a"))
    assert app.ends == ["not twice"]
    assert len(sandbox.predictions) == 1


class Flow(Workflow):
    """A workflow of one's own, whose step orders one video and then another."""

    def __init__(self, app):
        super().__init__(timeout=None)
        (self.tool,) = app.toolkit.to_tool_list(["video"])

    @step
    async def film(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=[(await self.tool.acall(prompt=one)).content for one in "ab"])


class TypedState(BaseModel):
    count: int = 0


class TypedFlow(Flow):
    """The same, with a typed state, which has no room for the Context's name."""

    @step
    async def film(self, ctx: Context[TypedState], ev: StartEvent) -> StopEvent:
        return await super().film(ctx, ev)


@pytest.mark.parametrize(
    ("kind", "scope"),
    [(Flow, None), (Flow, "mine"), (TypedFlow, "mine"), (TypedFlow, lambda context: "mine")],
)
async def test_a_step_of_one_s_own_sleeps(sandbox, kind, scope):
    """Once for each of its calls, across restarts, and each is started once."""
    app = App(sandbox, kind, scope=scope)
    assert await app.run() is None
    for prompt in "ab":
        app.restart()
        await app.deliver(app.end(prompt))
    (said,) = app.ends
    assert "video of a" in said
    assert "video of b" in said
    assert len(sandbox.predictions) == 2


class SilentFlow(Flow):
    """The same, which has nothing to say."""

    @step
    async def film(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await super().film(ctx, ev)
        return StopEvent()


async def test_an_end_without_a_result_is_an_end(sandbox):
    """The application is told of it; a run that sleeps again is none."""
    app = App(sandbox, SilentFlow)
    assert await app.run() is None
    for prompt in "ab":
        assert app.ends == []
        await app.deliver(app.end(prompt))
    assert app.ends == ["None"]


@pytest.mark.parametrize("words", [("yes", "yes"), ("no", "yes"), ("yes", "no")])
async def test_a_step_that_asks_twice_sleeps(sandbox, words):
    """A person is asked once for each start, whatever they have answered to the other."""
    answers, asked = dict(zip("ab", words, strict=True)), []

    def answer(event):
        if not isinstance(event, ApprovalRequiredEvent):
            return None
        asked.append(event.input["prompt"])
        return HumanResponseEvent(response=answers[asked[-1]], key=event.key)

    app = App(sandbox, Flow, approval=True)
    assert await app.run(on_event=answer) is None
    approved = [one for one in "ab" if answers[one] == "yes"]
    for prompt in approved:
        app.restart(on_event=answer)
        await app.deliver(app.end(prompt))
    (said,) = app.ends
    assert [f"video of {one}" in said for one in "ab"] == [word == "yes" for word in words]
    assert asked == ["a", "b"]
    assert len(sandbox.predictions) == len(approved)


async def test_who_is_not_known_again_does_not_sleep(sandbox):
    """A typed state forgets the Context's name: restored, it would order all anew. ``scope=`` helps."""
    said = await App(sandbox, TypedFlow).run()
    assert ["It goes on by itself" in one for one in said] == [True, True]


async def test_two_contexts_of_one_scope_sleep(sandbox):
    """Each is saved by its own name, and each goes on; one budget is for both."""
    left = [ORDERS[:1], ORDERS[1:]]
    app = App(sandbox, script=lambda said: said[-1] if said else left.pop(0), scope="all")
    assert await asyncio.gather(app.run(), app.run()) == [None, None]
    assert len(app.contexts) == 2
    app.restart()
    await asyncio.gather(*map(app.deliver, [app.end("a"), app.end("b")]))
    assert sorted(one[-1] for one in app.ends) == ["a", "b"]
    assert app.contexts == {}


async def test_a_run_that_nobody_saves_does_not_sleep(sandbox):
    """One that is awaited itself, or by a tool of another agent's: nobody would resume it."""
    app = App(sandbox, script=order_one)
    assert "It goes on by itself" in str(await app.agent.run("a video"))

    async def ask() -> str:
        return str(await app.agent.run("a video"))

    tools = [FunctionTool.from_defaults(async_fn=ask)]
    outer = FunctionAgent(tools=tools, llm=calling(lambda said: said[-1] if said else [("ask", {})]))
    assert "It goes on by itself" in str(await run_until_asleep(outer.run("ask"), app.toolkit, app.contexts))
    assert app.contexts == {}


async def test_a_run_that_waits_for_a_person_does_not_sleep(sandbox):
    """Nothing is saved, and nothing ended, where only an approval is awaited."""
    app = App(sandbox)
    app.toolkit = make_spec(sandbox, VIDEO, approval=True, webhook_url=app.url, store=app.store)
    app.agent = AGENTS["FunctionAgent"](app.toolkit.to_tool_list(), script)
    asked, events = asyncio.Event(), []

    def note(event):
        events.append(event)
        if isinstance(event, ApprovalRequiredEvent):
            asked.set()

    handler = app.agent.run("two videos")
    running = asyncio.create_task(run_until_asleep(handler, app.toolkit, app.contexts, note))
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.sleep(0.1)  # it is idle by now
    assert not running.done()
    assert app.contexts == {}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_sleeping_runs_hold_nothing(sandbox):
    """No task or thread is left of them; a delivery wakes one, without a look before."""
    app = App(sandbox, script=order_one, max_wait=0.05)  # one look, and it sleeps
    few = 10
    others = set(threading.enumerate())  # a thread of a test before may still end
    for _ in range(SLEEPERS // few):
        assert await asyncio.gather(*(app.run() for _ in range(few))) == [None] * few
    await app.toolkit.aclose()
    gc.collect()
    assert len(app.contexts) == SLEEPERS
    assert len(asyncio.all_tasks()) == 1
    theirs = ("asyncio_", "rockai-sandbox")
    assert [one for one in set(threading.enumerate()) - others if not one.name.startswith(theirs)] == []
    asked = sandbox.requests[-1].number
    await app.deliver(app.end("a"))
    assert len(app.ends) == 1
    assert len(app.contexts) == SLEEPERS - 1
    assert sandbox.requests[-1].number - asked == 2  # the receiver's look, and the woken tool's


async def test_what_is_saved_holds_no_secret(sandbox):
    """Neither the Context nor the records."""
    app = App(sandbox)
    await app.run()
    secret = urlsplit(sandbox.predictions[0].webhook).query.rpartition("=")[2]
    assert len(secret) > 40
    assert secret not in json.dumps([app.contexts, app.store])
