"""Structured output: what the model is told, whether its reply is accepted, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from rockai_transport import ConfigurationError, InvalidResponseError
from rockai_transport.jobs.json_schema import check_schema, violations
from rockai_transport.prompting.reply.json_values import extract_json
from rockai_transport.prompting.reply.structured import ResponseFormat, StructuredMethod, structured_method

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from rockai_transport.prompting.reply.reader import ModelReply

__all__ = ["StructuredOutput", "structured_chain"]

_MOST_ERRORS: Final = 5  # what a model is shown of its mistakes; the first ones cause the others


@dataclass(frozen=True, repr=False)
class StructuredOutput:
    """The form that a call's answer must have.

    Attributes:
        method: Which way.
        name: The schema's name, and the tool's.
        json_schema: The schema; None for any JSON object.
        model: The pydantic class to make an instance of; None for a dict.
    """

    method: StructuredMethod
    name: str = ""
    json_schema: dict[str, Any] | None = field(default=None, hash=False)
    model: type[Any] | None = None

    @classmethod
    def of(cls, schema: dict[str, Any] | type | None, method: str) -> StructuredOutput:
        """Read the arguments of ``with_structured_output``.

        Raises:
            ConfigurationError: There is no such method, or it needs a schema and got none or no schema.
        """
        way = structured_method(method)
        if schema is None:
            if way.forces_tool or way.shows_schema:
                raise ConfigurationError(f"with_structured_output(method={method!r}) needs a schema.")
            return cls(way)
        try:
            function = convert_to_openai_tool(schema)["function"]
        except ValueError as error:
            raise ConfigurationError(f"with_structured_output: schema cannot be one. {error}") from error
        about = {"title": function["name"], "description": function.get("description") or ""}
        model = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
        form = {**about, **function.get("parameters", {})}
        if model is None:  # a class reads its answers itself, by its own rules
            check_schema(form, "with_structured_output: schema")
        return cls(way, function["name"], form, model)

    def __repr__(self) -> str:
        # Core makes cache keys of it: the same for the same schema, another for another.
        schema = json.dumps(self.json_schema, sort_keys=True, default=str)
        return f"StructuredOutput({self.method.name!r}, {self.name!r}, {schema})"

    @property
    def response_format(self) -> ResponseFormat | None:
        """What the prompt says of the form; None where a tool says it."""
        return None if self.method.forces_tool else ResponseFormat(self._shown_schema())

    def call_options(self, schema: Any) -> dict[str, Any]:
        """What has to be bound to the model; ``ls_structured_output_format`` is for traces."""
        forced = {"tool_choice": self.name} if self.method.forces_tool else {}
        traced = {"kwargs": {"method": self.method.name}, "schema": schema}
        shown = {"ls_structured_output_format": traced} if schema is not None else {}
        return {**forced, **shown, "structured_output": self}

    def complaint(self, reply: ModelReply) -> str | None:
        """Say what is wrong with a reply, in words that its model can act on; None where it is right."""
        arguments = [call.arguments for call in reply.tool_calls]
        try:
            self._read(arguments if self.method.forces_tool else reply.text)
        except ValueError as error:
            return str(error)
        return None

    def parse(self, message: AIMessage) -> Any:
        """Make what the user asked for of a message that was accepted."""
        arguments = [call["args"] for call in message.tool_calls]
        return self._read(arguments if self.method.forces_tool else message.text)

    def _shown_schema(self) -> dict[str, Any] | None:
        return self.json_schema if self.method.shows_schema else None

    def _read(self, answer: str | list[dict[str, Any]]) -> Any:
        """Read an answer: its text, or the arguments of its calls, of which the first counts.

        Raises:
            ValueError: It is no JSON, or does not fit the schema; the message says what is wrong.
        """
        if not isinstance(answer, str) and not answer:
            raise ValueError(f"the function {self.name} must be called")
        value = extract_json(answer) if isinstance(answer, str) else answer[0]
        if not isinstance(value, dict):
            raise ValueError("the answer must be a JSON object")  # noqa: TRY004 - the answer is wrong, no type
        if self.model is not None:
            return _instance(self.model, value)
        _check_fit(value, self.json_schema)
        return value


def structured_chain(
    llm: Runnable[LanguageModelInput, AIMessage], output: StructuredOutput, *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Put the reading behind the model.

    Args:
        llm: The model, with the options of `StructuredOutput.call_options` bound.
        output: The form.
        include_raw: Give the message too, and a failure as ``parsing_error`` instead of raising it.

    Returns:
        The chain.
    """
    if not include_raw:
        return llm | RunnableLambda(output.parse, name="StructuredOutput")

    def answer(input: LanguageModelInput, config: RunnableConfig) -> dict[str, Any]:  # noqa: A002 - core's word
        try:
            message = llm.invoke(input, config)
        except InvalidResponseError as error:
            return _failed(error)
        return _parsed(output, message)

    async def aanswer(input: LanguageModelInput, config: RunnableConfig) -> dict[str, Any]:  # noqa: A002
        try:
            message = await llm.ainvoke(input, config)
        except InvalidResponseError as error:
            return _failed(error)
        return _parsed(output, message)

    chain = RunnableLambda(answer, aanswer, name="StructuredOutput")
    any_input: Any = LanguageModelInput  # a union, which `with_types` takes and its annotation does not
    return chain.with_types(input_type=any_input, output_type=dict[str, Any])


def _parsed(output: StructuredOutput, message: AIMessage) -> dict[str, Any]:
    return {"raw": message, "parsed": output.parse(message), "parsing_error": None}


def _failed(error: InvalidResponseError) -> dict[str, Any]:
    """The failure of an answer; that of the service, which has none, is raised."""
    raw = getattr(error, "answer", None)
    if raw is None:
        raise error
    return {"raw": raw, "parsed": None, "parsing_error": error}


def _instance(model: type[Any], value: dict[str, Any]) -> Any:
    validate = getattr(model, "model_validate", None) or model.parse_obj  # pydantic's own v1 models too
    try:
        return validate(value)
    except (ValidationError, ValidationErrorV1) as error:
        raise ValueError(_told(f"{_path(item['loc'])}{item['msg']}" for item in error.errors())) from error


def _check_fit(value: dict[str, Any], schema: dict[str, Any] | None) -> None:
    if schema is None:
        return
    errors = [f"{_path(tuple(error.absolute_path))}{error.message}" for error in violations(schema, value)]
    if errors:
        raise ValueError(_told(errors))


def _path(where: tuple[Any, ...]) -> str:
    return f"{'.'.join(map(str, where))}: " if where else ""


def _told(errors: Any) -> str:
    return "; ".join(list(errors)[:_MOST_ERRORS])
