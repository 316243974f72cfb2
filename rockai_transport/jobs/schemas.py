"""The arguments of a tool: their JSON schema, corrections if they do not fit, and what frameworks read.

Invariants of this module: arguments are checked here before anything is sent, with messages that let an agent
correct itself. Neither framework does this: both pass a model's arguments on unchanged. A function's
signature, for code that publishes a tool by its function, expresses the JSON schema as far as Python can. A
key that is not a Python name cannot be an argument there, and is omitted.
"""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal, Optional

from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.hosted_models import HostedModel, object_schema, text_schema
from rockai_transport.jobs.json_schema import check_schema, keywords, validator, violations
from rockai_transport.prompting.request.nearest import nearest
from rockai_transport.protocol.downloads import DATA_URI
from rockai_transport.protocol.inputs import check_input

_SAYS_WHAT_ELSE = frozenset({"additionalProperties", "unevaluatedProperties", "patternProperties"})
_SAYS_IT_ELSEWHERE = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"})
_TEXTS = {
    "type": "{where} must be of type {rule}, not {given}",
    "enum": "{where} must be one of {rule}, not {given}",
    "pattern": "{where}={given} is not accepted{about}",
    "minLength": "{where} needs {rule} characters or more",
    "maxLength": "{where} may have {rule} characters at most",
    "minItems": "{where} must list {rule} or more",
    "maxItems": "{where} may list {rule} at most",
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        "{where}={given} is outside its limit ({keyword} {rule})",
    ),
}
"""What an agent reads about a violation, by the keyword of JSON schema; for others, jsonschema's message."""
_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
}
_MOST_PROBLEMS = 5  # maximum number of violations that an agent reads
_LONGEST_PROBLEM = 300  # characters
_LONGEST_VALUE = 60  # characters of a value in one of them
PREDICTION_ID = text_schema("The exact id that a tool returned. Never invent one.")


def input_schema(model: HostedModel) -> dict[str, Any]:
    """Return the inputs that an agent may set, as JSON schema; inputs with a default are optional."""
    schema = deepcopy(dict(model.json_schema))
    schema.setdefault("type", "object")
    properties = schema.setdefault("properties", {})
    for key, value in model.defaults.items():
        is_file = check_input({key: value}) or (isinstance(value, str) and DATA_URI.match(value))
        if isinstance(properties.get(key), dict) and not is_file:  # a model's prompt has no room for a file
            properties[key].setdefault("default", value)
    schema["required"] = [key for key in schema.get("required", ()) if key not in model.defaults]
    if not _SAYS_WHAT_ELSE & schema.keys():
        # The service answers an unknown key with a 422 (docs/http-api.md).
        rule = "unevaluatedProperties" if _SAYS_IT_ELSEWHERE & schema.keys() else "additionalProperties"
        schema[rule] = False
    return schema


def lifecycle_schemas(models: Mapping[str, Mapping[str, Any]], max_wait: float) -> dict[str, dict[str, Any]]:
    """Return the arguments of the five lifecycle tools, given each model's `input_schema`."""
    inputs = "; ".join(f"{name}: {_keys(schema)}" for name, schema in models.items())
    start = {
        "model": {"type": "string", "enum": [*models], "description": "Which model."},
        "input": {"type": "object", "description": f"That model's inputs. {inputs}"},
    }
    longest = "no limit if left out" if max_wait == math.inf else f"{max_wait:g} if left out, and never more"
    most = f"Seconds to wait at most; {longest}."
    timeout = {"timeout": {"type": "number", "minimum": 0, "description": most}}
    one = {"prediction_id": PREDICTION_ID}
    return {
        "start_prediction": object_schema(start),
        "get_prediction": object_schema(one),
        "wait_for_prediction": object_schema(one, timeout),
        "cancel_prediction": object_schema(one),
        "list_predictions": object_schema({}),
    }


def problems(checker: Any, value: Any) -> str:
    """Say what to correct in arguments that do not fit their schema; empty if they fit.

    Args:
        checker: The schema's `validator`.
        value: The arguments.
    """
    try:
        found = sorted(violations(checker, value), key=lambda error: str(error.json_path))
    except ValueError as error:
        return str(error)
    texts = [_cut(_describe(error, checker.schema), _LONGEST_PROBLEM) for error in found[:_MOST_PROBLEMS]]
    more = [f"and {len(found) - _MOST_PROBLEMS} more"] if len(found) > _MOST_PROBLEMS else []
    return "; ".join([*texts, *more])


def argument_class(name: str, schema: Mapping[str, Any]) -> type[Any]:
    """Return a pydantic class with this JSON schema. It accepts anything: the lifecycle checks arguments."""
    from pydantic import BaseModel, ConfigDict  # the frameworks have it

    def model_json_schema(_cls: type[BaseModel], *_: Any, **__: Any) -> dict[str, Any]:
        return deepcopy(dict(schema))

    members = {
        "__doc__": f"Arguments of {name}.",
        "__module__": __name__,
        "model_config": ConfigDict(extra="allow"),
        "model_json_schema": classmethod(model_json_schema),
    }
    return type(name, (BaseModel,), members)


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


def check_models(models: Iterable[HostedModel], reserved: Iterable[str]) -> tuple[HostedModel, ...]:
    """Check the developer's list once, when the tools are created.

    Raises:
        ConfigurationError: A name occurs twice, a schema is invalid, or a default does not fit its schema.
    """
    if isinstance(models, HostedModel) or not isinstance(models, Iterable):
        raise ConfigurationError(f"models must be a list of HostedModel, not {type(models).__name__}.")
    checked = tuple(models)
    taken = set(reserved)
    for model in checked:
        if not isinstance(model, HostedModel):
            raise ConfigurationError(f"models must hold HostedModel objects, not {type(model).__name__}.")
        if model.name in taken:
            raise ConfigurationError(f"The tool name {model.name!r} is taken twice. Give one another name.")
        taken.add(model.name)
        _check_schema(model)
    if not checked:
        raise ConfigurationError("models is empty. List the models that the agent may run, as HostedModel.")
    return checked


def _check_schema(model: HostedModel) -> None:
    owner = f"HostedModel {model.name}"
    check_schema(dict(model.json_schema), f"{owner}: input_schema")
    if not keywords(model.json_schema):
        raise ConfigurationError(
            f'{owner}: input_schema has no "properties"; it is a JSON schema, as in '
            '{"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}.'
        )
    schema = input_schema(model)
    for key, value in model.defaults.items():
        rule = {**schema, "properties": {key: schema["properties"].get(key, True)}, "required": []}
        if wrong := problems(validator(rule), {key: value}):
            raise ConfigurationError(f"{owner}: a default does not fit input_schema: {wrong}")


def _keys(schema: Mapping[str, Any]) -> str:
    required = schema["required"]
    return ", ".join(f"{key}{'' if key in required else '?'}" for key in schema["properties"]) or "none"


def _describe(error: Any, schema: Mapping[str, Any]) -> str:
    """Describe one violation for an agent."""
    if error.context:  # of anyOf, oneOf: what each alternative asks for, but for «null»
        asked = [one for one in error.context if (one.validator, one.validator_value) != ("type", "null")]
        return " or ".join(dict.fromkeys(_describe(one, schema) for one in asked or error.context))
    path = ".".join(str(part) for part in error.absolute_path)
    where = _cut(path if path.isprintable() else repr(path), _LONGEST_VALUE) or "the arguments"
    rule = error.validator_value
    if error.validator == "required":
        # Each missing key has its own error, which names it first.
        missing = next((key for key in rule if error.message.startswith(repr(key))), rule[0])
        return f"{missing!r} is missing{_described(missing, error.schema)}"
    if error.validator in _SAYS_WHAT_ELSE:
        known = error.schema.get("properties", {})
        unknown = [str(key) for key in error.instance if key not in known]
        close = nearest(unknown[0], known, 0.6) if unknown else None
        named = ", ".join(_cut(repr(key), _LONGEST_VALUE) for key in unknown[:_MOST_PROBLEMS])
        are = "is not an argument" if len(unknown) == 1 else "are not arguments"
        hint = f" (do you mean {close!r}?)" if close else ""
        return f"{named} {are}{hint}; there are: {', '.join(known) or 'none'}"
    if error.validator == "minLength" and rule == 1:
        return f"{where} must not be empty"
    joint = " or " if error.validator == "type" else ", "
    return _TEXTS.get(error.validator, "{where}: {message}").format(
        where=where,
        given=_cut(repr(error.instance), _LONGEST_VALUE),
        keyword=error.validator,
        rule=joint.join(map(str, rule)) if isinstance(rule, list) else rule,
        about=_described(where, schema) or f" (pattern {rule})",
        message=error.message,
    )


def _described(key: str, schema: Mapping[str, Any]) -> str:
    rule = schema.get("properties", {}).get(key)
    text = str(rule.get("description", "")) if isinstance(rule, Mapping) else ""
    return f" ({text.rstrip('.')})" if text else ""


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


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
