"""The conversation, in the form that both frameworks pass it: plain frozen values, no framework classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Image = str | bytes | Path
"""A URL, a ``data:`` URI, or a file, which the transport converts to one."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One complete call of a tool.

    Attributes:
        id: The id that a tool result refers to; created by the reader, unique.
        name: The tool's name.
        arguments: The arguments, as JSON values.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """Text that was clearly meant as a call, but is not a valid one.

    Attributes:
        id: As in :class:`ToolCall`.
        name: The tool's name, if it could be determined.
        arguments: The arguments as the model wrote them; the whole text if they cannot be separated.
        error: What is wrong with it, as feedback for the model.
        text: The whole call as the model wrote it, with its markers; of several in one block, the first has
            it.
    """

    id: str
    name: str | None
    arguments: str
    error: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: The role of the speaker.
        text: The text; the caller joins text blocks.
        images: URLs, ``data:`` URIs, or files.
        tool_calls: The calls of an assistant message, including the invalid ones.
        tool_call_id: The call that a tool message answers.
        name: The tool's name in a tool message. For other roles it is not sent: no built-in template has a
            place for it.
        is_error: Whether a tool message reports a failure.
    """

    role: Role
    text: str = ""
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall | InvalidToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a rendered conversation: a role and its final text."""

    role: Role
    text: str


def unsupported_content(kind: str, model: str) -> str:
    """Return the error message for a content block that a text prompt cannot contain.

    Args:
        kind: The block's type, in the framework's terms (``"audio"``, ``"video"``, ``"file"``).
        model: The model.

    Returns:
        The message; the caller raises the exception that its framework expects.
    """
    return (
        f"{model} cannot be sent {kind} content: a prompt carries text, and images where the dialect names "
        f"an image key. Send the {kind} by the model's own input key instead, or describe it in words."
    )
