"""Locks that a forked child finds free: of the threads of its parent, it has only the one that forked."""

from __future__ import annotations

import os
import threading


def lock_across_forks() -> threading.RLock:
    """Return a lock for short work, one per module: a fork waits until no other thread holds it."""
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
