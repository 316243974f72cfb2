"""Leaving early: the connection closes at once, and the prediction is canceled where its id is known.

Here over sockets, in every way; what is decided then, and what is handed on, in `test_leaving_decisions`.
"""

import asyncio
import contextlib
import gc
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import anyio
import httpx
import pytest
from httpcore._synchronization import AsyncLock
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, silence, stream

from rockai_transport import (
    APIConnectionError,
    AsyncClient,
    Client,
    Prediction,
    PredictionTimeoutError,
    RockAIError,
    StreamInterruptedError,
)
from rockai_transport.io import loops
from rockai_transport.io.base import Deadline, shut_down
from rockai_transport.io.transports import AsyncTransport
from rockai_transport.protocol import operations

SSE, RUN, CREATE, GET = "POST /v1/run_sse", "POST /v1/run", "POST /v1/predictions", "GET /v1/predictions/p1"
CANCEL = "POST /v1/predictions/p1/cancel"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def endless(server):
    """A service whose models say one piece and then nothing more, on every route."""
    server.route(SSE, silence(HEAD + frames("a", end=False)))
    server.route(RUN, silence())
    server.route(CREATE, answer(201, prediction("processing", urls={"stream": "/s"})))
    server.route("GET /s", silence(HEAD + frames("a", end=False)))
    server.route(GET, answer(200, prediction("processing", urls={"stream": "/s"})))
    server.route(CANCEL, answer(200, prediction("canceled")))
    return server


def begin(connect, way):
    """A stream that has said its first piece."""
    reading = connect(route=way).stream(MODEL, {})
    assert next(reading) == "a"
    return reading


def leave_by_break(reading):
    with reading:
        for _ in [1]:
            break


def leave_by_close(reading):
    reading.close()


def leave_by_exception(reading):
    with contextlib.suppress(ZeroDivisionError), reading:
        1 / 0  # noqa: B018


def leave_by_interrupt(reading):
    with contextlib.suppress(KeyboardInterrupt), reading:
        raise KeyboardInterrupt


def leave_by_dropping(reading):
    kind, runner = reading.driven.kind, reading.driven
    reading.stream = None
    del reading
    if kind == "async":  # the loop does it, while it runs
        runner.do(asyncio.sleep(0))


LEAVING = [leave_by_break, leave_by_close, leave_by_exception, leave_by_interrupt, leave_by_dropping]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("scheme", ["http", "https"])  # over TLS it is other sockets that are closed
def test_leaving_a_stream_cancels_where_the_id_is_known(connect, endless, leave):
    """However a stream is left, its connection closes at once and its prediction is canceled."""
    reading = begin(connect, "predictions")
    client = reading.driven
    leave(reading)
    client.do(asyncio.to_thread(endless.wait_for, CANCEL)) if client.kind == "async" else None
    endless.seen("GET /s")[0].wait_left()
    assert endless.wait_for(CANCEL).headers["authorization"] == f"Bearer {TOKEN}"
    assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("leave", LEAVING)
def test_leaving_a_stream_without_id_closes_the_connection(connect, endless, leave):
    """On /run_sse no id is known: the connection closes at once, and nothing else is sent."""
    reading = begin(connect, "auto")
    client = reading.driven
    leave(reading)
    client.do(asyncio.to_thread(endless.requests[0].wait_left)) if client.kind == "async" else None
    endless.requests[0].wait_left()
    assert endless.lines == [SSE]


def test_a_cancel_that_is_not_answered_is_given_up(connect, endless, monkeypatch):
    """The cancel on leaving has its own limit, which a silent socket is held to; that is two seconds."""
    monkeypatch.setattr(operations, "CANCEL_GRACE_SECONDS", 0.3)
    endless.route(CANCEL, silence())
    reading = begin(connect, "predictions")
    started = time.monotonic()
    reading.close()
    assert 0.25 < time.monotonic() - started < 1
    assert endless.lines.count(CANCEL) == 1


def test_a_stream_that_is_over_keeps_its_connection(connect, server):
    """After a good end there is nothing to cancel, however often it is closed."""
    server.route(CREATE, answer(201, prediction(urls={"stream": "/s"})))
    server.route("GET /s", stream(frames("a")))
    with connect(route="predictions").stream(MODEL, {}) as reading:
        assert list(reading) == ["a"]
    reading.close()
    assert server.lines == [CREATE, "GET /s"]
    assert server.connections == 1


def test_closing_from_another_thread_wakes_the_reader(endless):
    """A sync stream closed elsewhere wakes the thread that waits for its next piece, and cancels."""
    for asks_first in (True, False):  # waiting for the next piece, and for the very first byte
        endless.route("GET /s", silence(HEAD + frames("a", end=False)) if asks_first else silence())
        with Client(TOKEN, endless.base_url, route="predictions") as client:
            reading = client.stream(MODEL, {})
            got = []

            def read(reading=reading, got=got):
                try:
                    got.extend(reading)
                except RockAIError as error:
                    got.append(error)

            before = len(endless.seen("GET /s"))
            thread = threading.Thread(target=read)
            thread.start()
            request = endless.wait_for("GET /s", before + 1)
            time.sleep(0.05)  # so that it is waiting, whatever it waits for
            started = time.monotonic()
            reading.close()
            thread.join(5)
            assert not thread.is_alive()
            assert time.monotonic() - started < 1
            assert isinstance(got[-1], StreamInterruptedError)
            assert got[-1].partial_text == ("a" if asks_first else "")
            assert got[-1].prediction.id == "p1"
            request.wait_left()
            assert next(reading, None) is None
    assert endless.lines.count(CANCEL) == 2


@pytest.mark.parametrize("closed", ["stream", "client", "stream over httpx"])
def test_a_reader_is_woken_by_whatever_is_closed(endless, closed):
    """Its thread ends at once, with what had come, over an HTTP client of its user's own too."""
    with httpx.Client() as own:
        http_client = own if closed == "stream over httpx" else None
        with Client(TOKEN, endless.base_url, route="predictions", http_client=http_client) as client:
            reading = client.stream(MODEL, {})
            assert next(reading) == "a"
            with ThreadPoolExecutor(1) as thread:
                waiting = thread.submit(next, reading)
                time.sleep(0.05)  # so that it is waiting
                (client if closed == "client" else reading).close()
                error = waiting.exception(5)
            assert isinstance(error, StreamInterruptedError)
            assert (error.partial_text, error.prediction.id) == ("a", "p1")


@pytest.mark.parametrize("wake", [lambda waits: Deadline(waits_for=waits).end(), shut_down])
def test_a_reader_is_woken_under_eventlet_too(wake, monkeypatch):
    """Its class in the place of `socket.socket` has no shutdown: only an instance has it."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(socket, "socket", object)
    with ours, theirs:
        wake(ours)
        assert theirs.recv(1) == b""


async def test_closing_from_another_task_wakes_the_reader(endless):
    """An async stream closed elsewhere wakes the task that waits for its next piece, and cancels."""
    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        reading = client.stream(MODEL, {})
        assert await anext(reading) == "a"
        waiting = asyncio.ensure_future(anext(reading))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="Another task"):
            await anext(reading)
        await asyncio.wait_for(reading.aclose(), 2)
        with pytest.raises(StreamInterruptedError) as caught:
            await waiting
        assert caught.value.partial_text == "a"
        assert await anext(reading, None) is None
        endless.wait_for(CANCEL)


def test_many_threads_may_close_one_stream(endless):
    """Whoever closes, and however many: it is canceled once."""
    with Client(TOKEN, endless.base_url, route="predictions") as client:
        reading = client.stream(MODEL, {})
        assert next(reading) == "a"
        threads = [threading.Thread(target=reading.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert next(reading, None) is None
    assert endless.lines.count(CANCEL) == 1


# Task cancellation.


async def waiting_in(work, server, route):
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(server.wait_for, route)
    await asyncio.sleep(0.05)
    return task


async def read_all(reading):
    return [piece async for piece in reading]


@pytest.mark.parametrize("how", ["stream", "run", "run with on_text"])
@pytest.mark.parametrize("times", [1, 2, 5])
async def test_cancelling_the_task_cancels_the_prediction(endless, how, times):
    """Task cancellation, repeated too, sends the cancel, shielded from what caused it."""
    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        work = {
            "stream": lambda: read_all(client.stream(MODEL, {})),
            "run": lambda: client.run(MODEL, {}),
            "run with on_text": lambda: client.run(MODEL, {}, on_text=lambda _: None),
        }[how]()
        task = await waiting_in(work, endless, GET if how == "run" else "GET /s")
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
    endless.wait_for(CANCEL)
    assert endless.lines.count(CANCEL) == 1


async def test_a_second_cancellation_does_not_cut_the_cancel_short(endless):
    """A cancel that takes its time is waited for, though the task is canceled again and again."""
    may_answer = threading.Event()

    def slowly(exchange):
        may_answer.wait(5)
        answer(200, prediction("canceled"))(exchange)

    endless.route(CANCEL, slowly)
    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        task = await waiting_in(read_all(client.stream(MODEL, {})), endless, "GET /s")
        for _ in range(6):
            task.cancel()
            await asyncio.to_thread(endless.wait_for, CANCEL)
        assert not task.done()
        may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not endless.seen(CANCEL)[0].left.is_set()


async def test_wait_for_and_timeout_scopes_cancel_too(endless):
    """asyncio.timeout around a run cancels it, and is told as a TimeoutError."""
    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.run(MODEL, {})
    endless.wait_for(CANCEL)


@pytest.mark.parametrize("how", ["run", "stream", "download"])
async def test_the_end_of_a_cancel_scope_is_the_end_of_its_cancellations(endless, how, tmp_path):
    """A scope of anyio cancels in every turn of the loop; what comes while we leave stays within it."""
    endless.route("GET /a.png", silence(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2 * 1024**2))
    made = Prediction(id="p1", status="succeeded", output=f"{endless.origin}/a.png")
    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        with anyio.move_on_after(0.3):
            if how == "run":
                await client.run(MODEL, {})
            elif how == "stream":
                await read_all(client.stream(MODEL, {}))
            else:
                await client.download(made, tmp_path)
        await asyncio.sleep(0.01)
        assert asyncio.current_task().cancelling() == 0
    assert endless.lines.count(CANCEL) == (how != "download")


@pytest.mark.parametrize("how", ["run", "stream"])
async def test_cancelling_without_id_closes_the_connection(endless, how):
    """On /run and /run_sse the connection closes at once; nothing else is sent."""
    async with AsyncClient(TOKEN, endless.base_url) as client:
        work = client.run(MODEL, {}) if how == "run" else read_all(client.stream(MODEL, {}))
        task = await waiting_in(work, endless, RUN if how == "run" else SSE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(endless.requests[0].wait_left)
    assert len(endless.requests) == 1


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("how", ["run", "stream"])
async def test_a_second_cancellation_leaves_no_connection_open(endless, how, turns):
    """Whenever it comes, the connection is closed, while the client goes on."""
    async with AsyncClient(TOKEN, endless.base_url) as client:
        work = client.run(MODEL, {}) if how == "run" else read_all(client.stream(MODEL, {}))
        task = await waiting_in(work, endless, RUN if how == "run" else SSE)
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(endless.requests[0].wait_left)


async def test_wait_and_get_never_cancel(endless):
    """Canceling a task that waits for a prediction, or looks at it, leaves the prediction alone."""
    async with AsyncClient(TOKEN, endless.base_url) as client:
        task = await waiting_in(client.predictions.wait("p1"), endless, GET)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        endless.route(GET, silence())
        task = await waiting_in(client.predictions.get("p1"), endless, GET)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(PredictionTimeoutError):
            await client.predictions.wait("p1", timeout=0.2)
    assert not endless.seen(CANCEL)


async def test_no_slot_of_the_pool_leaks(endless):
    """After many cancellations the client still serves."""
    endless.route("POST /v1/predictions", answer(200, prediction("succeeded", output="x")))
    async with AsyncClient(TOKEN, endless.base_url) as client:
        for pause in (0, 0, 0.001, 0.002, 0.005, 0.01) * 5:
            task = asyncio.ensure_future(client.run(MODEL, {}))
            await asyncio.sleep(pause)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        made = await asyncio.gather(*[client.predictions.create(model=MODEL, input={}) for _ in range(20)])
        assert {one.output for one in made} == {"x"}
        transports = client._session.connections._scopes[asyncio.get_running_loop()]._made
        pools = [pool for transport in transports for pool in transport._pool.pools]
        assert pools
        assert all(not pool._requests for pool in pools)


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("is_open", [False, True])
async def test_a_cancellation_within_httpcore_keeps_no_connection(endless, monkeypatch, times, is_open):
    """At whichever of httpcore's locks it comes, and however often: nothing stays in the pool."""
    enter, reached, stop_at = AsyncLock.__aenter__, 0, math.inf

    async def cancel_and_enter(lock):
        nonlocal reached
        reached += 1
        if reached == stop_at:
            task = asyncio.current_task()
            for _ in range(times):
                asyncio.get_running_loop().call_soon(task.cancel)
        return await enter(lock)

    monkeypatch.setattr(AsyncLock, "__aenter__", cancel_and_enter)
    client = AsyncClient(TOKEN, endless.base_url)
    scope = await client._session.connections.here()
    for place in range(1, 8):
        reached, stop_at = 0, math.inf
        if is_open:
            await client.predictions.get("p1")
        reached, stop_at = 0, place
        await asyncio.wait([asyncio.ensure_future(client.predictions.get("p1"))])
        pools = [pool for transport in scope._made for pool in transport._pool.pools]
        assert not any(pool._requests for pool in pools)
        assert all(one.is_idle() or one.is_closed() for pool in pools for one in pool.connections)
        if not is_open:
            await asyncio.gather(*(one.aclose() for pool in pools for one in pool.connections))
    assert reached < stop_at
    await client.aclose()


@pytest.mark.parametrize("error", [None, OSError])
async def test_a_release_closes_no_connection_that_another_request_has_taken_meanwhile(error):
    """Closing one takes a turn of the loop; and an error then must not replace the cancellation."""
    transport = AsyncTransport(None, public_only=False)
    (pool,) = transport._pool.pools
    state = {"is_idle.return_value": True, "is_closed.return_value": False}
    other = mock.Mock(**state, aclose=mock.AsyncMock())

    async def close():
        other.is_idle.return_value = False
        if error is not None:
            raise error

    kept = mock.Mock(**{**state, "is_idle.return_value": False}, aclose=mock.AsyncMock(side_effect=close))
    pool._connections = [kept, other]
    transport._pool.pools[object()] = (
        0.0  # any other pool is none of its business: a thousand are canceled at once
    )
    await transport.release(httpx.Request("GET", "http://a", extensions={"pool": pool}))
    assert kept.aclose.called
    assert not other.aclose.called


# Ctrl-C, with a real signal in a real process.

SCRIPTS = {
    "sync stream": """
        for piece in client.stream(MODEL, {}): print("piece", flush=True)
    """,
    "sync stream in with": """
        with client.stream(MODEL, {}) as stream:
            for piece in stream: print("piece", flush=True)
    """,
    "sync run": """
        print("piece", flush=True)
        client.run(MODEL, {})
    """,
    "sync run with on_text": """
        client.run(MODEL, {}, on_text=lambda text: print("piece", flush=True))
    """,
    "async stream": """
        async def main():
            async with AsyncClient() as client:
                async with client.stream(MODEL, {}) as stream:
                    async for piece in stream: print("piece", flush=True)
        asyncio.run(main())
    """,
    "async run": """
        async def main():
            print("piece", flush=True)
            await AsyncClient(route=route).run(MODEL, {})
        asyncio.run(main())
    """,
    "sync wait": """
        print("piece", flush=True)
        client.predictions.wait("p1")
    """,
}
PRELUDE = """
import asyncio, os
from rockai_transport import AsyncClient as _AsyncClient, Client
MODEL = "owner/name"
route = os.environ["ROUTE"]
client = Client(route=route)
def AsyncClient(**given):
    return _AsyncClient(**{"route": route, **given})
"""


def interrupt(server, script, route):
    """Run a script, press Ctrl-C when it has a piece and waits, and give its exit status and words."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "dev", "-c", PRELUDE + textwrap.dedent(script)],
        env={**os.environ, "ROCKAI_BASE_URL": server.base_url, "ROCKAI_API_TOKEN": TOKEN, "ROUTE": route},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "piece\n", process.communicate()[1]
    server.wait_for({"auto": "POST", "predictions": "GET"}[route])
    time.sleep(0.1)  # so that it is waiting, not about to
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    return process.returncode, errors


@pytest.mark.parametrize("case", SCRIPTS)
def test_ctrl_c_cancels_where_the_id_is_known(endless, case):
    """A real SIGINT cancels what runs, says KeyboardInterrupt, and leaves no warning behind."""
    endless.route(GET, silence())  # so that it waits for an answer, and does not look again
    _, errors = interrupt(endless, SCRIPTS[case], "predictions")
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert "Warning" not in errors
    assert "ignored" not in errors
    assert TOKEN not in errors
    if case == "sync wait":
        assert not endless.seen(CANCEL)
    else:
        endless.wait_for(CANCEL)
        assert endless.lines.count(CANCEL) == 1


@pytest.mark.parametrize("case", ["sync stream", "sync run", "async run"])
def test_ctrl_c_without_id_closes_the_connection(endless, case):
    """On /run and /run_sse a SIGINT closes the connection; there is nothing to cancel."""
    _, errors = interrupt(endless, SCRIPTS[case], "auto")
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert "Warning" not in errors
    endless.requests[0].wait_left()
    assert len(endless.requests) == 1


# Dropped, half-run.


def test_a_dropped_stream_of_a_loop_that_ended_is_silent(endless, monkeypatch):
    """A stream whose loop is gone says nothing when it is dropped: no ignored GeneratorExit, no warning."""
    monkeypatch.setattr(loops, "CANCEL_GRACE_SECONDS", 0.2)  # the end of the loop waits for its reader
    kept = []

    async def main():
        reading = AsyncClient(TOKEN, endless.base_url, route="predictions").stream(MODEL, {})
        kept.append(reading)
        assert await anext(reading) == "a"

    asyncio.run(main())
    kept.clear()
    gc.collect()
    endless.seen("GET /s")[0].wait_left()


def test_a_break_at_the_very_end_of_a_loop_still_cancels(endless):
    """A stream dropped by the last line before asyncio.run ends is canceled before the loop is gone."""

    async def main():
        client = AsyncClient(TOKEN, endless.base_url, route="predictions")
        async for piece in client.stream(MODEL, {}):
            assert piece == "a"
            break

    asyncio.run(main())
    gc.collect()
    endless.wait_for(CANCEL)
    endless.seen("GET /s")[0].wait_left()


def test_a_wrapped_stream_closed_at_the_very_end_of_a_loop_still_cancels(endless):
    """So is one whose generator is closed last: its cancel begins before the loop ends, and again."""

    async def main():
        client = AsyncClient(TOKEN, endless.base_url, route="predictions")

        async def pieces():
            async for piece in client.stream(MODEL, {}):
                yield piece

        wrapped = pieces()
        assert await anext(wrapped) == "a"
        await wrapped.aclose()

    asyncio.run(main())
    gc.collect()
    endless.wait_for(CANCEL)
    endless.seen("GET /s")[0].wait_left()


def test_closing_the_client_ends_its_streams(connect, endless):
    """A client that is closed under a stream cuts it; that is an interruption, not an end."""
    reading = begin(connect, "auto")
    reading.driven.close()
    with pytest.raises((StreamInterruptedError, APIConnectionError)):
        next(reading)
    endless.requests[0].wait_left()
