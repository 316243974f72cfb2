"""The common parts of both kinds of `IO`, and of both kinds of connections."""

from __future__ import annotations

import contextlib
import math
import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import httpx

from rockai_transport.io.decoding import DECODED_LIMIT, Decoded
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.io.network import environment_proxy, failure_of, proxy_of
from rockai_transport.protocol.io import BrokenError, LeftError, Notices
from rockai_transport.protocol.messages import Request, ResponseHead
from rockai_transport.sanitize import sanitize

T = TypeVar("T")


def shut_down(opened: Any) -> None:
    """Wake the thread that reads from a socket; SSLSocket's own would let it read on, undecrypted."""
    with contextlib.suppress(OSError, TypeError):  # TypeError: another client's, not a socket
        if hasattr(socket.socket, "shutdown"):
            socket.socket.shutdown(opened, socket.SHUT_RDWR)
        else:  # under eventlet, only an instance has the method
            opened.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True, eq=False)
class Deadline:
    """The limits of one operation; they change while it runs, and its sockets check them before each wait."""

    until: float = math.inf
    within: float = math.inf
    notices: Notices | None = None
    waits_for: Any = None
    """The socket that a thread is reading from."""
    ended: bool = False
    """Whether another thread has ended the operation."""
    connecting: bool = False
    """Whether a new connection was needed; set by asynchronous operations."""
    sent: bool = False
    """Whether any byte of the request may have been sent; set by asynchronous operations."""
    _awake: threading.Event | None = None

    def remaining(self, since: float) -> float:
        """Return the seconds until the next timeout or log message; 0 means to give up.

        Args:
            since: When the wait for the next bytes began.
        """
        moment = time.monotonic()
        limit = min(self.until, since + self.within)
        if moment >= limit or self.ended:
            return 0.0
        if self.notices is not None:
            if moment >= self.notices.due:
                self.notices.tell(moment)
            limit = min(limit, self.notices.due)
        return max(limit - moment, 0.001)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless the operation was ended."""
        self._awake = threading.Event()
        if not self.ended:
            self._awake.wait(seconds)

    def end(self) -> None:
        """Interrupt the operation's thread. Closing the socket would not wake it; a shutdown does."""
        self.ended = True
        awake, waited_for = self._awake, self.waits_for
        if awake is not None:
            awake.set()
        if waited_for is not None:
            shut_down(waited_for)


_UNLIMITED: Final = Deadline()  # never changed
current_deadline: ContextVar[Deadline] = ContextVar("rockai_deadline", default=_UNLIMITED)
"""The deadline for the socket operations of this thread or task."""


class Body(Protocol):
    """A response's body; each kind of `IO` iterates over it in its own way."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(eq=False)
class BaseIO:
    """The clock, and the meaning of responses and errors."""

    endpoint: Endpoint
    """Where requests are sent."""
    connections: Any
    """The client's connections; each kind of `IO` declares its own type."""
    _deadline: Deadline = field(default_factory=Deadline, init=False)
    _response: httpx.Response | None = field(default=None, init=False)

    now = staticmethod(time.monotonic)
    jitter = staticmethod(random.SystemRandom().random)  # the user's program may have seeded the common one

    @property
    def is_left(self) -> bool:
        """Whether it was ended elsewhere."""
        return self._deadline.ended

    def leave(self) -> None:
        """Wake the waiting reader; it gets a `LeftError`."""
        self._deadline.end()

    def sanitize(self, error: BaseException) -> None:
        """Remove the token and our inner frames from an error."""
        sanitize(error, self.endpoint.settings.api_token)

    def _opened(self, request: Request, response: httpx.Response) -> tuple[ResponseHead, Body]:
        """Return the head and the body of a response."""
        head = ResponseHead(
            response.status_code,
            dict(response.headers.items()),
            time.time(),
            http_version=response.http_version,
        )
        if response.is_closed:  # by a hook or auth flow of the user's HTTP client
            return head, httpx.ByteStream(response.content if response.is_stream_consumed else b"")
        body = cast("Body", response.stream)
        if head.headers.get("content-encoding", "").strip().lower() in ("", "identity"):
            return head, body
        return head, Decoded(body, head, math.inf if request.download else DECODED_LIMIT)

    def _refused(self, failure: BrokenError) -> httpx.Response:
        """Return the response whose status a hook, such as ``raise_for_status``, rejected."""
        response = getattr(failure.__cause__, "response", None)
        if response is None or response.is_success:
            raise failure
        refused: httpx.Response = response
        return refused

    def _failure(self, error: Exception) -> BaseException:
        return LeftError() if self.is_left else failure_of(error, self.connections.renew)


class BaseConnections(ABC, Generic[T]):
    """The transports of a client, created when needed.

    There is one per proxy, and separate ones for files that must come from public addresses: a reused
    connection is not checked again.
    """

    def __init__(self) -> None:
        self._transports: dict[tuple[str | None, bool], T] = {}
        self._made: list[T] = []

    def to(self, url: httpx.URL, *, public_only: bool) -> T:
        """Return the transport for an address."""
        proxy = environment_proxy(url)
        public_only = public_only and proxy is None  # behind a proxy, only the proxy's address is visible
        key = (proxy, public_only)
        known = self._transports  # another thread may renew them at the same time
        if key not in known:
            known[key] = self._make(proxy_of(proxy) if proxy else None, public_only=public_only)
            self._made.append(known[key])
        return known[key]

    @abstractmethod
    def _make(self, proxy: httpx.Proxy | None, *, public_only: bool) -> T:
        """Create a transport; its module is imported only now."""

    def renew(self) -> None:
        """Use new pools from now on; running requests keep the old ones."""
        self._transports = {}
