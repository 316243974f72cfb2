"""RockAI for LangChain: `ChatRockAI`, `RockAILLM`, and the tools of `RockAIToolkit`.

Names are imported when they are first asked for, so that a program waits only for what it uses.

Example:
    >>> from langchain_rockai import ChatRockAI
    >>> llm = ChatRockAI(model="mistralai/mistral-7b-instruct-v0.1")
    >>> llm.invoke("Say: good morning").text
    'good morning'
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rockai_transport import __version__

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

_HOMES = {
    "ANIMATE_IMAGE": "rockai_transport",
    "ChatRockAI": "langchain_rockai.chat_models",
    "Dialect": "rockai_transport",
    "GENERATE_IMAGE": "rockai_transport",
    "HostedModel": "rockai_transport",
    "RETRYABLE": "langchain_rockai.errors",
    "RetryableModelError": "langchain_rockai.errors",
    "RockAILLM": "langchain_rockai.llms",
    "RockAIToolkit": "langchain_rockai.toolkit",
    "resume_graph": "langchain_rockai.sleeping",
    "should_retry": "langchain_rockai.errors",
}


def _load(module: str) -> ModuleType:
    """Import a module; say what to install, where it is the extra that is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "langchain_core":
            raise
        from rockai_transport._version import install_command

        raise ImportError(f"langchain_rockai needs {error.name}: {install_command('langchain')}") from error


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_load(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


_load("langchain_core")  # at once: `import langchain_rockai` itself says what is missing
