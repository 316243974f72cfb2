"""Faults that a test puts in front of the service: a busy or broken gateway, an HTML page, a reset."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import Any

from rockai_sandbox.options import METHOD, TEXT, TIMES, or_none
from rockai_sandbox.protocol import RawAnswer


@dataclass(frozen=True)
class Fault:
    """A response to send instead of the service's own.

    Attributes:
        answer: The response; `None` drops the connection without a response.
        times: How often; `None` means always.
        method: The HTTP method it applies to; `None` means any.
        path: The end of the paths it applies to; `None` means any path.
    """

    answer: RawAnswer | None
    times: int | None = 1
    method: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        TIMES.check("times", self.times)
        or_none(METHOD, " for any").check("method", self.method)
        or_none(TEXT, " for any").check("path", self.path)

    def concerns(self, method: str, path: str) -> bool:
        """Whether the fault applies to a request."""
        is_method = self.method is None or self.method.upper() == method
        return is_method and (self.path is None or path.endswith(self.path))


class Faults:
    """The pending faults, in the order in which they were added; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that applies to a request, if any, and count it."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fault.concerns(method, path):
                    continue
                if fault.times == 1:
                    del self._faults[index]
                elif fault.times is not None:
                    self._faults[index] = replace(fault, times=fault.times - 1)
                return fault
        return None


class Gateway:
    """The gateway in front of the service, which can respond in its place."""

    def __init__(self) -> None:
        self._faults = Faults()

    def answer_next(
        self,
        status: int,
        body: str | dict[str, Any] | list[Any] = "",
        *,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
        times: int | None = 1,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        """Respond to the next requests with this instead of the service's response, like a busy gateway.

        Args:
            status: The HTTP status, from 200 to 599.
            body: The body: text is sent unchanged, a dict or a list as JSON.
            headers: Additional headers.
            content_type: The body's content type.
            times: How often; `None` means always.
            method: Apply only to requests with this method.
            path: Apply only to requests whose path ends with this.

        Raises:
            ValueError: ``times`` is not 1 or more, the status, the body or a header cannot be sent, or the
                method or the path is not text.
            TypeError: The body contains values that JSON cannot represent.

        Example:
            >>> sandbox.answer_next(429, headers={"Retry-After": "0"})
            >>> client.run(ECHO, {"prompt": "Hello"}).text  # the client tries again
            'Hello'
            >>> [request.status for request in sandbox.requests]
            [429, 200]
        """
        text = (
            json.dumps(body, ensure_ascii=False, allow_nan=False) if isinstance(body, dict | list) else body
        )
        answer = RawAnswer(status, text, content_type, {} if headers is None else headers)
        self._faults.add(Fault(answer, times, method, path))

    def drop_next(self, *, times: int | None = 1, method: str | None = None, path: str | None = None) -> None:
        """Reset the connections of the next requests after reading them, without a response.

        Args:
            times: How often; `None` means always.
            method: Apply only to requests with this method.
            path: Apply only to requests whose path ends with this.

        Raises:
            ValueError: ``times`` is not 1 or more, or the method or the path is not text.

        Example:
            >>> started = client.predictions.create(model=ECHO, input={"prompt": "Hello"})
            >>> sandbox.drop_next(method="GET")
            >>> client.predictions.wait(started).text  # the client looks again
            'Hello'
            >>> sandbox.requests[1].outcome
            'aborted'
        """
        self._faults.add(Fault(None, times, method, path))
