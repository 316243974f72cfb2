"""Which way a call goes, and what it says on the wire."""

import json

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, VERSION, prediction
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

RUN, SSE, CREATE = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions"
DONE = prediction("succeeded", output=["a", "b"])

MISSING = {
    "405": answer(405, {"detail": "Method Not Allowed"}),
    "405 html": answer(405, "<h1>no</h1>", media_type="text/html"),
    "410": answer(410, {"detail": "gone"}),
    "404 html": answer(404, "<h1>no</h1>", media_type="text/html"),
    "404 empty": answer(404, b""),
    "404 of a framework": answer(404, {"detail": "Not Found"}),
    "404 of a framework with spaces": answer(404, b' { "detail" : "Not Found" } '),
}
PRESENT = {
    "404 about the model": (answer(404, {"detail": "model not found"}), NotFoundError),
    "404 with more keys": (answer(404, {"detail": "Not Found", "code": 1}), NotFoundError),
    "404 envelope": (answer(404, {"msg": "no", "code": 404}), NotFoundError),
    "404 in an envelope under 200": (answer(200, {"msg": "no", "code": 404}), NotFoundError),
    "405 in an envelope under 200": (answer(200, {"msg": "no", "code": 405}), APIStatusError),
    "400": (answer(400, {"detail": "bad"}), BadRequestError),
    "500": (answer(500, "Internal Server Error", media_type="text/plain"), InternalServerError),
    "301": (answer(301, b"", {"Location": "/v2/run"}), APIStatusError),
}


def call(client, way):
    if way == "run":
        return client.run(MODEL, {}).text
    return "".join(client.stream(MODEL, {}))


@pytest.mark.parametrize("way", ["run", "stream"])
@pytest.mark.parametrize("case", MISSING)
def test_missing_route_falls_back_and_is_remembered(client, server, case, way):
    """405, 410, a 404 that is not JSON or exactly {"detail":"Not Found"}: create is used, from now on at once."""  # noqa: E501
    route = RUN if way == "run" else SSE
    server.route(route, MISSING[case])
    server.route(CREATE, answer(201, DONE))
    assert call(client, way) == "ab"
    assert call(client, way) == "ab"
    assert server.lines == [route, CREATE, CREATE]
    body = server.requests[1].json
    assert body == {"model": MODEL, "input": {}, **({"stream": True} if way == "stream" else {})}


@pytest.mark.parametrize("way", ["run", "stream"])
@pytest.mark.parametrize("case", PRESENT)
def test_other_refusals_do_not_fall_back(connect, server, case, way):
    """Any other refusal is raised as it is, and nothing else is asked."""
    script, kind = PRESENT[case]
    client = connect(max_retries=0)
    server.route(RUN if way == "run" else SSE, script)
    with pytest.raises(kind):
        call(client, way)
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", ["run", "stream"])
def test_refused_create_is_the_error_and_nothing_is_remembered(client, server, way):
    """If the fall-back's create is refused too, that refusal is raised, and the route is asked again next time."""  # noqa: E501
    route = RUN if way == "run" else SSE
    server.route(route, MISSING["405"])
    server.route(CREATE, answer(402, {"detail": "no wallet"}), answer(201, DONE))
    with pytest.raises(PaymentRequiredError, match="no wallet"):
        call(client, way)
    assert call(client, way) == "ab"
    assert call(client, way) == "ab"
    assert server.lines == [route, CREATE, route, CREATE, CREATE]


@pytest.mark.parametrize("way", ["run", "stream"])
def test_route_run_never_falls_back(connect, server, way):
    """With route="run" a missing route is an error."""
    server.route(RUN, MISSING["405"])
    server.route(SSE, MISSING["405"])
    with pytest.raises(APIStatusError) as caught:
        call(connect(route="run"), way)
    assert caught.value.status_code == 405
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", ["run", "stream"])
def test_route_predictions_never_asks_the_other(connect, server, way):
    """With route="predictions" only create is asked."""
    server.route(CREATE, answer(201, DONE))
    assert call(connect(route="predictions"), way) == "ab"
    assert server.lines == [CREATE]


@pytest.mark.parametrize("route", ["auto", "run", "predictions"])
def test_bare_version_goes_to_predictions_at_once(connect, server, route):
    """64 hex digits go to /predictions as `version`, whatever `route` says, and teach nothing of other routes."""  # noqa: E501
    client = connect(route=route)
    server.route(CREATE, answer(201, DONE))
    server.route(RUN, answer(200, ["x"]))
    assert client.run(VERSION, {"a": 1}).text == "ab"
    assert "".join(client.stream(VERSION, {})) == "ab"
    assert server.lines == [CREATE, CREATE]
    assert server.requests[0].json == {"version": VERSION, "input": {"a": 1}}
    if route == "auto":
        assert client.run(MODEL, {}).text == "x"


def test_model_goes_to_run_as_written(client, server):
    """/run and /run_sse get `model` exactly as it was written, with Bearer token and JSON."""
    server.route(RUN, answer(200, "x"))
    server.route(SSE, stream(frames("x")))
    for model in (MODEL, f"{MODEL}:{VERSION}", f"{MODEL}:v1.2"):
        client.run(model, {"prompt": "你"})
        list(client.stream(model, {"prompt": "你"}))
        for request in server.requests[-2:]:
            assert request.json == {"model": model, "input": {"prompt": "你"}}
            assert request.headers["authorization"] == f"Bearer {TOKEN}"
            assert request.headers["content-type"] == "application/json"
            assert request.headers["accept-encoding"] == "identity"
    assert server.requests[-1].headers["accept"] == "text/event-stream"
    assert server.requests[-2].headers["accept"] == "application/json"


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
def test_create_names_version_and_model_where_they_are_known(client, server, given, sent):
    """/predictions gets `version` where one is known, `model` where a name is known, and only what was set."""  # noqa: E501
    server.route(CREATE, answer(201, prediction()))
    made = client.create(input={"a": 1}, **given)
    assert made.id == "p1"
    assert server.requests[0].json == {**sent, "input": {"a": 1}}


def test_which_statuses_miss_a_route_is_a_setting(connect, server):
    """A 405 that is not listed is the service's own answer: nothing else is tried, and no route is blamed."""
    server.route("POST /v1/run", answer(405, {"detail": "not now"}))
    with pytest.raises(APIStatusError) as caught:
        connect(service=Service(missing_route_statuses=(410,))).run(MODEL, {})
    assert "route" not in str(caught.value)
    assert [request.path for request in server.requests] == ["/v1/run"]


@pytest.mark.parametrize(
    "bad",
    [
        {"webhook": "example.com/hook"},
        {"webhook": 5},
        {"webhook": "https:// a b"},
        {"webhook": "https://?a=1"},
        {"webhook": "https://example.com/\n"},
        {"webhook": "https://example.com", "webhook_events_filter": "completed"},
        {"webhook": "https://example.com", "webhook_events_filter": {"completed"}},
        {"webhook": "https://example.com", "webhook_events_filter": [1]},
    ],
)
def test_what_is_no_webhook_is_refused(client, server, bad):
    """A run would be paid for, and nobody told of it."""
    with pytest.raises(ConfigurationError, match="webhook"):
        client.create(model=MODEL, input={}, **bad)
    assert not server.requests


BAD_REFERENCES = [
    "", "name", "owner/", "/name", "owner/name/x", "owner/name:", "owner/name:a:b", "owner /name", "https://x/y",
    "owner/name?x", "../name#", VERSION[:-1], VERSION + "0", None, 5, b"owner/name", ["owner/name"], "owner/name\n",  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize("reference", BAD_REFERENCES, ids=repr)
def test_bad_references_are_refused_before_anything_is_sent(client, server, reference):
    """What is neither owner/name, owner/name:version nor 64 hex digits is a ConfigurationError; nothing is sent."""  # noqa: E501
    with pytest.raises(ConfigurationError):
        client.run(reference, {})
    with pytest.raises(ConfigurationError):
        client.client.stream(reference, {})
    with pytest.raises(ConfigurationError):
        client.create(model=reference, input={})
    assert not server.requests


def test_contradicting_versions_are_refused(client, server):
    """A model and a version that name two versions, or no model at all, are a ConfigurationError."""
    for given in ({"model": f"{MODEL}:{VERSION}", "version": "a" * 64}, {}, {"version": "v1"}):
        with pytest.raises(ConfigurationError):
            client.create(input={}, **given)
    assert not server.requests


BAD_INPUTS = [
    None, "prompt", [("a", 1)], {1: "a"}, {"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": {1, 2}},  # noqa: E501
    {"a": "\ud800"},
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
def test_inputs_that_cannot_be_sent_are_refused(client, server, value):
    """An input that JSON cannot hold is a ConfigurationError; nothing is sent."""
    with pytest.raises(ConfigurationError):
        client.run(MODEL, value)
    with pytest.raises(ConfigurationError):
        list(client.stream(MODEL, value))
    with pytest.raises(ConfigurationError):
        client.create(model=MODEL, input=value)
    assert not server.requests


def test_mappings_and_tuples_are_sent_as_json(client, server):
    """Any mapping and tuple, subclasses too, is written as JSON."""
    from collections import OrderedDict, UserDict  # noqa: PLC0415
    from types import MappingProxyType  # noqa: PLC0415

    server.route(RUN, answer(200, "x"))
    client.run(MODEL, MappingProxyType({"a": (1, 2), "b": OrderedDict(c=UserDict(d=None))}))
    assert server.requests[0].json == {"input": {"a": [1, 2], "b": {"c": {"d": None}}}, "model": MODEL}


def test_files_become_data_uris(client, server, tmp_path):
    """A path, bytes or an open binary file becomes a data URI; one that is too large or of text is refused."""  # noqa: E501
    server.route(RUN, answer(200, "x"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with (tmp_path / "a.png").open("rb") as file:
        client.run(MODEL, {"path": tmp_path / "a.png", "bytes": b"hi", "nested": [{"file": file}]})
    sent = server.requests[0].json["input"]
    assert sent["path"] == sent["nested"][0]["file"] == "data:image/png;base64,iVBORw0KGgo="
    assert sent["bytes"] == "data:application/octet-stream;base64,aGk="
    (tmp_path / "big").write_bytes(b"x" * (10 * 1024**2 + 1))
    with (tmp_path / "a.png").open(encoding="latin-1") as text:
        for bad in (tmp_path / "big", tmp_path / "none", tmp_path, text, b"x" * (10 * 1024**2 + 1)):
            with pytest.raises(ConfigurationError, match=r"input\['a'\]"):
                client.run(MODEL, {"a": bad})
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("{origin}/v1/predictions/stream/p1", "/v1/predictions/stream/p1"),
        ("{origin}/elsewhere?key=1", "/elsewhere?key=1"),
        ("https://cdn.example.com/v1/s/p1?x=%20y", "/v1/s/p1?x=%20y"),
        ("//cdn.example.com/s", "/s"),
        ("/v1/s", "/v1/s"),
        ("https://user:secret@evil.example.com/s#frag", "/s"),
    ],
)
def test_the_stream_address_is_asked_at_the_base_origin(connect, server, address, asked):
    """If urls.stream points to another origin, its path and query are asked at the base URL's origin."""
    urls = {"stream": address.format(origin=server.origin)}
    server.route(CREATE, answer(201, prediction(urls=urls)))
    server.route(f"GET {asked}", stream(frames("a", "b")))
    reading = connect(route="predictions").stream(MODEL, {})
    assert list(reading) == ["a", "b"]
    assert reading.prediction.id == "p1"
    assert reading.prediction.status == "succeeded"
    assert server.requests[1].headers["authorization"] == f"Bearer {TOKEN}"
    assert server.requests[1].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    "urls", [{}, {"stream": ""}, {"stream": None}, {"stream": "http://[::1"}, None, {"get": "x"}]
)
def test_a_prediction_without_stream_address_is_waited_for(connect, server, urls):
    """A created prediction without urls.stream is waited for, and handed on as one piece."""
    server.route(CREATE, answer(201, prediction(urls=urls)))
    server.route("GET /v1/predictions/p1", answer(200, prediction("processing")), answer(200, DONE))
    reading = connect(route="predictions").stream(MODEL, {})
    assert list(reading) == ["ab"]
    assert reading.prediction.output == ["a", "b"]


def test_run_waits_for_what_create_started(connect, server):
    """With route="predictions" run creates, looks until the end, and gives the finished prediction."""
    client = connect(route="predictions")
    server.route(CREATE, answer(201, prediction()))
    server.route("GET /v1/predictions/p1", answer(200, {"status": "processing"}), answer(200, DONE))
    done = client.run(MODEL, {"q": 1})
    assert (done.id, done.status, done.text, done.model, done.input) == (
        "p1",
        "succeeded",
        "ab",
        MODEL,
        {"q": 1},
    )
    assert server.lines == [CREATE, *["GET /v1/predictions/p1"] * 2]


def test_predictions_stream_takes_an_id(client, server):
    """predictions.stream looks the prediction up by its id, then follows its stream."""
    server.route("GET /v1/predictions/p1", answer(200, prediction(urls={"stream": "/s"})))
    server.route("GET /s", stream(frames("a")))
    assert list(client.follow("p1")) == ["a"]
    assert server.lines == ["GET /v1/predictions/p1", "GET /s"]


def test_cancel_sends_no_body(client, server):
    """Cancel is a POST without body, with the token (the quick start forgot it)."""
    server.route("POST /v1/predictions/p1/cancel", answer(200, prediction("canceled")))
    assert client.cancel("p1").status == "canceled"
    (request,) = server.requests
    assert request.body == b""
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


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
def test_bad_prediction_ids_are_refused(client, server, bad):
    """An id that could climb the path is a ConfigurationError before anything is sent."""
    for method in (client.get, client.cancel, client.wait, client.follow):
        with pytest.raises(ConfigurationError):
            method(bad)
    assert not server.requests


def test_prediction_ids_are_encoded(client, server):
    """An id with other characters is percent-encoded, once."""
    server.script = answer(200, prediction("succeeded"))
    client.get("é+&=:@你")
    assert server.requests[0].path == "/v1/predictions/%C3%A9%2B%26%3D%3A%40%E4%BD%A0"


def test_a_prediction_without_id_cannot_be_asked_about(client, server):
    """wait, cancel and stream of a prediction from /run, which has no id, say what to do."""
    server.route(RUN, answer(200, "x"))
    done = client.run(MODEL, {})
    assert done.id is None
    for method in (client.wait, client.cancel, client.follow):
        with pytest.raises(ConfigurationError, match="route="):
            method(done)


def test_one_retired_route_says_nothing_of_the_other(client, server):
    """/run and /run_sse are remembered each by itself."""
    server.route(RUN, MISSING["410"])
    server.route(CREATE, answer(201, DONE))
    server.route(SSE, stream(frames("x")))
    client.run(MODEL, {})
    assert list(client.stream(MODEL, {})) == ["x"]


def test_bodies_are_compact_utf8(client, server):
    """JSON goes out as UTF-8, not as escapes."""
    server.route(RUN, answer(200, "x"))
    client.run(MODEL, {"p": "你"})
    assert "你".encode() in server.requests[0].body
    assert json.loads(server.requests[0].body)["input"] == {"p": "你"}
