"""The transports of an asynchronous client. They belong to an event loop, and end with it.

Invariants of this module: when a loop ends (`asyncio.run` then closes its generators), its open streams get
at most two seconds to end, and are then left. Only after that the connections are closed. A forked child
uses, closes and cancels nothing that belongs to a loop of its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Protocol

import httpx

from rockai_transport._forks import cut_connections
from rockai_transport.errors import ConfigurationError
from rockai_transport.io.base import BaseConnections
from rockai_transport.io.detached import DetachedTask
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS

_CLOSING_DELAY = 0.1  # seconds

_open: set[LoopScope] = set()
"""The scopes that are not closed yet. At its end, a loop closes only generators that are still referenced."""


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: It is not an asyncio loop.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "AsyncClient needs asyncio: under trio or another library, use Client in a thread."
        ) from None


class OpenStream(Protocol):
    """A stream with a reader."""

    async def close(self) -> None:
        """Close the connection, and cancel the prediction if its id is known."""

    async def cut_off(self) -> None:
        """The same, if the reader did not ask for it and must get an error."""


class LoopConnections:
    """The transports of one `AsyncClient`: one `LoopScope` per event loop, closed when the loop ends.

    A connection belongs to its loop, and a loop closes its async generators when it ends. So an async
    generator holds each loop's scope, and closes it. The scopes of an `AsyncClient` that was dropped without
    being closed are closed soon after.
    """

    def __init__(self) -> None:
        self._scopes: dict[asyncio.AbstractEventLoop, LoopScope] = {}
        weakref.finalize(self, _close_abandoned, self._scopes).atexit = False

    def renew(self) -> None:
        """Use new pools in the running loop; running requests keep the old ones."""
        if scope := self._scopes.get(asyncio.get_running_loop()):
            scope.renew()

    async def aclose(self) -> None:
        """Close the scope of the running loop; with another library than asyncio there is none."""
        with contextlib.suppress(ConfigurationError):
            if scope := self._scopes.pop(running_loop(), None):
                await scope.end()

    async def here(self) -> LoopScope:
        """Return the scope of the running loop, a new one if there is none; forget those of ended loops."""
        loop = running_loop()
        scope = self._scopes.get(loop)
        if scope is None:
            for closed in [other for other in list(self._scopes) if other.is_closed()]:
                if forgotten := self._scopes.pop(closed, None):  # else another thread was faster
                    _open.discard(forgotten)
            scope = self._scopes[loop] = await LoopScope.begin()
        elif scope.loop is None:
            raise ConfigurationError(
                "This event loop was used before this process was forked, and belongs to the parent process. "
                "Here, use asyncio.run, or asyncio.set_event_loop(asyncio.new_event_loop()) first."
            )
        return scope


class LoopScope(BaseConnections[httpx.AsyncHTTPTransport]):
    """The transports of one loop, and its open streams."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        """Its loop; None in a forked child, where it is its parent's."""
        self._owner: AsyncGenerator[None, None]
        self._closing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._is_closing = False  # set by `end`, not by the end of the loop
        self.streams: set[OpenStream] = set()

    @classmethod
    async def begin(cls) -> LoopScope:
        """Create a scope without transports that ends with the running loop."""
        scope = cls()
        scope._owner = scope._own()
        await anext(scope._owner)
        _open.add(scope)
        return scope

    async def end(self) -> None:
        """Close it, unless the loop is about to do so."""
        self._is_closing = True
        await self._cut_off_all()
        with contextlib.suppress(RuntimeError):
            await self._owner.aclose()

    def end_soon(self) -> None:
        """Close it in its own task."""
        self._closing = asyncio.create_task(self.end())

    def discard(self, stream: OpenStream) -> None:
        """Forget a stream that has ended or was left."""
        self.streams.discard(stream)
        self._changed.set()

    def close_in_background(self, stream: OpenStream) -> None:
        """Leave a dropped stream in its own task."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(lambda: self.leave_in_own_task(stream.close()))

    def leave_in_own_task(self, leaving: Coroutine[Any, Any, None]) -> None:
        """Leave a stream in its own task; the end of the loop waits for it."""
        task = DetachedTask(leaving, CANCEL_GRACE_SECONDS)
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
        """Wait until no stream is open: the loop closes the generators around them, one by one."""
        # The loop warns about generators that start from now on, such as httpx's for the cancel. Where
        # warnings are errors, the cancel would be lost.
        sys.set_asyncgen_hooks(firstiter=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_GRACE_SECONDS):
                while self.streams:
                    self._changed.clear()
                    await self._changed.wait()
        await self._cut_off_all()

    async def _cut_off_all(self) -> None:
        """Leave all open streams; wait for them at most two seconds."""
        for stream in list(self.streams):
            self.leave_in_own_task(stream.cut_off())
        if self._leaving:
            await asyncio.wait(set(self._leaving), timeout=CANCEL_GRACE_SECONDS)


def _close_abandoned(scopes: dict[asyncio.AbstractEventLoop, LoopScope]) -> None:
    """Close what a dropped `AsyncClient` left open, but not at the very end of its loop.

    There, the task would be canceled half-way and the connections lost; the loop itself closes what is still
    open.
    """
    for loop, abandoned in scopes.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(loop.call_later, _CLOSING_DELAY, abandoned.end_soon)


def _leave_to_parent() -> None:
    """Leave all scopes and their streams to the parent process: this is its forked child."""
    for scope in _open:
        scope.loop = None
        scope.streams.clear()
    cut_connections()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
