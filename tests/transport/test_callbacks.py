"""on_text and on_update."""

import asyncio
import functools

import pytest
from support.drivers import AsyncVirtualClient
from support.replies import MODEL, prediction
from support.virtual_io import FOREVER, events, reply
from support.wire_server import answer, frames, stream

from rockai_transport import (
    APITimeoutError,
    ConfigurationError,
    NotFoundError,
    Prediction,
    PredictionFailedError,
    StreamInterruptedError,
)

SSE, CREATE, GET = "POST /run_sse", "POST /predictions", "GET /predictions/p1"
CANCEL = "POST /predictions/p1/cancel"


@pytest.fixture
def client(in_memory):
    """A client in memory: both kinds share what is decided here."""
    return in_memory()


def test_on_text_is_called_once_per_piece_and_never_with_nothing(client, io):
    """run(on_text=f) goes through the event stream and gives a prediction made of the pieces."""
    io.route(SSE, events(frames("a", "", "b\nc")))
    told = []
    done = client.run(MODEL, {"q": 1}, on_text=told.append)
    assert told == ["a", "b\nc"]
    assert (done.id, done.status, done.output, done.text) == (None, "succeeded", told, "ab\nc")
    assert (done.model, done.input) == (MODEL, {"q": 1})
    assert io.lines == [SSE]


def test_on_text_asks_for_the_prediction_by_its_id_where_it_is_known(in_memory, io):
    """Where the id is known, the finished prediction is the service's own."""
    io.route(CREATE, reply(201, prediction(urls={"stream": "/s"})))
    io.route("GET /s", events(frames("a", "b")))
    final = prediction("succeeded", output=["a", "b"], metrics={"predict_time": 1})
    io.route(GET, reply(200, prediction("processing")), reply(200, final))
    told = []
    done = in_memory(route="predictions").run(MODEL, {}, on_text=told.append)
    assert told == ["a", "b"]
    assert (done.id, done.metrics, done.output) == ("p1", {"predict_time": 1}, ["a", "b"])
    assert io.bodies[0]["stream"] is True


def test_on_text_of_an_answer_that_is_no_stream(client, io):
    """JSON where events were asked for is one piece."""
    io.route(SSE, reply(200, ["a", "b"]))
    told = []
    assert client.run(MODEL, {}, on_text=told.append).text == "ab"
    assert told == ["ab"]


@pytest.mark.parametrize("callback", ["print", 5, []])
def test_what_is_no_function_is_refused(client, io, callback):
    """A callback that cannot be called is a ConfigurationError; nothing is sent."""
    with pytest.raises(ConfigurationError, match="on_text"):
        client.run(MODEL, {}, on_text=callback)
    with pytest.raises(ConfigurationError, match="on_update"):
        client.wait("p1", on_update=callback)
    assert not io.requests


def test_a_cut_stream_tells_what_came(client, io):
    """Run with on_text raises what a stream raises."""
    io.route(SSE, events(frames("a", end=False)))
    told = []
    with pytest.raises(StreamInterruptedError) as caught:
        client.run(MODEL, {}, on_text=told.append)
    assert told == ["a"]
    assert caught.value.partial_text == "a"


def test_a_prediction_that_failed_after_its_stream(in_memory, io):
    """If the prediction failed in the end, the error carries what was handed on."""
    io.route(CREATE, reply(201, prediction(urls={"stream": "/s"})))
    io.route("GET /s", events(frames("a")))
    io.route(GET, reply(200, prediction("failed", error="late")))
    with pytest.raises(PredictionFailedError, match="late") as caught:
        in_memory(route="predictions").run(MODEL, {}, on_text=lambda _: None)
    assert caught.value.partial_text == "a"


def test_a_prediction_that_is_gone_after_its_stream(in_memory, io):
    """The error has all that is known: the id, and the text that came."""
    io.route("POST /predictions", reply(201, prediction("processing", urls={"stream": "/s"})))
    io.route("GET /s", events(frames("ab")))
    io.route("GET /predictions/p1", reply(404, {"detail": "no such prediction"}))
    with pytest.raises(NotFoundError) as caught:
        in_memory(route="predictions").run(MODEL, {}, on_text=lambda _: None)
    assert caught.value.prediction.id == "p1"
    assert caught.value.partial_text == "ab"
    assert caught.value.may_have_started


async def test_a_run_that_is_dropped_within_its_callback(io):
    """A coroutine that nobody finishes is closed: nothing can be awaited there, so nothing is."""
    io.route("POST /run_sse", events(frames("a", end=False), FOREVER))

    async def never(_):
        await asyncio.get_running_loop().create_future()

    run = AsyncVirtualClient(io).run(MODEL, {}, on_text=never)
    run.send(None)
    run.close()
    assert io.lines == ["POST /run_sse"]


def test_on_update_sees_each_change_once(client, io):
    """on_update sees each change of status, new log lines, and the progress of tqdm-style bars."""
    looks = [
        prediction("starting"),
        prediction("starting"),
        prediction("processing"),
        prediction("processing", logs=" 25%|##   | 1/4\n"),
        prediction("processing", logs=" 25%|##   | 1/4\n"),
        prediction("processing", logs=" 25%|##   | 1/4\n100%|#####| 4/4\nsaving\n"),
        prediction("succeeded", logs=" 25%|##   | 1/4\n100%|#####| 4/4\nsaving\n", output="x"),
    ]
    io.route(GET, *(reply(200, look) for look in looks))
    updates = []
    assert client.wait("p1", on_update=updates.append).output == "x"
    assert [(update.prediction.status, update.new_logs, update.progress) for update in updates] == [
        ("starting", "", None),
        ("processing", "", None),
        ("processing", " 25%|##   | 1/4\n", 0.25),
        ("processing", "100%|#####| 4/4\nsaving\n", 1.0),
        ("succeeded", "", 1.0),
    ]


@pytest.mark.parametrize(
    ("known", "seen"),
    [("p1", ["succeeded"]), (Prediction(id="p1", status="processing"), ["processing", "succeeded"])],
    ids=["id", "prediction"],
)
def test_on_update_sees_only_what_is_known(client, io, known, seen):
    """A first poll that fails reports nothing: an id has no status, a prediction has the one it came with."""
    io.route(GET, reply(502, {}), reply(200, prediction("succeeded", output="x")))
    updates = []
    assert client.wait(known, on_update=updates.append).output == "x"
    assert [update.prediction.status for update in updates] == seen


@pytest.mark.parametrize(
    ("logs", "progress"),
    [
        ("", None),
        ("50% done", None),
        ("  7%|x", 0.07),
        ("99.5%|", 0.995),
        ("10%|a\r 20%|b\r 30%|c", 0.3),
        ("250%|", 1.0),
    ],
)
def test_progress(client, io, logs, progress):
    """The last bar counts; what is no bar says nothing."""
    io.route(GET, reply(200, prediction("processing", logs=logs)))
    assert client.get("p1").progress == progress


def test_an_exception_from_on_update_cancels_nothing(client, io):
    """predictions.wait never cancels, whatever its callback does."""
    io.route(GET, reply(200, prediction("processing")))

    def tell(_):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        client.wait("p1", on_update=tell)
    assert io.lines == [GET]


@pytest.mark.parametrize(
    "error", [ValueError("mine"), APITimeoutError("mine"), StopIteration("mine"), KeyboardInterrupt()]
)
def test_an_exception_from_on_text_cancels_and_goes_on(in_memory, io, error):
    """An exception from on_text comes out as it is, and cancels the prediction where its id is known."""
    io.route(CREATE, reply(201, prediction(urls={"stream": "/s"})))
    io.route("GET /s", events(frames("a"), frames("b")))
    io.route(CANCEL, reply(200, prediction("canceled")))

    def tell(_):
        raise error

    with pytest.raises((type(error), RuntimeError)) as caught:
        in_memory(route="predictions").run(MODEL, {}, on_text=tell)
    if not isinstance(error, StopIteration):  # which no generator can let through
        assert caught.value is error
    assert getattr(caught.value, "prediction", None) is None
    assert io.log[-4:] == ["GET /s", "close", CANCEL, "close"]


def test_an_exception_from_on_text_without_id_closes_the_connection(client, io):
    """On /run_sse the connection closes at once; there is nothing to cancel."""
    io.route(SSE, events(frames("a", end=False), FOREVER))

    def tell(_):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        client.run(MODEL, {}, on_text=tell)
    assert io.log == [SSE, "close"]


# Over a socket: each kind of client in its own way.


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_an_exception_from_on_text_leaves_the_socket(connect, server, error):
    """It comes out as it is; the connection is closed and the prediction canceled."""
    server.route("POST /v1/predictions", answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", stream(frames("a", "b")))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))

    def tell(_):
        raise error

    with pytest.raises(type(error)) as caught:
        connect(route="predictions").run(MODEL, {}, on_text=tell)
    assert caught.value is error
    server.wait_for("POST /v1/predictions/p1/cancel")
    server.seen("GET /s")[0].wait_left()


def test_coroutine_functions_as_callbacks(kind, connect, server):
    """AsyncClient awaits a coroutine function; Client refuses it before anything is sent."""
    server.route("POST /v1/run_sse", stream(frames("a")))
    server.route("GET /v1/predictions/p1", answer(200, prediction("succeeded")))
    client, told = connect(), []

    async def tell(value):
        told.append(value)

    class Teller:
        async def __call__(self, value):
            told.append(value)

    for callback in (tell, Teller(), functools.partial(tell)):
        if kind == "async":
            client.run(MODEL, {}, on_text=callback)
            client.wait("p1", on_update=callback)
            assert told[0] == "a"
            assert told[1].prediction.status == "succeeded"
            told.clear()
        else:
            with pytest.raises(ConfigurationError, match="AsyncClient"):
                client.run(MODEL, {}, on_text=callback)
            with pytest.raises(ConfigurationError, match="AsyncClient"):
                client.wait("p1", on_update=callback)
    assert kind == "async" or not server.requests
