"""LlamaIndex's messages ↔ those of `rockai_transport.prompting`; back only for a user's own formatter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import IOBase
from typing import Any, Final

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from llama_index_rockai.tool_calls import calls_of
from rockai_transport import ConfigurationError
from rockai_transport.adapters import ROLES, read_blocks, read_call
from rockai_transport.prompting import Image, Message, Role, as_text

# Read elsewhere (calls), only for the model itself (reasoning), or for other services (cache points).
_WITHOUT_TEXT: Final = (ToolCallBlock, ThinkingBlock, CachePoint)


def message_list(messages: Any) -> list[ChatMessage]:
    """Return the messages of a call as a list, because several readers need them.

    Raises:
        ConfigurationError: It is not a list of messages.
    """
    is_list = isinstance(messages, Iterable) and not isinstance(messages, str | Mapping | ChatMessage)
    given: list[Any] = list(messages) if is_list else [messages]
    for one in given:
        if not (is_list and isinstance(one, ChatMessage)):
            raise ConfigurationError(
                f"Messages must be a list of ChatMessage objects, not {type(one).__name__}: "
                '[ChatMessage(role="user", content="Hello")].'
            )
    return given


def to_messages(messages: Sequence[ChatMessage], *, model: str) -> list[Message]:
    """Convert a conversation; the messages are not changed.

    Args:
        messages: LlamaIndex's messages.
        model: The model, for errors.

    Returns:
        The same in plain values. Media in a tool's result are described in words, and in a model's answer
        only if its text lacks their address. They are results, not the model's input, and must not end an
        agent's run.

    Raises:
        ConfigurationError: It is not a list of messages, or one contains audio, video or a document, which a
            prompt cannot contain.
    """
    return [_to_message(message, model) for message in message_list(messages)]


def _to_message(message: ChatMessage, model: str) -> Message:
    role = ROLES[message.role.value]
    blocks = (_content(block, role) for block in _flat(message.blocks))
    texts, images = read_blocks(role, blocks, message.content or "", model)
    calls = (read_call(one.tool_call_id or "", one.tool_name, one.tool_kwargs) for one in calls_of(message))
    named = message.additional_kwargs
    call_id = named.get("tool_call_id") if role == "tool" else None
    return Message(
        role=role,
        # Joined as in ChatMessage.content (base/llms/types.py:1214); OpenAI's refusals stand elsewhere.
        text="\n".join(texts) or str(named.get("refusal") or ""),
        images=images,
        tool_calls=tuple(calls) if role == "assistant" else (),
        tool_call_id=str(call_id) if call_id else None,
        name=named.get("name") if role == "tool" else None,
    )


def _flat(blocks: Sequence[Any]) -> Iterator[Any]:
    """Yield the blocks with content, including those inside citable blocks and citations."""
    for block in blocks:
        if isinstance(block, CitableBlock):
            yield from _flat(block.content)
        elif isinstance(block, CitationBlock):
            yield from _flat([block.cited_content])
        elif not isinstance(block, _WITHOUT_TEXT):
            yield block


def _content(block: Any, role: Role) -> tuple[str, Any]:
    """Return a block's kind, and its text or its file's address."""
    kind = type(block).__name__.removesuffix("Block").lower()
    if isinstance(block, TextBlock):
        return kind, block.text
    if isinstance(block, ImageBlock) and role in ("system", "user"):
        return kind, _image(block)
    return kind, getattr(block, "url", None)


def _image(block: ImageBlock) -> Image:
    """Return an address unchanged, and a file as a file: the transport reads it without blocking the loop."""
    if block.url is not None:
        return str(block.url)
    if block.path is not None:
        return block.path
    content: Any = block.image
    if isinstance(content, IOBase):
        try:
            content.seek(0)
            return bytes(content.read())
        except (OSError, TypeError, ValueError) as error:  # a pipe, text, a closed file
            raise ConfigurationError(f"The file of an ImageBlock cannot be read: {error}") from error
    if not content:
        raise ConfigurationError("An ImageBlock holds no image: give it url=, path= or image=.")
    # Core stores bytes as base64 (base/llms/types.py:331).
    return f"data:{block.image_mimetype or 'application/octet-stream'};base64,{content.decode('ascii')}"


def from_messages(messages: Sequence[Message]) -> list[ChatMessage]:
    """Convert back, for a user's ``messages_to_prompt``, which supports only text.

    Args:
        messages: A conversation, including its instructions.

    Returns:
        The same, with calls and tool results in the format that the instructions describe.
    """
    return [ChatMessage(role=MessageRole(message.role), content=text) for message, text in as_text(messages)]
