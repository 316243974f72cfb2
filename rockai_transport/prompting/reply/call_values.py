"""Reads a call's body (JSON, a Python call, or tagged arguments) as a name and arguments.

Every key of an object must be accounted for: its name, its arguments (which may be JSON in a string, even
twice), and keys that do not matter, such as an id. Other keys are arguments if the tool has them; otherwise
the object is no call. An object without arguments is a call only if the tool requires none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply import call_formats as formats
from rockai_transport.prompting.reply.call_heads import Opener
from rockai_transport.prompting.reply.elements import read_elements
from rockai_transport.prompting.reply.json_values import ValueScanner, read_python, read_value
from rockai_transport.prompting.reply.schema_values import (
    adapted,
    fits,
    known_properties,
    properties_of,
    required_properties,
    structured_value,
)
from rockai_transport.prompting.reply.tagged import read_tagged
from rockai_transport.prompting.reply.tools import Tools
from rockai_transport.prompting.request.nearest import unknown_name

_ARGUMENTS_KEY: Final = re.compile(
    rf"""["']?\b(?:{"|".join(formats.ARGUMENT_KEYS)})["']?\s{{0,99}}:\s{{0,99}}"""
)
_NAMED: Final = re.compile(
    rf"""["']?\b(?:{"|".join(formats.NAME_KEYS)})["']?\s{{0,99}}:\s{{0,99}}["']([^"']{{1,200}})["']"""
)
# Also print(default_api.get_weather(…)), Gemini's form.
_PYTHON_CALL: Final = re.compile(r"[\s,)]*(?:print\()?(?P<name>\w[\w.:/-]{0,127})\(")
_NUMBERED: Final = re.compile(r"functions\..*:\d+\Z")  # Kimi K2's: no prose has it
_NO_PYTHON: Final = "it is no Python call, or does not end"
_NO_CALL: Final = "it has a function's name, but no arguments"
_SCHEMA: Final = "the arguments are the function's schema, not values"
_EMPTY: Final[tuple[Any, ...]] = (None, "", "{}", "null", {}, [])


Call = ToolCall | InvalidToolCall


def read_calls(opener: Opener, body: str, tools: Tools) -> list[Call] | None:
    """Read a body as calls.

    Args:
        opener: What opened it.
        body: Its text.
        tools: The tools that may be called.

    Returns:
        The calls, still without ids; invalid ones with their error. None if it is text, not a call.
    """
    if opener.kind == "python":
        calls = _python_calls(body, tools, meant=opener.meant)
    elif opener.kind != "json":
        calls = _tagged_call(opener, body, tools)
    elif opener.name:
        calls = _named_call(opener, body, tools)
    else:
        calls = _json_calls(body, tools, meant=opener.meant)
    if calls is None or any(call.name and tools.is_placeholder(call.name) for call in calls):
        return None
    return [_settled(call, tools) for call in calls]


def as_arguments(value: Any, name: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read an object as the arguments of the one function that must be called.

    Args:
        value: Any JSON value.
        name: The function.
        schema: The schema of its arguments.

    Returns:
        The arguments, bare or under the function's name; None if it is anything else.
    """
    try:
        arguments = structured_value(value, schema, name)
    except ValueError:
        return None
    quoted = is_schema(arguments, schema) or not known_properties(schema)
    return arguments if isinstance(arguments, dict) and not quoted and fits(arguments, schema) else None


def _settled(call: Call, tools: Tools) -> Call:
    """Set a call's exact tool name, and convert its arguments to the types that the tool declares."""
    name = tools.resolve(call.name) if call.name else None
    if name is None and call.name and call.name.isdigit():  # Kimi K2's number of the call, without a name
        fitting = [one for one, schema in tools.schemas.items() if as_arguments(call.arguments, one, schema)]
        name = fitting[0] if len(fitting) == 1 else None
    if name is None and call.name and tools.demanded:
        error = unknown_name("a function that can be called", call.name, tools.schemas)
        return unreadable(call.name, call.arguments, error)
    if name is None:
        return call
    if isinstance(call, InvalidToolCall):
        return replace(call, name=name)
    schema = tools.schemas[name]
    error = _SCHEMA
    if not is_schema(call.arguments, schema):
        try:
            return ToolCall("", name, structured_value(call.arguments, schema, name))
        except ValueError as problem:
            # If no call is required, the later validation reports it in more detail.
            if not tools.demanded or tools.accepts(call.arguments):
                return ToolCall("", name, adapted(call.arguments, schema))
            error = str(problem)
    return unreadable(name, call.arguments, error)


def unreadable(name: str | None, given: Any, error: str, call_id: str = "") -> InvalidToolCall:
    """Return an invalid call.

    Args:
        name: The tool's name, if it could be determined.
        given: The arguments, as the model wrote them or as JSON values.
        error: What is wrong.
        call_id: Its id, if it already has one.

    Returns:
        The call.
    """
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return InvalidToolCall(call_id, name, text, error)


def _json_calls(body: str, tools: Tools, *, meant: bool) -> list[Call] | None:
    try:
        value = read_value(body)
    except ValueError as error:
        named = next((name for name in _NAMED.findall(body) if tools.resolve(name)), None)
        # Of the format, as models explain it.
        is_example = "..." in body or "…" in body or tools.is_placeholder(body)
        if not named and (is_example or not meant):
            return None
        return [unreadable(named, _written_arguments(body.rstrip("…")), str(error))]
    calls = [_read_object(item, tools, meant=meant) for item in _items(value, tools)]
    if meant:
        return calls or [unreadable(None, body, "it holds no call")]
    only_names = len(calls) > 1 and any(call.arguments == "" for call in calls)
    return None if only_names or not calls or any(_is_data(call, tools) for call in calls) else calls


def _written_arguments(body: str) -> str:
    """Return the text after the arguments' key; the whole text if there is no such key."""
    found = _ARGUMENTS_KEY.search(body)
    if found is None:
        return body
    text = body[found.end() :].rstrip()
    return text[:-1].rstrip() if text.endswith("}") and text.count("}") > text.count("{") else text


def _items(value: Any, tools: Tools) -> list[Any]:
    if isinstance(value, dict) and len(value) > 1 and value.keys() <= tools.schemas.keys():
        return [{name: given} for name, given in value.items()]
    if isinstance(value, dict):
        key = next((key for key in formats.LIST_KEYS if isinstance(value.get(key), list | dict)), None)
        beside = {one: given for one, given in value.items() if one != key and given not in _EMPTY}
        value = value[key] if key and beside.keys() <= {*formats.MARGINAL_KEYS, "role"} else value
    return value if isinstance(value, list) else [value]


def _is_data(call: Call, tools: Tools) -> bool:
    """Return whether an object without an opening token is no call: no tool's name, or its description."""
    name = tools.resolve(call.name) if call.name else None
    if name is None or (isinstance(call, InvalidToolCall) and call.error == _NO_CALL):
        return True
    types, given = _types(tools.schemas[name]), call.arguments
    described = ({key: types.get(key, ()) for key in given}, {key: f"<{key}>" for key in given})
    return (bool(given) and given in described) or is_schema(given, tools.schemas[name])


def _read_object(value: Any, tools: Tools, *, meant: bool) -> Call:
    if not isinstance(value, dict):
        return unreadable(None, value, "a call must be a JSON object with a name and arguments")
    pairs = _pairs(value)
    names = [given for key, given in pairs if key in formats.NAME_KEYS and isinstance(given, str)]
    name = next((one for one in names if tools.resolve(one)), names[0] if names else None)
    if name is None or (tools.resolve(name) is None and _may_be_arguments(pairs, tools)):
        call = _unnamed(value, tools, meant=meant)
        if isinstance(call, ToolCall) or name is None:
            return call
    return _read_pairs(name, pairs, value, tools.schemas.get(tools.resolve(name) or "", {}))


def _may_be_arguments(pairs: list[tuple[str, Any]], tools: Tools) -> bool:
    """Return whether the only tool can have such an object as arguments: its name may be one of them.

    Otherwise it is a call of an unknown function; the tool is not called in its place. If it must be called,
    it is, unless it has a `name` itself, which the function's name would become.
    """
    known = [known_properties(schema) for schema in tools.schemas.values()]
    head = {key for key, _ in pairs}.intersection((*formats.NAME_KEYS, *formats.ARGUMENT_KEYS))
    return len(known) == 1 and (head <= known[0] or (tools.demanded and head.isdisjoint(known[0])))


def _read_pairs(name: str, pairs: list[tuple[str, Any]], value: Any, schema: Mapping[str, Any]) -> Call:
    """Read a call with a known name: its arguments are under their own key, or next to the name."""
    known = known_properties(schema)
    under = [(key, given) for key, given in pairs if key in formats.ARGUMENT_KEYS]
    filled = [(key, given) for key, given in under if given not in _EMPTY]
    if any(given != filled[0][1] for _, given in filled):
        return unreadable(name, value, "the call has different arguments under several keys")
    is_name = {key for key, given in pairs if key in formats.NAME_KEYS and given == name}
    marginal = formats.MARGINAL_KEYS - (set() if under else known)
    described = "description" in marginal and any(key == "description" for key, _ in pairs)
    read = {*formats.ARGUMENT_KEYS, *is_name, *marginal}
    beside = {key: one for key, one in pairs if key not in read and (key in known or one not in _EMPTY)}
    if not filled and (described or all(given in (None, "") for _, given in under)):
        flat = is_name.isdisjoint(known) and {*required_properties(schema)} <= beside.keys() <= known
        if beside and flat:
            return ToolCall("", name, beside)
        return _without_arguments(name, beside or described, schema)
    call = _with_arguments(name, *(filled or under)[0], schema)
    arguments = call.arguments if isinstance(call, ToolCall) else {}
    strange = [key for key, one in beside.items() if key not in known or arguments.get(key, one) != one]
    if strange:
        return unreadable(name, value, f"the key {strange[0]!r} is no part of a call")
    arguments.update(beside)
    return call


def _pairs(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the items of a call, including an inner object's, as OpenAI's; Mixtral escapes underscores."""
    inner = next((key for key in formats.INNER_KEYS if isinstance(value.get(key), dict)), None)
    within = _pairs(value[inner]) if inner else []
    return within + [(key.replace("\\", ""), given) for key, given in value.items() if key != inner]


def _unnamed(value: dict[str, Any], tools: Tools, *, meant: bool) -> Call:
    """Read an object without a name: arguments under a tool name, or in call tokens the only tool's."""
    for name, schema in tools.schemas.items():
        if meant and value in ({name: {}}, {name: None}) and not required_properties(schema):
            return ToolCall("", name, {})
        if value.keys() == {name} or (meant and len(tools.schemas) == 1):
            arguments = as_arguments(value, name, schema)
            if arguments is not None:
                return ToolCall("", name, arguments)
    return unreadable(None, value, "the call names no function")


def _without_arguments(name: str, beside: Any, schema: Mapping[str, Any]) -> Call:
    if beside:
        return unreadable(name, beside, _NO_CALL)
    missing = required_properties(schema)
    if missing:
        return unreadable(name, "", f"the call has no arguments, but {', '.join(missing)} must be given")
    return ToolCall("", name, {})


def _with_arguments(name: str, key: str, given: Any, schema: Mapping[str, Any]) -> Call:
    arguments = given
    for _ in range(3):  # JSON in a string, possibly nested
        if not isinstance(arguments, str):
            break
        only = known_properties(schema)
        try:
            arguments = read_value(arguments)
        except ValueError as error:
            if key in formats.PLAIN_INPUT_KEYS and len(only) == 1:
                return ToolCall("", name, dict.fromkeys(only, given))
            if not arguments.strip():
                return _without_arguments(name, None, schema)
            return unreadable(name, given, f"the arguments are {error}")
    arguments = {} if arguments in _EMPTY else arguments
    if isinstance(arguments, list) and len(arguments) == 1:
        arguments = arguments[0]
    if isinstance(arguments, dict):
        return ToolCall("", name, dict(arguments))
    return unreadable(name, given, "the arguments must be a JSON object")


def is_schema(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value is a copy of a schema, or of its properties, as shown to the model."""
    if not isinstance(value, dict) or "properties" in known_properties(schema):
        return False
    described = value.get("properties")
    if isinstance(described, dict):
        objects = [one for one in described.values() if isinstance(one, dict)]
        is_shown = any(map(_describes, objects)) or described in ({}, properties_of(schema))
        return is_shown and len(objects) == len(described)
    types = _types(schema)
    typed = all(
        isinstance(one, dict) and one.get("type") == types.get(key, ()) and "properties" not in one
        for key, one in value.items()
    )
    return bool(value) and (typed or value == schema)


def _describes(value: dict[str, Any]) -> bool:
    """Return whether an object describes values, as a property of a schema does."""
    is_typed = value.get("type") in ("string", "integer", "number", "boolean", "array", "object", "null")
    return is_typed or not value.keys().isdisjoint(("$ref", "anyOf", "allOf", "oneOf"))


def _types(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of the properties that have a type."""
    declared = properties_of(schema).items()
    return {key: one["type"] for key, one in declared if isinstance(one, Mapping) and one.get("type")}


@lru_cache(maxsize=64)
def _unquoted(keys: frozenset[str]) -> re.Pattern[str]:
    """Match a text without quotes behind an unquoted key: Gemma 4's, if the server leaves out its tokens.

    It ends at a comma with a key right behind it, or with space and then one of the function's keys.
    """
    next_key = rf"[\w-]+:|\s{{1,9}}(?:{'|'.join(map(re.escape, keys))}):"
    return re.compile(
        r"(?<=\w:)(\s{0,9}+)(?!(?:-?\d[\d.]*|true|false|null)\s*[,}]|[.…])"
        rf"""((?:[^<"'{{}}\[\],]|,(?!{next_key})){{1,500}}+)(?=[,}}])"""
    )


def _tagged_call(opener: Opener, body: str, tools: Tools) -> list[Call] | None:
    """Read arguments in tags or elements after a name."""
    name, known = opener.name, tools.resolve(opener.name)
    schema = tools.schemas[known] if known else {}
    try:
        if opener.kind == "tagged":
            arguments = read_tagged(body, schema)
        else:
            arguments = read_elements(body, schema, plain=opener.kind == "plain elements")
    except ValueError as error:
        return [unreadable(name, body, str(error))] if known else None
    expected = required_properties(schema) if arguments else known_properties(schema)
    if not opener.meant and not arguments.keys() >= {*expected}:
        return [unreadable(name, body, "the call does not end")]
    return [ToolCall("", name, arguments) if arguments else _without_arguments(name, None, schema)]


def _named_call(opener: Opener, body: str, tools: Tools) -> list[Call] | None:
    """Read arguments in JSON after a name."""
    name, known = opener.name, tools.resolve(opener.name)
    call = _with_arguments(name, "", body, {})
    if isinstance(call, InvalidToolCall):
        texts = _unquoted(known_properties(tools.schemas[known]) if known else frozenset())
        quoted = _with_arguments(name, "", texts.sub(r'\1"\2"', body), {})
        call = quoted if isinstance(quoted, ToolCall) else call
    if known and not opener.meant:
        fit = as_arguments(call.arguments, known, tools.schemas[known])
        hinted = opener.hinted or _NUMBERED.match(name)
        none = hinted and call.arguments == {} and not required_properties(tools.schemas[known])
        return [call] if none or (fit and not _is_data(call, tools)) else None
    return None if isinstance(call, InvalidToolCall) and not known else [call]


def _python_calls(body: str, tools: Tools, *, meant: bool) -> list[Call] | None:
    """Read Python calls without executing them. Other Python, and calls of anything but tools, are text."""
    text = body.strip().strip("[]")
    calls: list[Call] = []
    name, at = "", 0
    while found := _PYTHON_CALL.match(text, at):
        name = found["name"].removesuffix(".call")
        known = tools.resolve(name)
        end = ValueScanner(python=True).scan(text, found.start("name"))
        if end is None or text[end - 1] != ")":
            break
        given, at = text[found.end() : end - 1], end
        try:
            arguments = _python_arguments(given, known_properties(tools.schemas[known]) if known else ())
            calls.append(ToolCall("", name, arguments))
        except ValueError:
            calls.append(unreadable(name, f"{name}({given})", "its arguments are no literals with names"))
        if not known and not (meant and isinstance(calls[-1], ToolCall)):
            return None
    if text[at:].strip(", )\r\n"):
        return [unreadable(name, body, _NO_PYTHON)] if tools.resolve(name) else None
    return calls or None


def _python_arguments(text: str, known: Collection[str]) -> dict[str, Any]:
    try:
        values = read_python(f"[{text}\n]")
    except ValueError:
        arguments: dict[str, Any] = read_python(f"{{{text}\n}}")
        return arguments
    if len(values) == 1:  # without names, only a single argument is unambiguous
        if isinstance(values[0], dict) and values[0].keys() <= {*known} and (values[0] or len(known) != 1):
            return dict(values[0])
        if len(known) == 1:
            return dict.fromkeys(known, values[0])
    if values:
        raise ValueError("no names")
    return {}
