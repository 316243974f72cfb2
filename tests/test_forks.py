"""Locks in a forked child."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rockai_transport.adapters import clients
from rockai_transport.jobs import budget, running, sqlite_records, stores
from rockai_transport.protocol import inputs

LOCKS = {
    "clients": clients._creating,
    "budget": budget._guard,
    "running": running._registering,
    "sqlite": sqlite_records._in_use,
    "stores": stores._in_memory,
    "inputs": inputs._seeking,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", LOCKS)
def test_a_module_s_lock_is_free_in_a_forked_child(name):
    """Also if a thread of the parent holds it at the fork: the fork waits until it is released."""
    lock, held, go_on = LOCKS[name], threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            go_on.wait()

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    threading.Timer(0.01, go_on.set).start()  # by a timer: nothing else runs while the fork waits
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), ThreadPoolExecutor() as other:
            os._exit(not other.submit(lock.acquire, blocking=False).result())
        os._exit(2)
    holding.join()
    assert os.waitpid(child, 0)[1] == 0
