"""The retry table, every cell; and that a POST which may have started is never sent twice."""

import email.utils
import errno
import logging
import os
import random
import socket
import time

import pytest
from support.replies import MODEL, prediction
from support.virtual_io import VirtualIO, operations, reply, run_request
from support.wire_server import answer, frames, hang_up, reset, silence, stream

from rockai_transport import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Client,
    InternalServerError,
    RateLimitError,
    Timeouts,
)
from rockai_transport.protocol.io import BrokenError, ExpiredError, NotSentError
from rockai_transport.protocol.messages import ResponseHead
from rockai_transport.protocol.retry import retry_after, retry_delay

GOOD = reply(200, prediction("succeeded", output="x"))


CALLS = {
    "get": lambda io, all_: io.do(all_.get, "p1"),
    "cancel": lambda io, all_: io.do(all_.cancel, "p1"),
    "create": lambda io, all_: io.do(all_.create, run_request(MODEL)),
    "run": lambda io, all_: io.do(all_.run, run_request(MODEL), None),
    "stream": lambda io, all_: io.do(all_.run, run_request(MODEL), None, lambda _: None),
}
STARTS = {"create", "run", "stream"}

# How a try fails → who may try again.
EVERY, HARMLESS, NONE = set(CALLS), {"get", "cancel"}, set()
TABLE = {
    "429": (reply(429, {}), EVERY),
    "429 with Retry-After": (reply(429, {}, retry_after="3"), EVERY),
    "503 with Retry-After": (reply(503, {}, retry_after="3"), EVERY),
    "never sent": (NotSentError("refused"), EVERY),
    "connect timeout": (NotSentError("slow", timed_out=True), EVERY),
    "envelope 429": (reply(200, {"code": 429, "msg": "busy"}), EVERY),
    "503": (reply(503, {}), HARMLESS),
    "408": (reply(408, {}), HARMLESS),
    "500": (reply(500, {}), HARMLESS),
    "502": (reply(502, {}), HARMLESS),
    "504": (reply(504, {}), HARMLESS),
    "500 with Retry-After": (reply(500, {}, retry_after="3"), HARMLESS),
    "reset": (BrokenError("reset"), HARMLESS),
    "read timeout": (ExpiredError("slow"), HARMLESS),
    "429 that asks for too long": (reply(429, {}, retry_after="61"), NONE),
    "503 that asks for too long": (reply(503, {}, retry_after="3600"), NONE),
    **{
        str(status): (reply(status, {}), NONE)
        for status in (301, 400, 401, 402, 403, 409, 418, 422, 501, 505)
    },
    "404 about the model": (reply(404, {"detail": "no such model"}), NONE),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", TABLE)
def test_table(case, call):
    """Who tries again after what: every kind of failure × every kind of call."""
    failure, who = TABLE[case]
    io = VirtualIO(failure, failure, GOOD)
    if call in who:
        assert CALLS[call](io, operations()).output == "x"
        assert len(io.requests) == 3
        return
    with pytest.raises((APIStatusError, APIConnectionError)) as caught:
        CALLS[call](io, operations())
    assert len(io.requests) == 1
    unsure = case in {
        "408",
        "500",
        "502",
        "503",
        "504",
        "501",
        "505",
        "500 with Retry-After",
        "reset",
        "read timeout",
    }
    assert caught.value.may_have_started is (call in STARTS and unsure)


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_max_retries(retries):
    """max_retries are the tries after the first; 0 means none."""
    io = VirtualIO(reply(429, {}))
    with pytest.raises(RateLimitError):
        CALLS["run"](io, operations(max_retries=retries))
    assert len(io.requests) == 1 + retries


def test_backoff():
    """Waits are min(0.5·2ⁿ, 8) s less up to 25 % jitter."""
    io = VirtualIO(reply(500, {}))
    with pytest.raises(InternalServerError):
        CALLS["get"](io, operations(max_retries=7))
    assert io.sleeps == [0.5, 1, 2, 4, 8, 8, 8]
    io = VirtualIO(reply(500, {}), jitter=1.0)
    with pytest.raises(InternalServerError):
        CALLS["get"](io, operations(max_retries=3))
    assert io.sleeps == [0.375, 0.75, 1.5]
    assert retry_delay(APIConnectionError("x"), 10_000, 0.0) == 8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("3", 3), ("60", 60), (" 2.5 ", 2.5), ("-5", 0), ("", None), ("soon", None), ("nan", None),
        (email.utils.formatdate(1_700_000_030, usegmt=True), 30), ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        (email.utils.formatdate(1_600_000_000, usegmt=True), 0), ("Tue, 99 Foo 2023", None), ("1e999", float("inf")),  # noqa: E501
        ("Wed, 31 Dec 99999 23:59:59 GMT", None), ("Tue, 14 Nov 2023 22:13:50", 30),
    ],
)  # fmt: skip
def test_retry_after_is_read(value, seconds):
    """Retry-After in seconds or as a date; what cannot be read is as if it were not there."""
    assert retry_after(ResponseHead(429, {"retry-after": value}, 1_700_000_000.0)) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of this platform cannot be set")
def test_a_date_without_a_zone_is_utc(monkeypatch):
    """As every date of HTTP is, wherever its reader lives."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        for value in ("Tue, 14 Nov 2023 22:13:50", "Tue, 14 Nov 2023 22:13:50 -0000"):
            assert retry_after(ResponseHead(429, {"retry-after": value}, 1_700_000_000.0)) == 30
    finally:
        monkeypatch.undo()
        time.tzset()


def test_retry_after_is_waited_for_exactly():
    """Up to 60 s the service gets what it asks for; beyond that the error comes at once, with retry_after."""
    io = VirtualIO(reply(429, {}, retry_after="60"), GOOD)
    assert CALLS["run"](io, operations()).output == "x"
    assert io.sleeps == [60]
    io = VirtualIO(reply(429, {}, retry_after="61"))
    with pytest.raises(RateLimitError) as caught:
        CALLS["run"](io, operations())
    assert caught.value.retry_after == 61
    assert io.sleeps == []
    io = VirtualIO(reply(429, {}, retry_after=email.utils.formatdate(1_700_000_030, usegmt=True)), GOOD)
    CALLS["get"](io, operations())
    assert io.sleeps == [30]


def test_waits_between_tries_count_against_the_total():
    """A wait that would end after the deadline is not begun: the error comes at once."""
    io = VirtualIO(reply(429, {}, retry_after="10"))
    with pytest.raises(RateLimitError):
        CALLS["get"](io, operations(timeout=9))
    assert io.sleeps == []
    io = VirtualIO(reply(429, {}, retry_after="4"))
    with pytest.raises(RateLimitError):
        CALLS["get"](io, operations(timeout=9))
    assert io.sleeps == [4, 4]


def test_the_first_byte_has_its_time_for_all_tries_together():
    """30 minutes hold for all tries together, 60 s for each of get, cancel and poll."""
    io = VirtualIO(reply(200, "x", after=1799))
    assert CALLS["run"](io, operations()).output == "x"
    io = VirtualIO(reply(200, "x", after=1801))
    with pytest.raises(APITimeoutError):
        CALLS["run"](io, operations())
    assert io.moment == 1000 + 1800
    for call in ("get", "cancel"):
        io = VirtualIO(reply(200, {}, after=61))
        with pytest.raises(APITimeoutError):
            CALLS[call](io, operations())
        assert len(io.requests) == 3
        assert io.moment == 1000 + 3 * 60 + sum(io.sleeps)


# Over real sockets.

ROUTES = {"run": "POST /v1/run", "stream": "POST /v1/run_sse", "get": "GET /v1/predictions/p1"}
FAULTS = {
    "reset": reset,
    "hang up": hang_up,
    "silence": silence(),
    "429": answer(429, {}, {"Retry-After": "0"}),
    "503": answer(503, {}),
}
SAID = {"reset": f"connection broke: [Errno {errno.ECONNRESET}] ", "silence": ": the time limit ran out. "}
"""What an error says, in both kinds of client, whatever httpcore and anyio call it."""


def every_call(client):
    return {
        "run": lambda: client.run(MODEL, {}),
        "stream": lambda: list(client.stream(MODEL, {})),
        "get": lambda: client.get("p1"),
    }


@pytest.mark.parametrize("call", ROUTES)
def test_why_there_is_no_connection(connect, call):
    """Both kinds of client give the system's reason, such as a refused connection or too many open files."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(APIConnectionError, match=rf"no connection: \[Errno {errno.ECONNREFUSED}\]") as caught:
        every_call(connect(address, max_retries=0))[call]()
    assert not caught.value.may_have_started


def test_too_many_open_files_are_not_blamed_on_the_network():
    """The system's own text for it is recognized: the process is at its limit, and the service is not."""
    io = VirtualIO(NotSentError(f"no connection: [Errno {errno.EMFILE}] {os.strerror(errno.EMFILE)}"))
    with pytest.raises(APIConnectionError, match=r"open files\. Raise this process's limit .*\(ulimit -n\)"):
        io.do(operations(max_retries=0).run, run_request(MODEL), None)


@pytest.mark.parametrize("call", ROUTES)
@pytest.mark.parametrize("fault", FAULTS)
def test_over_a_socket(connect, server, quick, call, fault):
    """What was refused is sent again; what may have started is sent once, and says so."""
    good = stream(frames("x")) if call == "stream" else answer(200, prediction("succeeded", output="x"))
    is_late = fault == "silence"  # then alone the time limit is what ends the call
    first_byte = 0.3 if is_late and call != "get" else 30
    client = connect(timeouts=Timeouts(first_byte=first_byte, poll=0.3 if is_late else 30))
    server.route(ROUTES[call], FAULTS[fault], good)
    if call == "get" or fault == "429":
        every_call(client)[call]()
        assert len(server.requests) == 2
        return
    with pytest.raises((APIConnectionError, APIStatusError)) as caught:
        every_call(client)[call]()
    assert isinstance(caught.value, APITimeoutError) is (fault == "silence")
    assert SAID.get(fault, "") in str(caught.value)
    assert caught.value.may_have_started
    assert len(server.requests) == 1


def test_a_retry_leaves_the_random_numbers_of_the_program_alone(connect, server, quick):
    """A program that seeds Python's generator gets the same numbers, however often a call was tried."""
    server.route(ROUTES["get"], answer(503, "busy"), answer(200, prediction("succeeded", output="x")))
    before = random.getstate()
    connect().get("p1")
    assert len(server.requests) == 2
    assert random.getstate() == before


@pytest.mark.parametrize("call", ROUTES)
def test_a_refused_connection_is_tried_again_and_never_started_anything(connect, quick, caplog, call):
    """Nobody listens: every call is tried again, and nothing may have started; the error has the address."""
    caplog.set_level("DEBUG", "rockai")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = connect(f"http://127.0.0.1:{nobody.getsockname()[1]}/v1", max_retries=1)
        with pytest.raises(APIConnectionError) as caught:
            every_call(client)[call]()
    sent = f"{ROUTES[call].replace('/v1', '')}"
    assert [record.getMessage() for record in caplog.records].count(sent) == 2
    assert not caught.value.may_have_started
    assert not isinstance(caught.value, APITimeoutError)
    assert f"base_url ({client.client.base_url})" in str(caught.value)


def test_a_call_that_was_refused_at_first_goes_through(connect, quick, later, monkeypatch, caplog):
    """A service that comes up between two tries is reached."""
    tries = []

    def come_up(record):
        tries.append(record.getMessage())
        if len(tries) == 2:
            port.listen()
            later(serve)
        return True

    def serve():
        peer, _ = port.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"x"')

    logger = logging.getLogger("rockai")
    monkeypatch.setattr(logger, "filters", [come_up])
    caplog.set_level(logging.DEBUG, "rockai")
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        client = connect(f"http://127.0.0.1:{port.getsockname()[1]}/v1")
        assert client.run(MODEL, {}).output == "x"
    assert tries == ["POST /run"] * 2


def test_a_host_without_name():
    """A host name that the name service's encoding refuses is an APIConnectionError, not a UnicodeError."""
    with (
        pytest.raises(APIConnectionError) as caught,
        Client("t", f"https://{'a' * 70}.localhost", max_retries=0) as client,
    ):
        client.run(MODEL, {})
    assert not caught.value.may_have_started
