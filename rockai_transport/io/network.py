"""The network parts of both kinds of `IO`: TLS, proxies, and the meaning of httpx's errors."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import ipaddress
import os
import signal
import socket
import ssl
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx

from rockai_transport._version import install_command
from rockai_transport.config import is_loopback
from rockai_transport.errors import ConfigurationError
from rockai_transport.protocol.io import TIME_IS_UP, BrokenError, ExpiredError, NotSentError, TransportFailure

SOCKET_OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
        if hasattr(socket, name)
    ),
]
"""TCP keep-alive, because gateways drop silent connections after minutes."""

_HTTPX = frozenset({"httpx", "httpx2"})
_HTTPCORE = frozenset({"httpcore", "httpcore2"})
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
_SAYS_NOTHING = ("", "All connection attempts failed")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PROXY_VARIABLES = (*_PROXIES, *map(str.upper, _PROXIES), "REQUEST_METHOD")


def failure_of(error: Exception, renew: Callable[[], None]) -> BaseException:
    """Return the exception for an operation: the request was never sent, timed out, or broke.

    Errors of httpx and httpcore are recognized by name, because the classes of httpx's successor have the
    same names. «Never sent» is accepted only from httpcore and its successor: other transports also raise
    ``ConnectTimeout`` if a connection broke after the request had been received (httpx-aiohttp does, for
    ``ServerDisconnectedError``).

    Args:
        error: The error; one that does not come from the network is returned unchanged.
        renew: Creates new pools if no connection became free.
    """
    reason = _reason(error)
    kinds = _kinds(error, _HTTPX | _HTTPCORE)
    below = {name for cause in _chain(error) for name in _kinds(cause, _HTTPCORE)}
    if "PoolTimeout" in below:
        renew()  # canceled requests can leak their slots
    timed_out = "TimeoutException" in kinds
    failure: TransportFailure = BrokenError(f"the connection broke: {reason}")
    if kinds:
        with contextlib.suppress(AttributeError):
            error.request = None  # type: ignore[attr-defined] # its headers contain the token
        if below & _NOT_SENT:
            failure = NotSentError(f"no connection: {reason}", timed_out=timed_out)
        elif timed_out:
            failure = ExpiredError(TIME_IS_UP)
    elif isinstance(error, UnicodeError):  # a host name that the resolver's encoding refuses
        failure = NotSentError(f"no connection: {reason}")
    elif isinstance(error, RuntimeError) and "loop" in reason:
        # An http_client's connections belong to the event loop in which they began.
        failure = BrokenError(f"the http_client was used in another event loop before: {reason}")
    elif was_raised_by_a_signal_handler(error):
        return error
    elif not isinstance(error, OSError) and type(error).__module__.partition(".")[0] != "anyio":
        return error  # httpcore passes some TLS and anyio errors through unchanged; this is another one
    failure.__cause__ = error
    return failure


def was_raised_by_a_signal_handler(error: BaseException) -> bool:
    """Return whether it is the user's own, such as a `TimeoutError` that ends a call after a while."""
    handlers = [getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()]
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__))


def _reason(error: BaseException) -> str:
    """Return an error's text, or that of the socket's error behind it: anyio's own errors say nothing."""
    behind: BaseException | None = error
    while behind is not None:
        if str(behind) not in _SAYS_NOTHING and (behind is error or isinstance(behind, OSError)):
            return str(behind)
        behind = behind.__cause__ or behind.__context__
    return str(error) or type(error).__name__


def _kinds(error: BaseException, packages: frozenset[str]) -> set[str]:
    """Return the names of an error's classes that these packages define."""
    return {kind.__name__ for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in packages}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Return the process's only TLS context; building one takes 20 ms, so it is built on first use.

    Raises:
        ConfigurationError: The certificates that the environment names cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ConfigurationError(
            f"TLS cannot be set up: {error}. Check SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE in the "
            "environment, or unset them."
        ) from error


def environment_proxy(url: httpx.URL) -> str | None:
    """Return the environment's proxy for an address; none for this machine."""
    if is_loopback(url.host):
        return None
    environment = tuple(map(os.environ.get, _PROXY_VARIABLES))
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return _environment_proxy(url.scheme, url.host, port, environment)


@functools.lru_cache(maxsize=256)
def _environment_proxy(
    scheme: str, host: str, port: int | None, _environment: tuple[str | None, ...]
) -> str | None:
    """As `environment_proxy`, cached per environment, because a lookup takes a tenth of a millisecond."""
    if _is_bypassed(host, port):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy or None


def _is_bypassed(host: str, port: int | None) -> bool:
    """Return whether NO_PROXY contains a host: its name, with or without its port, or its network."""
    in_url = f"[{host}]" if ":" in host else host
    if any(map(urllib.request.proxy_bypass, (host, in_url, f"{in_url}:{port}"))):
        return True
    for entry in urllib.request.getproxies().get("no", "").split(","):
        with contextlib.suppress(ValueError):  # one of them is a name
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False


def proxy_of(address: str) -> httpx.Proxy:
    """Parse a proxy's address.

    Raises:
        ConfigurationError: It cannot be used, or needs a package that is not installed.
    """
    try:
        proxy = httpx.Proxy(address)
        _ = urlsplit(address).port  # as httpcore reads it: httpx accepts numbers that are no port
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(
            "The environment (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) names a proxy that cannot be used. "
            "Give it as http://host:port, https://… or socks5://…, or unset the variable."
        ) from None
    if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"The environment names a SOCKS proxy, which needs one more package: {install_command('socks')}."
        )
    return proxy
