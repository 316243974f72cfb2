"""RockAI for LlamaIndex: an LLM for chat, completion, agents and structured output, and tools for agents.

Example:
    >>> from llama_index_rockai import RockAI
    >>> llm = RockAI(model="mistralai/mistral-7b-instruct-v0.1")
    >>> print(llm.complete("Say: good morning"))
    good morning
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import_module("llama_index.core")  # by its name, so that its absence is told apart
except ModuleNotFoundError as error:
    if error.name not in {"llama_index", "llama_index.core"}:
        raise
    from rockai_transport._version import install_command

    raise ImportError(f"llama_index_rockai needs LlamaIndex: {install_command('llama-index')}") from error

from llama_index_rockai.llms import RockAI
from rockai_transport import Dialect, __version__

if TYPE_CHECKING:
    from llama_index_rockai.sleeping import PredictionEndedEvent, resume_workflow, run_until_asleep
    from llama_index_rockai.tool_spec import RockAIToolSpec
    from llama_index_rockai.tools import ApprovalRequiredEvent, PredictionProgressEvent
    from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, HostedModel

__all__ = [
    "ANIMATE_IMAGE",
    "GENERATE_IMAGE",
    "ApprovalRequiredEvent",
    "Dialect",
    "HostedModel",
    "PredictionEndedEvent",
    "PredictionProgressEvent",
    "RockAI",
    "RockAIToolSpec",
    "__version__",
    "resume_workflow",
    "run_until_asleep",
]

# A program that only chats does not wait for what runs jobs.
_LATER = {
    "ANIMATE_IMAGE": "rockai_transport",
    "ApprovalRequiredEvent": "llama_index_rockai.tools",
    "GENERATE_IMAGE": "rockai_transport",
    "HostedModel": "rockai_transport",
    "PredictionEndedEvent": "llama_index_rockai.sleeping",
    "PredictionProgressEvent": "llama_index_rockai.tools",
    "RockAIToolSpec": "llama_index_rockai.tool_spec",
    "resume_workflow": "llama_index_rockai.sleeping",
    "run_until_asleep": "llama_index_rockai.sleeping",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
