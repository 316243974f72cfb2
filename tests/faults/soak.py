"""Leaving, interrupting and loading the clients, again and again: `make soak`; a little of it in the tests.

Prints what `docs/reliability.md` shows. Everything runs on a sandbox in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx

from langchain_rockai import ChatRockAI
from rockai_sandbox import Sandbox
from rockai_transport import AsyncClient, Client, StreamInterruptedError

MODEL, QUICK, FEW = "soak/endless", "soak/quick", "soak/few"
PATIENCE = 5.0  # seconds, for what is left to be seen as canceled

Way = Callable[[Client], None]
AsyncWay = Callable[[AsyncClient], Awaitable[None]]


@contextlib.contextmanager
def service() -> Iterator[Sandbox]:
    """A sandbox with a model that never ends, and one that says a hundred pieces as fast as it can."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # its server writes to who has left
    with Sandbox() as sandbox:

        @sandbox.model(MODEL)
        def endless(_: Any) -> Iterator[str]:
            yield "a"
            while True:
                time.sleep(0.02)
                yield "b"

        @sandbox.model(QUICK)
        def quick(_: Any) -> Iterator[str]:
            for _ in range(100):
                yield "word "

        @sandbox.model(FEW)
        def few(_: Any) -> Iterator[str]:
            yield from ("one ", "two ", "three")

        yield sandbox


def running(sandbox: Sandbox, since: int = 0) -> int:
    """How many predictions still run after a little while."""
    end = time.monotonic() + PATIENCE
    while True:
        left = sum(one.status in ("starting", "processing") for one in sandbox.predictions[since:])
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.02)


# --- thirteen ways of leaving -----------------------------------------------------------------------------


def _begun(client: Client) -> Any:
    stream = client.stream(MODEL, {})
    next(stream)
    return stream


def _break_and_drop(client: Client) -> None:
    for _ in client.stream(MODEL, {}):
        break


def _close(client: Client) -> None:
    _begun(client).close()


def _end_of_with(client: Client) -> None:
    with _begun(client):
        pass


def _exception(client: Client) -> None:
    with contextlib.suppress(ZeroDivisionError), _begun(client):
        raise ZeroDivisionError


def _failing_callback(client: Client) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        client.run(MODEL, {}, on_text=fail)


def _cycle(client: Client) -> None:
    cycle: list[Any] = [_begun(client)]
    cycle.append(cycle)
    del cycle
    gc.collect()


def _another_thread(client: Client) -> None:
    stream = client.stream(MODEL, {})
    closer: threading.Thread | None = None
    with contextlib.suppress(StreamInterruptedError):  # if it reads at this moment
        for _ in stream:
            if closer is None:
                closer = threading.Thread(target=stream.close)
                closer.start()
    if closer is not None:
        closer.join()


async def _async_begun(client: AsyncClient) -> Any:
    stream = client.stream(MODEL, {})
    await anext(stream)
    return stream


async def _async_break(client: AsyncClient) -> None:
    async for _ in client.stream(MODEL, {}):
        break


async def _aclose(client: AsyncClient) -> None:
    await (await _async_begun(client)).aclose()


async def _async_exception(client: AsyncClient) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with await _async_begun(client):
            raise ZeroDivisionError


async def _cancel_the_task(client: AsyncClient) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in client.stream(MODEL, {}):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])


async def _time_is_up(client: AsyncClient) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:  # before the first text, the id may not be known
            await client.run(MODEL, {}, on_text=lambda _: limit.reschedule(0))


async def _end_of_the_loop(client: AsyncClient) -> None:
    _HELD.append(await _async_begun(client))


_HELD: list[Any] = []
WAYS: list[Way] = [
    *(_break_and_drop, _close, _end_of_with, _exception, _failing_callback, _cycle, _another_thread)
]
ASYNC_WAYS: list[AsyncWay] = [
    *(_async_break, _aclose, _async_exception, _cancel_the_task, _time_is_up, _end_of_the_loop)
]


def leave(times: int) -> dict[str, str]:
    """Leave so many streams in each way; how many of the predictions are left running."""
    left = {}
    with service() as sandbox:
        given: dict[str, Any] = {"base_url": sandbox.base_url, "api_token": sandbox.api_token}
        for way in (*WAYS, *ASYNC_WAYS):
            since = len(sandbox.predictions)
            if way in WAYS:
                with Client(route="predictions", **given) as client:
                    for _ in range(times):
                        way(client)  # type: ignore[arg-type, operator]
            else:
                client = AsyncClient(route="predictions", **given)  # type: ignore[assignment]

                async def again(way: Any = way, client: Any = client) -> None:
                    for _ in range(times):
                        await way(client)

                asyncio.run(again())
                _HELD.clear()
            left[way.__name__.strip("_").replace("_", " ")] = f"{running(sandbox, since)} of {times}"
    return left


# --- Ctrl-C at a random moment ----------------------------------------------------------------------------


def _read(client: Client, _: ChatRockAI) -> None:
    for _ in client.stream(QUICK, {}):
        pass


def _on_text(client: Client, _: ChatRockAI) -> None:
    client.run(QUICK, {}, on_text=lambda _: None)


def _run(client: Client, _: ChatRockAI) -> None:
    client.run(QUICK, {})


def _chat(_: Client, llm: ChatRockAI) -> None:
    for _ in llm.stream("x"):
        pass


def interrupt(times: int, seed: int = 1) -> dict[str, str]:
    """Interrupt each kind of call at so many random moments; how many predictions are left running."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    left = {}

    def raise_interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # an interrupt within a finalizer
    before = signal.signal(signal.SIGALRM, raise_interrupt)  # as Ctrl-C does, at a moment that is chosen
    try:
        with service() as sandbox:
            given: dict[str, Any] = {"base_url": sandbox.base_url, "api_token": sandbox.api_token}
            llm = ChatRockAI(model=QUICK, route="predictions", **given)
            with Client(route="predictions", **given) as client:
                for call in (_read, _on_text, _run, _chat):
                    began = time.monotonic()
                    call(client, llm)
                    takes = time.monotonic() - began
                    since = len(sandbox.predictions)
                    for _ in range(times):
                        with contextlib.suppress(KeyboardInterrupt):
                            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, takes))
                            call(client, llm)
                            signal.setitimer(signal.ITIMER_REAL, 0)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    name = call.__name__.strip("_")
                    left[f"Ctrl-C in {name}"] = f"{running(sandbox, since)} of {times}"
    finally:
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook
    return left


# --- many at once -----------------------------------------------------------------------------------------


async def _crowd(count: int, read: Callable[[], AsyncIterator[Any]]) -> tuple[float, list[float]]:
    began, firsts = time.monotonic(), []

    async def one() -> None:
        first = True
        async for _ in read():
            if first:
                firsts.append(time.monotonic() - began)
                first = False

    await asyncio.gather(*(one() for _ in range(count)))
    return time.monotonic() - began, sorted(firsts)


def crowd(count: int) -> dict[str, str]:
    """Open so many streams at once on one client, beside httpx alone against the same service."""

    async def both() -> dict[str, str]:
        headers = {"Authorization": f"Bearer {sandbox.api_token}"}
        body = {"model": FEW, "input": {}}
        limits = httpx.Limits(max_connections=None)
        async with (
            AsyncClient(base_url=sandbox.base_url, api_token=sandbox.api_token) as client,
            httpx.AsyncClient(headers=headers, timeout=None, limits=limits) as http,  # noqa: S113 - none is the point
        ):

            async def plain() -> AsyncIterator[bytes]:
                async with http.stream("POST", f"{sandbox.base_url}/run_sse", json=body) as response:
                    async for chunk in response.aiter_raw():
                        yield chunk

            alone, _ = await _crowd(count, plain)
            ours, firsts = await _crowd(count, lambda: client.stream(FEW, {}))
        return {
            f"{count} streams at once": f"{ours:.1f} s; httpx alone {alone:.1f} s",
            "first piece, median": f"{statistics.median(firsts):.2f} s",
            "first piece, the last": f"{firsts[-1]:.2f} s",
        }

    with service() as sandbox:
        return asyncio.run(both())


def main() -> None:
    """Do all of it, and print a table."""
    times = int(os.environ.get("SOAK_TIMES", "77"))
    for name, value in {**leave(times), **interrupt(times * 3), **crowd(times * 13)}.items():
        sys.stdout.write(f"{name:<28} {value}\n")


if __name__ == "__main__":
    main()
