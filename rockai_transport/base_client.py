"""What the two clients have in common: settings in, flows out, and how a call becomes a request.

Law of this module: here, and nowhere else, is decided who gets the token.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import time
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Self

import httpx

from rockai_transport._version import __version__
from rockai_transport.config import Settings, Timeouts
from rockai_transport.errors import APIStatusError, ConfigurationError, InvalidResponseError, RockAIError
from rockai_transport.protocol.operations import Flows
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.requests import Request, Response, ResponseHead
from rockai_transport.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rockai_transport.protocol.effects import Open

__all__ = ["DEFAULT_SERVICE", "DEFAULT_TIMEOUTS", "BaseClient", "head_of"]

logger = logging.getLogger("rockai")

DEFAULT_SERVICE = Service()
DEFAULT_TIMEOUTS = Timeouts()
_ENDLESS = 1e8  # seconds; a thread's clock overflows at some 9e9
_LEAST_SECRET = 8  # a shorter token is a placeholder, and hiding it would garble messages
_HIDDEN = "[token]"
_MACHINERY = frozenset(
    {"rockai_transport", "httpx", "httpcore", "httpx2", "httpcore2", "httpx_sse", "h11", "anyio", "socksio"}
    | {"asyncio", "contextlib", "json", "socket", "ssl", "threading"}
)
"""The modules whose frames tell a reader nothing."""
_USER_AGENT = f"rockai-integrations/{__version__}"


class BaseClient:
    """The settings of a client, checked at once; its connections come later."""

    def __init__(self, given: dict[str, Any], http_client: Any, *, expected: type) -> None:
        if (
            http_client is not None
            and not isinstance(http_client, expected)
            and not _looks_alike(http_client, expected)
        ):
            raise ConfigurationError(
                f"http_client must be an httpx.{expected.__name__}, not {type(http_client).__name__}."
            )
        self._given = given
        self._http_client = http_client
        try:
            self._settings = Settings.resolve(**given)
        except ConfigurationError as error:
            _forget_frames(error)
            raise
        try:
            self._base = httpx.URL(self._settings.base_url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"base_url cannot be read: {error}.") from None
        self._flows = Flows(self._settings)

    @property
    def base_url(self) -> str:
        """Where this client's calls go.

        Example:
            >>> client.base_url
            'http...'
        """
        return self._settings.base_url

    def preview(self, model: str, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002 - the service's own word
        """Show what ``run`` would send, and send nothing. Files in the input are read, in this thread.

        Args:
            model: As in `Client.run`.
            input: As in `Client.run`.

        Returns:
            The JSON body.

        Raises:
            ConfigurationError: It cannot be sent.

        Example:
            >>> client.preview("meta/llama-2-7b-chat", {"prompt": "Hello"})
            {'model': 'meta/llama-2-7b-chat', 'input': {'prompt': 'Hello'}}
        """
        return self._flows.preview(self._flows.order(ModelReference.parse(model), input))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, route={self._settings.route!r})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Settings, never connections; a token from the environment is read again there.
        return _rebuild, (type(self), self._given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copy: Self = _rebuild(type(self), self._given)
        return copy

    def __copy__(self) -> Self:
        copy: Self = _rebuild(type(self), self._given)
        return copy

    def _url(self, call: Request) -> httpx.URL:
        try:
            if call.download:
                return httpx.URL(call.target)
            return httpx.URL((self.base_url if call.below_base else self._settings.origin) + call.target)
        except httpx.InvalidURL as error:
            raise InvalidResponseError(f"{call} cannot be sent: the address is none. {error}") from None

    def _headers(self, call: Request, url: httpx.URL) -> httpx.Headers:
        """The headers of a call; the token only where it belongs: at the base URL's own origin."""
        headers = httpx.Headers(
            {"User-Agent": _USER_AGENT, "Accept": call.accept, "Accept-Encoding": "identity"}
        )
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        base = self._base
        if not call.download and (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port):
            headers.update(self._settings.default_headers)
            headers[self._settings.service.auth_header] = self._settings.authorization
        return headers

    def _limits(self, effect: Open) -> dict[str, float | None]:
        """The time-outs for httpx itself; the deadlines of the effects are kept by each shell.

        In the form of httpx's ``timeout`` extension, which its successor takes too.
        """
        limits = self._settings.timeouts
        left = max(effect.until - time.monotonic(), 0.001)
        between_reads = max(limits.first_byte, limits.idle)
        if self._http_client is not None:
            # Sockets that are not ours keep no deadline, but each of their reads ends with it at least.
            between_reads = min(between_reads, left)
        return {
            "connect": _finite(min(limits.connect, left)),
            # Ends before the total does: only the pool can tell that nothing was sent.
            "pool": _finite(min(limits.connect, 0.9 * left)),
            "read": _finite(between_reads),
            "write": _finite(between_reads),
        }

    def _tidy(self, error: BaseException) -> None:
        """Make an error fit for its reader: without the token, and without our machinery in its traceback.

        What it says and holds tells more than twenty frames of generators. At log level DEBUG they stay.
        """
        if isinstance(error, RockAIError):
            self._hide_token(error)
            _forget_frames(error)

    def _hide_token(self, error: BaseException) -> None:
        """Take the token out of an exception, should the service have sent it back."""
        token = self._settings.api_token
        if isinstance(error, RockAIError) and len(token) >= _LEAST_SECRET:
            error.args = tuple(_hidden(arg, token) for arg in error.args)
            error.prediction = _hidden(error.prediction, token)
            if isinstance(error, APIStatusError | InvalidResponseError):
                error.body = _hidden(error.body, token)
            if isinstance(error, APIStatusError):
                error.request_id = _hidden(error.request_id, token)
                error.response = _hidden(error.response, token)
            if isinstance(error.__cause__, RockAIError):
                self._hide_token(error.__cause__)
            elif token in str(error.__cause__):
                error.__cause__ = None

    def _check_callback(self, callback: Any, name: str, *, may_await: bool) -> None:
        if callback is None:
            return
        if not callable(callback):
            raise ConfigurationError(f"{name} must be a function, not {type(callback).__name__}.")
        call = getattr(callback, "__call__", None)  # noqa: B004 - of an object that is called
        if not may_await and (inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)):
            raise ConfigurationError(f"{name} is a coroutine function, which only AsyncClient can await.")


def head_of(response: httpx.Response) -> ResponseHead:
    """Status and headers of a response, names in lower case."""
    return ResponseHead(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, time.time()
    )


def _forget_frames(error: BaseException | None) -> None:
    """Take our machinery's frames off an error and its causes, but nothing that holds a frame of a user's."""
    if logger.isEnabledFor(logging.DEBUG):
        return
    while error is not None:
        modules = {frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)}
        if {module.partition(".")[0] for module in modules} <= _MACHINERY:
            error.__traceback__ = None
        error = error.__cause__


def _finite(seconds: float) -> float | None:
    return seconds if seconds < _ENDLESS else None


def _hidden(value: Any, token: str) -> Any:  # noqa: PLR0911 - one for each type
    """A value without the token in any of its texts."""
    match value:
        case str():
            return value.replace(token, _HIDDEN)
        case bytes():
            return value.replace(token.encode(), _HIDDEN.encode())
        case dict():
            return {_hidden(key, token): _hidden(item, token) for key, item in value.items()}
        case list():
            return [_hidden(item, token) for item in value]
        case Response():
            return dataclasses.replace(
                value, headers=_hidden(dict(value.headers), token), body=_hidden(value.body, token)
            )
        case Prediction():
            # What the user gave and what the model said stay as they are.
            told = ("error", "logs", "raw")
            return dataclasses.replace(value, **{name: _hidden(getattr(value, name), token) for name in told})
    return value


def _rebuild(cls: type[Any], given: dict[str, Any]) -> Any:
    return cls(**given)


def _looks_alike(http_client: Any, expected: type) -> bool:
    """Whether it is the same class of httpx's successor, whose interface is the same."""
    return any(
        base.__name__ == expected.__name__ and base.__module__.partition(".")[0] == "httpx2"
        for base in type(http_client).__mro__
    )
