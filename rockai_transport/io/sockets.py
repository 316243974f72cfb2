"""The sync client's sockets: httpcore's pool, with every socket operation held to a `Watch`.

httpx's time-outs are per socket operation, so a trickle of bytes, of headers too, outlives them. Here every
operation asks the watch of its thread how long it may take. Through public interfaces only; imported when
the first connection is made, since httpcore takes a quarter of httpx's own import time.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from rockai_transport.io.network import LIMITS, SOCKET_OPTIONS, current_watch, ssl_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator

__all__ = ["SyncTransport"]

_WRITE_PART = 64 * 1024
_LONGEST = 86400.0  # what a socket's clock can hold has a limit; a longer wait is made of several


class _WatchedStream(httpcore.NetworkStream):
    """A socket whose operations end when the watch says so."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the watch knows better
        since = time.monotonic()
        watch = current_watch()
        with watch.lever.reaching(self._stream.get_extra_info("socket")):
            while patience := watch.patience(since):
                # A receive that times out has taken nothing from the socket, so it can be asked again.
                with contextlib.suppress(httpcore.ReadTimeout):
                    return self._stream.read(max_bytes, min(patience, _LONGEST))
        raise httpcore.ReadTimeout("the time limit ran out")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        watch = current_watch()
        with watch.lever.reaching(self._stream.get_extra_info("socket")):
            for start in range(0, len(buffer), _WRITE_PART):
                patience = watch.until - time.monotonic()
                if patience <= 0 or watch.lever.pulled:
                    raise httpcore.WriteTimeout("the time limit ran out")
                self._stream.write(buffer[start : start + _WRITE_PART], min(patience, _LONGEST))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _WatchedStream(self._stream.start_tls(ssl_context, server_hostname, _connect_limit(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _WatchedBackend(httpcore.NetworkBackend):
    """Opens watched sockets."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        # httpcore's SOCKS pool has no options of its own to pass on.
        options = socket_options or SOCKET_OPTIONS
        limit = _connect_limit(timeout)
        return _WatchedStream(self._backend.connect_tcp(host, port, limit, local_address, options))


class SyncTransport(httpx.BaseTransport):
    """httpcore's pool with watched sockets, for a sync httpx client.

    Args:
        proxy: The proxy to go through; None: straight.
    """

    def __init__(self, proxy: httpx.Proxy | None) -> None:
        pool: dict[str, Any] = {
            "ssl_context": ssl_context(),
            "max_connections": LIMITS.max_connections,
            "max_keepalive_connections": LIMITS.max_keepalive_connections,
            "keepalive_expiry": LIMITS.keepalive_expiry,
            "network_backend": _WatchedBackend(),
        }
        self._pool: httpcore.ConnectionPool
        if proxy is None:
            self._pool = httpcore.ConnectionPool(**pool, socket_options=SOCKET_OPTIONS)
            return
        address = httpcore.URL(str(proxy.url))
        if proxy.url.scheme.startswith("socks"):
            self._pool = httpcore.SOCKSProxy(address, proxy_auth=proxy.raw_auth, **pool)
        else:
            self._pool = httpcore.HTTPProxy(
                address,
                proxy_auth=proxy.raw_auth,
                proxy_headers=proxy.headers.raw,
                proxy_ssl_context=proxy.ssl_context,
                socket_options=SOCKET_OPTIONS,
                **pool,
            )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request through the pool."""
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the pool's connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The body of an answer of httpcore's, as httpx wants it."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _connect_limit(timeout: float | None) -> float:
    """The shorter of the connect time-out and what the watch still gives."""
    watch = current_watch()
    left = watch.until - time.monotonic()
    if left <= 0 or watch.lever.pulled:
        raise httpcore.ConnectTimeout("the time limit ran out")
    return min(left, _LONGEST if timeout is None else timeout)
