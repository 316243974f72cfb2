"""What a test puts in front of the service: a busy gateway, a broken one, a page of HTML, a reset."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import Any

from rockai_sandbox.protocol import RawAnswer


@dataclass(frozen=True)
class Fault:
    """An answer to give instead of the service's own.

    Attributes:
        answer: What to say; `None` drops the connection without a word.
        times: How often; `None` for always.
        method: Only to this method; `None` for every one.
        path: Only where the path ends so; `None` for every one.
    """

    answer: RawAnswer | None
    times: int | None = 1
    method: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is 1 or more, or None for always, not {self.times!r}")

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request is one of those meant."""
        return self.method in (None, method) and (self.path is None or path.endswith(self.path))


class Faults:
    """The faults still to come, in the order they were asked for; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Let no more faults happen."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, if any, and count it."""
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
    """What stands in front of a service, and answers in its place where a test wants it to."""

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
        """Let the next requests be answered by something else than the service, as by a busy gateway.

        Args:
            status: The HTTP status, from 200 to 599.
            body: The body: text as it is, a dict or a list as JSON.
            headers: Further headers.
            content_type: The body's type.
            times: How often; `None` for always.
            method: Only for requests of this method.
            path: Only for requests whose path ends so.

        Raises:
            ValueError: ``times`` is below 1, or the status, the body or a header cannot be sent.
            TypeError: The body holds what JSON cannot say.

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
        answer = RawAnswer(status, text, content_type, headers or {})
        self._faults.add(Fault(answer, times, method, path))

    def drop_next(self, *, times: int | None = 1, method: str | None = None, path: str | None = None) -> None:
        """Let the connections of the next requests be reset after the request was read, without an answer.

        Args:
            times: How often; `None` for always.
            method: Only for requests of this method.
            path: Only for requests whose path ends so.

        Raises:
            ValueError: ``times`` is below 1.

        Example:
            >>> started = client.predictions.create(model=ECHO, input={"prompt": "Hello"})
            >>> sandbox.drop_next(method="GET")
            >>> client.predictions.wait(started).text  # the client looks again
            'Hello'
            >>> sandbox.requests[1].outcome
            'aborted'
        """
        self._faults.add(Fault(None, times, method, path))
