"""Structured output: checks whether a reply contains the requested value, and returns it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, Final, Self

from pydantic import RootModel
from pydantic.json_schema import GenerateJsonSchema

from rockai_transport.adapters.chat import with_root
from rockai_transport.errors import ConfigurationError, InvalidResponseError
from rockai_transport.jobs.json_schema import check_schema, validator, violations
from rockai_transport.prompting.messages import ToolCall
from rockai_transport.prompting.reply.reader import ModelReply
from rockai_transport.prompting.reply.schema_values import allowed_types
from rockai_transport.prompting.reply.structured import ResponseFormat, structured_reply

_MOST_ERRORS: Final = 5  # the maximum shown to the model; the first errors cause the others
NO_SCHEMA: Final = (RuntimeError, NameError, TypeError, ValueError, AttributeError, KeyError)
"""What conversions raise for types that no JSON schema describes; most of pydantic's are RuntimeErrors, and
core's of a reference that leads nowhere is a KeyError."""
_BY_NAME: Final = ("populate_by_name", "validate_by_name", "allow_population_by_field_name")


@dataclass(frozen=True, repr=False)
class OutputParser:
    """Parses the value in replies.

    Attributes:
        model: The pydantic class to instantiate; None for a dict.
        json_schema: The schema that a dict must fit; None for any dict.
        by_call: Whether the value is the arguments of a tool call, if there is one; else it is the text.
        name: The name of the schema, as the model sees it.
        shows_schema: Whether the prompt contains the schema if the value is the text.
    """

    model: type[Any] | None = None
    json_schema: Mapping[str, Any] | None = field(default=None, hash=False)
    by_call: bool = True
    name: str = ""
    shows_schema: bool = True

    @classmethod
    def of_class(cls, model: type[Any], whose: str = "output_cls", *, by_call: bool = True) -> Self:
        """Create a parser for the instances of a pydantic class, also of a class of its v1.

        Args:
            model: The class.
            whose: Its name in the error.
            by_call: Whether it is a tool that must be called.

        Raises:
            ConfigurationError: It is not a pydantic class, its values need not be objects, or pydantic cannot
                describe it.
        """
        own: Any = model
        is_class = isinstance(own, type) and (hasattr(own, "model_validate") or hasattr(own, "parse_obj"))
        if not is_class or issubclass(own, RootModel):
            raise ConfigurationError(
                f"{whose} must be a pydantic class with fields, not {getattr(own, '__name__', own)!r}: "
                "put a list, a union, an enum or an optional value into a field of such a class."
            )
        try:
            _class_schema(own)
            schema = own.model_json_schema() if hasattr(own, "model_json_schema") else own.schema()
        except NO_SCHEMA as error:
            raise ConfigurationError(f"{whose} cannot be used as one. {error}") from error
        return cls(model, schema, by_call, schema.get("title", model.__name__))

    @property
    def response_format(self) -> ResponseFormat | None:
        """The prompt's format instructions; None if a tool contains the schema."""
        return None if self.by_call else ResponseFormat(self.json_schema if self.shows_schema else None)

    def as_tool(self) -> dict[str, Any]:
        """Return the arguments of a call that must call one tool exactly once, which has the schema."""
        form = dict(self.json_schema or {})
        form.pop("title", None)
        tool = {"name": self.name, "description": form.pop("description", ""), "parameters": form}
        tools = [{"type": "function", "function": tool}]
        return {"tools": tools, "tool_choice": self.name, "parallel_tool_calls": False}

    def parse(self, text: str, calls: Sequence[Mapping[str, Any]] = ()) -> Any:
        """Parse a value.

        Args:
            text: The reply's text.
            calls: The arguments of its tool calls; only the first one counts.

        Returns:
            An instance of the class, validated by its own rules; else a dict.

        Raises:
            ValueError: It is not JSON, or does not fit; the message tells a model what to correct.
        """
        made = tuple(ToolCall("", "", dict(arguments)) for arguments in calls)
        return self._value(ModelReply(text, tool_calls=made))

    def accepted(self, text: str, calls: Sequence[Mapping[str, Any]] = ()) -> Any:
        """As `parse`, for a reply that was accepted.

        Raises:
            InvalidResponseError: It no longer fits: it comes from a cache and the class has changed, or the
                class does not validate it a second time.
        """
        try:
            return self.parse(text, calls)
        except ValueError as error:
            raise InvalidResponseError(
                f"The answer does not fit {self.name}: {error}", body=text, by_model=True
            ) from error

    def validation_error(self, reply: ModelReply) -> str | None:
        """Return what is wrong with a reply; None if it is valid. This is the check of a `Dialogue`.

        Args:
            reply: The reply. If the value is the text, tool calls take precedence: a reply with calls is
                valid.
        """
        if not self.by_call and reply.tool_calls:
            return None
        try:
            self._value(reply)
        except ValueError as error:
            return str(error)
        return None

    def read(self, reply: ModelReply) -> Any:
        """Read a reply's value without validating it.

        Args:
            reply: The reply.

        Returns:
            The JSON value.

        Raises:
            ValueError: There is none.
        """
        reply = reply if self.by_call else replace(reply, tool_calls=())
        return structured_reply(reply, self._read_by, self.name)

    @cached_property
    def property_names(self) -> frozenset[str] | None:
        """The names of the object's properties, as far as they are known; None: any name is allowed."""
        if not self.by_call and self._read_by is None:
            return None
        known = self.model is None or hasattr(self.model, "model_fields")  # not for pydantic's v1 classes
        return frozenset(with_root(self._read_by or {}).get("properties", ()) if known else ())

    def _value(self, reply: ModelReply) -> Any:
        value = self.read(reply)
        if self.model is not None:
            return _instance(self.model, value)
        if not isinstance(value, dict):
            raise ValueError("the answer must be a JSON object")  # noqa: TRY004 - the answer is wrong, no type
        if self.json_schema is not None:
            errors = violations(validator(self.json_schema), value)
            if wrong := _in_words((error.absolute_path, error.message) for error in errors):
                raise ValueError(wrong)
        return value

    @cached_property
    def _read_by(self) -> Mapping[str, Any] | None:
        """The schema for reading a reply; for a class, it has all names that the class accepts."""
        model: Any = self.model
        return self.json_schema if model is None else _class_schema(model)


def check_object_schema(schema: Mapping[str, Any], whose: str) -> None:
    """Refuse a JSON schema that no object can fit.

    Args:
        schema: The schema.
        whose: Its name in the error.

    Raises:
        ConfigurationError: It is not a schema, or its values have another type.
    """
    check_schema(schema, whose)
    kinds = allowed_types(schema)
    if "object" not in kinds:
        listed = ", ".join(map(repr, sorted(kinds)))
        raise ConfigurationError(
            f'{whose} must have {{"type": "object"}}, not {listed}: put the value into a property.'
        )


@lru_cache(maxsize=64)
def _class_schema(model: type[Any]) -> Mapping[str, Any]:
    """Return the schema with all names that the class accepts, without its own validators' rules."""
    if hasattr(model, "model_json_schema"):
        made: Mapping[str, Any] = model.model_json_schema(schema_generator=_EveryName)
        return made
    by_name = any(getattr(model.__config__, name, False) for name in _BY_NAME)  # classes of pydantic's own v1
    return {"anyOf": [model.schema(), model.schema(by_alias=False)]} if by_name else model.schema()


class _EveryName(GenerateJsonSchema):
    """The schema of a class with all names of its fields; pydantic uses only the first of each."""

    def model_schema(self, schema: Any) -> Any:
        model = schema["cls"]
        if any(one.info.mode != "after" for one in model.__pydantic_decorators__.model_validators.values()):
            return {}
        made = super().model_schema(schema)
        by_name = any(model.model_config.get(name) for name in _BY_NAME)
        properties = made.get("properties", {})
        for own, info in model.model_fields.items():
            choices = getattr(info.validation_alias, "choices", [info.validation_alias])
            names = {*(one for one in choices if isinstance(one, str)), *([own] if by_name else ())}
            known = next((properties[one] for one in names if one in properties), None)
            if known is not None and len(names) > 1:
                properties |= dict.fromkeys(names, known)
                made["required"] = [one for one in made.get("required", ()) if one not in names]
        return made

    def function_before_schema(self, schema: Any) -> Any:  # noqa: ARG002 - pydantic's hook
        return {}  # only the validator itself knows what it accepts

    function_wrap_schema = function_plain_schema = function_before_schema


def _instance(model: type[Any], value: Any) -> Any:
    try:
        if not hasattr(model, "model_validate"):
            return model.parse_obj(value)
        with suppress(ValueError):
            return model.model_validate(value)
        return model.model_validate_json(json.dumps(value))  # strict: dates are text only in JSON
    except ValueError as error:
        errors: Any = getattr(error, "errors", None)
        if errors is None:
            raise
        raise ValueError(_in_words((item["loc"], item["msg"]) for item in errors())) from error


def _in_words(errors: Iterable[tuple[Iterable[Any], str]]) -> str:
    first = islice(errors, _MOST_ERRORS)
    return "; ".join(f"{'.'.join(map(str, where))}: {what}" if where else what for where, what in first)
