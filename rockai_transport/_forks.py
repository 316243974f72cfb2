"""What a forked child must not share with its parent: locks that other threads hold, and connections."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any
from weakref import WeakSet

connections: WeakSet[Any] = WeakSet()
"""The open connections of event loops: objects with httpcore's ``get_extra_info``."""


def lock_across_forks() -> threading.RLock:
    """Return a lock for short work, one per module: a fork waits until no other thread holds it.

    Of the threads of its parent, a child has only the one that forked.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def cut_connections() -> None:
    """In a forked child, put a closed socket in the place of each one that it shares with its parent.

    The child's copies of its parent's tasks would read what is for the parent, end its TLS sessions, or
    remove its sockets from the selector, which is shared too.
    """
    for connection in connections:
        closed, other = socket.socketpair()
        other.close()
        with closed, contextlib.suppress(OSError):  # closed already
            os.dup2(closed.fileno(), connection.get_extra_info("socket").fileno())
