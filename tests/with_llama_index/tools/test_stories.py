"""Five stories of agents that make videos, with every kind of agent and of LLM.

LlamaIndex's agents are workflows, which are async only: there is no blocking form to tell them in.
"""

import asyncio
import signal
import threading
import time

import av
import pytest
from llama_index_harness import AGENTS, DRIVERS, WARNINGS, AgentHarness
from scripted_llm import address, jobs, make_spec, make_statue, prediction_id
from workflows.errors import WorkflowCancelledByUser, WorkflowTimeoutError

from rockai_sandbox import FAILS_HALF_WAY, NEVER_ENDS
from rockai_transport import HostedModel, Prediction

pytestmark = [pytest.mark.filterwarnings(one) for one in WARNINGS]

FILM = "studio/film"
MORNING = HostedModel("morning", FILM, "A film of dawn.", output="text", defaults={"prompt": "morning"})
EVENING = HostedModel("evening", FILM, "A film of dusk.", output="text", defaults={"prompt": "evening"})
BROKEN = HostedModel("broken", FAILS_HALF_WAY, "Fails.", output="text")
COLD = HostedModel("cold", "cold/model", "Cold.", output="text")
ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text", defaults={"prompt": "a"})
CANCEL_GRACE = 2.5
"""Two seconds for a cancellation to be at the service, and some for a busy machine."""


@pytest.fixture(params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture(params=AGENTS)
def harness(request, sandbox, driver):
    """A cell of the matrix."""
    return AgentHarness(sandbox, request.param, driver)


def statuses(sandbox):
    return [one.status for one in jobs(sandbox)]


async def test_a_talking_statue(sandbox, tmp_path, harness):
    """Still, animation, and a playable MP4; the caller has seen the progress of both."""
    harness.set_agent(make_statue, make_spec(sandbox, save_to=tmp_path))
    text = await harness.ask(
        "Make a video of a talking porcelain statue: generate_image with the prompt 'a porcelain statue', "
        "then animate_image with the prompt 'the statue talks' and 8 frames."
    )
    assert statuses(sandbox) == ["succeeded", "succeeded"]
    (path,) = tmp_path.glob("*.mp4")
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8
    assert str(path) in text
    still, video = harness.came
    assert address(still.content).endswith(".png")
    assert jobs(sandbox)[1].input["image"] == address(still.content)
    assert isinstance(video.raw_output, Prediction)
    assert video.raw_output.output == jobs(sandbox)[1].output

    assert {event.model for event in harness.told} == {"generate_image", "animate_image"}
    of_video = [event for event in harness.told if event.model == "animate_image"]
    assert (of_video[0].status, of_video[-1].status) == ("starting", "succeeded")
    fractions = [event.progress for event in of_video if event.progress is not None]
    assert fractions == sorted(fractions)
    assert len(fractions) > 2
    assert all(event.elapsed >= 0 for event in harness.told)


def two_and_cancel(said):
    """Start two films, cancel the second, wait for the first, list both."""
    match len(said):
        case 0 | 1:
            name = ("morning", "evening")[len(said)]
            return [("start_prediction", {"model": name, "input": {}})]
        case 2:
            return [("cancel_prediction", {"prediction_id": prediction_id(said[1])})]
        case 3:
            return [("wait_for_prediction", {"prediction_id": prediction_id(said[0])})]
        case 4:
            return [("list_predictions", {})]
    return said[-1]


async def test_start_two_cancel_the_second(sandbox, harness):
    """One has succeeded, one is canceled, and the agent was told so."""
    never = sandbox.hold()

    @sandbox.model(FILM)
    def film(given):
        if given["prompt"] == "evening":
            never.wait()  # until it is canceled
        return "a film"

    harness.set_agent(two_and_cancel, make_spec(sandbox, MORNING, EVENING))
    text = await harness.ask(
        "start_prediction of the model morning, then start_prediction of the model evening.",
        "cancel_prediction {1}.",
        "wait_for_prediction {0}, then list_predictions.",
    )
    ended = {one.input["prompt"]: one.status for one in jobs(sandbox)}
    assert ended == {"morning": "succeeded", "evening": "canceled"}
    assert "(morning): succeeded" in text
    assert "(evening): canceled" in text
    # Parallel starts are listed in the order in which they came, which is not promised.
    listed = {one.id: one.status for one in harness.came[-1].raw_output}
    assert listed == {one.id: one.status for one in jobs(sandbox)}


async def test_a_failing_model_is_explained(sandbox, harness):
    """The agent reads the model's own words and tells them, the program gets the failed prediction."""
    harness.set_agent(
        lambda said: said[-1] if said else [("broken", {"prompt": "x"})],
        make_spec(sandbox, BROKEN),
    )
    text = await harness.ask("Use broken with the prompt 'x'.")
    (failed,) = harness.came
    assert "failed" in text
    assert jobs(sandbox)[0].error in text
    assert "Traceback" not in text
    assert failed.is_error
    assert failed.raw_output.status == "failed"
    assert statuses(sandbox) == ["failed"]


async def test_a_cold_model_is_waited_for_across_two_turns(sandbox, harness):
    """At the bound the agent has an id and a status; in a later run it waits for the same prediction."""
    warm = sandbox.hold()

    @sandbox.model(COLD.model, cold_start=warm)
    def speak(given):
        return "warm words"

    def script(said):
        if harness.turn == 1:
            return said[-1] if said else [("cold", {"prompt": "x"})]
        if said and "warm words" in said[-1]:
            return said[-1]
        return [("wait_for_prediction", {"prediction_id": harness.ids[0], "timeout": 900})]

    harness.set_agent(script, make_spec(sandbox, COLD, max_wait=0.3))
    first = await harness.ask("Use cold with the prompt 'x'.")
    assert "still starting" in first
    assert "Do not start it again" in first
    assert harness.ids == [jobs(sandbox)[0].id]
    warm.set()
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["succeeded"])
    assert "warm words" in await harness.ask("Is it ready? wait_for_prediction {0}.")
    assert statuses(sandbox) == ["succeeded"]


def start_and_run(said):
    """Start one endless prediction, then wait for another."""
    return (
        [("endless", {"prompt": "b"})] if said else [("start_prediction", {"model": "endless", "input": {}})]
    )


START_AND_RUN = "start_prediction of the model endless, then endless with the prompt 'b'."


async def cancel_run(handler):
    """As a program that shows a button to stop."""
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler


async def cancel_task(handler):
    """As asyncio does to the program that awaits a run, at Ctrl-C too."""

    async def program():
        await handler

    task = asyncio.create_task(program())
    await asyncio.sleep(0)  # one turn of the loop, in which it begins to wait
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def aborted(sandbox, harness, abort):
    """Abort a run once both predictions are under way; see that they end in time."""
    harness.set_agent(start_and_run, make_spec(sandbox, ENDLESS))
    handler = harness.run(START_AND_RUN)
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing"] * 2)
    began = time.monotonic()
    await abort(handler)
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["canceled"] * 2)
    assert time.monotonic() - began < CANCEL_GRACE


async def test_an_aborted_run_leaves_nothing_running(sandbox, harness):
    """`cancel_run` ends at the service what the tool waited for, and what the Context had started before."""
    await aborted(sandbox, harness, cancel_run)


@pytest.mark.parametrize("driver", ["scripted"])
async def test_an_agent_s_time_out_leaves_nothing_running(sandbox, harness):
    """The run's own limit reaches the tool as a cancellation."""
    harness.set_agent(start_and_run, make_spec(sandbox, ENDLESS), timeout=0.5)
    with pytest.raises(WorkflowTimeoutError):
        await harness.run(START_AND_RUN)
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["canceled"] * 2, CANCEL_GRACE)


@pytest.mark.parametrize("driver", ["scripted"])
async def test_a_canceled_task_leaves_nothing_running(sandbox, harness):
    """Canceling what awaits the run is a cancellation too."""
    await aborted(sandbox, harness, cancel_task)


@pytest.mark.parametrize("driver", ["scripted"])
async def test_a_canceled_listener_ends_its_run(sandbox, harness):
    """Who only listens to the stream is not the run, for LlamaIndex: `cancel_run` on the way out ends it."""
    harness.set_agent(start_and_run, make_spec(sandbox, ENDLESS))

    async def listen():
        handler = harness.run(START_AND_RUN)
        try:
            async for _ in handler.stream_events():
                pass
        finally:
            await handler.cancel_run()

    task = asyncio.create_task(listen())
    await asyncio.to_thread(sandbox.wait_for, lambda it: statuses(it) == ["processing"] * 2)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < CANCEL_GRACE
    assert statuses(sandbox) == ["canceled", "canceled"]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal reaches a thread")
@pytest.mark.parametrize("driver", ["scripted"])
def test_ctrl_c_leaves_nothing_running(sandbox, harness):
    """A program that listens to a run's stream is stopped by Ctrl-C, and the run with it."""

    def press():
        sandbox.wait_for(lambda it: statuses(it) == ["processing"] * 2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    async def program():
        harness.set_agent(start_and_run, make_spec(sandbox, ENDLESS))
        await harness.ask(START_AND_RUN)

    presses = threading.Thread(target=press)
    presses.start()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    presses.join()
    assert statuses(sandbox) == ["canceled", "canceled"]
