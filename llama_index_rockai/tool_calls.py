"""Tools and calls in LlamaIndex's forms: what a model may call, and what it called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.reply.json_values import read_value
from rockai_transport.prompting.request.tool_choice import ToolSpec

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

    from rockai_transport.prompting.messages import ToolCall


def function_schema(tool: BaseTool) -> dict[str, Any]:
    """Describe a tool as OpenAI does, which is what tracing tools read from a call's arguments.

    Unlike core's ``to_openai_tool`` (tools/types.py:89) it keeps the name: core looks the tool up by it.
    """
    metadata = getattr(tool, "metadata", None)
    if metadata is None:
        raise ConfigurationError(
            f"A tool must be one of LlamaIndex's, not {type(tool).__name__}: "
            "make one with FunctionTool.from_defaults(function)."
        )
    return {
        "type": "function",
        "function": {
            "name": metadata.get_name(),
            "description": metadata.description,
            "parameters": metadata.get_parameters_dict(),
        },
    }


def tool_spec(tool: Mapping[str, Any] | BaseTool) -> ToolSpec:
    """Read a tool: one of LlamaIndex's, or its description in OpenAI's form.

    Raises:
        ConfigurationError: It has no name.
    """
    described = tool if isinstance(tool, Mapping) else function_schema(tool)
    function = described.get("function", described)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ConfigurationError(
            "tools must be LlamaIndex's tools, or function schemas with a name: "
            '{"type": "function", "function": {"name": …, "description": …, "parameters": …}}.'
        )
    return ToolSpec(function["name"], function.get("description") or "", function.get("parameters") or {})


def call_block(call: ToolCall) -> ToolCallBlock:
    """Write a call as LlamaIndex's block."""
    return ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)


def legacy_call(call: ToolCall) -> dict[str, Any]:
    """Write a call as it stands in ``additional_kwargs["tool_calls"]``: OpenAI's form.

    Structured streaming looks for calls there and nowhere else (program/utils.py:197).
    """
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def calls_of(message: ChatMessage) -> list[ToolCallBlock]:
    """The calls in a message: its blocks, else what ``additional_kwargs["tool_calls"]`` holds."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    legacy = message.additional_kwargs.get("tool_calls")
    if blocks or not isinstance(legacy, Sequence):
        return blocks
    return [_read_legacy(call) for call in legacy]


def _read_legacy(call: Any) -> ToolCallBlock:
    if isinstance(call, ToolSelection):
        return ToolCallBlock(
            tool_call_id=call.tool_id, tool_name=call.tool_name, tool_kwargs=call.tool_kwargs
        )
    function = _get(call, "function") or call
    return ToolCallBlock(
        tool_call_id=_get(call, "id"),
        tool_name=_get(function, "name") or "",
        tool_kwargs=_get(function, "arguments") or {},
    )


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def arguments_of(block: ToolCallBlock, *, partial: bool) -> dict[str, Any] | None:
    """The arguments of a call, which other services give as JSON, while streaming as the beginning of it.

    Args:
        block: The call.
        partial: Whether the beginning of an object counts as the object.

    Returns:
        The arguments; None where they are no object.
    """
    given = block.tool_kwargs
    if not isinstance(given, str):
        return given
    try:
        arguments = read_value(given)
    except ValueError:
        arguments = _begun(given) if partial else None
    return arguments if isinstance(arguments, dict) else None


def _begun(text: str) -> Any:
    try:
        return parse_partial_json(text)
    except ValueError:
        return None


def selections_of(message: ChatMessage) -> list[ToolSelection]:
    """The calls of a message as core's agents take them; unfinished arguments as far as they go."""
    return [
        ToolSelection(
            tool_id=block.tool_call_id or "",
            tool_name=block.tool_name,
            tool_kwargs=arguments_of(block, partial=True) or {},
        )
        for block in calls_of(message)
    ]
