"""What both kinds of `IO`, and both kinds of session, have in common."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx

from rockai_transport.io.decoding import DECODED_LIMIT
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.io.network import environment_proxy, failure_of, proxy_of
from rockai_transport.protocol.io import LeftError
from rockai_transport.protocol.messages import Request, ResponseHead
from rockai_transport.protocol.operations import Operations
from rockai_transport.sanitize import sanitize

C = TypeVar("C")
T = TypeVar("T")


class BaseIO(Generic[C]):
    """The clock, and what an answer and an error mean.

    Args:
        endpoint: Where requests go.
        connections: Those of the client.
    """

    is_left: Any
    """Whether somebody else has ended it."""

    def __init__(self, endpoint: Endpoint, connections: C) -> None:
        self._endpoint = endpoint
        self.connections = connections
        self._response: httpx.Response | None = None

    def sanitize(self, error: BaseException) -> None:
        """Make an error fit for its reader."""
        sanitize(error, self._endpoint.settings.api_token)

    def now(self) -> float:
        return time.monotonic()

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - no secret
