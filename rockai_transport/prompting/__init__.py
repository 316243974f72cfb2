"""Prompts and replies: dialects, chat templates, tool calls, stop sequences.

Invariants of this package: it is pure. It has no I/O, no clock, no framework and nothing of the protocol; it
imports only ``rockai_transport.errors`` from the rest of this distribution. There are two exceptions: a Jinja
template may call ``strftime_now`` to tell the model the date, and the tables in files next to the modules are
read on import. Both framework packages use the same functions, sync and async, so each decision is made once:

* :mod:`.request` turns a conversation into the exact ``input`` of one run (:class:`.request.build.ChatCall`),
* :mod:`.reply` turns the pieces of the model's output into text, reasoning and tool calls,
* :mod:`.dialogue` combines the two, and asks the model once more if needed.

The names below are those that a framework package needs; ``as`` marks them as re-exported.
"""

from __future__ import annotations

from rockai_transport.prompting.messages import Image as Image
from rockai_transport.prompting.messages import InvalidToolCall as InvalidToolCall
from rockai_transport.prompting.messages import Message as Message
from rockai_transport.prompting.messages import Role as Role
from rockai_transport.prompting.messages import ToolCall as ToolCall
from rockai_transport.prompting.reply.json_values import read_value as read_value
from rockai_transport.prompting.reply.reader import ModelReply as ModelReply
from rockai_transport.prompting.reply.reader import ReplyPart as ReplyPart
from rockai_transport.prompting.reply.reader import gather as gather
from rockai_transport.prompting.reply.reasoning import ReasoningDelta as ReasoningDelta
from rockai_transport.prompting.reply.reasoning import ReasoningEnd as ReasoningEnd
from rockai_transport.prompting.reply.reasoning import TextDelta as TextDelta
from rockai_transport.prompting.reply.structured import ResponseFormat as ResponseFormat
from rockai_transport.prompting.reply.structured import StructuredMethod as StructuredMethod
from rockai_transport.prompting.reply.structured import structured_method as structured_method
from rockai_transport.prompting.request.build import ChatCall as ChatCall
from rockai_transport.prompting.request.build import completion_request as completion_request
from rockai_transport.prompting.request.chat import as_text as as_text
from rockai_transport.prompting.request.templates import ChatTemplate as ChatTemplate
from rockai_transport.prompting.request.tool_choice import set_up_tools as set_up_tools
from rockai_transport.prompting.tokens import approximate_token_count as approximate_token_count
