"""Time: every limit holds, within a second, whatever the service sends or does not send.

Which limit ends what, and with which error, is asked of a clock that jumps; that sockets keep to it, of real
ones with short limits.
"""

import asyncio
import math
import signal
import socket
import time
from itertools import repeat

import httpx
import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.virtual_io import FOREVER, SILENCE, ScriptedAnswer, VirtualIO, operations, reply, run_request
from support.wire_server import answer, frames, silence, stream, trickle

from rockai_transport import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    Client,
    ConfigurationError,
    Timeouts,
)
from rockai_transport.protocol.io import Notices

RUN, SSE = "POST /v1/run", "POST /v1/run_sse"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
SHORT = 0.15
EVERY = 0.03
GRACE = 1.0


# In memory.


def body(*chunks):
    """An answer whose head comes at once, and whose body in these chunks."""
    return lambda: ScriptedAnswer(200, chunks, {"content-type": "application/json"}, 0.0)


def trickled():
    """A body that comes a byte at a time, and never to its end."""
    chunks = (part for pair in repeat((7, b" ")) for part in pair)
    return ScriptedAnswer(200, chunks, {"content-type": "application/json"}, 0.0)


def silent():
    return SILENCE


CALLS = {
    "run": lambda client, **own: client.run(MODEL, {}, **own),
    "create": lambda client: client.create(model=MODEL, input={}),
    "get": lambda client: client.get("p1"),
    "cancel": lambda client: client.cancel("p1"),
}
LIMITS = {
    # what comes: (answer, call, the client's settings, the call's own timeout, seconds until it is given up)
    "the client's total": (silent, "run", {"total": 30}, None, 30),
    "the call's own beats it": (silent, "run", {"total": 30}, 60, 60),
    "a shorter one too": (silent, "run", {"total": 30}, 20, 20),
    "its own may be none": (silent, "run", {"total": 30, "first_byte": 100}, math.inf, 100),
    "the first byte has its own limit": (silent, "run", {"first_byte": 100}, None, 100),
    "half an hour, if none is set": (silent, "run", {}, None, 1800),
    "create": (silent, "create", {"total": 30}, None, 30),
    "get": (silent, "get", {"total": 30}, None, 30),
    "cancel": (silent, "cancel", {"total": 30}, None, 30),
    "a silent body": (body(b'{"a', FOREVER), "run", {"total": 30}, None, 30),
    "silence within a body": (body(b'{"a', 30, b'"', FOREVER), "run", {"idle": 50}, None, 80),
    "a trickled body": (trickled, "run", {"total": 30}, None, 30),
    "a trickled body without total is read on": (
        body(*[200, b" "] * 20, b'"x"'), "run", {}, None, None,
    ),
    "a trickled body of a look": (trickled, "get", {"poll": 20}, None, 20),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMITS)
def test_the_limits_of_a_call(in_memory, io, case):
    """Total, first byte, and silence after it: each ends a call, and the tighter one counts."""
    made, call, limits, timeout, seconds = LIMITS[case]
    timeouts = Timeouts(**{name: value for name, value in limits.items() if name != "total"})
    client = in_memory(timeout=limits.get("total"), timeouts=timeouts, max_retries=0)
    io.always(made())
    own = {} if timeout is None else {"timeout": timeout}
    if seconds is None:
        assert CALLS[call](client, **own).output == "x"
        return
    with pytest.raises(APITimeoutError) as caught:
        CALLS[call](client, **own)
    assert type(caught.value) is APITimeoutError
    assert io.moment == pytest.approx(1000 + seconds)
    assert caught.value.may_have_started is (call in {"run", "create"})
    assert ("cold" in str(caught.value)) is caught.value.may_have_started  # only what may start a model
    assert not io.is_open


def test_one_try_of_a_stream_has_no_limit_of_its_own():
    """A cold start may use up the whole first-byte limit in one try."""
    io = VirtualIO(reply(200, "x", after=1799))
    assert io.do(operations().run, run_request(MODEL), None, lambda _: None).text == "x"


@pytest.mark.parametrize("bad", [0, -1, math.nan, True, "5", [], 10**400, -math.inf])
def test_odd_timeouts_are_refused(in_memory, io, bad):
    """0, negative, NaN, a bool, a string: a ConfigurationError, and nothing is sent."""
    with pytest.raises(ConfigurationError, match="timeout"):
        in_memory(timeout=bad)
    with pytest.raises(ConfigurationError, match=r"Timeouts\.idle"):
        Timeouts(idle=bad)
    client = in_memory()
    for call in (
        lambda: client.run(MODEL, {}, timeout=bad),
        lambda: client.run(MODEL, {}, timeout=bad, on_text=print),
        lambda: client.client.stream(MODEL, {}, timeout=bad),
        lambda: client.wait("p1", timeout=bad),
    ):
        with pytest.raises(ConfigurationError, match="timeout"):
            call()
    assert not io.requests


def test_the_notice_while_a_call_is_silent(in_memory, io, caplog):
    """At 10 s of silence, then once a minute, one line says that the model may be starting."""
    caplog.set_level("INFO", "rockai")
    io.always(SILENCE)
    with pytest.raises(APITimeoutError):
        in_memory().run(MODEL, {}, timeout=200)
    assert [record.getMessage() for record in caplog.records] == [
        f"POST /run: waiting for {waited} s. The model may be starting: a cold start takes minutes."
        for waited in (10, 70, 130, 190)
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_the_notice_of_a_look_says_nothing_of_the_model(in_memory, io, caplog):
    """No model has to start for it: it is the service that is silent."""
    caplog.set_level("INFO", "rockai")
    io.always(SILENCE)
    with pytest.raises(APITimeoutError):
        in_memory(max_retries=0).get("p1")
    assert [record.getMessage() for record in caplog.records] == ["GET /predictions/p1: waiting for 10 s."]


def test_the_notice_is_said_late_once(caplog):
    """Who looks at the clock seldom says it once for all the minutes that went by."""
    caplog.set_level("INFO", "rockai")
    notices = Notices(1000.0, "POST /run")
    for moment in (1005, 1500, 1500, 1501):
        notices.tell(float(moment))
    assert len(caplog.records) == 2


# Over sockets, whose limits are short.


@pytest.fixture(scope="module", autouse=True)
def _import_connections():
    """A process imports these with its first request: on a busy machine, longer than the limits take."""

    async def run():
        async with AsyncClient("t", base_url="http://127.0.0.1:1/v1", max_retries=0) as client:
            with pytest.raises(APIConnectionError):
                await client.run(MODEL, {})

    asyncio.run(run())


@pytest.fixture
def at_most():
    """Assert that a block raises APITimeoutError after so many seconds, and within a second more."""

    def check(seconds, call):
        started = time.monotonic()
        with pytest.raises(APITimeoutError) as caught:
            call()
        assert seconds - 0.05 <= time.monotonic() - started <= seconds + GRACE
        assert type(caught.value) is APITimeoutError
        return caught.value

    return check


SLOW = {
    "silence": silence(),
    "trickled status line": trickle(b"HTTP/1.1 2", b"0", EVERY),
    "trickled headers": trickle(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", EVERY),
    "trickled body": trickle(JSON_HEAD, b" ", EVERY),
    "silent body": silence(JSON_HEAD + b'{"a'),
    "informational answers": trickle(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", EVERY),
}


@pytest.mark.parametrize(
    ("case", "connection"),
    [*((case, "fresh") for case in SLOW), ("silence", "reused"), ("trickled headers", "reused")],
)
def test_a_total_holds_on_a_call(connect, server, at_most, case, connection):
    """A total deadline holds when headers or body trickle or the service is silent, on any connection."""
    client = connect(timeout=SHORT)
    if connection == "reused":
        server.route(RUN, answer(200, "x"), SLOW[case])
        client.run(MODEL, {})
    else:
        server.route(RUN, SLOW[case])
    error = at_most(SHORT, lambda: client.run(MODEL, {}))
    assert error.may_have_started
    server.wait_for(RUN, 2 if connection == "reused" else 1).wait_left()
    assert server.connections == 1


STREAMS = {
    "silence": silence(),
    "trickled headers": trickle(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", EVERY),
    "silent stream": silence(SSE_HEAD),
    "heartbeats": trickle(SSE_HEAD, b": ping\n\n", EVERY),
    "half an event": trickle(SSE_HEAD + b"event: output\ndata: a", b"a", EVERY),
    "pieces for ever": trickle(SSE_HEAD, frames("a", end=False), EVERY),
}


@pytest.mark.parametrize(
    ("case", "connection"),
    [*((case, "fresh") for case in STREAMS), ("silence", "reused"), ("pieces for ever", "reused")],
)
def test_a_total_holds_on_a_stream(connect, server, at_most, case, connection):
    """A total deadline holds on a stream: APITimeoutError with exactly what was handed on."""
    client = connect()
    if connection == "reused":
        server.route(SSE, stream(frames("x")), STREAMS[case])
        list(client.stream(MODEL, {}))
    else:
        server.route(SSE, STREAMS[case])
    reading = client.stream(MODEL, {}, timeout=SHORT)
    got = []
    error = at_most(SHORT, lambda: got.extend(reading))
    assert error.partial_text == reading.text
    assert set(reading.text) == ({"a"} if case == "pieces for ever" else set())
    assert error.may_have_started
    server.wait_for(SSE, 2 if connection == "reused" else 1).wait_left()


OVER_TLS = pytest.mark.parametrize("scheme", ["https"])  # whose sockets are others


@OVER_TLS
def test_a_total_holds_on_a_call_over_tls(connect, server, at_most):
    """A trickled body over TLS, where a record is not a read."""
    server.route(RUN, SLOW["trickled body"])
    at_most(SHORT, lambda: connect(timeout=SHORT).run(MODEL, {}))
    server.wait_for(RUN).wait_left()


@OVER_TLS
def test_a_total_holds_on_a_stream_over_tls(connect, server, at_most):
    """Heartbeats over TLS, on a connection that is used again."""
    server.route(SSE, stream(frames("x")), STREAMS["heartbeats"])
    client = connect()
    list(client.stream(MODEL, {}))
    at_most(SHORT, lambda: list(client.stream(MODEL, {}, timeout=SHORT)))
    server.wait_for(SSE, 2).wait_left()
    assert server.connections == 1


def test_the_first_event_has_its_own_limit(connect, server, at_most):
    """Before its first event a stream has `first_byte` seconds; heartbeats do not put that off."""
    server.route(SSE, STREAMS["heartbeats"])
    client = connect(timeouts=Timeouts(first_byte=SHORT, idle=30))
    at_most(SHORT, lambda: list(client.stream(MODEL, {})))


def test_idle_counts_from_the_first_event_and_any_byte_counts(connect, server, at_most):
    """After the first event silence ends a stream; heartbeats keep it alive."""
    client = connect(timeouts=Timeouts(idle=0.25))

    def script(exchange):
        exchange.send(SSE_HEAD + frames("a", end=False))
        for _ in range(8):
            time.sleep(0.05)
            exchange.send(b": ping\n\n")
        exchange.send(frames("b", end=False))
        exchange.wait_left()

    server.route(SSE, script)
    error = at_most(0.65, lambda: list(client.stream(MODEL, {})))
    assert error.partial_text == "ab"


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
        for limits in ({"timeouts": Timeouts(connect=SHORT), "max_retries": 0}, {"timeout": SHORT}):
            client = connect(url, **limits)
            error = at_most(SHORT, lambda client=client: client.run(MODEL, {}))
            assert not error.may_have_started
        for filler in fillers:
            filler.close()


def test_a_service_that_does_not_read(connect, at_most):
    """A request that the service does not take up ends with the total."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little is taken up by the kernel
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=0.3)
        at_most(0.3, lambda: client.run(MODEL, {"a": "x" * 8_000_000}))


@pytest.mark.parametrize("huge", [math.inf, 1e12, 10**18])
def test_huge_timeouts_are_none(connect, server, huge):
    """No clock overflows, however long a limit is."""
    server.route(RUN, answer(200, "x"))
    server.route(SSE, stream(frames("x")))
    limits = Timeouts(connect=huge, first_byte=huge, idle=huge, poll=huge, wait=huge, stall=huge)
    client = connect(timeout=huge, timeouts=limits)
    assert client.run(MODEL, {}).output == "x"
    assert list(client.stream(MODEL, {})) == ["x"]


@pytest.mark.parametrize("route", [RUN, SSE])
def test_the_notice_comes_while_the_socket_is_silent(connect, server, caplog, monkeypatch, route):
    """The ios say it while they wait for a socket, and heartbeats do not keep them from it."""
    from rockai_transport.protocol import io as seam

    monkeypatch.setattr(seam, "FIRST_NOTICE", 0.1)
    monkeypatch.setattr(seam, "NOTICE_EVERY", 0.15)
    caplog.set_level("INFO", "rockai")
    client = connect(timeout=0.35)
    server.route(route, STREAMS["heartbeats"] if route == SSE else silence())
    with pytest.raises(APITimeoutError):
        client.run(MODEL, {}) if route == RUN else list(client.stream(MODEL, {}))
    assert len([record for record in caplog.records if "may be starting" in record.getMessage()]) == 2


def test_a_client_of_ones_own_keeps_deadlines_by_its_sockets(kind, connect, server, at_most):
    """With an http_client of one's own a silent service still ends with the total."""
    mine = httpx.AsyncClient() if kind == "async" else httpx.Client()
    client = connect(http_client=mine, timeout=SHORT)
    server.route(RUN, silence())
    at_most(SHORT, lambda: client.run(MODEL, {}))
    server.route(RUN, answer(200, "x"))
    assert client.run(MODEL, {}).output == "x"
    client.close()
    assert not mine.is_closed
    client.do(mine.aclose()) if kind == "async" else mine.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
@pytest.mark.parametrize(
    ("call", "route", "cancels"),
    [
        (lambda client: client.run(MODEL, {}), "run", 0),
        (lambda client: client.predictions.wait("p1"), "predictions", 0),
        (lambda client: list(client.stream(MODEL, {})), "predictions", 1),
    ],
)
def test_a_time_limit_of_ones_own_ends_a_call(server, call, route, cancels):
    """A `TimeoutError` of a signal handler is raised unchanged, and cancels like any exception of the caller.

    It is not taken for a socket's, which `wait` would survive.
    """

    def handler(_, frame):
        # httpcore's `read`, at the socket; before the answer to create is read, nothing can be canceled
        if frame.f_code.co_name == "read" and server.lines[-1:] not in ([], ["POST /v1/predictions"]):
            raise TimeoutError("my own limit")

    server.route(RUN, silence())
    server.route("GET /v1/predictions/p1", silence())
    server.route("POST /v1/predictions", answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", silence(SSE_HEAD))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    try:
        with (
            Client(TOKEN, server.base_url, timeout=3, route=route) as client,
            pytest.raises(TimeoutError, match="my own limit"),
        ):
            call(client)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert server.lines.count("POST /v1/predictions/p1/cancel") == cancels


def test_a_stream_of_a_known_prediction_is_canceled_when_its_time_is_up(connect, server, at_most):
    """The connection is closed and the cancel sent, before the error is raised that carries it."""
    server.route("POST /v1/predictions", answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", silence(SSE_HEAD + frames("a", end=False)))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    client = connect(route="predictions")
    error = at_most(SHORT, lambda: list(client.stream(MODEL, {}, timeout=SHORT)))
    assert (error.partial_text, error.prediction.id, error.prediction.status) == ("a", "p1", "canceled")
    assert server.lines[-1] == "POST /v1/predictions/p1/cancel"
    server.seen("GET /s")[0].wait_left()
