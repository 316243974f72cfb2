"""The arguments of a model class, and those that a call may repeat, in both frameworks.

Invariants: arguments are checked before pydantic checks them, because pydantic's errors contain the whole
input, including the token. A setting of the client, above all the token, is never sent to a model as its
input.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pkgutil import get_data
from typing import Any, Final

from rockai_transport.config import token_text
from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.nearest import meant_by, nearest, unknown_name
from rockai_transport.prompting.request.parameters import SAMPLING, accepted_names, map_parameters

ALIASES: Final = {
    "api_key": "api_token",
    "rockai_api_token": "api_token",
    "api_base": "base_url",
    "model_name": "model",
}
"""Other packages' names for an argument → ours."""

PER_CALL: Final = frozenset(
    (*SAMPLING, "stop", "model", "dialect", "chat_template", "timeout", "stream_usage")
)
"""Constructor arguments that a call may also pass; they then apply to this call only."""

_ELSEWHERE: Final = json.loads(get_data(__name__, "arguments.json") or "{}")
_CLIENT_ONLY: Final = _ELSEWHERE["client_only"]
_ADVICE: Final = {name: text for text, names in _ELSEWHERE["advice"].items() for name in names.split()}
"""Advice for arguments that other packages have."""

_DIALECT_FIELDS: Final = frozenset(Dialect.__dataclass_fields__) - {"name", "keys"}


def constructor_arguments(
    owner: str, given: Mapping[str, Any], fields: Collection[str], extra: str, model: str | None = None
) -> dict[str, Any]:
    """Rename other packages' arguments, and refuse invalid ones. Keys of the model's dialect are inputs.

    Args:
        owner: The class.
        given: Its arguments.
        fields: The names that it accepts.
        extra: The argument for the model's own inputs; empty if there is none.
        model: The default model of a subclass that has one.

    Returns:
        The arguments, by the names of their fields.

    Raises:
        ConfigurationError: An argument is unknown or passed under two names, the model is missing, or the
            token is not a string.
    """
    named: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for name, value in given.items():
        own = ALIASES.get(name, name)
        if own not in fields:
            inputs[name] = value
            continue
        if own in named:
            other = next(one for one in given if one != own and ALIASES.get(one) == own)
            raise ConfigurationError(f"{other!r} is another name for {own!r}: give one of the two.")
        named[own] = value
    if named.get("model") is None:
        named["model"] = model
    if named["model"] is None:
        raise ConfigurationError(f'model is missing: {owner}(model="owner/name").')
    token = named.get("api_token")
    if token is not None:
        token_text(token)
    if extra in named and named[extra] is None:
        del named[extra]
    if inputs:
        dialect = resolve_dialect(named["model"], named.get("dialect"), named.get("chat_template"))
        known = accepted_names(dialect) if extra and dialect.is_strict else ()
        if unknown := [name for name in inputs if name not in known]:
            raise wrong_argument(owner, unknown[0], [*fields, *ALIASES, *known], extra)
        mapped = map_parameters(dialect, inputs, model=named["model"], extra_name=extra)
        named[extra] = {**mapped, **named.get(extra, {})}
    return named


def check_call(
    owner: str, call: Iterable[str], fields: Collection[str], keywords: Iterable[str], extra: str
) -> None:
    """Refuse arguments of a call that belong to the constructor.

    Args:
        owner: The class.
        call: The names of the call's arguments.
        fields: The names of the constructor's arguments.
        keywords: Further names that a call accepts besides `PER_CALL` and ``extra``.
        extra: The argument for the model's own inputs.

    Raises:
        ConfigurationError: There is such an argument.
    """
    allowed = {*PER_CALL, *keywords, extra}
    for name in call:
        is_token = name not in ALIASES and "api_token" in (meant_by(name) or ())  # another service's name
        shown = "api_token" if is_token else name
        own = ALIASES.get(shown, shown)
        if own in fields and own not in allowed:
            raise ConfigurationError(
                f"{shown!r} is an argument of {owner}(...), not of a single call. A call takes "
                f"{', '.join(sorted(allowed))}, and the model's own inputs; one that is called like an "
                f"argument of {owner} goes into {extra}."
            )


def wrong_argument(owner: str, name: str, names: Collection[str], extra: str = "") -> ConfigurationError:
    """Return the error for an argument that a class does not accept.

    Args:
        owner: The class.
        name: The argument.
        names: The names that it accepts.
        extra: The argument for the model's own inputs, if there is one.
    """
    if setting := _CLIENT_ONLY.get(name):
        return ConfigurationError(
            f"{name!r} is a setting of Client and AsyncClient: {owner}(client=Client({setting}=…), "
            f"async_client=AsyncClient({setting}=…))."
        )
    advice = f'An input of the model itself goes into {extra}={{"{name}": …}}.' if extra else ""
    what = f"an argument of {owner}"
    if (match := nearest(name, names)) is not None or not extra:
        if name in _ADVICE or match in {extra, *ALIASES, *ALIASES.values()}:
            advice = ""  # no input of the model, perhaps a token: the suggestion is enough
        return ConfigurationError(f"{unknown_name(what, name, names, 0.75)} {advice}".rstrip())
    if name in _DIALECT_FIELDS:
        advice = f"It is a field of the dialect: dialect=Dialect.of(model).replace({name}=…)."
    return ConfigurationError(f"{name!r} is not {what}. {_ADVICE.get(name, advice)}")
