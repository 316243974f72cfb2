"""RockAI for LangChain: `ChatRockAI`, `RockAILLM`, and the tools of `RockAIToolkit`.

Names are imported on first use, so a program imports only what it needs.

Example:
    >>> from langchain_rockai import ChatRockAI
    >>> llm = ChatRockAI(model="mistralai/mistral-7b-instruct-v0.1")
    >>> llm.invoke("Say: good morning").text
    'good morning'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rockai_transport import __version__
from rockai_transport._packages import lazy_names, require

if TYPE_CHECKING:
    from langchain_rockai.chat_models import ChatRockAI
    from langchain_rockai.errors import RETRYABLE, RetryableModelError, should_retry
    from langchain_rockai.llms import RockAILLM
    from langchain_rockai.sleeping import resume_graph
    from langchain_rockai.toolkit import RockAIToolkit
    from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, Dialect, HostedModel

__all__ = [
    "ANIMATE_IMAGE",
    "GENERATE_IMAGE",
    "RETRYABLE",
    "ChatRockAI",
    "Dialect",
    "HostedModel",
    "RetryableModelError",
    "RockAILLM",
    "RockAIToolkit",
    "__version__",
    "resume_graph",
    "should_retry",
]

require("langchain_core", "langchain_rockai needs langchain_core", "langchain")

if not TYPE_CHECKING:  # to a type checker, every name would exist
    __getattr__ = lazy_names(
        __name__,
        {
            "rockai_transport": {"ANIMATE_IMAGE", "Dialect", "GENERATE_IMAGE", "HostedModel"},
            "langchain_rockai.chat_models": {"ChatRockAI"},
            "langchain_rockai.errors": {"RETRYABLE", "RetryableModelError", "should_retry"},
            "langchain_rockai.llms": {"RockAILLM"},
            "langchain_rockai.sleeping": {"resume_graph"},
            "langchain_rockai.toolkit": {"RockAIToolkit"},
        },
    )


def __dir__() -> list[str]:
    return sorted(__all__)
