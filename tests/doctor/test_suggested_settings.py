"""Each way in which the service may differ is found, is given a setting, and is gone with that setting."""

from __future__ import annotations

import inspect

import pytest

from rockai_sandbox import Event, Protocol, RawAnswer, Sandbox
from rockai_transport import Client, Service
from rockai_transport.doctor import SuggestedSetting


def nested(prediction):
    return {"job": prediction}


def with_code_0(prediction):
    """An envelope whose code for success is not HTTP's."""
    return {"code": 0, "msg": "success", "data": prediction}


def in_other_words(**words):
    """Make predictions with other words for some statuses."""
    return lambda prediction: {**prediction, "status": words.get(prediction["status"], prediction["status"])}


FOUND = {
    "another header": (
        Protocol(auth_header="X-API-Key", auth_scheme=""),
        {"token": [SuggestedSetting("auth_header", "X-API-Key"), SuggestedSetting("auth_scheme", "")]},
    ),
    "another scheme": (Protocol(auth_scheme="Token"), {"token": [SuggestedSetting("auth_scheme", "Token")]}),
    "a path of a peer's": (
        Protocol(run_sse_path="/stream/predictions"),
        {"run-sse-route": [SuggestedSetting("run_stream_path", "/stream/predictions")]},
    ),
    "cancel elsewhere": (
        Protocol(cancel_path="/predictions/cancel/{id}"),
        {"cancel-route": [SuggestedSetting("cancel_path", "/predictions/cancel/{id}")]},
    ),
    "another answer where there is no route": (
        Protocol(no_route=RawAnswer(404, '{"msg":"no route","code":404}')),
        {"missing-route": [SuggestedSetting("missing_route_statuses", (404, 405, 410))]},
    ),
    "another content type of streams": (
        Protocol(stream_content_type="text/plain"),
        {"stream-type": [SuggestedSetting("stream_content_type", "text/plain")]},
    ),
    "other event names": (
        Protocol(output_event="token", done=Event("end", "{}")),
        {
            "stream-pieces": [SuggestedSetting("output_event", "token")],
            "stream-end": [SuggestedSetting("end_events", ("done", "end"))],
        },
    ),
    "another marker": (
        Protocol(output_event=None, done=Event(None, "[END]")),
        {"stream-end": [SuggestedSetting("end_marker", "[END]")]},
    ),
    "no end event": (
        Protocol(done=None),
        {"stream-end": [SuggestedSetting("requires_end_event", value=False)]},
    ),
    "other words for a status": (
        Protocol(prediction_json=in_other_words(succeeded="COMPLETED")),
        {"statuses": [SuggestedSetting("statuses", {**Service().statuses, "COMPLETED": "succeeded"})]},
    ),
    "an output in an object": (
        Protocol(run_json=lambda prediction: {"result": prediction["output"]}),
        {"run": None},
    ),
}


@pytest.mark.parametrize(("protocol", "expected"), FOUND.values(), ids=FOUND)
def test_found_and_fixed(examine, signs, protocol, expected):
    """The check that fails names a setting that exists; with those of the report, nothing fails any more."""
    with Sandbox(protocol=protocol) as sandbox:
        report = examine(sandbox)
        suggestions = {
            finding.check: list(finding.suggestions) for finding in report.findings if finding.suggestions
        }
        assert suggestions.keys() == expected.keys()
        for check, settings in expected.items():
            assert settings is None or suggestions[check] == settings
            assert signs(report)[check] == "✗"
        assert report.exit_code == 1
        assert all(each.field in report.client_code for each in report.suggestions)
        arguments = inspect.signature(Client).parameters
        assert all(each.of_service or each.field in arguments for each in report.suggestions)
        assert signs(examine(sandbox, service=report.service)) == {}


def test_a_word_that_only_time_explains(examine, signs):
    """A status that is like no other is read by `completed_at` and `error`, a peer's by its likeness."""
    words = in_other_words(succeeded="ripe", canceled="aborted")
    with Sandbox(protocol=Protocol(prediction_json=words), cold_start=0.1) as sandbox:
        report = examine(sandbox)
        assert signs(report) == {"statuses": "✗"}
        known = {**Service().statuses, "aborted": "canceled", "ripe": "succeeded"}
        assert report.service.statuses == known
        assert signs(examine(sandbox, service=report.service)) == {}


@pytest.mark.parametrize("wrapped", [nested, with_code_0])
def test_a_prediction_under_another_key(examine, signs, wrapped):
    """Its key is found, the rest of the examination goes on with it, and the hook can be pasted as code."""
    with Sandbox(protocol=Protocol(prediction_json=wrapped)) as sandbox:
        report = examine(sandbox)
        assert signs(report) == {"shape": "✗"}
        assert signs(examine(sandbox, service=report.service)) == {}
        pasted = eval(report.client_code, {"Client": dict, "Service": Service})  # noqa: S307 - our own words
        refused = {"code": 1001, "msg": "no balance", "data": {}}
        for hook in (report.service.read_prediction, pasted["service"].read_prediction):
            assert hook(refused) is refused
        assert signs(examine(sandbox, service=pasted["service"])) == {}


def test_a_path_to_which_a_gateway_redirects(examine, signs):
    """A redirect is no route: its target is tried, as for a missing slash at the end."""
    with Sandbox(protocol=Protocol(create_path="/predictions/")) as sandbox:
        moved = {"Location": "/v1/predictions/"}
        sandbox.answer_next(307, headers=moved, method="POST", path="/predictions", times=None)
        report = examine(sandbox)
        assert signs(report) == {"create-route": "✗"}
        assert report.client_code == "Client(service=Service(create_path='/predictions/'))"
        assert signs(examine(sandbox, service=report.service)) == {}


def test_paths_that_nobody_can_guess(examine, signs):
    """They are named without a value; from the answer to create, those that it tells are read."""
    protocol = Protocol(run_path="/go", run_sse_path="/go/live", get_path="/jobs/{id}/state")
    with Sandbox(protocol=protocol) as sandbox:
        report = examine(sandbox)
        found = {each.field: each for each in report.suggestions}
        assert found["get_path"] == SuggestedSetting("get_path", "/jobs/{id}/state")
        assert not found["run_path"].is_known
        assert not found["run_stream_path"].is_known
        assert "run_path=…" in report.text()
        assert report.runs == report.announced == len(sandbox.predictions) == 2
        known = Service(run_path="/go", run_stream_path="/go/live", get_path="/jobs/{id}/state")
        assert signs(examine(sandbox, service=known)) == {}


def test_create_elsewhere(examine, signs):
    """What needs create is not sent; ``/run`` and ``/run_sse`` are checked all the same."""
    with Sandbox(protocol=Protocol(create_path="/jobs")) as sandbox:
        report = examine(sandbox)
        assert report.client_code == "Client(service=Service(create_path=…))"
        assert report.announced == len(sandbox.predictions) == 2
        assert "run" not in signs(report)
        assert signs(examine(sandbox, service=Service(create_path="/jobs"))) == {}


def test_the_newer_generation(examine, signs):
    """Without ``/run`` and ``/run_sse`` the report says route='predictions', with which all is as assumed."""
    with Sandbox(generation="new") as sandbox:
        report = examine(sandbox)
        assert {check for check, sign in signs(report).items() if sign == "✗"} == {
            "run-route",
            "run-sse-route",
        }
        assert report.client_code == "Client(route='predictions')"
        assert report.announced == len(sandbox.predictions) == 2
        assert signs(examine(sandbox, route="predictions")) == {}


def test_the_older_generation(examine, signs):
    """Without ``urls.stream`` the report says route='run', which makes everything as assumed."""
    with Sandbox(generation="old") as sandbox:
        report = examine(sandbox)
        assert {check for check, sign in signs(report).items() if sign == "✗"} == {"stream-address"}
        assert report.client_code == "Client(route='run')"
        assert signs(examine(sandbox, route="run")) == {}


@pytest.mark.parametrize("run_answer", ["output", "prediction"])
def test_enveloped(examine, signs, run_answer):
    """An envelope needs no setting; the report tells which of the two shapes it is."""
    with Sandbox(shape="enveloped", run_answer=run_answer) as sandbox:
        report = examine(sandbox)
        seen = {finding.check: finding.observed for finding in report.findings}
        assert signs(report) == {}
        assert seen["shape"] == "enveloped"
