"""RockAI for LlamaIndex: an LLM for chat, completion, agents and structured output, and tools for agents.

Example:
    >>> from llama_index_rockai import RockAI
    >>> llm = RockAI(model="mistralai/mistral-7b-instruct-v0.1")
    >>> print(llm.complete("Say: good morning"))
    good morning
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rockai_transport import __version__
from rockai_transport._packages import lazy_names, require

if TYPE_CHECKING:
    from llama_index_rockai.llms import RockAI
    from llama_index_rockai.sleeping import PredictionEndedEvent, resume_workflow, run_until_asleep
    from llama_index_rockai.tool_spec import RockAIToolSpec
    from llama_index_rockai.tools import ApprovalRequiredEvent, PredictionProgressEvent
    from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, Dialect, HostedModel

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

require("llama_index.core", "llama_index_rockai needs LlamaIndex", "llama-index")

# A program without agent tools does not import `jobs`.
if not TYPE_CHECKING:  # to a type checker, every name would exist
    __getattr__ = lazy_names(
        __name__,
        {
            "rockai_transport": {"ANIMATE_IMAGE", "Dialect", "GENERATE_IMAGE", "HostedModel"},
            "llama_index_rockai.llms": {"RockAI"},
            "llama_index_rockai.sleeping": {"PredictionEndedEvent", "resume_workflow", "run_until_asleep"},
            "llama_index_rockai.tool_spec": {"RockAIToolSpec"},
            "llama_index_rockai.tools": {"ApprovalRequiredEvent", "PredictionProgressEvent"},
        },
    )


def __dir__() -> list[str]:
    return sorted(__all__)
