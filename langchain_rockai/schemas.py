"""Tools and schemas in OpenAI's format, where core's own conversion loses information."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    Required,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict  # supports its own classes too, which LangChain's guides use

from rockai_transport.adapters import with_root

_REFERENCE: Final = re.compile(r'"#/\$defs/([^"]+)"')


def openai_tool(tool: Mapping[str, Any] | type | Callable[..., Any] | BaseTool) -> dict[str, Any]:
    """Describe a tool or a schema in OpenAI's format.

    Core treats all keys of a TypedDict class as required, and fails at ``NotRequired``
    (langchain_core/utils/function_calling.py, `_convert_any_typed_dicts_to_pydantic`); if a pydantic class
    refers to itself, core returns an empty schema.

    Args:
        tool: A tool, a function, a class, or a schema.

    Returns:
        The description.

    Raises:
        ValueError: It is none of these.
    """
    given: Any = tool
    if isinstance(given, Mapping) and (kind := given.get("type", "function")) != "function":
        if isinstance(kind, list | tuple) or kind == "object":  # core accepts only a single type, and a title
            given = {**given, "type": "object"}
            given = {"title": given.pop("name"), **given} if "name" in given else given
        elif "name" in given and "input_schema" not in given:
            return dict(given)  # another provider's own tool, whose type core would drop
    described = convert_to_openai_tool(_unqualified(given, {}) if is_typeddict(given) else given)
    if (form := _recursive_form(getattr(given, "tool_call_schema", given))) is not None:
        described["function"]["parameters"] = form
    return described


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


def _unqualified(kind: Any, made: dict[Any, Any]) -> Any:
    """Return a type without `Required` and `NotRequired`, also in nested TypedDict classes (``made``)."""
    if is_typeddict(kind):
        if kind not in made:
            made[kind] = None
            hints = get_type_hints(kind, include_extras=True)
            fields = {
                name: _field(hint, made, required=name in kind.__required_keys__)
                for name, hint in hints.items()
            }
            own: Any = TypedDict(kind.__name__, fields)  # type: ignore[misc]  # made from another one
            own.__doc__ = kind.__doc__ or ""  # None would be the one of `dict`
            made[kind] = own
        if made[kind] is None:
            raise TypeError(f"{kind.__name__} refers to itself, as a pydantic class may: use one.")
        return made[kind]
    origin, args = get_origin(kind), get_args(kind)
    if not any(map(_holds_typed_dict, args)):
        return kind
    plain_args = tuple(_unqualified(one, made) for one in args)
    return Union[plain_args] if origin in (Union, UnionType) else origin[plain_args]  # noqa: UP007 - made at run time


def _field(hint: Any, made: dict[Any, Any], *, required: bool) -> Any:
    """Return the type of a key without qualifiers; an optional key gets a default, in core's notation.

    If annotations are strings, as with `from __future__ import annotations`, the class itself does not know
    the qualifiers. Core reads ``Annotated[type, default, description]``, and no pydantic ``Field``.
    """
    notes: tuple[Any, ...] = ()
    while (origin := get_origin(hint)) in (Annotated, Required, NotRequired):
        if origin is Annotated:
            notes = get_args(hint)[1:]
        else:
            required = origin is Required
        hint = get_args(hint)[0]
    if info := next((note for note in notes if isinstance(note, FieldInfo)), None):
        notes = (... if info.is_required() else info.default, info.description or "")
    if not required and notes[:1] in ((), (...,)):
        notes = (None, *notes[1:])
    plain = _unqualified(hint, made)
    return Annotated[(plain, *notes)] if notes else plain


def _holds_typed_dict(kind: Any) -> bool:
    return is_typeddict(kind) or any(map(_holds_typed_dict, get_args(kind)))
