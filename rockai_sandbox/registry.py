"""The models of a sandbox, and the model that a reference names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rockai_sandbox.functions import ModelFunction, check_function
from rockai_sandbox.inputs import Input, Inputs
from rockai_sandbox.options import SECONDS, OptionRule, or_none
from rockai_sandbox.runs import Gate

NAME = re.compile(r"[^/\s:]+/[^/\s:]+")
VERSION = re.compile(r"[0-9a-f]{64}")
COLD_START = OptionRule(
    f"{SECONDS.what}, or a Gate", lambda value: isinstance(value, Gate) or SECONDS.fits(value)
)

INPUTS = OptionRule(
    'a mapping of names to Input, such as {"prompt": Input("string")}',
    lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and isinstance(expected, Input) for name, expected in value.items())
    ),
)


@dataclass(frozen=True)
class Model:
    """A model of the sandbox.

    Attributes:
        name: ``owner/name``.
        version: 64 hex digits.
        function: The function that is called with an input.
        inputs: The inputs it accepts; `None` accepts everything.
        any_version: Whether every version refers to it, as for a scripted model.
        cold_start: Seconds in ``starting``, or a gate to wait at; `None` uses the sandbox's setting.
    """

    name: str
    version: str
    function: ModelFunction
    inputs: Inputs | None = None
    any_version: bool = False
    cold_start: float | Gate | None = None


def split(reference: str) -> tuple[str, str]:
    """Split a reference into name and version; a missing part is empty.

    Raises:
        ValueError: It is neither ``owner/name``, ``owner/name:version`` nor 64 hex digits.
    """
    if VERSION.fullmatch(reference):
        return "", reference
    name, colon, version = reference.partition(":")
    if not NAME.fullmatch(name) or (colon and not version):
        raise ValueError(
            f"{reference!r} is neither owner/name, owner/name:version nor a version of 64 hex digits"
        )
    return name, version


def made_up_version(name: str) -> str:
    """Return a version for a model that has none: 64 hex digits derived from its name."""
    return hashlib.sha256(name.encode()).hexdigest()


def scripted(
    reference: Any, inputs: Inputs | None, cold_start: float | Gate | None
) -> Callable[[ModelFunction], Model]:
    """Check the arguments of a scripted model, and return a function that makes a `Model` from its function.

    Raises:
        TypeError: The reference is not a text; or later, the function cannot be called with an input.
        ValueError: The reference has no known form, or ``inputs`` or ``cold_start`` is invalid.
    """
    if not isinstance(reference, str):
        raise TypeError(
            'write @sandbox.model("owner/name"), with the model\'s name in the parentheses: '
            f"it is text, not {reference!r}"
        )
    name, version = split(reference)
    or_none(INPUTS, " for any input").check("inputs", inputs)
    if cold_start is not None:
        COLD_START.check("cold_start", cold_start)

    def make(function: ModelFunction) -> Model:
        check_function(function)
        return Model(
            name=name or "sandbox/unnamed",
            version=version or made_up_version(name),
            function=function,
            inputs=inputs,
            any_version=not version,
            cold_start=cold_start,
        )

    return make


class Registry:
    """The models of one sandbox. The newest entry for a name wins, so a script can replace a built-in one."""

    def __init__(
        self, models: tuple[Model, ...] = (), any_model: Callable[[str], Model] | None = None
    ) -> None:
        self._models = list(models)
        self._any_model = any_model

    @property
    def names(self) -> list[str]:
        """The names of all models, sorted."""
        return sorted({model.name for model in self._models})

    def add(self, model: Model) -> None:
        """Add a model; it hides models with the same name or version."""
        self._models.append(model)

    def find(self, name: str, version: str) -> Model | None:
        """Return the newest model with that name and version; an empty name or version matches all."""
        for model in reversed(self._models):
            same_name = name in ("", model.name)
            same_version = version in ("", model.version) or (model.any_version and name == model.name)
            if same_name and same_version:
                return model
        return self._any_model(name) if self._any_model is not None and name else None
