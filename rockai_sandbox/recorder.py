"""Every request that reached a server of the sandbox, and its outcome."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rockai_sandbox.predictions import Changes

KEPT = 10_000
KEPT_BYTES = 256 * 1024 * 1024
"""The most requests, and bytes of their bodies, that are kept; the oldest are dropped first."""

Outcome = Literal["open", "complete", "disconnected", "aborted"]


@dataclass(frozen=True, kw_only=True)
class SeenRequest:
    """A snapshot of one request.

    Attributes:
        number: Counts from 0.
        method: In upper case.
        path: With the base path, percent-decoded, without the query.
        raw_path: As it was sent, without the query.
        query: Without the question mark.
        headers: Names in lower case; if a name occurs several times, the last value.
        body: The complete body.
        time: When it arrived, in seconds on `time.monotonic`'s clock.
        status: The response's HTTP status; `None` before there is one.
        outcome: ``open``, then ``complete`` (the response was sent to its end), ``disconnected`` (the client
            left before the end) or ``aborted`` (the sandbox aborted the response).

    Example:
        >>> reply = client.run(ECHO, {"prompt": "Hello"})
        >>> seen = sandbox.requests[-1]
        >>> seen.method, seen.path, seen.status, seen.headers["authorization"]
        ('POST', '/v1/run', 200, 'Bearer sandbox-...')
    """

    number: int
    method: str
    path: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    time: float = field(default_factory=time.monotonic)
    status: int | None = None
    outcome: Outcome = "open"

    @property
    def disconnected(self) -> bool:
        """Whether the client left before the end of the response.

        Example:
            >>> with client.stream(NEVER_ENDS, {}) as stream:
            ...     line = next(iter(stream))
            >>> sandbox.wait_for("disconnect").disconnected
            True
        """
        return self.outcome == "disconnected"

    def json(self) -> Any:
        """Read the body as JSON.

        Returns:
            The decoded value.

        Raises:
            ValueError: The body is not JSON.

        Example:
            >>> reply = client.run(ECHO, {"prompt": "Hello"})
            >>> sandbox.requests[-1].json()
            {'model': 'sandbox/echo', 'input': {'prompt': 'Hello'}}
        """
        return json.loads(self.body)


class RequestLog:
    """The requests of one server: thread-safe, limited in size."""

    def __init__(self, changed: Changes) -> None:
        self._changed = changed
        self._numbers = count()
        self._seen: deque[SeenRequest] = deque()
        self._bytes = 0

    def snapshot(self) -> list[SeenRequest]:
        """Return all requests, oldest first."""
        with self._changed:
            return list(self._seen)

    def open(self, scope: Scope) -> SeenRequest:
        """Add a new request."""
        request = SeenRequest(
            number=next(self._numbers),
            method=scope["method"],
            path=scope["path"],
            raw_path=scope.get("raw_path", b"").decode("ascii", "replace"),
            query=scope["query_string"].decode("ascii", "replace"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        )
        with self._changed:
            self._seen.append(request)
            if len(self._seen) > KEPT:
                self._forget_oldest()
            self._changed.notify_all()
        return request

    def change(self, number: int, **changes: Any) -> None:
        """Update a request, unless it has been dropped."""
        with self._changed:
            index = number - self._seen[0].number if self._seen else -1
            if index < 0:
                return
            self._bytes += len(changes.get("body", b""))
            self._seen[index] = replace(self._seen[index], **changes)
            while self._bytes > KEPT_BYTES and len(self._seen) > 1:
                self._forget_oldest()
            self._changed.notify_all()

    def _forget_oldest(self) -> None:
        self._bytes -= len(self._seen.popleft().body)


class Recorder:
    """An ASGI app that wraps another: it reads and records each request, and tracks its response."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        entry = _Entry(self._log, self._log.open(scope).number)
        request = await entry.read(receive)
        if request is None:
            return

        async def replay() -> Message:
            nonlocal request
            if request is not None:
                message, request = request, None
                return message
            return entry.received(await receive())

        async def forward(message: Message) -> None:
            entry.sent(message)  # first, so that it is recorded before the client has the response
            await send(message)

        try:
            await self._app(scope, replay, forward)
        finally:
            entry.end("aborted")


class _Entry:
    """The outcome of one request."""

    def __init__(self, log: RequestLog, number: int) -> None:
        self._log = log
        self._number = number
        self._ended = False

    async def read(self, receive: Receive) -> Message | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                self.end("disconnected")
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                self._log.change(self._number, body=bytes(body))
                return {"type": "http.request", "body": bytes(body), "more_body": False}

    def received(self, message: Message) -> Message:
        if message["type"] == "http.disconnect":
            self.end("disconnected")
        return message

    def sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._log.change(self._number, status=message["status"])
        elif not message.get("more_body", False):
            self.end("complete")

    def end(self, outcome: Outcome) -> None:
        if not self._ended:
            self._ended = True
            self._log.change(self._number, outcome=outcome)
