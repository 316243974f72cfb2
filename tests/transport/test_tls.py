"""What only TLS has: certificates, handshakes, and ends that are no ends. The live service is https."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime

import pytest
import trustme
from support.drivers import TOKEN
from support.replies import MODEL
from support.wire_server import WireServer, answer, frames, stream

from rockai_sandbox import Sandbox
from rockai_transport import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    ConfigurationError,
    StreamInterruptedError,
    Timeouts,
)

RUN, SSE = "POST /v1/run", "POST /v1/run_sse"


@pytest.fixture
def scheme():
    """Everything here is encrypted."""
    return "https"


def test_a_connection_is_used_again(client, server):
    """One handshake serves many calls."""
    server.route(RUN, answer(200, "x"))
    assert [client.run(MODEL, {}).text for _ in range(3)] == ["x"] * 3
    assert server.connections == 1


def test_a_large_input_arrives_whole(client, server):
    """Many records in one request, as a picture in it makes."""
    server.route(RUN, answer(200, "x"))
    picture = bytes(range(256)) * 8192
    client.run(MODEL, {"image": picture})
    assert len(server.requests[0].json["input"]["image"]) > len(picture)


@pytest.mark.parametrize("name", ["127.0.0.1", "elsewhere.example"])
def test_a_certificate_that_is_not_trusted(connect, name):
    """Nothing was sent, the error says so, and what to do about it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(name).configure_cert(context)
    with WireServer(context) as stranger:
        with pytest.raises(APIConnectionError, match="certificate verify failed") as caught:
            connect(stranger.base_url, max_retries=0).run(MODEL, {})
        assert stranger.requests == []
    assert not caught.value.may_have_started
    assert "SSL_CERT_FILE" in str(caught.value)


def test_a_certificate_for_another_name(connect, authority, certificate):
    """A trusted authority is not enough: the name must be the one that was asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    with WireServer(context) as stranger, pytest.raises(APIConnectionError, match="check base_url") as caught:
        connect(stranger.base_url, max_retries=0).run(MODEL, {})
    assert "IP address mismatch" in str(caught.value)
    assert "SSL_CERT_FILE" not in str(caught.value)


@pytest.mark.parametrize(("year", "advice"), [(2001, "only the server can renew it"), (2999, "clock")])
def test_a_certificate_of_another_time(connect, authority, certificate, year, advice):
    """One that has expired, or is not valid yet, is told from one of a proxy: the clock may be wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    times = {"not_before": datetime(year, 1, 1, tzinfo=UTC), "not_after": datetime(year, 2, 1, tzinfo=UTC)}
    authority.issue_cert("127.0.0.1", **times).configure_cert(context)
    with WireServer(context) as stranger, pytest.raises(APIConnectionError, match=advice) as caught:
        connect(stranger.base_url, max_retries=0).run(MODEL, {})
    assert "Check this machine's clock" in str(caught.value)
    assert "SSL_CERT_FILE" not in str(caught.value)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
def test_an_environment_whose_certificates_cannot_be_read(
    connect, server, certificate, monkeypatch, variable
):
    """Nothing was sent, and the error names what to look at."""
    monkeypatch.setenv(variable, "/nowhere/at-all.pem")
    with pytest.raises(ConfigurationError, match=variable) as caught:
        connect().run(MODEL, {})
    assert not caught.value.may_have_started
    assert server.requests == []


def test_a_service_that_speaks_no_tls(connect):
    """A local service's address with https:// is told apart from a network that fails."""
    with Sandbox() as plain, pytest.raises(APIConnectionError, match="write base_url with http://"):
        connect(plain.base_url.replace("http:", "https:"), max_retries=0).run(MODEL, {})


@pytest.fixture
def mute():
    """A port that accepts connections, and never says a word of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_handshake_that_does_not_come_about(connect, mute, certificate):
    """The limit for connecting holds for the handshake too, and nothing was sent."""
    patient = connect(
        f"https://127.0.0.1:{mute.getsockname()[1]}/v1", max_retries=0, timeouts=Timeouts(connect=0.2)
    )
    with pytest.raises(APITimeoutError) as caught:
        patient.run(MODEL, {})
    assert not caught.value.may_have_started


async def test_leaving_within_a_handshake_closes_the_connection(mute, certificate):
    """At once, not when the garbage is collected: httpcore alone leaves the socket open."""
    mute.settimeout(0)
    async with AsyncClient(TOKEN, f"https://127.0.0.1:{mute.getsockname()[1]}/v1") as client:
        task = asyncio.create_task(client.run(MODEL, {}))
        loop = asyncio.get_running_loop()
        accepted, _ = await loop.sock_accept(mute)
        with accepted:
            assert await loop.sock_recv(accepted, 65536)  # the client's hello: it waits for ours
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.wait_for(loop.sock_recv(accepted, 1), 5) == b""


def test_an_end_that_is_none(client, server):
    """A connection that is cut below TLS is a cut stream, with what had arrived."""
    server.route(SSE, stream(frames("half", end=False), framing="close", finish=False))
    with pytest.raises(StreamInterruptedError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.partial_text == "half"
