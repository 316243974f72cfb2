"""Objects that fill in while their reply streams: what of a value can be told before the reply has ended."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeGuard, get_args, get_origin

from pydantic import BaseModel, Field, create_model
from pydantic_core import from_json

from rockai_transport.adapters.structured import OutputParser
from rockai_transport.prompting.reply.json_values import ValueScanner

__all__ = ["PartialObjects", "partial_object"]

_MOST_OBJECTS: Final = 8  # how many objects of a reply are looked at for the one that was asked for
_LAST_NUMBER: Final = re.compile(r"-?\d[\d.eE+-]*\Z")
_ALIASES: Final = ("alias", "validation_alias", "serialization_alias")


class PartialObjects:
    """Reads the object of a reply as far as it has come; each is a prefix of the next.

    There are none of what is not JSON proper, of an object with a name that the schema does not know, and of
    one that is complete: that is the reply's, once it was accepted.
    """

    def __init__(self, parser: OutputParser) -> None:
        """Begin.

        Args:
            parser: Says what is asked for.
        """
        self._parser = parser
        self._last: dict[str, Any] = {}

    def read(self, text: str) -> dict[str, Any] | None:
        """Read on.

        Args:
            text: All that the reply has said so far.

        Returns:
            The object as far as it goes; None where it is no further than it was.
        """
        for found in islice(re.finditer("{", text), _MOST_OBJECTS):
            if ValueScanner().scan(text, found.start()) is not None:
                continue
            value = _partial_value(text[found.start() :])
            if self._fits(value):
                if value == self._last or not _is_prefix(self._last, value):
                    return None
                self._last = value
                return value
        return None

    def restart(self) -> bool:
        """Begin anew with the next reply.

        Returns:
            Whether anything was told of the last one.
        """
        was_reported, self._last = bool(self._last), {}
        return was_reported

    def _fits(self, value: Any) -> TypeGuard[dict[str, Any]]:
        if not isinstance(value, dict) or not value:
            return False
        called, name = value.get("name"), self._parser.called
        if name and isinstance(called, str) and name.startswith(called):
            return False  # the call itself, whose arguments follow
        names = self._parser.property_names
        return names is None or value.keys() <= names


def partial_object(model: type[Any] | None, value: dict[str, Any]) -> Any:
    """Make what is handed on of an object that has not ended.

    Args:
        model: The pydantic class that was asked for; None for a dict.
        value: The object as far as it goes.

    Returns:
        An instance of a class derived from it, which is not validated, and whose fields are None where
        nothing has come for them; else the dict.
    """
    return value if model is None or not issubclass(model, BaseModel) else _filled(model, value)


def _filled(kind: Any, value: Any) -> Any:
    """A value with the instances that its type's classes make of objects."""
    kinds = [kind, *get_args(kind)]
    if isinstance(value, list):
        lists = [one for one in kinds if get_origin(one) is list]
        inner = get_args(lists[0])[0] if lists else Any
        return [_filled(inner, item) for item in value]
    models = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
    if not isinstance(value, dict) or len(models) != 1 or get_origin(kind) in (list, dict):
        return value
    made = _partial_class(models[0]).model_construct(**value)
    held: Any = made.__dict__
    for name, info in models[0].model_fields.items():
        held[name] = _filled(info.annotation, held[name])
    return made


@lru_cache(maxsize=64)
def _partial_class(model: type[BaseModel]) -> type[BaseModel]:
    """The class with fields of which any may be missing, under the same names."""
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        aliases: dict[str, Any] = {kind: getattr(info, kind) for kind in _ALIASES}
        fields[name] = (Any, Field(default=None, **aliases))
    return create_model(model.__name__, __base__=model, __module__=model.__module__, **fields)


def _partial_value(text: str) -> Any:
    """What the beginning of an object says, without a number that may go on."""
    try:
        value = from_json(text, allow_partial="trailing-strings")
        # A letter would go on with a text, and ends a number: another digit may leave a float as it is.
        if _LAST_NUMBER.search(text) and from_json(text + "x", allow_partial="trailing-strings") == value:
            value = from_json(_LAST_NUMBER.sub("", text), allow_partial="trailing-strings")
    except ValueError:
        return None
    return value


def _is_prefix(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return all(key in after and _is_prefix(item, after[key]) for key, item in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) <= len(after) and all(map(_is_prefix, before, after))
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    return bool(before == after)
