"""An `IO` in memory whose clock jumps: waits of hours take no time, and every wait is recorded."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from rockai_transport import Service, Timeouts
from rockai_transport.config import Settings
from rockai_transport.io.loops import LoopConnections
from rockai_transport.protocol.io import EventBody, ExpiredError, LeftError, Notices, run_blocking
from rockai_transport.protocol.messages import Request, ResponseHead
from rockai_transport.protocol.operations import Operations
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.requests import RunRequest
from rockai_transport.sanitize import sanitize

TOKEN = "token-Zx81-that-nobody-may-see"  # noqa: S105 - made up
FOREVER = math.inf


class ScriptedAnswer:
    """The delay of a response, its head, and the chunks of its body.

    A chunk may also be a number of seconds that pass, an exception to raise, a function to call while the
    reader waits, or an `asyncio.Event` to wait for. All chunks are one iterable, which may be endless.
    """

    def __init__(self, status: int, chunks: Iterable[Any], headers: dict[str, str], after: float) -> None:
        self.status, self.chunks, self.headers, self.after = status, chunks, headers, after


def reply(
    status: int = 200,
    body: Any = None,
    *,
    after: float = 0.0,
    media_type: str = "application/json",
    **headers: str,
) -> ScriptedAnswer:
    """Return a response after a delay in seconds: JSON, unless the body is bytes, or text of another type."""
    if isinstance(body, bytes):
        content = body
    elif isinstance(body, str) and media_type != "application/json":
        content = body.encode()
    else:
        content = json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ScriptedAnswer(status, [content], {"content-type": media_type, **names}, after)


def events(*chunks: Any, framing: str = "chunked", after: float = 0.0) -> ScriptedAnswer:
    """Return an event stream with these chunks, or with the chunks of one iterable.

    Args:
        chunks: As in `ScriptedAnswer`.
        framing: ``chunked``, ``length`` or ``close``: how the end of the body is marked.
        after: Seconds until its head arrives.
    """
    body: Iterable[Any] = chunks[0] if len(chunks) == 1 and isinstance(chunks[0], Iterator) else chunks
    framed = {"chunked": {"transfer-encoding": "chunked"}, "length": {"content-length": "1"}, "close": {}}
    return ScriptedAnswer(200, body, {"content-type": "text/event-stream", **framed[framing]}, after)


SILENCE = reply(after=FOREVER)
"""No response at all."""


class VirtualIO:
    """Runs operations against scripted responses.

    Args:
        answers: One for each request that no route answers; the last one is repeated. An exception is raised
            instead of returned.
        jitter: The random number.
    """

    def __init__(self, *answers: Any, jitter: float = 0.0) -> None:
        self._answers = list(answers)
        self._routes: dict[str, list[Any]] = {}
        self._chunks: Iterator[Any] = iter(())
        self._jitter = jitter
        self._awaited: asyncio.Event | None = None
        self.connections = LoopConnections()
        self.moment = 1000.0
        self.sleeps: list[float] = []
        self.requests: list[Request] = []
        self.log: list[str] = []
        """All requests, and all closes of open responses, in order."""
        self.called_with: list[Any] = []
        self.closed = 0
        self.is_open = False
        """Whether a response is open."""
        self.is_left = False
        self.detached_operations = 0

    def route(self, line: str, *answers: Any) -> None:
        """Answer a request, such as ``POST /run``, with these, one after another; the last one repeats."""
        self._routes[line] = list(answers)

    def always(self, *answers: Any) -> None:
        """Answer requests that no route answers, as the class's arguments do."""
        self._answers = list(answers)

    @property
    def lines(self) -> list[str]:
        """Method and path of every request so far."""
        return [str(request) for request in self.requests]

    @property
    def bodies(self) -> list[Any]:
        """The decoded bodies of the requests so far; None for one without."""
        return [request.body and json.loads(request.body) for request in self.requests]

    def do(self, operation: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any) -> Any:
        """Run an operation with this `IO`."""
        return run_blocking(operation(self, *args, **options))

    # What else a stream and a client need.

    def leave(self) -> None:
        """Wake the task that waits for a chunk."""
        self.is_left = True
        if self._awaited is not None:
            self._awaited.set()

    def sanitize(self, error: BaseException) -> None:
        sanitize(error, TOKEN)

    # The `IO` protocol.

    def now(self) -> float:
        return self.moment

    def jitter(self) -> float:
        return self._jitter

    async def open(self, request: Request, until: float, notices: Notices | None = None) -> ResponseHead:
        self.requests.append(request)
        self.log.append(str(request))
        answer = self._answer_to(request)
        if isinstance(answer, BaseException):
            raise answer
        self._pass(answer.after, until, notices)
        self._chunks = iter(answer.chunks)
        self.is_open = True
        return ResponseHead(answer.status, answer.headers, 1_700_000_000.0)

    async def read(self, within: float, until: float) -> bytes:
        return await self._next_chunk(min(until, self.moment + within), None)

    async def follow(self, body: EventBody) -> list[str]:
        while body.reader.end is None:
            chunk = await self._next_chunk(min(body.until, self.moment + body.within), body.notices)
            if not chunk:
                body.end()
                break
            if pieces := body.feed(chunk):
                return pieces
        return []

    async def close(self) -> None:
        self.closed += 1
        if self.is_open:
            self.log.append("close")
        self.is_open = False
        self._chunks = iter(())

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self.moment += seconds

    async def call(self, callback: Callable[[Any], Any], value: Any) -> None:
        self.called_with.append(value)
        result = callback(value)
        if inspect.isawaitable(result):
            await result

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        return function()

    async def detached(self, operation: Callable[..., Coroutine[Any, Any, Any]], within: float) -> Any:
        self.detached_operations += 1
        given_up = self.moment + within
        was_left, self.is_left = self.is_left, False
        try:
            result = await operation(self)
        finally:
            self.is_left = was_left
            self.is_open = False
        if self.moment > given_up:
            raise TimeoutError("it was given up")
        return result

    def _answer_to(self, request: Request) -> Any:
        answers = self._routes.get(str(request), self._answers)
        if not answers:
            return reply(599, {"detail": f"no script for {request}"})
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _pass(self, seconds: float, limit: float, notices: Notices | None) -> None:
        """Let time pass, up to a limit; report due notices."""
        end = self.moment + seconds
        assert min(end, limit) < FOREVER, "this would be waited for without an end"
        while notices is not None and notices.due <= min(end, limit):
            notices.tell(notices.due)
        self.moment = min(end, limit)
        if end > limit:
            raise ExpiredError("the time limit ran out")

    async def _next_chunk(self, limit: float, notices: Notices | None) -> bytes:
        for chunk in self._chunks:
            if isinstance(chunk, bytes):
                return chunk
            if isinstance(chunk, BaseException):
                raise chunk
            if isinstance(chunk, asyncio.Event):
                self._awaited = chunk
                await chunk.wait()
            elif callable(chunk):
                done = chunk()
                if inspect.isawaitable(done):
                    await done
            else:
                self._pass(chunk, limit, notices)
            if self.is_left:
                raise LeftError
        return b""


def operations(**changes: Any) -> Operations:
    """Return the operations of a client with these settings."""
    given = {
        "api_token": "t",
        "base_url": "https://x.example/v1",
        "timeout": None,
        "max_retries": 2,
        "route": "auto",
        "service": Service(),
        "default_headers": None,
        "timeouts": Timeouts(),
        "allow_http": False,
    }
    return Operations(Settings.resolve(**{**given, **changes}))


def run_request(model: str, model_input: Any = None) -> RunRequest:
    """Return a checked request to run a model."""
    return operations().run_request(ModelReference.parse(model), model_input or {})
