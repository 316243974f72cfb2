"""What a service, or somebody in between, may answer to do harm: each is an error of ours, or does none."""

import functools
import gzip
import html
import json
import resource
import zlib
from urllib.parse import quote

import pytest
from support.drivers import TOKEN, InMemory
from support.replies import MODEL, prediction
from support.virtual_io import VirtualIO, operations, reply, run_request
from support.wire_server import answer, frames

from rockai_transport import (
    APIStatusError,
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    Client,
    ConfigurationError,
    InvalidResponseError,
    Prediction,
    PredictionFailedError,
    RockAIError,
)

RUN, SSE, CREATE, GET = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions", "GET /v1/predictions/p1"
DEEP = "[" * 600 + "]" * 600


@pytest.mark.parametrize("status", [200, 400, 422, 500])
@pytest.mark.parametrize(
    "body", [DEEP, '{"detail": ' + DEEP + "}", '{"status": "succeeded", "id": "p", "output": ' + DEEP + "}"]
)
@pytest.mark.parametrize("call", ["run", "get", "cancel", "create", "wait"])
def test_json_that_is_nested_too_deep_is_an_error_of_ours(status, body, call):
    """It is no JSON to us: no RecursionError leaves, whatever is done with the answer."""
    all_ = operations(max_retries=0)
    calls = {
        "run": lambda io: io.do(all_.run, run_request(MODEL), None),
        "get": lambda io: io.do(all_.get, "p1"),
        "cancel": lambda io: io.do(all_.cancel, "p1"),
        "create": lambda io: io.do(all_.create, run_request(MODEL)),
        "wait": lambda io: io.do(all_.wait, "p1", 5, None),
    }
    io = VirtualIO(reply(status))
    io._answers[0].chunks = [body.encode()]
    if (call, status) == ("cancel", 200):  # any 2xx says that it is canceled
        assert calls[call](io).id == "p1"
        return
    with pytest.raises(RockAIError) as caught:
        calls[call](io)
    assert str(caught.value)


@pytest.mark.parametrize(
    "detail",
    [5, True, [1], [{"loc": True}], [{"loc": 5, "msg": "no"}], [{"loc": {"a": 1}}], {"a": [None]}, [[]], "x"],
)
def test_a_refusal_of_odd_form_is_a_bad_request(detail):
    """Whatever a 422 holds as its detail, it is told as the service's refusal."""
    io = VirtualIO(reply(422, {"detail": detail}))
    with pytest.raises(BadRequestError) as caught:
        io.do(operations().run, run_request(MODEL), None)
    assert caught.value.body == {"detail": detail}


@pytest.mark.parametrize("detail", ["Bad input", "Bad input.", [{"loc": ["body"], "msg": "Bad input."}]])
def test_a_refusal_ends_with_one_full_stop(detail):
    """Whether the service's own words end with one or not; what to do follows."""
    io = VirtualIO(reply(422, {"detail": detail}))
    with pytest.raises(BadRequestError, match=r"Bad input\. Check"):
        io.do(operations().run, run_request(MODEL), None)


def encoded(how, body):
    if how == "gzip":
        return gzip.compress(body, 1)
    if how == "deflate":
        return zlib.compress(body, 1)
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def compressed(how, body, media_type="application/json"):
    content = encoded(how, body)
    name = "deflate" if how == "raw deflate" else how

    def script(exchange):
        headers = {"Content-Type": media_type, "Content-Encoding": name, "Content-Length": str(len(content))}
        exchange.head(200, headers)
        exchange.send(content)

    return script


@pytest.mark.parametrize("how", ["gzip", "deflate", "raw deflate"])
def test_a_compressed_answer_is_read_all_the_same(connect, server, how):
    """Nobody asked for it, but a proxy may do it: an answer, and a stream, come out as they are."""
    server.route(RUN, compressed(how, json.dumps("hello").encode()))
    assert connect().run(MODEL, {}).output == "hello"
    server.route(SSE, compressed(how, frames("a", " b"), "text/event-stream"))
    assert list(connect().stream(MODEL, {})) == ["a", " b"]


@functools.cache
def bomb_of(how):
    """300 MiB in little more than a megabyte."""
    return compressed(how, b" " * 300 * 1024**2)


@pytest.mark.parametrize(
    ("how", "call"),
    [("gzip", lambda client: client.run(MODEL, {})), ("deflate", lambda client: client.get("p1"))],
)
def test_a_small_answer_does_not_become_gigabytes(connect, server, how, call):
    """What a few kilobytes decode to is read up to a limit, never all at once."""
    bomb = bomb_of(how)
    server.route(GET, bomb)
    server.route(RUN, bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client = connect(max_retries=0)
    with pytest.raises(InvalidResponseError, match="larger than"):
        call(client)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024
    )  # kibibytes; 300 of ours above


def test_an_encoding_that_nobody_knows_is_told(connect, server):
    """Without a guess at what it may mean."""

    def script(exchange):
        exchange.head(
            200, {"Content-Type": "application/json", "Content-Encoding": "br", "Content-Length": "2"}
        )
        exchange.send(b"{}")

    server.route(GET, script)
    with pytest.raises(InvalidResponseError, match="br"):
        connect().get("p1")


@pytest.mark.parametrize("address", ["http://xn--/x", "http://a\ud800b/x", "http://[/x", "http://a:99999/x"])
def test_an_output_at_an_address_that_is_none(connect, tmp_path, address):
    """Each is refused with an error of ours."""
    done = Prediction(id="p1", status="succeeded", output=address, raw={})
    with pytest.raises(InvalidResponseError):
        connect(max_retries=0).download(done, tmp_path)


def test_a_redirect_to_no_address_is_refused(connect, server, tmp_path):
    """A Location that cannot be read is no ValueError."""

    def script(exchange):
        exchange.head(302, {"Location": "http://[", "Content-Length": "0"})

    server.route("GET /file", script)
    done = Prediction(id="p1", status="succeeded", output=f"{server.origin}/file", raw={})
    with pytest.raises(InvalidResponseError):
        connect().download(done, tmp_path)


def test_a_place_that_cannot_be_written_is_a_configuration_error(connect, server, tmp_path):
    """Where the file's place is a folder, or its name holds NUL."""
    server.route("GET /file", answer(200, "x"))
    done = Prediction(id="p1", status="succeeded", output=f"{server.origin}/file", raw={})
    (tmp_path / "p1.json").mkdir()
    for folder in (tmp_path, f"{tmp_path}/a\0b", f"{tmp_path}/\ud800"):
        with pytest.raises(ConfigurationError):
            connect().download(done, folder)


@pytest.mark.parametrize(
    ("given", "sent"),
    [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "\U0001f600"), ("\ude00\ud83d", "\ufffd\ufffd")],
)
def test_half_a_character_in_an_input_becomes_a_replacement(connect, server, given, sent):
    """A lone surrogate has no form in UTF-8: U+FFFD is sent in its place; two halves are one character."""
    server.route(RUN, answer(200, "x"))
    connect().run(MODEL, {"prompt": given})
    assert server.requests[0].json["input"] == {"prompt": sent}


@pytest.mark.parametrize("call", [InMemory.run, lambda *given: list(InMemory.stream(*given))])
def test_half_a_character_in_an_id_can_be_shown(call):
    """It is no id that could be asked for; the error says so, and can be printed."""
    client = InMemory(VirtualIO(reply(200, prediction("processing", id="a\ud800b"))))
    with pytest.raises(InvalidResponseError) as raised:
        call(client, MODEL, {})
    assert str(raised.value).encode()
    assert raised.value.may_have_started


ODD_TOKEN = "to/ken+with='signs\"&<12345678"  # noqa: S105 - made up
SPELLINGS = {
    "plain": ODD_TOKEN,
    "as an address": quote(ODD_TOKEN, safe=""),
    "as an address, in lower case": quote(ODD_TOKEN, safe="").replace("%2F", "%2f"),
    "as an address, twice": quote(quote(ODD_TOKEN, safe=""), safe=""),
    "as JSON": json.dumps(ODD_TOKEN)[1:-1],
    "as JSON, all escaped": "".join(f"\\u{ord(letter):04X}" for letter in ODD_TOKEN),
    "as HTML": html.escape(ODD_TOKEN),
    "as Python": repr(ODD_TOKEN)[1:-1],
}


@pytest.mark.parametrize("where", ["logs", "error", "urls", "metrics", "created_at", "version"])
@pytest.mark.parametrize("form", SPELLINGS)
def test_a_token_that_the_service_sends_back_is_hidden(connect, server, where, form):
    """In every field of a failed prediction that the service fills in, keys of dicts among them."""
    token, shown = ODD_TOKEN, SPELLINGS[form]
    value = {
        "logs": f"key {shown}",
        "error": f"no {shown}",
        "urls": {"get": f"/{shown}"},
        "metrics": {shown: {shown: [shown]}},
        "created_at": shown,
        "version": shown,
    }
    told = {where: value[where]} if where != "error" else {"error": value["error"]}
    server.route(RUN, answer(200, prediction("failed", **told)))
    with pytest.raises(PredictionFailedError) as caught:
        connect(api_token=token).run(MODEL, {})
    seen = vars(caught.value.prediction)
    texts = [caught.value, *seen.values(), *seen["urls"].values(), *(seen["metrics"] or ())]
    told = " ".join(map(str, texts))
    assert shown not in told
    assert "[token]" in told


def test_a_token_in_an_encoding_is_hidden(connect, server):
    """A header that a message tells of is told as it came: in another case nobody would know the token."""
    server.route(RUN, answer(200, {}, {"Content-Encoding": TOKEN}))
    with pytest.raises(InvalidResponseError) as caught:
        connect().run(MODEL, {})
    assert TOKEN.lower() not in str(caught.value).lower()


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("before", [0, 250, 270, 285])
def test_a_message_that_cuts_the_token_does_not_show_its_beginning(connect, server, status, before):
    """Of a body that is no JSON a message shows the first 300 characters."""
    server.route(RUN, answer(status, "x" * before + TOKEN + "y" * 300, media_type="text/plain"))
    with pytest.raises(RockAIError) as caught:
        connect(max_retries=0).run(MODEL, {})
    assert TOKEN[: len(TOKEN) // 2] not in str(caught.value)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("shown", [TOKEN[:-1], f"{TOKEN[:-4]}****", f"{TOKEN[:-2]} " * 10_000])
def test_most_of_the_token_in_an_answer_takes_linear_time(shown):
    """A service that masks the end of a wrong token does not make the client compare for hours."""
    client = InMemory(VirtualIO(reply(401, {"detail": f"wrong token: {shown}"})))
    with pytest.raises(AuthenticationError):
        client.run(MODEL, {})


def test_a_long_list_of_complaints_is_told_in_part(connect, server):
    """Ten are told, and how many there are: a message is for people."""
    complaints = [{"loc": ["input", f"k{n}"], "msg": "m" * 1000} for n in range(1000)]
    server.route(RUN, answer(422, {"detail": complaints}))
    with pytest.raises(BadRequestError, match=r"k0: m+… and 990 more|990 more") as caught:
        connect().run(MODEL, {})
    assert len(str(caught.value)) < 4000
    assert len(caught.value.body["detail"]) == 1000


@pytest.mark.parametrize(
    "body", [{"detail": "\ud800"}, {"detail": [{"msg": "\udfff"}]}, prediction("failed", error="\ud83d")]
)
def test_half_a_character_in_an_answer_can_be_printed(connect, server, body):
    """A message can be written to a log, and to a terminal."""
    server.route(RUN, answer(200 if "status" in body else 422, body))
    with pytest.raises(RockAIError) as caught:
        connect().run(MODEL, {})
    assert str(caught.value).encode()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b'{"x": 1}', mtime=0)[:-3]),
        ("deflate", zlib.compress(b'{"x": 1}' * 99)[:-3]),
        ("gzip", gzip.compress(b"5", mtime=0) + b"garbage"),
    ],
)
def test_a_compressed_answer_that_is_cut_is_none(connect, server, tmp_path, encoding, body):
    """Neither of the API, nor a file: a short answer would pass for a whole one."""
    server.script = answer(200, body, {"Content-Encoding": encoding})
    with pytest.raises(InvalidResponseError):
        connect().run(MODEL, {})
    done = Prediction(id="p1", status="succeeded", output=f"{server.origin}/file")
    with pytest.raises(InvalidResponseError):
        connect().download(done, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("how", ["gzip", "zlib", "raw"])
@pytest.mark.parametrize("blanks", [0, 65530])
def test_a_compressed_answer_may_be_cut_into_any_chunks(connect, server, how, size, blanks):
    """One byte is enough to know the format, gzip may have several members, and a last byte may hold much."""
    text = b'"Hello"' + b" " * blanks
    body = {
        "gzip": gzip.compress(text[:3]) + gzip.compress(text[3:]),
        "zlib": zlib.compress(text),
        "raw": zlib.compress(text)[2:-4],
    }[how]

    def script(exchange):
        exchange.head(
            200,
            {
                "Content-Type": "application/json",
                "Content-Encoding": "gzip" if how == "gzip" else "deflate",
                "Transfer-Encoding": "chunked",
            },
        )
        for start in range(0, len(body), size):
            exchange.chunk(body[start : start + size])
        exchange.chunk(b"")

    server.route(RUN, script)
    assert connect().run(MODEL, {}).output == "Hello"


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_a_client_that_could_not_be_made_can_be_shown(cls):
    """Tracebacks that show locals call `repr` on it."""
    client = cls.__new__(cls)
    with pytest.raises(ConfigurationError):
        client.__init__(TOKEN, "ftp://nowhere")
    assert repr(client) == f"{cls.__name__}(…)"
    assert TOKEN not in repr(client)


def test_no_cookie_is_kept(connect, server):
    """What the API sets is sent back to nobody."""

    def script(exchange):
        exchange.head(200, {"Content-Type": "application/json", "Set-Cookie": "a=b", "Content-Length": "3"})
        exchange.send(b'"x"')

    server.route(RUN, script)
    client = connect()
    client.run(MODEL, {})
    client.run(MODEL, {})
    assert all("cookie" not in request.headers for request in server.requests)


def test_a_404_with_an_odd_body_is_a_status_error():
    """However odd the body."""
    for body in (None, [], "x", {"detail": []}, {"error": {"a": DEEP}}):
        with pytest.raises(APIStatusError):
            VirtualIO(reply(404, body)).do(operations(route="run").get, "p1")
