"""The conversation as both frameworks hand it over: plain frozen values, no framework's classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Image = str | bytes | Path
"""A URL or ``data:`` URI, or a file, which the transport turns into one."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call the model made, read completely.

    Attributes:
        id: What a tool result refers to; made up by the reader, unique.
        name: The tool's name.
        arguments: The arguments, as JSON values.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """Text that was clearly meant as a call, but cannot be read as one.

    Attributes:
        id: As in :class:`ToolCall`.
        name: The tool's name, where it could be made out.
        arguments: What the model wrote as its arguments; all it wrote where these cannot be told apart.
        error: What is wrong with it, in words a model can act on.
        text: The whole call as the model wrote it, with what marked it; of several in one, the first has it.
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
        role: Who speaks.
        text: What is said; text blocks are joined by whoever converts.
        images: URLs, ``data:`` URIs, or files.
        tool_calls: The calls an assistant message made, the unreadable ones included.
        tool_call_id: Which call a tool message answers.
        name: The tool's name on a tool message. On other roles it is not sent: no shipped template has a
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
    """One turn of a rendered conversation: a role and its final text, ready for a template."""

    role: Role
    text: str


def unsupported_content(kind: str, model: str) -> str:
    """Word the error for a content block that no text prompt can carry.

    Args:
        kind: The block's type, as the framework calls it (``"audio"``, ``"video"``, ``"file"``).
        model: The model it was meant for.

    Returns:
        The message; the caller raises it in the exception its framework expects.
    """
    return (
        f"{model} cannot be sent {kind} content: a prompt carries text, and images where the dialect names "
        f"an image key. Send the {kind} by the model's own input key instead, or describe it in words."
    )
