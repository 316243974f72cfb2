"""The parts of a chat call: role names, blocks of messages, tool specifications."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Image, InvalidToolCall, Role, ToolCall, unsupported_content
from rockai_transport.prompting.reply.json_values import read_value
from rockai_transport.prompting.request.tool_choice import ToolSetup, ToolSpec, set_up_tools
from rockai_transport.protocol.downloads import DATA_URI

ROLES: Final[dict[str, Role]] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "chatbot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
"""The frameworks' names for the roles of a conversation."""

_PARAMETERS: Final = ("parameters", "input_schema", "inputSchema")
"""The names of a tool's schema: OpenAI's, Anthropic's and MCP's."""
_NO_TOOLS: Final = ToolSetup()
_NOT_BASE64: Final = re.compile(r"(?i)data:[^,]*;base64,[\w+/=%\s-]{0,64}[^\w+/=%\s-]")


def tool_specs(schemas: Sequence[Mapping[str, Any]]) -> list[ToolSpec]:
    """Read tools in OpenAI's format, or in Anthropic's or MCP's.

    Args:
        schemas: Function schemas, each bare or under ``"function"``.

    Returns:
        The tools, without duplicates.

    Raises:
        ConfigurationError: A schema is not a function, or has no name.
    """
    specs: list[ToolSpec] = []
    for schema in schemas:
        function, kind = schema.get("function", schema), schema.get("type", "function")
        if kind != "function":
            raise ConfigurationError(
                f"A tool of the type {kind!r} is run by another provider's service; only functions can "
                "be bound here."
            )
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                "tools must be the framework's own, or function schemas with a name: "
                '{"type": "function", "function": {"name": …, "description": …, "parameters": …}}.'
            )
        form = with_root(next(filter(None, map(function.get, _PARAMETERS)), {}))
        spec = ToolSpec(name, function.get("description") or "", form)
        if spec not in specs:
            specs.append(spec)
    return specs


def with_root(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema with a type at its root: for a recursive pydantic class, the root is a reference."""
    if not isinstance(schema, Mapping):
        raise ConfigurationError('A tool\'s parameters must be a JSON schema, {"type": "object", …}.')
    defined, root = schema.get("$defs"), str(schema.get("$ref")).removeprefix("#/$defs/")
    named = defined.get(root) if isinstance(defined, Mapping) else None
    return {**named, "$defs": defined} if isinstance(named, Mapping) else schema


def tool_setup(schemas: Sequence[Mapping[str, Any]], call: Mapping[str, Any]) -> ToolSetup:
    """Return the tool setup of a call.

    Args:
        schemas: As for `tool_specs`.
        call: The call's arguments. ``tool_choice``: as for `set_up_tools`; None: the model decides.
            ``parallel_tool_calls``: whether a reply may contain several calls; None: it may.

    Returns:
        The setup.

    Raises:
        ConfigurationError: The choice matches no tool, or two different tools have the same name.
    """
    tool_choice, parallel = call.get("tool_choice"), call.get("parallel_tool_calls")
    if not schemas and tool_choice is None:
        return _NO_TOOLS
    return set_up_tools(tool_specs(schemas), tool_choice, parallel=parallel is not False)


def read_call(call_id: str, name: str, given: Any) -> ToolCall | InvalidToolCall:
    """Read a call of a message, perhaps of another service's model.

    Args:
        call_id: Its id; empty if it has none.
        name: The tool's name.
        given: The arguments: an object, or its JSON.

    Returns:
        The call; an invalid one if the arguments are anything else.
    """
    arguments = given
    if isinstance(given, str):
        with suppress(ValueError):
            arguments = read_value(given)
    if isinstance(arguments, dict):
        return ToolCall(call_id, name, arguments)
    return InvalidToolCall(call_id, name, str(given), "")


def read_blocks(
    role: Role, blocks: Iterable[tuple[str, Any]], text: str, model: str
) -> tuple[list[str], tuple[Image, ...]]:
    """Read the blocks of a message.

    A file in a tool's result or in a model's answer is a result, not the model's input. It is described in
    words (in an answer only if the text lacks its address), and must not end an agent's run.

    Args:
        role: The role of the message.
        blocks: For each block its kind (``"text"``, ``"image"``, ``"audio"``, ``"video"``, ``"file"``), and
            its text or the file's address; for an image that is an input, an `Image`.
        text: The message's text.
        model: The model that receives it, for errors.

    Returns:
        The texts, and the images that are inputs.

    Raises:
        ConfigurationError: An input cannot be part of a prompt.
    """
    texts: list[str] = []
    images: tuple[Image, ...] = ()
    for kind, content in blocks:
        if kind == "text":
            texts.append(content)
        elif role in ("tool", "assistant"):
            address = str(content or "")
            if role == "tool" or not address or address not in text:
                is_shown = address and not DATA_URI.match(address)
                texts.append(f"[{kind}: {address}]" if is_shown else f"[{kind}]")
        elif kind == "image" and content:
            if isinstance(content, str) and _NOT_BASE64.match(content):
                raise ConfigurationError(
                    "An image's base64 is none: give the text base64.b64encode(data).decode(). Without "
                    "decode(), Python writes bytes as b'…'; a whole data: address goes into url."
                )
            images += (content,)
        else:
            what = "image (by file_id, or empty)" if kind == "image" else kind
            raise ConfigurationError(unsupported_content(what, model))
    return texts, images
