"""Settings from arguments or the environment, checked once: address, token, timeouts and retries."""

from __future__ import annotations

import contextlib
import functools
import inspect
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from rockai_transport.errors import ConfigurationError
from rockai_transport.service import STATUSES, Service

Route = Literal["auto", "run", "predictions"]

DEFAULT_BASE_URL = "https://api.rockai.online/v1"
TOKEN_PAGE = "https://www.rockai.online/setting/token"  # noqa: S105 - a page, not a token
_TOKEN_VARIABLES = ("ROCKAI_API_TOKEN", "ROCKAI_API_KEY", "ROCK_API_TOKEN")
_BASE_URL_VARIABLE = "ROCKAI_BASE_URL"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # the only part of IPv6 that IANA assigns to networks
_SPECIAL = (
    ipaddress.ip_network("192.0.0.0/24"),  # for protocols, RFC 6890; older Pythons know only parts of it
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays, deprecated by RFC 7526
    ipaddress.ip_network("3fff::/20"),  # documentation, RFC 9637
)
_DOTS = dict.fromkeys(map(ord, "\u3002\uff0e\uff61"), ".")  # dots in host names, according to IDNA
_UNQUOTED = r"(?![\"'`])[\x21-\x7e]+"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEADER_VALUE = r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?"
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_PATH = r"/[^\s\x00-\x1f\x7f]*"
_ID_PATH = rf"{_PATH}\{{id\}}[^\s\x00-\x1f\x7f]*"


@dataclass(frozen=True)
class Timeouts:
    """The limits in seconds, besides the total ``timeout`` of a call.

    They depend on the service, not on the caller: a cold start takes minutes, up to twenty and more for
    large models (docs/http-api.md, «A prediction»). `math.inf`: no limit.

    Attributes:
        connect: To connect, or to get a free connection from the pool; per attempt.
        first_byte: To the first byte of a response, or the first event of a stream; for all attempts
            together.
        idle: Between two reads after that; any byte counts.
        poll: Per attempt of ``get``, ``cancel``, and each poll while waiting.
        wait: For ``predictions.wait`` without its own timeout.
        stall: ``run`` without a timeout gives up after this time without any change.

    Raises:
        ConfigurationError: One is not a positive number.

    Example:
        >>> client = Client(timeouts=Timeouts(first_byte=120, idle=30))
        >>> client.run("sandbox/echo", {"prompt": "Hello"}).text
        'Hello'
    """

    connect: float = 10.0
    first_byte: float = 1800.0
    idle: float = 300.0
    poll: float = 60.0
    wait: float = 3600.0
    stall: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            check_timeout(value, f"Timeouts.{name}")


@dataclass(frozen=True)
class Settings:
    """The checked settings of a client. It holds no connection and can be pickled."""

    base_url: str
    api_token: str = field(repr=False)
    timeout: float | None = None
    max_retries: int = 2
    route: Route = "auto"
    service: Service = field(default_factory=Service)
    default_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)

    @classmethod
    def resolve(cls, *, api_token: Any, base_url: Any, allow_http: bool, **given: Any) -> Settings:
        """Check the arguments of a client; missing ones come from the environment.

        Raises:
            ConfigurationError: A setting is missing or invalid; the message says what to do.
        """
        timeout = given["timeout"]
        check_choice(given["route"], "route", Route)
        check_flag(allow_http, "allow_http")
        given["max_retries"] = check_whole(given["max_retries"], "max_retries", 0)
        for name, kind in (("service", Service), ("timeouts", Timeouts)):
            value = given[name]
            if not isinstance(value, kind):
                raise ConfigurationError(f"{name} must be a {kind.__name__}, not {type(value).__name__}.")
        _check_service(given["service"])
        api_token, base_url = _token(api_token), _base_url(base_url, allow_http=allow_http)
        given["timeout"] = None if timeout is None else check_timeout(timeout, "timeout")
        given["default_headers"] = _headers(given["default_headers"])
        return cls(base_url, api_token, **given)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the base URL. The token is sent only there."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def authorization(self) -> str:
        """The value of the authorization header."""
        return f"{self.service.auth_scheme} {self.api_token}".lstrip()


def check_choice(value: Any, name: str, kind: Any) -> Any:
    """Check a value of a `Literal` type.

    Raises:
        ConfigurationError: It is none of the type's values.
    """
    if not isinstance(value, str) or value not in get_args(kind):
        raise ConfigurationError(f"{name}={value!r} is none of {', '.join(map(repr, get_args(kind)))}.")
    return value


def check_flag(value: Any, name: str) -> bool:
    """Check a setting that is on or off: a text such as ``"false"`` would count as true.

    Raises:
        ConfigurationError: It is neither True nor False.
    """
    if isinstance(value, bool):
        return value
    raise ConfigurationError(f"{name}={value!r} must be True or False.")


def check_whole(value: Any, name: str, least: int) -> int:
    """Check a whole number, which may also be numpy's.

    Raises:
        ConfigurationError: It is not a whole number, or less than ``least``.
    """
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least:
        return int(value)
    raise ConfigurationError(f"{name}={value!r} must be a whole number, {least} or more.")


def check_timeout(value: Any, name: str) -> float:
    """Check a number of seconds, which may also be numpy's; `math.inf` is allowed and means no limit.

    Raises:
        ConfigurationError: It is not a positive number.
    """
    with contextlib.suppress(OverflowError):  # a whole number can be too large
        if not isinstance(value, bool) and isinstance(value, Real) and float(value) > 0:  # NaN is not
            return float(value)
    raise ConfigurationError(
        f"{name}={value!r} must be a positive number of seconds, or math.inf for no limit."
    )


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str | None) -> bool:
    """Whether a host's name or address cannot be reached from everywhere on the internet."""
    host = (host or "").translate(_DOTS).removesuffix(".")
    if not host or is_loopback(host):
        return True
    address = _address(host.partition("%")[0])
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        # It may contain an IPv4 address, which a translator or relay then connects to.
        held = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        address = held or address.ipv4_mapped or address.sixtofour or address
    # Older Pythons treat ranges as global that were assigned later, or never.
    unassigned = isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST
    special = any(address in network for network in _SPECIAL)
    return unassigned or special or not address.is_global or address.is_multicast


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse a host as an address, in every form that resolvers accept, such as ``127.1``; None for a name."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host)
    with contextlib.suppress(OSError, ValueError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def _token(given: Any) -> str:
    if given is not None:
        return _checked_token(token_text(given), "api_token")
    for variable in _TOKEN_VARIABLES:
        if token := os.environ.get(variable, "").strip():
            return _checked_token(token, variable)
    raise ConfigurationError(
        f"No API token. Get one at {TOKEN_PAGE}, then set the environment variable ROCKAI_API_TOKEN "
        '(export ROCKAI_API_TOKEN="…"), or in Python pass api_token="…". '
        "To try without one, start the local sandbox: python -m rockai_sandbox."
    )


def token_text(given: Any) -> str:
    """Return the text of an ``api_token``, which may be pydantic's `SecretStr`.

    Raises:
        ConfigurationError: It is not a string.
    """
    token = given.get_secret_value() if hasattr(given, "get_secret_value") else given
    if isinstance(token, str):
        return str.__str__(token)  # the text itself, of a member of an enum too
    raise ConfigurationError(f"api_token must be a text, not {type(token).__name__}.")


def _checked_token(token: str, name: str) -> str:
    """Return a token that a header can hold, without anything else that was copied with it."""
    if re.fullmatch(_UNQUOTED, token) and "://" not in token:
        return token
    raise ConfigurationError(
        f"{name} is empty, an address, begins with a quotation mark, or holds white space, a line break or "
        f"another character that no HTTP header can hold. Copy it again from {TOKEN_PAGE}."
    )


def _base_url(given: Any, *, allow_http: bool) -> str:
    name, url = "base_url", given
    if given is None:
        name, url = f"base_url ({_BASE_URL_VARIABLE})", os.environ.get(_BASE_URL_VARIABLE, "").strip()
        url = url or DEFAULT_BASE_URL
    if not isinstance(url, str) or not url.strip():
        raise ConfigurationError(f"{name}={url!r} must be an address such as {DEFAULT_BASE_URL}.")
    url = url.strip()
    if "://" not in url:
        # The quick start writes its addresses without a scheme.
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}.") from None
    is_web = parts.scheme in ("https", "http") and host and not parts.netloc.endswith(":")  # as in https:/h
    if not is_web or re.search(r"[\s\x00-\x1f\\]", url):
        raise ConfigurationError(f"{name} must be an https: address such as {DEFAULT_BASE_URL}.")
    if parts.username is not None or "?" in url or "#" in url:
        raise ConfigurationError(f"{name} must not hold a user name, a query or a fragment.")
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        raise ConfigurationError(
            f"{name} is plain http: everybody on the way to {host} could read the token. Use https. To "
            "allow http, pass allow_http=True to Client and AsyncClient, and pass these to a model class or "
            "toolkit as client= and async_client=."
        )
    return url.rstrip("/")


def _is(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _holds(kind: type) -> Callable[[Any], bool]:
    """Check for a collection of a type; a single string does not count, although its letters are strings."""
    return lambda value: (
        isinstance(value, tuple | list | set | frozenset) and all(isinstance(one, kind) for one in value)
    )


def _is_statuses(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and word in STATUSES for key, word in value.items()
    )


_SERVICE_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("create_path run_path run_stream_path", _is(_PATH), "a path that begins with '/'"),
    ("get_path cancel_path", _is(_ID_PATH), "a path that begins with '/' and holds '{id}'"),
    ("stream_path", lambda value: value is None or _is(_ID_PATH)(value), "None, or a path that holds '{id}'"),
    ("auth_header", _is(_HEADER_NAME), "the name of a header"),
    ("auth_scheme", _is(_HEADER_VALUE), "a text that a header can hold"),
    ("stream_content_type", _is(r"([a-z0-9.+_-]+/[a-z0-9.+_-]+)?"), "a media type in lower case"),
    ("output_event end_marker", _is("(?s).*"), "a text"),
    ("end_events error_events", _holds(str), "a tuple of names"),
    ("missing_route_statuses", _holds(int), "a tuple of numbers"),
    ("requires_end_event", lambda value: isinstance(value, bool), "True or False"),
    ("statuses", _is_statuses, f"a dict, each value one of {', '.join(STATUSES)}"),
    (
        "read_prediction",
        lambda value: value is None or (callable(value) and not inspect.iscoroutinefunction(value)),
        "None, or a function that needs no await",
    ),
)


def _check_service(service: Service) -> None:
    """Refuse settings with which no call could be made, or with which a call would wait forever."""
    for names, is_right, form in _SERVICE_RULES:
        for name in names.split():
            if not is_right(value := getattr(service, name)):
                raise ConfigurationError(f"Service({name}={value!r}) must be {form}.")


def _headers(given: Any) -> dict[str, str]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"default_headers must be a dict of texts, not {type(given).__name__}.")
    headers = dict(given or {})
    for name, value in headers.items():
        if not (_is(_HEADER_NAME)(name) and _is(_HEADER_VALUE)(value)) or name.lower() in _FRAMING:
            raise ConfigurationError(
                f"default_headers: {name!r} with its value is not a header that can be sent."
            )
    return headers
