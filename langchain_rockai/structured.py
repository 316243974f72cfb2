"""Structured output: instructions for the model, validation of its reply, and the result."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_rockai.errors import as_model_error
from langchain_rockai.replies import PARTIAL
from langchain_rockai.schemas import openai_tool
from rockai_transport import ConfigurationError, InvalidResponseError
from rockai_transport.adapters import (
    NO_SCHEMA,
    OutputParser,
    check_object_schema,
    partial_object,
    unknown_name,
    with_root,
)

_METHODS: Final = {
    "function_calling": (True, True),
    "json_schema": (False, True),
    "json_mode": (False, False),
}
"""For each method, whether the schema is a tool that must be called, and whether the prompt contains it."""


@dataclass(frozen=True, repr=False)
class StructuredOutput(OutputParser):
    """The required format of a call's answer.

    Attributes:
        method: The frameworks' method.
    """

    method: str = ""

    @classmethod
    def of_response_format(cls, given: Any) -> StructuredOutput | None:
        """Read OpenAI's keyword ``response_format``, as core's agents and `bind` send it.

        Raises:
            ConfigurationError: It is not such a format.
        """
        match given:
            case {"type": "text"}:
                return None
            case {"type": "json_object"}:
                return cls.of(None, "json_mode")
        return cls.of(given, "json_schema", "response_format")

    @classmethod
    def of(
        cls, schema: Mapping[str, Any] | type | None, method: str, whose: str = "with_structured_output"
    ) -> StructuredOutput:
        """Read the arguments of ``with_structured_output``.

        Raises:
            ConfigurationError: There is no such method, or its schema is missing or invalid.
        """
        if (kind := _METHODS.get(str(method))) is None:
            raise ConfigurationError(unknown_name("a method of structured output", str(method), _METHODS))
        by_call, shows_schema = kind
        if schema is None:
            if shows_schema:
                raise ConfigurationError(f"with_structured_output(method={method!r}) needs a schema.")
            return cls(by_call=False, shows_schema=False, method=method)
        whose = f"{whose}: schema"
        match schema:
            case {"type": "json_schema", "json_schema": {"schema": Mapping() as inner, **named}}:
                schema = {"title": named.get("name") or "answer", **inner}
            case {"type": "json_schema"}:
                right = '{"type": "json_schema", "json_schema": {"name": …, "schema": …}}'
                raise ConfigurationError(f"{whose} must be {right}.")
        if isinstance(schema, Mapping):
            type_ = schema.get("type", "function")
            check_object_schema({} if type_ == "function" else {"type": type_}, whose)
        elif isinstance(schema, type) and (is_basemodel_subclass(schema) or issubclass(schema, Enum)):
            cls.of_class(schema, whose)
        try:
            function = openai_tool(schema)["function"]
        except NO_SCHEMA as error:  # also for unions, and for pydantic's base class
            raise ConfigurationError(f"{whose} cannot be used as one. {error}") from error
        about = {"title": function["name"], "description": function.get("description") or ""}
        model = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
        whole = schema if isinstance(schema, Mapping) and "title" in schema else {}  # core needs properties
        form = {**about, **(with_root(function.get("parameters") or {}) or whole)}
        if model is None:  # a class validates its answers itself
            check_object_schema(form, whose)
        return cls(model, form, by_call, function["name"], shows_schema, method)

    def __repr__(self) -> str:
        # Core makes cache keys from it: equal for equal schemas only.
        schema = json.dumps(self.json_schema, sort_keys=True, default=str)
        return f"StructuredOutput({self.method!r}, {self.name!r}, {schema})"

    def call_options(self) -> dict[str, Any]:
        """The options to bind to the model; ``ls_structured_output_format`` is for traces."""
        traced = {"kwargs": {"method": self.method}, "schema": self.json_schema}
        shown = {"ls_structured_output_format": traced} if self.json_schema else {}
        return {**(self.as_tool() if self.by_call else {}), **shown, "structured_output": self}

    def of_message(self, message: AIMessage) -> Any:
        """Return the requested value of a message that was accepted; None if it calls other tools instead.

        Raises:
            InvalidResponseError: As for `accepted`; ``answer`` is the message, for ``include_raw``.
        """
        if message.tool_calls and not self.by_call:
            return None
        try:
            return self.accepted(message.text, [call["args"] for call in message.tool_calls])
        except InvalidResponseError as error:
            vars(error)["answer"] = message
            raise as_model_error(error) from error.__cause__


def structured_chain(
    llm: Runnable[LanguageModelInput, AIMessage], output: StructuredOutput, *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return the model followed by a parser.

    Args:
        llm: The model, with the options of `StructuredOutput.call_options` bound.
        output: The format.
        include_raw: Also return the message, and a failure as ``parsing_error`` instead of raising it.

    Returns:
        The chain.
    """
    if not include_raw:
        return llm | _Objects(output)

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
    # The input is a union; `with_types` accepts one, but its annotation does not.
    return chain.with_types(input_type=cast("Any", LanguageModelInput), output_type=dict[str, Any])


class _Objects(RunnableLambda[AIMessage, Any]):
    """Reads the object from a message; from a stream, the partial objects and then the validated one.

    A stream can be left at once: core's own `_transform_stream_with_config` would read it to its end, for the
    trace. The trace contains the last object, as without a stream.
    """

    def __init__(self, output: StructuredOutput) -> None:
        super().__init__(output.of_message, name="StructuredOutput")
        self._output = output

    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Transform a stream."""
        messages = []
        for chunk in input:
            messages.append(chunk)
            yield from self._partial(chunk)
        yield self.invoke(_whole(messages), config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """As `transform`, with ``await``."""
        messages = []
        async for chunk in input:
            messages.append(chunk)
            for value in self._partial(chunk):
                yield value
        yield await self.ainvoke(_whole(messages), config, **kwargs)

    def _partial(self, chunk: AIMessage) -> list[Any]:
        value = (chunk.model_extra or {}).get(PARTIAL)
        return [] if value is None else [partial_object(self._output.model, value)]


def _whole(messages: list[Any]) -> Any:
    """Merge all chunks; a message from a cache is already whole."""
    return messages[0] + messages[1:] if messages[1:] else messages[0]


def _failed(error: InvalidResponseError) -> dict[str, Any]:
    """Return the failure of an answer; raise a failure of the service, which has no answer."""
    raw = getattr(error, "answer", None)
    if raw is None:
        raise error
    return {"raw": raw, "parsed": None, "parsing_error": error}
