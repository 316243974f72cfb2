"""What leaving means, in memory: what is closed, what is canceled, and what the reader is told and given."""

import asyncio
import contextlib
import functools
import json
import threading

import pytest
from support.drivers import AsyncVirtualClient
from support.replies import MODEL, VERSION, enveloped, prediction
from support.virtual_io import FOREVER, SILENCE, ScriptedAnswer, events, operations, reply, run_request
from support.wire_server import frames

from rockai_transport import APIConnectionError, Prediction, PredictionTimeoutError, StreamInterruptedError
from rockai_transport.protocol.io import BrokenError, ExpiredError, NotSentError
from rockai_transport.protocol.streams import StreamState

RUN, SSE, CREATE, GET = "POST /run", "POST /run_sse", "POST /predictions", "GET /predictions/p1"
CANCEL = "POST /predictions/p1/cancel"
ONE = frames("a", end=False)
BATCH = frames("a", "b", "c", end=False)


@pytest.fixture
def endless(io):
    """A service whose models say one piece and then nothing more, on every route."""
    io.route(SSE, events(ONE, FOREVER))
    io.route(RUN, SILENCE)
    io.route(CREATE, reply(201, prediction("processing", urls={"stream": "/s"})))
    io.route("GET /s", events(ONE, FOREVER))
    io.route(GET, reply(200, prediction("processing", urls={"stream": "/s"})))
    io.route(CANCEL, reply(200, prediction("canceled")))
    return io


WAYS = {
    "predictions": lambda make: make(route="predictions").stream(MODEL, {}),
    "version": lambda make: make().stream(VERSION, {}),
    "followed": lambda make: make().follow("p1"),
}


def begin(make, way="predictions"):
    reading = WAYS[way](make)
    assert next(reading) == "a"
    return reading


def leave_by_close(reading):
    reading.close()


def leave_by_break(reading):
    with reading:
        pass


def leave_by_exception(reading):
    with contextlib.suppress(ZeroDivisionError), reading:
        1 / 0  # noqa: B018


def leave_by_interrupt(reading):
    with contextlib.suppress(KeyboardInterrupt), reading:
        raise KeyboardInterrupt


def leave_by_dropping(reading):
    reading.stream = None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "leave", [leave_by_close, leave_by_break, leave_by_exception, leave_by_interrupt, leave_by_dropping]
)
def test_the_connection_is_closed_then_the_prediction_is_canceled(in_memory, endless, way, leave):
    """However a stream is left, whichever way its id is known: first the one, then the other, once."""
    reading = begin(in_memory, way)
    leave(reading)
    assert endless.log[-4:] == ["GET /s", "close", CANCEL, "close"]
    assert endless.lines.count(CANCEL) == 1


def test_without_an_id_the_connection_is_closed(in_memory, endless):
    """On /run_sse there is nothing to cancel."""
    reading = in_memory().stream(MODEL, {})
    assert next(reading) == "a"
    reading.close()
    assert endless.log == [SSE, "close"]


def test_the_fall_back_knows_the_id(in_memory, endless):
    """A stream that fell back from a missing /run_sse is canceled too."""
    endless.route(SSE, reply(405, {}))
    reading = in_memory().stream(MODEL, {})
    next(reading)
    reading.close()
    assert endless.lines[-1] == CANCEL


def test_leaving_a_stream_that_is_over_sends_nothing(in_memory, endless):
    """After a good end there is nothing to cancel, however often it is closed."""
    endless.route("GET /s", events(frames("a")))
    with in_memory(route="predictions").stream(MODEL, {}) as reading:
        assert list(reading) == ["a"]
    reading.close()
    reading.close()
    assert endless.lines == [CREATE, "GET /s"]


def test_who_leaves_a_stream_that_has_just_broken_off_cancels_nothing(io):
    """Another thread may have met the break since this one looked: the prediction can be waited for."""
    io.route(CREATE, reply(201, prediction("processing", urls={"stream": "/s"})))
    io.route("GET /s", events(ONE, BrokenError("cut")))
    stream = operations(route="predictions").stream(io, run_request(MODEL), None, StreamState())
    assert io.do(lambda _: stream.next_batch()) == ["a"]
    with pytest.raises(StreamInterruptedError):
        io.do(lambda _: stream.next_batch())
    io.do(lambda _: stream.leave())
    assert io.lines == [CREATE, "GET /s"]


def test_closing_twice_cancels_once(in_memory, endless):
    """close() may be called twice; after it the stream is over."""
    reading = begin(in_memory)
    reading.close()
    reading.close()
    assert next(reading, None) is None
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_a_signal_while_it_is_left_leaves_it_to_the_next(in_memory, endless, interruption):
    """Whoever closes the stream after that, or drops it, sends the cancel that was interrupted."""
    endless.route(CANCEL, interruption, reply(200, prediction("canceled")))
    reading = begin(in_memory)
    with pytest.raises(type(interruption)):
        reading.close()
    reading.close()
    assert endless.lines.count(CANCEL) == 2


def test_a_stream_that_broke_off_cancels_nothing(in_memory, endless):
    """After a StreamInterruptedError the prediction goes on and can be waited for."""
    endless.route("GET /s", events(ONE, BrokenError("cut")))
    reading = begin(in_memory)
    with pytest.raises(StreamInterruptedError), reading:
        next(reading)
    assert CANCEL not in endless.lines
    assert not endless.is_open


def test_a_cancel_that_is_not_answered_takes_two_seconds(in_memory, endless):
    """The cancel on leaving is best effort, and given up after two seconds."""
    endless.route(CANCEL, SILENCE)
    begin(in_memory).close()
    assert endless.moment == 1002
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize(
    "told",
    [
        reply(500, {}),
        reply(404, {"detail": "id not found"}),
        reply(429, {}, retry_after="30"),
        reply(200, b"<html>"),
        NotSentError("refused"),
        BrokenError("reset"),
    ],
)
def test_a_cancel_that_fails_is_of_no_account(in_memory, endless, told):
    """What a cancel on leaving is told raises nothing, and two seconds are all there is for it."""
    endless.route(CANCEL, told)
    begin(in_memory).close()
    assert CANCEL in endless.lines
    assert endless.moment <= 1002


# The last one is such as a signal handler raises, for a time limit of its own: it is no RockAIError.
INTERRUPTIONS = [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), ZeroDivisionError()]


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=repr)
@pytest.mark.parametrize("at", ["created", "streamed", "looked at", "on_text"])
def test_an_interrupted_call_cancels_what_it_started(in_memory, endless, at, interruption):
    """Whatever a run, or a stream, waits for: it is left, and its prediction canceled before that is told."""
    client = in_memory(route="predictions")
    endless.route("GET /s", events(ONE, interruption))
    endless.route(GET, interruption)
    if at == "created":
        endless.route(CREATE, interruption)
    call = {
        "streamed": lambda: list(client.stream(MODEL, {})),
        "on_text": lambda: client.run(MODEL, {}, on_text=lambda _: None),
    }.get(at, lambda: client.run(MODEL, {}))
    with pytest.raises(type(interruption)):
        call()
    assert endless.lines.count(CANCEL) == (at != "created")  # whose id nobody knows
    assert not endless.is_open


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=repr)
def test_an_interrupted_create_cancels_what_it_started(in_memory, endless, interruption):
    """Its id has been read, and nobody else will know it."""
    chunks = [json.dumps(prediction("starting")).encode(), interruption]
    endless.route(CREATE, ScriptedAnswer(201, chunks, {"content-type": "application/json"}, 0))
    with pytest.raises(type(interruption)):
        in_memory().create(model=MODEL, input={})
    assert endless.lines == [CREATE, CANCEL]
    assert not endless.is_open


@pytest.mark.parametrize("failure", [BrokenError("cut"), ExpiredError("time is up")], ids=repr)
@pytest.mark.parametrize(("call", "lines"), [("create", [CREATE]), ("run", [RUN]), ("stream", [CREATE])])
def test_a_start_whose_response_breaks_off_behind_the_id(in_memory, endless, call, lines, failure):
    """The error has the prediction, which can be waited for; a stream's time-out cancels it."""
    for line in (CREATE, RUN):
        chunks = [json.dumps(prediction("starting")).encode(), failure]
        endless.route(line, ScriptedAnswer(200, chunks, {"content-type": "application/json"}, 0))
    calls = {
        "create": lambda: in_memory().create(model=MODEL, input={}),
        "run": lambda: in_memory().run(MODEL, {}),
        "stream": lambda: next(in_memory(route="predictions").stream(MODEL, {})),
    }
    with pytest.raises(APIConnectionError) as caught:
        calls[call]()
    assert caught.value.prediction.id == "p1"
    assert caught.value.may_have_started
    assert endless.lines == [*lines, *[CANCEL] * (call == "stream" and failure.timed_out)]


WHOLE = {  # in the order of the service's page
    "id": "p1",
    "model": MODEL,
    "created_at": "2024-08-15T02:54:06",
    "webhook": None,
    "input": {"id": "theirs", "q": [1, 2]},
    "output": ["a", "b"],
    "status": "succeeded",
}
BARE = {"id": "theirs", "text": "an output", "input": {"status": "x", "created_at": "x"}}


@pytest.mark.parametrize("told", [WHOLE, enveloped(WHOLE), dict(sorted(WHOLE.items())), BARE], ids=repr)
def test_wherever_it_breaks_off_the_id_is_all_that_counts(in_memory, endless, told):
    """What else has arrived may be a part of the output; an output's own id is none."""
    body = json.dumps(told).encode()
    for end in range(1, len(body)):
        chunks = [body[:end], BrokenError("cut")]
        endless.route(RUN, ScriptedAnswer(200, chunks, {"content-type": "application/json"}, 0))
        with pytest.raises(APIConnectionError) as caught:
            in_memory().run(MODEL, {})
        known = end >= body.index(b"theirs") and told is not BARE
        assert (caught.value.prediction is not None) >= known
        if caught.value.prediction is not None:
            assert caught.value.prediction == Prediction(id="p1", model=MODEL, input={})
            assert told is not BARE


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=repr)
def test_a_start_that_is_interrupted_behind_the_id_is_canceled(in_memory, endless, interruption):
    """Though its response has not arrived to the end."""
    chunks = [json.dumps(WHOLE).encode()[:-60], interruption]
    endless.route(CREATE, ScriptedAnswer(201, chunks, {"content-type": "application/json"}, 0))
    with pytest.raises(type(interruption)):
        in_memory(route="predictions").run(MODEL, {})
    assert endless.lines == [CREATE, CANCEL]


def test_a_start_whose_response_breaks_off_in_an_output(in_memory, endless):
    """A part of it can be valid JSON, and is no output."""
    chunks = [b"12", BrokenError("cut")]  # of 123
    endless.route(RUN, ScriptedAnswer(200, chunks, {"content-type": "application/json"}, 0))
    with pytest.raises(APIConnectionError) as caught:
        in_memory().run(MODEL, {})
    assert caught.value.prediction is None


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=repr)
@pytest.mark.parametrize("call", ["wait", "get"])
def test_wait_and_get_never_cancel(in_memory, endless, call, interruption):
    """Leaving the waiting for a prediction, or a look at it, leaves the prediction alone."""
    endless.route(GET, reply(200, prediction("processing")), interruption)
    client = in_memory()
    client.get("p1")
    with pytest.raises(type(interruption)):
        client.wait("p1") if call == "wait" else client.get("p1")
    assert CANCEL not in endless.lines


def test_a_run_whose_time_is_up_cancels_nothing(in_memory, endless):
    """Its prediction can still be waited for."""
    with pytest.raises(PredictionTimeoutError) as caught:
        in_memory(route="predictions").run(MODEL, {}, timeout=30)
    assert caught.value.prediction.id == "p1"
    assert CANCEL not in endless.lines


# Closed by somebody else while its reader waits, or while pieces that have come are not handed on yet.


def close_elsewhere(reading):
    """Close a stream in another thread."""
    thread = threading.Thread(target=reading.close)
    thread.start()
    thread.join()


def test_a_reader_that_waits_is_told_of_the_close(in_memory, endless):
    """It gets a StreamInterruptedError with all that was handed on; the prediction is canceled, once."""
    reading = in_memory(route="predictions").stream(MODEL, {})
    endless.route("GET /s", events(ONE, lambda: close_elsewhere(reading), FOREVER))
    assert next(reading) == "a"
    with pytest.raises(StreamInterruptedError, match="closed elsewhere") as caught:
        next(reading)
    assert (caught.value.partial_text, caught.value.prediction.id) == ("a", "p1")
    assert next(reading, None) is None
    assert endless.log[-4:] == ["GET /s", "close", CANCEL, "close"]
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_pieces_that_were_not_handed_on_when_it_was_closed_elsewhere(in_memory, endless, taken):
    """What was handed on is a prefix, `partial_text` is that; its reader is told once, then it is over."""
    endless.route("GET /s", events(BATCH, FOREVER))
    reading = in_memory(route="predictions").stream(MODEL, {})
    got = [next(reading) for _ in range(taken)]
    close_elsewhere(reading)
    assert got == ["a", "b", "c"][:taken]
    assert reading.text == "".join(got)
    assert endless.lines[-1] == CANCEL
    if taken < 3:
        with pytest.raises(StreamInterruptedError, match="closed elsewhere") as caught:
            next(reading)
        assert caught.value.partial_text == "".join(got)
        assert caught.value.prediction.id == "p1"
    assert next(reading, None) is None
    assert reading.text == "".join(got)
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_pieces_that_were_not_handed_on_when_its_reader_closes_it(in_memory, endless, taken):
    """Whoever closes a stream knows it: the iteration is just over, with what was handed on."""
    endless.route("GET /s", events(BATCH, FOREVER))
    reading = in_memory(route="predictions").stream(MODEL, {})
    got = [next(reading) for _ in range(taken)]
    reading.close()
    assert next(reading, None) is None
    assert reading.text == "".join(got) == "abc"[:taken]
    assert endless.lines.count(CANCEL) == 1


def test_pieces_of_an_ended_stream_that_were_not_handed_on(in_memory, endless):
    """The end had come with them: closing elsewhere still cuts off what the reader has not got."""
    endless.route("GET /s", events(frames("a", "b", "c")))
    reading = in_memory(route="predictions").stream(MODEL, {})
    assert next(reading) == "a"
    close_elsewhere(reading)
    with pytest.raises(StreamInterruptedError) as caught:
        next(reading)
    assert caught.value.partial_text == "a" == reading.text
    assert next(reading, None) is None


def read_on(reading, got, errors, started):
    """Read on after an interruption too, as a reader does who passes over errors."""
    for _ in range(2):
        try:
            for piece in iter(lambda: next(reading, None), None):
                got.append(piece)
                started.set()
        except StreamInterruptedError as error:
            errors.append(error)


def test_a_reader_in_another_thread_gets_a_prefix(in_memory, endless):
    """However reading and closing fall together: a prefix, its exact text, and one interruption."""
    pieces = [str(number % 10) for number in range(200)]
    for _ in range(20):
        reading = in_memory(route="predictions").stream(MODEL, {})
        got, errors, started, closed = [], [], threading.Event(), threading.Event()
        waits = functools.partial(closed.wait, 5)
        endless.route("GET /s", events(frames(*pieces, end=False), waits, FOREVER))
        thread = threading.Thread(target=read_on, args=(reading, got, errors, started))
        thread.start()
        started.wait(5)
        reading.close()
        closed.set()
        thread.join(5)
        assert not thread.is_alive()
        assert got == pieces[: len(got)]
        assert reading.text == "".join(got)
        assert [error.partial_text for error in errors] == ["".join(got)]
        assert endless.lines[-1] == CANCEL


# The same with await.


async def test_a_task_that_waits_is_told_of_the_close(endless):
    """A task that reads on is told with a StreamInterruptedError; the prediction is canceled, once."""
    waits = asyncio.Event()
    endless.route("GET /s", events(ONE, waits, FOREVER))
    reading = AsyncVirtualClient(endless, route="predictions").stream(MODEL, {})
    assert await anext(reading) == "a"
    task = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Another task"):
        await anext(reading)
    await reading.aclose()
    with pytest.raises(StreamInterruptedError, match="closed elsewhere") as caught:
        await task
    assert (caught.value.partial_text, caught.value.prediction.id) == ("a", "p1")
    assert await anext(reading, None) is None
    assert endless.log[-4:] == ["GET /s", "close", CANCEL, "close"]
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("taken", [1, 2, 3])
async def test_pieces_that_were_not_handed_on_when_another_task_closed_it(endless, taken):
    """What was handed on is a prefix, `partial_text` is that; its reader is told once, then it is over."""
    endless.route("GET /s", events(BATCH, FOREVER))
    reading = AsyncVirtualClient(endless, route="predictions").stream(MODEL, {})
    got = [await anext(reading) for _ in range(taken)]
    await asyncio.create_task(reading.aclose())
    assert got == ["a", "b", "c"][:taken]
    assert reading.text == "".join(got)
    assert endless.lines[-1] == CANCEL
    if taken < 3:
        with pytest.raises(StreamInterruptedError, match="closed elsewhere") as caught:
            await anext(reading)
        assert caught.value.partial_text == "".join(got)
        assert caught.value.prediction.id == "p1"
    assert await anext(reading, None) is None
    assert reading.text == "".join(got)
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("taken", [1, 2, 3])
async def test_pieces_that_were_not_handed_on_when_its_own_task_closes_it(endless, taken):
    """Whoever closes a stream knows it: the iteration is just over, with what was handed on."""
    endless.route("GET /s", events(BATCH, FOREVER))
    reading = AsyncVirtualClient(endless, route="predictions").stream(MODEL, {})
    got = [await anext(reading) for _ in range(taken)]
    await reading.aclose()
    assert await anext(reading, None) is None
    assert reading.text == "".join(got) == "abc"[:taken]
    assert endless.lines.count(CANCEL) == 1


async def test_pieces_of_an_ended_stream_that_a_task_had_not_got(endless):
    """The end had come with them: closing elsewhere still cuts off what the reader has not got."""
    endless.route("GET /s", events(frames("a", "b", "c")))
    reading = AsyncVirtualClient(endless, route="predictions").stream(MODEL, {})
    assert await anext(reading) == "a"
    await asyncio.create_task(reading.aclose())
    with pytest.raises(StreamInterruptedError) as caught:
        await anext(reading)
    assert caught.value.partial_text == "a" == reading.text
    assert await anext(reading, None) is None
