"""What a chat call is made of: the frameworks' names of roles, and their descriptions of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Role
from rockai_transport.prompting.request.tool_choice import ToolSetup, ToolSpec, set_up_tools

__all__ = ["ROLES", "forced_tool", "media_in_words", "tool_setup", "tool_specs"]

ROLES: Final[dict[str, Role]] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "chatbot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
"""What the frameworks call the roles of a conversation."""

_NO_TOOLS: Final = ToolSetup()


def tool_specs(schemas: Sequence[Mapping[str, Any]]) -> list[ToolSpec]:
    """Read tools that are described as OpenAI does.

    Args:
        schemas: Function schemas, each bare or under ``"function"``.

    Returns:
        The tools. One that was given twice is one tool.

    Raises:
        ConfigurationError: One is no function, or has no name.
    """
    specs: list[ToolSpec] = []
    for schema in schemas:
        function = schema.get("function", schema)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            kind = schema.get("type", "function")
            if kind != "function":
                raise ConfigurationError(
                    f"A tool of the type {kind!r} is run by another provider's service; only functions can "
                    "be bound here."
                )
            raise ConfigurationError(
                "tools must be the framework's own, or function schemas with a name: "
                '{"type": "function", "function": {"name": …, "description": …, "parameters": …}}.'
            )
        spec = ToolSpec(function["name"], function.get("description") or "", function.get("parameters") or {})
        if spec not in specs:
            specs.append(spec)
    return specs


def tool_setup(
    schemas: Sequence[Mapping[str, Any]], tool_choice: Any = None, *, parallel: bool | None = None
) -> ToolSetup:
    """Put together which tools a call has.

    Args:
        schemas: As for `tool_specs`.
        tool_choice: As for `set_up_tools`; None: as the model likes.
        parallel: Whether one reply may hold several calls; None: it may.

    Returns:
        The setup.

    Raises:
        ConfigurationError: The choice fits none of the tools, or two different ones have one name.
    """
    if not schemas and tool_choice is None:
        return _NO_TOOLS
    return set_up_tools(tool_specs(schemas), tool_choice, parallel=parallel is not False)


def media_in_words(kind: str, url: Any = None, beside: str = "") -> str:
    """Say which file a tool's result or a model's answer holds: there it is a result, not the model's input.

    Args:
        kind: ``"image"``, ``"audio"``, ``"video"`` or ``"file"``.
        url: Its address; a data URI is left out.
        beside: The text beside it.

    Returns:
        The words; none where the text has the address already.
    """
    address = str(url) if url else ""
    if address and address in beside:
        return ""
    return f"[{kind}: {address}]" if address and not address.startswith("data:") else f"[{kind}]"


def forced_tool(name: str) -> dict[str, Any]:
    """The arguments of a call that must be a single call of one tool.

    Args:
        name: The tool.
    """
    return {"tool_choice": name, "parallel_tool_calls": False}
