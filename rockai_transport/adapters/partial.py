"""Partial objects while a reply streams: what is known of a value before the reply has ended."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeGuard, get_args, get_origin

from pydantic import BaseModel, Field, RootModel, create_model
from pydantic_core import from_json

from rockai_transport.adapters.structured import OutputParser
from rockai_transport.prompting.reply.json_values import ValueScanner
from rockai_transport.prompting.reply.reader import ModelReply

_MOST_OBJECTS: Final = 8  # the maximum number of objects that are tried in a reply
_LAST_NUMBER: Final = re.compile(r"-?\d[\d.eE+-]*\Z")
_ALIASES: Final = ("alias", "validation_alias", "serialization_alias")


class PartialObjects:
    """Reads the object in a reply as far as it has arrived; each result is a prefix of the next.

    An empty result takes back the ones before it: they were part of the reasoning or of an example. There is
    no result for invalid JSON, for an object with a key that the schema does not have, and for a complete
    object: the accepted reply provides that one.
    """

    def __init__(self, parser: OutputParser) -> None:
        """Create a reader.

        Args:
            parser: The parser of the requested object.
        """
        self._parser = parser
        self._last: dict[str, Any] = {}

    def read(self, text: str) -> dict[str, Any] | None:
        """Read the reply so far.

        Args:
            text: The reply's whole text so far.

        Returns:
            The object so far; None if it has not grown; empty if it is not the one that was reported.
        """
        for found in islice(re.finditer("{", text), _MOST_OBJECTS):
            if (end := ValueScanner().scan(text, found.start())) is not None:
                whole = text[found.start() : end]
                if self._fits(value := _partial_value(whole)) and self._is_valid(whole, value):
                    return None
                continue
            value = _partial_value(text[found.start() :])
            if self._fits(value):
                if value == self._last:
                    return None
                self._last = value if _is_prefix(self._last, value) else {}
                return self._last
        return None

    def restart(self) -> bool:
        """Start again with the next reply.

        Returns:
            Whether the last reply gave any result.
        """
        was_reported, self._last = bool(self._last), {}
        return was_reported

    def is_taken_back(self, reply: ModelReply) -> bool:
        """Return whether the accepted reply has another object than the one that was reported."""
        model = self._parser.model  # of which objects are shown, by whichever names their values came
        with suppress(ValueError):
            shown, last = partial_object(model, self._last), partial_object(model, self._parser.read(reply))
            return bool(self._last) and not _is_prefix(shown, last)
        return True

    def _is_valid(self, text: str, value: dict[str, Any]) -> bool:
        with suppress(ValueError):
            return self._parser.parse(text, [value]) is not None
        return False

    def _fits(self, value: Any) -> TypeGuard[dict[str, Any]]:
        if not isinstance(value, dict) or not value:
            return False
        called, name = value.get("name"), self._parser.name
        if name and isinstance(called, str) and name.startswith(called):
            return False  # this is the call itself; its arguments follow
        names = self._parser.property_names
        return names is None or value.keys() <= names


def partial_object(model: type[Any] | None, value: dict[str, Any]) -> Any:
    """Return the value for an object that is still incomplete.

    Args:
        model: The requested pydantic class; None for a dict.
        value: The object so far.

    Returns:
        An unvalidated instance of a subclass, with None in the missing fields; for a dict, the dict.
    """
    return value if model is None or not issubclass(model, BaseModel) else _filled(model, value)


def _filled(kind: Any, value: Any) -> Any:
    """Return a value with its objects converted to instances of the classes in its type."""
    kinds = [kind, *get_args(kind)]
    if isinstance(value, list):
        lists = [one for one in kinds if get_origin(one) is list]
        inner = get_args(lists[0])[0] if lists else Any
        return [_filled(inner, item) for item in value]
    classes = [one for one in kinds if isinstance(one, type) and not issubclass(one, RootModel)]
    models = [one for one in classes if issubclass(one, BaseModel)]
    if not isinstance(value, dict) or len(models) != 1 or get_origin(kind) in (list, dict):
        return value
    model, keys = models[0], dict[str, str]()
    for name, info in model.model_fields.items():
        names = (info.alias, *getattr(info.validation_alias, "choices", [info.validation_alias]), name)
        keys.update((name, one) for one in names[::-1] if isinstance(one, str) and one in value)
    made = _partial_class(model).model_construct(set(keys))  # not by keywords: a key may be "cls"
    held: Any = made.__dict__
    held.update((name, _filled(model.model_fields[name].annotation, value[keys[name]])) for name in keys)
    return made


@lru_cache(maxsize=64)
def _partial_class(model: type[BaseModel]) -> type[BaseModel]:
    """Return a subclass with the same fields, all optional, without the code that needs complete objects."""
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        aliases: dict[str, Any] = {kind: getattr(info, kind) for kind in _ALIASES}
        fields[name] = (Any, Field(default=None, **aliases))
    made: Any = create_model(model.__name__, __base__=model, __module__=model.__module__, **fields)
    own = made.__pydantic_decorators__
    for decorated in (own.computed_fields, own.field_serializers, own.model_serializers):
        decorated.clear()
    made.model_rebuild(force=True)
    made.__pydantic_post_init__ = None
    partial: type[BaseModel] = made
    return partial


def _partial_value(text: str) -> Any:
    """Parse the beginning of an object, without a number that may be incomplete."""
    try:
        value = from_json(text, allow_partial="trailing-strings")
        # A letter would continue a string, but ends a number. (A further digit may not change a float.)
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
    if isinstance(before, BaseModel) and isinstance(after, BaseModel):
        values = vars(after)
        return all(item is None or _is_prefix(item, values.get(key)) for key, item in vars(before).items())
    return bool(before == after)
