"""Time: every limit holds, within a second, whatever the service sends or does not send."""

import math
import socket
import threading
import time

import httpx
import pytest
from support.replies import MODEL, prediction
from support.virtual_shell import VirtualShell, flows, reply
from support.wire_server import answer, frames, silence, stream, trickle

from rockai_transport import APITimeoutError, ConfigurationError, PredictionTimeoutError, Timeouts
from rockai_transport.protocol.effects import Notices

RUN, SSE, CREATE, GET = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions", "GET /v1/predictions/p1"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
GRACE = 1.0


@pytest.fixture(params=["http", "https"])
def scheme(request):
    """Over TLS it is other sockets that keep time and are closed."""
    return request.param


@pytest.fixture
def at_most():
    """Assert that a block raises APITimeoutError after so many seconds, and within a second more."""

    def check(seconds, call, kind=APITimeoutError):
        started = time.monotonic()
        with pytest.raises(kind) as caught:
            call()
        assert seconds - 0.05 <= time.monotonic() - started <= seconds + GRACE
        assert type(caught.value) is kind
        return caught.value

    return check


SLOW = {
    "silence": silence(),
    "trickled status line": trickle(b"HTTP/1.1 2", b"0", 0.05),
    "trickled headers": trickle(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 0.05),
    "trickled body": trickle(JSON_HEAD, b" ", 0.05),
    "silent body": silence(JSON_HEAD + b'{"a'),
    "informational answers": trickle(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05),
}


@pytest.mark.parametrize("case", SLOW)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "reused"])
def test_a_total_holds_on_a_call(connect, server, at_most, case, fresh):
    """A total deadline holds when headers or body trickle or the service is silent, on any connection."""
    client = connect(timeout=0.25)
    if not fresh:
        server.route(RUN, answer(200, "x"), SLOW[case])
        client.run(MODEL, {})
    else:
        server.route(RUN, SLOW[case])
    error = at_most(0.25, lambda: client.run(MODEL, {}))
    assert error.may_have_started
    assert server.connections == 1
    server.requests[-1].wait_left()


STREAMS = {
    "silence": silence(),
    "trickled headers": trickle(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 0.05),
    "silent stream": silence(SSE_HEAD),
    "heartbeats": trickle(SSE_HEAD, b": ping\n\n", 0.05),
    "half an event": trickle(SSE_HEAD + b"event: output\ndata: a", b"a", 0.05),
    "pieces for ever": trickle(SSE_HEAD, frames("a", end=False), 0.05),
}


@pytest.mark.parametrize("case", STREAMS)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "reused"])
def test_a_total_holds_on_a_stream(connect, server, at_most, case, fresh):
    """A total deadline holds on a stream: APITimeoutError with exactly what was handed on."""
    client = connect()
    if not fresh:
        server.route(SSE, stream(frames("x")), STREAMS[case])
        list(client.stream(MODEL, {}))
    else:
        server.route(SSE, STREAMS[case])
    reading = client.stream(MODEL, {}, timeout=0.25)
    got = []
    error = at_most(0.25, lambda: got.extend(reading))
    assert error.partial_text == reading.text
    assert set(reading.text) == ({"a"} if case == "pieces for ever" else set())
    assert error.may_have_started
    server.requests[-1].wait_left()


@pytest.mark.parametrize("case", ["silence", "silent stream", "heartbeats", "trickled headers"])
def test_the_first_event_has_its_own_limit(connect, server, at_most, case):
    """Before its first event a stream has `first_byte` seconds; heartbeats do not put that off."""
    server.route(SSE, STREAMS[case])
    client = connect(timeouts=Timeouts(first_byte=0.25, idle=30))
    at_most(0.25, lambda: list(client.stream(MODEL, {})))


def test_the_first_byte_of_a_call_has_its_own_limit(connect, server, at_most):
    """A call's first byte has the same limit."""
    server.route(RUN, silence())
    at_most(0.25, lambda: connect(timeouts=Timeouts(first_byte=0.25)).run(MODEL, {}))


def test_idle_counts_from_the_first_event_and_any_byte_counts(connect, server, at_most):
    """After the first event silence ends a stream; heartbeats keep it alive."""
    client = connect(timeouts=Timeouts(idle=0.5))
    server.route(SSE, silence(SSE_HEAD + frames("a", end=False)))
    error = at_most(0.5, lambda: list(client.stream(MODEL, {})))
    assert error.partial_text == "a"
    alive = threading.Event()

    def script(exchange):
        exchange.send(SSE_HEAD + frames("a", end=False))
        for _ in range(8):
            alive.wait(0.1)
            exchange.send(b": ping\n\n")
        exchange.send(frames("b"))
        exchange.close()

    server.route(SSE, script)
    assert list(client.stream(MODEL, {})) == ["a", "b"]


def test_the_client_timeout_holds_for_a_call_without_its_own(connect, server, at_most):
    """A call without its own timeout takes the client's; its own beats it, math.inf too."""
    server.route(RUN, silence())
    client = connect(timeout=0.3, timeouts=Timeouts(first_byte=1.0))
    at_most(0.3, lambda: client.run(MODEL, {}))
    at_most(0.6, lambda: client.run(MODEL, {}, timeout=0.6))
    at_most(1.0, lambda: client.run(MODEL, {}, timeout=math.inf))


@pytest.mark.parametrize("call", ["get", "cancel", "create"])
def test_the_client_timeout_holds_for_single_calls(connect, server, at_most, call):
    """get, cancel and create keep the client's total too."""
    server.script = silence()
    client = connect(timeout=0.3)
    calls = {
        "get": lambda: client.get("p1"),
        "cancel": lambda: client.cancel("p1"),
        "create": lambda: client.create(model=MODEL, input={}),
    }
    at_most(0.3, calls[call])


def test_a_stream_of_a_known_prediction_carries_it(connect, server, at_most):
    """A time-out of a stream whose id is known carries the prediction, and cancels it."""
    server.route(CREATE, answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", silence(SSE_HEAD + frames("a", end=False)))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    client = connect(route="predictions")
    error = at_most(0.25, lambda: list(client.stream(MODEL, {}, timeout=0.25)))
    assert (error.partial_text, error.prediction.id) == ("a", "p1")
    server.wait_for("POST /v1/predictions/p1/cancel")
    server.seen("GET /s")[0].wait_left()


def test_run_with_on_text_times_out_as_run_does(connect, server, at_most):
    """With an id known it is a PredictionTimeoutError and nothing is canceled; without, an APITimeoutError."""  # noqa: E501
    server.route(CREATE, answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", silence(SSE_HEAD + frames("a", end=False)))
    server.route(SSE, silence(SSE_HEAD + frames("a", end=False)))

    def run(route):
        return connect(route=route).run(MODEL, {}, on_text=lambda _: None, timeout=0.25)

    error = at_most(0.25, lambda: run("predictions"), PredictionTimeoutError)
    assert (error.partial_text, error.prediction.id) == ("a", "p1")
    error = at_most(0.25, lambda: run("auto"))
    assert error.partial_text == "a"
    assert not server.seen("cancel")


def test_a_stream_waiting_for_a_prediction_without_stream_times_out(connect, server, at_most):
    """A stream that waits for its one piece keeps the total, as an APITimeoutError."""
    server.route(CREATE, answer(201, prediction()))
    server.route(GET, answer(200, prediction("processing")))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    error = at_most(0.25, lambda: list(connect(route="predictions").stream(MODEL, {}, timeout=0.25)))
    assert error.prediction.id == "p1"
    server.wait_for("POST /v1/predictions/p1/cancel")


def test_a_connection_that_does_not_come_about(connect, at_most):
    """A connect that hangs ends with the connect limit and with the total, and nothing was sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):  # more than the backlog holds: further ones are not answered
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        url = f"http://127.0.0.1:{port}/v1"
        error = at_most(
            0.25, lambda: connect(url, timeouts=Timeouts(connect=0.25), max_retries=0).run(MODEL, {})
        )
        assert not error.may_have_started
        error = at_most(0.25, lambda: connect(url, timeout=0.25).run(MODEL, {}))
        assert not error.may_have_started
        for filler in fillers:
            filler.close()


def test_a_service_that_does_not_read(connect, server, at_most, later):
    """A request that the service does not take up ends with the total."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=0.5)
        at_most(0.5, lambda: client.run(MODEL, {"a": "x" * 30_000_000}))


@pytest.mark.parametrize("bad", [0, -1, math.nan, True, "5", [], 10**400, -math.inf])
def test_odd_timeouts_are_refused(connect, server, bad):
    """0, negative, NaN, a bool, a string: a ConfigurationError, and nothing is sent."""
    with pytest.raises(ConfigurationError, match="timeout"):
        connect(timeout=bad)
    with pytest.raises(ConfigurationError, match=r"Timeouts\.idle"):
        Timeouts(idle=bad)
    client = connect()
    for call in (
        lambda: client.run(MODEL, {}, timeout=bad),
        lambda: client.run(MODEL, {}, timeout=bad, on_text=print),
        lambda: client.client.stream(MODEL, {}, timeout=bad),
        lambda: client.wait("p1", timeout=bad),
    ):
        with pytest.raises(ConfigurationError, match="timeout"):
            call()
    assert not server.requests


@pytest.mark.parametrize("huge", [math.inf, 1e12, 10**18])
def test_huge_timeouts_are_none(connect, server, huge):
    """No clock overflows, however long a limit is."""
    server.route(RUN, answer(200, "x"))
    server.route(SSE, stream(frames("x")))
    limits = Timeouts(connect=huge, first_byte=huge, idle=huge, poll=huge, wait=huge, stall=huge)
    client = connect(timeout=huge, timeouts=limits)
    assert client.run(MODEL, {}).output == "x"
    assert list(client.stream(MODEL, {})) == ["x"]


def test_the_notice_while_a_call_is_silent(caplog):
    """The same line is said while a call's first byte is waited for: at 10 s, then once a minute."""
    caplog.set_level("INFO", "rockai")
    notices = Notices(1000.0, "POST /run")
    for moment in range(1000, 1200):
        notices.tell(float(moment))
    assert [record.getMessage() for record in caplog.records] == [
        f"POST /run: waiting for {waited} s. The model may be starting: a cold start takes minutes."
        for waited in (10, 70, 130, 190)
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


@pytest.mark.parametrize("route", [RUN, SSE])
def test_the_notice_comes_while_the_socket_is_silent(connect, server, caplog, monkeypatch, route):
    """The shells say it while they wait for a socket, and heartbeats do not keep them from it."""
    from rockai_transport.protocol import effects  # noqa: PLC0415

    monkeypatch.setattr(effects, "_FIRST_NOTICE", 0.2)
    monkeypatch.setattr(effects, "_NOTICE_EVERY", 0.3)
    caplog.set_level("INFO", "rockai")
    client = connect(timeout=0.7)
    server.route(route, STREAMS["heartbeats"] if route == SSE else silence())
    with pytest.raises(APITimeoutError):
        client.run(MODEL, {}) if route == RUN else list(client.stream(MODEL, {}))
    assert len([record for record in caplog.records if "may be starting" in record.getMessage()]) == 2


def test_one_try_of_a_stream_has_no_limit_of_its_own():
    """A cold start may use up the whole first-byte limit in one try."""
    all_ = flows()
    from rockai_transport.protocol.references import ModelReference  # noqa: PLC0415

    shell = VirtualShell(reply(200, "x", after=1799))
    order = all_.order(ModelReference.parse(MODEL), {})
    assert shell.drive(all_.run_with_text(order, None, lambda _: None)).text == "x"


def test_a_client_of_ones_own_keeps_deadlines_by_its_sockets(kind, connect, server, at_most):
    """With an http_client of one's own a silent service still ends with the total."""
    mine = httpx.AsyncClient() if kind == "async" else httpx.Client()
    client = connect(http_client=mine, timeout=0.25)
    server.route(RUN, silence())
    at_most(0.25, lambda: client.run(MODEL, {}))
    server.route(RUN, answer(200, "x"))
    assert client.run(MODEL, {}).output == "x"
    client.close()
    assert not mine.is_closed
    client.do(mine.aclose()) if kind == "async" else mine.close()


def test_a_stream_that_times_out_says_what_became_of_its_prediction(connect, server):
    """It was canceled, since nobody reads on; what had come is named, and nothing is to be waited for."""
    server.route("POST /v1/predictions", answer(201, prediction("processing", urls={"stream": "/s"})))
    server.route("GET /s", silence(SSE_HEAD + frames("half", end=False)))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    with pytest.raises(APITimeoutError) as caught:
        list(connect(route="predictions").stream(MODEL, {}, timeout=0.3))
    assert str(caught.value) == (
        "The time limit ran out in the middle of the stream. The 4 characters that had arrived are in "
        "`partial_text`. Prediction p1 is canceled now."
    )
    assert caught.value.prediction.status == "canceled"


@pytest.mark.parametrize("told", [answer(204), answer(200, {})])
def test_a_cancel_that_tells_no_end_is_none(connect, server, told):
    """The error says what is known, never that a prediction which was streaming is starting now."""
    server.route("POST /v1/predictions", answer(201, prediction("starting", urls={"stream": "/s"})))
    server.route("GET /s", silence(SSE_HEAD + frames("half", end=False)))
    server.route("POST /v1/predictions/p1/cancel", told)
    with pytest.raises(APITimeoutError) as caught:
        list(connect(route="predictions").stream(MODEL, {}, timeout=0.3))
    assert "starting now" not in str(caught.value)


def test_only_what_may_start_a_model_is_told_of_cold_ones(connect, server):
    """A look that takes too long has another reason."""
    server.route("GET /v1/predictions/p1", silence())
    with pytest.raises(APITimeoutError) as caught:
        connect(max_retries=0, timeouts=Timeouts(poll=0.2)).get("p1")
    assert "cold" not in str(caught.value)
