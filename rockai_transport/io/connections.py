"""The transports of a blocking client."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable

import httpx

from rockai_transport.io.base import BaseConnections
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS


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
        with self._lock:
            if self._process != os.getpid():
                # A forked child must not write to its parent's connections.
                self._process, self._transports = os.getpid(), {}
                self._made = []
            return super().to(url, public_only=public_only)

    def _make(self, proxy: httpx.Proxy | None, *, public_only: bool) -> httpx.HTTPTransport:
        from rockai_transport.io.transports import Transport

        return Transport(proxy, public_only=public_only)

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            self._transports = {}
            _close_all(self._made, self._process)


def within_grace(function: Callable[[], None]) -> None:
    """Call a function that may block forever; wait for it at most two seconds."""
    thread = threading.Thread(target=function, daemon=True)
    with contextlib.suppress(RuntimeError):  # the program is ending
        thread.start()
        thread.join(CANCEL_GRACE_SECONDS)


def _close_all(made: list[httpx.HTTPTransport], process: int) -> None:
    while made and process == os.getpid():
        made.pop().close()
