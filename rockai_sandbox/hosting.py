"""uvicorn in a thread: two servers on one event loop, started and stopped without polling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from rockai_sandbox.options import HOST
from rockai_sandbox.server import TRANSPORT

STARTS_WITHIN = 30.0
STREAMS_END_WITHIN = 0.5
"""Seconds to wait for running responses at the end, before they are aborted."""

# Once, since a new level empties what every logger of the process has noted; they ask under a lock then.
_LOGGER = logging.getLogger("rockai_sandbox.uvicorn")
_LOGGER.setLevel(logging.CRITICAL)


def listen(port: int) -> socket.socket:
    """Open a listening socket on the loopback address; port 0 takes any free port."""
    # asyncio sets TCP_NODELAY only if the protocol is named. Without it, every response over a kept
    # connection waits 40 ms for a delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


class _QuietProtocol(H11Protocol):
    """uvicorn's protocol with a separate log: a stream that is aborted on purpose is not an error here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _LOGGER

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, and also pass it to the apps, which may have to abort it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


class _Server(uvicorn.Server):
    """A uvicorn server that stops at once; uvicorn's own polls ten times a second."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http=_QuietProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            timeout_keep_alive=60,
        )
        config.load()
        super().__init__(config)
        self.lifespan = config.lifespan_class(config)

    async def open(self, listener: socket.socket) -> None:
        self._listener = listener
        await self.startup(sockets=[listener])
        await self.on_tick(0)  # computes the headers of every response

    async def close(self) -> None:
        # asyncio never closes a connection that it has accepted just before its server closes.
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().remove_reader(self._listener)
        for _ in range(3):  # what was accepted becomes a connection
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STREAMS_END_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets the transports close
        for server in self.servers:
            await server.wait_closed()


class Hosting:
    """A thread that serves ASGI apps, each on its own listening socket.

    Args:
        served: The apps and their sockets.
        before_close: Awaited on the loop when the thread is asked to stop, before the connections close.
    """

    def __init__(
        self, served: Sequence[tuple[ASGIApp, socket.socket]], before_close: Callable[[], Awaitable[None]]
    ) -> None:
        self._served = served
        self._before_close = before_close
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="rockai-sandbox", daemon=True)

    def start(self) -> None:
        """Start serving; return once connections are accepted.

        Raises:
            RuntimeError: The servers did not start.
        """
        self._thread.start()
        if not self._ready.wait(STARTS_WITHIN) or self._failure is not None:
            raise RuntimeError("the sandbox's servers did not start") from self._failure

    def stop(self) -> None:
        """Stop serving; return once everything has ended."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as raised:  # noqa: BLE001 - it is raised where the thread was started
            self._failure = raised
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        servers = [(_Server(app), listener) for app, listener in self._served]
        for server, listener in servers:
            await server.open(listener)
        self._ready.set()
        await self._stop.wait()
        await self._before_close()
        for server, _ in servers:
            await server.close()
