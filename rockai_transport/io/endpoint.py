"""Where requests go, and with what: the only place that decides who gets the token."""

from __future__ import annotations

import functools
import logging
import math
import time
from typing import Any

import httpx

from rockai_transport._version import __version__
from rockai_transport.config import Settings, Timeouts
from rockai_transport.errors import ConfigurationError, InvalidResponseError
from rockai_transport.protocol.messages import JSON, Request

__all__ = ["Endpoint"]

logger = logging.getLogger("rockai")

_ENDLESS = 1e8  # seconds; a thread's clock overflows at some 9e9
_USER_AGENT = f"rockai-integrations/{__version__}"


class Endpoint:
    """The service of one client: turns a `Request` into what httpx sends.

    Args:
        settings: The client's.
        http_client: The HTTP client of its user's own; None for ours.

    Raises:
        ConfigurationError: The base URL, or the HTTP client, cannot be used.
    """

    def __init__(self, settings: Settings, http_client: Any, expected: type) -> None:
        if (
            http_client is not None
            and not isinstance(http_client, expected)
            and not _looks_alike(http_client, expected)
        ):
            raise ConfigurationError(
                f"http_client must be an httpx.{expected.__name__}, not {type(http_client).__name__}."
            )
        try:
            base = httpx.URL(settings.base_url)
            self._origin = base.scheme, base.host, base.port  # the host is decoded, which may fail
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigurationError(f"base_url cannot be read: {error}.") from None
        self.settings = settings
        self.http_client = http_client
        self._usual_timeouts = _socket_timeouts(settings.timeouts, math.inf)
        self._headers = _common_headers()
        self._headers.update(settings.default_headers)
        self._headers[settings.service.auth_header] = settings.authorization

    def url_of(self, request: Request) -> httpx.URL:
        """Where a request goes.

        Raises:
            InvalidResponseError: The service, or a model, has named an address that is none.
        """
        settings = self.settings
        try:
            if request.download:
                url = httpx.URL(request.target)
                _ = url.host  # decoded when it is asked for, which may fail
                return url
            return _parsed((settings.base_url if request.below_base else settings.origin) + request.target)
        except (httpx.InvalidURL, ValueError) as error:  # ValueError: of idna, or a lone surrogate
            raise InvalidResponseError(f"{request} cannot be sent: the address is none. {error}") from None

    def build(self, request: Request, until: float) -> tuple[Any, httpx.Request]:
        """The HTTP client of its user's own, where it is to send this request, else None; and what it sends.

        The token goes along only where it belongs: to the base URL's own origin.

        Args:
            request: What is asked.
            until: The moment when the operation has to give up.

        Raises:
            ConfigurationError: That HTTP client is closed.
        """
        own = None if request.download else self.http_client
        if own is not None and own.is_closed:
            raise ConfigurationError(
                "The http_client is closed: keep it open as long as this client is used."
            )
        logger.debug("%s", request)
        url = self.url_of(request)
        is_ours = not request.download and (url.scheme, url.host, url.port) == self._origin
        headers = self._headers.copy() if is_ours else _common_headers()
        headers["Accept"] = request.accept
        if request.body is not None:
            headers["Content-Type"] = JSON
        # httpx's successor has classes of its own
        make, address = (own.build_request, str(url)) if own else (httpx.Request, url)
        built: httpx.Request = make(
            request.method,
            address,
            headers=headers,
            content=request.body,
            extensions={"timeout": self.socket_timeouts(until)},
        )
        return own, built

    def socket_timeouts(self, until: float) -> dict[str, float | None]:
        """The timeouts for httpx itself, in the form of its ``timeout`` extension.

        The operation's own limits are kept by its `IO`.

        Args:
            until: The moment when the operation has to give up.
        """
        left = max(until - time.monotonic(), 0.001)
        if 0.9 * left >= self.settings.timeouts.connect and self.http_client is None:
            return self._usual_timeouts
        timeouts = _socket_timeouts(self.settings.timeouts, left)
        if self.http_client is not None:
            # Sockets that are not ours keep no deadline, but each of their reads ends with it at least.
            for name in ("read", "write"):
                timeouts[name] = _finite(min(timeouts[name] or math.inf, left))
        return timeouts


def _common_headers() -> httpx.Headers:
    return httpx.Headers({"User-Agent": _USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _socket_timeouts(limits: Timeouts, left: float) -> dict[str, float | None]:
    between_reads = _finite(max(limits.first_byte, limits.idle))
    return {
        "connect": _finite(min(limits.connect, left)),
        # Ends before the total does: only the pool can tell that nothing was sent.
        "pool": _finite(min(limits.connect, 0.9 * left)),
        "read": between_reads,
        "write": between_reads,
    }


def _finite(seconds: float) -> float | None:
    return seconds if seconds < _ENDLESS else None


def _looks_alike(http_client: Any, expected: type) -> bool:
    """Whether it is the same class of httpx's successor, whose interface is the same."""
    return any(
        base.__name__ == expected.__name__ and base.__module__.partition(".")[0] == "httpx2"
        for base in type(http_client).__mro__
    )
