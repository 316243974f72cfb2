"""Contestants with warm clients, and the cost of reading or calling with one of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from inspect import isawaitable
from typing import Any, Self, TypeVar

from benchmarks.contestants import Contestant, Peer
from benchmarks.peers import SECONDS, Place
from benchmarks.server import Origin

T = TypeVar("T")


class Arena:
    """A context manager that closes the clients at its end.

    Args:
        origin: The server.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.failures: Counter[str] = Counter()
        """The number of failed concurrent streams, by contestant."""
        self._runner = asyncio.Runner()
        self._opened = contextlib.AsyncExitStack()
        self._clients: dict[tuple[Callable[..., Any], str], Any] = {}
        self._asynchronous: dict[str, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()
        self._runner.run(self._opened.aclose())
        self._runner.close()

    def client(self, peer: Peer, wire: str) -> Any:
        """Return the client for a wire, opened once."""
        address = self.origin.at(peer.protocol, wire)
        if (peer.open, address) not in self._clients:
            self._clients[peer.open, address] = self.run(self._open(peer, Place(address, wire)))
        return self._clients[peer.open, address]

    def freeze(self) -> None:
        """Exclude all existing objects from garbage collections during a measurement."""
        gc.collect()
        gc.freeze()

    def read(self, one: Contestant, wire: str) -> str:
        """Let a contestant read or call once.

        Args:
            one: The contestant.
            wire: The wire.

        Returns:
            The text.
        """
        started = one.start(self.client(one.peer, wire))
        if self._asynchronous.setdefault(one.name, isawaitable(started) or hasattr(started, "__aiter__")):
            return one.peer.text(self.run(_read(started)))
        return one.peer.text(list(started) if isinstance(started, Iterator) else [started])

    def cost(self, one: Contestant, wire: str, times: int = 1, at_once: int = 1) -> float:
        """Let a contestant that has read before read repeatedly, with one or more streams at once.

        Args:
            one: The contestant.
            wire: The wire.
            times: Number of repetitions.
            at_once: Number of concurrent streams, for an asynchronous contestant.

        Returns:
            Its seconds of CPU time.
        """
        client = self.client(one.peer, wire)
        reported = 0.0
        self.run(_settle())
        gc.collect()
        began = time.process_time()
        if self._asynchronous[one.name]:
            self.failures[one.name] += self.run(_drain_all(one, client, times, at_once))
        else:
            for _ in range(times):
                reported += _drain(one.start(client))
        return reported or time.process_time() - began

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop of the asynchronous clients."""
        return self._runner.run(coroutine)

    async def _open(self, peer: Peer, place: Place) -> Any:
        manager = peer.open(place)
        if hasattr(manager, "__aenter__"):
            return await self._opened.enter_async_context(manager)
        return self._opened.enter_context(manager)


async def _settle() -> None:
    """Let the event loop finish what earlier contestants left: a thousand connections take long to close."""
    for _ in range(10):
        await asyncio.sleep(0.002)


def _drain(started: Any) -> float:
    """Read everything; return the CPU time that a peer in another process reports, else 0."""
    if isinstance(started, Iterator):
        started = deque(started, maxlen=1).pop()
    return getattr(started, "cpu", 0.0)


async def _read(started: Any) -> list[Any]:
    if isawaitable(started):
        started = await started
    return [piece async for piece in started] if hasattr(started, "__aiter__") else [started]


async def _drain_all(one: Contestant, client: Any, times: int, at_once: int) -> int:
    """Read everything; return the number of failures among several concurrent streams."""

    async def drain() -> None:
        started = one.start(client)
        if isawaitable(started):
            started = await started
        if hasattr(started, "__aiter__"):
            async for _ in started:
                pass

    async def in_time() -> None:
        async with asyncio.timeout(SECONDS):
            await drain()

    failed = 0
    for _ in range(times):
        if at_once == 1:
            await drain()
        else:
            outcomes = await asyncio.gather(*(in_time() for _ in range(at_once)), return_exceptions=True)
            failed += sum(outcome is not None for outcome in outcomes)
    return failed
