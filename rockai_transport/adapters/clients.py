"""The clients of a model class, in both frameworks; created on first use, and never pickled."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from rockai_transport._forks import lock_across_forks
from rockai_transport._version import __version__
from rockai_transport.base_client import BaseClient
from rockai_transport.client import Client
from rockai_transport.prompting.request.build import ModelRequest

C = TypeVar("C", bound=BaseClient[Any])

_SETTINGS: Final = ("api_token", "base_url", "timeout", "max_retries", "route", "default_headers")
"""The settings for the clients: attributes of a model class, arguments of a client."""

_settings_of = attrgetter(*_SETTINGS)
_creating = lock_across_forks()


def user_agent(package: str, headers: Any) -> Any:
    """Add the framework package to a client's User-Agent; the user's own User-Agent takes precedence.

    Args:
        package: The framework package's name on the package index.
        headers: The user's headers, or None. Invalid ones are returned unchanged; the client refuses them.
    """
    if headers is not None and not isinstance(headers, Mapping):
        return headers
    return {"User-Agent": f"{package}/{__version__} rockai-integrations/{__version__}", **(headers or {})}


class LazyClients:
    """Creates each kind of client on first use, and again when the settings have changed.

    So a model can be created without a token, copied, pickled and changed (``llm.timeout = 60``). A copy
    creates its own clients; it reads a token from the environment again. A client that replaces another one
    uses its connections, which are closed when the model and the last stream are gone.
    """

    def __init__(self) -> None:
        self._current: dict[Any, tuple[Any, Any]] = {}

    def get(self, kind: type[C], model: Any, package: str) -> C:
        """Return the client of a kind; if the user's own is of the other kind, with its settings.

        Args:
            kind: `Client` or `AsyncClient`.
            model: The model, with the settings.
            package: As for `user_agent`.

        Raises:
            ConfigurationError: A setting is invalid, or there is no token.
        """
        own = model.client or model.async_client  # of the other kind
        settings = own or _settings_of(model)
        with _creating:
            if kind not in self._current or self._current[kind][0] != settings:
                headers = user_agent(package, model.default_headers)
                given = {**dict(zip(_SETTINGS, _settings_of(model), strict=True)), "default_headers": headers}
                client = kind.like(own) if own else kind(**given)
                if kind in self._current:
                    client._take_connections(self._current[kind][1])  # noqa: SLF001 - internal to the clients
                self._current[kind] = (settings, client)
            current: C = self._current[kind][1]
            return current

    def preview(self, model: Any, request: ModelRequest) -> dict[str, Any]:
        """Return the body for a request; opens no connection, and needs no token.

        Args:
            model: The model, with the settings and possibly the user's own clients.
            request: The request.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        # A client that has made calls knows the missing routes.
        current = list(self._current.values())  # another thread may create a client meanwhile
        made = (client for given, client in current if given == _settings_of(model))
        client = model.client or model.async_client or next(made, None) or self.checked(model)
        body: dict[str, Any] = client.preview(request.model, request.input)
        return body

    @staticmethod
    def checked(model: Any) -> Client:
        """Return a temporary client, created to check the settings; needs no token.

        Args:
            model: The model, with the settings.

        Raises:
            ConfigurationError: A setting is invalid.
        """
        settings = dict(zip(_SETTINGS, _settings_of(model), strict=True))
        if model.api_token is None:
            settings["api_token"] = "read-at-the-first-call"  # noqa: S105 - a placeholder
        return Client(**settings)

    def __reduce__(self) -> tuple[type[LazyClients], tuple[()]]:
        return LazyClients, ()
