"""`BlockingIO`, and the session of a blocking client. `io.asynchronous` mirrors this."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import httpx

from rockai_transport.io.base import BaseConnections, BaseIO, current_deadline
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.protocol.io import (
    IO,
    BrokenError,
    EventBody,
    LeftError,
    Notices,
    Operation,
    run_blocking,
)
from rockai_transport.protocol.messages import Request, ResponseHead
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS, Operations

T = TypeVar("T")
P = ParamSpec("P")


class Connections(BaseConnections[httpx.HTTPTransport]):
    """The transports of one `Client`; one set per process."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._process = os.getpid()
        # A client that was never closed leaves no open sockets, not even at the program's end.
        weakref.finalize(self, _close_all, self._made, self._process)

    def to(self, url: httpx.URL, *, public_only: bool) -> httpx.HTTPTransport:
        """Return the transport for an address."""
        if self._process != os.getpid():
            # A forked child must not write to its parent's connections, nor wait for its parent's threads.
            Connections.__init__(self)
        with self._lock:
            return super().to(url, public_only=public_only)

    def _make(self, proxy: httpx.Proxy | None, *, public_only: bool) -> httpx.HTTPTransport:
        from rockai_transport.io.transports import Transport

        return Transport(proxy, public_only=public_only)

    def close(self) -> None:
        """Close all of them, but in a forked child not its parent's."""
        if self._process == os.getpid():
            with self._lock:
                self._transports = {}
                _close_all(self._made, self._process)


@dataclass(eq=False)
class BlockingIO(BaseIO):
    """`IO` with blocking calls: none of its coroutines ever suspends."""

    connections: Connections
    _chunks: Iterator[bytes] = field(default=iter(()), init=False)
    _interrupted = False

    async def open(self, request: Request, until: float, notices: Notices | None = None) -> ResponseHead:
        own, built = self.endpoint.build(request, until)
        try:
            with self._limited(until, math.inf, notices):
                if own is not None:
                    self._response = response = own.send(built, stream=True, follow_redirects=False)
                    network = response.extensions.get("network_stream")
                    self._deadline.waits_for = network and network.get_extra_info("socket")
                else:
                    transport = self.connections.to(built.url, public_only=request.public_only)
                    self._response = response = transport.handle_request(built)
        except BrokenError as failure:
            self._response = response = self._refused(failure)
        head, body = self._opened(request, response)
        self._chunks = iter(body)
        return head

    async def read(self, within: float, until: float) -> bytes:
        with self._limited(until, within, None):
            for chunk in self._chunks:
                if chunk:
                    return chunk
        return b""

    async def follow(self, body: EventBody) -> list[str]:
        deadline = self._deadline
        token = current_deadline.set(deadline)
        try:
            while body.reader.end is None:
                deadline.until, deadline.within, deadline.notices = body.until, body.within, body.notices
                chunk = next(self._chunks, None)
                if chunk is None:
                    body.end()
                    break
                if pieces := body.feed(chunk):
                    return pieces
        except Exception as error:  # noqa: BLE001 - translated
            failure = self._failure(error)
            raise failure from failure.__cause__
        except BaseException:
            self._note_interrupt()
            raise
        finally:
            current_deadline.reset(token)
        return []

    async def close(self) -> None:
        response, self._response, self._chunks = self._response, None, iter(())
        self._deadline.waits_for = None
        if response is None:
            return
        try:
            with contextlib.suppress(Exception):
                if self._interrupted:  # the pool of the user's own client may be locked
                    _within_grace(response.close)
                else:
                    response.close()
        except BaseException:
            self._note_interrupt()
            raise

    async def sleep(self, seconds: float) -> None:
        self._deadline.sleep(seconds)
        if self.is_left:
            raise LeftError

    async def call(self, callback: Callable[[Any], Any], value: Any) -> None:
        callback(value)

    async def in_thread(self, function: Callable[[], T]) -> T:
        return function()

    async def detached(self, operation: Callable[[IO], Coroutine[Any, Any, T]], within: float) -> T:  # noqa: ARG002
        """As `IO.detached`; a blocking call is ended only by its own limits."""
        return await operation(BlockingIO(self.endpoint, self.connections))

    @contextlib.contextmanager
    def _limited(self, until: float, within: float, notices: Notices | None) -> Iterator[None]:
        """Apply these limits to the sockets, and translate their errors."""
        deadline = self._deadline
        deadline.until, deadline.within, deadline.notices = until, within, notices
        token = current_deadline.set(deadline)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - translated
            failure = self._failure(error)
            raise failure from failure.__cause__
        except BaseException:
            self._note_interrupt()
            raise
        finally:
            current_deadline.reset(token)

    def _note_interrupt(self) -> None:
        """Use new connections after Ctrl-C: a lock of an old one may never be released."""
        self._interrupted = True
        self.connections.renew()


class Session:
    """The endpoint, the connections and the operations of one client.

    Args:
        endpoint: The endpoint of the service.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.connections = Connections()
        self.operations = Operations(endpoint.settings)

    def io(self) -> BlockingIO:
        """Return the `IO` for one operation."""
        return BlockingIO(self._endpoint, self.connections)

    def do(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation."""
        io = self.io()
        try:
            return run_blocking(operation(io, *args, **kwargs))
        except BaseException as error:
            run_blocking(io.close())
            io.sanitize(error)
            raise


def _within_grace(function: Callable[[], None]) -> None:
    """Call a function that may block forever; wait for it at most two seconds."""
    thread = threading.Thread(target=function, daemon=True)
    with contextlib.suppress(RuntimeError):  # the program is ending
        thread.start()
        thread.join(CANCEL_GRACE_SECONDS)


def _close_all(made: list[httpx.HTTPTransport], process: int) -> None:
    while made and process == os.getpid():
        made.pop().close()
