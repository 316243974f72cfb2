"""LangChain's messages → the conversation from which `rockai_transport.prompting` makes prompts."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, ToolMessage

from rockai_transport import ConfigurationError
from rockai_transport.adapters import ROLES, read_blocks, read_call
from rockai_transport.prompting import Image, InvalidToolCall, Message, Role, ToolCall

UNREADABLE: Final = "<tool_call>"
"""Replaces missing arguments of an invalid call, which core would take as valid; see `.replies`."""

_JSON_BLOCKS: Final = frozenset(
    {"json", "search_result", "tool_result", "function_call_output", "custom_tool_call_output"}
)
# Blocks that repeat a message's fields, or that no model needs to see again: reasoning is not part of the
# answer. The last two rows are other providers', in histories of their models: Anthropic's; OpenAI's, and
# Bedrock's, whose cache points have no type.
_SILENT_BLOCKS: Final = frozenset(
    {"reasoning", "tool_call", "tool_call_chunk", "invalid_tool_call"}
    | {"tool_use", "input_json_delta", "thinking", "redacted_thinking"}
    | {"function_call", "function_call_signature", "custom_tool_call", "reasoning_content", "cachePoint"}
)


def to_conversation(messages: Sequence[BaseMessage], *, model: str) -> tuple[Message, ...]:
    """Convert a conversation.

    Args:
        messages: LangChain's messages.
        model: The model, for errors.

    Returns:
        The same conversation, in the same order. Media in a tool's result are described in words, and in a
        model's answer only if its text lacks their address. They are results, not the model's input, and must
        not end an agent's run.

    Raises:
        ConfigurationError: A message contains something that no prompt can contain.
    """
    return tuple(map(_convert, messages, repeat(model)))


def _convert(message: BaseMessage, model: str) -> Message:
    named = message.role if isinstance(message, ChatMessage) else message.type.removesuffix("MessageChunk")
    if (role := ROLES.get(named.lower())) is None:
        raise ConfigurationError(
            f"A message of the role {named!r} cannot be sent; there are: system, user, assistant and tool."
        )
    content = message.content or message.additional_kwargs.get("refusal") or ""  # OpenAI's: instead of a text
    images: tuple[Image, ...] = ()
    if not isinstance(content, str):
        blocks = (_content(block, role) for block in _blocks(message))
        texts, images = read_blocks(role, blocks, message.text, model)
        # A model's text in several blocks is one text; a user's several blocks are several texts.
        content = ("" if role == "assistant" else "\n").join(texts)
    return Message(
        role=role,
        text=content,
        images=images,
        tool_calls=tuple(_calls(message, content)) if isinstance(message, AIMessage) else (),
        tool_call_id=message.tool_call_id if isinstance(message, ToolMessage) else None,
        name=message.name,
        is_error=isinstance(message, ToolMessage) and message.status == "error",
    )


def _blocks(message: BaseMessage) -> Iterator[dict[str, Any]]:
    """Return the blocks with content, in the standard form as far as core can read other providers'.

    They are read as a user's: core's translations of answers, by their provider, leave out text in plain
    strings, and Groq's all blocks (langchain_core/messages/block_translators).
    """
    try:
        blocks: list[Any] = HumanMessage(message.content).content_blocks
    except (LookupError, TypeError, ValueError, AttributeError):  # core requires something that a block lacks
        blocks = list(message.content)
    for block in blocks:
        one: dict[str, Any] = {"type": "text", "text": block} if isinstance(block, str) else block
        held = one.get("value") if one.get("type") == "non_standard" else one
        one = held if isinstance(held, dict) else one
        if (one.get("type") or next(iter(one), "")) not in _SILENT_BLOCKS:
            yield one


def _content(block: dict[str, Any], role: Role) -> tuple[str, Any]:
    """Return a block's kind, and its text or its file's address: a URL, a data URI, or None."""
    kind = str(block.get("type") or next(iter(block), "")).removeprefix("input_")  # OpenAI's
    text, source = block.get("text", block.get("refusal", block.get("content"))), block.get("source")
    is_data = role == "tool" and "type" not in block and kind not in ("text", "video")  # Bedrock's
    if is_data or kind in _JSON_BLOCKS or (isinstance(source, dict) and "content" in source):
        return "text", json.dumps(block.get("json", block), ensure_ascii=False, default=str)
    if isinstance(source, dict):  # Anthropic's form, if core left it unchanged
        block = {**source, "base64": source.get("data"), "mime_type": source.get("media_type")}
    address = block.get("url") or block.get("image_url")  # a plain string, which core leaves unchanged
    if kind == "text-plain" and block.get("base64"):
        with suppress(ValueError, TypeError):
            text = b64decode(block["base64"]).decode(errors="replace")
    elif not isinstance(address, str) and block.get("base64"):
        address = f"data:{block.get('mime_type') or 'image/png'};base64,{block['base64']}"
    if kind == "text" or (isinstance(text, str) and not isinstance(address, str)):
        return "text", str(text or "")
    return kind.removesuffix("_url"), address if isinstance(address, str) else None


def _calls(message: AIMessage, content: str) -> Iterable[ToolCall | InvalidToolCall]:
    """Return the calls, except those that the text contains as the model wrote them: it is sent unchanged."""
    for call in message.tool_calls:
        yield ToolCall(call.get("id") or "", call["name"], call["args"])
    for invalid in message.invalid_tool_calls:
        call_id, error = invalid.get("id") or "", invalid.get("error") or ""
        arguments = (invalid.get("args") or "").removeprefix(UNREADABLE)
        if not arguments or arguments not in content:
            yield InvalidToolCall(call_id, invalid.get("name"), arguments, error)
    if not (message.tool_calls or message.invalid_tool_calls or isinstance(message.content, str)):
        yield from filter(None, map(_written_call, message.content))
    match message.additional_kwargs.get("function_call"):  # OpenAI's before there were tools
        case {"name": str(name), "arguments": str(given)} if not message.tool_calls:
            yield read_call("", name, given)


def _written_call(block: object) -> ToolCall | InvalidToolCall | None:
    """Return the call in a block of a message that has no calls beside its content."""
    match block:
        case (
            {"type": "tool_use", "name": str(name), "id": str(call_id), "input": given}
            | {"type": "tool_call", "name": str(name), "id": str(call_id), "args": given}
            | {"type": "function_call", "name": str(name), "call_id": str(call_id), "arguments": given}
        ):
            return read_call(call_id, name, given)
    return None
