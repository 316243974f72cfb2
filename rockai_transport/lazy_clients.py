"""The clients of a model class of either framework, built when they are first needed, never pickled."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from rockai_transport.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rockai_transport.async_client import AsyncClient
    from rockai_transport.prompting.request.build import ModelRequest

__all__ = ["LazyClients"]

C = TypeVar("C")

_READ_LATER = "read-at-the-first-call"


class LazyClients:
    """Builds each kind of client at its first use, and anew once the settings have changed.

    So a model can be made without a token, copied, pickled and changed (``llm.timeout = 60``); a copy builds
    its own, and reads a token that is not its own from the environment again. Connections are closed with the
    model; those of an `AsyncClient` with their event loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[Any, tuple[dict[str, Any], Any]] = {}
        self._built: list[Any] = []  # earlier ones too: a stream may still run on them
        weakref.finalize(self, _close, self._built)

    def get(self, kind: Callable[..., C], settings: Mapping[str, Any]) -> C:
        """Give the client of a kind.

        Args:
            kind: `Client` or `AsyncClient`.
            settings: Its arguments.

        Raises:
            ConfigurationError: A setting cannot be right, or there is no token.
        """
        wanted = dict(settings)
        with self._lock:
            if kind not in self._current or self._current[kind][0] != wanted:
                self._current[kind] = (wanted, kind(**wanted))
                self._built.append(self._current[kind][1])
            client: C = self._current[kind][1]
            return client

    def preview(
        self, own: Client | AsyncClient | None, settings: Mapping[str, Any], request: ModelRequest
    ) -> dict[str, Any]:
        """The body that is sent for a request; no connection is made, and a token may still be missing.

        Args:
            own: The client that the model's user has handed in.
            settings: The arguments of the others.
            request: What to show.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        # One that has made calls knows which routes are missing.
        made = (client for given, client in self._current.values() if given == settings)
        client = own or next(made, None) or self.checked(settings)
        body: dict[str, Any] = client.preview(request.model, request.input)
        return body

    @staticmethod
    def checked(settings: Mapping[str, Any]) -> Client:
        """A client for once, whose settings are checked with its making; a token may still be missing.

        Raises:
            ConfigurationError: A setting cannot be right.
        """
        token = settings.get("api_token")
        return Client(**{**settings, "api_token": _READ_LATER if token is None else token})

    def __reduce__(self) -> tuple[type[LazyClients], tuple[()]]:
        return LazyClients, ()


def _close(clients: Sequence[Any]) -> None:
    for client in clients:
        if isinstance(client, Client):
            client.close()
