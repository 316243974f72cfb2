"""Every shape of every answer, and what it means: in memory; what is no proper HTTP, over a socket."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.replies import MODEL, enveloped, prediction
from support.virtual_io import ScriptedAnswer, events, reply
from support.wire_server import answer, frames, hang_up

from rockai_transport import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    Prediction,
    PredictionCanceledError,
    PredictionFailedError,
    RateLimitError,
    Service,
)
from rockai_transport.protocol.io import BrokenError, ExpiredError

RUN, SSE, CREATE, GET = "POST /run", "POST /run_sse", "POST /predictions", "GET /predictions/p1"
CANCEL = "POST /predictions/p1/cancel"
NO_CONTENT = reply(204, b"")


@pytest.fixture
def client(in_memory):
    """A client in memory: both kinds share what is decided here."""
    return in_memory()


OUTPUTS = [
    "text", "", ["a", "b"], [], {"image": "https://x/y.png"}, {}, None, 5, 0.5, True, [1, 2], [["a"]],
    {"status": 5}, {"status": "ok"}, {"code": "200", "data": 1}, {"code": True, "msg": "x"}, {"code": 200},
]  # fmt: skip


@pytest.mark.parametrize("output", OUTPUTS, ids=repr)
@pytest.mark.parametrize("wrap", [lambda x: x, enveloped], ids=["bare", "enveloped"])
def test_any_json_of_run_is_the_output(client, io, output, wrap):
    """Any JSON that is neither prediction nor envelope is the output, enveloped too; no id is known."""
    io.route(RUN, reply(200, wrap(output)))
    done = client.run(MODEL, {"a": 1})
    assert (done.id, done.status, done.output) == (None, "succeeded", output)
    assert (done.model, done.input) == (MODEL, {"a": 1})


@pytest.mark.parametrize("way", ["run", "stream"])
def test_an_envelope_that_writes_its_error_code_as_text_is_an_error(client, io, way):
    """A chat model would have given the whole envelope as its answer."""
    io.always(reply(200, {"code": "402", "msg": "no balance", "data": None}))
    with pytest.raises(PaymentRequiredError, match="no balance"):
        client.run(MODEL, {}) if way == "run" else list(client.stream(MODEL, {}))
    assert io.lines == [RUN if way == "run" else SSE]


@pytest.mark.parametrize(
    "told",
    [
        {"error": "overloaded"},
        {"error": {"message": "overloaded", "code": 503}},
        {"detail": "invalid token"},
        {"status": "failed", "error": "boom"},
        {"code": 200, "msg": "success", "data": {"success": False, "error": "no"}},
    ],
    ids=repr,
)
@pytest.mark.parametrize("way", ["run", "stream"])
def test_an_error_under_200_is_no_output(client, io, way, told):
    """A chat model would have given it as its answer. An object with keys of its own is an output."""
    io.always(reply(200, told))
    with pytest.raises(InvalidResponseError, match="but not with an output") as caught:
        client.run(MODEL, {}) if way == "run" else list(client.stream(MODEL, {}))
    assert (caught.value.body, caught.value.may_have_started) == (told, True)
    io.always(reply(200, {"error": "none", "boxes": []}))
    assert client.run(MODEL, {}).output == {"error": "none", "boxes": []}


@pytest.mark.parametrize("wrap", [lambda x: x, enveloped], ids=["flat", "enveloped"])
def test_a_finished_prediction_of_run(client, io, wrap):
    """Both shapes of a finished prediction are read."""
    told = prediction(
        "succeeded", output=["a", "b"], metrics={"predict_time": 1.5}, logs="x", created_at="t0"
    )
    io.route(RUN, reply(200, wrap(told)))
    done = client.run(MODEL, {})
    assert (done.id, done.text, done.logs, done.created_at) == ("p1", "ab", "x", "t0")
    assert done.metrics == {"predict_time": 1.5}
    assert done.error is None
    assert done.raw == told


@pytest.mark.parametrize("wrap", [lambda x: x, enveloped], ids=["flat", "enveloped"])
def test_a_prediction_of_run_that_goes_on_is_waited_for(client, io, wrap):
    """A /run answer that is a prediction not yet terminal is waited for."""
    io.route(RUN, reply(200, wrap(prediction("processing"))))
    io.route(GET, reply(200, wrap(prediction("succeeded", output="x"))))
    assert client.run(MODEL, {}).output == "x"


def test_a_prediction_of_run_without_id_and_end_is_invalid(client, io):
    """One that has neither ended nor an id cannot be waited for."""
    io.route(RUN, reply(200, {"status": "processing", "output": None}))
    with pytest.raises(InvalidResponseError) as caught:
        client.run(MODEL, {})
    assert caught.value.may_have_started


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_prediction_of_run_that_failed_raises(client, io, status):
    """`failed` and `canceled` raise, with the prediction and the model's own words."""
    io.route(RUN, reply(200, prediction(status, error="out of memory")))
    kind = PredictionFailedError if status == "failed" else PredictionCanceledError
    with pytest.raises(kind) as caught:
        client.run(MODEL, {})
    assert caught.value.prediction.id == "p1"
    assert caught.value.may_have_started
    if status == "failed":
        assert str(caught.value) == "out of memory"


@pytest.mark.parametrize(
    "body", ["<html>login</html>", "", "not json", b"\xff\xfe\x00", "[" * 100_000], ids=ascii
)
@pytest.mark.parametrize("status", [200, 201])
def test_an_answer_that_is_no_json_is_invalid(client, io, body, status):
    """A non-JSON answer is an InvalidResponseError with its body."""
    for route in (RUN, CREATE, GET):
        io.route(route, reply(status, body, media_type="text/html"))
    for call, starts in (
        (lambda: client.run(MODEL, {}), True),
        (lambda: client.create(model=MODEL, input={}), True),
        (lambda: client.get("p1"), False),
    ):
        with pytest.raises(InvalidResponseError) as caught:
            call()
        assert caught.value.may_have_started is starts
        expected = body if isinstance(body, str) else body.decode("utf-8", "replace")
        assert caught.value.body == expected


def test_no_content_is_invalid_for_create(client, io):
    """A 204 to create is no prediction; it may have started."""
    io.route(CREATE, NO_CONTENT)
    with pytest.raises(InvalidResponseError) as caught:
        client.create(model=MODEL, input={})
    assert caught.value.may_have_started


@pytest.mark.parametrize(
    "told", [{"id": "p1"}, {"status": "starting"}, [], "p1", None, {"urls": {}}], ids=repr
)
def test_create_needs_a_prediction_with_an_id(client, io, told):
    """What create answers must be a prediction that can be asked about, or that is done."""
    io.route(CREATE, reply(201, told))
    with pytest.raises(InvalidResponseError) as caught:
        client.create(model=MODEL, input={})
    assert caught.value.may_have_started
    assert caught.value.body == told


@pytest.mark.parametrize("bad", ["../x", "..", "a b", "\ud800"])
def test_an_id_that_no_path_can_hold(in_memory, io, bad):
    """The service has named it, so the caller is not to blame; it may run, and is not asked for."""
    io.always(reply(201, prediction(id=bad)))
    for call in (lambda client: client.run(MODEL, {}), lambda client: list(client.stream(MODEL, {}))):
        with pytest.raises(InvalidResponseError, match="is not a prediction id") as caught:
            call(in_memory(route="predictions", service=Service(stream_path="/stream/{id}")))
        assert (caught.value.may_have_started, caught.value.prediction.id) == (True, bad)
    assert io.lines == ["POST /predictions"] * 2


@pytest.mark.parametrize("wrap", [lambda x: x, enveloped], ids=["flat", "enveloped"])
def test_get_without_id_keeps_the_one_it_was_asked_with(client, io, wrap):
    """The sample answer of GET carries no id: the client keeps the one it asked with."""
    io.route(GET, reply(200, wrap({"status": "processing", "logs": None, "urls": None})))
    seen = client.get("p1")
    assert (seen.id, seen.status, seen.logs, dict(seen.urls)) == ("p1", "processing", "", {})


def test_what_an_answer_leaves_out_stays_known(in_memory, io):
    """What later answers leave out is kept as it was known."""
    client = in_memory(route="predictions")
    io.route(CREATE, reply(201, prediction("starting", created_at="t0", version="v", logs="one\n")))
    io.route(GET, reply(200, {"status": "succeeded", "output": "x"}))
    done = client.run(MODEL, {"a": 1})
    assert (done.created_at, done.version, done.model, done.input) == ("t0", "v", MODEL, {"a": 1})
    assert (done.logs, done.output) == ("one\n", "x")


@pytest.mark.parametrize(
    "script",
    [
        reply(200, {}),
        reply(200, b""),
        reply(202, "ok", media_type="text/plain"),
        reply(200, b"null"),
        reply(200, enveloped(None)),
        NO_CONTENT,
    ],
)
def test_any_2xx_to_cancel_is_taken(client, io, script):
    """A 2xx to cancel that is no prediction is the prediction with that id, its status as last known."""
    io.route(CANCEL, script)
    io.route(GET, reply(200, prediction("processing", logs="x")))
    canceled = client.cancel("p1")
    assert (canceled.id, canceled.status) == ("p1", "unknown")
    canceled = client.cancel(client.get("p1"))
    assert (canceled.id, canceled.status, canceled.logs) == ("p1", "processing", "x")


def test_cancel_keeps_output_that_its_answer_leaves_out(client, io):
    """A short answer to cancel loses nothing that was known."""
    io.route(GET, reply(200, prediction("processing", output=["a"], logs="x")))
    io.route(CANCEL, reply(200, {"id": "p1", "status": "canceled"}))
    canceled = client.cancel(client.get("p1"))
    assert (canceled.status, canceled.output, canceled.logs) == ("canceled", ["a"], "x")


STATUSES = {
    400: BadRequestError, 401: AuthenticationError, 402: PaymentRequiredError, 403: PermissionDeniedError,
    404: NotFoundError, 409: ConflictError, 418: APIStatusError, 422: BadRequestError, 429: RateLimitError,
    500: InternalServerError, 502: InternalServerError, 503: InternalServerError, 504: InternalServerError,
    599: InternalServerError, 302: APIStatusError, 304: APIStatusError,
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("way", ["http", "envelope"])
def test_statuses_become_exceptions(in_memory, io, status, way):
    """Each status has its exception, by HTTP status or by an envelope's code under HTTP 200."""
    body = {"msg": "words", "code": status}
    io.always(reply(status if way == "http" else 200, body, x_request_id="r1"))
    with pytest.raises(APIStatusError) as caught:
        in_memory(max_retries=0).get("p1")
    error = caught.value
    assert type(error) is STATUSES[status]
    assert (error.status_code, error.request_id) == (status, "r1")
    assert error.body == body
    assert "words" in str(error)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (reply(404, b"<html>no such page</html>"), "check base_url"),
        (reply(404, {"detail": "Not Found"}), "check base_url"),
        (reply(405, {"detail": "Method Not Allowed"}), "check base_url"),
        (reply(404, {"detail": "no such prediction"}), "model's name and version"),
    ],
)
def test_a_wrong_address_is_told_from_a_wrong_name(in_memory, io, said, words):
    """What a framework or gateway says of a route it has not got is about base_url."""
    io.always(said)
    with pytest.raises(APIStatusError, match=words):
        in_memory(max_retries=0).get("p1")


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 409, 422, 429, 500, 502, 503, 504, 408, 303, 307]
)
def test_may_have_started_by_status(in_memory, io, status):
    """Only a 5xx, 408 or 303 to a call that starts a prediction leaves open whether it did."""
    io.always(reply(status, {"detail": "x"}))
    client = in_memory(max_retries=0)
    with pytest.raises(APIStatusError) as caught:
        client.create(model=MODEL, input={})
    assert caught.value.may_have_started is (status in {500, 502, 503, 504, 408, 303})
    assert ("not sent a second time" in str(caught.value)) is caught.value.may_have_started
    with pytest.raises(APIStatusError) as caught:
        client.get("p1")
    assert not caught.value.may_have_started


def test_validation_errors_are_told_in_words(client, io):
    """A 422 of pydantic's names the place and the complaint."""
    detail = [
        {"type": "extra_forbidden", "loc": ["body", "input", "tempo"], "msg": "Extra inputs", "input": 1}
    ]
    io.always(reply(422, {"detail": detail}))
    with pytest.raises(BadRequestError, match=r"body\.input\.tempo: Extra inputs"):
        client.run(MODEL, {})


PAGE = "<html><head><title>413 Request Entity\nToo Large</title></head><hr>nginx</html>"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            reply(413, PAGE, media_type="text/html"),
            r"a web page, '413 Request Entity Too Large'\. .* https",
        ),
        (
            reply(307, b"", location="/v1/predictions/?a=b"),
            r"307: now at /v1/predictions/\. Redirects are not",
        ),
        (
            reply(400, {"title": "No credit", "status": 400}),
            r'400: {"title": "No credit", "status": 400}\. Check',
        ),
        (reply(400, {"errors": [{"message": "too long"}]}), "too long"),
        (reply(407, b""), "A proxy asks for credentials"),
        (reply(504, b""), r"failed\. If the model is cold, route='predictions' waits by id\."),
        (reply(524, b""), "waits by id"),
        (reply(200, {"code": 0, "msg": "success", "data": "x"}), r"answered 0: success\. .*read_prediction"),
    ],
)
def test_what_a_gateway_says_is_told(in_memory, io, told, words):
    """The title of its page, where it redirects to, JSON of any shape; and what to do about it."""
    io.always(told)
    with pytest.raises(APIStatusError, match=words):
        in_memory(max_retries=0).create(model=MODEL, input={})


@pytest.mark.parametrize(
    "broken",
    [InvalidResponseError("Content-Encoding 'br'"), BrokenError("reset"), ExpiredError("silence")],
    ids=lambda broken: type(broken).__name__,
)
def test_an_error_is_told_by_its_status_though_its_body_cannot_be_read(in_memory, io, broken):
    """A gateway's page in an encoding of its own, or cut: what was refused is known, and so is an outage."""

    def refused(status):
        return ScriptedAnswer(status, [b"no", broken], {}, 0)

    io.route(RUN, refused(400))
    with pytest.raises(BadRequestError) as caught:
        in_memory().run(MODEL, {})
    assert (caught.value.body, caught.value.may_have_started) == ("no", False)
    io.route(RUN, refused(429), reply(200, "text"))
    assert in_memory().run(MODEL, {}).output == "text"
    io.route(GET, refused(502), reply(200, prediction("succeeded", output="late")))
    assert in_memory().wait("p1").output == "late"


def test_an_error_that_does_not_end_is_not_read_to_its_end(in_memory, io, tmp_path):
    """Neither the service nor the host of a file fills the memory with it; a file's host less."""
    part = b"x" * 1024**2
    file = Prediction(id="p1", status="succeeded", output="https://files.example/a", raw={})
    client = in_memory(max_retries=0)
    for most, call in ((64, lambda: client.get("p1")), (1, lambda: client.download(file, tmp_path))):
        left = iter([part] * 70)
        io.always(ScriptedAnswer(500, left, {"content-type": "text/plain"}, 0))
        with pytest.raises(InternalServerError) as caught:
            call()
        assert caught.value.body == "x" * len(part) * most
        assert len([*left]) == 70 - most
        assert not io.is_open


def test_pages_of_html_are_kept_but_not_recited(in_memory, io):
    """A gateway's HTML page is in `body`, not in the message."""
    io.always(reply(502, "<html><body>Bad Gateway</body></html>", media_type="text/html; charset=utf-8"))
    with pytest.raises(InternalServerError) as caught:
        in_memory(max_retries=0).get("p1")
    assert "<html>" not in str(caught.value)
    assert caught.value.body.startswith("<html>")


@pytest.mark.parametrize(
    ("told", "pieces"),
    [
        (["a", "b"], ["ab"]),
        ("text", ["text"]),
        ("", []),
        (None, []),
        (enveloped("text"), ["text"]),
        (prediction("succeeded", output=["a", "b"]), ["ab"]),
        (enveloped(prediction("succeeded", output="x")), ["x"]),
    ],
)
def test_json_to_run_sse_is_read_like_run(client, io, told, pieces):
    """A 2xx to /run_sse that is not an event stream is read like /run's answer, as one piece."""
    io.route(SSE, reply(200, told))
    reading = client.stream(MODEL, {})
    assert list(reading) == pieces
    assert reading.prediction.status == "succeeded"
    assert reading.text == "".join(pieces)


def test_a_prediction_to_run_sse_that_goes_on_is_waited_for(client, io):
    """A prediction that has not ended is waited for there too."""
    io.route(SSE, reply(200, prediction("processing")))
    io.route(GET, reply(200, prediction("succeeded", output=["a", "b"])))
    reading = client.stream(MODEL, {})
    assert list(reading) == ["ab"]
    assert reading.prediction.id == "p1"


@pytest.mark.parametrize("body", [b"", b"<html>"])
def test_no_json_to_run_sse_is_invalid(client, io, body):
    """Neither events nor JSON is an InvalidResponseError."""
    io.route(SSE, reply(200, body, media_type="text/html"))
    with pytest.raises(InvalidResponseError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.may_have_started


def test_an_envelope_that_refuses_a_stream(client, io):
    """An envelope whose code is not 2xx is an error, under HTTP 200 and where events were asked for too."""
    io.route(SSE, reply(200, {"msg": "no wallet", "code": 402}))
    with pytest.raises(PaymentRequiredError):
        list(client.stream(MODEL, {}))


def test_an_unknown_status_is_no_end(client, io):
    """A status that nobody knows is kept as it is, and is not terminal."""
    io.route(GET, reply(200, prediction("aborted")))
    seen = client.get("p1")
    assert seen.status == "aborted"
    assert not seen.is_terminal


def test_an_id_may_be_a_number(client, io):
    """What was started, and is paid for, can be waited for and canceled; it was an error."""
    io.route(CREATE, reply(201, {"id": 17, "status": "starting"}))
    io.route("GET /predictions/17", reply(200, {"id": 17, "status": "succeeded", "output": "x"}))
    started = client.create(model=MODEL, input={})
    assert (started.id, client.wait(started).output) == ("17", "x")


def test_odd_fields_do_no_harm(client, io):
    """Fields of the wrong type are as if they were missing."""
    told = {
        "id": 5,
        "status": "succeeded",
        "urls": ["x"],
        "logs": 5,
        "metrics": "fast",
        "error": {"a": 1},
        "input": 3,
    }
    io.route(GET, reply(200, told))
    seen = client.get("p1")
    assert (seen.id, dict(seen.urls), seen.logs, seen.metrics, seen.input) == ("p1", {}, "", None, None)
    assert seen.error == '{"a": 1}'


def test_inference_time_is_a_metric(client, io):
    """A model server's own `inference_time` is kept."""
    io.route(GET, reply(200, {"status": "succeeded", "inference_time": 2.5}))
    assert client.get("p1").metrics == {"inference_time": 2.5}


def test_a_hook_that_fails_says_so(in_memory, io):
    """A read_prediction hook that raises is an InvalidResponseError; a start may have happened."""
    io.always(reply(200, {"a": 1}))
    client = in_memory(service=Service(read_prediction=lambda data: data["missing"]))
    with pytest.raises(InvalidResponseError, match=r"read_prediction.* KeyError: 'missing'\. The") as caught:
        client.run(MODEL, {})
    assert caught.value.may_have_started
    with pytest.raises(InvalidResponseError) as caught:
        client.get("p1")
    assert not caught.value.may_have_started


@pytest.mark.parametrize("made", [Prediction, lambda **told: iter(told), lambda **told: {*told}])
def test_a_hook_that_returns_no_json_says_so(in_memory, io, made):
    """A Prediction in place of its JSON became the output of a run, as a success."""
    io.always(reply(200, {"id": "p1", "status": "succeeded", "output": "x"}))
    client = in_memory(service=Service(read_prediction=lambda data: made(**data)))
    for call in (lambda: client.run(MODEL, {}), lambda: client.get("p1")):
        with pytest.raises(InvalidResponseError, match="read_prediction must return JSON"):
            call()


def test_a_hook_may_take_the_answer_to_pieces(in_memory, io):
    """A hook that changes what it is given is asked once for each answer."""
    asked = []
    told = {"result": {"identifier": "p1", "state": "succeeded", "said": "x"}}

    def hook(data):
        asked.append(data)
        inner = data.pop("result")
        return {"id": inner.pop("identifier"), "status": inner.pop("state"), "output": inner.pop("said")}

    io.always(reply(200, told))
    client = in_memory(service=Service(read_prediction=hook))
    assert client.run(MODEL, {}).output == "x"
    assert client.get("p1").output == "x"
    assert len(asked) == 2


def test_a_hook_may_change_the_answer_in_place(in_memory, io):
    """What returns nothing has not said that there is no output: a paid run came back empty, as a success."""
    io.always(reply(200, {"id": "p1", "status": "succeeded", "result": "x"}))
    client = in_memory(service=Service(read_prediction=lambda told: told.update(output=told.pop("result"))))
    assert client.run(MODEL, {}).output == "x"
    assert client.get("p1").output == "x"


def test_a_failed_stream_is_no_short_answer(client, io):
    """An `error` event raises PredictionFailedError, with what was handed on and the model's words."""
    io.route(SSE, events(frames("a", end=False), b'event: error\ndata: {"detail": "boom"}\n\n'))
    reading = client.stream(MODEL, {})
    assert next(reading) == "a"
    with pytest.raises(PredictionFailedError, match="boom") as caught:
        next(reading)
    assert caught.value.partial_text == "a"
    assert caught.value.prediction.status == "failed"
    assert next(reading, None) is None


def test_a_canceled_stream_raises(client, io):
    """A `done` that names a cancellation raises PredictionCanceledError."""
    io.route(SSE, events(frames("a", end=False), b'event: done\ndata: {"reason": "canceled"}\n\n'))
    with pytest.raises(PredictionCanceledError) as caught:
        list(client.stream(MODEL, {}))
    assert caught.value.partial_text == "a"


@pytest.mark.parametrize(
    "content_type", ["Text/Event-Stream; charset=latin-1", "text/event-stream, text/event-stream"]
)
def test_the_content_type_may_have_parameters_and_any_case(client, io, content_type):
    """It is an event stream, and UTF-8 all the same; so is one whose gateway repeats the header."""
    io.route(SSE, ScriptedAnswer(200, [frames("你")], {"content-type": content_type}, 0))
    assert list(client.stream(MODEL, {})) == ["你"]


# Over a socket: what only bytes can get wrong.

ON_RUN, ON_SSE, ON_GET = "POST /v1/run", "POST /v1/run_sse", "GET /v1/predictions/p1"


def test_http_1_0_answers_are_read(connect, server):
    """A server of HTTP/1.0, whose body ends with the connection, is understood."""

    def script(exchange):
        exchange.head(200, {"Content-Type": "application/json"}, version="HTTP/1.0")
        exchange.send(b'{"status": "succeeded", "output": "x", "id": "p1"}')
        exchange.close()

    server.route(ON_GET, script)
    assert connect().get("p1").output == "x"


def test_compressed_answers_are_read_though_not_asked_for(connect, server):
    """Gzip despite `identity` is decoded; gzip that is none cannot be read, and a run may have started."""
    import gzip

    body = gzip.compress(b'{"status": "succeeded", "output": "x"}')
    server.route(ON_GET, answer(200, body, {"Content-Encoding": "gzip"}))
    assert connect().get("p1").output == "x"
    server.route(ON_RUN, answer(200, b"no gzip at all", {"Content-Encoding": "gzip"}))
    with pytest.raises(InvalidResponseError, match=r"cannot be decoded: .*\. The prediction") as caught:
        connect().run(MODEL, {})
    assert caught.value.may_have_started
    head = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip", "Content-Length": "9"}
    server.route(ON_SSE, lambda exchange: (exchange.head(200, head), exchange.send(b"not gzip!")))
    with pytest.raises(InvalidResponseError) as caught:
        list(connect().stream(MODEL, {}))
    assert caught.value.may_have_started


def test_a_large_request_that_is_refused_before_it_was_read(connect):
    """The server closes after its refusal: the refusal is what is told, not that the connection broke."""

    def refuse():
        sock, _ = listener.accept()
        with sock:
            while b"\r\n\r\n" not in sock.recv(65536, socket.MSG_PEEK):
                pass
            sock.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        refusal = pool.submit(refuse)
        with pytest.raises(APIStatusError, match="413") as caught:
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}/v1").run(MODEL, {"prompt": "x" * 10**7})
        refusal.result()
    assert not caught.value.may_have_started


def test_huge_headers_are_a_broken_connection(connect, server):
    """Headers beyond all bounds are refused, not collected."""
    server.script = lambda exchange: exchange.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n")
    with pytest.raises(APIConnectionError):
        connect(max_retries=0).get("p1")


@pytest.mark.parametrize("bytes_", [b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100])
def test_what_is_no_http_is_a_broken_connection(connect, server, bytes_):
    """An answer that is no HTTP is an APIConnectionError."""

    def script(exchange):
        exchange.send(bytes_)
        exchange.close()

    server.script = script
    with pytest.raises(APIConnectionError):
        connect(max_retries=0).get("p1")


def test_a_body_cut_short_is_a_broken_connection(connect, server):
    """Fewer bytes than Content-Length says is an error, not an answer."""

    def script(exchange):
        exchange.head(200, {"Content-Type": "application/json", "Content-Length": "100"})
        exchange.send(b'{"status": "succeeded"}')
        exchange.close()

    server.script = script
    with pytest.raises(APIConnectionError):
        connect(max_retries=0).get("p1")
    with pytest.raises(APIConnectionError) as caught:
        connect().run(MODEL, {})
    assert caught.value.may_have_started


def test_a_server_that_hangs_up_at_once(connect, server):
    """No answer at all is an APIConnectionError, and a start may have happened."""
    server.script = hang_up
    with pytest.raises(APIConnectionError) as caught:
        connect().run(MODEL, {})
    assert caught.value.may_have_started
    assert "not sent a second time" in str(caught.value)
    assert len(server.requests) == 1
