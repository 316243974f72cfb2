"""Several of httpcore's pools as one: to which of them a request is given, and when one is given up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar

import httpcore
import httpx

from rockai_transport.io.chunked import LastBody
from rockai_transport.io.network import SOCKET_OPTIONS, ssl_context

P = TypeVar("P", bound=httpcore.ConnectionPool | httpcore.AsyncConnectionPool)

_MAX_CONNECTIONS = 2000
_CLOSED_AT_ONCE = 10  # unused pools that a request closes: all that a large wave has left would take long
_KEPT_SECONDS = 5.0
"""Seconds for which an unused connection, or an unused pool, is kept."""


class Pools(Generic[P]):
    """Several pools as one: httpcore's pool scans all its connections for every request.

    A request uses the newest pool until that is full, then the least busy one, or a new one. Of equally busy
    ones it is the one chosen last, so that the others may be closed: a pool is, after it has been idle for as
    long as a connection is kept.

    Args:
        make: Creates a pool.
        backend: Opens its connections.
        proxy: The proxy; None: a direct connection.
    """

    _size: ClassVar[int]
    """Number of requests that fill a pool."""

    def __init__(self, make: Callable[..., P], backend: Any, proxy: httpx.Proxy | None) -> None:
        self._make = partial(
            make,
            network_backend=backend,
            ssl_context=ssl_context(),
            proxy=proxy and _httpcore_proxy(proxy),
            max_connections=2 * self._size,  # all may be idle: there can be several origins
            keepalive_expiry=_KEPT_SECONDS,
            socket_options=SOCKET_OPTIONS,
        )
        self.pools: dict[P, float] = {self._make(): 0.0}
        """The pools, each with the time when it was last chosen; the newest is last."""
        self.is_closed = False

    def load(self, pool: P) -> int:
        """Return the number of requests that a pool has."""
        return len(requests_of(pool))

    def choose(self, now: float) -> P:
        """Return the pool for a request, which must be given to it before another one chooses."""
        pools = self.pools
        chosen = next(reversed(pools))
        if self.load(chosen) >= self._size:
            chosen = min(reversed(pools), key=self.load)
            has_room = len(pools) * 2 * self._size < _MAX_CONNECTIONS
            if self.load(chosen) >= self._size and has_room:
                chosen = self._make()
            pools.pop(chosen, None)
        pools[chosen] = now
        return chosen

    def last(self, response: httpcore.Response) -> httpcore.Response:
        """Return the response to a request that came before the pools were closed.

        httpcore's pool forgets a connection that is being opened, and does not close it.
        """
        response.stream = LastBody(response.stream, response.extensions["network_stream"])
        return response

    def unused(self, now: float) -> list[P]:
        """Return the pools to close: they will not be chosen any more. One remains."""
        found: list[P] = []
        for pool, since in islice(self.pools.items(), len(self.pools) - 1):
            if now - since < _KEPT_SECONDS or len(found) == _CLOSED_AT_ONCE:
                break
            if not self.load(pool):
                found.append(pool)
        for pool in found:
            del self.pools[pool]
        return found


def requests_of(pool: httpcore.ConnectionPool | httpcore.AsyncConnectionPool) -> list[Any]:
    """Return a pool's requests. Its connections do not show them: a just assigned one counts as idle."""
    requests: list[Any] = pool._requests  # noqa: SLF001 - publicly, only the repr shows them
    return requests


def _httpcore_proxy(proxy: httpx.Proxy) -> httpcore.Proxy:
    return httpcore.Proxy(str(proxy.url), proxy.raw_auth, proxy.headers.raw, proxy.ssl_context)
