"""`Stream`: the pieces of one run, with blocking calls. `io.async_streams` mirrors this.

Invariants of this module: a garbage collection may run at any moment, inside any lock. During one, no lock is
taken and nothing is sent. A thread does it instead, and the program waits for it at its end, at most two
seconds.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import functools
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Self
from weakref import WeakSet

from rockai_transport.io.blocking import BlockingIO
from rockai_transport.protocol.io import LeftError, run_blocking
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.streams import (
    RunStream,
    StreamState,
    begun_in_another_process,
    closed_elsewhere,
    read_already,
)

_collecting: set[int] = set()  # the threads in a garbage collection
_open_streams: WeakSet[Stream] = WeakSet()
"""Streams to leave at the program's end; for example, the last traceback keeps its streams alive."""
_pending: list[RunStream] = []  # a list's append and remove take no lock
_read_elsewhere: WeakSet[Any] = WeakSet()
"""The locks of streams that were closed while another thread was reading: it leaves them."""


class Stream:
    """The text of one run, piece by piece. An iterator, and a context manager that leaves cleanly.

    Made by `Client.stream` and `Predictions.stream`. Any thread may close it: a thread that continues to read
    then gets a `StreamInterruptedError`.

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
        self._is_cut = False  # closed elsewhere, and the reader does not know it yet
        self._reader: int | None = None
        self._process = os.getpid()
        _watch_collections()

    @property
    def prediction(self) -> Prediction | None:
        """The prediction, as far as it is known; complete at the stream's successful end.

        Example:
            >>> with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     text = "".join(stream)
            >>> stream.prediction.status, stream.prediction.output
            ('succeeded', ['one', ' two'])
        """
        return self._state.prediction

    @property
    def text(self) -> str:
        """Exactly the text delivered so far.

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
            with contextlib.suppress(IndexError):  # another thread closes the stream at this moment
                return self._ready.popleft()
        return self._next_of_new_batch()

    def take_ready(self) -> list[str]:
        """Return at once the other pieces that arrived with the last one, without waiting.

        Returns:
            The pieces; empty if no more have arrived.

        Example:
            >>> stream = client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"})
            >>> "".join([next(stream), *stream.take_ready(), *stream])
            'one two'
        """
        return self._state.take_ready() if self._ready else []

    def close(self) -> None:
        """Close the connection at once, and cancel the prediction if its id is known.

        Example:
            >>> stream = client.stream("sandbox/never-ends", {"prompt": "Count."})
            >>> next(stream)
            'line 1'
            >>> stream.close()
            >>> stream.text
            'line 1'
        """
        if (self._run.finished and not self._ready) or self._process != os.getpid():
            return  # in a forked child, the stream belongs to the parent
        if threading.get_ident() in _collecting:
            _pending.append(self._run)
            _thread.start_new_thread(_leave, (self._run,))
            return
        self._io.leave()
        # This wakes a thread that is reading; it does the rest.
        if self._turn.acquire(blocking=False):
            try:
                self._leave()
            finally:
                self._turn.release()
        elif self._reader != threading.get_ident():
            _read_elsewhere.add(self._turn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A `break` out of a loop with the only reference ends here.
        if not sys.is_finalizing() and hasattr(self, "_process"):
            with contextlib.suppress(Exception):
                try:
                    self.close()
                except (KeyboardInterrupt, SystemExit):
                    self.close()
                    raise

    def _next_of_new_batch(self) -> str:
        if self._process != os.getpid():  # first: a thread of that process may hold the lock
            raise begun_in_another_process(self._state)
        with self._turn:
            if self._is_cut:
                self._is_cut = False
                raise closed_elsewhere(self._state)
            self._reader = threading.get_ident()
            if not self._run.started:
                _open_streams.add(self)
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
        if self._io.is_left:  # closed at the moment when the batch arrived
            self.close()
            self._is_cut = True
        return piece

    def _leave(self) -> None:
        self._is_cut = self._state.drop_ready() and self._reader != threading.get_ident()
        run_blocking(self._run.leave())


@functools.cache
def _watch_collections() -> None:
    """Record garbage collections from now on."""
    gc.callbacks.append(_note)
    atexit.register(finish_streams)


def _note(phase: str, _info: dict[str, Any]) -> None:
    (_collecting.add if phase == "start" else _collecting.discard)(threading.get_ident())


def _leave(run: RunStream) -> None:
    with contextlib.suppress(Exception):
        run_blocking(run.leave())
    _pending.remove(run)


def _listed(weak: WeakSet[Any]) -> list[Any]:
    """List a set to which another thread may add at the same moment: then its iteration fails."""
    while True:
        with contextlib.suppress(RuntimeError):
            return list(weak)


def finish_streams() -> None:
    """Leave the streams that are still open when the program ends."""
    for stream in _listed(_open_streams):
        with contextlib.suppress(Exception):
            stream.close()
    give_up = time.monotonic() + CANCEL_GRACE_SECONDS
    while (_pending or any(one.locked() for one in _listed(_read_elsewhere))) and time.monotonic() < give_up:
        time.sleep(0.005)  # no lock: its owner may be a thread that the end of the program has stopped
