"""What every test can rely on: a clean environment, and a machine with no network but its own loopback."""

from __future__ import annotations

import contextlib
import functools
import gc
import ipaddress
import itertools
import os
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import warm

pytest_plugins = ["pytester"]
gc.disable()  # while everything is imported and collected, all of which stays

FOLDER = str(Path(__file__).parent)
SAMPLES = Path(__file__).parent / "samples"

# Settings of the person at the keyboard, which would change what a test sees or send its traces away.
LEAKY_PREFIXES = ("ROCKAI_", "LANGSMITH_", "LANGCHAIN_")
LEAKY_NAMES = {"ROCK_API_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


def _leaky_names() -> list[str]:
    upper = {name: name.upper() for name in os.environ}
    return [name for name, up in upper.items() if up in LEAKY_NAMES or up.startswith(LEAKY_PREFIXES)]


# At once too, for what is read while modules are imported or by a fixture of the whole session.
for _name in _leaky_names():
    del os.environ[_name]

# What tests import, and the programs that they start, is compiled once, not again at each start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The only authority that a client trusts here: to load the 140 of the world takes each client 15 ms.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "authority.pem")


# What a shell starts in the background is born deaf to Ctrl-C, which tests send; their children would be too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def samples():
    """The folder of recorded bytes."""
    return SAMPLES


class NetworkForbiddenError(OSError):
    """A test tried to leave the machine. An OSError, so that the code under test closes its sockets."""


_attempts: list[str] = []


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name == "localhost"


def _forbids(event: str, args: tuple[Any, ...]) -> str:
    """Give what is wrong with an audit event, "" if nothing is."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = args[1]  # (host, port, …) in the internet families; a path for a Unix socket
        if isinstance(address, tuple) and isinstance(address[0], str | bytes) and not _is_local(address[0]):
            return f"{event} to {address[0]!r}, port {address[1]}"
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = args[0]
        if host and not _is_local(host):
            try:
                ipaddress.ip_address(host)  # a number needs no name server
            except ValueError:
                return f"{event} for {host!r}"
    return ""


def _guard(event: str, args: tuple[Any, ...]) -> None:
    # An audit hook sees what asyncio, threads and C code do; it can never be taken out again.
    if event.startswith("socket.") and (attempt := _forbids(event, args)):
        _attempts.append(attempt)
        raise NetworkForbiddenError(f"{attempt}: tests reach 127.0.0.1 only; use the sandbox or a fake")


sys.addaudithook(_guard)


# Hooks, not fixtures: what every one of thousands of tests goes through is to be cheap.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Begin each test with a clean environment."""
    _attempts.clear()
    for name in _leaky_names():
        del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """Fail a test that has tried to leave the machine, even if the error was caught."""
    result = yield
    if _attempts:  # code under test may have retried, translated or swallowed the error
        pytest.fail("left the machine: " + "; ".join(_attempts), pytrace=False)
    return result


@pytest.fixture
def forbidden_attempts():
    """The attempts to leave the machine in this test."""
    return _attempts


# Who starts a server or a process says one of these words.
SERVERS = {
    "Sandbox",
    "WireServer",
    "create_server",
    "subprocess",
    "warm",
    "rockai_sandbox",
    "pytester",
    "NotebookClient",
}


@functools.cache
def _uses_sockets(function: types.FunctionType) -> bool:
    """Whether a function of the tests says so, or another function or class of theirs that it uses."""
    todo, seen = [function], set()
    while todo:
        one = todo.pop()
        seen.add(one)
        names = set(_words(one.__code__))
        if not SERVERS.isdisjoint(names):
            return True
        used = [one.__globals__[name] for name in names if name in one.__globals__]
        members = [vars(value).values() if isinstance(value, type) else [value] for value in used]
        todo += [value for value in itertools.chain(*members) if _is_ours(value) and value not in seen]
    return False


def _words(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            yield from _words(value)


def _is_ours(value: object) -> bool:
    return isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith(FOLDER)


def pytest_collection_modifyitems(items):
    """Mark the tests that use sockets or processes, themselves or in a fixture."""
    found: dict[int, bool] = {}  # what the cases of one test share → whether it does
    for item in items:
        shared = id(item._fixtureinfo)
        if shared not in found:
            fixtures = item._fixtureinfo.name2fixturedefs
            functions = [item.function, *(one.func for made in fixtures.values() for one in made)]
            functions = [getattr(one, "__func__", one) for one in functions]
            found[shared] = not SERVERS.isdisjoint(fixtures) or any(
                map(_uses_sockets, filter(_is_ours, functions))
            )
        if found[shared]:
            item.add_marker("sockets")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session):
    """Fork what tests start programs from; collect garbage again, but not at every 700 new objects.

    That would be a tenth of the time.
    """
    is_controller = session.config.pluginmanager.hasplugin("dsession")
    with contextlib.nullcontext() if is_controller else warm.interpreter():
        gc.enable()
        gc.set_threshold(20_000)
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def _freeze_what_stays():
    """What is there before a module's tests stays for good: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()
