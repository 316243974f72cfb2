"""Tools and calls in LlamaIndex's formats: what a model may call, and what it called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools import BaseTool

from rockai_transport import ConfigurationError
from rockai_transport.adapters import NO_SCHEMA
from rockai_transport.prompting import ToolCall, read_value


def function_schemas(tools: Any) -> list[Mapping[str, Any]]:
    """Describe the tools of a call; empty if it has none.

    Raises:
        ConfigurationError: It is not a list, or contains something that is not a tool.
    """
    if isinstance(tools, Mapping) or not isinstance(tools or (), Iterable):
        raise ConfigurationError(f"tools must be a list of tools, not {type(tools).__name__}.")
    return [_function_schema(tool) for tool in tools or ()]


def _function_schema(tool: Mapping[str, Any] | BaseTool) -> Mapping[str, Any]:
    """Describe a tool in OpenAI's format, which tracing tools read from a call's arguments.

    Unlike core's ``to_openai_tool`` (tools/types.py:89), it keeps the name, with which core finds the tool.

    Args:
        tool: A tool of LlamaIndex, or a description.

    Raises:
        ConfigurationError: It is neither, or pydantic cannot describe its arguments.
    """
    if isinstance(tool, Mapping):
        return tool
    metadata = getattr(tool, "metadata", None)
    if metadata is None:
        raise ConfigurationError(f"{type(tool).__name__} is no tool: use FunctionTool.from_defaults(…).")
    described = {"name": metadata.get_name(), "description": metadata.description}
    try:
        form = metadata.get_parameters_dict()
        if "properties" not in form and metadata.fn_schema is not None:
            form = metadata.fn_schema.model_json_schema()  # core's would be empty for a recursive class
    except NO_SCHEMA as error:
        raise ConfigurationError(
            f"The tool {described['name']!r} cannot be described. If its module has `from __future__ import "
            f"annotations`, remove that line: LlamaIndex cannot read such types. {error}"
        ) from error
    return {"type": "function", "function": {**described, "parameters": form}}


def call_block(call: ToolCall) -> ToolCallBlock:
    """Return a call as LlamaIndex's block."""
    return ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)


def legacy_call(call: ToolCall) -> dict[str, Any]:
    """Return a call as in ``additional_kwargs["tool_calls"]``: OpenAI's format.

    Structured streaming looks for calls only there (program/utils.py:197).
    """
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def calls_of(message: ChatMessage) -> list[ToolCallBlock]:
    """Return the calls in a message: its blocks, else those in ``additional_kwargs``.

    They are under ``"tool_calls"``, or as OpenAI's before there were tools under ``"function_call"``.
    """
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    oldest = message.additional_kwargs.get("function_call")
    legacy = message.additional_kwargs.get("tool_calls") or ([{"function": oldest}] if oldest else ())
    if blocks or isinstance(legacy, str) or not isinstance(legacy, Sequence):
        return blocks
    return [_read_legacy(call) for call in legacy]


def _read_legacy(call: Any) -> ToolCallBlock:
    """Read a call in OpenAI's format, in Anthropic's terms (``input``), or as core's `ToolSelection`."""
    function = _first_of(call, "function") or call
    given = _first_of(function, "arguments", "input", "tool_kwargs") or {}
    return ToolCallBlock(
        tool_call_id=str(_first_of(call, "id", "tool_id") or ""),
        tool_name=str(_first_of(function, "name", "tool_name") or ""),
        tool_kwargs=given if isinstance(given, dict) else str(given),
    )


def _first_of(value: Any, *names: str) -> Any:
    fields = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return next((fields[name] for name in names if fields.get(name)), None)


def selections_of(message: ChatMessage) -> list[ToolSelection]:
    """Return the calls of a message for core's agents; incomplete arguments as far as they have arrived."""
    return [
        ToolSelection(
            tool_id=block.tool_call_id or "",
            tool_name=block.tool_name,
            tool_kwargs=_arguments_so_far(block.tool_kwargs),
        )
        for block in calls_of(message)
    ]


def _arguments_so_far(given: dict[str, Any] | str) -> dict[str, Any]:
    """Return the arguments of a call, which other services return as JSON, incomplete while streaming."""
    if not isinstance(given, str):
        return given
    for read in (read_value, parse_partial_json):
        with suppress(ValueError):
            arguments = read(given)
            return arguments if isinstance(arguments, dict) else {}
    return {}
