"""The guards of conftest.py: they are only worth something if they would notice."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
import threading

import httpx
import pytest

OUTSIDE = "192.0.2.1"  # reserved for documentation (RFC 5737): nobody answers there


def _connect() -> None:
    with socket.socket() as plain:
        plain.settimeout(1)
        plain.connect((OUTSIDE, 80))


def _send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"?", (OUTSIDE, 53))


def _connect_v6() -> None:
    with socket.socket(socket.AF_INET6) as plain:
        plain.connect(("2001:db8::1", 80))


async def _open() -> None:
    await asyncio.open_connection(OUTSIDE, 80)


async def _get() -> None:
    async with httpx.AsyncClient() as client:
        await client.get(f"http://{OUTSIDE}/")


@pytest.mark.parametrize(
    "attempt",
    [
        _connect,
        _send,
        _connect_v6,
        lambda: socket.create_connection((OUTSIDE, 80), timeout=1),
        lambda: socket.getaddrinfo("api.rockai.online", 443),
        lambda: httpx.get(f"http://{OUTSIDE}/"),
        lambda: asyncio.run(_open()),
        lambda: asyncio.run(_get()),
    ],
)
def test_leaving_the_machine(attempt, forbidden_attempts):
    """Every way out fails at once, through asyncio and httpx too, before a packet is sent."""
    with pytest.raises((OSError, httpx.ConnectError)):
        attempt()
    assert len(forbidden_attempts) == 1
    forbidden_attempts.clear()


@pytest.fixture
def pytest_run(tmp_path, request):
    """Run a test module under this project's conftest.py in a process of its own; gives what it printed."""

    def run(source, *options):
        conftest = request.config.rootpath / "tests" / "conftest.py"
        (tmp_path / "conftest.py").write_bytes(conftest.read_bytes())
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, *options, tmp_path]
        environ = os.environ | {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # only the conftest.py is of interest
            "PYTHONPATH": str(request.config.rootpath),
        }
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path, env=environ
        )
        return done.stdout

    return run


def test_the_error_says_what_to_do(forbidden_attempts):
    """The error names the address and says what a test should use instead."""
    with pytest.raises(OSError, match=r"connect to '192.0.2.1', port 80: .*use the sandbox or a fake"):
        _connect()
    forbidden_attempts.clear()


def test_a_swallowed_attempt(pytest_run):
    """A test whose code swallows the error fails all the same."""
    printed = pytest_run(
        """
        import contextlib, socket
        def test_swallows():
            with contextlib.suppress(Exception):
                socket.create_connection(("192.0.2.1", 80), timeout=1)
        """
    )
    assert "left the machine: socket.connect to '192.0.2.1', port 80" in printed
    assert "1 passed, 1 error" in printed


def test_loopback_by_name_and_number():
    """Loopback is open, by number and as localhost, from other threads too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reached = []

        def connect(host):
            with socket.create_connection((host, port), timeout=10):
                reached.append(host)

        for host in ("127.0.0.1", "localhost"):
            thread = threading.Thread(target=connect, args=(host,))
            thread.start()
            thread.join()
    assert reached == ["127.0.0.1", "localhost"]


def test_the_environment_of_the_person_at_the_keyboard(pytest_run, monkeypatch):
    """Tokens, addresses, proxies and tracing switches of the person who runs the tests are hidden."""
    names = ["ROCKAI_API_TOKEN", "ROCKAI_BASE_URL", "ROCK_API_TOKEN", "HTTP_PROXY", "all_proxy", "no_proxy"]
    names += ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"]
    for name in names:
        monkeypatch.setenv(name, "leak")
    printed = pytest_run(
        """
        import os
        AT_IMPORT = dict(os.environ)
        def test_clean():
            assert "leak" not in AT_IMPORT.values()
            assert "leak" not in os.environ.values()
        """
    )
    assert "1 passed" in printed


def test_a_setting_left_behind_is_gone_in_the_next_test(pytest_run):
    """A test that writes to os.environ does not change what the next one sees."""
    printed = pytest_run(
        """
        import os
        def test_first():
            os.environ["ROCKAI_API_TOKEN"] = "leak"
        def test_second():
            assert "ROCKAI_API_TOKEN" not in os.environ
        """
    )
    assert "2 passed" in printed


def test_what_uses_sockets_or_processes_is_marked(pytest_run):
    """Without saying so itself: a test, a fixture of it, or a function that one of these calls."""
    printed = pytest_run(
        """
        import subprocess, sys
        import pytest
        def start():
            subprocess.run([sys.executable, "-c", ""])
        @pytest.fixture
        def started():
            start()
        def test_pure():
            pass
        def test_by_itself():
            start()
        def test_by_a_fixture(started):
            pass
        """,
        *("-m", "not sockets"),
    )
    assert "1 passed, 2 deselected" in printed


def test_samples(samples):
    """The recordings lie where the fixture says."""
    assert sorted(path.name for path in (samples / "wire").iterdir()) == [
        "cjk.sse",
        "code.sse",
        "expected.json",
        "multi.sse",
        "plain.sse",
        "poem.sse",
    ]
    assert os.fspath(samples).endswith("samples")
