"""Partial objects while a reply streams: what is known of a value before the reply has ended."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final, TypeGuard, get_args, get_origin

from pydantic import BaseModel, Field, RootModel, create_model
from pydantic_core import from_json

from rockai_transport.adapters.structured import OutputParser
from rockai_transport.prompting.reply.reader import ModelReply, Reading, ReplyReader
from rockai_transport.prompting.reply.reasoning import ReasoningEnd, TextDelta
from rockai_transport.prompting.request.tool_choice import ToolSetup

_MOST_OBJECTS: Final = 8  # the maximum number of objects that are tried in a reply
# Each result is read from the beginning of the text. So that a long reply does not cost the square of its
# length, results behind the first characters come each time that the rest has grown by a part of itself.
_ALWAYS_READ: Final = 4096
_SHARE: Final = 128
_SIGNS: Final = "+-.Ee"  # what numbers contain besides digits
_parse_beginning: Final = partial(from_json, allow_inf_nan=False, allow_partial="trailing-strings")
_parse_whole: Final = json.JSONDecoder(strict=False).raw_decode
_ALIASES: Final = ("alias", "validation_alias", "serialization_alias")


class PartialObjects:
    """Reads the object in a reply as far as it has arrived; each result is a prefix of the next.

    An empty result takes back the ones before it: they were part of the reasoning or of an example. There is
    no result for invalid JSON, for an object with a key that the schema does not have, and for a complete
    object: the accepted reply provides that one.
    """

    def __init__(self, parser: OutputParser, reading: Reading) -> None:
        """Create a reader.

        Args:
            parser: The parser of the requested object.
            reading: How to read the reply; its calls are read as text.
        """
        self._parser = parser
        self._last: dict[str, Any] = {}
        self.restart(reading)

    def restart(self, reading: Reading) -> bool:
        """Start again with the next reply.

        Args:
            reading: How to read it.

        Returns:
            Whether the last reply gave any result.
        """
        was_reported, self._last = bool(self._last), {}
        self._reader = ReplyReader(replace(reading, tools=ToolSetup()))
        self._text: list[str] = []
        self._length = self._length_read = 0
        return was_reported

    def feed(self, pieces: Sequence[str]) -> dict[str, Any] | None:
        """Take the next pieces of the reply.

        Args:
            pieces: Any parts of the model's output.

        Returns:
            As for `read`; None also if too little has come since a long text was read.
        """
        for part in self._reader.feed(pieces):
            if isinstance(part, ReasoningEnd):
                self._text, self._length, self._length_read = [], 0, 0
            elif isinstance(part, TextDelta):
                self._text.append(part.text)
                self._length += len(part.text)
        if self._length - self._length_read <= (self._length - _ALWAYS_READ) / _SHARE:
            return None
        self._text, self._length_read = ["".join(self._text)], self._length
        return self.read(self._text[0])

    def read(self, text: str) -> dict[str, Any] | None:
        """Read the answer so far.

        Args:
            text: Its whole text so far, without reasoning.

        Returns:
            The object so far; None if it has not grown; empty if it is not the one that was reported.
        """
        for found in islice(re.finditer("{", text), _MOST_OBJECTS):
            with suppress(ValueError, RecursionError):
                value, end = _parse_whole(text, found.start())
                if self._fits(value) and self._is_valid(text[found.start() : end], value):
                    return None
                continue
            value = _partial_value(text[found.start() :])
            if self._fits(value):
                if value == self._last:
                    return None
                self._last = value if _is_prefix(self._last, value) else {}
                return self._last
        return None

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
    return value if model is None else _filled(_shape(model), value)


def _shape(kind: Any) -> tuple[type[BaseModel] | None, Any] | None:
    """Return the class of the objects of a type, and the shape of what its lists or dicts hold, if any."""
    kinds = [kind, *get_args(kind)]
    items = [_shape(inner[0]) for one in kinds if (inner := _held(one))]
    classes = [one for one in kinds if isinstance(one, type) and not issubclass(one, RootModel)]
    models = [one for one in classes if issubclass(one, BaseModel)]
    model = models[0] if len(models) == 1 and not _held(kind) else None
    return (model, next(iter(items), None)) if model or any(items) else None


def _held(kind: Any) -> list[Any]:
    """Return the type of the items or values of a collection, if all have one; else nothing."""
    origin = get_origin(kind)
    if not isinstance(origin, type) or not issubclass(origin, Collection):
        return []
    inner = [one for one in get_args(kind) if one is not ...]
    if issubclass(origin, Mapping):
        del inner[:1]  # the type of the keys
    return inner if len(inner) == 1 else []


def _filled(shape: tuple[type[BaseModel] | None, Any] | None, value: Any) -> Any:
    """Return a value with its objects converted to instances of the classes in its type."""
    model, items = shape or (None, None)
    if items and isinstance(value, list):
        return [_filled(items, item) for item in value]
    if items and isinstance(value, dict) and model is None:
        return {key: _filled(items, item) for key, item in value.items()}
    if model is None or not isinstance(value, dict):
        return value
    subclass, fields = _partial_class(model)
    held = {}
    for name, keys, inner in fields:
        if key := next((one for one in keys if one in value), None):
            held[name] = _filled(inner, value[key]) if inner else value[key]
    made = subclass.model_construct(set(held))  # not by keywords: a key may be "cls"
    vars(made).update(held)
    return made


@lru_cache(maxsize=64)
def _partial_class(model: type[BaseModel]) -> tuple[type[BaseModel], list[tuple[str, list[str], Any]]]:
    """Return a subclass with the same fields, all optional, without the code that needs complete objects.

    With it, the fields: the name of each, the keys that it may have (the first counts), and its shape.
    """
    fields: dict[str, Any] = {}
    rows: list[tuple[str, list[str], Any]] = []
    for name, info in model.model_fields.items():
        keys = (info.alias, *getattr(info.validation_alias, "choices", [info.validation_alias]), name)
        rows.append((name, [key for key in keys if isinstance(key, str)], _shape(info.annotation)))
        aliases: dict[str, Any] = {kind: getattr(info, kind) for kind in _ALIASES}
        fields[name] = (Any, Field(default=None, **aliases))
    made: Any = create_model(model.__name__, __base__=model, __module__=model.__module__, **fields)
    own = made.__pydantic_decorators__
    for decorated in (own.computed_fields, own.field_serializers, own.model_serializers):
        decorated.clear()
    made.model_rebuild(force=True)
    made.__pydantic_post_init__ = None
    return made, rows


def _partial_value(text: str) -> Any:
    """Parse the beginning of an object, without a number that may be incomplete."""
    before = text.rstrip("0123456789" + _SIGNS)
    try:
        value = _parse_beginning(text)
        # A letter would continue a string, but ends a number. (A further digit may not change a float.)
        if text[len(before) :].strip(_SIGNS) and _parse_beginning(text + "x") == value:
            value = _parse_beginning(before)
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
