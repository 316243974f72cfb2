"""The exceptions of this package, split by who is to blame.

.. code-block:: text

    RockAIError
    ├── ConfigurationError              the caller: nothing was sent
    ├── APIConnectionError              the network: no answer, or half of one
    │   └── APITimeoutError
    ├── APIStatusError                  the service answered, and said no
    │   ├── BadRequestError             400, 422
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       403
    │   │   └── PaymentRequiredError    402
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── RateLimitError              429
    │   └── InternalServerError         5xx
    ├── PredictionError                 the model, or our patience with it
    │   ├── PredictionFailedError
    │   ├── PredictionCanceledError
    │   └── PredictionTimeoutError
    ├── StreamInterruptedError          the stream ended before its end
    └── InvalidResponseError            an answer that cannot be read

Invariants of this package: whatever a handler needs is an attribute, never only text; every exception can be
pickled; and each says, in ``may_have_started``, whether a paid prediction may be running or done although
the call failed.
"""

from __future__ import annotations

from rockai_transport.errors.base import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    RockAIError,
)
from rockai_transport.errors.outcomes import (
    InvalidResponseError,
    PredictionCanceledError,
    PredictionError,
    PredictionFailedError,
    PredictionTimeoutError,
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

for _name in __all__:
    globals()[_name].__module__ = "rockai_transport"  # a traceback then names what can be imported
