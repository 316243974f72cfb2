"""The transports of a blocking client."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable

import httpx

from rockai_transport.io.network import environment_proxy, proxy_of
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS

__all__ = ["Connections", "within_grace"]


class Connections:
    """The transports of one `Client`, made when needed; one set for each process.

    One for each proxy, and others for files from addresses that have to be public: a connection that is
    used again is not looked at again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._transports: dict[tuple[str | None, bool], httpx.HTTPTransport] = {}
        self._made: list[httpx.HTTPTransport] = []
        # A client that nobody closed leaves no open sockets behind, at the program's end neither.
        weakref.finalize(self, _close_all, self._made, self._process)

    def to(self, url: httpx.URL, *, public_only: bool) -> httpx.HTTPTransport:
        """The transport for an address."""
        proxy = environment_proxy(url)
        key = (proxy, public_only and proxy is None)  # behind a proxy only the proxy is seen
        with self._lock:
            if self._process != os.getpid():
                # A forked child must not write into its parent's connections.
                self._process, self._transports = os.getpid(), {}
                self._made = []
            if key not in self._transports:
                from rockai_transport.io.transports import Transport

                transport = Transport(proxy_of(proxy) if proxy else None, public_only=key[1])
                self._transports[key] = transport
                self._made.append(transport)
            return self._transports[key]

    def renew(self) -> None:
        """Begin with new pools; what runs in the old ones runs on."""
        with self._lock:
            self._transports = {}

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            self._transports = {}
            _close_all(self._made, self._process)


def within_grace(function: Callable[[], None]) -> None:
    """Do what may block for ever, and wait for it two seconds at most."""
    thread = threading.Thread(target=function, daemon=True)
    with contextlib.suppress(RuntimeError):  # the program is at its end
        thread.start()
        thread.join(CANCEL_GRACE_SECONDS)


def _close_all(made: list[httpx.HTTPTransport], process: int) -> None:
    while made and process == os.getpid():
        made.pop().close()
