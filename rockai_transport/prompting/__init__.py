"""What a model reads and what it writes: dialects, chat templates, tool calls, stop sequences.

Invariants of this package: it is pure. No I/O, no clock, no framework, nothing of the protocol; the only
other module of this distribution it knows is ``rockai_transport.errors``. (Exceptions: ``strftime_now``,
which a Jinja template may call to tell the model the date; and the tables in files beside the modules, which
are read as these are imported.) Both framework packages and both of their halves,
sync and async, stand on the same functions, so that what is decided here is decided once:

* :mod:`.request` turns a conversation into the exact ``input`` of one run (:class:`.request.build.ChatCall`),
* :mod:`.reply` turns the pieces of the answer into text, reasoning and tool calls,
* :mod:`.dialogue` puts the two together where a reply may have to be asked for once more.

The names below are those that a framework package needs; ``as`` says that they are handed on.
"""

from __future__ import annotations

from rockai_transport.prompting.messages import Image as Image
from rockai_transport.prompting.messages import InvalidToolCall as InvalidToolCall
from rockai_transport.prompting.messages import Message as Message
from rockai_transport.prompting.messages import Role as Role
from rockai_transport.prompting.messages import ToolCall as ToolCall
from rockai_transport.prompting.messages import unsupported_content as unsupported_content
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
from rockai_transport.prompting.request.build import ModelRequest as ModelRequest
from rockai_transport.prompting.request.build import completion_request as completion_request
from rockai_transport.prompting.request.chat import as_text as as_text
from rockai_transport.prompting.request.templates import ChatTemplate as ChatTemplate
from rockai_transport.prompting.request.tool_choice import set_up_tools as set_up_tools
from rockai_transport.prompting.tokens import approximate_token_count as approximate_token_count
