"""Streams: nothing is lost, nothing is late, nothing is taken for whole that is not."""

import asyncio
import contextlib
import json
import math
import pickle
import threading
from itertools import repeat

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.virtual_io import FOREVER, events, reply
from support.wire_server import answer, frames, hang_up, reset, silence, stream

from rockai_transport import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    ConfigurationError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    Prediction,
    PredictionFailedError,
    PredictionTimeoutError,
    Service,
    StreamInterruptedError,
    Timeouts,
)
from rockai_transport.protocol.io import BrokenError, ExpiredError, NotSentError

SSE, CREATE, GET = "POST /run_sse", "POST /predictions", "GET /predictions/p1"
ON_SSE = "POST /v1/run_sse"


@pytest.fixture
def client(in_memory):
    """A client in memory: both kinds share what is decided here."""
    return in_memory()


ON_RUN, MANY = "POST /v1/run", 120
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def test_many_streams_at_once_on_a_warm_client_all_begin(server):
    """None waits for another one's connection, though all of them begin while the first one's is idle."""
    server.route(ON_RUN, answer(200, {"output": "x"}))
    server.route(ON_SSE, silence(HEAD + frames("a", end=False)))

    async def first_pieces():
        async with AsyncClient(TOKEN, server.base_url) as client, asyncio.timeout(6):
            await client.run(MODEL, {})
            async with contextlib.AsyncExitStack() as left:
                opened = [await left.enter_async_context(client.stream(MODEL, {})) for _ in range(MANY)]
                return await asyncio.gather(*map(anext, opened))

    assert asyncio.run(first_pieces()) == ["a"] * MANY


CUTS = {
    "between events": (frames("a", end=False),),
    "inside an event": (frames("a", end=False) + b"event: output\ndata: b",),
    "before the blank line": (frames("a", end=False) + b"event: output\ndata: b\n",),
    "before the blank line of done": (frames("a", end=False) + b"event: done\ndata: {}\n",),
}


def test_what_follows_the_end_is_read_away(client, io):
    """Later chunks of the body belong to no piece; the connection can then be used again."""
    io.route(SSE, events(frames("a"), b"event: output\ndata: b\n\n", b": bye\n\n"))
    assert list(client.stream(MODEL, {})) == ["a"]
    assert io.closed == 1


def test_a_file_is_sent_whole_on_both_routes(client, io, tmp_path):
    """Also where the stream falls back to create, after its first request has read the file."""
    (tmp_path / "a.txt").write_text("hi", encoding="ascii")
    io.route(SSE, reply(405, {}))
    io.route(CREATE, reply(201, prediction("succeeded", output=["a"])))
    with (tmp_path / "a.txt").open("rb") as file:
        assert list(client.stream(MODEL, {"file": file})) == ["a"]
    assert [body["input"]["file"] for body in io.bodies] == ["data:text/plain;base64,aGk="] * 2


@pytest.mark.parametrize(
    "end", ["event: error\ndata: no\n\n", "event: done\ndata: {}\n\n"], ids=["error", "done"]
)
def test_the_prediction_of_a_stream_has_the_input_as_sent(client, io, tmp_path, end):
    """It can be pickled and kept, as that of a run; an open file could not."""
    (tmp_path / "a.txt").write_text("hi", encoding="ascii")
    io.route(SSE, events(frames("a", end=False) + end.encode()))
    with (tmp_path / "a.txt").open("rb") as file:
        reading = client.stream(MODEL, {"file": file})
        with contextlib.suppress(PredictionFailedError):
            assert list(reading) == ["a"]
    assert pickle.loads(pickle.dumps(reading.prediction)).input == {"file": "data:text/plain;base64,aGk="}  # noqa: S301 - our own


@pytest.mark.parametrize("case", CUTS)
@pytest.mark.parametrize("ending", ["chunked", "length", "close", "broken"])
def test_a_stream_that_ends_before_its_end_is_interrupted(client, io, case, ending):
    """Without `done` a stream was cut, however the body ends; partial_text is exactly what was handed on."""
    broken = ending == "broken"
    io.route(
        SSE,
        events(*CUTS[case], BrokenError("cut")) if broken else events(*CUTS[case], framing=ending),
    )
    reading = client.stream(MODEL, {})
    got = []
    with pytest.raises(StreamInterruptedError) as caught:  # noqa: PT012
        got.extend(reading)
        raise AssertionError("it came to an end")
    assert caught.value.partial_text == "a" == reading.text
    assert caught.value.may_have_started
    assert "1 characters" in str(caught.value)
    assert next(reading, None) is None  # and it is over
    assert io.lines == [SSE]
    assert not io.is_open


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_an_empty_stream_is_interrupted(client, io, framing):
    """A body without any event is no empty answer, though it be framed."""
    io.route(SSE, events(framing=framing))
    with pytest.raises(StreamInterruptedError):
        list(client.stream(MODEL, {}))


def test_a_stream_of_nothing_but_done_is_an_empty_answer(client, io):
    """`done` alone is a good end: the model said nothing."""
    io.route(SSE, events(frames()))
    reading = client.stream(MODEL, {})
    assert list(reading) == []
    assert reading.prediction.status == "succeeded"


def test_unnamed_streams_end_with_done_marker(client, io):
    """[DONE] ends a close-delimited stream of unnamed events."""
    io.route(SSE, events(b"data: a\n\ndata: [DONE]\n\n", framing="close"))
    assert list(client.stream(MODEL, {})) == ["a"]


def test_empty_pieces_are_not_handed_on(client, io):
    """A piece without text is nobody's business."""
    io.route(SSE, events(frames("", "a", "", "b", "")))
    assert list(client.stream(MODEL, {})) == ["a", "b"]


def test_nothing_is_sent_before_the_first_piece_is_asked_for(client, io):
    """stream() alone sends nothing; closing it then sends nothing either, and it is over."""
    reading = client.stream(MODEL, {})
    reading.close()
    reading.close()
    assert next(reading, None) is None
    assert not io.requests


def test_what_follows_done_is_waited_for_a_tenth_of_a_second(client, io):
    """After `done` the rest of the body is read for a moment, so that its connection serves again."""
    io.route(SSE, events(frames("a"), FOREVER))
    assert list(client.stream(MODEL, {})) == ["a"]
    assert io.moment == pytest.approx(1000.1)
    assert not io.is_open


@pytest.mark.parametrize("error", [BrokenError("reset"), InvalidResponseError("cannot be decoded")])
def test_an_error_after_a_good_end_is_of_no_account(client, io, error):
    """A break after `done` does not spoil what was whole, nor does a compression without an end."""
    io.route(SSE, events(frames("a"), error))
    assert list(client.stream(MODEL, {})) == ["a"]


def test_a_stream_that_cannot_be_decoded_any_more_carries_its_text(client, io):
    """As any other stream that breaks off: `partial_text` is what was delivered."""
    io.route(SSE, events(frames("a", "b", end=False), InvalidResponseError("cannot be decoded")))
    with pytest.raises(InvalidResponseError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.partial_text == "ab"
    with pytest.raises(InvalidResponseError) as caught:
        client.run(MODEL, {}, on_text=lambda _: None)
    assert caught.value.partial_text == "ab"


def test_a_broken_stream_carries_its_prediction(in_memory, io):
    """Where the id is known a stream that broke off says so, and its prediction can be waited for."""
    client = in_memory(route="predictions")
    io.route(CREATE, reply(201, prediction(urls={"stream": "/s"})))
    io.route("GET /s", events(frames("a", end=False)))
    io.route(GET, reply(200, prediction("succeeded", output=["a", "b"])))
    with pytest.raises(StreamInterruptedError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.prediction.id == "p1"
    assert "predictions.wait('p1')" in str(caught.value)
    assert client.wait(caught.value.prediction).text == "ab"
    assert io.lines == [CREATE, "GET /s", GET]


@pytest.mark.parametrize(
    ("script", "kind"),
    [(reply(404, {"detail": "x"}), NotFoundError), (reply(500, {}), InternalServerError)],
)
def test_a_stream_address_that_fails_carries_the_prediction(in_memory, io, script, kind):
    """If the stream of a created prediction cannot be opened, the error carries the prediction."""
    client = in_memory(route="predictions", max_retries=0)
    io.route(CREATE, reply(201, prediction(urls={"stream": "/s"})))
    io.route("GET /s", script)
    with pytest.raises(kind) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.prediction.id == "p1"
    assert caught.value.may_have_started


def test_a_stream_of_an_id_that_does_not_exist(client, io):
    """The error does not say that this prediction may continue."""
    io.always(reply(404, b'{"detail": "id not found"}'))
    with pytest.raises(NotFoundError) as caught:
        list(client.follow("nope"))
    assert (caught.value.prediction, caught.value.may_have_started) == (None, False)
    assert "may go on" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "kind", "sent"),
    [
        (BrokenError("reset"), APIConnectionError, 1),
        (ExpiredError("slow"), APITimeoutError, 1),
        (NotSentError("refused"), APIConnectionError, 3),
    ],
    ids=["broken", "out of time", "never sent"],
)
def test_a_stream_that_does_not_start_is_a_connection_error(client, io, failure, kind, sent):
    """Before the head of its answer a stream fails as a call does: what may have started is sent once."""
    io.always(failure)
    with pytest.raises(APIConnectionError) as caught:
        list(client.stream(MODEL, {}))
    assert type(caught.value) is kind
    assert caught.value.may_have_started is (sent == 1)
    assert len(io.requests) == sent


def test_a_finished_prediction_is_streamed_as_one_piece(client, io):
    """predictions.stream of one that is done asks for nothing."""
    io.route(GET, reply(200, prediction("succeeded", output=["a", "b"], urls={"stream": "/s"})))
    assert list(client.follow(client.get("p1"))) == ["ab"]
    assert list(client.follow("p1")) == ["ab"]
    assert io.lines == [GET, GET]


def test_a_prediction_that_the_user_made_is_streamed_at_once(client, io):
    """One with a status and a stream, as after a restart, is not fetched; one without its stream is."""
    io.route("GET /s", events(frames("a", "b")))
    known = Prediction(id="p1", status="processing", urls={"stream": "https://elsewhere.example/s"})
    assert list(client.follow(known)) == ["a", "b"]
    assert io.lines == ["GET /s"]
    io.route(GET, reply(200, prediction("processing", urls={"stream": "/s"})))
    assert list(client.follow(Prediction(id="p1", status="processing"))) == ["a", "b"]
    assert io.lines == ["GET /s", GET, "GET /s"]


def test_logs_and_unknown_events_are_passed_over(client, io):
    """Events of other names are no text."""
    noise = b"event: logs\ndata: 10%|\n\nevent: metric\ndata: {}\n\n: ping\n\n"
    io.route(SSE, events(noise + frames("a", end=False) + noise + frames("b")))
    assert list(client.stream(MODEL, {})) == ["a", "b"]


def test_a_stream_of_another_content_type_is_named_by_its_error(in_memory, io):
    """Its text is not lost in silence, and the setting that the error names reads it."""
    io.route(SSE, reply(200, frames("a", "b"), media_type="text/plain; charset=utf-8"))
    with pytest.raises(InvalidResponseError) as caught:
        list(in_memory().stream(MODEL, {}))
    assert "set Service(stream_content_type='text/plain')" in str(caught.value)
    assert caught.value.may_have_started
    service = Service(stream_content_type="text/plain")
    assert list(in_memory(service=service).stream(MODEL, {})) == ["a", "b"]
    io.route("POST /run", reply(200, "data: a", media_type="text/plain"))
    with pytest.raises(InvalidResponseError, match="Is base_url the API's own address"):
        in_memory().run(MODEL, {})


def test_a_stream_of_unknown_events_alone_is_no_empty_answer(in_memory, io):
    """All of its text would be lost in silence; where the prediction can be asked for, it is."""
    other = frames("a", "b").replace(b"event: output", b"event: token")
    created = prediction("starting", urls={"stream": "/s"})
    io.route(SSE, events(other))
    io.route("GET /s", events(other))
    io.route(CREATE, reply(201, created))
    io.route(GET, reply(200, prediction("succeeded", output="ab")))
    by_id = in_memory(route="predictions")
    for pieces in (in_memory().stream(MODEL, {}), by_id.stream(MODEL, {})):
        with pytest.raises(InvalidResponseError, match=r"'token'.*Service\(output_event='token'\)") as caught:
            list(pieces)
        assert caught.value.may_have_started
    with pytest.raises(InvalidResponseError):
        in_memory().run(MODEL, {}, on_text=repr)
    assert by_id.run(MODEL, {}, on_text=repr).output == "ab"
    assert list(in_memory(service=Service(output_event="token")).stream(MODEL, {})) == ["a", "b"]
    io.route(SSE, events(b"event: logs\ndata: 10%|\n\nevent: done\ndata: {}\n\n"))
    assert list(in_memory().stream(MODEL, {})) == []


@pytest.mark.parametrize("name", [b"output", b"token"])
def test_an_end_event_of_another_name_is_named(in_memory, io, name):
    """Such a stream counts as interrupted, and the error says which setting may be wrong."""
    io.route(SSE, events(b"event: " + name + b"\ndata: a\n\nevent: end\ndata: {}\n\n"))
    with pytest.raises(StreamInterruptedError, match=r"Events named '(end|token)' were ignored: see Se"):
        list(in_memory().stream(MODEL, {}))
    assert list(in_memory(service=Service(output_event=name.decode(), end_events=("end",))).stream(MODEL, {}))


@pytest.mark.parametrize("left", [False, True])
def test_a_stream_is_read_once(client, io, left):
    """Iterating again, or after it was closed, is an error: it would look like an empty answer."""
    io.route(SSE, events(frames("a", "b")))
    reading = client.stream(MODEL, {})
    if left:
        next(reading)
        reading.close()
    else:
        assert "".join(reading) == "ab"
    came = "a" if left else "ab"
    with pytest.raises(
        ConfigurationError, match=f"the {len(came)} characters that came are in its"
    ) as caught:
        iter(reading)
    assert (caught.value.partial_text, caught.value.may_have_started) == (came, True)


def test_a_stream_that_was_left_knows_that_its_prediction_is_canceled(in_memory, io):
    """Reading it again does not advise to wait for the prediction."""
    io.route(CREATE, reply(201, prediction("starting", urls={"stream": "/s"})))
    io.route("GET /s", events(frames("a", end=False), FOREVER))
    io.route(f"POST{GET[3:]}/cancel", reply(200, prediction("canceled")))
    reading = in_memory(route="predictions").stream(MODEL, {})
    next(reading)
    reading.close()
    with pytest.raises(ConfigurationError) as caught:
        iter(reading)
    assert reading.prediction.status == caught.value.prediction.status == "canceled"
    assert "predictions.wait" not in str(caught.value)


# Time, by a clock that jumps.

PING = b": ping\n\n"
ONE = frames("a", end=False)


def beats(*first, every, item=PING):
    """Chunks without an end: some at first, then one after so many seconds, again and again."""
    yield from first
    for _ in repeat(None):
        yield every
        yield item


LIMITS = {
    # what comes: (chunks, settings, timeout of the call, seconds until it is given up, text that came)
    "silent": (lambda: [FOREVER], {}, 300, 300, ""),
    "heartbeats do not put the total off": (lambda: [beats(every=7)], {}, 300, 300, ""),
    "half an event does not put the total off": (
        lambda: [beats(b"event: output\ndata: a", every=7, item=b"a")], {}, 300, 300, "",
    ),
    "pieces for ever end with the total": (lambda: [beats(every=100, item=ONE)], {}, 350, 350, "aaa"),
    "the first event has its own limit": (lambda: [FOREVER], {"first_byte": 60}, None, 60, ""),
    "heartbeats do not put the first event off": (lambda: [beats(every=7)], {"first_byte": 60}, None, 60, ""),
    "the first event has half an hour": (lambda: [FOREVER], {}, None, 1800, ""),
    "silence after the first event": (lambda: [ONE, FOREVER], {}, None, 300, "a"),
    "silence after the first event, as set": (lambda: [50, ONE, FOREVER], {"idle": 20}, None, 70, "a"),
    "heartbeats keep a stream alive": (
        lambda: [ONE, *[15, PING] * 10, FOREVER], {"idle": 20}, None, 170, "a",
    ),
    "a late piece after the first limit": (
        lambda: [ONE, 100, ONE, FOREVER], {"first_byte": 60}, None, 400, "aa",
    ),
    "the client's total": (lambda: [FOREVER], {"total": 40}, None, 40, ""),
    "the call's own total beats it": (lambda: [FOREVER], {"total": 40}, 80, 80, ""),
    "the call's own total may be none": (lambda: [ONE, FOREVER], {"total": 40}, math.inf, 300, "a"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMITS)
def test_the_limits_of_a_stream(in_memory, io, case):
    """Total, first event, and silence after it: each ends a stream with exactly what was handed on."""
    chunks, limits, timeout, seconds, text = LIMITS[case]
    timeouts = Timeouts(**{name: value for name, value in limits.items() if name != "total"})
    io.route(SSE, events(*chunks()))
    reading = in_memory(timeout=limits.get("total"), timeouts=timeouts).stream(MODEL, {}, timeout=timeout)
    got = []
    with pytest.raises(APITimeoutError) as caught:
        got.extend(reading)
    assert io.moment == pytest.approx(1000 + seconds)
    assert "".join(got) == reading.text == caught.value.partial_text == text
    assert caught.value.may_have_started
    assert io.log == [SSE, "close"]
    assert next(reading, None) is None


def timed_out(in_memory, io, canceled, *chunks, **options):
    """The error of a stream with a known id whose time ran out, after these chunks."""
    io.route(CREATE, reply(201, prediction("starting", urls={"stream": "/s"})))
    io.route("GET /s", events(*chunks, FOREVER))
    io.route(f"POST{GET[3:]}/cancel", canceled)
    with pytest.raises(APITimeoutError) as caught:
        list(in_memory(route="predictions").stream(MODEL, {}, timeout=30, **options))
    return caught.value


def test_a_stream_that_times_out_says_what_became_of_its_prediction(in_memory, io):
    """It was canceled, since nobody reads on; what had come is named, and nothing is to be waited for."""
    error = timed_out(in_memory, io, reply(200, prediction("canceled")), frames("half", end=False))
    assert str(error) == (
        "The time limit ran out in the middle of the stream. The 4 characters that had arrived are in "
        "`partial_text`. Prediction p1 is canceled now."
    )
    assert (error.prediction.id, error.prediction.status, error.partial_text) == ("p1", "canceled", "half")
    assert io.log[-4:] == ["GET /s", "close", "POST /predictions/p1/cancel", "close"]


@pytest.mark.parametrize("told", [reply(204, b""), reply(200, {}), reply(500, {}), NotSentError("refused")])
def test_a_cancel_that_tells_no_end_is_none(in_memory, io, told):
    """The error says what is known, never that a prediction which was streaming is starting now."""
    error = timed_out(in_memory, io, told, frames("half", end=False))
    assert " now" not in str(error)
    assert (error.prediction.id, error.prediction.status, error.partial_text) == ("p1", "starting", "half")


def test_a_stream_waiting_for_a_prediction_without_stream_times_out(in_memory, io):
    """A stream that waits for its one piece keeps the total, as an APITimeoutError, and cancels."""
    io.route(CREATE, reply(201, prediction()))
    io.route(GET, reply(200, prediction("processing")))
    io.route(f"POST{GET[3:]}/cancel", reply(200, prediction("canceled")))
    with pytest.raises(APITimeoutError) as caught:
        list(in_memory(route="predictions").stream(MODEL, {}, timeout=30))
    assert io.moment == pytest.approx(1030)
    assert caught.value.prediction.id == "p1"
    assert io.lines[-1] == "POST /predictions/p1/cancel"


@pytest.mark.parametrize(
    ("route", "kind"), [("predictions", PredictionTimeoutError), ("auto", APITimeoutError)]
)
def test_run_with_on_text_times_out_as_run_does(in_memory, io, route, kind):
    """With an id known it is a PredictionTimeoutError; without, an APITimeoutError. Nothing is canceled."""
    io.route(CREATE, reply(201, prediction(urls={"stream": "/s"})))
    io.route("GET /s", events(ONE, FOREVER))
    io.route(SSE, events(ONE, FOREVER))
    with pytest.raises(kind) as caught:
        in_memory(route=route).run(MODEL, {}, on_text=lambda _: None, timeout=30)
    assert type(caught.value) is kind
    assert io.moment == pytest.approx(1030)
    assert caught.value.partial_text == "a"
    assert getattr(caught.value.prediction, "id", None) == ("p1" if route == "predictions" else None)
    assert not [line for line in io.lines if "cancel" in line]


# Over a socket: framing, and that nothing is held back.


@pytest.mark.parametrize(("framing", "newline"), [("chunked", b"\n"), ("length", b"\r\n"), ("close", b"\r")])
def test_recordings_over_a_socket(connect, server, samples, newline, framing):
    """Every recording is exact over a socket, in small parts, whatever delimits the body."""
    client = connect()
    for name, expected in json.loads((samples / "wire" / "expected.json").read_text("utf-8")).items():
        data = (samples / "wire" / f"{name}.sse").read_bytes().replace(b"\n", newline)
        parts = [data[at : at + 7] for at in range(0, len(data), 7)]
        server.route(ON_SSE, stream(*parts, framing=framing))
        reading = client.stream(MODEL, {})
        assert "".join(reading) == expected == reading.text == reading.prediction.text


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_a_piece_comes_before_the_next_event(connect, server, newline):
    """No delay: the server holds the next bytes back until the client has the piece; `done` too."""
    got = [threading.Event() for _ in range(3)]
    parts = []
    for number, event in enumerate(got):
        parts += [f"event: output\ndata: {number}\n\n".encode().replace(b"\n", newline), event]
    server.route(ON_SSE, stream(*parts, b"event: done\ndata: {}\n\n"))
    reading = connect().stream(MODEL, {})
    for number, event in enumerate(got):
        assert next(reading) == str(number)
        assert reading.text == "012"[: number + 1]
        event.set()
    assert list(reading) == []
    assert reading.prediction.output == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("framing", "finish"), [("chunked", True), ("chunked", False), ("close", True), ("length", True)]
)
def test_a_body_that_ends_before_its_end_event_was_cut(connect, server, framing, finish):
    """However the body is framed, and whether it is whole or not."""
    server.route(ON_SSE, stream(frames("a", end=False), framing=framing, finish=finish))
    reading = connect().stream(MODEL, {})
    with pytest.raises(StreamInterruptedError) as caught:
        list(reading)
    assert caught.value.partial_text == "a" == reading.text
    assert next(reading, None) is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("ending", [reset, hang_up])
def test_a_reset_in_the_middle_is_an_interruption(connect, server, ending):
    """A RST after the first piece is a StreamInterruptedError, never tried again."""
    got = threading.Event()

    def script(exchange):
        stream(frames("a", end=False), got, finish=False)(exchange)
        ending(exchange)

    server.route(ON_SSE, script)
    reading = connect().stream(MODEL, {})
    assert next(reading) == "a"
    got.set()
    with pytest.raises(StreamInterruptedError) as caught:
        next(reading)
    assert caught.value.partial_text == "a"
    assert len(server.requests) == 1


@pytest.mark.parametrize(("framing", "whole"), [("chunked", True), ("length", True), ("close", False)])
def test_unnamed_streams_end_by_their_framing(connect, server, framing, whole):
    """Unnamed events: last chunk and full Content-Length end the stream, a closed connection cuts it."""
    server.route(ON_SSE, stream(b"data: a\n\ndata: b\n\n", framing=framing))
    reading = connect().stream(MODEL, {})
    if whole:
        assert list(reading) == ["a", "b"]
    else:
        with pytest.raises(StreamInterruptedError):
            list(reading)
    assert reading.text == "ab"


def test_the_connection_is_used_again_after_a_good_end(connect, server):
    """A stream that is read to its end gives its connection back."""
    server.route(ON_SSE, stream(frames("a")))
    client = connect()
    for _ in range(3):
        list(client.stream(MODEL, {}))
    assert server.connections == 1


def test_a_body_that_does_not_end_after_done_is_not_waited_for(connect, server):
    """After `done` nothing more than a moment is waited for."""
    go_on = threading.Event()
    server.route(ON_SSE, stream(frames("a"), go_on))
    assert list(connect().stream(MODEL, {})) == ["a"]
    go_on.set()


def test_a_reset_after_a_good_end_is_of_no_account(connect, server):
    """A RST after `done` does not spoil what was whole."""

    def script(exchange):
        stream(frames("a"), finish=False)(exchange)
        exchange.reset()

    server.route(ON_SSE, script)
    assert list(connect().stream(MODEL, {})) == ["a"]
