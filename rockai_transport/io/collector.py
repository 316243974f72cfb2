"""Leaving streams that the garbage collector finds, or the end of the program.

Invariants of this module: within a collection, which may run at any moment, within any lock, no lock is taken
and nothing is sent; a thread does it, and the end of the program waits for it, two seconds at most.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import functools
import gc
import threading
import time
from typing import Any
from weakref import WeakSet

from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS
from rockai_transport.protocol.streams import RunStream

__all__ = ["finish_streams", "in_background", "is_collecting", "open_streams", "watch_collections"]

_collecting: set[int] = set()
open_streams: WeakSet[Any] = WeakSet()
"""Streams that may have to be left at the end: the last traceback, for one, drops nothing that it holds."""
_pending: list[RunStream] = []  # appending to a list, and removing from it, takes no lock


def is_collecting() -> bool:
    """Whether this code runs within a collection of this thread, and not because a last reference went."""
    return threading.get_ident() in _collecting


def in_background(run: RunStream) -> None:
    """Leave a stream in a thread of its own."""
    _pending.append(run)
    _thread.start_new_thread(_leave, (run,))


@functools.cache
def watch_collections() -> None:
    """Take note of collections from now on."""
    gc.callbacks.append(_note)
    atexit.register(finish_streams)


def _note(phase: str, _info: dict[str, Any]) -> None:
    (_collecting.add if phase == "start" else _collecting.discard)(threading.get_ident())


def _leave(run: RunStream) -> None:
    with contextlib.suppress(Exception):
        run_blocking(run.leave())
    _pending.remove(run)


def finish_streams() -> None:
    """Leave what is still open, as the program ends."""
    for stream in list(open_streams):
        with contextlib.suppress(Exception):
            stream.close()
    give_up = time.monotonic() + CANCEL_GRACE_SECONDS
    while _pending and time.monotonic() < give_up:
        time.sleep(0.005)
