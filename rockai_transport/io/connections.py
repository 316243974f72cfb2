"""The connections of an `AsyncClient`: they belong to an event loop, and end with it."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING

import httpx

from rockai_transport.io.network import LIMITS, SOCKET_OPTIONS, environment_proxy, proxy_of, ssl_context
from rockai_transport.protocol.operations import FAREWELL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rockai_transport.io.asynchronous import Driver

__all__ = ["LoopConnections"]


_GRACE = 0.1  # seconds

_open: set[_Clients] = set()
"""Whatever is not closed yet: a loop closes its generators at its end, if they are still there by then."""


class LoopConnections:
    """The HTTP clients of one `AsyncClient`: a set for each event loop, closed when that loop ends.

    A connection belongs to its loop, and a loop that ends closes its async generators: so each loop's
    clients live in one, which closes them. Those of an `AsyncClient` that nobody closed and nobody holds any
    more are closed soon after.
    """

    def __init__(self) -> None:
        self._clients: dict[asyncio.AbstractEventLoop, _Clients] = {}
        self._leaving: set[asyncio.Task[None]] = set()  # over clients that are not ours
        weakref.finalize(self, _abandon, self._clients).atexit = False

    async def to(self, url: httpx.URL, *, public_only: bool) -> httpx.AsyncClient:
        """The client of the running loop for an address."""
        return (await self._here()).to(environment_proxy(url), public_only=public_only)

    def see_off(self, driver: Driver) -> None:
        """Let a stream that was dropped leave, in a task of its own."""
        clients = self._clients.get(asyncio.get_running_loop())
        leaving = clients.leaving if clients else self._leaving
        _see_off(driver, leaving, again=True)

    def renew(self) -> None:
        """Begin with new pools in the running loop; what runs in the old ones runs on."""
        if clients := self._clients.get(asyncio.get_running_loop()):
            clients.renew()

    async def aclose(self) -> None:
        """Close those of the running loop."""
        if clients := self._clients.pop(asyncio.get_running_loop(), None):
            await clients.end()

    async def _here(self) -> _Clients:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for closed in [other for other in list(self._clients) if other.is_closed()]:
                _open.discard(self._clients.pop(closed))
            self._clients[loop] = await _Clients.begin()
        return self._clients[loop]


class _Clients:
    """The HTTP clients of one loop, and what is still under way in it when it ends.

    One for each proxy, and others for files from addresses that have to be public: a connection that is
    used again is not looked at again.
    """

    def __init__(self) -> None:
        self._owner: AsyncGenerator[None, None]
        self._clients: dict[tuple[str | None, bool], httpx.AsyncClient] = {}
        self._retired: list[httpx.AsyncClient] = []
        self._closing: asyncio.Task[None] | None = None
        self.leaving: set[asyncio.Task[None]] = set()

    @classmethod
    async def begin(cls) -> _Clients:
        """Make an empty set, which ends with the running loop."""
        clients = cls()
        clients._owner = clients._own()
        await anext(clients._owner)
        _open.add(clients)
        return clients

    async def end(self) -> None:
        """Close them, unless the loop is about to do it."""
        with contextlib.suppress(RuntimeError):
            await self._owner.aclose()

    def end_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close them in a task of its own."""
        self._closing = loop.create_task(self.end())

    async def _own(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._aclose()
            _open.discard(self)

    def to(self, proxy: str | None, *, public_only: bool) -> httpx.AsyncClient:
        if (proxy, public_only) not in self._clients:
            transport = httpx.AsyncHTTPTransport(
                verify=ssl_context(),
                limits=LIMITS,
                proxy=proxy_of(proxy) if proxy else None,
                socket_options=SOCKET_OPTIONS,
            )
            self._clients[proxy, public_only] = httpx.AsyncClient(transport=transport, trust_env=False)
        return self._clients[proxy, public_only]

    def renew(self) -> None:
        self._retired += self._clients.values()
        self._clients = {}

    async def _aclose(self) -> None:
        if self.leaving:
            await asyncio.wait(set(self.leaving), timeout=FAREWELL_SECONDS)
        for client in [*self._retired, *self._clients.values()]:
            await client.aclose()


def _see_off(driver: Driver, leaving: set[asyncio.Task[None]], *, again: bool) -> None:
    task = asyncio.ensure_future(driver.leave())
    leaving.add(task)

    def done(_: asyncio.Task[None]) -> None:
        leaving.discard(task)
        if task.cancelled() and again and not driver.finished:
            # A loop that ends cancels all tasks, even before they begin; what begins after that goes on.
            _see_off(driver, leaving, again=False)

    task.add_done_callback(done)


def _abandon(clients: dict[asyncio.AbstractEventLoop, _Clients]) -> None:
    """Close what an `AsyncClient` left behind, but not at the very end of its loop.

    There a task would be canceled half-way through, and its connections lost; the loop itself closes what is
    still open then.
    """
    for loop, abandoned in clients.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(loop.call_later, _GRACE, abandoned.end_soon, loop)
