"""A tool takes no longer than ``max_wait``; every test holds for blocking calls and for await."""

import asyncio
import threading
import time

import pytest
from support.wire_server import WireServer, answer, silence

from rockai_transport import Client, HostedModel
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.stores import MemoryRecords, Store
from rockai_transport.jobs.toolset import Toolset

FILM = HostedModel("film", "owner/film", "Films.")
PROMPT = {"prompt": "x"}
CREATE, LOOK, CANCEL = "POST /v1/predictions", "GET /v1/predictions/p1", "POST /v1/predictions/p1/cancel"
BY_ID = {"prediction_id": "p1"}
MOST = 1.0


@pytest.fixture
def server():
    with WireServer() as running:
        running.route(CREATE, answer(201, {"id": "p1", "status": "starting"}))
        running.route(LOOK, answer(200, {"id": "p1", "status": "starting"}))
        yield running


@pytest.fixture(params=["sync", "async"])
def timed(request, server, tmp_path):
    """Make calls of one toolset's, each within a limit of seconds; give their answers."""
    settings = {"max_wait": MOST, "save_to": tmp_path}
    toolset = Toolset([FILM], api_token="t", base_url=server.base_url, **settings)  # noqa: S106
    runner = asyncio.Runner()

    def call(tool, arguments):
        context = CallContext("here")
        began = time.monotonic()
        if request.param == "async":
            found = runner.run(toolset.acall(tool, arguments, context))
        else:
            found = toolset.call(tool, arguments, context)
        assert time.monotonic() - began < MOST + 1
        return found

    yield call
    runner.run(toolset.aclose())
    runner.close()


def test_a_start_that_is_answered_late(server, timed):
    """It goes on by itself: its id is there at the next look, and nothing is sent again meanwhile."""
    go_on = threading.Event()

    def slowly(exchange):
        go_on.wait(10)
        answer(201, {"id": "p1", "status": "starting"})(exchange)

    server.route(CREATE, slowly)
    for _ in range(2):
        late = timed("film", PROMPT)
        assert "is not answered yet" in late.text
    listed = timed("list_predictions", {}).text
    assert "being started, unknown whether it started yet" in listed
    assert "record" not in listed  # there is nothing for the developer to resolve
    go_on.set()
    give_up, listed = time.monotonic() + 10, ""
    while "Prediction p1 (film): starting" not in listed:
        assert time.monotonic() < give_up, listed
        listed = timed("list_predictions", {}).text
    assert len(server.seen(CREATE)) == 1


async def test_a_start_whose_record_is_written_late(server):
    """The answer does not say that it was sent: nothing is, before it is recorded."""
    go_on, answered = asyncio.Event(), asyncio.Event()

    class Slow(MemoryRecords):
        async def put(self, record, **how):
            await go_on.wait()
            if record.prediction_id:
                answered.set()
            return await super().put(record, **how)

    toolset = Toolset([FILM], client=Client("t", server.base_url), max_wait=1)
    toolset._own = Store(Slow(), None)
    late = await toolset.acall("film", PROMPT, CallContext("here"))
    assert "the start is on its way, and is not answered yet. It goes on by itself" in late.text
    assert server.seen(CREATE) == []
    go_on.set()
    await answered.wait()
    await toolset.aclose()


@pytest.mark.parametrize("tool", ["get_prediction", "wait_for_prediction", "cancel_prediction"])
def test_a_service_that_does_not_answer(server, timed, tool):
    """The answer has the id, and says that it may go on."""
    timed("start_prediction", {"model": "film", "input": PROMPT})
    server.route(LOOK, silence)
    server.route(CANCEL, silence)
    found = timed(tool, BY_ID)
    assert found.text.startswith("Prediction p1 (film)")
    assert "go" in found.text


def test_a_file_that_is_not_saved_in_time(server, timed, tmp_path):
    """It comes with the next look."""
    address = server.base_url.removesuffix("/v1") + "/out.mp4"
    done = {"id": "p1", "status": "succeeded", "output": address}
    server.route(CREATE, answer(201, done))
    server.route(LOOK, answer(200, done))
    server.route("GET /out.mp4", silence)
    late = timed("film", PROMPT)
    assert "succeeded" in late.text
    assert "not saved yet" in late.text
    server.route("GET /out.mp4", answer(200, b"video", media_type="video/mp4"))
    assert "Saved as: " in timed("get_prediction", BY_ID).text
    assert [path.read_bytes() for path in tmp_path.glob("*.mp4")] == [b"video"]
