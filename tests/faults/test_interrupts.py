"""Ctrl-C before each line of our code, and a canceled task at each of its waits: nothing is left running."""

import asyncio
import contextlib
import os
import sys
import threading
import traceback
from concurrent.futures import Future
from pathlib import Path

import httpcore
import pytest
from support.drivers import TOKEN, AsyncVirtualClient, InMemory
from support.replies import MODEL, prediction
from support.virtual_io import VirtualIO, events, reply
from support.wire_server import WireServer, answer, frames, stream

import rockai_transport
from rockai_transport import Client
from rockai_transport.io.streams import finish_streams

HTTPCORE = str(Path(httpcore.__file__).parent)
OURS = str(Path(rockai_transport.__file__).parent)
CREATE, CANCEL = "POST /predictions", "POST /predictions/p1/cancel"
PIECES = b"event: output\ndata: a\n\nevent: output\ndata: b\n\n"


class Service(VirtualIO):
    """A service in memory that notes whether something runs whose id has been read."""

    def __init__(self):
        super().__init__(reply(200, prediction("processing")))
        self.is_running = False
        self.route("POST /run", reply(200, prediction("processing")))
        self.route(CREATE, reply(201, prediction("processing", urls={"stream": "/s"})))
        self.route("GET https://api.rockai.example/s", events(PIECES, PIECES, b"event: done\ndata: {}\n\n"))
        looks = [prediction("processing"), prediction("succeeded", output="abab")]
        self.route("GET /predictions/p1", *[reply(200, look) for look in looks])
        self.route(CANCEL, reply(200, prediction("canceled")))

    async def _next_chunk(self, limit, notices):
        chunk = await super()._next_chunk(limit, notices)
        if any(end in chunk for end in (b"succeeded", b"canceled", b"event: done")):
            self.is_running = False
        elif b"p1" in chunk:
            self.is_running = True
        return chunk


def run(client):
    client.run(MODEL, {})


def run_with_text(client):
    client.run(MODEL, {}, on_text=lambda _: None)


def read(client):
    for _ in client.stream(MODEL, {}):
        pass


def leave(client):
    with client.stream(MODEL, {}) as stream:
        for _ in stream:
            break


def drop(client):
    for _ in client.stream(MODEL, {}):
        break


def interrupt(work, client, count):
    """Do it, with a Ctrl-C before the line of this number; whether there was one."""
    left = count

    def trace(frame, event, _):
        nonlocal left
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work(client)
    except KeyboardInterrupt as error:
        return error  # as the interpreter's last traceback, which keeps what its frames hold
    finally:
        sys.settrace(before)
    return left <= 0  # swallowed: it came where a dropped stream was left


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("work", "route"),
    [(run, "auto"), *((work, "predictions") for work in (run, run_with_text, read, leave, drop))],
)
def test_ctrl_c_before_any_line(work, route):
    """The program ends by it: nothing is left running whose id our code has read."""
    # In a thread of its own: an exception of a trace function may stay the one that is being handled there.
    count, running = in_thread(interrupt_before_each_line, work, route)
    assert count > 100
    assert running == []


def interrupt_before_each_line(work, route):
    """Count the lines, and say where a prediction was left running."""
    running, count = [], 0
    while True:
        count += 1
        io = Service()
        client = InMemory(io, route=route)
        interrupted = interrupt(work, client.client, count)
        finish_streams()
        if not interrupted:
            return count, running
        if io.is_running and CANCEL not in io.lines:
            running.append(where(interrupted))


def interrupt_httpcore(work, client, count):
    """Do it, with a Ctrl-C where Python looks for signals in httpcore: as calls begin, and behind them."""
    left = count

    def profile(frame, event, _):
        nonlocal left
        if event != "c_call" and frame.f_code.co_filename.startswith(HTTPCORE):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        work(client)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return left <= 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("first", "work"), [(1, run), (2, leave), (3, read)])
def test_ctrl_c_within_httpcore(first, work):
    """It takes its locks, and gives them back, in Python code: one that stays held blocks nobody.

    All three open a connection alike: each is interrupted at another third of the moments, in a soak at all.
    """
    step = 1 if "SOAK" in os.environ else 3
    with WireServer() as server:
        server.route("POST /v1/run", answer(200, {"output": "x"}))
        server.route("POST /v1/run_sse", stream(frames("a", "b")))
        count, goes_on = first, True
        while goes_on:
            client = Client(TOKEN, server.base_url, timeout=5)
            work(client)  # so that there is a connection, and what is imported late has been
            goes_on = in_thread(interrupt_httpcore, work, client, count)
            in_thread(work, client)
            in_thread(client.close)
            count += step
    assert count > 100


def in_thread(function, *args):
    """Call it in a thread of its own, which may hang for all that the test cares."""
    done = Future()

    def call():
        try:
            done.set_result(function(*args))
        except BaseException as error:  # noqa: BLE001 - handed on
            done.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return done.result(20)


def where(error):
    trace = getattr(error, "__traceback__", None)
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(trace)]
    return next((frame for frame in reversed(frames) if frame.startswith(OURS)), "swallowed")


class Suspending(Service):
    """Lets the loop go on before it reads, and before it closes."""

    async def read(self, within, until):
        await asyncio.sleep(0)
        return await super().read(within, until)

    async def close(self):
        if self.is_open:
            await asyncio.sleep(0)
        await super().close()


@pytest.mark.parametrize("route", ["auto", "predictions"])
async def test_a_task_canceled_at_any_wait(route):
    """`run` cancels its prediction wherever it waits, also for the rest of the answer that names the id."""
    running, was_running, steps = [], 0, 0
    done = False
    while not done:
        io = Suspending()
        task = asyncio.ensure_future(AsyncVirtualClient(io, route=route).run(MODEL, {}))
        for _ in range(steps):
            await asyncio.sleep(0)
        done = task.done()
        was_running += io.is_running
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        running += [steps] if io.is_running and CANCEL not in io.lines else []
        steps += 1
    assert was_running > 2
    assert running == []
