"""Environment proxies are used, never for this machine itself."""

import httpx
import pytest
from support.drivers import TOKEN
from support.replies import MODEL
from support.wire_server import answer, frames, stream

from rockai_transport import APIConnectionError, APITimeoutError, ConfigurationError
from rockai_transport.io.network import environment_proxy

FAR = "http://api.far.example/v1"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_environment_proxy_is_used(connect, server, monkeypatch, variable):
    """A plain request goes to the proxy with its whole address; the name is not resolved here."""
    monkeypatch.setenv(variable, server.origin)
    server.route(f"POST {FAR}/run", answer(200, "x"))
    server.route(f"POST {FAR}/run_sse", stream(frames("a")))
    client = connect(FAR, allow_http=True)
    assert client.run(MODEL, {}).text == "x"
    assert list(client.stream(MODEL, {})) == ["a"]
    assert server.requests[0].headers["host"] == "api.far.example"
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert server.connections == 1


def test_a_proxy_without_scheme_is_http(connect, server, monkeypatch):
    """HTTP_PROXY=host:port, as many write it."""
    monkeypatch.setenv("HTTP_PROXY", f"user:word@127.0.0.1:{server.port}")
    server.script = answer(200, "x")
    assert connect(FAR, allow_http=True).run(MODEL, {}).text == "x"
    assert server.requests[0].headers["proxy-authorization"].startswith("Basic ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_bypasses_proxies(connect, server, monkeypatch, host):
    """With every proxy variable set, this machine is asked straight."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    server.route("POST /v1/run", answer(200, "x"))
    assert connect(f"http://{host}:{server.port}/v1").run(MODEL, {}).text == "x"


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("https://api.rockai.online/v1", "rockai.online", True),
        ("https://api.rockai.online/v1", "a.example, .rockai.online", True),
        ("https://api.rockai.online/v1", "notrockai.online,rockai", False),
        ("https://api.rockai.online/v1", "api.rockai.online:443", True),
        ("https://api.rockai.online:8443/v1", "api.rockai.online:443", False),
        ("https://api.rockai.online:8443/v1", "api.rockai.online:8443", True),
        ("http://10.1.2.3/v1", "10.1.2.3", True),
        ("http://10.1.2.3/v1", "example.com, 10.0.0.0/8", True),
        ("http://11.1.2.3/v1", "10.0.0.0/8,fd00::/8,10.0.0.0/99", False),
        ("http://[fd00::1]/v1", "fd00::1", True),
        ("http://[fd00::1]/v1", "[fd00::1]", True),
        ("http://[fd00::1]:81/v1", "[fd00::1]:81", True),
        ("http://[fd00::1]/v1", "10.0.0.0/8,fd00::/8", True),
        ("http://[fe00::1]/v1", "fd00::/8", False),
        ("http://anything.example/v1", "*", True),
    ],
)
def test_no_proxy_is_heeded(monkeypatch, url, no_proxy, is_direct):
    """NO_PROXY takes out a host, a domain, a host with its port, or a network of addresses."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://proxy.example:1")
    assert environment_proxy(httpx.URL(url)) == "http://proxy.example:1"
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (environment_proxy(httpx.URL(url)) is None) is is_direct


def test_https_goes_through_a_tunnel(connect, server, monkeypatch):
    """Https asks the proxy for a tunnel, without the token; one that is refused started nothing."""
    monkeypatch.setenv("HTTPS_PROXY", server.origin)
    server.script = answer(403, b"no")
    with pytest.raises(APIConnectionError) as caught:
        connect("https://api.far.example/v1", max_retries=0).run(MODEL, {})
    assert not caught.value.may_have_started
    assert server.lines == ["CONNECT api.far.example:443"]
    assert TOKEN not in str(server.requests[0].headers)


def test_a_deadline_holds_through_a_proxy(connect, server, monkeypatch):
    """The total holds while the proxy says nothing."""
    monkeypatch.setenv("HTTP_PROXY", server.origin)
    server.script = lambda exchange: exchange.wait_left()
    with pytest.raises(APITimeoutError):
        connect(FAR, allow_http=True, timeout=0.3).run(MODEL, {})


def test_a_socks_proxy_without_its_package(connect, monkeypatch):
    """It is a ConfigurationError that says what to install; nothing was sent."""
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "socksio" else real(name, *rest)
    )
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"\[socks\]"):
        connect(FAR, allow_http=True).run(MODEL, {})


def test_a_socks_proxy_is_asked(connect, later, monkeypatch):
    """With its package a SOCKS proxy is asked for the far host by name."""
    pytest.importorskip("socksio")
    import socket

    asked = []

    def serve():
        peer, _ = listener.accept()
        with peer:
            peer.recv(100)
            peer.sendall(b"\x05\x00")
            asked.append(peer.recv(100))
            peer.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            peer.recv(65536)
            peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"x"')

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{listener.getsockname()[1]}")
        later(serve)
        assert connect(FAR, allow_http=True).run(MODEL, {}).text == "x"
    assert b"api.far.example" in asked[0]


@pytest.mark.parametrize(
    "proxy", ["nonsense://x", "http://[::1", "ftp://127.0.0.1:1", "http://127.0.0.1:99999"]
)
def test_a_proxy_that_cannot_be_used(connect, monkeypatch, proxy):
    """It is a ConfigurationError that names the variables."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="ALL_PROXY"):
        connect(FAR, allow_http=True).run(MODEL, {})
