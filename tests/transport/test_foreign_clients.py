"""HTTP clients of other makes, handed in: whatever they call a failure, a paid run is sent once."""

import socket

import httpx
import httpx2
import pytest
from httpx_aiohttp import HttpxAiohttpClient
from support.drivers import KINDS, Driven
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, hang_up, reset, silence, stream

from rockai_transport import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    RateLimitError,
    StreamInterruptedError,
)

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


# What its user has hung into an HTTP client.


def hooked(kind, hook):
    """An HTTP client whose every response a function is given."""
    if kind == "sync":
        return httpx.Client(event_hooks={"response": [hook]})

    async def awaited(response):
        if hook is READS:
            await response.aread()
        else:
            hook(response)

    return httpx.AsyncClient(event_hooks={"response": [awaited]})


READS = httpx.Response.read
RAISES = httpx.Response.raise_for_status


@pytest.fixture
def with_hook(request, server):
    """Make a client of either kind, all of whose responses a hook is given."""
    made = []

    def make(kind, hook):
        http_client = hooked(kind, hook)
        driven = Driven(kind, server.base_url, http_client=http_client)
        made.append((driven, http_client))
        return driven

    yield make
    for driven, http_client in made:
        driven.do(http_client.aclose() if driven.kind == "async" else http_client.close())
        driven.end()


@pytest.mark.parametrize("which", KINDS)
def test_a_hook_may_read_the_response(with_hook, server, which):
    """A run and a stream give what the hook has read; nothing is waited for twice."""
    client = with_hook(which, READS)
    server.route(RUN, answer(200, prediction("succeeded", output="hi")))
    server.route(SSE, stream(frames("a", "b")))
    assert client.run(MODEL, {}).output == "hi"
    assert list(client.stream(MODEL, {})) == ["a", "b"]


@pytest.mark.parametrize("which", KINDS)
def test_a_hook_may_raise_for_the_status(with_hook, server, which):
    """A refusal means the same as without the hook: its class, its retries, `may_have_started`."""
    client = with_hook(which, RAISES)
    for script, kind, count in (
        (answer(401, {}), AuthenticationError, 1),
        (answer(429, {}, {"Retry-After": "0"}), RateLimitError, 3),
    ):
        server.requests.clear()
        server.route(RUN, script)
        with pytest.raises(kind) as caught:
            client.run(MODEL, {})
        assert not caught.value.may_have_started
        assert len(server.requests) == count


def test_an_http_client_of_another_event_loop(quick):
    """A look is made again; a start may have been made, and is not."""
    sent = []

    def respond(request):
        sent.append(request)
        if len(sent) % 2:
            raise RuntimeError("Event loop is closed")
        return httpx.Response(200, json=prediction("succeeded", output="hi"))

    http_client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    client = Driven("async", "http://127.0.0.1/v1", http_client=http_client)
    assert client.get("p1").output == "hi"
    with pytest.raises(APIConnectionError, match="another event loop") as caught:
        client.run(MODEL, {})
    assert caught.value.may_have_started
    assert len(sent) == 3
    client.end()


class TwoEvents(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body without Content-Length, as HTTP/2 has them."""

    def __iter__(self):
        yield from (b"data: a\n\n", b"data: b\n\n")

    async def __aiter__(self):
        for part in self:
            yield part


@pytest.mark.parametrize("which", KINDS)
def test_http_2_says_itself_where_a_body_ends(which):
    """A stream of unnamed events over HTTP/2 is whole at its end, without any header that says so."""

    def respond(_):
        head = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=head, stream=TwoEvents(), extensions={"http_version": b"HTTP/2"})

    http_client = (httpx.Client if which == "sync" else httpx.AsyncClient)(
        transport=httpx.MockTransport(respond)
    )
    client = Driven(which, "http://127.0.0.1/v1", http_client=http_client)
    assert list(client.stream(MODEL, {})) == ["a", "b"]
    client.end()
