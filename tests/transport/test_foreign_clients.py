"""HTTP clients of other makes, handed in: whatever they call a failure, a paid run is sent once."""

import socket

import httpx
import httpx2
import pytest
from httpx_aiohttp import HttpxAiohttpClient
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, hang_up, reset, silence, stream

from rockai_transport import APIConnectionError, APIStatusError, APITimeoutError, StreamInterruptedError

RUN, SSE, CREATE = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions"
CANCEL = "POST /v1/predictions/p1/cancel"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CLIENTS = {
    "sync": {"ours": lambda: None, "httpx": httpx.Client, "httpx2": httpx2.Client},
    "async": {
        "ours": lambda: None,
        "httpx": httpx.AsyncClient,
        "httpx2": httpx2.AsyncClient,
        "httpx-aiohttp": HttpxAiohttpClient,
    },
}


@pytest.fixture(params=[(kind, make) for kind, makes in CLIENTS.items() for make in makes], ids="-".join)
def client(request, connect):
    """A client of either kind over each HTTP client, closed with it."""
    kind, make = request.param
    http_client = CLIENTS[kind][make]()
    driven = connect(http_client=http_client)
    yield driven
    if http_client is not None:
        driven.do(http_client.aclose() if kind == "async" else http_client.close())


@pytest.fixture
def kind(request):
    """The kind of the client's parameter."""
    return request.getfixturevalue("request").node.callspec.params["client"][0]


CALLS = {
    RUN: lambda client: client.run(MODEL, {}),
    SSE: lambda client: list(client.stream(MODEL, {})),
    CREATE: lambda client: client.create(model=MODEL, input={}),
}


def test_what_a_server_has_received_is_sent_once(client, server):
    """A connection dropped after the request was received is no «never sent»: nothing is paid twice."""
    for route, call in CALLS.items():
        for drop in (hang_up, reset):
            server.route(route, drop)
            with pytest.raises(APIConnectionError) as caught:
                call(client)
            assert caught.value.may_have_started
        assert server.lines.count(route) == 2


def test_what_was_never_sent_is_known_of_httpcore_only(client, connect, request):
    """A refused connection is known to be one where httpcore, or its successor, says so."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    refused = connect(
        f"http://127.0.0.1:{port}/v1", http_client=client.client._session._endpoint.http_client, max_retries=0
    )
    with pytest.raises(APIConnectionError) as caught:
        refused.run(MODEL, {})
    assert caught.value.may_have_started == ("aiohttp" in request.node.name)


def test_what_goes_well_goes_well(client, server):
    """A run works over each of them."""
    server.route(RUN, answer(200, "x"))
    assert client.run(MODEL, {}).output == "x"


def test_a_stream_that_is_left_closes_its_connection(client, server):
    """At once, whoever the connection belongs to."""
    server.route(SSE, silence(HEAD + frames("a", end=False)))
    reading = client.stream(MODEL, {})
    assert next(reading) == "a"
    reading.close()
    server.wait_for(SSE).wait_left()


def test_a_prediction_that_is_left_is_canceled(client, server):
    """Over the same client."""
    server.route(CREATE, answer(201, prediction("processing", urls={"stream": "/s"})))
    server.route("GET /s", silence(HEAD + frames("a", end=False)))
    server.route(CANCEL, answer(200, prediction("canceled")))
    reading = client.client.predictions.create(model=MODEL, input={}, stream=True)
    reading = client.follow(client.do(reading))
    assert next(reading) == "a"
    reading.close()
    assert server.lines[-1] == CANCEL


def test_a_cut_stream_is_an_error(client, server):
    """However its body is framed."""
    for framing in ("chunked", "close"):
        server.route(SSE, stream(frames("a", end=False), framing=framing, finish=False))
        with pytest.raises(StreamInterruptedError) as caught:
            list(client.stream(MODEL, {}))
        assert caught.value.partial_text == "a"


def test_what_was_refused_is_tried_again(client, server):
    """A 429 started nothing."""
    server.route(RUN, answer(429, {}, {"Retry-After": "0"}), answer(200, "x"))
    assert client.run(MODEL, {}).output == "x"
    assert server.lines == [RUN, RUN]


def test_a_total_holds(client, server, request):
    """A service that never answers is waited for as long as was said; see docs/how-to/http-clients.md."""
    server.route(RUN, silence())
    with pytest.raises(APITimeoutError) as caught:
        client.run(MODEL, {}, timeout=0.3)
    assert caught.value.may_have_started


def test_no_redirect_is_followed(client, server):
    """The token stays with its origin."""
    server.route(RUN, answer(307, {}, {"Location": "/elsewhere"}))
    with pytest.raises(APIStatusError):
        client.run(MODEL, {})
    assert server.lines == [RUN]
