"""How predictions live: cold, under way, canceled, left, broken off."""

import gc
import itertools
import logging
import socket
import struct
import threading
import time
import warnings

import httpx
import pytest

from rockai_sandbox import NEVER_ENDS, STAYS_COLD, Sandbox


def raw_request(sandbox, path, body):
    """Send a request over a bare socket and return the socket."""
    host, port = sandbox.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    head = f"POST /v1{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {sandbox.api_token}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return connection


def read_all(connection):
    """Read until the server closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def test_a_model_that_fails_half_way_breaks_the_stream_off(sandbox):
    """No done, no error, and no last chunk on the socket: the connection just closes, as recorded."""
    with raw_request(sandbox, "/run_sse", '{"model":"sandbox/fails-half-way","input":{}}') as connection:
        received = read_all(connection)
    assert b"transfer-encoding: chunked" in received.lower()
    assert b"event: output\ndata: half\n\n" in received
    assert b"event: done" not in received
    assert b"event: error" not in received
    assert not received.endswith(b"0\r\n\r\n")
    assert sandbox.requests[0].outcome == "aborted"
    assert sandbox.predictions[0].status == "failed"
    assert sandbox.predictions[0].output == ["This answer", " breaks off,\n", "half"]
    assert "RuntimeError: the model failed half-way" in sandbox.predictions[0].logs


def test_a_whole_stream_ends_with_the_last_chunk(sandbox):
    """So that a client can tell the two apart by the framing alone."""
    with raw_request(sandbox, "/run_sse", '{"model":"sandbox/echo","input":{"prompt":"hi"}}') as connection:
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
    assert b"event: done\ndata: {}\n\n" in received


@pytest.mark.parametrize("path", ["/run", "/run_sse"])
def test_a_cold_model_sends_no_byte(connect, path):
    """Until the model is warm, not even the answer's head arrives."""
    with Sandbox() as sandbox:
        gate = sandbox.hold()

        @sandbox.model("cold/model", cold_start=gate)
        def talk(given):
            yield "warm"

        with raw_request(sandbox, path, '{"model":"cold/model","input":{}}') as connection:
            gate.wait_until_reached()
            assert sandbox.wait_for("starting").started_at is None
            connection.setblocking(False)  # noqa: FBT003
            with pytest.raises(BlockingIOError):
                connection.recv(1)
            connection.settimeout(10)
            gate.set()
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_cold_start_takes_its_seconds(connect):
    """Every prediction spends them in `starting`; the time is not the model's."""
    with Sandbox(cold_start=0.2) as sandbox, connect(sandbox) as api:
        began = time.monotonic()
        api.post("/run", json={"model": "sandbox/echo", "input": {"prompt": "x"}})
        assert time.monotonic() - began >= 0.2
        assert sandbox.predictions[0].metrics["predict_time"] < 0.2


def test_the_model_that_stays_cold_can_be_canceled(sandbox, api):
    """It is never processed, so it has no metrics."""
    created = api.post("/predictions", json={"model": STAYS_COLD, "input": {}}).json()
    canceled = api.post(f"/predictions/{created['id']}/cancel").json()
    assert (canceled["status"], canceled["started_at"], canceled["metrics"]) == ("canceled", None, None)


def test_the_model_that_never_ends_streams_until_it_is_canceled(sandbox, api):
    """Its lines keep coming; a cancellation breaks its stream off, and its pieces so far are the output."""
    created = api.post("/predictions", json={"model": NEVER_ENDS, "input": {}}).json()
    with api.stream("GET", created["urls"]["stream"]) as answer:
        pieces = answer.iter_text()
        assert any("line 2" in text for text in pieces)
        httpx.post(created["urls"]["get"] + "/cancel", headers=api.headers)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            list(pieces)
    prediction = sandbox.wait_for("canceled")
    assert prediction.output[:2] == ["line 1\n", "line 2\n"]


def test_the_output_grows_while_the_model_speaks(sandbox, api):
    """Asked for half-way, a prediction is `processing` with the pieces so far."""
    gate = sandbox.hold()

    @sandbox.model("slow/model")
    def talk(given):
        yield "one"
        gate.wait()
        yield "two"

    created = api.post("/predictions", json={"model": "slow/model", "input": {}}).json()
    gate.wait_until_reached()
    got = api.get(created["urls"]["get"]).json()
    assert (got["status"], got["output"], got["completed_at"]) == ("processing", ["one"], None)
    gate.set()
    assert sandbox.wait_for("succeeded").output == ["one", "two"]


def test_canceling_what_has_ended_changes_nothing(sandbox, api):
    """The answer is the prediction as it is."""
    created = api.post("/predictions", json={"model": "sandbox/echo", "input": {"prompt": "x"}}).json()
    sandbox.wait_for("succeeded")
    assert api.post(f"/predictions/{created['id']}/cancel").json()["status"] == "succeeded"


@pytest.mark.parametrize("path", ["/run", "/run_sse"])
@pytest.mark.parametrize(("on_disconnect", "status"), [("continue", "succeeded"), ("stop", "canceled")])
def test_what_becomes_of_a_run_whose_client_left(path, on_disconnect, status):
    """It goes on by default, and is canceled with on_disconnect="stop"."""
    with Sandbox(on_disconnect=on_disconnect) as sandbox:
        gate = sandbox.hold()

        @sandbox.model("slow/model")
        def talk(given):
            yield "one"
            gate.wait()
            yield "two"

        with raw_request(sandbox, path, '{"model":"slow/model","input":{}}'):
            gate.wait_until_reached()
        assert sandbox.wait_for("disconnect").path.endswith(path)
        if on_disconnect == "stop":
            sandbox.wait_for("canceled")
        gate.set()
        assert (
            sandbox.wait_for(lambda it: it.predictions[0].is_terminal and it.predictions[0]).status == status
        )


def test_a_left_stream_of_many_pieces_logs_nothing(sandbox, caplog):
    """For each piece that is written to the closed connection, asyncio would warn."""
    seen = threading.Event()

    @sandbox.model("many/pieces")
    def talk(given):
        return itertools.takewhile(lambda _: not seen.is_set(), itertools.repeat("piece"))

    with raw_request(sandbox, "/run_sse", '{"model":"many/pieces","input":{}}') as connection:
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets it
    try:
        sandbox.wait_for("disconnect")
    finally:
        seen.set()
    assert caplog.records == []


def test_leaving_a_prediction_s_own_stream_never_cancels(connect):
    """Only /run and /run_sse belong to one client; a created prediction may be watched by many."""
    with Sandbox(on_disconnect="stop") as sandbox, connect(sandbox) as api:
        gate = sandbox.hold()

        @sandbox.model("slow/model")
        def talk(given):
            yield "one"
            gate.wait()

        created = api.post("/predictions", json={"model": "slow/model", "input": {}}).json()
        with api.stream("GET", created["urls"]["stream"]) as answer:
            next(answer.iter_text())
        sandbox.wait_for("disconnect")
        gate.set()
        assert sandbox.wait_for("succeeded").output == ["one"]


def test_stop_ends_everything_quickly(connect):
    """Open streams are broken off, held models freed, threads gone."""
    before = set(threading.enumerate())
    with Sandbox() as sandbox:
        gate = sandbox.hold()

        @sandbox.model("held/model")
        def talk(given):
            yield "x"
            gate.wait()

        connections = [
            raw_request(sandbox, "/run_sse", '{"model":"held/model","input":{}}') for _ in range(5)
        ]
        gate.wait_until_reached(5)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert set(threading.enumerate()) <= before
    for connection in connections:
        with connection:
            assert not read_all(connection).endswith(b"0\r\n\r\n")
    assert {prediction.status for prediction in sandbox.predictions} == {"canceled"}


def test_stop_does_not_wait_for_a_model_that_is_stuck():
    """A plain threading.Event holds a model too, but only its setter can free the thread."""
    event = threading.Event()
    with Sandbox() as sandbox:

        @sandbox.model("stuck/model")
        def talk(given):
            yield "x"
            event.wait()

        with raw_request(sandbox, "/predictions", '{"model":"stuck/model","input":{}}'):
            sandbox.wait_for(lambda it: it.predictions and it.predictions[0].output)
            began = time.monotonic()
            sandbox.stop()
            assert time.monotonic() - began < 2
    event.set()
    for thread in threading.enumerate():
        if thread.name == "rockai-sandbox-model":
            thread.join(10)


def test_stop_does_not_wait_for_a_reader_that_does_not_read():
    """A client with full buffers holds nothing up."""
    with Sandbox() as sandbox:

        @sandbox.model("big/model")
        def talk(given):
            for _ in range(64):
                yield "x" * 1_000_000

        with raw_request(sandbox, "/run_sse", '{"model":"big/model","input":{}}'):
            sandbox.wait_for("succeeded")
            began = time.monotonic()
            sandbox.stop()
            assert time.monotonic() - began < 2


def test_stop_closes_connections_that_came_at_the_last_moment():
    """What is left open is a `ResourceWarning` of Python, sooner or later."""
    gc.collect()  # of other tests
    for _ in range(8):
        sandbox = Sandbox().start()
        host, _, port = sandbox.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
        with socket.create_connection((host, int(port))):
            sandbox.stop()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in left] == []


def test_fifty_streams_at_once_come_out_whole(sandbox):
    """Each in a thread of its own, each with all its pieces."""
    barrier = threading.Barrier(50)

    @sandbox.model("busy/model")
    def talk(given):
        barrier.wait(20)
        for number in range(100):
            yield f"{given['who']}:{number} "

    bodies: dict[int, bytes] = {}

    def read(who):
        headers = {"Authorization": f"Bearer {sandbox.api_token}"}
        body = {"model": "busy/model", "input": {"who": who}}
        bodies[who] = httpx.post(
            f"{sandbox.base_url}/run_sse", json=body, headers=headers, timeout=30
        ).content

    threads = [threading.Thread(target=read, args=(who,)) for who in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for who in range(50):
        expected = "".join(f"event: output\ndata: {who}:{number} \n\n" for number in range(100))
        assert bodies[who] == f"{expected}event: done\ndata: {{}}\n\n".encode()


def test_several_sandboxes_run_side_by_side(connect):
    """Each has its own address, token, models and memory."""
    with Sandbox() as one, Sandbox() as two, connect(one) as api:
        assert one.base_url != two.base_url
        assert one.api_token != two.api_token
        api.post("/run", json={"model": "sandbox/echo", "input": {"prompt": "x"}})
        assert (len(one.predictions), len(two.predictions)) == (1, 0)
        assert httpx.get(two.base_url + "/predictions/x", headers=api.headers).json() == {
            "detail": "invalid token"
        }


def test_start_and_stop_work_without_with():
    """Stopping twice does no harm; starting twice is an error; what it saw can still be looked at."""
    sandbox = Sandbox().start()
    try:
        with pytest.raises(RuntimeError, match="already"):
            sandbox.start()
        assert sandbox.environ() == {
            "ROCKAI_BASE_URL": sandbox.base_url,
            "ROCKAI_API_TOKEN": sandbox.api_token,
        }
    finally:
        sandbox.stop()
        sandbox.stop()
    assert sandbox.predictions == []


def test_a_connection_leaves_the_loggers_of_the_process_alone(sandbox):
    """What they have noted of their levels stays: else each asks anew, under a lock of all of logging."""
    logger = logging.getLogger("of a user's own")
    logger.isEnabledFor(logging.DEBUG)
    with raw_request(sandbox, "/run", '{"model":"sandbox/echo","input":{"prompt":"hi"}}') as connection:
        connection.recv(65536)
    assert logging.DEBUG in logger._cache


def test_a_taken_port_is_an_error():
    """Not a hang, and nothing is left open."""
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port).start()


def test_an_address_is_known_only_after_the_start():
    """Asking before is an error, not an empty string."""
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = Sandbox().base_url
