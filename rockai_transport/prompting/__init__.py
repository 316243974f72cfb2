"""What a model reads and what it writes: dialects, chat templates, tool calls, stop sequences.

Invariants of this package: it is pure. No I/O, no clock, no framework, nothing of the protocol; the only
other module of this distribution it knows is ``rockai_transport.errors``. (Exceptions: ``strftime_now``,
which a Jinja template may call to tell the model the date; and the tables in files beside the modules, which
are read as these are imported.) Both framework packages and both of their halves,
sync and async, stand on the same functions, so that what is decided here is decided once:

* :mod:`.request` turns a conversation into the exact ``input`` of one run (:class:`.request.build.ChatCall`),
* :mod:`.reply` turns the pieces of the answer into text, reasoning and tool calls,
* :mod:`.dialogue` puts the two together where a reply may have to be asked for once more.

The names below are those that a framework package needs.
"""

from __future__ import annotations

from rockai_transport.prompting.messages import (
    Image,
    InvalidToolCall,
    Message,
    Role,
    ToolCall,
    unsupported_content,
)
from rockai_transport.prompting.reply.json_values import read_value
from rockai_transport.prompting.reply.reader import ModelReply, ReplyPart, gather
from rockai_transport.prompting.reply.reasoning import ReasoningDelta, ReasoningEnd, TextDelta
from rockai_transport.prompting.reply.structured import (
    ResponseFormat,
    StructuredMethod,
    structured_method,
)
from rockai_transport.prompting.request.build import ChatCall, ModelRequest, completion_request
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
    "ModelRequest",
    "ReasoningDelta",
    "ReasoningEnd",
    "ReplyPart",
    "ResponseFormat",
    "Role",
    "StructuredMethod",
    "TextDelta",
    "ToolCall",
    "approximate_token_count",
    "as_text",
    "completion_request",
    "gather",
    "read_value",
    "set_up_tools",
    "structured_method",
    "unsupported_content",
]
