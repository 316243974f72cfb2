"""Adapts values to a JSON schema before they are validated, wherever their meaning is unambiguous.

Models do four things: they write ``null`` or an empty text for missing values; they write a value as another
type (numbers, booleans, objects and lists as text, an integer as 3.0); they spell a key or a value of an enum
in another way (``maxResults``, ``Celsius``); and they nest the object one level too deep. No function here
raises for any value or schema; the final validation is up to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rockai_transport.prompting.reply import call_formats as formats
from rockai_transport.prompting.reply.json_values import read_value

Schema = Mapping[str, Any]

_UNIONS: Final = ("anyOf", "oneOf", "allOf")
_SCALAR: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|[Tt]rue|[Ff]alse|null|None")
# The formats of text that cannot be empty, and no word either.
_NEVER_EMPTY: Final = ("date", "date-time", "time", "duration", "email", "uri", "uuid", "ipv4", "ipv6")
_TYPES: Final[dict[type, frozenset[str]]] = {
    str: frozenset({"string"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
    type(None): frozenset({"null"}),
}
_ANY: Final[frozenset[str]] = frozenset().union(*_TYPES.values())


def adapted(value: Any, schema: Schema, root: Schema | None = None) -> Any:
    """Convert a value to the types that its schema declares.

    ``null`` for an optional key that cannot be null is removed, and so is an empty text or object or
    ``"null"`` where the schema allows no such value. Text becomes the declared number, boolean, object or
    list if the schema allows no text there and the text is exactly that. ``3.0`` becomes 3 if it allows
    integers and no other number. A key or a value of an enum that differs from exactly one by case, ``-``,
    ``_`` and spaces becomes that one.

    Args:
        value: A JSON value.
        schema: The schema.
        root: The schema that ``$ref`` refers to; by default the schema itself.

    Returns:
        The value, converted as far as possible; nothing is invented.

    Example:
        >>> adapted({"n": "16"}, {"properties": {"n": {"type": "integer"}}})
        {'n': 16}
    """
    root = schema if root is None else root
    parts = list(_parts(schema, root))
    if isinstance(value, str):
        read = _from_text(_choice(value, parts), _allowed(parts))
        return read if isinstance(read, str) else adapted(read, schema, root)
    if isinstance(value, list):
        items = next((part["items"] for part in parts if isinstance(part.get("items"), Mapping)), None)
        return value if items is None else [adapted(item, items, root) for item in value]
    if not isinstance(value, dict):
        whole = isinstance(value, float) and value.is_integer()
        return int(value) if whole and _allowed(parts) & _TYPES[int] == {"integer"} else value
    required = {name for part in parts for name in _names(part.get("required"))}
    result = {}
    for key, given in _respelled(value, parts).items():
        own = _property(parts, key)
        item = given if own is None else adapted(given, own, root)
        if own is None or key in required or not _is_missing(item, own, root):
            result[key] = item
        elif "null" in _allowed(list(_parts(own, root))):
            result[key] = None
    return result


def _is_missing(value: Any, schema: Schema, root: Schema) -> bool:
    """Return whether a value stands for none: null, or an empty value or such a word that is not allowed."""
    text = value.strip() if isinstance(value, str) else value
    formatted = text != {} and any(part.get("format") in _NEVER_EMPTY for part in _parts(schema, root))
    return text is None or (text in ("", "null", "None", {}) and (formatted or not fits(value, schema, root)))


def fits(value: Any, schema: Any, root: Schema | None = None, seen: tuple[int, ...] = ()) -> bool:
    """Return whether a value has the outline that a schema requires: types, required and known keys, enums.

    Args:
        value: A JSON value.
        schema: The schema.
        root: As for :func:`adapted`.
        seen: The identities of the alternatives on the path to this schema.

    Returns:
        Whether it fits. An object without any key of the schema does not.
    """
    top: Schema = schema if root is None else root
    if not isinstance(schema, Mapping):
        return schema is not False
    schema = _followed(schema, top)
    if id(schema) in seen:  # an alternative of itself, which adds nothing
        return True
    for union, agree in (("anyOf", any), ("oneOf", any), ("allOf", all)):
        alternatives = _list(schema.get(union, [True]))
        if not agree(fits(value, one, top, (*seen, id(schema))) for one in alternatives):
            return False
    is_type = _allowed([schema]) & _types(value)
    if not is_type or value not in _list(schema.get("enum", [value])) or value != schema.get("const", value):
        return False
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, list):
        inner = [(item, schema.get("items", True)) for item in value]
    if isinstance(value, dict):
        if not value.keys() >= {*_names(schema.get("required"))} or not _knows_any(schema, value):
            return False
        inner = [(item, properties_of(schema).get(key, True)) for key, item in value.items()]
    return all(fits(item, one, top) for item, one in inner)


def is_null(text: str, key: str, schema: Schema) -> bool:
    """Return whether a text that can be of any type is ``null``: only if the schema declares null there.

    Args:
        text: The value.
        key: Its key.
        schema: The schema of the object.

    Returns:
        Whether it is; not if the schema lists this text as a value.
    """
    parts = list(_parts(_property(list(_parts(schema, schema)), key), schema))
    listed = [one for part in parts for one in (*_list(part.get("enum")), part.get("const"))]
    allowed = _allowed(parts)
    return text in ("null", "None") and text not in listed and "null" in allowed and allowed != _ANY


def known_properties(schema: Schema) -> frozenset[str]:
    """Return the names of the keys that a schema, or one of its alternatives, declares for an object."""
    return frozenset(name for part in _parts(schema, schema) for name in properties_of(part))


def allowed_types(schema: Schema) -> frozenset[str]:
    """Return the names of the types that a schema, or one of its alternatives, allows."""
    return _allowed(list(_parts(schema, schema)))


def properties_of(schema: Schema, keyword: str = "properties") -> Schema:
    """Return what the schema itself declares about an object's keys.

    Args:
        schema: The schema.
        keyword: The keyword to read.

    Returns:
        The schema of each key.
    """
    declared = schema.get(keyword)
    return declared if isinstance(declared, Mapping) else {}


def required_properties(schema: Schema) -> tuple[str, ...]:
    """Return the names of the keys that an object must have, in the schema's order."""
    return tuple(_names(_followed(schema, schema).get("required")))


def structured_value(value: Any, schema: Schema, name: str = "") -> Any:
    """Convert a model's value for a schema, remove superfluous levels, and add the only key around a list.

    Superfluous levels are lists with one object, and keys that are not in the schema and are the object's
    name, the schema's title, or a word like ``arguments`` or ``properties``.

    Args:
        value: The value, or the arguments of a call.
        schema: The schema.
        name: The name of the schema, as the model sees it.

    Returns:
        The value to validate.

    Raises:
        ValueError: It is an object without any key of the schema; the message lists the schema's keys.
    """
    if _is_call(value, schema, name) and (given := _unwrapped(value, schema, name)) is not None:
        return structured_value(given, schema, name)
    result = adapted(value, schema)
    if not fits(result, schema):
        for candidate in (*_inner(value, schema, name), *_under_only_key(value, schema)):
            inner = adapted(candidate, schema)
            if fits(inner, schema) and not _is_call(candidate, schema, name):
                return inner
    _require_known_keys(result, schema, schema)
    return result


def _require_known_keys(value: Any, schema: Any, root: Schema) -> None:
    """Refuse an object, at any depth, without any known key: its defaults would look like an answer."""
    parts = list(_parts(schema, root))
    if isinstance(value, list):
        items = next((part["items"] for part in parts if "items" in part), True)
        for item in value:
            _require_known_keys(item, items, root)
    if not isinstance(value, dict) or not parts:
        return
    if not any(_knows_any(part, value) for part in parts):
        known = ", ".join(sorted({name for part in parts for name in properties_of(part)}))
        raise ValueError(f"none of the keys {', '.join(value):.300} is one of the schema's: {known}")
    for key, item in value.items():
        _require_known_keys(item, _property(parts, key), root)


def _inner(value: Any, schema: Schema, name: str) -> Iterator[Any]:
    """Yield the value one level deeper, and then those at deeper levels."""
    inner = value[0] if isinstance(value, list) and len(value) == 1 else _unwrapped(value, schema, name)
    if inner is not None:
        yield inner
        yield from _inner(inner, schema, name)


def _under_only_key(value: Any, schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield a list of objects as the value of the only key that the schema has."""
    known = known_properties(schema)
    listed = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    if listed and len(known) == 1:
        yield dict.fromkeys(known, value)


def _unwrapped(value: Any, schema: Schema, name: str) -> Any:
    if not isinstance(value, dict):
        return None
    unknown = [key for key in value if key not in known_properties(schema)]
    names, named = _titles(schema, name), _is_call(value, schema, name)
    words = {*formats.WRAPPER_KEYS, *(key for key in formats.INNER_KEYS if isinstance(value.get(key), dict))}
    wrappers = [
        key
        for key in unknown
        if key in words or plain(key) in names or (named and key != "$defs" and isinstance(value[key], dict))
    ]
    alone = len(wrappers) == 1 and not {*unknown} - {*wrappers} - formats.BESIDE_WRAPPERS
    return value[wrappers[0]] if alone else None


def _is_call(value: Any, schema: Schema, name: str) -> bool:
    """Return whether an object is a call, or the schema with values in it: then what it holds is the value.

    It says so with the schema's name, or with the type that calls or schemas have. But an object that has
    other keys of the schema, or no other keys than the schema's, is the value itself.
    """
    if not isinstance(value, dict) or schema.get("additionalProperties"):
        return False
    is_schema = "properties" in value
    has_type = value.get("type") in (["object"] if is_schema else formats.FIXED_KEYS["type"])
    naming = {*formats.NAME_KEYS, *(("title", "type", "description") if is_schema or has_type else ())}
    is_named = any(plain(value[key]) in _titles(schema, name) for key in naming & value.keys())
    known = known_properties(schema)
    is_value = value.keys() <= known or not value.keys() & known <= naming
    return (is_named or has_type) and not is_value


def _titles(schema: Schema, name: str) -> set[str]:
    titles = [part.get("title", "") for part in _parts(schema, schema)]
    return {plain(text) for text in (name, *titles) if text}


def plain(name: str) -> str:
    """Return a name without case and joints."""
    return re.sub(r"[\W_]", "", str(name)).casefold()


def _respelled(value: dict[str, Any], parts: list[Schema]) -> dict[str, Any]:
    """Return the object with its unknown keys as the schema spells them, if each means exactly one other."""
    known = {name for part in parts for name in properties_of(part)}
    unknown = value.keys() - known
    is_open = any(part.get("additionalProperties") or part.get("patternProperties") for part in parts)
    if is_open or not unknown:
        return value
    missing = known.difference(value)
    near = {key: [name for name in missing if plain(name) == plain(key)] for key in unknown}
    found = {key: names[0] for key, names in near.items() if len(names) == 1}
    respelled = {found.get(key, key): item for key, item in value.items()}
    return respelled if len(respelled) == len(value) else value


def _choice(text: str, parts: list[Schema]) -> str:
    """Return how the schema spells a text, if it allows only some texts; else the text itself."""
    choices = [one for part in parts for one in _choices(part)]
    allowed = text in choices or any(not _choices(part) and "string" in _allowed([part]) for part in parts)
    near = [one for one in choices if not allowed and isinstance(one, str) and _joined(one) == _joined(text)]
    return near[0] if len(near) == 1 else text


def _choices(part: Schema) -> list[Any]:
    return [part["const"]] if "const" in part else _list(part.get("enum"))


def _joined(text: str) -> str:
    """Return a text in one case and with one kind of joints between words; a sign before a number stays."""
    return re.sub(r"(?<=\w)[-_\s]+(?=\w)", "_", text.strip()).casefold()


def _from_text(text: str, allowed: frozenset[str]) -> Any:
    """Convert text to one of the allowed types; return it unchanged if it is none of them."""
    if "string" in allowed:
        return text
    if not _SCALAR.fullmatch(text) and text.strip()[:1] not in ("{", "["):
        return text
    try:
        value = read_value(text)
    except ValueError:
        return text
    return value if value is None or allowed & _types(value) else text


def _types(value: Any) -> frozenset[str]:
    """Return the JSON schema types of a value."""
    kind = int if isinstance(value, float) and value.is_integer() else type(value)
    return _TYPES.get(kind, frozenset())


def _allowed(parts: list[Schema]) -> frozenset[str]:
    """Return the types that all parts of a schema allow."""
    found: set[str] = set()
    for part in parts:
        declared = part.get("type")
        values = _choices(part)
        if declared is not None:
            found.update([declared] if isinstance(declared, str) else _names(declared))
        elif values:
            found.update(*map(_types, values))
        elif "properties" in part:
            found.add("object")
        else:
            return _ANY
    return frozenset(found)


def _property(parts: list[Schema], key: str) -> Schema | None:
    """Return what the parts of a schema declare for a key; None if nothing."""
    own = [one for part in parts if isinstance(one := properties_of(part).get(key), Mapping)]
    if not own:
        rest = (part.get("additionalProperties") for part in parts)
        return next((one for one in rest if isinstance(one, Mapping)), None)
    return own[0] if len(own) == 1 else {"anyOf": own}


def _parts(schema: Any, root: Schema, seen: tuple[int, ...] = ()) -> Iterator[Schema]:
    """Yield a schema and its alternatives, as far as they have none themselves."""
    schema = _followed(schema, root)
    if id(schema) in seen or not isinstance(schema, Mapping):
        return
    unions = [one for union in _UNIONS for one in _list(schema.get(union))]
    if not unions or schema.keys() & {"type", "properties", "enum", "const"}:
        yield schema
    for one in unions:
        yield from _parts(one, root, (*seen, id(schema)))


def _followed(schema: Any, root: Schema) -> Schema:
    """Follow ``$ref`` within the root; a broken reference allows anything."""
    for _ in range(50):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str):
            return schema if isinstance(schema, Mapping) else {}
        schema = root
        for name in reference.removeprefix("#").strip("/").split("/"):
            key = name.replace("~1", "/").replace("~0", "~")
            schema = schema.get(key, {}) if isinstance(schema, Mapping) and key else schema
    return {}


def _knows_any(schema: Schema, value: Mapping[str, Any]) -> bool:
    """Return whether a schema knows any key of an object, or declares none."""
    properties, patterns = properties_of(schema), properties_of(schema, "patternProperties")
    if not value or not (properties or patterns) or schema.get("additionalProperties"):
        return True
    return any(key in properties or any(_matches(pattern, key) for pattern in patterns) for key in value)


def _matches(pattern: str, key: str) -> bool:
    try:
        return re.search(pattern, key) is not None
    except re.error:  # a JavaScript pattern that Python cannot compile
        return True


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _names(value: Any) -> list[str]:
    return [name for name in _list(value) if isinstance(name, str)]
