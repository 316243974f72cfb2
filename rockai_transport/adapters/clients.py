"""The clients of a model class of either framework, built when they are first needed, never pickled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from rockai_transport._version import __version__
from rockai_transport.client import Client
from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.build import ModelRequest

__all__ = ["LazyClients", "user_agent"]

C = TypeVar("C")

_SETTINGS: Final = ("api_token", "base_url", "timeout", "max_retries", "route", "default_headers")
"""What a model class takes for its clients: attributes there, arguments here."""

_settings_of = attrgetter(*_SETTINGS)


def user_agent(package: str, headers: Any) -> Any:
    """The headers of a client, in which a framework package names itself; a user's own name counts more.

    Args:
        package: The framework package, as it is called on the package index.
        headers: The user's own headers, or None; what are none is given back, for the client to refuse.
    """
    if headers is not None and not isinstance(headers, Mapping):
        return headers
    return {"User-Agent": f"{package}/{__version__} rockai-integrations/{__version__}", **(headers or {})}


class LazyClients:
    """Builds each kind of client at its first use, and anew once the settings have changed.

    So a model can be made without a token, copied, pickled and changed (``llm.timeout = 60``); a copy builds
    its own, and reads a token that is not its own from the environment again. A client that replaces another
    goes on with its connections, which are closed once the model and the last stream are gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[Any, tuple[tuple[Any, ...], Any]] = {}

    def get(self, kind: Callable[..., C], model: Any, package: str) -> C:
        """Give the client of a kind.

        Args:
            kind: `Client` or `AsyncClient`.
            model: The model, which has the settings.
            package: As for `user_agent`.

        Raises:
            ConfigurationError: A setting cannot be right, or there is no token.
        """
        settings = _settings_of(model)
        with self._lock:
            if kind not in self._current or self._current[kind][0] != settings:
                headers = user_agent(package, model.default_headers)
                given = {**dict(zip(_SETTINGS, settings, strict=True)), "default_headers": headers}
                try:
                    client: Any = kind(**given)
                except ConfigurationError as error:
                    raise error.with_traceback(None)  # noqa: B904 - where it was found helps nobody
                if kind in self._current:
                    client._take_connections(self._current[kind][1])  # noqa: SLF001 - no user's business
                self._current[kind] = (settings, client)
            current: C = self._current[kind][1]
            return current

    def preview(self, model: Any, request: ModelRequest) -> dict[str, Any]:
        """The body that is sent for a request; no connection is made, and a token may still be missing.

        Args:
            model: The model, which has the settings, and may have clients of its user's own.
            request: What to show.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        # One that has made calls knows which routes are missing.
        made = (client for given, client in self._current.values() if given == _settings_of(model))
        client = model.client or model.async_client or next(made, None) or self.checked(model)
        body: dict[str, Any] = client.preview(request.model, request.input)
        return body

    @staticmethod
    def checked(model: Any) -> Client:
        """A client for once, whose settings are checked with its making; a token may still be missing.

        Args:
            model: The model, which has the settings.

        Raises:
            ConfigurationError: A setting cannot be right.
        """
        settings = dict(zip(_SETTINGS, _settings_of(model), strict=True))
        if model.api_token is None:
            settings["api_token"] = "read-at-the-first-call"  # noqa: S105 - stands for one
        return Client(**settings)

    def __reduce__(self) -> tuple[type[LazyClients], tuple[()]]:
        return LazyClients, ()
