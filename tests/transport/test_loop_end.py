"""Streams inside of generators, when the event loop ends: the prediction is canceled in every run."""

import asyncio
import contextlib
import gc
import time

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, silence

from rockai_transport import AsyncClient
from rockai_transport.io import loops

CREATE, CANCEL = "POST /v1/predictions", "POST /v1/predictions/p1/cancel"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
REPEATS = 20


@pytest.fixture
def endless(server):
    """A service whose models say one piece and then nothing more."""
    server.route(CREATE, answer(201, prediction("processing", urls={"stream": "/s"})))
    server.route("GET /s", silence(HEAD + frames("a", end=False)))
    server.route(CANCEL, answer(200, prediction("canceled")))
    return server


async def around(inner):
    """A step of a chain: an async generator that does not close the one it reads."""
    async for piece in inner:
        yield piece


def nested(client, depth):
    chain = client.stream(MODEL, {})
    for _ in range(depth):
        chain = around(chain)
    return chain


async def leave_by_break(client, depth):
    async for _ in nested(client, depth):
        break


async def leave_by_return(client, depth):
    async for piece in nested(client, depth):
        return piece
    return None


async def leave_by_exception(client, depth):
    async for _ in nested(client, depth):
        raise ZeroDivisionError


async def leave_in_a_task(client, depth):
    begun = asyncio.Event()

    async def read():
        async for _ in nested(client, depth):
            begun.set()
            await asyncio.sleep(3600)

    task = asyncio.ensure_future(read())
    await begun.wait()
    assert not task.done()  # the end of the loop cancels it


async def leave_held(client, depth):
    held = nested(client, depth)
    await anext(held)
    client.held = held  # somebody holds it until after the loop has ended


@pytest.mark.parametrize("depth", range(7))
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_return, leave_by_exception, leave_in_a_task])
def test_the_end_of_asyncio_run_cancels_the_prediction(endless, leave, depth):
    """However deep a stream is nested in generators, however they are left: canceled, 20 times of 20."""
    for _ in range(REPEATS):
        with contextlib.suppress(ZeroDivisionError):
            asyncio.run(leave(AsyncClient(TOKEN, endless.base_url, route="predictions"), depth))
    assert endless.lines.count(CANCEL) == REPEATS
    assert endless.lines.count(CREATE) == REPEATS


@pytest.mark.parametrize("depth", [0, 1, 3, 6])
def test_so_does_a_loop_that_only_closes_its_generators(endless, depth):
    """`loop.shutdown_asyncgens` is enough, as a framework that runs its own loop calls it."""
    for _ in range(REPEATS):
        loop = asyncio.new_event_loop()
        client = AsyncClient(TOKEN, endless.base_url, route="predictions")
        loop.run_until_complete(leave_by_break(client, depth))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert endless.lines.count(CANCEL) == REPEATS


@pytest.mark.parametrize(("depth", "patience"), [(0, 0.2), (2, loops.CANCEL_GRACE_SECONDS)])
def test_a_stream_that_somebody_still_holds_is_left_by_the_loop(endless, monkeypatch, depth, patience):
    """After two seconds at most the end of the loop leaves what nobody closes."""
    assert loops.CANCEL_GRACE_SECONDS == 2
    monkeypatch.setattr(loops, "CANCEL_GRACE_SECONDS", patience)
    started = time.monotonic()
    client = AsyncClient(TOKEN, endless.base_url, route="predictions")
    asyncio.run(leave_held(client, depth))
    assert time.monotonic() - started < patience + 1
    assert endless.lines.count(CANCEL) == 1
    del client
    gc.collect()


def test_threads_that_forget_the_same_closed_loop():
    """Each thread's first call forgets the loops that have ended; another may do so at the same moment."""
    client = AsyncClient(TOKEN, "http://127.0.0.1:9/v1")
    connections = client._session.connections
    asyncio.run(connections.here())
    [(ended, scope)] = connections._scopes.items()

    class ForgottenMeanwhile:
        def is_closed(self):
            connections._scopes.clear()
            return True

    connections._scopes = {ForgottenMeanwhile(): scope, ended: scope}
    asyncio.run(connections.here())
    [loop] = connections._scopes
    assert loop is not ended


@pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning")  # anyio's, which never began
def test_the_end_of_the_loop_while_the_cancel_connects_does_not_lose_it(endless):
    """A task is canceled and not awaited: the end of the loop cancels the tasks in which anyio connects."""

    async def leave(turns):
        client, begun = AsyncClient(TOKEN, endless.base_url, route="predictions"), asyncio.Event()

        async def read():
            async for _ in client.stream(MODEL, {}):
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)

    for turns in range(6, 26):
        asyncio.run(leave(turns))
    assert endless.lines.count(CANCEL) == 20
    gc.collect()  # the warning comes here
