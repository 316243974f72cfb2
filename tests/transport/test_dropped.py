"""Streams that nobody closes: dropped in a reference cycle, or in a forked child."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, silence

from rockai_transport import AsyncClient, Client, ConfigurationError
from rockai_transport.io import streams

CREATE, CANCEL = "POST /v1/predictions", "POST /v1/predictions/p1/cancel"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def endless(server):
    """A service whose models say one piece and then nothing more."""
    server.route(CREATE, answer(201, prediction("processing", urls={"stream": "/s"})))
    server.route("GET /s", silence(HEAD + frames("a", end=False)))
    server.route(CANCEL, answer(200, prediction("canceled")))
    return server


class Holder:
    """Holds itself, and a stream."""

    def __init__(self, stream):
        self.me, self.stream = self, stream


def test_a_stream_in_a_cycle_is_left_by_the_collector(endless):
    """The collector finds it: the prediction is canceled, by a thread, each of 20 times."""
    with Client(TOKEN, endless.base_url, route="predictions") as client:
        for count in range(1, 21):
            holder = Holder(client.stream(MODEL, {}))
            assert next(holder.stream) == "a"
            del holder
            gc.collect()
            endless.wait_for(CANCEL, count)
    assert endless.lines.count(CANCEL) == 20


def test_a_dropped_stream_is_left_before_the_next_statement(endless):
    """Without a cycle the cancel has been answered when `del` is over."""
    with Client(TOKEN, endless.base_url, route="predictions") as client:
        stream = client.stream(MODEL, {})
        assert next(stream) == "a"
        del stream
        assert endless.lines.count(CANCEL) == 1


def test_the_end_of_the_program_waits_for_what_the_collector_leaves(endless):
    """A program that ends right after the collection has canceled all the same."""
    script = f"""
        import gc
        from rockai_transport import Client
        class Holder: pass
        client = Client({TOKEN!r}, {endless.base_url!r}, route="predictions")
        holder = Holder()
        holder.me, holder.stream = holder, client.stream({MODEL!r}, {{}})
        next(holder.stream)
        del holder
        gc.collect()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=30)
    assert endless.lines.count(CANCEL) == 1


def test_the_end_of_the_program_leaves_a_stream_that_is_still_held(endless):
    """A global name, or the last traceback after Ctrl-C, holds it until then: it is canceled all the same."""
    script = f"""
        from rockai_transport import Client
        stream = Client({TOKEN!r}, {endless.base_url!r}, route="predictions").stream({MODEL!r}, {{}})
        next(stream)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=30)
    assert endless.lines.count(CANCEL) == 1


def test_the_end_of_the_program_waits_for_a_daemon_thread_that_leaves_its_stream(endless):
    """It is woken, and cancels the prediction before the program has ended."""
    script = f"""
        import threading
        from rockai_transport import Client
        stream = Client({TOKEN!r}, {endless.base_url!r}, route="predictions").stream({MODEL!r}, {{}})
        next(stream)
        began = threading.Event()
        threading.Thread(target=lambda: (began.set(), next(stream)), daemon=True).start()
        began.wait()
        while not stream._turn.locked(): pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=30)
    assert endless.lines.count(CANCEL) == 1


def test_the_end_of_the_program_leaves_streams_while_threads_begin_others(monkeypatch):
    """A set that grows while it is iterated raises a RuntimeError; then it is listed again."""
    left = []

    class Growing(list):
        tries = 0

        def __iter__(self):
            self.tries += 1
            if self.tries == 1:
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    stream = SimpleNamespace(close=lambda: left.append("closed"))
    monkeypatch.setattr(streams, "_open_streams", Growing([stream]))
    streams.finish_streams()
    assert left == ["closed"]


async def test_an_async_stream_in_a_cycle_is_left_by_its_loop(endless):
    """Each of 20 times, while the loop goes on."""
    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        for count in range(1, 21):
            holder = Holder(client.stream(MODEL, {}))
            assert await anext(holder.stream) == "a"
            del holder
            gc.collect()
            await asyncio.to_thread(endless.wait_for, CANCEL, count)
    assert endless.lines.count(CANCEL) == 20


async def test_a_dropped_generator_that_a_task_of_its_own_has_read(endless):
    """Such a task holds the generator, so the stream may not hold the task. LangChain's fallbacks use one."""

    async def pieces(client):
        async for piece in client.stream(MODEL, {}):
            yield piece

    async with AsyncClient(TOKEN, endless.base_url, route="predictions") as client:
        around = pieces(client)
        assert await asyncio.create_task(anext(around)) == "a"
        del around
        await asyncio.to_thread(endless.wait_for, CANCEL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_leaves_the_parents_stream_alone(endless):
    """It may drop or close its copy, and can read nothing of it: nothing is sent, the connection stays."""
    with Client(TOKEN, endless.base_url, route="predictions") as client:
        stream = client.stream(MODEL, {})
        assert next(stream) == "a"
        stolen = multiprocessing.get_context("fork").Event()
        child = os.fork()
        if child == 0:
            try:
                with contextlib.suppress(ConfigurationError):  # what the parent reads is not for the child
                    next(stream)
                    stolen.set()
                stream.close()
                del stream
                gc.collect()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert not stolen.is_set()
        assert CANCEL not in endless.lines
        assert not endless.seen("GET /s")[0].left.is_set()
        stream.close()
        assert endless.lines.count(CANCEL) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_is_refused_while_a_thread_of_the_parent_reads(endless):
    """It does not wait for that thread, which it does not have."""
    with Client(TOKEN, endless.base_url, route="predictions") as client:
        stream = client.stream(MODEL, {})
        assert next(stream) == "a"
        with stream._turn:  # as the thread holds it
            child = os.fork()
            if child == 0:
                signal.alarm(5)  # kills it
                try:
                    next(stream)
                except ConfigurationError:
                    os._exit(0)
                finally:
                    os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        stream.close()
