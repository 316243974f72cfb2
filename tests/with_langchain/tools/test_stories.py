"""Five stories of agents that make videos, with every kind of agent, of model and of running."""

import asyncio
import signal
import threading
import time

import av
import pytest
from langchain_core.messages import AIMessage
from langchain_harness import AGENTS, DRIVERS, AgentHarness
from scripted import address, call, jobs, make_statue, make_toolkit, prediction_id, results

from langchain_rockai.tools import PROGRESS_EVENT
from rockai_sandbox import FAILS_HALF_WAY, NEVER_ENDS
from rockai_transport import HostedModel, Prediction

FILM = "studio/film"
MORNING = HostedModel("morning", FILM, "A film of dawn.", output="text", defaults={"prompt": "morning"})
EVENING = HostedModel("evening", FILM, "A film of dusk.", output="text", defaults={"prompt": "evening"})
BROKEN = HostedModel("broken", FAILS_HALF_WAY, "Fails.", output="text")
COLD = HostedModel("cold", "cold/model", "Cold.", output="text")
ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text", defaults={"prompt": "a"})
CANCEL_GRACE = 2.5
"""Two seconds for a cancellation to be at the service, and some for a busy machine."""

can_be_interrupted = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="no signal reaches a thread"
)


@pytest.fixture(params=["await", "blocking"])
def asynchronous(request):
    return request.param == "await"


@pytest.fixture(params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture(params=AGENTS)
def agent(request):
    return request.param


@pytest.fixture
def harness(sandbox, agent, driver, asynchronous):
    """A cell of the matrix."""
    made = AgentHarness(sandbox, agent, driver, asynchronous=asynchronous)
    yield made
    made.close()


# Each kind of agent, of model and of running beside each of the others: one half of all cells.
every_pair = pytest.mark.parametrize(
    ("agent", "driver", "asynchronous"),
    [
        pytest.param(agent, driver, (one + other) % 2 == 0, id=f"{agent}-{driver}")
        for one, agent in enumerate(AGENTS)
        for other, driver in enumerate(DRIVERS)
    ],
)


def statuses(sandbox):
    return [one.status for one in jobs(sandbox)]


@every_pair
def test_a_talking_statue(sandbox, toolkit, tmp_path, harness):
    """Still, animation, and a playable MP4; the caller has seen the progress of both."""
    harness.set_agent(make_statue, toolkit)
    messages = harness.ask(
        "Make a video of a talking porcelain statue: generate_image with the prompt 'a porcelain statue', "
        "then animate_image with the prompt 'the statue talks' and 8 frames."
    )
    still, video = results(messages)
    assert statuses(sandbox) == ["succeeded", "succeeded"]
    assert address(still).endswith(".png")
    (path,) = (tmp_path / "out").glob("*.mp4")
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8
    assert str(path) in messages[-1].text
    assert isinstance(video.artifact, Prediction)
    assert video.artifact.output == jobs(sandbox)[1].output
    assert jobs(sandbox)[1].input["image"] == address(still)
    assert Prediction(**results(harness.saved())[1].artifact) == video.artifact

    assert {event["type"] for event in harness.told} == {PROGRESS_EVENT}
    assert {event["model"] for event in harness.told} == {"generate_image", "animate_image"}
    of_video = [event for event in harness.told if event["model"] == "animate_image"]
    assert of_video[0]["status"] == "starting"
    assert of_video[-1]["status"] == "succeeded"
    fractions = [event["progress"] for event in of_video if event["progress"] is not None]
    assert fractions == sorted(fractions)
    assert len(fractions) > 2
    assert all(event["elapsed"] >= 0 for event in harness.told)


def two_and_cancel(messages):
    """Start two films at once, cancel the second, wait for the first, list both."""
    done = results(messages)
    match len(done):
        case 0:
            return call(
                *(("start_prediction", {"model": name, "input": {}}) for name in ("morning", "evening"))
            )
        case 2:
            return call(("cancel_prediction", {"prediction_id": prediction_id(done[1])}))
        case 3:
            return call(("wait_for_prediction", {"prediction_id": prediction_id(done[0])}))
        case 4:
            return call(("list_predictions", {}))
    return AIMessage(done[-1].text)


@every_pair
def test_start_two_cancel_the_second(sandbox, harness):
    """One has succeeded, one is canceled, and the agent was told so."""
    never = sandbox.hold()

    @sandbox.model(FILM)
    def film(given):
        if given["prompt"] == "evening":
            never.wait()  # until it is canceled
        return "a film"

    harness.set_agent(two_and_cancel, make_toolkit(sandbox, MORNING, EVENING))
    messages = harness.ask(
        "start_prediction of the model morning, then start_prediction of the model evening.",
        "cancel_prediction {1}.",
        "wait_for_prediction {0}, then list_predictions.",
    )
    ended = {one.input["prompt"]: one.status for one in jobs(sandbox)}
    assert ended == {"morning": "succeeded", "evening": "canceled"}
    assert "(morning): succeeded" in messages[-1].text
    assert "(evening): canceled" in messages[-1].text
    # Parallel starts are listed in the order in which they came, which is not promised.
    listed = {one.id: one.status for one in results(messages)[-1].artifact}
    assert listed == {one.id: one.status for one in jobs(sandbox)}


@every_pair
def test_a_failing_model_is_explained(sandbox, harness):
    """The agent reads the model's own words and tells them, the program gets the failed prediction."""

    def script(messages):
        done = results(messages)
        return AIMessage(done[-1].text) if done else call(("broken", {"prompt": "x"}))

    harness.set_agent(script, make_toolkit(sandbox, BROKEN))
    messages = harness.ask("Use broken with the prompt 'x'.")
    (answer,) = results(messages)
    assert "failed" in answer.text
    assert jobs(sandbox)[0].error in answer.text
    assert jobs(sandbox)[0].error in messages[-1].text
    assert "Traceback" not in answer.text
    assert answer.status == "error"
    assert answer.artifact.status == "failed"
    assert statuses(sandbox) == ["failed"]


@every_pair
def test_a_cold_model_is_waited_for_across_two_turns(sandbox, harness):
    """At the bound the agent has an id and a status; asked again, it waits for the same prediction."""
    warm = sandbox.hold()

    @sandbox.model(COLD.model, cold_start=warm)
    def speak(given):
        return "warm words"

    def script(messages):
        done = results(messages)
        if not done:
            return call(("cold", {"prompt": "x"}))
        if harness.turn == 2 and len(done) == 1:
            return call(("wait_for_prediction", {"prediction_id": prediction_id(done[0]), "timeout": 900}))
        return AIMessage(done[-1].text)

    harness.set_agent(script, make_toolkit(sandbox, COLD, max_wait=0.3))
    first = harness.ask("Use cold with the prompt 'x'.")[-1].text
    assert "still starting" in first
    assert "Do not start it again" in first
    assert harness.ids == [jobs(sandbox)[0].id]
    warm.set()
    sandbox.wait_for(lambda it: statuses(it) == ["succeeded"])
    assert "warm words" in harness.ask("Is it ready? wait_for_prediction {0}.")[-1].text
    assert statuses(sandbox) == ["succeeded"]


def start_and_run(messages):
    """Start one endless prediction, then wait for another."""
    if results(messages):
        return call(("endless", {"prompt": "b"}))
    return call(("start_prediction", {"model": "endless", "input": {}}))


START_AND_RUN = "start_prediction of the model endless, then endless with the prompt 'b'."


def both_run(sandbox):
    return statuses(sandbox) == ["processing"] * 2


def both_are_known(sandbox):
    """Whether the second one was looked at too: its answer was read, and what started it waits for it."""
    looks = [request.path for request in sandbox.requests if request.method == "GET"]
    return both_run(sandbox) and any(path.endswith(jobs(sandbox)[1].id) for path in looks)


@pytest.fixture
def interrupt(sandbox):
    """Press Ctrl-C, once both predictions are under way, and the client knows it."""

    def press():
        sandbox.wait_for(both_are_known)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    presses = threading.Thread(target=press)
    yield presses.start
    presses.join()


async def cancel(harness):
    """Cancel a run as its own program would, once both predictions are under way."""
    task = asyncio.create_task(harness.ainvoke(START_AND_RUN))
    await asyncio.to_thread(harness.sandbox.wait_for, both_run)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < CANCEL_GRACE


@pytest.mark.parametrize("asynchronous", [True], ids=["await"])
def test_an_aborted_run_leaves_nothing_running(sandbox, harness):
    """What the canceled tool waited for ends at the service, and what the conversation had started before."""
    harness.set_agent(start_and_run, make_toolkit(sandbox, ENDLESS))
    harness.run(cancel(harness))
    assert statuses(sandbox) == ["canceled", "canceled"]


@can_be_interrupted
@pytest.mark.parametrize("asynchronous", [False], ids=["blocking"])
def test_an_aborted_sync_graph_ends_its_tool_at_the_bound(sandbox, harness, interrupt):
    """Ctrl-C does not reach the tool's thread: it ends at max_wait, and the ids remain, to be canceled by."""
    toolkit = make_toolkit(sandbox, ENDLESS, max_wait=0.4)
    harness.set_agent(start_and_run, toolkit)
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        harness.invoke(START_AND_RUN)
    assert statuses(sandbox) == ["processing", "processing"]
    left = toolkit.receipt().started
    assert [one.prediction_id for one in left] == [one.id for one in jobs(sandbox)]
    toolkit.cancel_running()
    assert statuses(sandbox) == ["canceled", "canceled"]


async def leave_the_stream(harness):
    """Stop listening to a run's stream, and close it."""
    stream = harness.stream(START_AND_RUN)
    async for _ in stream:
        if both_run(harness.sandbox):
            break
    began = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - began < CANCEL_GRACE


async def time_out(harness):
    """Let LangGraph's own limit for a step be reached."""
    harness.set_step_timeout(0.5)
    with pytest.raises(TimeoutError):
        await harness.ainvoke(START_AND_RUN)


@pytest.mark.parametrize("abort", [leave_the_stream, time_out])
@pytest.mark.parametrize("driver", ["scripted"])
@pytest.mark.parametrize("asynchronous", [True], ids=["await"])
def test_every_way_to_abort_is_a_cancellation(sandbox, harness, abort):
    """A stream that is closed and a step that takes too long leave nothing running either."""
    harness.set_agent(start_and_run, make_toolkit(sandbox, ENDLESS))
    harness.run(abort(harness))
    assert statuses(sandbox) == ["canceled", "canceled"]


@can_be_interrupted
@pytest.mark.parametrize("driver", ["scripted"])
@pytest.mark.parametrize("asynchronous", [True], ids=["await"])
def test_ctrl_c_is_a_cancellation(sandbox, harness, interrupt):
    """Ctrl-C in an async program leaves nothing running."""
    harness.set_agent(start_and_run, make_toolkit(sandbox, ENDLESS))
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        harness.run(harness.ainvoke(START_AND_RUN))
    assert statuses(sandbox) == ["canceled", "canceled"]
