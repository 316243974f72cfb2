"""Overriding the service: every assumption about the HTTP API is a setting."""

import httpx
import pytest

from rockai_sandbox import Event, Protocol, RawAnswer, Sandbox
from rockai_transport import Client

ECHO = {"model": "sandbox/echo", "input": {"prompt": "hi"}}


def ask(protocol, method, path, body=None, headers=None, **options):
    with Sandbox("secret", protocol=protocol, **options) as sandbox:
        headers = {"Authorization": "Bearer secret"} if headers is None else headers
        return httpx.request(method, sandbox.base_url + path, json=body, headers=headers)


def test_other_paths():
    """Each call can live elsewhere; the addresses in `urls` follow."""
    protocol = Protocol(
        base_path="/api/v9", create_path="/jobs", get_path="/jobs/{id}/state", stream_path="/jobs/{id}/events"
    )
    with Sandbox("secret", protocol=protocol) as sandbox:
        headers = {"Authorization": "Bearer secret"}
        created = httpx.post(f"{sandbox.base_url}/jobs", json=ECHO, headers=headers).json()
        assert sandbox.base_url.endswith("/api/v9")
        assert created["urls"]["get"] == f"{sandbox.base_url}/jobs/{created['id']}/state"
        sandbox.wait_for("succeeded")
        assert httpx.get(created["urls"]["get"], headers=headers).json()["output"] == ["hi"]
        assert "data: hi" in httpx.get(created["urls"]["stream"], headers=headers).text


@pytest.mark.parametrize("status", [404, 405, 410])
def test_another_answer_for_a_missing_route(status):
    """A page of HTML, say."""
    protocol = Protocol(run_path=None, no_route=RawAnswer(status, "<h1>gone</h1>", "text/html"))
    answer = ask(protocol, "POST", "/run", ECHO)
    assert (answer.status_code, answer.text) == (status, "<h1>gone</h1>")


def test_another_header_and_scheme():
    """`X-Api-Key: secret` instead of `Authorization: Bearer secret`."""
    protocol = Protocol(auth_header="X-Api-Key", auth_scheme="")
    assert ask(protocol, "POST", "/run", ECHO, {"X-Api-Key": "secret"}).json() == ["hi"]
    assert ask(protocol, "POST", "/run", ECHO).json() == {"detail": "not authenticated"}
    assert (
        ask(
            Protocol(auth_scheme="Token"), "POST", "/run", ECHO, {"Authorization": "Token secret"}
        ).status_code
        == 200
    )


@pytest.mark.parametrize(("needs", "status"), [(False, 200), (True, 401)])
def test_whether_a_stream_s_address_needs_the_token(needs, status):
    """The service's own client sends none there; our clients do."""
    with Sandbox(protocol=Protocol(stream_needs_token=needs)) as sandbox:
        given = {"api_token": sandbox.api_token, "base_url": sandbox.base_url, "route": "predictions"}
        with Client(**given) as client:
            assert "".join(client.stream("sandbox/echo", {"prompt": "hi"})) == "hi"
            created = client.predictions.create(model="sandbox/echo", input={"prompt": "hi"}, stream=True)
        assert httpx.get(created.urls["stream"]).status_code == status


def test_other_event_names():
    """Of pieces, of the end, of a failure, of logs."""
    protocol = Protocol(
        output_event="token",
        done=Event("end", "[DONE]"),
        error=lambda message: Event("failure", f'{{"detail":"{message}"}}'),
        logs_event="logs",
    )
    assert (
        ask(protocol, "POST", "/run_sse", ECHO).text
        == "event: token\ndata: hi\n\nevent: end\ndata: [DONE]\n\n"
    )
    failed = ask(protocol, "POST", "/run_sse", {"model": "sandbox/fails-half-way", "input": {}}).text
    assert failed.endswith('event: failure\ndata: {"detail":"the model failed half-way"}\n\n')
    assert "event: logs\ndata: Traceback" in failed


def test_unnamed_events():
    """As the standard's `data:` lines, ended by [DONE]."""
    protocol = Protocol(output_event=None, done=Event(None, "[DONE]"))
    assert ask(protocol, "POST", "/run_sse", ECHO).text == "data: hi\n\ndata: [DONE]\n\n"


def test_no_end_event():
    """The body just ends, by its own framing."""
    assert ask(Protocol(done=None), "POST", "/run_sse", ECHO).text == "event: output\ndata: hi\n\n"


def test_an_end_event_for_what_was_canceled():
    """A peer's `done` with a reason, where the default breaks the stream off."""
    protocol = Protocol(canceled=Event("done", '{"reason": "canceled"}'))
    with Sandbox("secret", protocol=protocol) as sandbox:
        headers = {"Authorization": "Bearer secret"}
        created = httpx.post(
            f"{sandbox.base_url}/predictions", json={**ECHO, "model": "sandbox/stays-cold"}, headers=headers
        )
        urls = created.json()["urls"]
        httpx.post(urls["get"] + "/cancel", headers=headers)
        assert (
            httpx.get(urls["stream"], headers=headers).text == 'event: done\ndata: {"reason": "canceled"}\n\n'
        )


def test_another_json_shape():
    """A function of the flat prediction makes the body; the id may be in answers to get."""
    protocol = Protocol(
        prediction_json=lambda prediction: {
            "job": {"uuid": prediction["id"], "state": prediction["status"].upper()}
        },
        run_json=lambda prediction: {"result": prediction["output"]},
        get_carries_id=True,
    )
    assert ask(protocol, "POST", "/predictions", ECHO).json()["job"]["state"] == "STARTING"
    assert ask(protocol, "POST", "/run", ECHO).json() == {"result": ["hi"]}


def test_token_usage_is_reported_only_when_asked_for(connect):
    """No live answer with token counts is known, so none is invented."""
    body = {"model": "meta/llama-2-7b-chat", "input": {"prompt": "say one two three"}}
    for reports, keys in (
        (False, {"predict_time"}),
        (True, {"predict_time", "input_token_count", "output_token_count"}),
    ):
        with Sandbox(reports_usage=reports) as sandbox, connect(sandbox) as api:
            api.post("/run", json=body)
            metrics = sandbox.predictions[0].metrics
            assert metrics.keys() == keys
    assert metrics["output_token_count"] == 3
    assert metrics["input_token_count"] == 4


def test_it_has_its_own_content_type_and_status():
    """Both are settings too."""
    assert ask(Protocol(create_status=200), "POST", "/predictions", ECHO).status_code == 200
    protocol = Protocol(stream_content_type="text/event-stream; charset=latin-1")
    assert (
        ask(protocol, "POST", "/run_sse", ECHO).headers["content-type"]
        == "text/event-stream; charset=latin-1"
    )
