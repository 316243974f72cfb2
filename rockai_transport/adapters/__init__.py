"""What both framework packages stand on: whatever they decide alike is decided here, once.

A framework package imports this, `rockai_transport` and `rockai_transport.prompting`, and nothing below them;
what remains in it is that framework's types and habits. The toolkits' half is
`rockai_transport.adapters.toolkits`, for which a program that only chats does not wait.
Needs pydantic, which both frameworks bring.
"""

from __future__ import annotations

from rockai_transport.adapters.arguments import ALIASES, check_call, unknown_name
from rockai_transport.adapters.chat import ROLES, forced_tool, read_blocks, tool_setup, tool_specs
from rockai_transport.adapters.files import OutputFile
from rockai_transport.adapters.partial import PartialObjects, partial_object
from rockai_transport.adapters.replies import AsyncChunks, Chunks, ReplyBuilder, arun, run
from rockai_transport.adapters.settings import TEXT, CallSettings, ModelFields
from rockai_transport.adapters.structured import OutputParser, check_object_class, check_object_schema
from rockai_transport.jobs.json_schema import check_schema
from rockai_transport.sanitize import trim_traceback

__all__ = [
    "ALIASES",
    "ROLES",
    "TEXT",
    "AsyncChunks",
    "CallSettings",
    "Chunks",
    "ModelFields",
    "OutputFile",
    "OutputParser",
    "PartialObjects",
    "ReplyBuilder",
    "arun",
    "check_call",
    "check_object_class",
    "check_object_schema",
    "check_schema",
    "forced_tool",
    "partial_object",
    "read_blocks",
    "run",
    "tool_setup",
    "tool_specs",
    "trim_traceback",
    "unknown_name",
]
