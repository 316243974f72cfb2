"""What a model class of either framework says of arguments that cannot be right.

Law of this module: these are looked at before pydantic looks, whose own errors hold all that was given, the
token too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.nearest import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_model", "check_token", "wrong_argument"]

_CLIENT_ONLY = frozenset({"allow_http", "http_client", "service", "timeouts"})
"""Settings that a model class does not take itself, but through a client that is handed in."""


def check_model(owner: str, model: Any) -> None:
    """Refuse a class without its model.

    Raises:
        ConfigurationError: It is missing.
    """
    if model is None:
        raise ConfigurationError(f'model is missing: {owner}(model="owner/name").')


def check_token(token: Any) -> None:
    """Refuse what is neither a text nor pydantic's secret one; None may still come from the environment.

    Raises:
        ConfigurationError: It is something else.
    """
    if token is not None and not isinstance(token, str) and not hasattr(token, "get_secret_value"):
        raise ConfigurationError(f"api_token must be a text, not {type(token).__name__}.")


def wrong_argument(owner: str, name: str, names: Iterable[str], extra: str) -> ConfigurationError:
    """The error for an argument that a model class does not have.

    Args:
        owner: The class.
        name: The argument.
        names: Those that it has.
        extra: The one that takes the model's own inputs.
    """
    if name in _CLIENT_ONLY:
        return ConfigurationError(
            f"{name!r} is a setting of Client and AsyncClient: {owner}(client=Client({name}=…), "
            f"async_client=AsyncClient({name}=…))."
        )
    wrong = unknown_name(f"an argument of {owner}", name, names)
    return ConfigurationError(f"{wrong} Inputs of the model itself go into {extra}.")
