"""Which way a call goes, and what it says on the wire."""

import json

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, VERSION, prediction
from support.virtual_io import events, reply
from support.wire_server import answer, frames, stream

from rockai_transport import (
    APIStatusError,
    BadRequestError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    Service,
)

RUN, SSE, CREATE = "POST /run", "POST /run_sse", "POST /predictions"
DONE = prediction("succeeded", output=["a", "b"])

MISSING = {
    "405": reply(405, {"detail": "Method Not Allowed"}),
    "405 html": reply(405, "<h1>no</h1>", media_type="text/html"),
    "410": reply(410, {"detail": "gone"}),
    "404 html": reply(404, "<h1>no</h1>", media_type="text/html"),
    "404 empty": reply(404, b""),
    "404 of a framework": reply(404, {"detail": "Not Found"}),
    "404 of a framework with spaces": reply(404, b' { "detail" : "Not Found" } '),
}
PRESENT = {
    "404 about the model": (reply(404, {"detail": "model not found"}), NotFoundError),
    "404 with more keys": (reply(404, {"detail": "Not Found", "code": 1}), NotFoundError),
    "404 envelope": (reply(404, {"msg": "no", "code": 404}), NotFoundError),
    "404 in an envelope under 200": (reply(200, {"msg": "no", "code": 404}), NotFoundError),
    "405 in an envelope under 200": (reply(200, {"msg": "no", "code": 405}), APIStatusError),
    "400": (reply(400, {"detail": "bad"}), BadRequestError),
    "500": (reply(500, "Internal Server Error", media_type="text/plain"), InternalServerError),
    "301": (reply(301, b"", location="/v2/run"), APIStatusError),
}


@pytest.fixture
def client(in_memory):
    """A client in memory: both kinds share what is decided here."""
    return in_memory()


def call(client, way):
    if way == "run":
        return client.run(MODEL, {}).text
    return "".join(client.stream(MODEL, {}))


@pytest.mark.parametrize("way", ["run", "stream"])
@pytest.mark.parametrize("case", MISSING)
def test_missing_route_falls_back_and_is_remembered(client, io, case, way):
    """405, 410, a 404 that is not JSON or exactly {"detail":"Not Found"}: create is used, from now on at once."""  # noqa: E501
    route = RUN if way == "run" else SSE
    io.route(route, MISSING[case])
    io.route(CREATE, reply(201, DONE))
    assert call(client, way) == "ab"
    assert call(client, way) == "ab"
    assert io.lines == [route, CREATE, CREATE]
    body = io.bodies[1]
    assert body == {"model": MODEL, "input": {}, **({"stream": True} if way == "stream" else {})}


@pytest.mark.parametrize("way", ["run", "stream"])
@pytest.mark.parametrize("case", PRESENT)
def test_other_refusals_do_not_fall_back(in_memory, io, case, way):
    """Any other refusal is raised as it is, and nothing else is asked."""
    script, kind = PRESENT[case]
    client = in_memory(max_retries=0)
    io.route(RUN if way == "run" else SSE, script)
    with pytest.raises(kind):
        call(client, way)
    assert len(io.requests) == 1


@pytest.mark.parametrize("case", ["404 html", "404 empty", "404 of a framework"])
@pytest.mark.parametrize("status", ["processing", "unknown"])
@pytest.mark.parametrize("way", ["run", "stream", "on_text"])
def test_a_poll_that_finds_no_route_starts_nothing_again(client, io, way, status, case):
    """The route that started the prediction is not missing, and the prediction may be paid for."""
    io.route(RUN, reply(200, prediction(status)))
    io.route(SSE, reply(200, prediction(status)))
    io.route(CREATE, reply(201, DONE))
    io.route("GET /predictions/p1", MISSING[case])
    with pytest.raises(NotFoundError) as caught:
        client.run(MODEL, {}, on_text=print) if way == "on_text" else call(client, way)
    assert CREATE not in io.lines
    assert caught.value.may_have_started


@pytest.mark.parametrize("way", ["run", "stream"])
def test_refused_create_is_the_error_and_nothing_is_remembered(client, io, way):
    """If the fall-back's create is refused too, that refusal is raised, and the route is asked again next time."""  # noqa: E501
    route = RUN if way == "run" else SSE
    io.route(route, MISSING["405"])
    io.route(CREATE, reply(402, {"detail": "no wallet"}), reply(201, DONE))
    with pytest.raises(PaymentRequiredError, match="no wallet"):
        call(client, way)
    assert call(client, way) == "ab"
    assert call(client, way) == "ab"
    assert io.lines == [route, CREATE, route, CREATE, CREATE]


@pytest.mark.parametrize("way", ["run", "stream"])
def test_route_run_never_falls_back(in_memory, io, way):
    """With route="run" a missing route is an error."""
    io.route(RUN, MISSING["405"])
    io.route(SSE, MISSING["405"])
    with pytest.raises(APIStatusError) as caught:
        call(in_memory(route="run"), way)
    assert caught.value.status_code == 405
    assert len(io.requests) == 1


@pytest.mark.parametrize("way", ["run", "stream"])
def test_route_predictions_never_asks_the_other(in_memory, io, way):
    """With route="predictions" only create is asked."""
    io.route(CREATE, reply(201, DONE))
    assert call(in_memory(route="predictions"), way) == "ab"
    assert io.lines == [CREATE]


@pytest.mark.parametrize("route", ["auto", "run", "predictions"])
def test_bare_version_goes_to_predictions_at_once(in_memory, io, route):
    """64 hex digits go to /predictions as `version`, whatever `route` says, and teach nothing of other routes."""  # noqa: E501
    client = in_memory(route=route)
    io.route(CREATE, reply(201, DONE))
    io.route(RUN, reply(200, ["x"]))
    assert client.run(VERSION, {"a": 1}).text == "ab"
    assert "".join(client.stream(VERSION, {})) == "ab"
    assert io.lines == [CREATE, CREATE]
    assert io.bodies[0] == {"version": VERSION, "input": {"a": 1}}
    if route == "auto":
        assert client.run(MODEL, {}).text == "x"


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}:{VERSION}", f"{MODEL}:v1.2"])
def test_model_goes_to_run_as_written(client, io, model):
    """/run and /run_sse get `model` exactly as it was written."""
    io.route(RUN, reply(200, "x"))
    io.route(SSE, events(frames("x")))
    client.run(model, {"prompt": "你"})
    list(client.stream(model, {"prompt": "你"}))
    assert io.bodies == [{"model": model, "input": {"prompt": "你"}}] * 2
    assert [request.accept for request in io.requests] == ["application/json", "text/event-stream"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"model": MODEL}, {"model": MODEL}),
        ({"model": f"{MODEL}:{VERSION}"}, {"model": MODEL, "version": VERSION}),
        ({"version": VERSION}, {"version": VERSION}),
        ({"model": MODEL, "version": VERSION}, {"model": MODEL, "version": VERSION}),
        ({"model": VERSION}, {"version": VERSION}),
        ({"model": MODEL, "stream": True}, {"model": MODEL, "stream": True}),
        (
            {"model": MODEL, "webhook": "https://example.com", "webhook_events_filter": ["completed"]},
            {"model": MODEL, "webhook": "https://example.com", "webhook_events_filter": ["completed"]},
        ),
        (
            {"model": MODEL, "webhook": "HTTPS://Example.com:8443/a?b=c"},
            {"model": MODEL, "webhook": "HTTPS://Example.com:8443/a?b=c"},
        ),
        ({"model": MODEL, "webhook_events_filter": []}, {"model": MODEL, "webhook_events_filter": []}),
    ],
)
def test_create_names_version_and_model_where_they_are_known(client, io, given, sent):
    """/predictions gets `version` where one is known, `model` where a name is known, and only what was set."""  # noqa: E501
    io.route(CREATE, reply(201, prediction()))
    made = client.create(input={"a": 1}, **given)
    assert made.id == "p1"
    assert io.bodies[0] == {**sent, "input": {"a": 1}}


def test_which_statuses_miss_a_route_is_a_setting(in_memory, io):
    """A 405 that is not listed is the service's own answer: nothing else is tried, and no route is blamed."""
    io.route("POST /run", reply(405, {"detail": "not now"}))
    with pytest.raises(APIStatusError) as caught:
        in_memory(service=Service(missing_route_statuses=(410,))).run(MODEL, {})
    assert "route" not in str(caught.value)
    assert io.lines == [RUN]


@pytest.mark.parametrize(
    "bad",
    [
        {"webhook": "example.com/hook"},
        {"webhook": 5},
        {"webhook": "https:// a b"},
        {"webhook": "https://?a=1"},
        {"webhook": "https://example.com/\n"},
        {"webhook_events_filter": ["completed"]},
        {"webhook": "https://example.com", "webhook_events_filter": "completed"},
        {"webhook": "https://example.com", "webhook_events_filter": {"completed"}},
        {"webhook": "https://example.com", "webhook_events_filter": [1]},
    ],
)
def test_what_is_no_webhook_is_refused(client, io, bad):
    """A run would be paid for, and nobody told of it."""
    with pytest.raises(ConfigurationError, match="webhook"):
        client.create(model=MODEL, input={}, **bad)
    assert not io.requests


@pytest.mark.parametrize("stream", [None, 0, "false", [True]])
def test_stream_is_true_or_false(client, io, stream):
    """A text such as ``"false"`` would count as true."""
    with pytest.raises(ConfigurationError, match=r"^stream=.* must be True or False"):
        client.create(model=MODEL, input={}, stream=stream)
    assert not io.requests


BAD_REFERENCES = [
    "", "name", "owner/", "/name", "owner/name/x", "owner/name:", "owner/name:a:b", "owner /name", "https://x/y",
    "owner/name?x", "../name#", VERSION[:-1], VERSION + "0", None, 5, b"owner/name", ["owner/name"], "owner/name\n",  # noqa: E501
    "owner/na\x00me", "ow\x1bner/name", "owner/name:t\x7fag", "owner/name\x85", "owner/name\ud800",
]  # fmt: skip


@pytest.mark.parametrize("reference", BAD_REFERENCES, ids=repr)
def test_bad_references_are_refused_before_anything_is_sent(client, io, reference):
    """What is neither owner/name, owner/name:version nor 64 hex digits is a ConfigurationError; nothing is sent."""  # noqa: E501
    with pytest.raises(ConfigurationError):
        client.run(reference, {})
    with pytest.raises(ConfigurationError):
        client.client.stream(reference, {})
    with pytest.raises(ConfigurationError):
        client.create(model=reference, input={})
    assert not io.requests


def test_contradicting_versions_are_refused(client, io):
    """A model and a version that name two versions, or no model at all, are a ConfigurationError."""
    for given in ({"model": f"{MODEL}:{VERSION}", "version": "a" * 64}, {}, {"version": "v1"}):
        with pytest.raises(ConfigurationError):
            client.create(input={}, **given)
    assert not io.requests


BAD_INPUTS = [
    None, "prompt", [("a", 1)], {1: "a"}, {"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": {1, 2}},  # noqa: E501
]  # fmt: skip


def circular():
    value = {}
    value["self"] = [value]
    return value


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize("value", [*BAD_INPUTS, circular(), deep()], ids=lambda value: str(type(value)))
def test_inputs_that_cannot_be_sent_are_refused(client, io, value):
    """An input that JSON cannot hold is a ConfigurationError; nothing is sent."""
    with pytest.raises(ConfigurationError):
        client.run(MODEL, value)
    with pytest.raises(ConfigurationError):
        list(client.stream(MODEL, value))
    with pytest.raises(ConfigurationError):
        client.create(model=MODEL, input=value)
    assert not io.requests


def test_mappings_and_tuples_are_sent_as_json(client, io):
    """Any mapping and tuple, subclasses too, is written as JSON."""
    from collections import OrderedDict, UserDict
    from types import MappingProxyType

    io.route(RUN, reply(200, "x"))
    client.run(MODEL, MappingProxyType({"a": (1, 2), "b": OrderedDict(c=UserDict(d=None))}))
    assert io.bodies[0] == {"input": {"a": [1, 2], "b": {"c": {"d": None}}}, "model": MODEL}


def test_a_compressed_file_has_not_the_type_of_its_content(client, io, tmp_path):
    """`a.csv.gz` is no CSV."""
    io.route(RUN, reply(200, "x"))
    (tmp_path / "a.csv.gz").write_bytes(b"\x1f\x8b")
    client.run(MODEL, {"file": tmp_path / "a.csv.gz"})
    assert io.bodies[0]["input"]["file"] == "data:application/octet-stream;base64,H4s="


def test_files_become_data_uris(client, io, tmp_path):
    """A path, bytes or an open binary file becomes a data URI; one that is too large or of text is refused."""  # noqa: E501
    io.route(RUN, reply(200, "x"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with (tmp_path / "a.png").open("rb") as file:
        client.run(MODEL, {"path": tmp_path / "a.png", "bytes": b"hi", "nested": [{"file": file}]})
    sent = io.bodies[0]["input"]
    assert sent["path"] == sent["nested"][0]["file"] == "data:image/png;base64,iVBORw0KGgo="
    assert sent["bytes"] == "data:application/octet-stream;base64,aGk="
    (tmp_path / "big").write_bytes(b"x" * (10 * 1024**2 + 1))
    with (tmp_path / "a.png").open(encoding="latin-1") as text:
        for bad in (tmp_path / "big", tmp_path / "none", tmp_path, text, b"x" * (10 * 1024**2 + 1)):
            with pytest.raises(ConfigurationError, match=r"input\['a'\]"):
                client.run(MODEL, {"a": bad})
    assert len(io.requests) == 1


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://api.rockai.example/v1/predictions/stream/p1", "/v1/predictions/stream/p1"),
        ("https://api.rockai.example/elsewhere?key=1", "/elsewhere?key=1"),
        ("https://cdn.example.com/v1/s/p1?x=%20y", "/v1/s/p1?x=%20y"),
        ("//cdn.example.com/s", "/s"),
        ("/v1/s", "/v1/s"),
        ("https://user:secret@evil.example.com/s#frag", "/s"),
    ],
)
def test_the_stream_address_is_asked_at_the_base_origin(in_memory, io, address, asked):
    """If urls.stream points to another origin, its path and query are asked at the base URL's origin."""
    io.route(CREATE, reply(201, prediction(urls={"stream": address})))
    io.route(f"GET {asked.partition('?')[0]}", events(frames("a", "b")))
    reading = in_memory(route="predictions").stream(MODEL, {})
    assert list(reading) == ["a", "b"]
    assert (reading.prediction.id, reading.prediction.status) == ("p1", "succeeded")
    asking = io.requests[1]
    assert (asking.target, asking.below_base, asking.download) == (asked, False, False)
    assert asking.accept == "text/event-stream"


@pytest.mark.parametrize(
    "urls", [{}, {"stream": ""}, {"stream": None}, {"stream": "http://[::1"}, None, {"get": "x"}]
)
def test_a_prediction_without_stream_address_is_waited_for(in_memory, io, urls):
    """A created prediction without urls.stream is waited for, and handed on as one piece."""
    io.route(CREATE, reply(201, prediction(urls=urls)))
    io.route("GET /predictions/p1", reply(200, prediction("processing")), reply(200, DONE))
    reading = in_memory(route="predictions").stream(MODEL, {})
    assert list(reading) == ["ab"]
    assert reading.prediction.output == ["a", "b"]


def test_run_waits_for_what_create_started(in_memory, io):
    """With route="predictions" run creates, looks until the end, and gives the finished prediction."""
    client = in_memory(route="predictions")
    io.route(CREATE, reply(201, prediction()))
    io.route("GET /predictions/p1", reply(200, {"status": "processing"}), reply(200, DONE))
    done = client.run(MODEL, {"q": 1})
    assert (done.id, done.status, done.text, done.model, done.input) == (
        "p1",
        "succeeded",
        "ab",
        MODEL,
        {"q": 1},
    )
    assert io.lines == [CREATE, *["GET /predictions/p1"] * 2]


def test_a_stream_that_is_answered_with_a_status_alone(client, io):
    """The request has named the prediction: the answer is its state, not an output."""
    io.route("GET /predictions/p1", reply(200, prediction(urls={"stream": "/s"})), reply(200, DONE))
    io.route("GET /s", reply(200, {"status": "processing"}))
    assert list(client.follow("p1")) == ["ab"]


def test_predictions_stream_takes_an_id(client, io):
    """predictions.stream looks the prediction up by its id, then follows its stream."""
    io.route("GET /predictions/p1", reply(200, prediction(urls={"stream": "/s"})))
    io.route("GET /s", events(frames("a")))
    assert list(client.follow("p1")) == ["a"]
    assert io.lines == ["GET /predictions/p1", "GET /s"]


def test_cancel_sends_no_body(client, io):
    """Cancel is a POST without body."""
    io.route("POST /predictions/p1/cancel", reply(200, prediction("canceled")))
    assert client.cancel("p1").status == "canceled"
    assert io.bodies == [None]


BAD_IDS = [
    "",
    ".",
    "..",
    "a/b",
    "a?b",
    "a#b",
    "a%2e",
    "a b",
    "a\n",
    "\x00",
    "a\x7f",
    "\u2028",
    "a\\b",
    None,
    5,
    b"p1",
]


@pytest.mark.parametrize("bad", [*BAD_IDS, "\ud800"], ids=ascii)
def test_bad_prediction_ids_are_refused(client, io, bad):
    """An id that could climb the path is a ConfigurationError before anything is sent."""
    for method in (client.get, client.cancel, client.wait, client.follow):
        with pytest.raises(ConfigurationError):
            method(bad)
    assert not io.requests


def test_prediction_ids_are_encoded(client, io):
    """An id with other characters is percent-encoded, once."""
    io.always(reply(200, prediction("succeeded")))
    client.get("é+&=:@你")
    assert io.requests[0].target == "/predictions/%C3%A9%2B%26%3D%3A%40%E4%BD%A0"


def test_a_prediction_without_id_cannot_be_asked_about(client, io):
    """wait, cancel and stream of a prediction from /run, which has no id, say what to do."""
    io.route(RUN, reply(200, "x"))
    done = client.run(MODEL, {})
    assert done.id is None
    for method in (client.wait, client.cancel, client.follow):
        with pytest.raises(ConfigurationError, match="route="):
            method(done)


def test_one_retired_route_says_nothing_of_the_other(client, io):
    """/run and /run_sse are remembered each by itself."""
    io.route(RUN, MISSING["410"])
    io.route(CREATE, reply(201, DONE))
    io.route(SSE, events(frames("x")))
    client.run(MODEL, {})
    assert list(client.stream(MODEL, {})) == ["x"]


def test_bodies_are_compact_utf8(client, io):
    """JSON goes out as UTF-8, not as escapes."""
    io.route(RUN, reply(200, "x"))
    client.run(MODEL, {"p": "你"})
    assert "你".encode() in io.requests[0].body
    assert json.loads(io.requests[0].body)["input"] == {"p": "你"}


# Over a socket: what both kinds of client really write.


def test_every_call_carries_the_token_and_the_right_headers(connect, server):
    """Bearer token, JSON and no compression, on every route, the stream's own address and the cancel too."""
    server.route("POST /v1/run", answer(200, "x"))
    server.route("POST /v1/run_sse", stream(frames("x")))
    server.route(
        "POST /v1/predictions", answer(201, prediction(urls={"stream": "https://cdn.example/s?k=1"}))
    )
    server.route("GET /s?k=1", stream(frames("x")))
    server.route("GET /v1/predictions/p1", answer(200, prediction("processing")))
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    client = connect()
    client.run(MODEL, {"prompt": "你"})
    list(client.stream(MODEL, {}))
    list(client.stream(VERSION, {}))
    client.get("p1")
    client.cancel("p1")
    assert server.lines == [
        "POST /v1/run",
        "POST /v1/run_sse",
        "POST /v1/predictions",
        "GET /s?k=1",
        "GET /v1/predictions/p1",
        "POST /v1/predictions/p1/cancel",
    ]
    for request in server.requests:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers.get("content-type") == ("application/json" if request.body else None)
        streamed = request.path in {"/v1/run_sse", "/s?k=1"}
        assert request.headers["accept"] == ("text/event-stream" if streamed else "application/json")
    assert server.requests[0].json == {"model": MODEL, "input": {"prompt": "你"}}
    assert server.requests[-1].body == b""
