"""The async shell: drives flows with ``await``. Mirrors `rockai_transport.io.blocking`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rockai_transport.base_client import head_of
from rockai_transport.io.network import Trail, environment_proxy, is_pool_exhausted, translate
from rockai_transport.protocol import effects
from rockai_transport.protocol.effects import (
    Effect,
    Emit,
    ExpiredError,
    Flow,
    LeftError,
    Notices,
    NotSentError,
)
from rockai_transport.protocol.operations import FAREWELL_SECONDS
from rockai_transport.protocol.streams import closed_elsewhere, read_already

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import TracebackType

    import httpx

    from rockai_transport.async_client import AsyncClient
    from rockai_transport.protocol.prediction import Prediction
    from rockai_transport.protocol.requests import ResponseHead
    from rockai_transport.protocol.streams import Transcript

__all__ = ["AsyncStream", "Driver", "drive"]

logger = logging.getLogger("rockai")

T = TypeVar("T")


async def drive(client: AsyncClient, flow: Flow[T]) -> T:
    """Do what a flow asks for until it returns."""
    driver = Driver(client, flow)
    await driver.advance()
    value: T = driver.value
    return value


class AsyncStream:
    """The text of one run, piece by piece. An async iterator, and a context manager that leaves properly.

    Made by `AsyncClient.stream` and `AsyncPredictions.stream`. Any task of its loop may close it: one that
    waits for its next piece is told with a `StreamInterruptedError`.

    An object with ``__anext__``, not an async generator: when `asyncio.run` ends it closes all open
    generators at once, and a nested one would raise.

    Example:
        >>> async with client.stream("sandbox/never-ends", {"prompt": "Count."}) as stream:
        ...     async for piece in stream:
        ...         print(piece)
        ...         break  # leaving closes the connection at once
        line 1
    """

    def __init__(self, client: AsyncClient, transcript: Transcript, flow: Flow[None]) -> None:
        self._transcript = transcript
        self._driver = Driver(client, flow)

    @property
    def prediction(self) -> Prediction | None:
        """What is known of the prediction so far; at the stream's good end, the whole.

        Example:
            >>> async with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     text = "".join([piece async for piece in stream])
            >>> stream.prediction.status, stream.prediction.output
            ('succeeded', ['one', ' two'])
        """
        return self._transcript.prediction

    @property
    def text(self) -> str:
        """Exactly what has been handed on so far.

        Example:
            >>> async with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     async for piece in stream:
            ...         print(stream.text)
            one
            one two
        """
        return self._transcript.text

    def __aiter__(self) -> AsyncIterator[str]:
        if self._driver.finished:
            raise read_already(self._transcript)
        return self

    async def __anext__(self) -> str:
        try:
            piece = await self._driver.advance()
        except LeftError:
            raise closed_elsewhere(self._transcript) from None
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Leave: close the connection at once; cancel the prediction where its id is known.

        Example:
            >>> stream = client.stream("sandbox/never-ends", {"prompt": "Count."})
            >>> await anext(stream)
            'line 1'
            >>> await stream.aclose()
            >>> stream.text
            'line 1'
        """
        await self._driver.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A `break` out of a loop that held the only reference ends up here; the loop does what is left.
        if not sys.is_finalizing() and hasattr(self, "_driver"):
            self._driver.leave_later()


class Driver:
    """Drives one flow: does what it asks for, and tells it what came of it."""

    def __init__(self, client: AsyncClient, flow: Flow[Any]) -> None:
        self._client = client
        self._flow = flow
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Future[None] | None = None  # done when the task that drives the flow lets go
        self._limit: asyncio.Timeout | None = None
        self._is_left = False
        self._is_told = False
        self.finished = False
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self.value: Any = None

    async def advance(self) -> str | None:
        """Go on to the next piece that the flow emits; None once it has returned, its value in ``value``.

        Raises:
            LeftError: Another task has closed the stream meanwhile.
        """
        if self._turn is not None:
            raise RuntimeError("Another task is waiting for this stream's next piece.")
        if self.finished and not self._must_tell():
            return None
        with self._my_turn():
            if self._must_tell():
                return await self._go(self._tell_left)
            piece = await self._go(lambda: self._flow.send(None))
            if self._must_tell():  # closed in the very moment in which the piece came
                with contextlib.suppress(LeftError):
                    await self._go(self._tell_left)
                self._is_told = False
        return piece

    async def leave(self) -> None:
        """Tell the flow that its reader has left, and do what it asks for then."""
        if self._turn is not None:
            # A task is waiting for something: it is woken, and does what is left to do.
            self._is_left = True
            self._interrupt()
            await asyncio.wait({self._turn})
            return
        if self._loop is not None and not self.finished:
            with contextlib.suppress(LeftError), self._my_turn():
                await self._go(self._tell_left)
        self.finished = True

    def leave_later(self) -> None:
        """Leave as soon as the loop finds time: nobody waits for it."""
        if self._loop is None or self.finished or self._loop.is_closed():
            return
        see_off = self._client._connections.see_off  # noqa: SLF001
        with contextlib.suppress(RuntimeError):
            if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented, and raises nothing
                see_off(self)  # at once: the loop may be about to end, and would cancel what has not begun
            else:
                self._loop.call_soon_threadsafe(see_off, self)

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        self._loop = asyncio.get_running_loop()
        self._turn = turn = self._loop.create_future()
        try:
            yield
        finally:
            self._turn = None
            turn.set_result(None)

    def _must_tell(self) -> bool:
        """Whether another task has closed the stream, and the flow does not know it yet."""
        return self._is_left and not self._is_told

    def _tell_left(self) -> Effect:
        self._is_told = True
        return self._flow.throw(LeftError())

    def _interrupt(self) -> None:
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):  # it has run out in this very moment
                self._limit.reschedule(asyncio.get_running_loop().time())

    async def _go(self, step: Callable[[], Effect]) -> str | None:
        try:
            while not isinstance(effect := step(), Emit):
                step = await self._answer(effect)
        except StopIteration as end:
            self.value = end.value
            self.finished = True
            await self._close()
            return None
        except BaseException as error:
            self.finished = True
            await self._close()
            self._client._tidy(error)  # noqa: SLF001 - one object in two parts, here and below
            raise
        return effect.piece

    async def _answer(self, effect: Effect) -> Callable[[], Effect]:
        """Do what a flow asks for; give the step that tells it the result."""
        try:
            result = await self._perform(effect)
        except BaseException as error:  # noqa: BLE001 - a cancellation too is for the flow to decide on
            failure = error
            if isinstance(failure, Exception) and self._must_tell():
                return self._tell_left
            return lambda: self._flow.throw(failure)
        return self._tell_left if self._must_tell() else lambda: self._flow.send(result)

    async def _perform(self, effect: Effect) -> Any:  # noqa: C901, PLR0911 - one line for each effect
        match effect:
            case effects.Read():
                return await self._read(effect)
            case effects.Now():
                return time.monotonic()
            case effects.Open():
                return await self._open(effect)
            case effects.Close():
                return await self._close()
            case effects.Tell():
                told = effect.callback(effect.value)
                return await told if inspect.isawaitable(told) else told
            case effects.Sleep():
                return await self._limited(asyncio.sleep(effect.seconds), math.inf, None)
            case effects.Chance():
                return random.random()  # noqa: S311 - jitter
            case effects.Work():
                return await _in_thread(effect.function)
            case effects.Farewell():
                return await self._bid_farewell(effect.begin)
            case effects.Emit():
                raise AssertionError("a piece is handed on, not performed")

    async def _open(self, effect: effects.Open) -> ResponseHead:
        client, call = self._client, effect.call
        url = client._url(call)  # noqa: SLF001
        http = await client._http(url, call)  # noqa: SLF001
        trail = Trail(public_only=call.public_only and environment_proxy(url) is None)
        request = http.build_request(
            call.method,
            str(url),  # httpx's successor has a class of its own
            content=call.body,
            headers=client._headers(call, url),  # noqa: SLF001
            extensions={"trace": trail.afollow, "timeout": client._limits(effect)},  # noqa: SLF001
        )
        logger.debug("%s", call)
        sent = http.send(request, stream=True, follow_redirects=False)
        with self._translated(trail):
            self._response = await self._limited(sent, effect.until, effect.notices)
        self._chunks = self._response.aiter_bytes()
        return head_of(self._response)

    async def _read(self, effect: effects.Read) -> bytes:
        until = min(effect.until, time.monotonic() + effect.within)
        with self._translated():
            return await self._limited(self._next_chunk(), until, effect.notices)

    async def _next_chunk(self) -> bytes:
        if self._chunks is not None:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        return b""

    async def _limited(self, awaited: Coroutine[Any, Any, T], until: float, notices: Notices | None) -> T:
        """Await something until a moment, saying in the log what there is to say while it lasts."""
        loop = asyncio.get_running_loop()
        left = until - time.monotonic()
        timer = _NoticeTimer(loop, notices) if notices is not None else None
        limit = asyncio.timeout(None if math.isinf(left) else max(left, 0))
        try:
            async with limit:
                self._limit = limit
                return await awaited
        except TimeoutError:
            if not limit.expired():
                raise
            raise ExpiredError("the time limit ran out") from None  # by our own clock: there is no cause
        finally:
            self._limit = None
            if timer is not None:
                timer.cancel()

    @contextlib.contextmanager
    def _translated(self, trail: Trail | None = None) -> Iterator[None]:
        """The one mapping of foreign errors."""
        try:
            yield
        except ExpiredError as expired:
            if trail is not None and trail.never_sent:
                raise NotSentError(f"no connection: {expired}", timed_out=True) from expired
            raise
        except Exception as error:
            if is_pool_exhausted(error):
                self._client._connections.renew()  # noqa: SLF001
            if (failure := translate(error)) is None:
                raise
            raise failure from error

    async def _close(self) -> None:
        response, self._response, self._chunks = self._response, None, None
        if response is not None:
            with contextlib.suppress(Exception):
                await response.aclose()

    async def _bid_farewell(self, begin: Callable[[], Flow[Any]]) -> Any:
        """Run it in a task of its own, which neither this cancellation nor a second one reaches.

        A loop that ends cancels all its tasks once, that one too: then it is begun again.
        """
        task = asyncio.ensure_future(drive(self._client, begin()))
        canceled: asyncio.CancelledError | None = None
        give_up = time.monotonic() + FAREWELL_SECONDS
        while not task.done() and (left := give_up - time.monotonic()) > 0:
            try:
                await asyncio.wait({task}, timeout=left)
            except asyncio.CancelledError as error:
                canceled = error
            if task.cancelled() and canceled is not None:
                task = asyncio.ensure_future(drive(self._client, begin()))
        if not task.done():
            task.cancel()
        elif not task.cancelled() and (failure := task.exception()) is not None:
            logger.debug("The cancel that was sent on leaving failed: %s", failure)
        if canceled is not None:
            raise canceled
        done = task.done() and not task.cancelled() and task.exception() is None
        return task.result() if done else None


async def _in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread, and be done with it before a cancellation goes on: it holds a file."""
    task = asyncio.ensure_future(asyncio.to_thread(function))
    canceled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            canceled = error
    if canceled is not None:
        task.cancelled() or task.exception()  # taken note of: the cancellation is what goes on
        raise canceled
    return task.result()


class _NoticeTimer:
    """Calls on `Notices` when they are due, as long as it is not canceled."""

    def __init__(self, loop: asyncio.AbstractEventLoop, notices: Notices) -> None:
        self._loop = loop
        self._notices = notices
        self._set()

    def _set(self) -> None:
        self._handle = self._loop.call_later(max(self._notices.due - time.monotonic(), 0.001), self._fire)

    def _fire(self) -> None:
        self._notices.tell(time.monotonic())
        self._set()

    def cancel(self) -> None:
        self._handle.cancel()
