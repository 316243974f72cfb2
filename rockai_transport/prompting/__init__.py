"""Prompts and replies: dialects, chat templates, tool calls, stop sequences.

Invariants of this package: it is pure. It has no I/O, no clock, no framework and nothing of the protocol; it
imports only ``rockai_transport.errors`` and ``_version`` from the rest of this distribution. There are two
exceptions: a Jinja template may call ``strftime_now`` to tell the model the date, and the tables in files
next to the modules are read on import. Both framework packages use the same functions, sync and async, so
each decision is made once:

* :mod:`.request` turns a conversation into the exact ``input`` of one run (:class:`.request.build.ChatCall`),
* :mod:`.reply` turns the pieces of the model's output into text, reasoning and tool calls,
* :mod:`.dialogue` combines the two, and asks the model once more if needed.

The names below are those that a framework package needs.
"""

from __future__ import annotations

from rockai_transport.prompting.messages import Image, InvalidToolCall, Message, Role, ToolCall
from rockai_transport.prompting.reply.json_values import read_value
from rockai_transport.prompting.reply.reader import ModelReply, ReplyPart, gather
from rockai_transport.prompting.reply.reasoning import ReasoningDelta, ReasoningEnd, TextDelta
from rockai_transport.prompting.reply.structured import ResponseFormat
from rockai_transport.prompting.request.build import ChatCall, completion_request
from rockai_transport.prompting.request.chat import as_text
from rockai_transport.prompting.request.templates import ChatTemplate
from rockai_transport.prompting.request.tool_choice import set_up_tools
from rockai_transport.prompting.tokens import approximate_token_count

__all__ = [
    "ChatCall",
    "ChatTemplate",
    "Image",
    "InvalidToolCall",
    "Message",
    "ModelReply",
    "ReasoningDelta",
    "ReasoningEnd",
    "ReplyPart",
    "ResponseFormat",
    "Role",
    "TextDelta",
    "ToolCall",
    "approximate_token_count",
    "as_text",
    "completion_request",
    "gather",
    "read_value",
    "set_up_tools",
]
