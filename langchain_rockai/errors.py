"""Errors with two base classes: the transport's own, and one of langchain-core's `ModelError` classes.

Invariants: a core class that is retryable by its type (`ModelConnectionError`, `ModelTimeoutError`,
`ModelAPIError`, `ModelRateLimitError`) is used only for a failure after which nothing can have started, so no
``with_retry`` on core's types pays for a run twice. Such a failure is also a `RetryableModelError`. Every
other one is also a `RuntimeError`: LangGraph's default ``RetryPolicy()`` runs a node again for any exception
that is not one of a few built-in types (langgraph/_internal/_retry.py, `default_retry_on`).

Core's docstring asks for this: "Provider integrations raise subclasses that also inherit from the provider
SDK's own exception type" (langchain_core/exceptions.py, `ModelError`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, TypeVar

from langchain_core import exceptions as core
from langchain_core.exceptions import ModelError

import rockai_transport as transport
from rockai_transport.adapters import trim_traceback

T = TypeVar("T")


class RetryableModelError(ModelError):
    """A transient failure after which nothing can have started: a retry cannot pay twice.

    Raised by `ChatRockAI` and `RockAILLM`. It is also the transport's error, with all its attributes.

    Example:
        >>> try:
        ...     llm.invoke("Say: hello")
        ... except RetryableModelError as error:
        ...     print(type(error).__name__, error.may_have_started, error.retry_after)
        RetryableRateLimitError False 90.0
    """

    is_retryable = True


RETRYABLE: tuple[type[RetryableModelError], ...] = (RetryableModelError,)
"""The errors to pass to ``with_retry``: retrying them cannot pay twice.

Example:
    >>> llm.with_retry(retry_if_exception_type=RETRYABLE, stop_after_attempt=5).invoke("Say: hello").text
    'hello'
"""

# The transient errors → their classes if nothing can have started.
_TRANSIENT: dict[type[transport.RockAIError], type[ModelError]] = {
    transport.APIConnectionError: core.ModelConnectionError,
    transport.APITimeoutError: core.ModelTimeoutError,
    transport.RateLimitError: core.ModelRateLimitError,
    transport.InternalServerError: core.ModelAPIError,
}

# The core class of each error, whether or not something may have started; the nearest base class counts.
_CORE: dict[type[transport.RockAIError], type[ModelError]] = {
    transport.RockAIError: ModelError,
    transport.ConfigurationError: core.ModelInvalidRequestError,
    transport.BadRequestError: core.ModelInvalidRequestError,
    transport.AuthenticationError: core.ModelAuthenticationError,
    transport.PermissionDeniedError: core.ModelPermissionDeniedError,
    transport.NotFoundError: core.ModelNotFoundError,
    transport.ConflictError: core.ModelInvalidRequestError,
}


def _class(name: str, *bases: type[Exception]) -> type[transport.RockAIError]:
    """Create a class in this module, where pickle finds it by its name.

    It has the same name as the transport's class, so the transport's own is referred to as ``transport.``
    here.
    """
    # Core copies these two into the trace (langchain_core/language_models/chat_models.py,
    # `_generate_response_from_error`); an error with a response sets its own.
    known = {"response": None, "request_id": None}
    made: Any = type(name, bases, {"__module__": __name__, "__doc__": bases[0].__doc__, **known})
    kind: type[transport.RockAIError] = made
    globals()[name] = kind
    return kind


def _nearest(kinds: Mapping[type[transport.RockAIError], T], kind: type[transport.RockAIError]) -> T:
    return next(kinds[base] for base in kind.__mro__ if base in kinds)


_FINAL_CLASSES = {
    kind: _class(kind.__name__, kind, _nearest(_CORE, kind), RuntimeError)
    for kind in vars(transport).values()
    if isinstance(kind, type) and issubclass(kind, transport.RockAIError)
}
_RETRYABLE_CLASSES = {
    kind: _class(f"Retryable{kind.__name__}", kind, RetryableModelError, model_error)
    for kind, model_error in _TRANSIENT.items()
}


def as_model_error(error: transport.RockAIError) -> transport.RockAIError:
    """Convert the transport's error to one that is also core's.

    Args:
        error: The transport's error.

    Returns:
        The same error, with a class that is also a `ModelError`; unchanged if it already has one.
    """
    if isinstance(error, ModelError):
        return error
    classes = _FINAL_CLASSES if error.may_have_started else {**_FINAL_CLASSES, **_RETRYABLE_CLASSES}
    kind = _nearest(classes, type(error))
    made = kind.__new__(kind, error.message)
    made.__dict__.update(error.__dict__)
    return made.with_traceback(error.__traceback__)


def should_retry(error: Exception) -> bool:
    """For ``RetryPolicy(retry_on=should_retry)`` of a LangGraph node that calls a `rockai_transport` client.

    `ChatRockAI` and `RockAILLM` do not need it: LangGraph's default is right for their errors.

    Args:
        error: The node's error.

    Returns:
        For an error of RockAI: True if it is transient and nothing can have started. For any other: the
        result of LangGraph's default.

    Example:
        >>> from rockai_transport import RateLimitError
        >>> should_retry(RateLimitError("Too many requests."))
        True
    """
    if isinstance(error, transport.RockAIError):
        return isinstance(as_model_error(error), RetryableModelError)
    from langgraph.types import RetryPolicy  # whoever calls this has it installed

    return bool(RetryPolicy._field_defaults["retry_on"](error))


class translate_errors(contextlib.AbstractContextManager[None, None]):  # noqa: N801 - called like a function
    """Convert every transport error that leaves the block to one that is also core's.

    It is a class, not a generator, because a generator would add two frames to the traceback.

    Raises:
        transport.RockAIError: The block's error, as `as_model_error` returns it.
    """

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Convert the error, if there is one."""
        if isinstance(error, transport.RockAIError) and not isinstance(error, ModelError):
            trim_traceback(error)
            raise as_model_error(error) from error.__cause__
