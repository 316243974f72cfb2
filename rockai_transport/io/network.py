"""What both kinds of `IO` need of the network: TLS, proxies, and what httpx's errors mean."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator

import httpx

from rockai_transport._version import install_command
from rockai_transport.config import is_loopback
from rockai_transport.errors import ConfigurationError
from rockai_transport.protocol.io import BrokenError, ExpiredError, NotSentError, TransportFailure

__all__ = [
    "SOCKET_OPTIONS",
    "environment_proxy",
    "failure_of",
    "proxy_of",
    "ssl_context",
    "translate",
]

SOCKET_OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
        if hasattr(socket, name)
    ),
]
"""TCP keep-alive: gateways forget silent connections after minutes."""

_HTTPX = frozenset({"httpx", "httpx2"})
_HTTPCORE = frozenset({"httpcore", "httpcore2"})
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def translate(error: Exception) -> TransportFailure | None:
    """What an error of httpx or httpcore means for a request: never sent, out of time, or broken.

    By name, since the successor's classes, of a client that was handed in, bear the same names. «Never sent»
    is believed of httpcore and its successor alone: other transports say ``ConnectTimeout`` of a connection
    that broke after the request had been received (httpx-aiohttp does, of ``ServerDisconnectedError``).

    Returns:
        None for an error that is not of the network.
    """
    reason = str(error) or type(error).__name__
    kinds = _kinds(error, _HTTPX | _HTTPCORE)
    if not kinds:
        if isinstance(error, UnicodeError):  # a host name that the name service's own encoding refuses
            return NotSentError(f"no connection: {reason}")
        if (
            isinstance(error, RuntimeError) and "loop" in reason
        ):  # its connections stay in the loop they began in
            return BrokenError(f"the http_client was used in another event loop before: {reason}")
        # httpcore lets some errors of TLS and of anyio through as they are.
        of_network = isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "anyio"
        return BrokenError(f"the connection broke: {reason}") if of_network else None
    with contextlib.suppress(AttributeError):
        error.request = None  # type: ignore[attr-defined] # its headers hold the token
    timed_out = "TimeoutException" in kinds
    if any(_kinds(cause, _HTTPCORE) & _NOT_SENT for cause in _chain(error)):
        return NotSentError(f"no connection: {reason}", timed_out=timed_out)
    if timed_out:
        return ExpiredError(f"no answer in time: {reason}")
    return BrokenError(f"the connection broke: {reason}")


def failure_of(error: Exception, renew: Callable[[], None]) -> BaseException:
    """What an error means for an operation, with its cause; itself, where it is not of the network.

    Args:
        error: What was raised.
        renew: Begins with new pools, where none of their connections came free.
    """
    if any("PoolTimeout" in _kinds(cause, _HTTPCORE) for cause in _chain(error)):
        renew()  # canceled requests can leak their places
    failure = translate(error)
    if failure is None:
        return error
    failure.__cause__ = error
    return failure


def _kinds(error: BaseException, packages: frozenset[str]) -> set[str]:
    """The names of an error's classes, as far as they are of these packages."""
    return {kind.__name__ for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in packages}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what has caused it."""
    while error is not None:
        yield error
        error = error.__cause__


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """The one TLS context of the process: building one takes 20 ms, so it is built when it is needed.

    Raises:
        ConfigurationError: The environment names certificates that cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ConfigurationError(
            f"TLS cannot be set up: {error}. Check SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE in the "
            "environment, or unset them."
        ) from error


def environment_proxy(url: httpx.URL) -> str | None:
    """The proxy that the environment names for an address; none for this machine itself."""
    if is_loopback(url.host):
        return None
    names = (name for pair in ((name, name.upper()) for name in _PROXY_VARIABLES) for name in pair)
    environment = tuple(os.environ.get(name) for name in (*names, "REQUEST_METHOD"))
    return _environment_proxy(url.scheme, url.host, environment)


@functools.lru_cache(maxsize=256)
def _environment_proxy(scheme: str, host: str, _environment: tuple[str | None, ...]) -> str | None:
    """As `environment_proxy`: asking takes a tenth of a millisecond, so each environment is asked once."""
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy or None


def proxy_of(address: str) -> httpx.Proxy:
    """Read a proxy's address.

    Raises:
        ConfigurationError: It cannot be used, or needs a package that is not installed.
    """
    try:
        proxy = httpx.Proxy(address)
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
