"""RockAI over HTTP: blocking and async calls, exact streams, and the prediction lifecycle.

`AsyncClient`, `Dialect` and `HostedModel` are imported on first use, so that programs which do not use them
import faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rockai_transport._packages import lazy_names
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

if not TYPE_CHECKING:  # to a type checker, every name would exist
    __getattr__ = lazy_names(
        __name__,
        {
            "rockai_transport.async_client": {"AsyncClient"},
            "rockai_transport.io.async_streams": {"AsyncStream"},
            "rockai_transport.jobs.hosted_models": {"ANIMATE_IMAGE", "GENERATE_IMAGE", "HostedModel"},
            "rockai_transport.prompting.request.dialects": {"Dialect"},
        },
    )

for _name in __all__:
    if _name.endswith("Error"):
        globals()[_name].__module__ = __name__  # so a traceback names the importable path


def __dir__() -> list[str]:
    return sorted(__all__)
