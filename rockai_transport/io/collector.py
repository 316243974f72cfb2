"""Leaves streams that are garbage-collected, or still open at the end of the program.

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
import threading
import time
from typing import Any
from weakref import WeakSet

from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS
from rockai_transport.protocol.streams import RunStream

_collecting: set[int] = set()
open_streams: WeakSet[Any] = WeakSet()
"""Streams to leave at the program's end; for example, the last traceback keeps its streams alive."""
_pending: list[RunStream] = []  # a list's append and remove take no lock


def is_collecting() -> bool:
    """Return whether this code runs in a garbage collection, not because the last reference was dropped."""
    return threading.get_ident() in _collecting


def in_background(run: RunStream) -> None:
    """Leave a stream in its own thread."""
    _pending.append(run)
    _thread.start_new_thread(_leave, (run,))


@functools.cache
def watch_collections() -> None:
    """Record garbage collections from now on."""
    gc.callbacks.append(_note)
    atexit.register(finish_streams)


def _note(phase: str, _info: dict[str, Any]) -> None:
    (_collecting.add if phase == "start" else _collecting.discard)(threading.get_ident())


def _leave(run: RunStream) -> None:
    with contextlib.suppress(Exception):
        run_blocking(run.leave())
    _pending.remove(run)


def finish_streams() -> None:
    """Leave the streams that are still open when the program ends."""
    for stream in list(open_streams):
        with contextlib.suppress(Exception):
            stream.close()
    give_up = time.monotonic() + CANCEL_GRACE_SECONDS
    while _pending and time.monotonic() < give_up:
        time.sleep(0.005)
