"""The code that both framework packages share.

A framework package imports only this, `rockai_transport` and `rockai_transport.prompting`, and contains only
that framework's types and conventions. The toolkits' part is `rockai_transport.adapters.toolkits`, which a
program without agent tools does not import. It needs pydantic, which both frameworks install.

The names below are those that a framework package needs; ``as`` marks them as re-exported.
"""

from __future__ import annotations

from rockai_transport.adapters.arguments import ALIASES as ALIASES
from rockai_transport.adapters.arguments import check_call as check_call
from rockai_transport.adapters.chat import ROLES as ROLES
from rockai_transport.adapters.chat import forced_tool as forced_tool
from rockai_transport.adapters.chat import read_blocks as read_blocks
from rockai_transport.adapters.chat import tool_setup as tool_setup
from rockai_transport.adapters.chat import tool_specs as tool_specs
from rockai_transport.adapters.chat import with_root as with_root
from rockai_transport.adapters.files import OutputFile as OutputFile
from rockai_transport.adapters.partial import partial_object as partial_object
from rockai_transport.adapters.replies import AsyncChunks as AsyncChunks
from rockai_transport.adapters.replies import Chunks as Chunks
from rockai_transport.adapters.replies import ReplyBuilder as ReplyBuilder
from rockai_transport.adapters.replies import arun as arun
from rockai_transport.adapters.replies import run as run
from rockai_transport.adapters.settings import TEXT as TEXT
from rockai_transport.adapters.settings import ModelFields as ModelFields
from rockai_transport.adapters.structured import OutputParser as OutputParser
from rockai_transport.adapters.structured import check_object_class as check_object_class
from rockai_transport.adapters.structured import check_object_schema as check_object_schema
from rockai_transport.jobs.json_schema import check_schema as check_schema
from rockai_transport.prompting.request.nearest import unknown_name as unknown_name
from rockai_transport.sanitize import trim_traceback as trim_traceback
