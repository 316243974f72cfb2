"""Clients in a forked child: an event loop, and what is open in it, belong to the parent."""

import asyncio
import os
import signal
import sys
import threading

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, stream

from rockai_transport import AsyncClient, Client, ConfigurationError, RockAIError, StreamInterruptedError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

RUN, CREATE, CANCEL = "POST /v1/run", "POST /v1/predictions", "POST /v1/predictions/p1/cancel"


@pytest.fixture(params=["http", "https"])
def scheme(request):
    """With TLS too: there, the end of a connection is announced."""
    return request.param


@pytest.fixture
def loop():
    """An event loop of the parent."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def go_on(server):
    """The event that lets a model say its second, last piece."""
    event = threading.Event()
    server.route(CREATE, answer(201, prediction("processing", urls={"stream": "/s"})))
    server.route("GET /s", stream(frames("a", end=False), event, frames("b")))
    server.route(CANCEL, answer(200, prediction("canceled")))
    return event


def in_child(work, meanwhile=lambda: None):
    """Do something in a forked child, which must succeed."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # kills it
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - the parent's test fails
            sys.__stderr__.write(f"in the child: {error!r}\n")
        finally:
            os._exit(1)
    meanwhile()
    assert os.waitpid(child, 0)[1] == 0


async def error_of(awaitable):
    """The error of a call, None if there is none."""
    try:
        await awaitable
    except RockAIError as error:
        return error


def test_a_child_does_not_use_the_connections_of_its_parents_loop(server, loop):
    """In that loop an error says so before anything is sent; a loop of its own has connections of its own."""
    server.route(RUN, answer(200, "x"))
    client = AsyncClient(TOKEN, server.base_url)
    loop.run_until_complete(client.run(MODEL, {}))

    def work():
        error = loop.run_until_complete(error_of(client.run(MODEL, {})))
        assert isinstance(error, ConfigurationError)
        assert "parent process" in str(error)
        assert "asyncio.run" in str(error)
        assert asyncio.run(client.run(MODEL, {})).text == "x"

    in_child(work)
    assert loop.run_until_complete(client.run(MODEL, {})).text == "x"
    assert [request.connection for request in server.requests] == [1, 2, 1]
    loop.run_until_complete(client.aclose())


def test_a_child_cannot_read_its_parents_stream(server, loop, go_on):
    """It gets an error with the text so far, in any loop. Whatever else it does, the parent reads on."""
    client = AsyncClient(TOKEN, server.base_url, route="predictions")
    reading = client.stream(MODEL, {})
    assert loop.run_until_complete(anext(reading)) == "a"

    def work():
        for run in (loop.run_until_complete, asyncio.run):
            error = run(error_of(anext(reading)))
            assert isinstance(error, ConfigurationError)
            assert "another process" in str(error)
            assert error.partial_text == "a"
        loop.run_until_complete(reading.aclose())
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    in_child(work)
    go_on.set()
    assert loop.run_until_complete(anext(reading)) == "b"
    assert loop.run_until_complete(anext(reading, "end")) == "end"
    assert CANCEL not in server.lines
    loop.run_until_complete(client.aclose())


def test_a_task_that_a_child_has_too_reads_nothing_there(server, loop, go_on):
    """A task of the parent waits for the next piece at the fork: in the child, that piece is an error."""
    client = AsyncClient(TOKEN, server.base_url, route="predictions")
    reading = client.stream(MODEL, {})
    assert loop.run_until_complete(anext(reading)) == "a"
    task = loop.create_task(anext(reading))
    loop.run_until_complete(asyncio.sleep(0))

    def work():
        assert isinstance(loop.run_until_complete(error_of(task)), StreamInterruptedError)
        loop.run_until_complete(client.aclose())
        loop.close()

    in_child(work, go_on.set)
    assert loop.run_until_complete(task) == "b"
    assert CANCEL not in server.lines
    loop.run_until_complete(client.aclose())


def test_a_child_that_leaves_its_parents_loop_leaves_nothing_else(server, go_on):
    """Forked in a coroutine, it ends all by an exception: no prediction is canceled, no connection ended."""

    async def main():
        running, asked = asyncio.get_running_loop(), asyncio.Event()

        def tell(exchange):
            running.call_soon_threadsafe(asked.set)
            answer(200, prediction("processing"))(exchange)

        server.route("GET /v1/predictions/p1", tell, answer(200, prediction("succeeded", output="x")))
        async with (
            AsyncClient(TOKEN, server.base_url, route="predictions") as client,
            client.stream(MODEL, {}) as reading,
        ):
            assert await anext(reading) == "a"
            task = asyncio.create_task(client.run(MODEL, {}))
            await asked.wait()
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(10)  # kills it
                raise SystemExit(0)
            _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - the child's end has closed the wake-up socket
            go_on.set()
            assert await anext(reading) == "b"
            assert await anext(reading, "end") == "end"
            assert (await task).text == "x"
            return status

    parent = os.getpid()
    status = 1
    try:
        status = asyncio.run(main())
    finally:
        if os.getpid() != parent:
            os._exit(0 if isinstance(sys.exception(), SystemExit) else 1)
    assert status == 0
    assert CANCEL not in server.lines


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_http_client_that_the_parent_has_used(server, loop, kind):
    """Its connections are the parent's: a child is told so before anything is sent. An unused one works."""
    server.route(RUN, answer(200, "x"))
    used, unused = (kind(TOKEN, server.base_url, http_client=kind._http_client_type()) for _ in range(2))
    mine = used._session._endpoint.http_client

    def text(client, run):
        called = client.run(MODEL, {})
        return (run(called) if kind is AsyncClient else called).text

    def work():
        for client in (used, kind(TOKEN, server.base_url, http_client=mine)):  # also one made in the child
            with pytest.raises(ConfigurationError, match=r"http_client was used before .* was forked"):
                text(client, asyncio.run)
        assert text(unused, asyncio.run) == "x"

    assert text(used, loop.run_until_complete) == "x"
    in_child(work)
    assert text(used, loop.run_until_complete) == "x"
    assert [request.connection for request in server.requests] == [1, 2, 1]
    for client in (used, unused):
        mine = client._session._endpoint.http_client
        loop.run_until_complete(mine.aclose()) if kind is AsyncClient else mine.close()
