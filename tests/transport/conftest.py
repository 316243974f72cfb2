import gc
import threading

import pytest
from support.drivers import KINDS, Driven
from support.wire_server import WireServer


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """What stands before the first test is not looked at again by every collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def server():
    """A server whose every byte is scripted."""
    with WireServer() as running:
        yield running


@pytest.fixture(params=KINDS)
def kind(request):
    """Both clients, one after the other."""
    return request.param


@pytest.fixture
def connect(kind, server):
    """Make a client of either kind; it is closed, with its event loop, when the test ends."""
    made = []

    def make(base_url=None, **settings):
        made.append(Driven(kind, base_url or server.base_url, **settings))
        return made[-1]

    yield make
    for driven in made:
        driven.end()
    made.clear()
    gc.collect()  # so that what was left open is blamed on the test that left it


@pytest.fixture
def client(connect):
    """A client of either kind, of the server, with default settings."""
    return connect()


@pytest.fixture
def later():
    """Run a function in a thread; every thread is waited for when the test ends."""
    threads = []

    def start(function, *args):
        threads.append(threading.Thread(target=function, args=args, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
