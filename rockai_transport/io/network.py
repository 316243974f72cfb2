"""What both shells need of the network: limits, TLS, proxies, and what httpx's errors mean.

What httpx 0.28 does not do by itself is added here and in `rockai_transport.io.sockets`, through public
interfaces only: a deadline over a whole operation (sync sockets ask their thread's `Watch`; the async client
has `asyncio.timeout`), TCP keep-alive (gateways forget silent connections after minutes), and environment
proxies beside a transport of our own, never for this machine itself.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import socket
import threading
import time
import urllib.request
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from rockai_transport.config import is_loopback, is_private
from rockai_transport.errors import ConfigurationError, InvalidResponseError
from rockai_transport.protocol.effects import (
    BrokenError,
    ExpiredError,
    Notices,
    NotSentError,
    TransportFailure,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

__all__ = [
    "LIMITS",
    "SOCKET_OPTIONS",
    "Lever",
    "Trail",
    "Watch",
    "current_watch",
    "environment_proxy",
    "is_pool_exhausted",
    "proxy_of",
    "ssl_context",
    "translate",
    "watching",
]

LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
"""Equal on purpose: httpcore 1.0 counts every connection as idle against the second number."""

SOCKET_OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
        if hasattr(socket, name)
    ),
]

_FAMILIES = frozenset({"httpx", "httpcore", "httpx2", "httpcore2"})
_NOT_SENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
    }
)


def translate(error: Exception) -> TransportFailure | None:
    """What an error of httpx or httpcore means for a call: never sent, out of time, or broken.

    By name, since the successor's classes, of a client that was handed in, bear the same names.

    Returns:
        None for an error that is not of the network.
    """
    words = str(error) or type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in _FAMILIES}
    if not kinds:
        if isinstance(error, UnicodeError):  # a host name that the name service's own encoding refuses
            return NotSentError(f"no connection: {words}")
        # httpcore lets some errors of TLS and of anyio through as they are.
        of_network = isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "anyio"
        return BrokenError(f"the connection broke: {words}") if of_network else None
    with contextlib.suppress(AttributeError):
        error.request = None  # type: ignore[attr-defined] # its headers hold the token
    timed_out = "TimeoutException" in kinds
    if kinds & _NOT_SENT:
        return NotSentError(f"no connection: {words}", timed_out=timed_out)
    return (
        ExpiredError(f"no answer in time: {words}")
        if timed_out
        else BrokenError(f"the connection broke: {words}")
    )


def is_pool_exhausted(error: Exception) -> bool:
    """Whether no connection of the pool came free: cancelled requests can leak their places."""
    return any(kind.__name__ == "PoolTimeout" for kind in type(error).__mro__)


class Trail:
    """What has happened on the way of one request, as httpcore's public ``trace`` extension tells it.

    Args:
        public_only: Refuse a connection to a private address before anything is sent over it. The address
            that was really connected to is looked at, so a name that resolves anew each time does not help.
            Behind a proxy only the proxy is seen: there the address is judged by its name alone.
    """

    def __init__(self, *, public_only: bool) -> None:
        self._public_only = public_only
        self._was_connecting = False
        self._was_sent = False
        self._stream: Any = None

    @property
    def never_sent(self) -> bool:
        """Whether it is known that nothing was sent."""
        return self._was_connecting and not self._was_sent

    def follow(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note; the sync form of the extension."""
        if self._note(event, info):
            self._stream.close()
            raise _refusal()

    async def afollow(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note; the async form of the extension."""
        refused = self._note(event, info)
        if refused or self._is_left(event, info):
            await self._stream.aclose()
        if refused:
            raise _refusal()

    def _note(self, event: str, info: Mapping[str, Any]) -> bool:
        """Whether the address that was connected to is refused."""
        if event.endswith("connect_tcp.started"):
            self._was_connecting = True
        elif event.endswith("send_request_headers.started"):
            self._was_sent = True
        elif event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
            return self._public_only and is_private(self._stream.get_extra_info("server_addr")[0])
        return False

    def _is_left(self, event: str, info: Mapping[str, Any]) -> bool:
        """Whether a TLS handshake was canceled: httpcore 1.0 closes the socket only where one fails.

        With blocking calls the socket is not ours any more by then, and goes with the exception.
        """
        if not event.endswith("start_tls.failed") or self._stream is None:
            return False
        return not isinstance(info["exception"], Exception)


def _refusal() -> InvalidResponseError:
    return InvalidResponseError(
        "The output names a file at a private address, which is not fetched. "
        "Pass allow_private=True to download if you trust it."
    )


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """The one TLS context of the process: building one takes 20 ms, so it is built when it is needed."""
    return httpx.create_ssl_context()


def environment_proxy(url: httpx.URL) -> str | None:
    """The proxy that the environment names for an address; none for this machine itself."""
    if is_loopback(url.host) or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy or None


def proxy_of(address: str) -> httpx.Proxy:
    """Read a proxy's address.

    Raises:
        ConfigurationError: It cannot be used, or needs a package that is not installed.
    """
    try:
        proxy = httpx.Proxy(address)
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(
            "The environment (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) names a proxy that cannot be used. "
            "Give it as http://host:port, https://… or socks5://…, or unset the variable."
        ) from None
    if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            "The environment names a SOCKS proxy, which needs one more package: "
            'pip install "rockai-integrations[socks]".'
        )
    return proxy


class Lever:
    """Lets another thread interrupt what the thread that drives a flow is waiting for."""

    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._socket: Any = None

    @property
    def pulled(self) -> bool:
        """Whether to give up."""
        return self._pulled.is_set()

    def pull(self) -> None:
        """Interrupt it. A close would not wake a thread that waits for bytes; a shutdown does."""
        self._pulled.set()
        waited_for = self._socket
        if waited_for is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(waited_for, socket.SHUT_RDWR)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless interrupted."""
        self._pulled.wait(seconds)

    @contextlib.contextmanager
    def reaching(self, waited_for: Any) -> Iterator[None]:
        """Name the socket that is waited for meanwhile."""
        self._socket = waited_for
        try:
            yield
        finally:
            self._socket = None


class Watch(NamedTuple):
    """How long the socket operations of one thread may take, until it is taken away again."""

    until: float
    lever: Lever
    within: float = math.inf
    notices: Notices | None = None

    def patience(self, since: float) -> float:
        """Seconds until the next thing to do, be it to give up or to say something; 0 is to give up."""
        moment = time.monotonic()
        limit = min(self.until, since + self.within)
        if moment >= limit or self.lever.pulled:
            return 0.0
        if self.notices is not None:
            self.notices.tell(moment)
            limit = min(limit, self.notices.due)
        return max(limit - moment, 0.001)


_NO_WATCH = Watch(math.inf, Lever())
_watch: ContextVar[Watch] = ContextVar("rockai_watch", default=_NO_WATCH)


def current_watch() -> Watch:
    """The watch that this thread's socket operations are held to."""
    return _watch.get()


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Hold every socket operation of this thread to a watch."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)
