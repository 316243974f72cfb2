"""Tools and schemas in OpenAI's format, where core's own conversion loses information."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Final, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import (  # it knows its own classes too, which LangChain's guides use
    TypedDict,
    is_typeddict,
)

from rockai_transport import ConfigurationError
from rockai_transport.adapters import NO_SCHEMA, with_root

_REFERENCE: Final = re.compile(r'"#/\$defs/([^"]+)"')
_CORE_DEFAULTS: Final = (EllipsisType, NoneType, str, int, float, list, dict)


def openai_tools(tools: Any) -> list[dict[str, Any]]:
    """Describe the tools of a call in OpenAI's format.

    Args:
        tools: A list of what `openai_tool` describes.

    Returns:
        The descriptions.

    Raises:
        ConfigurationError: It is no list, or one of them is no tool.
    """
    try:
        return [openai_tool(tool) for tool in tools]
    except NO_SCHEMA as error:
        raise ConfigurationError(f"tools must be a list of tools. {error}") from error


def openai_tool(tool: Mapping[str, Any] | type | Callable[..., Any] | BaseTool) -> dict[str, Any]:
    """Describe a tool or a schema in OpenAI's format.

    Core makes a class of pydantic's v1 of a TypedDict class
    (langchain_core/utils/function_calling.py, `_convert_any_typed_dicts_to_pydantic`), in which all keys are
    required, None is no value, and neither a constraint nor a class of pydantic itself is possible. If a
    pydantic class refers to itself, core returns an empty schema.

    Args:
        tool: A tool, a function, a class, or a schema.

    Returns:
        The description.

    Raises:
        ValueError: It is none of these.
        TypeError: It is a class of tools, or a TypedDict class that refers to itself.
    """
    given: Any = tool
    if isinstance(given, type) and issubclass(given, BaseTool):  # core would describe its settings
        raise TypeError(f"{given.__name__} is a class of tools: pass an instance, {given.__name__}(…).")
    if is_typeddict(given):
        shape = TypeAdapter(_rebuilt(given, {})).json_schema()
        given = type(given.__name__, (BaseModel,), {"model_json_schema": classmethod(lambda _: dict(shape))})
    elif isinstance(given, Mapping) and (kind := given.get("type", "function")) != "function":
        if isinstance(kind, list | tuple) or kind == "object":  # core accepts only a single type, and a title
            given = {**given, "type": "object"}
            given = {"title": given.pop("name"), **given} if "name" in given else given
        elif "name" in given and "input_schema" not in given:
            return dict(given)  # another provider's own tool, whose type core would drop
    elif isinstance(given, Mapping) and "inputSchema" in given:  # MCP's form
        given = {**given, "input_schema": given["inputSchema"]}
    elif isinstance(given, Mapping) and "function" not in given:  # core leaves OpenAI's newer form
        given = {name: value for name, value in given.items() if name != "type"}
    described = convert_to_openai_tool(given)
    if (form := _recursive_form(getattr(given, "tool_call_schema", given))) is not None:
        described["function"]["parameters"] = form
    if isinstance(given, BaseTool):
        _rename_to_aliases(described["function"]["parameters"], given.args_schema)
    return described


def _rename_to_aliases(form: dict[str, Any], arguments: Any) -> None:
    """Name a tool's arguments as its class accepts them: core's copy of the class has no aliases."""
    names: dict[str, str] = {}
    for own, info in getattr(arguments, "model_fields", {}).items():
        choices = getattr(info.validation_alias, "choices", [info.validation_alias])
        names[own] = next((one for one in choices if isinstance(one, str)), own)
    if names and "properties" in form:
        form["properties"] = {names.get(own, own): one for own, one in form["properties"].items()}
    if names and "required" in form:
        form["required"] = [names.get(own, own) for own in form["required"]]


def _recursive_form(kind: Any) -> dict[str, Any] | None:
    """Return the JSON schema, with its ``$defs``, of a pydantic class that refers to itself; else None."""
    if not isinstance(kind, type) or not hasattr(kind, "model_json_schema"):
        return None
    form: dict[str, Any] = kind.model_json_schema()
    references = {name: _REFERENCE.findall(json.dumps(one)) for name, one in form.get("$defs", {}).items()}
    try:
        TopologicalSorter(references).prepare()
    except CycleError:
        return dict(with_root(form))
    return None


def _rebuilt(kind: Any, made: dict[Any, Any]) -> Any:
    """Return a type with the TypedDict classes in it (``made``) as pydantic reads them on every Python."""
    if is_typeddict(kind):
        if kind not in made:
            made[kind] = None
            hints = get_type_hints(kind, include_extras=True)
            about, texts = _documented(kind, hints)
            fields = {
                name: _field(hint, made, required=name in kind.__required_keys__, text=texts.get(name))
                for name, hint in hints.items()
            }
            own: Any = TypedDict(kind.__name__, fields)  # type: ignore[misc]  # made from another one
            own.__doc__ = about  # None would be the one of `dict`
            made[kind] = own
        if made[kind] is None:
            raise TypeError(f"{kind.__name__} refers to itself, as a pydantic class may: use one.")
        return made[kind]
    origin, args = get_origin(kind), get_args(kind)
    if not any(map(_holds_typed_dict, args)):
        return kind
    plain_args = tuple(_rebuilt(one, made) for one in args)
    return Union[plain_args] if origin in (Union, UnionType) else origin[plain_args]  # noqa: UP007 - made at run time


def _documented(kind: type, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the class and, under ``Args:``, of its keys: core reads it."""
    text = kind.__doc__ or ""
    if "Args:" not in text:
        return text, {}
    undescribed: Any = TypedDict(kind.__name__, dict.fromkeys(names, Any))  # type: ignore[misc]  # as above
    undescribed.__doc__ = text
    function = convert_to_openai_tool(undescribed)["function"]
    keys = function["parameters"]["properties"].items()
    return function["description"], {name: one["description"] for name, one in keys if "description" in one}


def _field(hint: Any, made: dict[Any, Any], *, required: bool, text: str | None) -> Any:
    """Return the type of a key, with pydantic's notes only.

    If annotations are strings, as with `from __future__ import annotations`, the class itself does not know
    the qualifiers. In core's own notation, ``Annotated[type, default, description]``, ``...`` is no default.
    """
    notes: tuple[Any, ...] = ()
    while (origin := get_origin(hint)) in (Annotated, Required, NotRequired):
        if origin is Annotated:
            notes = get_args(hint)[1:]
        else:
            required = origin is Required
        hint = get_args(hint)[0]
    default, description, *_ = (*notes, None, None)
    is_core_s = isinstance(default, _CORE_DEFAULTS) and isinstance(description, str | None)
    if notes and is_core_s:
        required = required and default is ...
        extra: dict[str, Any] | None = {"default": default} if default not in (..., None) else None
        notes = (Field(description=description, json_schema_extra=extra),)
    if text:
        notes = (*notes, Field(description=text))
    plain = _rebuilt(hint, made)
    plain = Annotated[(plain, *notes)] if notes else plain
    return plain if required else NotRequired[plain]


def _holds_typed_dict(kind: Any) -> bool:
    return is_typeddict(kind) or any(map(_holds_typed_dict, get_args(kind)))
