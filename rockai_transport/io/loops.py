"""The transports of an asynchronous client: they belong to an event loop, and end with it.

Invariants of this module: when a loop ends (`asyncio.run` closes its generators then), the streams that are
still open in it are waited for, two seconds at most, and left; only then the connections are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Protocol

import httpx

from rockai_transport.errors import ConfigurationError
from rockai_transport.io.base import BaseConnections
from rockai_transport.io.detached import GRACE_SECONDS, DetachedTask

__all__ = ["LoopConnections", "LoopScope", "running_loop"]

_CLOSING_DELAY = 0.1  # seconds

_open: set[LoopScope] = set()
"""Whatever is not closed yet: a loop closes its generators at its end, if they are still there by then."""


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs this task.

    Raises:
        ConfigurationError: It is not asyncio's.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "AsyncClient needs asyncio: under trio or another library, use Client in a thread."
        ) from None


class OpenStream(Protocol):
    """A stream that somebody reads."""

    async def close(self) -> None:
        """Leave it: close its connection, and cancel its prediction where the id is known."""

    async def cut_off(self) -> None:
        """The same, where its reader does not ask for it and has to be told."""


class LoopConnections:
    """The transports of one `AsyncClient`: a set for each event loop, closed when that loop ends.

    A connection belongs to its loop, and a loop that ends closes its async generators: so each loop's set
    lives in one, which closes it. Those of an `AsyncClient` that nobody closed and nobody holds any more are
    closed soon after.
    """

    def __init__(self) -> None:
        self._scopes: dict[asyncio.AbstractEventLoop, LoopScope] = {}
        weakref.finalize(self, _close_abandoned, self._scopes).atexit = False

    def renew(self) -> None:
        """Begin with new pools in the running loop; what runs in the old ones runs on."""
        if scope := self._scopes.get(asyncio.get_running_loop()):
            scope.renew()

    async def aclose(self) -> None:
        """Close those of the running loop; under another library than asyncio there are none."""
        with contextlib.suppress(ConfigurationError):
            if scope := self._scopes.pop(running_loop(), None):
                await scope.end()

    async def here(self) -> LoopScope:
        """The set of the running loop."""
        loop = running_loop()
        scope = self._scopes.get(loop)
        if scope is None:
            for closed in [other for other in list(self._scopes) if other.is_closed()]:
                _open.discard(self._scopes.pop(closed))
            scope = self._scopes[loop] = await LoopScope.begin()
        return scope


class LoopScope(BaseConnections[httpx.AsyncHTTPTransport]):
    """The transports of one loop, and the streams that are open in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self._owner: AsyncGenerator[None, None]
        self._closing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._is_closing = False  # by `end`, not by the end of the loop
        self.streams: set[OpenStream] = set()

    @classmethod
    async def begin(cls) -> LoopScope:
        """Make an empty set, which ends with the running loop."""
        scope = cls()
        scope._owner = scope._own()
        await anext(scope._owner)
        _open.add(scope)
        return scope

    async def end(self) -> None:
        """Close them, unless the loop is about to do it."""
        self._is_closing = True
        await self._cut_off_all()
        with contextlib.suppress(RuntimeError):
            await self._owner.aclose()

    def end_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close them in a task of its own."""
        self._closing = loop.create_task(self.end())

    def discard(self, stream: OpenStream) -> None:
        """Take note that a stream has ended, or was left."""
        self.streams.discard(stream)
        self._changed.set()

    def close_in_background(self, stream: OpenStream) -> None:
        """Let a stream that was dropped leave, in a task of its own."""
        self.loop.call_soon_threadsafe(lambda: self.do(stream.close()))

    def do(self, leaving: Coroutine[Any, Any, None]) -> None:
        """Leave a stream in a task of its own, which the end of the loop waits for."""
        task = DetachedTask(leaving, GRACE_SECONDS)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _make(self, proxy: httpx.Proxy | None, *, public_only: bool) -> httpx.AsyncHTTPTransport:
        from rockai_transport.io.transports import AsyncTransport

        return AsyncTransport(proxy, public_only=public_only)

    async def _own(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if not self._is_closing:
                await self._see_streams_closed()
            for transport in self._made:
                await transport.aclose()
            _open.discard(self)

    async def _see_streams_closed(self) -> None:
        """Wait until no stream is open: generators around them are closed meanwhile, one by one."""
        # The loop warns of generators that begin from now on, as httpx's do for the cancel: where warnings
        # are errors, it would be lost.
        sys.set_asyncgen_hooks(firstiter=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                while self.streams:
                    self._changed.clear()
                    await self._changed.wait()
        await self._cut_off_all()

    async def _cut_off_all(self) -> None:
        """Leave all that are open, and wait for them, two seconds at most."""
        for stream in list(self.streams):
            self.do(stream.cut_off())
        if self._leaving:
            await asyncio.wait(set(self._leaving), timeout=GRACE_SECONDS)


def _close_abandoned(scopes: dict[asyncio.AbstractEventLoop, LoopScope]) -> None:
    """Close what an `AsyncClient` left behind, but not at the very end of its loop.

    There a task would be canceled half-way through, and its connections lost; the loop itself closes what is
    still open then.
    """
    for loop, abandoned in scopes.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(loop.call_later, _CLOSING_DELAY, abandoned.end_soon, loop)
