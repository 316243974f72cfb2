"""Builds the HTTP requests; the only place that decides which requests carry the token."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from rockai_transport._version import __version__
from rockai_transport.config import Settings, Timeouts
from rockai_transport.errors import ConfigurationError, InvalidResponseError
from rockai_transport.protocol.messages import JSON, Request

logger = logging.getLogger("rockai")

_ENDLESS = 1e8  # seconds; a thread's clock overflows at about 9e9
_USER_AGENT = f"rockai-integrations/{__version__}"
_parsed = functools.lru_cache(maxsize=256)(httpx.URL)
_processes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""The users' own HTTP clients, each with the process that uses it, whatever client of ours it is given to."""


class Endpoint:
    """The service of one client: converts a `Request` to what httpx sends.

    Args:
        settings: The client's settings.
        http_client: The user's own HTTP client; None: ours.

    Raises:
        ConfigurationError: The base URL or the HTTP client cannot be used.
    """

    def __init__(self, settings: Settings, http_client: Any, expected: type) -> None:
        if http_client is not None and not _is_client(http_client, expected):
            raise ConfigurationError(
                f"http_client must be an httpx.{expected.__name__}, not {type(http_client).__name__}."
            )
        try:
            base = httpx.URL(settings.base_url)
            self._origin = base.scheme, base.host, base.port  # decodes the host, which may fail
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigurationError(f"base_url cannot be read: {error}.") from None
        self.settings = settings
        self.http_client = http_client
        self._usual_timeouts = _socket_timeouts(settings.timeouts, math.inf)
        self._headers = _common_headers()
        self._headers.update(settings.default_headers)
        self._given_names = {name.lower() for name in settings.default_headers}
        self._headers[settings.service.auth_header] = settings.authorization

    def build(self, request: Request, until: float) -> tuple[Any, httpx.Request]:
        """Return the user's own HTTP client if it must send this request, else None; and the HTTP request.

        The token is added only to requests to the base URL's own origin.

        Args:
            request: The request.
            until: The operation's deadline.

        Raises:
            ConfigurationError: The user's HTTP client is closed, or a parent process has used it.
            InvalidResponseError: The service or a model returned an invalid address.
        """
        own = None if request.download else self.http_client
        if own is not None:
            _check_own_client(own)
        logger.debug("%s", request)
        base = self.settings.base_url if request.below_base else self.settings.origin
        try:
            url = httpx.URL(request.target) if request.download else _parsed(base + request.target)
            origin = url.scheme, url.host, url.port  # the host is decoded on access, which may fail
        except (httpx.InvalidURL, ValueError) as error:  # ValueError: from idna, or a lone surrogate
            text = f"{request} cannot be sent: the address is not valid. {error}"
            raise InvalidResponseError(text) from None
        is_ours = not request.download and origin == self._origin
        headers = self._headers.copy() if is_ours else _common_headers()
        given_names = self._given_names if is_ours else ()
        if "accept" not in given_names:
            headers["Accept"] = request.accept
        if request.body is not None and "content-type" not in given_names:
            headers["Content-Type"] = JSON
        make: Any = own.build_request if own else httpx.Request
        built: httpx.Request = make(
            request.method,
            str(url) if own else url,  # httpx's successor has its own class for addresses
            headers=headers,
            content=request.body,
            extensions={"timeout": self.socket_timeouts(until)},
        )
        return own, built

    def socket_timeouts(self, until: float) -> dict[str, float | None]:
        """Return the timeouts for httpx itself, as its ``timeout`` extension.

        The `IO` enforces the operation's own limits.

        Args:
            until: The operation's deadline.
        """
        left = max(until - time.monotonic(), 0.001)
        if 0.9 * left >= self.settings.timeouts.connect and self.http_client is None:
            return self._usual_timeouts
        timeouts = _socket_timeouts(self.settings.timeouts, left)
        if self.http_client is not None:
            # Sockets of other libraries have no deadline, but each read ends at it at the latest.
            for name in ("read", "write"):
                timeouts[name] = _finite(min(timeouts[name] or math.inf, left))
        return timeouts


def _check_own_client(own: Any) -> None:
    if own.is_closed:
        text = "The http_client is closed: keep it open as long as this client is used."
        raise ConfigurationError(text)
    if _processes.setdefault(own, os.getpid()) != os.getpid():
        raise ConfigurationError(
            "The http_client was used before this process was forked, so its connections belong to the "
            "parent process. Create it, and this client, in the forked child."
        )


def _common_headers() -> httpx.Headers:
    return httpx.Headers({"User-Agent": _USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})


def _socket_timeouts(limits: Timeouts, left: float) -> dict[str, float | None]:
    between_reads = _finite(max(limits.first_byte, limits.idle))
    return {
        "connect": _finite(min(limits.connect, left)),
        # Ends before the total does: only a pool timeout proves that nothing was sent.
        "pool": _finite(min(limits.connect, 0.9 * left)),
        "read": between_reads,
        "write": between_reads,
    }


def _finite(seconds: float) -> float | None:
    return seconds if seconds < _ENDLESS else None


def _is_client(http_client: Any, expected: type) -> bool:
    """Return whether it is of this class, or of httpx's successor's, which has the same interface."""
    return isinstance(http_client, expected) or any(
        base.__name__ == expected.__name__ and base.__module__.partition(".")[0] == "httpx2"
        for base in type(http_client).__mro__
    )
