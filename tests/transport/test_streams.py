"""Streams over real sockets: nothing is lost, nothing is late, nothing is taken for whole that is not."""

import threading
from pathlib import Path

import pytest
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, hang_up, reset, stream

from rockai_transport import (
    APIConnectionError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    StreamInterruptedError,
)

SSE, CREATE, GET = "POST /v1/run_sse", "POST /v1/predictions", "GET /v1/predictions/p1"
WIRE = Path(__file__).parent.parent / "samples" / "wire"


@pytest.fixture(params=["http", "https"])
def scheme(request):
    """Over TLS it is other sockets that keep time and are closed."""
    return request.param


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_recordings_over_a_socket(client, server, samples, newline, framing):
    """Every recording is exact over a socket, in small parts, whatever delimits the body."""
    import json  # noqa: PLC0415

    for name, expected in json.loads((samples / "wire" / "expected.json").read_text("utf-8")).items():
        data = (samples / "wire" / f"{name}.sse").read_bytes().replace(b"\n", newline)
        parts = [data[at : at + 7] for at in range(0, len(data), 7)]
        server.route(SSE, stream(*parts, framing=framing))
        reading = client.stream(MODEL, {})
        assert "".join(reading) == expected == reading.text == reading.prediction.text


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_a_piece_comes_before_the_next_event(client, server, newline):
    """No delay: the server holds the next bytes back until the client has the piece."""
    got = [threading.Event() for _ in range(3)]
    parts = []
    for number, event in enumerate(got):
        parts += [f"event: output\ndata: {number}\n\n".encode().replace(b"\n", newline), event]
    server.route(SSE, stream(*parts, b"event: done\ndata: {}\n\n"))
    reading = client.stream(MODEL, {})
    for number, event in enumerate(got):
        assert next(reading) == str(number)
        event.set()
    assert list(reading) == []


def test_the_last_piece_comes_before_the_end(client, server):
    """The piece before `done` is handed on while `done` has not been sent."""
    got = threading.Event()
    server.route(SSE, stream(frames("a", end=False), got, b"event: done\n\n"))
    reading = client.stream(MODEL, {})
    assert next(reading) == "a"
    assert reading.text == "a"
    got.set()
    assert list(reading) == []
    assert reading.prediction.output == ["a"]


CUTS = {
    "between events": (frames("a", end=False),),
    "inside an event": (frames("a", end=False) + b"event: output\ndata: b",),
    "before the blank line": (frames("a", end=False) + b"event: output\ndata: b\n",),
    "before the blank line of done": (frames("a", end=False) + b"event: done\ndata: {}\n",),
}


@pytest.mark.parametrize("case", CUTS)
@pytest.mark.parametrize(
    ("framing", "finish"), [("chunked", True), ("chunked", False), ("close", True), ("length", True)]
)
def test_a_stream_that_ends_before_its_end_is_interrupted(client, server, case, framing, finish):
    """Without `done` a stream was cut, however the body ends; partial_text is exactly what was handed on."""
    server.route(SSE, stream(*CUTS[case], framing=framing, finish=finish))
    reading = client.stream(MODEL, {})
    got = []
    with pytest.raises(StreamInterruptedError) as caught:  # noqa: PT012
        got.extend(reading)
        raise AssertionError("it came to an end")
    assert caught.value.partial_text == "a" == reading.text
    assert caught.value.may_have_started
    assert "1 characters" in str(caught.value)
    assert next(reading, None) is None  # and it is over
    assert len(server.requests) == 1


@pytest.mark.parametrize("ending", [reset, hang_up])
def test_a_reset_in_the_middle_is_an_interruption(client, server, ending):
    """A RST after the first piece is a StreamInterruptedError, never tried again."""
    got = threading.Event()

    def script(exchange):
        stream(frames("a", end=False), got, finish=False)(exchange)
        ending(exchange)

    server.route(SSE, script)
    reading = client.stream(MODEL, {})
    assert next(reading) == "a"
    got.set()
    with pytest.raises(StreamInterruptedError) as caught:
        next(reading)
    assert caught.value.partial_text == "a"
    assert len(server.requests) == 1


def test_an_empty_stream_is_interrupted(client, server):
    """A body without any event is no empty answer, though it be framed."""
    for framing in ("chunked", "length", "close"):
        server.route(SSE, stream(framing=framing))
        with pytest.raises(StreamInterruptedError):
            list(client.stream(MODEL, {}))


def test_a_stream_of_nothing_but_done_is_an_empty_answer(client, server):
    """`done` alone is a good end: the model said nothing."""
    server.route(SSE, stream(frames()))
    reading = client.stream(MODEL, {})
    assert list(reading) == []
    assert reading.prediction.status == "succeeded"


@pytest.mark.parametrize(("framing", "whole"), [("chunked", True), ("length", True), ("close", False)])
def test_unnamed_streams_end_by_their_framing(client, server, framing, whole):
    """Unnamed events: last chunk and full Content-Length end the stream, a closed connection cuts it."""
    server.route(SSE, stream(b"data: a\n\ndata: b\n\n", framing=framing))
    reading = client.stream(MODEL, {})
    if whole:
        assert list(reading) == ["a", "b"]
    else:
        with pytest.raises(StreamInterruptedError):
            list(reading)
    assert reading.text == "ab"


def test_unnamed_streams_end_with_done_marker(client, server):
    """[DONE] ends a close-delimited stream of unnamed events."""
    server.route(SSE, stream(b"data: a\n\ndata: [DONE]\n\n", framing="close"))
    assert list(client.stream(MODEL, {})) == ["a"]


def test_empty_pieces_are_not_handed_on(client, server):
    """A piece without text is nobody's business."""
    server.route(SSE, stream(frames("", "a", "", "b", "")))
    assert list(client.stream(MODEL, {})) == ["a", "b"]


def test_nothing_is_sent_before_the_first_piece_is_asked_for(client, server):
    """stream() alone sends nothing; closing it then sends nothing either, and it is over."""
    reading = client.stream(MODEL, {})
    reading.close()
    reading.close()
    assert next(reading, None) is None
    assert not server.requests


def test_the_connection_is_used_again_after_a_good_end(client, server):
    """A stream that is read to its end gives its connection back."""
    server.route(SSE, stream(frames("a")))
    for _ in range(3):
        list(client.stream(MODEL, {}))
    assert server.connections == 1


def test_a_body_that_does_not_end_after_done_is_not_waited_for(client, server):
    """After `done` nothing more than a moment is waited for."""
    go_on = threading.Event()
    server.route(SSE, stream(frames("a"), go_on))
    assert list(client.stream(MODEL, {})) == ["a"]
    go_on.set()


def test_an_error_after_a_good_end_is_of_no_account(client, server):
    """A RST after `done` does not spoil what was whole."""

    def script(exchange):
        stream(frames("a"), finish=False)(exchange)
        exchange.reset()

    server.route(SSE, script)
    assert list(client.stream(MODEL, {})) == ["a"]


def test_a_broken_stream_carries_its_prediction(connect, server):
    """Where the id is known a stream that broke off says so, and its prediction can be waited for."""
    client = connect(route="predictions")
    server.route(CREATE, answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", stream(frames("a", end=False)))
    server.route(GET, answer(200, prediction("succeeded", output=["a", "b"])))
    with pytest.raises(StreamInterruptedError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.prediction.id == "p1"
    assert "predictions.wait('p1')" in str(caught.value)
    assert client.wait(caught.value.prediction).text == "ab"
    assert "POST /v1/predictions/p1/cancel" not in server.lines


@pytest.mark.parametrize(
    ("script", "kind"),
    [(answer(404, {"detail": "x"}), NotFoundError), (answer(500, {}), InternalServerError)],
)
def test_a_stream_address_that_fails_carries_the_prediction(connect, server, script, kind):
    """If the stream of a created prediction cannot be opened, the error carries the prediction."""
    client = connect(route="predictions", max_retries=0)
    server.route(CREATE, answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", script)
    with pytest.raises(kind) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.prediction.id == "p1"
    assert caught.value.may_have_started


def test_a_stream_that_does_not_start_is_a_connection_error(client, server):
    """A connection that breaks before the answer's head is an APIConnectionError, and sent once."""
    server.route(SSE, reset)
    with pytest.raises(APIConnectionError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.may_have_started
    assert len(server.requests) == 1


def test_a_finished_prediction_is_streamed_as_one_piece(client, server):
    """predictions.stream of one that is done asks for nothing."""
    server.route(GET, answer(200, prediction("succeeded", output=["a", "b"], urls={"stream": "/s"})))
    assert list(client.follow(client.get("p1"))) == ["ab"]
    assert list(client.follow("p1")) == ["ab"]


def test_logs_and_unknown_events_are_passed_over(client, server):
    """Events of other names are no text."""
    noise = b"event: logs\ndata: 10%|\n\nevent: metric\ndata: {}\n\n: ping\n\n"
    server.route(SSE, stream(noise + frames("a", end=False) + noise + frames("b")))
    assert list(client.stream(MODEL, {})) == ["a", "b"]


@pytest.mark.parametrize("left", [False, True])
def test_a_stream_is_read_once(client, server, left):
    """Iterating again, or after it was closed, is an error: it would look like an empty answer."""
    server.route(SSE, stream(frames("a", "b")))
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
