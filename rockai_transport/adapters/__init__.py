"""The code that both framework packages share.

A framework package imports only this, `rockai_transport` and `rockai_transport.prompting`, and contains only
that framework's types and conventions. The toolkits' part is `rockai_transport.adapters.toolkits`, which a
program without agent tools does not import. It needs pydantic, which both frameworks install.

The names below are those that a framework package needs.
"""

from __future__ import annotations

from rockai_transport.adapters.arguments import ALIASES, check_call, wrong_argument
from rockai_transport.adapters.chat import ROLES, read_blocks, read_call, tool_setup, tool_specs, with_root
from rockai_transport.adapters.files import OutputFile
from rockai_transport.adapters.partial import partial_object
from rockai_transport.adapters.replies import AsyncChunks, Chunks, ReplyBuilder, arun, run
from rockai_transport.adapters.settings import TEXT, ModelFields
from rockai_transport.adapters.structured import NO_SCHEMA, OutputParser, check_object_schema
from rockai_transport.prompting.request.nearest import unknown_name
from rockai_transport.prompting.request.parameters import SAMPLING
from rockai_transport.sanitize import trim_traceback

__all__ = [
    "ALIASES",
    "NO_SCHEMA",
    "ROLES",
    "SAMPLING",
    "TEXT",
    "AsyncChunks",
    "Chunks",
    "ModelFields",
    "OutputFile",
    "OutputParser",
    "ReplyBuilder",
    "arun",
    "check_call",
    "check_object_schema",
    "partial_object",
    "read_blocks",
    "read_call",
    "run",
    "tool_setup",
    "tool_specs",
    "trim_traceback",
    "unknown_name",
    "with_root",
    "wrong_argument",
]
