"""The token goes to the base URL's own origin only, and is shown nowhere."""

import logging
import pickle
import traceback

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.wire_server import WireServer, answer, frames, stream

from rockai_transport import APIStatusError, AsyncClient, Client, RockAIError, Service

RUN, SSE, CREATE, GET = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions", "GET /v1/predictions/p1"


@pytest.fixture
def elsewhere():
    """Another origin."""
    with WireServer() as other:
        other.script = answer(200, prediction("succeeded", output="stolen"))
        yield other


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(connect, server, elsewhere, status):
    """A redirect is an error that names the remedy; nothing goes to where it points."""
    server.script = answer(status, b"", {"Location": f"{elsewhere.base_url}/run"})
    client = connect()
    for call in (
        lambda: client.run(MODEL, {}),
        lambda: list(client.stream(MODEL, {})),
        lambda: client.get("p1"),
        lambda: client.cancel("p1"),
    ):
        with pytest.raises(APIStatusError, match="base_url") as caught:
            call()
        assert caught.value.status_code == status
    assert not elsewhere.requests


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


@pytest.mark.parametrize(
    "script",
    [
        answer(401, {"detail": f"invalid token {TOKEN}", "headers": {"Authorization": f"Bearer {TOKEN}"}}),
        answer(
            400,
            f"Bearer {TOKEN} is not welcome",
            {"x-request-id": TOKEN, "x-echo": TOKEN},
            media_type="text/plain",
        ),
        answer(500, {TOKEN: [TOKEN]}),
        answer(200, f"<html>{TOKEN}", media_type="text/html"),
        answer(200, {"code": 403, "msg": TOKEN}),
        answer(200, prediction("failed", error=f"model saw {TOKEN}", logs=TOKEN)),
        answer(200, {"status": TOKEN}),
        lambda exchange: exchange.close(),
        lambda exchange: exchange.send(b"HTTP/1.1 200 OK\r\nX: " + TOKEN.encode() + b"\r\nbad\x00\r\n\r\n"),
    ],
)
@pytest.mark.parametrize(
    "service", [Service(), Service(auth_header="X-Api-Key", auth_scheme="")], ids=["bearer", "key"]
)
def test_the_token_is_in_no_exception(connect, server, caplog, script, service):
    """Not in its words, attributes, causes or pickle, even if the service sends it back; not in the log."""
    caplog.set_level(logging.DEBUG, "rockai")
    server.script = script
    client = connect(max_retries=0, service=service)
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
    assert server.requests
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_the_token_is_in_no_repr(cls):
    """No repr of a client or its settings shows it."""
    client = cls(TOKEN, default_headers={"X": TOKEN})
    for shown in (client, client._settings, client.predictions, client._flows, client.stream(MODEL, {})):
        assert TOKEN not in repr(shown)
        assert TOKEN not in str(shown)


def test_what_the_model_says_is_left_alone(client, server):
    """A model that says the token says it: text is exact, only errors are cleaned."""
    server.route(SSE, stream(frames(TOKEN)))
    assert list(client.stream(MODEL, {})) == [TOKEN]


@pytest.mark.parametrize(
    ("header", "scheme", "value"), [("X-Api-Key", "", TOKEN), ("Authorization", "Token", f"Token {TOKEN}")]
)
def test_the_auth_header_is_a_setting(connect, server, header, scheme, value):
    """Another header or scheme is a setting."""
    server.route(RUN, answer(200, "x"))
    connect(service=Service(auth_header=header, auth_scheme=scheme)).run(MODEL, {})
    assert server.requests[0].headers[header.lower()] == value
    assert len([name for name in server.requests[0].headers if name in {"x-api-key", "authorization"}]) == 1
