"""The common part of both clients: their settings, and the checks before anything is sent."""

# Annotations are objects here, not strings, as in `rockai_transport.client`.

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from rockai_transport.config import Route, Settings, Timeouts
from rockai_transport.errors import ConfigurationError
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.protocol.prediction import Update
from rockai_transport.protocol.references import ModelReference
from rockai_transport.sanitize import trim_traceback
from rockai_transport.service import Service

HttpClient = TypeVar("HttpClient")

DEFAULT_SERVICE = Service()
DEFAULT_TIMEOUTS = Timeouts()
_MADE_ANEW = frozenset({"_given", "_session", "predictions"})


class _NoSchema:
    """Excludes a parameter from the JSON schema that pydantic makes of a signature: no model can pass it."""

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        from pydantic_core import PydanticOmit

        raise PydanticOmit


OnText = Annotated[Callable[[str], Any], _NoSchema()]
"""The type of ``on_text``."""
OnUpdate = Annotated[Callable[[Update], Any], _NoSchema()]
"""The type of ``on_update``."""


class BaseClient(Generic[HttpClient]):
    """The settings of a client, checked in the constructor; connections are opened later."""

    _session_type: ClassVar[type]
    _http_client_type: ClassVar[type]
    _session: Any  # `Session` or `AsyncSession`

    def __init__(
        self,
        api_token: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        max_retries: int = 2,
        route: Route = "auto",
        service: Service = DEFAULT_SERVICE,
        default_headers: Mapping[str, str] | None = None,
        http_client: HttpClient | None = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        allow_http: bool = False,
    ) -> None:
        self._given: dict[str, Any] = {
            "api_token": api_token,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "route": route,
            "service": service,
            "default_headers": default_headers,
            "timeouts": timeouts,
            "allow_http": allow_http,
        }
        try:
            endpoint = Endpoint(Settings.resolve(**self._given), http_client, self._http_client_type)
        except ConfigurationError as error:
            trim_traceback(error)
            raise
        self._session = self._session_type(endpoint)

    @property
    def _settings(self) -> Settings:
        settings: Settings = self._session.operations.settings
        return settings

    @property
    def base_url(self) -> str:
        """The address of the service.

        Example:
            >>> client.base_url
            'http...'
        """
        return self._settings.base_url

    def preview(self, model: str, input: Mapping[str, Any]) -> dict[str, Any]:
        """Show what ``run`` would send, without sending it. Files in the input are read in this thread.

        Args:
            model: As in `Client.run`.
            input: As in `Client.run`.

        Returns:
            The JSON body.

        Raises:
            ConfigurationError: The model or the input is invalid.

        Example:
            >>> client.preview("meta/llama-2-7b-chat", {"prompt": "Hello"})
            {'model': 'meta/llama-2-7b-chat', 'input': {'prompt': 'Hello'}}
        """
        operations = self._session.operations
        body: dict[str, Any] = operations.preview(operations.run_request(ModelReference.parse(model), input))
        return body

    @classmethod
    def like(cls, other: "BaseClient[Any]") -> Self:
        """Make a client with the settings of another one, blocking or async.

        Args:
            other: The other client. Its ``http_client``, if it has one, is not copied.

        Returns:
            The new client.

        Raises:
            ConfigurationError: The other one is no client.

        Example:
            >>> AsyncClient.like(client)
            AsyncClient(base_url='http...', route='auto')
        """
        if not isinstance(other, BaseClient):
            raise ConfigurationError(f"This needs a Client or an AsyncClient, not {type(other).__name__}.")
        return cls(**other._given)  # noqa: SLF001 - of the same class, which ruff does not see in quotes

    def _take_connections(self, other: Self) -> None:
        """Use the connections of the client that this one replaces, of the same kind."""
        self._session.connections = other._session.connections

    def __repr__(self) -> str:
        if not hasattr(self, "_session"):  # shown in a traceback of its own constructor
            return f"{type(self).__name__}(…)"
        return f"{type(self).__name__}(base_url={self.base_url!r}, route={self._settings.route!r})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # Settings, never connections; a token from the environment is read again on unpickling.
        own = {name: value for name, value in vars(self).items() if name not in _MADE_ANEW}
        return _remake, (type(self), self._given), own

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy(self)


def _remake(kind: type[BaseClient[Any]], given: Mapping[str, Any]) -> BaseClient[Any]:
    """Make a client again; the constructor of a user's subclass may have other arguments."""
    client = kind.__new__(kind)
    BaseClient.__init__(client, **given)
    return client


def check_callback(callback: Any, name: str, *, may_await: bool) -> None:
    """Refuse what is not callable, and a coroutine function if nothing could await it.

    Raises:
        ConfigurationError: The callback cannot be used.
    """
    if callback is None:
        return
    if not callable(callback):
        raise ConfigurationError(f"{name} must be a function, not {type(callback).__name__}.")
    call = getattr(callback, "__call__", None)  # noqa: B004 - of an object that is called
    if not may_await and (inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)):
        raise ConfigurationError(f"{name} is a coroutine function, which only AsyncClient can await.")
