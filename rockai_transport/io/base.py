"""What both kinds of `IO` have in common, and both kinds of connections."""

from __future__ import annotations

import math
import random
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import httpx

from rockai_transport.io.deadlines import Deadline
from rockai_transport.io.decoding import DECODED_LIMIT
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.io.network import environment_proxy, failure_of, proxy_of
from rockai_transport.protocol.io import BrokenError, LeftError
from rockai_transport.protocol.messages import Request, ResponseHead
from rockai_transport.sanitize import sanitize

__all__ = ["BaseConnections", "BaseIO"]

C = TypeVar("C")
T = TypeVar("T")


class BaseIO(Generic[C]):
    """The clock, and what a response and an error mean.

    Args:
        endpoint: Where requests go.
        connections: Those of the client.
    """

    _iterate: ClassVar[Any]
    _decode: ClassVar[Any]
    _chunks: Any
    is_left: Any
    """Whether somebody else has ended it."""

    def __init__(self, endpoint: Endpoint, connections: C) -> None:
        self._endpoint = endpoint
        self.connections = connections
        self._deadline = Deadline()
        self._response: httpx.Response | None = None

    def sanitize(self, error: BaseException) -> None:
        """Make an error fit for its reader."""
        sanitize(error, self._endpoint.settings.api_token)

    def now(self) -> float:
        return time.monotonic()

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - no secret

    def _opened(self, request: Request, response: httpx.Response) -> ResponseHead:
        """Be ready to read the body of a response; give its head."""
        head = ResponseHead(
            response.status_code,
            dict(response.headers.items()),
            time.time(),
            http_version=response.http_version,
        )
        if response.is_closed:  # by a hook, or an auth flow, of the HTTP client that was handed in
            content = response.content if response.is_stream_consumed else b""
            self._chunks = self._iterate(httpx.ByteStream(content))
            return head
        self._chunks = self._iterate(response.stream)
        if head.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            limit = math.inf if request.download else DECODED_LIMIT
            self._chunks = self._decode(self._chunks, head, limit)
        return head

    def _refused(self, failure: BrokenError) -> httpx.Response:
        """The response for whose status a hook, as of ``raise_for_status``, has raised."""
        response = getattr(failure.__cause__, "response", None)
        if response is None or response.is_success:
            raise failure
        refused: httpx.Response = response
        return refused

    def _failure(self, error: Exception) -> BaseException:
        renew: Any = self.connections
        return LeftError() if self.is_left else failure_of(error, renew.renew)


class BaseConnections(ABC, Generic[T]):
    """Transports, made when needed.

    One for each proxy, and others for files from addresses that have to be public: a connection that is
    used again is not looked at again.
    """

    def __init__(self) -> None:
        self._transports: dict[tuple[str | None, bool], T] = {}
        self._made: list[T] = []

    def to(self, url: httpx.URL, *, public_only: bool) -> T:
        """The transport for an address."""
        proxy = environment_proxy(url)
        key = (proxy, public_only and proxy is None)  # behind a proxy only the proxy is seen
        known = self._transports  # another thread may begin with new ones meanwhile
        if key not in known:
            known[key] = self._make(proxy_of(proxy) if proxy else None, public_only=key[1])
            self._made.append(known[key])
        return known[key]

    @abstractmethod
    def _make(self, proxy: httpx.Proxy | None, *, public_only: bool) -> T:
        """Make a transport, whose module is imported only now."""

    def renew(self) -> None:
        """Begin with new pools; what runs in the old ones runs on."""
        self._transports = {}
