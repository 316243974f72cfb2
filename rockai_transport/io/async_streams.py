"""`AsyncStream`: the pieces of one run, with ``await``. `io.streams` mirrors this."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any, Self

from rockai_transport.io.asynchronous import AsyncIO
from rockai_transport.io.loops import LoopScope, running_loop
from rockai_transport.protocol.io import LeftError
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.streams import (
    RunStream,
    StreamState,
    begun_in_another_process,
    closed_elsewhere,
    misused,
    read_already,
)


class AsyncStream:
    """The text of one run, piece by piece. An async iterator, and a context manager that leaves cleanly.

    Made by `AsyncClient.stream` and `AsyncPredictions.stream`. Any task of its loop may close it: a task that
    continues to read then gets a `StreamInterruptedError`.

    It is an object with ``__anext__``, not an async generator: `asyncio.run` closes all open generators at
    once when it ends, and a nested one would raise.

    Example:
        >>> async with client.stream("sandbox/never-ends", {"prompt": "Count."}) as stream:
        ...     async for piece in stream:
        ...         print(piece)
        ...         break  # leaving closes the connection at once
        line 1
    """

    def __init__(self, io: AsyncIO, state: StreamState, run: RunStream) -> None:
        self._state = state
        self._ready = state.ready
        self._reader = _Reader(io, state, run)

    @property
    def prediction(self) -> Prediction | None:
        """The prediction, as far as it is known; complete at the stream's successful end.

        Example:
            >>> async with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     text = "".join([piece async for piece in stream])
            >>> stream.prediction.status, stream.prediction.output
            ('succeeded', ['one', ' two'])
        """
        return self._state.prediction

    @property
    def text(self) -> str:
        """Exactly the text delivered so far.

        Example:
            >>> async with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     async for piece in stream:
            ...         print(stream.text)
            one
            one two
        """
        return self._state.text

    def __aiter__(self) -> AsyncIterator[str]:
        if self._reader.run.finished and not self._ready:
            raise read_already(self._state)
        return self

    async def __anext__(self) -> str:
        if self._ready:
            return self._ready.popleft()
        return await self._reader.next_of_new_batch()

    def take_ready(self) -> list[str]:
        """Return at once the other pieces that arrived with the last one, without waiting.

        Returns:
            The pieces; empty if no more have arrived.

        Example:
            >>> stream = client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"})
            >>> "".join([await anext(stream), *stream.take_ready()]) in ("one", "one two")
            True
        """
        return self._state.take_ready() if self._ready else []

    async def aclose(self) -> None:
        """Close the connection at once, and cancel the prediction if its id is known.

        Example:
            >>> stream = client.stream("sandbox/never-ends", {"prompt": "Count."})
            >>> await anext(stream)
            'line 1'
            >>> await stream.aclose()
            >>> stream.text
            'line 1'
        """
        if not self._reader.run.finished or self._ready:
            await self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A `break` out of a loop with the only reference ends here; the loop does the rest.
        if not sys.is_finalizing() and hasattr(self, "_reader") and not self._reader.run.finished:
            self._reader.close_in_background()


class _Reader:
    """Reads and leaves a stream. It outlives a dropped `AsyncStream` until the stream is left."""

    def __init__(self, io: AsyncIO, state: StreamState, run: RunStream) -> None:
        self._io = io
        self._state = state
        self.run = run
        self._scope: LoopScope | None = None
        self._is_cut = False  # closed elsewhere, and the reader does not know it yet
        # Weak, because the finished task of an ``anext`` holds the generator around this stream.
        self._task: weakref.ref[asyncio.Task[Any]] | None = None
        self._is_busy = False
        self._let_go: asyncio.Future[None] | None = None  # done when the busy task has finished

    async def next_of_new_batch(self) -> str:
        """Read the next batch; return its first piece."""
        self._check_turn()
        self._is_busy = True
        try:
            if self._scope is None:
                await self._begin()
            batch = await self.run.next_batch()
        except LeftError:
            raise closed_elsewhere(self._state) from None
        except BaseException as error:
            self._io.sanitize(error)
            raise
        finally:
            self._end_turn()
        if not batch:
            raise StopAsyncIteration
        piece = self._state.take(batch)
        if self._io.is_left:  # closed at the moment when the batch arrived
            await self._leave()
            self._is_cut = True
        return piece

    async def close(self) -> None:
        """Leave, even if another task is reading; in a forked child, the stream belongs to the parent."""
        if self._scope is not None and self._scope.loop is None:
            return
        if not self._is_busy:
            await self._leave()
            return
        # Wake the task that is waiting; it does the rest.
        self._io.leave()
        if self._let_go is None:
            self._let_go = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._let_go})

    async def cut_off(self) -> None:
        """As `close`, if the reader did not ask for it and must get an error."""
        await self.close()
        self._is_cut = True

    def close_in_background(self) -> None:
        """Leave in a background task, without waiting for it."""
        if self._scope is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._scope.close_in_background(self)

    async def _begin(self) -> None:
        self._scope = await self._io.connections.here()
        task = asyncio.current_task()
        self._task = weakref.ref(task) if task is not None else None
        self._scope.streams.add(self)

    async def _leave(self) -> None:
        self._check_turn(is_reading=False)
        began_in = self._task and self._task()
        self._is_cut = self._state.drop_ready() and began_in is not asyncio.current_task()
        self._is_busy = True
        try:
            await self.run.leave()
        finally:
            self._end_turn()

    def _check_turn(self, *, is_reading: bool = True) -> None:
        """Refuse a call in another loop, or while another task uses the stream."""
        if self._scope is not None and self._scope.loop is not running_loop():
            if self._scope.loop is None:
                raise begun_in_another_process(self._state)
            raise misused(
                "This stream is read in another event loop than it began in. A stream belongs to one loop: "
                "read it there, to its end.",
                self._state,
            )
        if self._is_busy:
            raise RuntimeError("Another task is waiting for this stream's next piece.")
        if is_reading and self._is_cut:
            self._is_cut = False
            raise closed_elsewhere(self._state)

    def _end_turn(self) -> None:
        self._is_busy = False
        if self._let_go is not None:
            self._let_go.set_result(None)
            self._let_go = None
        if self._scope is not None and self.run.finished:
            self._scope.discard(self)
