"""Parameters under their common names → the keys of one model.

Only what was set is sent. If all keys of a model were seen, any other is refused before anything is sent,
with the nearest correct name: a strict model server would answer 422, and no run should be started for that.
Inputs in ``model_kwargs`` (``additional_kwargs`` in LlamaIndex) are never checked, and override all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.nearest import nearest

SAMPLING: Final = ("temperature", "top_p", "top_k", "max_tokens")
"""The parameters that each model class has as a field, and that a call may pass too."""

# The frameworks' names; the dialect's attribute with the suffix "_key" has the model's name.
_COMMON: Final = (*SAMPLING, "min_tokens")

_NUMBERS: Final[dict[str, tuple[type, float, float]]] = {
    "temperature": (float, 0, math.inf),
    "top_p": (float, 0, 1),
    "max_tokens": (int, 1, math.inf),
    "max_new_tokens": (int, 1, math.inf),
    **dict.fromkeys(("min_tokens", "min_new_tokens", "top_k"), (int, -1, math.inf)),
}
"""Type, minimum and maximum. The value of the last three for "off" depends on the model: 0 or -1."""


def accepted_names(dialect: Dialect) -> tuple[str, ...]:
    """Return every parameter that a model accepts, under common names and its own; the prompt is none.

    Args:
        dialect: The model's dialect, whose keys are all known.

    Returns:
        The names, sorted. ``stop`` is always included, because the text is cut here.
    """
    keys = {key.name for key in dialect.keys}
    common = [word for word in _COMMON if getattr(dialect, f"{word}_key") in keys]
    return tuple(sorted({*common, "stop", *keys} - {dialect.prompt_key}))


def map_parameters(
    dialect: Dialect, parameters: Mapping[str, Any], *, model: str, extra_name: str = "model_kwargs"
) -> dict[str, Any]:
    """Map parameters to a model's keys.

    Args:
        dialect: The model's dialect.
        parameters: Parameters under common names or the model's own; None means not set.
        model: The model, for errors.
        extra_name: The framework's argument for any other input, for errors.

    Returns:
        The inputs to send.

    Raises:
        ConfigurationError: The model's keys are known, and a parameter is not among them; or one is the
            prompt.
    """
    inputs: dict[str, Any] = {}
    for name, value in parameters.items():
        if value is None:
            continue
        key = (getattr(dialect, f"{name}_key") if name in _COMMON else None) or name
        sent = _number(name, value, extra_name)
        if key == dialect.prompt_key:
            raise ConfigurationError(
                f"{name!r} would replace the conversation: put the text into it. What is in {extra_name} is "
                "sent unchecked."
            )
        if dialect.is_strict and key not in {key.name for key in dialect.keys}:
            raise ConfigurationError(_refusal(name, dialect, model, extra_name))
        if key not in inputs or key == name:  # the model's own name takes precedence
            inputs[key] = sent
    return inputs


def _number(name: str, value: Any, extra_name: str) -> Any:
    """Refuse values that no model can accept for a common parameter, before a run is paid for."""
    if (limits := _NUMBERS.get(name)) is None:
        return value
    kind, least, most = limits
    number: Any = math.nan if isinstance(value, bool) or not isinstance(value, Real) else value
    try:
        fits = math.isfinite(number) and least <= number <= most and kind(number) == number
    except OverflowError:  # a whole number that is too large for a float
        fits = False
    if fits:
        return kind(number) if kind is int or not isinstance(number, int) else number
    what = "a whole number" if kind is int else "a number"
    upper = "" if most == math.inf else f", {most} at most"
    raise ConfigurationError(
        f"{name}={value!r} must be {what}, {least} or more{upper}. What is in {extra_name} goes unchecked."
    )


def _refusal(name: str, dialect: Dialect, model: str, extra_name: str) -> str:
    names = accepted_names(dialect)
    match = nearest(name, names)
    hint = f"; did you mean {match!r}?" if match else "."
    return (
        f"{model} takes no {name!r}{hint} It takes: {', '.join(names)}. "
        f'What is passed in {extra_name}={{"{name}": …}} is sent unchecked.'
    )


def rejected_inputs(body: object, dialect: Dialect) -> tuple[str, ...]:
    """Read which inputs a 422 rejects (``{"detail": [{"loc": ["body", "input", "foo"], "msg": …}]}``).

    Args:
        body: The response's body: decoded JSON, or text if it is not JSON.
        dialect: The model's dialect, for the nearest correct names.

    Returns:
        A sentence for each rejected input; none if the body has another shape.
    """
    match body:
        case {"detail": [*items]}:
            return tuple(one for item in items for one in _rejection(item, dialect))
    return ()


def _rejection(item: object, dialect: Dialect) -> Iterator[str]:
    match item:
        case {"loc": ["body", "input", str(key), *_], **others}:
            names = [one.name for one in dialect.keys]
            right = None if key in names else nearest(key, names)
            hint = f" Did you mean {right!r}?" if right else ""
            yield f"The model rejected the input {key!r}: {others.get('msg', 'invalid')}.{hint}"
