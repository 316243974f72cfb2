"""`Stream`: the pieces of one run, with blocking calls. `io.async_streams` mirrors this."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rockai_transport.errors import ConfigurationError
from rockai_transport.io.blocking import BlockingIO
from rockai_transport.io.collector import in_background, is_collecting, open_streams, watch_collections
from rockai_transport.protocol.io import LeftError, run_blocking
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.streams import RunStream, StreamState, closed_elsewhere, read_already

__all__ = ["Stream"]


class Stream:
    """The text of one run, piece by piece. An iterator, and a context manager that leaves properly.

    Made by `Client.stream` and `Predictions.stream`. Any thread may close it: one that reads on is told with
    a `StreamInterruptedError`.

    Example:
        >>> with client.stream("sandbox/never-ends", {"prompt": "Count."}) as stream:
        ...     for piece in stream:
        ...         print(piece)
        ...         break  # leaving closes the connection at once
        line 1
    """

    def __init__(self, io: BlockingIO, state: StreamState, run: RunStream) -> None:
        self._io = io
        self._state = state
        self._ready = state.ready
        self._run = run
        self._turn = threading.Lock()  # held by the thread that reads or leaves
        self._is_cut = False  # somebody else has closed it, and its reader does not know it yet
        self._reader: int | None = None
        self._process = os.getpid()
        watch_collections()

    @property
    def prediction(self) -> Prediction | None:
        """What is known of the prediction so far; at the stream's good end, the whole.

        Example:
            >>> with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     text = "".join(stream)
            >>> stream.prediction.status, stream.prediction.output
            ('succeeded', ['one', ' two'])
        """
        return self._state.prediction

    @property
    def text(self) -> str:
        """Exactly what has been handed on so far.

        Example:
            >>> with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     for piece in stream:
            ...         print(stream.text)
            one
            one two
        """
        return self._state.text

    def __iter__(self) -> Iterator[str]:
        if self._run.finished and not self._ready:
            raise read_already(self._state)
        return self

    def __next__(self) -> str:
        if self._ready:
            with contextlib.suppress(IndexError):  # another thread closes the stream in this moment
                return self._ready.popleft()
        return self._next_of_new_batch()

    def take_ready(self) -> list[str]:
        """Hand on at once what has come together with the last piece; nothing is waited for.

        Returns:
            The pieces, none where nothing more has come yet.

        Example:
            >>> stream = client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"})
            >>> "".join([next(stream), *stream.take_ready(), *stream])
            'one two'
        """
        return self._state.take_ready() if self._ready else []

    def close(self) -> None:
        """Leave: close the connection at once; cancel the prediction where its id is known.

        Example:
            >>> stream = client.stream("sandbox/never-ends", {"prompt": "Count."})
            >>> next(stream)
            'line 1'
            >>> stream.close()
            >>> stream.text
            'line 1'
        """
        if (self._run.finished and not self._ready) or self._process != os.getpid():
            return  # in a forked child it is the parent's
        if is_collecting():
            in_background(self._run)
            return
        self._io.leave()
        # A thread that reads is woken by this, and does what is left to do.
        if self._turn.acquire(blocking=False):
            try:
                self._leave()
            finally:
                self._turn.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A `break` out of a loop that held the only reference ends up here.
        if not sys.is_finalizing() and hasattr(self, "_process"):
            with contextlib.suppress(Exception):
                try:
                    self.close()
                except KeyboardInterrupt:
                    self.close()
                    raise

    def _next_of_new_batch(self) -> str:
        with self._turn:
            if self._is_cut:
                self._is_cut = False
                raise closed_elsewhere(self._state)
            if self._process != os.getpid():
                raise ConfigurationError(
                    "This stream was begun in another process, which reads on. Begin another one here.",
                    prediction=self._state.prediction,
                    partial_text=self._state.text,
                    may_have_started=True,
                )
            self._reader = threading.get_ident()
            if not self._run.started:
                open_streams.add(self)
            try:
                batch = run_blocking(self._run.next_batch())
            except LeftError:
                raise closed_elsewhere(self._state) from None
            except BaseException as error:
                self._io.sanitize(error)
                raise
            if not batch:
                raise StopIteration
            piece = self._state.take(batch)
        if self._io.is_left:  # closed in the very moment in which the batch came
            self.close()
            self._is_cut = True
        return piece

    def _leave(self) -> None:
        self._is_cut = self._state.drop_ready() and self._reader != threading.get_ident()
        run_blocking(self._run.leave())
