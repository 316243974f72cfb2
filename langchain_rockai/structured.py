"""Structured output: what the model is told, whether its reply is accepted, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from rockai_transport import ConfigurationError, InvalidResponseError
from rockai_transport.adapters import OutputParser, check_schema, forced_tool
from rockai_transport.prompting import ResponseFormat, StructuredMethod, structured_method

__all__ = ["StructuredOutput", "structured_chain"]


@dataclass(frozen=True, repr=False, kw_only=True)
class StructuredOutput(OutputParser):
    """The form that a call's answer must have.

    Attributes:
        method: Which way.
        name: The schema's name, and the tool's.
    """

    method: StructuredMethod
    name: str = ""

    @classmethod
    def of(cls, schema: Mapping[str, Any] | type | None, method: str) -> StructuredOutput:
        """Read the arguments of ``with_structured_output``.

        Raises:
            ConfigurationError: There is no such method, or it needs a schema and got none or no schema.
        """
        way = structured_method(method)
        if schema is None:
            if way.forces_tool or way.shows_schema:
                raise ConfigurationError(f"with_structured_output(method={method!r}) needs a schema.")
            return cls(method=way, by_call=False)
        try:
            function = convert_to_openai_tool(schema)["function"]
        except ValueError as error:
            raise ConfigurationError(f"with_structured_output: schema cannot be one. {error}") from error
        about = {"title": function["name"], "description": function.get("description") or ""}
        model = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
        form = {**about, **function.get("parameters", {})}
        if model is None:  # a class reads its answers itself, by its own rules
            check_schema(form, "with_structured_output: schema")
        return cls(method=way, name=function["name"], json_schema=form, model=model, by_call=way.forces_tool)

    def __repr__(self) -> str:
        # Core makes cache keys of it: the same for the same schema, another for another.
        schema = json.dumps(self.json_schema, sort_keys=True, default=str)
        return f"StructuredOutput({self.method.name!r}, {self.name!r}, {schema})"

    @property
    def response_format(self) -> ResponseFormat | None:
        """What the prompt says of the form; None where a tool says it."""
        return self.method.response_format(self.json_schema or {})

    def call_options(self, schema: Any) -> dict[str, Any]:
        """What has to be bound to the model; ``ls_structured_output_format`` is for traces."""
        traced = {"kwargs": {"method": self.method.name}, "schema": schema}
        shown = {"ls_structured_output_format": traced} if schema is not None else {}
        return {**(forced_tool(self.name) if self.by_call else {}), **shown, "structured_output": self}

    def of_message(self, message: AIMessage) -> Any:
        """Make what the user asked for of a message that was accepted."""
        return self.parse(message.text, [call["args"] for call in message.tool_calls])


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
        return llm | RunnableLambda(output.of_message, name="StructuredOutput")

    def accepted(message: AIMessage) -> dict[str, Any]:
        return {"raw": message, "parsed": output.of_message(message), "parsing_error": None}

    def answer(prompt: LanguageModelInput, config: RunnableConfig) -> dict[str, Any]:
        try:
            return accepted(llm.invoke(prompt, config))
        except InvalidResponseError as error:
            return _failed(error)

    async def aanswer(prompt: LanguageModelInput, config: RunnableConfig) -> dict[str, Any]:
        try:
            return accepted(await llm.ainvoke(prompt, config))
        except InvalidResponseError as error:
            return _failed(error)

    chain = RunnableLambda(answer, aanswer, name="StructuredOutput")
    any_input: Any = LanguageModelInput  # a union, which `with_types` takes and its annotation does not
    return chain.with_types(input_type=any_input, output_type=dict[str, Any])


def _failed(error: InvalidResponseError) -> dict[str, Any]:
    """The failure of an answer; that of the service, which has none, is raised."""
    raw = getattr(error, "answer", None)
    if raw is None:
        raise error
    return {"raw": raw, "parsed": None, "parsing_error": error}
