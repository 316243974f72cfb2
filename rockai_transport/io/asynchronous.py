"""`AsyncIO`, and the session of an asynchronous client. `io.blocking` mirrors this."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from rockai_transport.io.base import BaseIO, current_deadline
from rockai_transport.io.detached import run_detached, to_thread
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.io.loops import LoopConnections, running_loop
from rockai_transport.protocol.io import (
    IO,
    TIME_IS_UP,
    BrokenError,
    EventBody,
    ExpiredError,
    LeftError,
    Notices,
    NotSentError,
    Operation,
)
from rockai_transport.protocol.messages import Request, ResponseHead
from rockai_transport.protocol.operations import Operations

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(slots=True, eq=False)
class Timer:
    """Wakes the waiting task when its time is up, and writes due notices to the log.

    All reads of a stream share one timer: it is not moved with each read, but set again if it fires early.
    """

    task: asyncio.Task[Any] | None = None
    """The task that waits. It is forgotten after its wait: the task of an ``anext`` holds the generator
    around the stream, which then would never be dropped."""
    _handle: asyncio.TimerHandle | None = None
    _due: float = math.inf
    _until: float = math.inf
    _notices: Notices | None = None
    _rang: bool = False
    _cancellations: int = 0

    def wait(self, until: float, notices: Notices | None) -> None:
        """Start a wait of the current task, until this deadline at most."""
        self.task = task = asyncio.current_task()
        self._cancellations = task.cancelling() if task is not None else 0
        self._until, self._notices = until, notices
        due = until if notices is None else min(until, notices.due)
        if due < self._due:
            self._set(due)

    def ring(self) -> None:
        """Wake the task, if it waits."""
        if self.task is not None and not self._rang:
            self._rang = True
            self.task.cancel()

    def caused_cancellation(self) -> bool:
        """Return whether this timer alone caused the cancellation that the task has just got."""
        rang, self._rang = self._rang, False
        return rang and self.task is not None and self.task.uncancel() <= self._cancellations

    def stop(self) -> None:
        """End the wait."""
        self.task = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._due = None, math.inf

    def _set(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = due
        self._handle = asyncio.get_running_loop().call_later(max(due - time.monotonic(), 0), self._fire)

    def _fire(self) -> None:
        self._handle, self._due = None, math.inf
        if self.task is None:
            return  # the next wait sets the timer again
        moment, due, notices = time.monotonic(), self._until, self._notices
        if moment >= due:
            self.ring()
            return
        if notices is not None:
            notices.tell(moment)
            due = min(due, notices.due)
        self._set(due)


@dataclass(eq=False)
class AsyncIO(BaseIO):
    """`IO` with ``await``."""

    connections: LoopConnections
    _chunks: AsyncIterator[bytes] | None = field(default=None, init=False)
    _timer: Timer = field(default_factory=Timer, init=False)
    _sent: Any = field(default=None, init=False)  # our transport, and the last request to it
    _was_canceled = False

    def leave(self) -> None:
        """As `BaseIO.leave`."""
        super().leave()
        self._timer.ring()

    async def open(self, request: Request, until: float, notices: Notices | None = None) -> ResponseHead:
        own, built = self.endpoint.build(request, until)
        self._deadline.connecting = self._deadline.sent = False
        token = current_deadline.set(self._deadline)
        try:
            if own is not None:
                sent = own.send(built, stream=True, follow_redirects=False)
            else:
                scope = await self.connections.here()
                transport = scope.to(built.url, public_only=request.public_only)
                self._sent = transport, built
                sent = transport.handle_async_request(built)
            self._response = response = await self._limited(sent, until, notices)
        except BrokenError as failure:
            self._response = response = self._refused(failure)
        except ExpiredError as expired:
            if self._deadline.connecting and not self._deadline.sent:
                raise NotSentError(f"no connection: {expired}", timed_out=True) from expired
            raise
        finally:
            current_deadline.reset(token)
        head, body = self._opened(request, response)
        self._chunks = aiter(body)
        return head

    async def read(self, within: float, until: float) -> bytes:
        until = min(until, time.monotonic() + within)
        while self._chunks is not None:
            chunk = await self._limited(anext(self._chunks, None), until, None)
            if chunk is None:
                break
            if chunk:
                return chunk
        return b""

    async def follow(self, body: EventBody) -> list[str]:
        timer, chunks = self._timer, self._chunks
        while body.reader.end is None:
            timer.wait(min(body.until, time.monotonic() + body.within), body.notices)
            try:
                chunk = await anext(chunks, None) if chunks is not None else None
            except asyncio.CancelledError:
                self._interrupted()
                raise
            except Exception as error:  # noqa: BLE001 - translated
                failure = self._failure(error)
                raise failure from failure.__cause__
            finally:
                timer.task = None
            if chunk is None:
                body.end()
                break
            if pieces := body.feed(chunk):
                return pieces
        return []

    async def close(self) -> None:
        response, self._response, self._chunks = self._response, None, None
        sent, self._sent = self._sent, None
        self._timer.stop()
        try:
            if response is not None:
                with contextlib.suppress(Exception):
                    await (run_detached(response.aclose()) if self._was_canceled else response.aclose())
        except asyncio.CancelledError:
            self._was_canceled = True
            raise
        finally:
            if sent is not None and self._was_canceled:
                transport, request = sent
                await run_detached(transport.release(request))

    async def sleep(self, seconds: float) -> None:
        await self._limited(asyncio.sleep(seconds), math.inf, None)

    async def call(self, callback: Callable[[Any], Any], value: Any) -> None:
        result = callback(value)
        if inspect.isawaitable(result):
            await result

    async def in_thread(self, function: Callable[[], T]) -> T:
        """As `IO.in_thread`; a cancellation waits until it has finished, because it uses a file."""
        return await run_detached(to_thread(function), grace=math.inf)

    async def detached(self, operation: Callable[[IO], Coroutine[Any, Any, T]], within: float) -> T:
        return await run_detached(operation(AsyncIO(self.endpoint, self.connections)), within)

    async def _limited(self, awaited: Awaitable[T], until: float, notices: Notices | None) -> T:
        """Await something until a deadline, and translate its errors."""
        timer = self._timer
        timer.wait(until, notices)
        try:
            return await awaited
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:  # noqa: BLE001 - translated
            failure = self._failure(error)
            raise failure from failure.__cause__
        finally:
            timer.stop()

    def _interrupted(self) -> None:
        """Note a cancellation; raise the timeout error if the timer caused it."""
        self._was_canceled = True
        if self._timer.caused_cancellation():
            if self.is_left:
                raise LeftError from None
            raise ExpiredError(TIME_IS_UP) from None  # from our own clock, so without a cause


class AsyncSession:
    """The endpoint, the connections and the operations of one client.

    Args:
        endpoint: The endpoint of the service.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.connections = LoopConnections()
        self.operations = Operations(endpoint.settings)

    def io(self) -> AsyncIO:
        """Return the `IO` for one operation."""
        return AsyncIO(self._endpoint, self.connections)

    async def do(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation."""
        running_loop()
        io = self.io()
        try:
            return await operation(io, *args, **kwargs)
        except GeneratorExit:
            raise
        except BaseException as error:
            await io.close()
            io.sanitize(error)
            raise
