"""Whoever leaves early: nothing is left running, nothing is forgotten, nobody is kept for long."""

import asyncio
import gc
import math
import signal
import threading
import time

import pytest
from support.wire_server import WireServer, answer, silence

from rockai_sandbox import NEVER_ENDS
from rockai_transport import HostedModel
from rockai_transport.io.detached import run_detached
from rockai_transport.jobs.admin import ToolkitAdmin
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.toolset import Toolset

FILM = HostedModel("film", "owner/film", "Films.")
PROMPT = {"prompt": "x"}
STARTED = {"id": "p1", "status": "starting"}
CANCELED = {"id": "p1", "status": "canceled"}
CREATE, LOOK, CANCEL = "POST /v1/predictions", "GET /v1/predictions/p1", "POST /v1/predictions/p1/cancel"
HERE = CallContext("here", ("task", "1"))


class Admin(ToolkitAdmin):
    def __init__(self, toolset):
        self._toolset = toolset


@pytest.fixture
def server():
    with WireServer() as running:
        running.route(CREATE, answer(201, STARTED))
        running.route(LOOK, answer(200, STARTED))
        running.route(CANCEL, answer(200, CANCELED))
        yield running


@pytest.fixture
def toolset(server):
    made = Toolset([FILM], api_token="t", base_url=server.base_url)  # noqa: S106
    yield made
    made.close()


async def leave(task):
    """Cancel a task; give the seconds it takes to leave."""
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - began


async def test_leaving_while_waiting_cancels(server, toolset):
    """At the service, at once, and the record knows."""
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
    await asyncio.to_thread(server.wait_for, LOOK)
    assert await leave(task) < 1
    assert server.seen(CANCEL)
    assert Admin(toolset).receipt().started[0].status == "canceled"


async def test_leaving_while_the_start_is_on_its_way(server, toolset):
    """Its answer is waited for, and what it has started is canceled."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(201, STARTED)(exchange)

    server.route(CREATE, slowly)
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
    await asyncio.to_thread(server.wait_for, CREATE)
    asyncio.get_running_loop().call_later(0.3, go_on.set)
    assert await leave(task) < 2
    assert server.lines == [CREATE, CANCEL]
    assert Admin(toolset).receipt().started[0].status == "canceled"


@pytest.mark.parametrize("is_ended", [True, False])
async def test_a_run_that_ends_while_a_start_is_on_its_way(server, toolset, is_ended):
    """What it starts is canceled once its id is known; not where the run lets go on what it has started."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(201, STARTED)(exchange)

    server.route(CREATE, slowly)
    start = {"model": "film", "input": PROMPT}
    task = asyncio.create_task(toolset.acall("start_prediction", start, HERE._replace(run="r")))
    await asyncio.to_thread(server.wait_for, CREATE)
    run = toolset.runs.find("r")
    if is_ended:
        await toolset.aend(run)
    assert run.take() == []
    go_on.set()
    await task
    assert server.lines == [CREATE, CANCEL][: 1 + is_ended]


@pytest.mark.parametrize(("scope", "is_canceled"), [(None, True), ("here", True), ("elsewhere", False)])
async def test_the_developer_cancels_while_a_start_is_on_its_way(server, toolset, scope, is_canceled):
    """It has no id yet: it is canceled when it has."""

    def cancels(exchange):
        Admin(toolset).cancel_running(scope=scope)
        answer(201, STARTED)(exchange)

    server.route(CREATE, cancels)
    start = {"model": "film", "input": PROMPT}
    await toolset.acall("start_prediction", start, HERE)
    assert server.lines == [CREATE, CANCEL][: 1 + is_canceled]


@pytest.mark.parametrize("tool", ["film", "start_prediction"])
async def test_leaving_a_start_that_is_never_answered(server, toolset, tool):
    """After two seconds, and the record says "unknown"."""
    server.route(CREATE, silence)
    arguments = PROMPT if tool == "film" else {"model": "film", "input": PROMPT}
    task = asyncio.create_task(toolset.acall(tool, arguments, HERE))
    await asyncio.to_thread(server.wait_for, CREATE)
    assert 1.5 < await leave(task) < 2.5
    assert len(Admin(toolset).receipt().unknown) == 1


async def test_leaving_while_the_record_of_a_start_is_written(server):
    """Nothing is sent, and the record says so: the same call may be sent later."""
    for round_number in range(20):
        writing, go_on = threading.Event(), threading.Event()

        class Slow(dict):
            def __setitem__(self, key, value, writing=writing, go_on=go_on):
                writing.set()
                go_on.wait(10)
                super().__setitem__(key, value)

        toolset = Toolset([FILM], api_token="t", base_url=server.base_url, store=Slow())  # noqa: S106
        task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
        await asyncio.to_thread(writing.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert Admin(toolset).receipt() == ((), ()), round_number
        toolset.close()
    assert not server.lines


async def test_leaving_takes_two_seconds_in_all(server, toolset):
    """For the answer to the start and for the cancel, which is not answered."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(201, STARTED)(exchange)

    server.route(CREATE, slowly)
    server.route(CANCEL, silence)
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
    await asyncio.to_thread(server.wait_for, CREATE)
    asyncio.get_running_loop().call_later(1.0, go_on.set)
    assert await leave(task) < 2.5
    assert server.lines == [CREATE, CANCEL]


@pytest.mark.parametrize("writes", [0, 1, 2], ids=["the record", "the start", "the end"])
async def test_a_time_limit_that_runs_out_while_a_record_is_written(server, writes):
    """It is told inside of its block, whichever record it is, and nothing of it comes later."""
    go_on = threading.Event()

    class Slow(dict):
        writes = 0

        def __setitem__(self, key, value):
            if self.writes == writes:
                go_on.wait(10)
            self.writes += 1
            super().__setitem__(key, value)

    server.route(CREATE, answer(201, {**STARTED, "status": "succeeded", "output": "x"}))
    toolset = Toolset([FILM], api_token="t", base_url=server.base_url, store=Slow())  # noqa: S106
    asyncio.get_running_loop().call_later(0.5, go_on.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await toolset.acall("film", PROMPT, HERE)
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0
    toolset.close()


async def test_leaving_a_service_that_does_not_answer_the_cancel(server, toolset):
    """Two seconds are given, not more."""
    server.route(CANCEL, silence)
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
    await asyncio.to_thread(server.wait_for, LOOK)
    assert await leave(task) < 2.5
    assert server.seen(CANCEL)


def test_a_start_on_its_way_outlives_the_end_of_the_program(server, toolset):
    """At Ctrl-C `asyncio.run` cancels every task, a workflow's too: what was started ends all the same."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(201, STARTED)(exchange)

    server.route(CREATE, slowly)

    async def program():
        task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
        await asyncio.to_thread(server.wait_for, CREATE)
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        return task  # that nobody awaits

    assert asyncio.run(program()).cancelled()
    assert server.lines == [CREATE, CANCEL]
    assert Admin(toolset).receipt().started[0].status == "canceled"


def test_a_cancel_on_its_way_outlives_the_end_of_the_program(server, toolset):
    """Its answer is waited for, and the record knows."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(200, CANCELED)(exchange)

    server.route(CANCEL, slowly)

    async def program():
        task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
        await asyncio.to_thread(server.wait_for, LOOK)
        task.cancel()
        await asyncio.to_thread(server.wait_for, CANCEL)
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        return task

    assert asyncio.run(program()).cancelled()
    assert Admin(toolset).receipt().started[0].status == "canceled"


async def test_leaving_twice(server, toolset):
    """A second cancellation does not stop what the first one has begun."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(200, CANCELED)(exchange)

    server.route(CANCEL, slowly)
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
    await asyncio.to_thread(server.wait_for, LOOK)
    task.cancel()
    await asyncio.to_thread(server.wait_for, CANCEL)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Admin(toolset).receipt().started[0].status == "canceled"


async def test_a_time_limit_around_a_tool(server, toolset):
    """It is a cancellation like any other, and comes out as what it is."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await toolset.acall("film", PROMPT, HERE)
    assert server.seen(CANCEL)


async def test_a_store_that_fails_while_leaving(server):
    """The prediction is canceled all the same, and the task is canceled, not answered."""

    class Breaking(dict):
        broken = False

        def __iter__(self):
            if self.broken:
                raise OSError("the store is gone")
            return super().__iter__()

        def __setitem__(self, key, value):
            if self.broken:
                raise OSError("the store is gone")
            super().__setitem__(key, value)

    records = Breaking()
    toolset = Toolset([FILM], api_token="t", base_url=server.base_url, store=records)  # noqa: S106
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE._replace(run="run")))
    await asyncio.to_thread(server.wait_for, LOOK)
    records.broken = True
    await leave(task)
    assert server.seen(CANCEL)
    toolset.close()


async def test_a_store_that_hangs_while_leaving(server, caplog):
    """It is given two seconds, then the task is canceled all the same; that is no failure of the tool."""
    hanging, go_on = threading.Event(), threading.Event()

    class Hanging(dict):
        def __setitem__(self, key, value):
            if self:
                hanging.set()
                go_on.wait(10)
            super().__setitem__(key, value)

    toolset = Toolset([FILM], api_token="t", base_url=server.base_url, store=Hanging())  # noqa: S106
    task = asyncio.create_task(toolset.acall("film", PROMPT, HERE))
    await asyncio.to_thread(hanging.wait, 10)
    assert 1.5 < await leave(task) < 2.5
    assert "The tool film failed" not in caplog.text
    go_on.set()
    toolset.close()


def test_ctrl_c_in_a_blocking_call(server, toolset):
    """It cancels at the service and goes on its way."""

    def interrupted(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toolset.call("film", PROMPT, HERE._replace(report=interrupted))
    assert server.seen(CANCEL)
    assert Admin(toolset).receipt().started[0].status == "canceled"


WHATEVER = {
    "it looks": ("get_prediction", {"prediction_id": "p1"}, LOOK, 0),
    "it lists": ("list_predictions", {}, LOOK, 0),
    "it cancels": ("cancel_prediction", {"prediction_id": "p1"}, CANCEL, 1),
    "it saves": ("film", {"prompt": "saved"}, "GET /out.mp4", 0),
    "its start is not answered": ("film", {"prompt": "lost"}, CREATE, 0),
}


@pytest.mark.parametrize("doing", WHATEVER)
async def test_leaving_whatever_the_tool_does(server, tmp_path, doing):
    """What this run has started ends within two seconds, also where the service or the file host hangs."""
    tool, arguments, hanging, canceled_before = WHATEVER[doing]
    toolset = Toolset([FILM], api_token="t", base_url=server.base_url, save_to=tmp_path)  # noqa: S106
    await toolset.acall("start_prediction", {"model": "film", "input": PROMPT}, HERE._replace(run="run"))
    if hanging == "GET /out.mp4":
        file = {"output": f"{server.base_url}/out.mp4".replace("/v1/", "/")}
        server.route(CREATE, answer(201, {"id": "p2", "status": "succeeded", **file}))
    server.route(hanging, silence, *([answer(200, CANCELED)] if hanging == CANCEL else []))
    before = len(server.seen(hanging))
    context = CallContext("here", ("task", "2"), run="run")
    task = asyncio.create_task(toolset.acall(tool, arguments, context))
    await asyncio.to_thread(server.wait_for, hanging, before + 1)
    leaving, began = asyncio.create_task(leave(task)), time.monotonic()
    await asyncio.to_thread(server.wait_for, CANCEL, 1 + canceled_before)
    assert time.monotonic() - began < 1
    assert await leaving < 2.5
    assert len(server.seen(CANCEL)) == 1 + canceled_before
    toolset.close()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("endless", {"prompt": "y"}),
        ("start_prediction", {"model": "endless", "input": {"prompt": "y"}}),
        ("get_prediction", {"prediction_id": "of the first"}),
        ("wait_for_prediction", {"prediction_id": "of the first"}),
        ("cancel_prediction", {"prediction_id": "of the first"}),
        ("list_predictions", {}),
    ],
)
@pytest.mark.parametrize("in_a_file", [False, True])
async def test_leaving_after_any_turn_of_the_loop(sandbox, tmp_path, tool, arguments, in_a_file):
    """Nothing goes on that the run has started, and no start is left "unknown"; at once."""
    for turns in (1, 2, 3, 4, 5, 7, 10, 14, 20, 40, 100):
        toolset = Toolset(
            [HostedModel("endless", NEVER_ENDS, "Never ends.")],
            api_token=sandbox.api_token,
            base_url=sandbox.base_url,
            store=tmp_path / f"{turns}.db" if in_a_file else None,
        )
        context = CallContext("here", ("task", "1"), run=f"run {turns}")
        first = await toolset.acall("start_prediction", {"model": "endless", "input": PROMPT}, context)
        if "prediction_id" in arguments:
            arguments = {"prediction_id": first.result.id}
        task = asyncio.create_task(toolset.acall(tool, arguments, context._replace(call=("task", "2"))))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not task.done():
            assert await leave(task) < 1
            receipt = await Admin(toolset).areceipt()
            assert not receipt.unknown
            assert {one.status for one in receipt.started} == {"canceled"}
            assert {one.status for one in sandbox.predictions} == {"canceled"}
        await Admin(toolset).acancel_running()
        await toolset.aclose()


async def test_leaving_ends_nothing_of_other_runs(server, toolset):
    """Not what an earlier turn of the same conversation has left running on purpose."""
    await toolset.acall("start_prediction", {"model": "film", "input": PROMPT}, HERE._replace(run="first"))
    server.route(CREATE, answer(201, {"id": "p2", "status": "starting"}))
    server.route("GET /v1/predictions/p2", answer(200, {"id": "p2", "status": "starting"}))
    server.route("POST /v1/predictions/p2/cancel", answer(200, {"id": "p2", "status": "canceled"}))
    context = CallContext("here", ("task", "2"), run="second")
    task = asyncio.create_task(toolset.acall("film", {"prompt": "y"}, context))
    await asyncio.to_thread(server.wait_for, "GET /v1/predictions/p2")
    await leave(task)
    assert server.seen("POST /v1/predictions/p2/cancel")
    assert not server.seen(CANCEL)


async def test_a_block_ends_what_was_started_in_it(server, toolset):
    """Also after a normal end; what was started before, or elsewhere meanwhile, goes on."""
    admin = Admin(toolset)
    started, other_done = asyncio.Event(), asyncio.Event()

    async def ann():
        async with admin.leaving_nothing_running():
            await toolset.acall("start_prediction", {"model": "film", "input": PROMPT}, HERE)
            started.set()
            await other_done.wait()
            assert not server.seen(CANCEL)

    async def bob():
        await started.wait()
        async with admin.leaving_nothing_running():
            pass
        other_done.set()

    await asyncio.gather(ann(), bob())
    assert len(server.seen(CANCEL)) == 1


def test_what_is_given_up_ends_before_the_loop_is_closed(caplog):
    """However many turns of the loop its ending takes: a loop that is closed next finds nothing pending."""

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)

    async def leave_it():
        task = asyncio.create_task(run_detached(stubborn(), math.inf, grace=0.05))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_it())
    loop.close()
    gc.collect()
    assert "pending" not in caplog.text


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal reaches a thread")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_a_signal_while_a_blocking_start_is_on_its_way(server, toolset, raised):
    """Ctrl-C, or a handler's exit: the answer is waited for, two seconds at most, and the start canceled."""

    def handler(*_):
        raise raised

    def slowly(exchange):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        interrupted.wait(10)
        answer(201, STARTED)(exchange)

    interrupted = threading.Event()
    threading.Timer(0.3, interrupted.set).start()
    server.route(CREATE, slowly)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(raised):
            toolset.call("film", PROMPT, HERE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.lines == [CREATE, CANCEL]
    assert Admin(toolset).receipt().started[0].status == "canceled"


async def test_leaving_between_two_tool_calls(server, toolset):
    """`leaving_nothing_running` ends what was started before, when the agent's own model is interrupted."""
    admin = Admin(toolset)

    async def agent():
        async with admin.leaving_nothing_running(scope="here"):
            await toolset.acall("start_prediction", {"model": "film", "input": PROMPT}, HERE)
            thinking.set()
            await asyncio.Event().wait()

    thinking = asyncio.Event()
    task = asyncio.create_task(agent())
    await thinking.wait()
    assert not server.seen(CANCEL)
    assert await leave(task) < 2.5
    assert server.seen(CANCEL)


async def test_leaving_between_two_tool_calls_twice(server, toolset):
    """A second cancellation waits for the cancel that is on its way."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(200, CANCELED)(exchange)

    server.route(CANCEL, slowly)
    admin = Admin(toolset)

    async def agent():
        async with admin.leaving_nothing_running(scope="here"):
            await toolset.acall("start_prediction", {"model": "film", "input": PROMPT}, HERE)
            raise LookupError("the agent fails")

    task = asyncio.create_task(agent())
    await asyncio.to_thread(server.wait_for, CANCEL)
    asyncio.get_running_loop().call_later(0.3, go_on.set)
    assert 0.2 < await leave(task) < 2
    assert admin.receipt().started[0].status == "canceled"


def test_a_cancel_that_is_not_answered_is_given_up(server, toolset, caplog):
    """By blocking calls too: after two seconds, with the id in the log."""
    server.route(CANCEL, silence)
    toolset.call("start_prediction", {"model": "film", "input": PROMPT}, HERE)
    began = time.monotonic()
    assert Admin(toolset).cancel_running() == []
    assert time.monotonic() - began < 2.5
    assert "Prediction p1 could not be canceled" in caplog.text


async def test_a_time_limit_around_what_the_developer_cancels(server, toolset):
    """It is told inside of its block, once the cancel that is on its way was answered and noted."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(200, CANCELED)(exchange)

    server.route(CANCEL, slowly)
    admin = Admin(toolset)
    await toolset.acall("start_prediction", {"model": "film", "input": PROMPT}, HERE)
    asyncio.get_running_loop().call_later(0.4, go_on.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await admin.acancel_running()
    await asyncio.sleep(0)
    assert admin.receipt().started[0].status == "canceled"
