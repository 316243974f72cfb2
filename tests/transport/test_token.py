"""The token goes to the base URL's own origin only, and is shown nowhere."""

import logging
import pickle
import traceback

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.virtual_io import events, reply
from support.wire_server import WireServer, answer, frames, stream

from rockai_transport import APIStatusError, AsyncClient, Client, RockAIError, Service
from rockai_transport.protocol.io import BrokenError

RUN, SSE, CREATE, GET = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions", "GET /v1/predictions/p1"


@pytest.fixture
def elsewhere():
    """Another origin."""
    with WireServer() as other:
        other.script = answer(200, prediction("succeeded", output="stolen"))
        yield other


def test_redirects_are_not_followed(connect, server, elsewhere):
    """A redirect is an error that names the remedy; nothing goes to where it points."""
    client = connect()
    for status, call in (
        (301, lambda: client.run(MODEL, {})),
        (302, lambda: list(client.stream(MODEL, {}))),
        (303, lambda: client.create(model=MODEL, input={})),
        (307, lambda: client.get("p1")),
        (308, lambda: client.cancel("p1")),
    ):
        server.script = answer(status, b"", {"Location": f"{elsewhere.base_url}/run"})
        with pytest.raises(APIStatusError, match="base_url") as caught:
            call()
        assert caught.value.status_code == status
    assert not elsewhere.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_is_an_error_of_every_call(in_memory, io, status):
    """It names the remedy, and is never followed."""
    io.always(reply(status, b"", location="https://elsewhere.example/v1/run"))
    client = in_memory()
    for call in (
        lambda: client.run(MODEL, {}),
        lambda: list(client.stream(MODEL, {})),
        lambda: client.create(model=MODEL, input={}),
        lambda: client.get("p1"),
        lambda: client.cancel("p1"),
    ):
        with pytest.raises(APIStatusError, match="base_url") as caught:
            call()
        assert caught.value.status_code == status
    assert len(io.requests) == 5


def test_the_addresses_in_urls_are_not_asked_elsewhere(connect, server, elsewhere):
    """urls.get, urls.cancel and urls.stream of another origin are never asked there."""
    urls = {name: f"{elsewhere.origin}/{name}" for name in ("get", "cancel", "stream")}
    server.route(CREATE, answer(201, prediction(urls=urls)))
    server.route("GET /stream", stream(frames("a")))
    server.route(GET, answer(200, prediction("succeeded", urls=urls)))
    server.route(f"{GET[4:]}", answer(200, {}))
    client = connect(route="predictions")
    list(client.stream(MODEL, {}))
    client.get("p1")
    client.run(MODEL, {})
    assert not elsewhere.requests


def test_downloads_carry_no_credentials(connect, server, elsewhere, tmp_path):
    """A download carries neither token nor default headers, be it at the base URL's own origin."""
    elsewhere.script = answer(200, b"file", media_type="image/png")
    server.route("GET /file", answer(200, b"file", media_type="image/png"))
    server.route(
        GET, answer(200, prediction("succeeded", output=[f"{elsewhere.origin}/a", f"{server.origin}/file"]))
    )
    client = connect(default_headers={"X-Secret": TOKEN})
    assert len(client.download(client.get("p1"), tmp_path)) == 2
    for request in (*elsewhere.requests, server.requests[-1]):
        assert TOKEN not in str(request.headers)
        assert "authorization" not in request.headers


def everything_about(error):
    """All that a handler, a log or a traceback could show of an exception."""
    shown = [repr(error), str(error), "".join(traceback.format_exception(error))]
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        shown += [repr(error.args), repr(vars(error))]
        if getattr(error, "response", None) is not None:
            shown += [repr(error.response.body), repr(error.response.headers)]
        if getattr(error, "_request", None) is not None:
            shown.append(repr(list(error._request.headers.raw)))
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


def check_every_call(client, service_requests):
    """Whatever it is that each call raises, the token is nowhere in it."""
    for call in (
        lambda: client.run(MODEL, {}),
        lambda: client.create(model=MODEL, input={}),
        lambda: list(client.stream(MODEL, {})),
    ):
        try:
            call()
        except RockAIError as error:
            assert TOKEN not in everything_about(error)  # noqa: PT017
            assert TOKEN.encode() not in pickle.dumps(error)  # noqa: PT017
    assert service_requests


ECHOES = {
    "401": reply(401, {"detail": f"invalid token {TOKEN}", "headers": {"Authorization": f"Bearer {TOKEN}"}}),
    "400": reply(
        400, f"Bearer {TOKEN} is not welcome", x_request_id=TOKEN, x_echo=TOKEN, media_type="text/plain"
    ),
    "500": reply(500, {TOKEN: [TOKEN]}),
    "html": reply(200, f"<html>{TOKEN}", media_type="text/html"),
    "envelope": reply(200, {"code": 403, "msg": TOKEN}),
    "failed": reply(200, prediction("failed", error=f"model saw {TOKEN}", logs=TOKEN)),
    "status": reply(200, {"status": TOKEN}),
    "broken": BrokenError(f"illegal header value {TOKEN}"),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize(
    "service", [Service(), Service(auth_header="X-Api-Key", auth_scheme="")], ids=["bearer", "key"]
)
def test_the_token_is_in_no_exception(in_memory, io, service, echo):
    """Not in its words, attributes, causes or pickle, even if the service sends it back."""
    io.always(ECHOES[echo])
    check_every_call(in_memory(max_retries=0, service=service), io.requests)


@pytest.mark.parametrize(
    "script",
    [
        answer(401, {"detail": f"invalid token {TOKEN}"}, {"x-request-id": TOKEN}),
        lambda exchange: exchange.close(),
        lambda exchange: exchange.send(b"HTTP/1.1 200 OK\r\nX: " + TOKEN.encode() + b"\r\nbad\x00\r\n\r\n"),
    ],
    ids=["401", "closed", "no header"],
)
def test_nor_in_one_of_a_socket_nor_in_the_log(connect, server, caplog, script):
    """What httpx and httpcore raise holds the request, and its headers; the log has every request."""
    caplog.set_level(logging.DEBUG, "rockai")
    server.script = script
    check_every_call(connect(max_retries=0), server.requests)
    assert caplog.records
    assert TOKEN not in caplog.text


def test_nor_in_the_log_of_a_failure_that_nobody_sees(in_memory, io, caplog):
    """A poll that fails while a call waits, and a cancel that fails on leaving, are only logged."""
    caplog.set_level(logging.DEBUG, "rockai")
    io.route("POST /predictions", reply(201, prediction(urls={"stream": "/v1/s"})))
    io.route("GET /predictions/p1", reply(422, {TOKEN: TOKEN}), reply(200, prediction("succeeded")))
    io.route("GET /v1/s", events(frames("a", end=False)))
    io.route("POST /predictions/p1/cancel", reply(400, {"detail": TOKEN}))
    client = in_memory(route="predictions")
    client.wait("p1")
    stream = client.stream(MODEL, {})
    assert next(iter(stream)) == "a"
    stream.close()
    assert "polled" in caplog.text
    assert "on leaving failed" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_the_token_is_in_no_repr(cls):
    """No repr of a client or its settings shows it."""
    client = cls(TOKEN, default_headers={"X": TOKEN})
    for shown in (
        client,
        client._settings,
        client.predictions,
        client._session.operations,
        client.stream(MODEL, {}),
    ):
        assert TOKEN not in repr(shown)
        assert TOKEN not in str(shown)


def test_what_the_model_says_is_left_alone(in_memory, io):
    """A model that says the token says it: text is exact, only errors are cleaned."""
    io.always(events(frames(TOKEN)))
    assert list(in_memory().stream(MODEL, {})) == [TOKEN]


@pytest.mark.parametrize(
    ("header", "scheme", "value"), [("X-Api-Key", "", TOKEN), ("Authorization", "Token", f"Token {TOKEN}")]
)
def test_the_auth_header_is_a_setting(connect, server, header, scheme, value):
    """Another header or scheme is a setting."""
    server.route(RUN, answer(200, "x"))
    connect(service=Service(auth_header=header, auth_scheme=scheme)).run(MODEL, {})
    assert server.requests[0].headers[header.lower()] == value
    assert len([name for name in server.requests[0].headers if name in {"x-api-key", "authorization"}]) == 1
