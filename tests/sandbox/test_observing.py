"""What a test can see of its client, and wait for."""

import threading
import time

import httpx
import pytest

from rockai_sandbox import RawAnswer


def test_every_request_is_seen(sandbox, api):
    """Method, path, query, headers, body, time, status and outcome, refused ones included."""
    before = time.monotonic()
    api.post("/run?a=1", json={"model": "sandbox/echo", "input": {"prompt": "x"}}, headers={"X-Custom": "y"})
    httpx.get(sandbox.base_url + "/no%20where")
    first, second = sandbox.requests
    assert (first.number, first.method, first.path, first.query) == (0, "POST", "/v1/run", "a=1")
    assert first.headers["x-custom"] == "y"
    assert first.headers["authorization"] == f"Bearer {sandbox.api_token}"
    assert first.json() == {"model": "sandbox/echo", "input": {"prompt": "x"}}
    assert (first.status, first.outcome, first.disconnected) == (200, "complete", False)
    assert before <= first.time <= second.time <= time.monotonic()
    assert (second.path, second.raw_path, second.status) == ("/v1/no where", "/v1/no%20where", 404)


def test_a_request_under_way_is_open(sandbox, api):
    """It has a status once the head of its answer is out."""
    gate = sandbox.hold()

    @sandbox.model("my/model")
    def talk(given):
        yield "x"
        gate.wait()

    with api.stream("POST", "/run_sse", json={"model": "my/model", "input": {}}):
        assert (sandbox.requests[0].status, sandbox.requests[0].outcome) == (200, "open")
    assert sandbox.wait_for("disconnect").number == 0
    assert sandbox.requests[0].disconnected


def test_waiting_is_woken_by_what_happens(sandbox, api):
    """A function of the sandbox is looked at after every change; its value is returned."""
    timer = threading.Thread(target=lambda: api.post("/run_sse", json={"model": "sandbox/echo", "input": {}}))
    timer.start()
    assert sandbox.wait_for(lambda it: it.requests and it.requests[-1]).path == "/v1/run_sse"
    timer.join()


def test_waiting_in_vain_says_how_things_stand(sandbox, api):
    """The timeout's message lists predictions and requests."""
    api.post("/run", json={"model": "sandbox/echo", "input": {}})
    with pytest.raises(
        TimeoutError, match=r"'failed'.*'sandbox/echo', 'succeeded'.*'/v1/run', 200, 'complete'"
    ):
        sandbox.wait_for("failed", timeout=0.01)


@pytest.mark.parametrize("wrong", ["done", None, 5, ["failed"]])
def test_what_cannot_happen_is_not_waited_for(sandbox, wrong):
    """A status, a departure, or a function; the timeout is a number of seconds."""
    with pytest.raises(ValueError, match=r"^what is one of"):
        sandbox.wait_for(wrong)
    for timeout in (-1, None, "5", 1e300):
        with pytest.raises(ValueError, match=r"^timeout is a finite number of seconds, 0 or more, not"):
            sandbox.wait_for("failed", timeout)


def test_predictions_are_snapshots(sandbox, api):
    """What was looked at does not change afterwards."""
    gate = sandbox.hold()

    @sandbox.model("my/model")
    def talk(given):
        yield "x"
        gate.wait()
        yield "y"

    api.post("/predictions", json={"model": "my/model", "input": {"a": 1}})
    gate.wait_until_reached()
    then = sandbox.predictions[0]
    gate.set()
    sandbox.wait_for("succeeded")
    assert (then.status, then.output, then.input, then.started_by) == (
        "processing",
        ["x"],
        {"a": 1},
        "create",
    )


def test_the_gateway_can_be_made_to_fail(sandbox, api):
    """As often as asked for, only where asked for; then the service answers again."""
    sandbox.answer_next(429, '{"detail":"slow down"}', headers={"Retry-After": "1"}, times=2)
    sandbox.answer_next(503, "<h1>busy</h1>", content_type="text/html", path="/run", method="POST")
    first, second = api.get("/predictions/x"), api.post("/run", json={})
    assert (first.status_code, first.headers["retry-after"], first.json()) == (
        429,
        "1",
        {"detail": "slow down"},
    )
    assert second.status_code == 429
    assert api.get("/predictions/x").status_code == 404
    third = api.post("/run", json={})
    assert (third.status_code, third.text, third.headers["content-type"]) == (
        503,
        "<h1>busy</h1>",
        "text/html; charset=utf-8",
    )
    assert api.post("/run", json={}).status_code == 422


@pytest.mark.parametrize("body", [{"detail": "nö"}, [{"loc": ["body"]}, None], {}, []])
def test_the_gateway_s_answer_can_be_given_as_a_dict_or_a_list(sandbox, api, body):
    """It is sent as JSON."""
    sandbox.answer_next(403, body)
    answer = api.post("/run", json={})
    assert (answer.status_code, answer.json()) == (403, body)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [999, 600, 199, 100, 99, 0, -1, "403", 403.0, True, None])
def test_a_status_that_cannot_be_sent_is_refused_where_it_is_given(sandbox, status):
    """One below 200 too: it announces an answer, and no server can end with it."""
    for give in (sandbox.answer_next, RawAnswer):
        with pytest.raises(ValueError, match=r"^status is a whole number from 200 to 599, not "):
            give(status)


def test_a_body_or_header_that_cannot_be_sent_is_refused_where_it_is_given(sandbox, api):
    """Nothing of it reaches the app: the service still answers itself."""
    with pytest.raises(ValueError, match=r"^body is text, .* dict .* list .*, not 7$"):
        sandbox.answer_next(403, 7)
    with pytest.raises(TypeError, match="not JSON serializable"):
        sandbox.answer_next(403, {"detail": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        sandbox.answer_next(403, {"detail": float("nan")})
    with pytest.raises(ValueError, match=r"^body is text"):
        sandbox.answer_next(403, "\ud800")
    for bad in ({"Retry-After": 1}, {"X": "漢"}):
        with pytest.raises(ValueError, match=r"^headers is a mapping of Latin-1 text to Latin-1 text, not "):
            sandbox.answer_next(429, headers=bad)
    assert api.get("/predictions/x").json() == {"detail": "id not found"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/no/where"), ("GET", "/run"), ("HEAD", "/run"), ("POST", "/run/")]
)
def test_the_gateway_fails_whatever_is_asked(sandbox, api, method, path):
    """A fault stands before the routes: a missing route and a wrong method too."""
    sandbox.answer_next(502, times=2)
    assert [api.request(method, path).status_code for _ in range(2)] == [502, 502]
    assert api.request(method, path).status_code in (307, 404, 405)


def test_connections_can_be_dropped(sandbox, api):
    """Reset without an answer, after the request was read; the next one is served."""
    sandbox.drop_next(method="POST")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        api.post("/run", json={})
    assert sandbox.wait_for(lambda it: it.requests[0].outcome == "aborted")
    assert api.post("/run", json={}).status_code == 422


def test_what_is_waited_for_may_call_the_api(sandbox, api):
    """The service goes on answering while a function looks."""
    started = api.post("/predictions", json={"model": "sandbox/echo", "input": {"prompt": "x"}}).json()
    ended = sandbox.wait_for(
        lambda _: api.get(f"/predictions/{started['id']}").json()["status"] == "succeeded", timeout=5
    )
    assert ended


def test_a_status_that_there_is_not_is_refused(sandbox):
    """At once, not by waiting in vain."""
    with pytest.raises(ValueError, match="'cancelled'"):
        sandbox.wait_for("cancelled")


def test_a_model_cannot_change_what_was_asked(sandbox, api):
    """What a model does to its input is not seen in the prediction's."""

    @sandbox.model("my/model")
    def take(given):
        return given.pop("prompt")

    api.post("/run", json={"model": "my/model", "input": {"prompt": "x"}})
    assert sandbox.predictions[-1].input == {"prompt": "x"}
