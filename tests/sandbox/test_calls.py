"""The six calls, their errors, and the two generations and shapes of the API."""

import re
from functools import partial
from pathlib import Path

import httpx
import pytest

from rockai_sandbox import Event, Protocol, Sandbox

ECHO_HI = {"model": "sandbox/echo", "input": {"prompt": "hi"}}
POEM = {"model": "meta/llama-2-7b-chat", "input": {"prompt": "Write a poem about rain"}}


@pytest.mark.parametrize(
    ("headers", "detail"),
    [({}, "not authenticated"), ({"Authorization": "Bearer wrong"}, "invalid token")],
    ids=["without", "wrong"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predictions"),
        ("GET", "/predictions/x"),
        ("POST", "/predictions/x/cancel"),
        ("POST", "/run"),
        ("POST", "/run_sse"),
        ("GET", "/predictions/stream/x"),
    ],
)
def test_every_call_asks_for_the_token(sandbox, method, path, headers, detail):
    """Without the token, or with a wrong one, each call answers 401 as recorded and starts nothing."""
    answer = httpx.request(method, sandbox.base_url + path, json=POEM, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": detail})
    assert sandbox.predictions == []


def test_a_created_prediction_has_the_flat_shape(sandbox, api):
    """Create answers at once, with the fields of the wire page's sample in its order."""
    answer = api.post("/predictions", json={**POEM, "stream": True, "webhook": "https://example.com/hook"})
    prediction = answer.json()
    assert answer.status_code == 201
    assert list(prediction) == [
        "id",
        "model",
        "version",
        "created_at",
        "started_at",
        "completed_at",
        "webhook",
        "webhook_events_filter",
        "input",
        "stream",
        "output",
        "urls",
        "logs",
        "status",
        "error",
        "metrics",
    ]
    assert re.fullmatch(r"[0-9a-f]{24}", prediction["id"])
    assert re.fullmatch(r"[0-9a-f]{64}", prediction["version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", prediction["created_at"])
    assert prediction["model"] == POEM["model"]
    assert prediction["input"] == POEM["input"]
    assert prediction["status"] == "starting"
    assert prediction["metrics"] is None
    assert prediction["error"] == ""
    assert prediction["stream"] is True
    assert prediction["urls"] == {
        "get": f"{sandbox.base_url}/predictions/{prediction['id']}",
        "stream": f"{sandbox.base_url}/predictions/stream/{prediction['id']}",
    }


def test_get_answers_without_the_id(sandbox, api):
    """As in the wire page's sample, the answer to get names no id; everything else is there."""
    created = api.post("/predictions", json=POEM).json()
    sandbox.wait_for("succeeded")
    got = api.get(created["urls"]["get"]).json()
    assert created.keys() - got.keys() == {"id"}
    assert got["status"] == "succeeded"
    assert "Rain" in "".join(got["output"])
    assert got["metrics"]["predict_time"] >= 0
    assert got["started_at"] <= got["completed_at"]


@pytest.mark.parametrize("path", ["/predictions/nope", "/predictions/stream/nope"])
def test_an_unknown_id_is_404(api, path):
    """The body is the recorded one, in compact JSON; it differs from the one for a missing route."""
    answer = api.get(path)
    assert (answer.status_code, answer.text) == (404, '{"detail":"id not found"}')


@pytest.mark.parametrize(
    "body",
    [
        {"model": "nobody/nothing", "input": {}},
        {"version": "0" * 64, "input": {}},
        {"model": "meta/llama-2-7b-chat:" + "0" * 64, "input": {}},
    ],
)
def test_an_unknown_model_is_404_but_no_missing_route(api, body):
    """A client must be able to tell a model that is not there from a route that is not there."""
    answer = api.post("/predictions", json=body)
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("model or version not found: ")


@pytest.mark.parametrize(("typed", "meant"), [("you/poem", "you/poet"), ("sandbox/ecko", "sandbox/echo")])
def test_an_unknown_model_is_answered_with_the_nearest_name_first(sandbox, api, typed, meant):
    """A client's error may show only the start of the list: it names the model that was meant."""
    sandbox.model("you/poet")(lambda input: "Roses")
    detail = api.post("/run", json={"model": typed, "input": {}}).json()["detail"]
    assert detail.startswith(f"model or version not found: {typed}. This sandbox has: {meant}, ")


@pytest.mark.parametrize(
    ("body", "location", "kind"),
    [
        ({"input": {}}, ["body", "version"], "missing"),
        ({"model": "meta/llama-2-7b-chat"}, ["body", "input"], "missing"),
        ({"model": "meta/llama-2-7b-chat", "input": []}, ["body", "input"], "dict_type"),
        ({"model": 7, "input": {}}, ["body", "model"], "string_type"),
        ({"model": "no slash", "input": {}}, ["body", "model"], "value_error"),
        ([], ["body"], "model_attributes_type"),
    ],
)
def test_a_body_of_the_wrong_form_is_422(api, body, location, kind):
    """The answer has pydantic's form, as the real model server's."""
    answer = api.post("/predictions", json=body)
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (location, kind)


def test_a_body_that_is_no_json_is_422(api):
    """As FastAPI says it."""
    answer = api.post("/run", content=b"{not json")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "json_invalid"


@pytest.mark.parametrize(
    "prompt",
    ["[" * 500 + "]" * 500, "[" * 100_000, '"\\ud800"', "NaN", "-Infinity", "1e999"],
    ids=["500", "100000", "half", "NaN", "-Infinity", "1e999"],
)
@pytest.mark.parametrize("path", ["/run", "/predictions"])
def test_json_that_no_model_could_be_given_is_422(sandbox, api, path, prompt):
    """Nested too deep, half a character, no number of JSON: nothing is started that no answer could show."""
    body = f'{{"model": "sandbox/echo", "input": {{"prompt": {prompt}}}}}'
    assert api.post(path, content=body.encode()).status_code == 422
    assert not sandbox.predictions


@pytest.mark.parametrize("most", [10**400, "1" * 400, 1e308], ids=["integer", "text", "float"])
def test_a_number_of_any_size_is_compared_with_its_bounds(api, most):
    """A float cannot hold every integer of JSON, and no answer is as long as that."""
    given = {"prompt": "Say: hello", "max_new_tokens": most}
    assert api.post("/run", json={"model": "meta/llama-2-7b-chat", "input": given}).json() == ["hello"]


def test_a_wrong_method_is_405_in_json(api):
    """FastAPI's body, not Starlette's plain text."""
    answer = api.get("/run")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})


@pytest.mark.parametrize("reference", ["model", "model and version", "name:version", "bare version"])
def test_every_form_of_a_reference_finds_the_model(sandbox, api, reference):
    """With and without version, in `model` or in `version`."""
    name = "mistralai/mistral-7b-instruct-v0.1"
    version = "5fe0a3d7ac2852264a25279d1dfb798acbc4d49711d126646594e212cb821749"
    body = {
        "model": {"model": name},
        "model and version": {"model": name, "version": version},
        "name:version": {"model": f"{name}:{version}"},
        "bare version": {"version": version},
    }[reference]
    created = api.post("/predictions", json={**body, "input": {"prompt": "Hello"}}).json()
    assert (created["model"], created["version"]) == (name, version)


def test_run_answers_the_bare_output(sandbox, api):
    """A model's list of pieces comes back as that list."""
    output = api.post("/run", json=POEM).json()
    assert output == sandbox.predictions[0].output
    assert sandbox.predictions[0].started_by == "run"


def test_run_of_a_failing_model_is_a_bare_500(sandbox, api):
    """As recorded: text/plain, «Internal Server Error»."""
    answer = api.post("/run", json={"model": "sandbox/fails-half-way", "input": {}})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")
    assert sandbox.predictions[0].error == "the model failed half-way"


def test_the_old_generation_has_the_quick_start_s_routes_only(connect):
    """No address for a stream is named, and there is none."""
    with Sandbox(generation="old") as sandbox, connect(sandbox) as api:
        created = api.post("/predictions", json=POEM).json()
        assert "stream" not in created["urls"]
        answer = api.get(f"/predictions/stream/{created['id']}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
        assert api.post("/run_sse", json=POEM).status_code == 200


@pytest.mark.parametrize("path", ["/run", "/run_sse"])
def test_the_new_generation_has_no_run(connect, path):
    """Both answer 404 with FastAPI's body for a missing route."""
    with Sandbox(generation="new") as sandbox, connect(sandbox) as api:
        answer = api.post(path, json=POEM)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
        assert api.post("/predictions", json=POEM).status_code == 201


def test_the_enveloped_shape_wraps_predictions_and_outputs(connect):
    """`data` holds what stood there bare."""
    with Sandbox(shape="enveloped") as sandbox, connect(sandbox) as api:
        created = api.post("/predictions", json=POEM).json()
        assert (created["msg"], created["code"]) == ("success", 200)
        sandbox.wait_for("succeeded")
        got = api.get(f"/predictions/{created['data']['id']}").json()
        assert got["data"]["status"] == "succeeded"
        assert (
            api.post(f"/predictions/{created['data']['id']}/cancel").json()["data"]["status"] == "succeeded"
        )
        assert isinstance(api.post("/run", json=POEM).json()["data"], list)


@pytest.mark.parametrize("shape", ["flat", "enveloped"])
def test_run_can_answer_the_prediction(connect, shape):
    """A finished one, with its id; a failed one too, with HTTP 200."""
    with Sandbox(shape=shape, run_answer="prediction") as sandbox, connect(sandbox) as api:
        answers = [
            api.post("/run", json=POEM).json(),
            api.post("/run", json={"model": "sandbox/fails-half-way", "input": {}}).json(),
        ]
    done, failed = [answer["data"] if shape == "enveloped" else answer for answer in answers]
    assert (done["status"], failed["status"]) == ("succeeded", "failed")
    assert failed["error"] == "the model failed half-way"
    assert failed["output"] == ["This answer", " breaks off,\n", "half"]


@pytest.mark.parametrize("option", ["generation", "shape", "run_answer", "on_disconnect"])
def test_options_that_do_not_exist_are_refused_at_once(option):
    """A misspelt option must not look like a default."""
    with pytest.raises(ValueError, match=f"{option} is one of .*, not 'newest'"):
        Sandbox(**{option: "newest"})


def test_an_address_comes_with_the_start():
    """Before, asking for one is an error, not an empty answer."""
    sandbox = Sandbox()
    for name in ("base_url", "files_url"):
        with pytest.raises(RuntimeError, match="before it is started"):
            getattr(sandbox, name)


@pytest.mark.parametrize("bad", [{"reports_usage": "no"}, {"any_model": None}, {"protocol": {}}])
def test_an_option_of_the_wrong_type_is_refused_at_once(bad):
    """A text would count as true, and an empty dict as the default."""
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} is "):
        Sandbox(**bad)


NO_SECONDS = ["1", -1, -0.5, True, float("nan"), float("inf")]


@pytest.mark.parametrize("option", ["cold_start", "seconds_per_piece", "video_seconds"])
@pytest.mark.parametrize("value", [*NO_SECONDS, None])
def test_seconds_that_cannot_be_waited_for_are_refused_at_once(option, value):
    """Not by a 500 on every request; the message names the option and what it may be."""
    allowed = "a finite number of seconds, 0 or more" + (", or a Gate" if option == "cold_start" else "")
    with pytest.raises(ValueError, match=f"^{option} is {allowed}, not {value!r}$"):
        Sandbox(**{option: value})


@pytest.mark.parametrize("value", NO_SECONDS)
def test_a_scripted_model_s_cold_start_is_checked_when_it_is_scripted(sandbox, value):
    """As the sandbox's own is."""
    with pytest.raises(
        ValueError, match=r"^cold_start is a finite number of seconds, 0 or more, or a Gate, not"
    ):
        sandbox.model("my/model", cold_start=value)


@pytest.mark.parametrize("port", [-1, 65536, "8100", 80.5, True, None])
def test_a_port_that_there_cannot_be_is_refused_at_once(port):
    """Where it is given, not when the sandbox starts."""
    with pytest.raises(ValueError, match=f"^port is a whole number from 0 to 65535, not {port!r}$"):
        Sandbox(port=port)


@pytest.mark.parametrize("token", [5, "a b", "a\n", "é"])
def test_a_token_that_no_client_can_send_is_refused_at_once(token):
    """Its message says what it may be."""
    with pytest.raises(ValueError, match=r"^api_token is ASCII text without blanks"):
        Sandbox(token)


@pytest.mark.parametrize("token", [[], {}, 0, False])
def test_what_is_no_token_is_not_taken_for_none(token):
    """None and an empty text make one."""
    with pytest.raises(ValueError, match=r"^api_token is ASCII text without blanks, or None, not"):
        Sandbox(token)


@pytest.mark.parametrize("name", ["base_path", "create_path", "stream_path"])
def test_a_path_that_would_join_another_is_refused_at_once(name):
    """``v1`` would be no path, and ``/v1`` and ``run`` would be ``/v1run``."""
    with pytest.raises(ValueError, match=f"^{name} is text that begins with '/'.*, not 'run'"):
        Protocol(**{name: "run"})
    if name != "base_path":
        with pytest.raises(ValueError, match=f"^{name} is text that begins with '/'.*, not ''"):
            Protocol(**{name: ""})


def test_a_base_path_may_end_with_a_slash():
    """It is the same as without it: a client joins its paths to the address in the same way."""
    with Sandbox(protocol=Protocol(base_path="/api/")) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.api_token}"}
        assert sandbox.base_url.endswith("/api")
        assert httpx.post(f"{sandbox.base_url}/run", json=ECHO_HI, headers=headers).json() == ["hi"]


@pytest.mark.parametrize("times", [0, -1, 1.5, "2"])
def test_a_fault_happens_at_least_once(sandbox, times):
    """None is for always; no number is taken for it."""
    with pytest.raises(ValueError, match="1 or more"):
        sandbox.answer_next(503, times=times)
    with pytest.raises(ValueError, match="1 or more"):
        sandbox.drop_next(times=times)


WRONG: dict[str, tuple[object, ...]] = {  # each field of `Protocol` with values that no service could have
    "base_path create_path run_path run_sse_path": (b"/v1", 1, "/a b", "/{name}"),
    "get_path cancel_path stream_path": ("/predictions", "/{name}", b"/{id}"),
    "no_route": (None, 404, "gone"),
    "auth_header": (None, "", "a b", b"X-Key"),
    "auth_scheme stream_content_type": (None, "a\n", b"Bearer"),
    "stream_needs_token run_reports_failure get_carries_id": (None, 1, "no"),
    "create_status": (None, 99, "201"),
    "prediction_json run_json metrics": (None, {}),
    "output_event logs_event": (1, b"token", "a\nb"),
    "done canceled": ("done", b""),
    "error": ("failed", Event("error", "")),
}


@pytest.mark.parametrize("field", " ".join(WRONG).split())
def test_each_field_of_the_protocol_is_checked_at_once(field):
    """Not by a 500 on every request, nor in silence; the message names the field."""
    for value in next(values for names, values in WRONG.items() if field in names.split()):
        with pytest.raises(ValueError, match=f"^{field} is .*not {re.escape(repr(value))}$"):
            Protocol(**{field: value})


@pytest.mark.parametrize("wrong", [{"name": 1}, {"name": "a\nb"}, {"data": None}, {"data": b"x"}])
def test_an_event_is_text(wrong):
    """Its name is one line; `None` for the data would have been the text «None»."""
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} is text"):
        Event(**{"name": "output", "data": "x"} | wrong)


@pytest.mark.parametrize("wrong", [{"content_type": 1}, {"content_type": "a\r\nb"}, {"headers": ""}])
def test_an_answer_that_cannot_be_sent_is_refused_at_once(sandbox, wrong):
    """It would end the connection instead."""
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} is "):
        sandbox.answer_next(503, **wrong)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_http_gives_no_body_has_none(sandbox, api, status):
    """With one, the connection broke at the next request."""
    with pytest.raises(ValueError, match=f"^a response with status {status} has no body"):
        sandbox.answer_next(status, "x")
    sandbox.answer_next(status)
    assert [api.post("/run", json=ECHO_HI).status_code for _ in range(2)] == [status, 200]


@pytest.mark.parametrize("wrong", [{"method": 5}, {"method": ""}, {"path": 5}, {"path": Path("/run")}])
def test_a_fault_that_no_request_could_meet_is_refused_at_once(sandbox, wrong):
    """It would wait in silence, and the test would see the service's own answer."""
    for add in (partial(sandbox.answer_next, 503), sandbox.drop_next):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} is .*, or None for any, not "):
            add(**wrong)


def test_a_method_counts_in_any_case(sandbox, api):
    """``post`` is POST."""
    sandbox.answer_next(503, method="post")
    assert api.post("/run", json=ECHO_HI).status_code == 503
