"""A tool's arguments as a function's signature, for code that publishes a tool by its function.

Invariants of this module: a signature expresses the JSON schema as far as Python can; only the schema
validates what is sent. A key that is not a Python name cannot be an argument, and is omitted.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal, Optional

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
}


def published(
    call: Callable[..., Coroutine[Any, Any, Any]], name: str, text: str, schema: Mapping[str, Any]
) -> Callable[..., Coroutine[Any, Any, str]]:
    """Return a coroutine function with this name and docstring whose signature lists the arguments.

    They are keyword arguments with types, descriptions and defaults; the default of an optional one is None.
    """
    required = schema.get("required", ())
    parameters = [
        _parameter(name, rule if isinstance(rule, Mapping) else {}, is_required=name in required)
        for name, rule in schema.get("properties", {}).items()
        if name.isidentifier() and not keyword.iskeyword(name)
    ]
    left_out = {one.name for one in parameters if one.default is None}

    async def function(*args: Any, **kwargs: Any) -> str:
        given = {key: value for key, value in kwargs.items() if value is not None or key not in left_out}
        return str(await call(*args, **given))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    function.__signature__ = inspect.Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    function.__annotations__ = {**{one.name: one.annotation for one in parameters}, "return": str}
    return function


def _parameter(name: str, rule: Mapping[str, Any], *, is_required: bool) -> inspect.Parameter:
    from pydantic import Field  # the frameworks install it

    default = inspect.Parameter.empty if is_required else rule.get("default")
    kind = Optional[_type(rule)] if default is None else _type(rule)  # noqa: UP045 - known at run time alone
    if described := rule.get("description"):
        kind = Annotated[kind, Field(description=described)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _type(rule: Mapping[str, Any]) -> Any:
    choices = rule.get("enum")
    if choices and all(isinstance(one, str | int | bool) for one in choices):
        return Literal[tuple(choices)]
    kind = rule.get("type")
    if kind == "array" and isinstance(rule.get("items"), Mapping):
        return list[_type(rule["items"])]  # type: ignore[misc]
    return _TYPES.get(kind, Any) if isinstance(kind, str) else Any
