import gc
import ssl
import threading

import pytest
import trustme
from support.drivers import KINDS, Driven, InMemory
from support.virtual_io import VirtualIO
from support.wire_server import WireServer

from rockai_transport.io.network import ssl_context
from rockai_transport.protocol import retry


@pytest.fixture(scope="session")
def authority():
    """Whom nobody trusts but who is told to."""
    return trustme.CA()


@pytest.fixture
def certificate(authority, tmp_path_factory, monkeypatch):
    """What a server on this machine shows, to clients that trust its authority."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))  # httpx reads it
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    ssl_context.cache_clear()  # the clients' one context for the whole process
    yield context
    ssl_context.cache_clear()


@pytest.fixture
def scheme():
    """What most tests speak. A module whose facts must hold over TLS too has a fixture of its own."""
    return "http"


@pytest.fixture
def server(request, scheme):
    """A server whose every byte is scripted."""
    with WireServer(request.getfixturevalue("certificate") if scheme == "https" else None) as running:
        yield running


@pytest.fixture
def io():
    """A service in memory."""
    return VirtualIO()


@pytest.fixture
def in_memory(io):
    """Make a client of the service in memory. What it decides, both clients do: they share the operations."""

    def make(**settings):
        return InMemory(io, **settings)

    return make


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
    gc.collect(1)  # what is young: what was left open is blamed on the test that left it


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


@pytest.fixture
def quick(monkeypatch):
    """Waits between tries that are short."""
    monkeypatch.setattr(retry, "_FIRST_DELAY", 0.01)
