"""The exceptions of this package, classified by who is at fault.

.. code-block:: text

    RockAIError
    ├── ConfigurationError              the caller: nothing was sent
    ├── APIConnectionError              the network: no response, or an incomplete one
    │   └── APITimeoutError
    ├── APIStatusError                  the service responded with an error
    │   ├── BadRequestError             400, 422
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       403
    │   │   └── PaymentRequiredError    402
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── RateLimitError              429
    │   └── InternalServerError         5xx
    ├── PredictionError                 the model failed, or took too long
    │   ├── PredictionFailedError
    │   ├── PredictionCanceledError
    │   └── PredictionTimeoutError
    ├── StreamInterruptedError          the stream was interrupted
    └── InvalidResponseError            the response cannot be parsed

Invariants of this package: everything a handler needs is an attribute, never only text. Every exception can
be pickled. Each says in ``may_have_started`` whether a paid prediction may be running or finished although
the call failed.
"""

from __future__ import annotations

from rockai_transport.errors.base import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    PredictionCanceledError,
    PredictionError,
    PredictionFailedError,
    PredictionTimeoutError,
    RockAIError,
    StreamInterruptedError,
)
from rockai_transport.errors.status import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
)

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PredictionCanceledError",
    "PredictionError",
    "PredictionFailedError",
    "PredictionTimeoutError",
    "RateLimitError",
    "RockAIError",
    "StreamInterruptedError",
]
