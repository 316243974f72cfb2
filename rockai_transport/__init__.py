"""RockAI over HTTP: blocking calls, exact streams, and predictions that can be held in the hand.

`AsyncClient`, `Dialect` and `HostedModel` are imported when they are first asked for, so that a program that
needs none of them does not wait for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rockai_transport._version import __version__
from rockai_transport.client import Client
from rockai_transport.config import Timeouts
from rockai_transport.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    PredictionCanceledError,
    PredictionError,
    PredictionFailedError,
    PredictionTimeoutError,
    RateLimitError,
    RockAIError,
    StreamInterruptedError,
)
from rockai_transport.io.streams import Stream
from rockai_transport.protocol.prediction import Prediction, Update
from rockai_transport.service import Service

if TYPE_CHECKING:
    from rockai_transport.async_client import AsyncClient
    from rockai_transport.io.async_streams import AsyncStream
    from rockai_transport.jobs.hosted_models import ANIMATE_IMAGE, GENERATE_IMAGE, HostedModel
    from rockai_transport.prompting.request.dialects import Dialect

__all__ = [
    "ANIMATE_IMAGE",
    "GENERATE_IMAGE",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Dialect",
    "HostedModel",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Prediction",
    "PredictionCanceledError",
    "PredictionError",
    "PredictionFailedError",
    "PredictionTimeoutError",
    "RateLimitError",
    "RockAIError",
    "Service",
    "Stream",
    "StreamInterruptedError",
    "Timeouts",
    "Update",
    "__version__",
]

_LATER = {
    "ANIMATE_IMAGE": "rockai_transport.jobs.hosted_models",
    "AsyncClient": "rockai_transport.async_client",
    "AsyncStream": "rockai_transport.io.async_streams",
    "Dialect": "rockai_transport.prompting.request.dialects",
    "GENERATE_IMAGE": "rockai_transport.jobs.hosted_models",
    "HostedModel": "rockai_transport.jobs.hosted_models",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
