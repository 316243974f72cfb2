"""The transports below both clients: httpx's own, over pools whose sockets know the operation's deadline.

httpx's timeouts apply to each socket operation, so a slow trickle of bytes or headers never triggers them.
Here the network backend below httpcore asks the current `Deadline` how long it may wait. Only the pool is
replaced: ``handle_request`` is httpx's, so recorders, mocks and tracers that patch it see every request.

This module is imported with the first connection, because httpcore takes a quarter of httpx's own import
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from rockai_transport._forks import connections
from rockai_transport.config import is_private
from rockai_transport.io.base import Deadline, current_deadline, shut_down
from rockai_transport.io.chunked import SEND_PART, BaseStream, read_past_h11
from rockai_transport.io.detached import run_detached
from rockai_transport.io.network import SOCKET_OPTIONS, was_raised_by_a_signal_handler
from rockai_transport.io.pools import Pools, requests_of
from rockai_transport.protocol.downloads import private_address_error
from rockai_transport.protocol.io import TIME_IS_UP

_READ_PART = 64 * 1024
_CLOSED = "the client was closed meanwhile"
_LONGEST = 86400.0  # a socket's timeout has a maximum; a longer wait consists of several


class _Stream(BaseStream, httpcore.NetworkStream):
    """A socket whose operations end at the deadline."""

    _stream: httpcore.NetworkStream

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket = stream.get_extra_info("socket")
        self._process = os.getpid()
        self._in_use = False  # a thread waits for the socket

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline decides
        return self.split(self.rest or self._receive(max_bytes))

    def read_body(self) -> bytes:
        """Return the next bytes, to read a body without h11."""
        rest, self.rest = self.rest, b""
        return rest or self._receive(_READ_PART)

    def _receive(self, max_bytes: int) -> bytes:
        self._send()
        since = time.monotonic()
        deadline = current_deadline.get()
        deadline.waits_for = self._socket
        try:
            self._in_use = True
            while not self.is_closed and (remaining := deadline.remaining(since)):
                # A receive that timed out has read nothing from the socket, so it can be repeated.
                try:
                    received = self._stream.read(max_bytes, min(remaining, _LONGEST))
                    if received or not (self.is_closed or deadline.ended):
                        return received
                    break  # what looks like the body's end is none
                except httpcore.ReadTimeout as error:
                    _raise_if_users(error)
        except httpcore.ReadError:
            if not self.is_closed:
                raise
        finally:
            deadline.waits_for, self._in_use = None, False
            if self.is_closed:
                self._stream.close()
        raise httpcore.ReadError(_CLOSED) if self.is_closed else httpcore.ReadTimeout(TIME_IS_UP)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        if self.add(buffer):
            self._send()

    def _send(self) -> None:
        buffer, self.unsent = self.unsent, b""
        if not buffer:
            return
        deadline = current_deadline.get()
        deadline.waits_for = self._socket
        try:
            self._in_use = True
            for start in range(0, len(buffer), SEND_PART):
                remaining = deadline.until - time.monotonic()
                if remaining <= 0 or deadline.ended:
                    raise httpcore.WriteTimeout(TIME_IS_UP)
                if self.is_closed:
                    raise httpcore.WriteError(_CLOSED)
                self._stream.write(buffer[start : start + SEND_PART], min(remaining, _LONGEST))
        finally:
            deadline.waits_for, self._in_use = None, False
            if self.is_closed:
                self._stream.close()

    def close(self) -> None:
        self.is_closed = True
        if self._process == os.getpid():  # in a forked child, the socket belongs to the parent
            shut_down(self._socket)  # a close would not wake another thread that reads
        # The waiting thread closes it: if a new connection got its number first, that thread would wait for
        # the new one.
        if not self._in_use:
            self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _connect_limit(timeout)))


def _raise_if_users(error: httpcore.TimeoutException) -> None:
    """Raise the `TimeoutError` of a signal handler of the user, which httpcore takes for the socket's own."""
    cause = error.__cause__
    if cause is not None and was_raised_by_a_signal_handler(cause):
        raise cause from cause.__cause__


@dataclass(eq=False)
class _Backend(httpcore.NetworkBackend):
    """Opens sockets, and optionally only to public addresses.

    Args:
        public_only: Refuse a connection to a private address before anything is sent. The address of the
            actual connection is checked, so a name that resolves differently each time does not help.
    """

    public_only: bool

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        # httpcore's SOCKS pool does not pass socket options.
        options = socket_options or SOCKET_OPTIONS
        limit = _connect_limit(timeout)
        try:
            stream = httpcore.SyncBackend().connect_tcp(host, port, limit, local_address, options)
        except httpcore.ConnectTimeout as error:
            _raise_if_users(error)
            raise
        if self.public_only and is_private(address := _address(stream)):
            stream.close()
            raise private_address_error(address)
        return _Stream(stream)


@dataclass(eq=False)
class _AsyncStream(BaseStream, httpcore.AsyncNetworkStream):
    """A socket that tells the deadline when a request is first sent; the task itself measures the time."""

    _stream: httpcore.AsyncNetworkStream

    def __post_init__(self) -> None:
        connections.add(self)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.rest:
            await self._send(timeout)
        return self.split(await self.read_body(max_bytes, timeout))

    async def read_body(self, max_bytes: int = _READ_PART, timeout: float | None = None) -> bytes:
        """Return the next bytes: of a head or for h11 as `read` passes them on, of a body without h11."""
        rest, self.rest = self.rest, b""
        try:
            return rest or await self._stream.read(max_bytes, timeout)
        except asyncio.CancelledError:
            await self._close_detached()
            raise
        except httpcore.ReadError as error:
            if not self.is_closed:
                raise
            raise httpcore.ReadError(_CLOSED) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.add(buffer):
            await self._send(timeout)

    async def _send(self, timeout: float | None) -> None:
        buffer, self.unsent = self.unsent, b""
        if not buffer:
            return
        current_deadline.get().sent = True
        early: asyncio.Task[bytes] | None = None
        try:
            if len(buffer) >= SEND_PART:
                # A server may refuse a large request without reading all of it, and close. Then the write
                # fails, and asyncio drops what has arrived and was not read yet: the refusal.
                early = asyncio.create_task(self._stream.read(_READ_PART))
                await asyncio.sleep(0)  # the read begins first
            await self._stream.write(buffer, timeout)
        except asyncio.CancelledError:
            await self._close_detached()
            raise
        finally:
            if early is not None:
                early.cancel()
                await asyncio.wait({early})
                self.rest = b"" if early.cancelled() or early.exception() else early.result()

    async def aclose(self) -> None:
        self.is_closed = True
        await self._stream.aclose()

    async def _close_detached(self) -> None:
        """Close the connection; httpcore closes it too, but a second cancellation would interrupt that."""
        await run_detached(self._stream.aclose())

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except Exception:
            raise  # httpcore 1.0 closes the socket if a handshake fails, but not if it is canceled
        except BaseException:
            await self._close_detached()
            raise


@dataclass(eq=False)
class _AsyncBackend(httpcore.AsyncNetworkBackend):
    """As `_Backend`, with ``await``."""

    public_only: bool

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        current_deadline.get().connecting = True
        options = socket_options or SOCKET_OPTIONS
        backend: Any = httpcore.AnyIOBackend()
        try:
            stream = await backend.connect_tcp(host, port, timeout, local_address, options)
        except ValueError:  # anyio's, whose tasks the end of `asyncio.run` cancels, but not a `DetachedTask`
            stream = await backend.connect_tcp(host, port, timeout, local_address, options)
        if self.public_only and is_private(address := _address(stream)):
            await stream.aclose()
            raise private_address_error(address)
        return _AsyncStream(stream)


class _Pool(Pools[httpcore.ConnectionPool]):
    """The interface that `httpx.HTTPTransport` needs from a pool."""

    _size = 10

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.Lock()
        self._given: dict[httpcore.ConnectionPool, int] = {}
        """How many threads have chosen a pool, and have no answer yet: others see their requests late.

        They are less than the size, and so are the requests that the pool shows: it has connections for both.
        """

    def load(self, pool: httpcore.ConnectionPool) -> int:
        return max(self._given.get(pool, 0), len(requests_of(pool)))

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        now = time.monotonic()
        with self._lock:
            unused = self.unused(now) if len(self.pools) > 1 else []
            pool = self.choose(now)
            self._given[pool] = self._given.get(pool, 0) + 1
        try:
            for one in unused:
                one.close()
            response = read_past_h11(pool.handle_request(request))
            return self.last(response) if self.is_closed else response
        finally:
            with self._lock:
                self._given[pool] -= 1
                if not self._given[pool]:
                    del self._given[pool]

    def close(self) -> None:
        self.is_closed = True
        for pool in list(self.pools):
            pool.close()


class _AsyncPool(Pools[httpcore.AsyncConnectionPool]):
    """The interface that `httpx.AsyncHTTPTransport` needs from a pool."""

    _size = 2

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        now = time.monotonic()
        if len(self.pools) > 1 and (unused := self.unused(now)):
            await run_detached(_close(unused))
        request.extensions["pool"] = pool = self.choose(now)
        response = read_past_h11(await pool.handle_async_request(request))
        return self.last(response) if self.is_closed else response

    async def aclose(self) -> None:
        self.is_closed = True
        await _close(list(self.pools))


class Transport(httpx.HTTPTransport):
    """httpx's transport over our pools.

    Args:
        proxy: The proxy; None: a direct connection.
        public_only: As in `_Backend`. Must be False with a proxy, because only the proxy's address is
            visible.
    """

    def __init__(self, proxy: httpx.Proxy | None, *, public_only: bool) -> None:  # replaces httpx's own
        self._pool: Any = _Pool(_interruptible_pool, _Backend(public_only=public_only), proxy)


class AsyncTransport(httpx.AsyncHTTPTransport):
    """The same with ``await``."""

    def __init__(self, proxy: httpx.Proxy | None, *, public_only: bool) -> None:
        backend = _AsyncBackend(public_only=public_only)
        self._pool: Any = _AsyncPool(httpcore.AsyncConnectionPool, backend, proxy)

    async def release(self, request: httpx.Request) -> None:
        """Release what a canceled request may still hold: its place in a pool, and its connection.

        httpcore 1.0 protects its own cleanup from anyio's cancel scopes, but not from a task's ``cancel``.
        """
        pool = request.extensions.get("pool")
        if pool is not None:
            requests = requests_of(pool)
            requests[:] = [one for one in requests if one.request.extensions is not request.extensions]
            used = {one.connection for one in requests}
            kept = [one for one in pool.connections if not (one in used or one.is_idle() or one.is_closed())]
            for connection in kept:  # all found before the first is closed: meanwhile a request may take one
                with contextlib.suppress(Exception):
                    await connection.aclose()


async def _close(pools: list[httpcore.AsyncConnectionPool]) -> None:
    for pool in pools:
        await pool.aclose()


def _interruptible_pool(**settings: Any) -> httpcore.ConnectionPool:
    """Create a pool that cannot deadlock with itself after Ctrl-C.

    httpcore 1.0 releases its lock in Python code, and takes it again to clean up: if the signal arrives in
    between, it waits for itself (httpcore/_synchronization.py, `ThreadLock`). A plain lock has no such gap.
    """
    pool = httpcore.ConnectionPool(**settings)
    pool._optional_thread_lock = threading.Lock()  # type: ignore[assignment]  # noqa: SLF001 - no other way
    return pool


def _address(stream: httpcore.NetworkStream | httpcore.AsyncNetworkStream) -> str:
    return str(stream.get_extra_info("server_addr")[0])


def _connect_limit(timeout: float | None) -> float:
    """Return the shorter of the connect timeout and the time left until the deadline."""
    deadline: Deadline = current_deadline.get()
    remaining = deadline.until - time.monotonic()
    if remaining <= 0 or deadline.ended:
        raise httpcore.ConnectTimeout(TIME_IS_UP)
    return min(remaining, _LONGEST if timeout is None else timeout)
