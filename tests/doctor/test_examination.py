"""What an examination sends, what it costs, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading

import pytest
from support.virtual_io import operations

from rockai_sandbox import NEVER_ENDS, STAYS_COLD, Protocol, Sandbox
from rockai_transport import Client, ConfigurationError, Service
from rockai_transport.doctor import CHECKS, PROBES, run_doctor
from rockai_transport.doctor.recording import Redactor
from rockai_transport.doctor.session import DoctorSession
from rockai_transport.protocol import io as seam
from rockai_transport.protocol.io import Notices
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.requests import RunRequest

MODEL = "meta/llama-2-7b-chat"

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself a Ctrl-C there")


def test_everything_as_assumed(examine, sandbox, signs):
    """On the default sandbox every check is made, and every one is as assumed."""
    report = examine(sandbox)
    assert signs(report) == {}
    assert [finding.check for finding in report.findings] == [check.id for check in CHECKS]
    assert (report.exit_code, report.client_code, report.left) == (0, "", ())


def test_the_runs_are_those_that_were_announced(examine, sandbox):
    """Four, by both routes and both forms of create; each is sent once."""
    plans = []
    report = examine(sandbox, confirm=lambda plan: plans.append(plan) or True)
    assert [plan.runs for plan in plans] == [4]
    assert report.announced == report.agreed == report.runs == len(sandbox.predictions) == 4
    assert [prediction.started_by for prediction in sandbox.predictions] == [
        "create",
        "create",
        "run",
        "run_sse",
    ]
    assert plans[0].runs == sum(probe.runs for probe in PROBES)


def test_a_wrong_key_that_is_taken_costs_no_further_run(examine, sandbox, signs):
    """Its prediction is the one that is canceled: no more runs than were announced."""
    plans = []
    report = examine(sandbox, model="sandbox/echo", confirm=lambda plan: plans.append(plan) or True)
    assert signs(report)["wrong-key"] == "✗"
    assert len(sandbox.predictions) == plans[0].runs == report.runs == 4


@pytest.mark.parametrize("confirm", [None, lambda plan: False])
def test_without_a_yes(examine, sandbox, signs, confirm):
    """Nothing that may start a run is sent, and the report says so."""
    report = examine(sandbox, confirm=confirm)
    assert sandbox.predictions == []
    assert not any("no_such_key" in request.body.decode() for request in sandbox.requests)
    assert (report.exit_code, report.agreed, report.runs) == (2, 0, 0)
    assert "not agreed" in report.obstacle
    assert "unknown-id" not in signs(report)


def test_without_a_model(examine, sandbox):
    """Nobody is asked; what starts nothing is checked."""
    report = examine(sandbox, model=None, confirm=lambda plan: pytest.fail("asked"))
    assert sandbox.predictions == []
    assert report.obstacle == "23 checks need a run: make them with --model owner/name."
    assert report.exit_code == 2
    assert "Runs: 0 planned, 0 approved, 0 made." in report.summary()


def test_what_is_not_made_is_one_sentence(examine, sandbox):
    """Texts say how many checks were not made, and why; JSON holds a finding for each."""
    report = examine(sandbox, model=None)
    for text in (report.text(), report.markdown()):
        assert text.count("23 checks need a run") == 1
        assert "stream-end" not in text
        assert "not reached" not in text
    checks = {check["check"]: check for check in report.to_json()["checks"]}
    assert list(checks) == [check.id for check in CHECKS]
    assert checks["stream-end"]["verdict"] == "unknown"
    assert "--model" in checks["stream-end"]["seen"]


def test_only_what_a_run_would_show_is_said_to_need_one(examine):
    """What cannot be checked in any case, for want of a route, says so itself, and is not counted."""
    with Sandbox(generation="new") as sandbox:
        report = examine(sandbox, model=None)
    assert report.obstacle.startswith("16 checks need a run")
    assert {finding.check: finding.observed for finding in report.findings}["run"] == "there is no such route"


def test_runs_that_are_declined(examine, sandbox):
    """The report says what was announced, what was agreed to, and what was made."""
    report = examine(sandbox, confirm=lambda plan: False)
    assert (report.announced, report.agreed, report.runs) == (4, 0, 0)
    assert "Runs: 4 planned, 0 approved, 0 made." in report.summary()
    assert "Runs: 4 planned, 0 approved, 0 made." in report.markdown()
    assert report.to_json()["runs"] == {"announced": 4, "agreed": 0, "started": 0, "left": []}


def test_the_token_is_not_shown_before_somebody_answers(examine, sandbox):
    """The first request carries none: whoever may be in the way does not get it."""
    examine(sandbox, model=None)
    assert "authorization" not in sandbox.requests[0].headers


def test_a_wrong_token(examine, sandbox):
    """Nothing further is sent; the report says where to get a right one."""
    report = examine(sandbox, api_token="wrong-token-of-somebody")  # noqa: S106
    assert "https://www.rockai.online/setting/token" in report.obstacle
    assert (report.exit_code, sandbox.predictions) == (2, [])
    assert report.obstacle.endswith(" 32 further checks were not reached.")
    assert {request.method for request in sandbox.requests} == {"GET"}


def test_no_token():
    """It is the clients' own error, before anything is sent."""
    with pytest.raises(ConfigurationError, match="ROCKAI_API_TOKEN"):
        run_doctor()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (402, '{"detail":"no wallet"}', "top it up"),
        (404, '{"detail":"model not found"}', "model's name"),
        (422, '{"detail":[{"loc":["body","input","prompt"],"msg":"Field required"}]}', "input's keys"),
    ],
)
def test_a_refused_run_stops_the_others(examine, sandbox, status, body, words):
    """What would be refused again is not sent again; the report teaches what to do."""

    def confirm(plan):
        sandbox.answer_next(status, body, times=None, method="POST", path="/predictions")
        return True

    report = examine(sandbox, confirm=confirm)
    assert words in report.obstacle
    assert report.runs == 0
    assert sandbox.predictions == []


def test_an_id_that_no_path_can_hold(examine, signs):
    """What cannot be asked for ends the examination with its report, which says that something may run."""
    protocol = Protocol(prediction_json=lambda known: {**known, "id": "climbs/../out"})
    with Sandbox(protocol=protocol) as sandbox:
        report = examine(sandbox)
    assert "is not a prediction id" in report.stopped
    assert signs(report)["create"] == "?"
    assert (report.exit_code, report.runs) == (2, 1)
    assert "could not be canceled" in report.summary()


def test_an_answer_to_create_that_cannot_be_read(examine, sandbox, signs):
    """The check that says so is made, and nothing further is created: it could not be canceled."""

    def confirm(plan):
        sandbox.answer_next(200, "<p>", content_type="text/html", times=None, path="/predictions")
        return True

    report = examine(sandbox, confirm=confirm)
    assert (signs(report)["shape"], signs(report)["create-by"]) == ("✗", "?")
    created = [request for request in sandbox.requests if b"no_such_key" in request.body]
    assert len(created) == 1
    assert report.runs == 3


def test_a_service_that_takes_every_model(examine, sandbox, signs):
    """Where its answer to create cannot be read, no run is created at all."""
    sandbox.answer_next(200, {"queued": True}, times=None, method="POST", path="/predictions")
    report = examine(sandbox)
    assert not any(b"no_such_key" in request.body for request in sandbox.requests)
    assert signs(report)["unknown-model"] == "✗"
    assert "the response of create cannot be read" in report.obstacle


def test_an_output_that_looks_like_a_prediction(examine, sandbox, signs):
    """What a model gives is not searched for a prediction once it is known where predictions stand."""

    @sandbox.model("owner/jobs")
    def jobs(input):
        return {"job": {"status": "queued", "output": None}}

    report = examine(sandbox, model="owner/jobs")
    assert "run" not in signs(report)
    assert {finding.check: finding.observed for finding in report.findings}["run"].startswith("an object")


def test_a_gateway_that_breaks_is_not_asked_again(examine, sandbox, signs):
    """A 502 to a run may have started it: it counts, and is not repeated."""
    sandbox.answer_next(502, "bad gateway", content_type="text/plain", method="POST", path="/run", times=2)
    report = examine(sandbox, on_finding=lambda finding: None)
    runs = [
        request for request in sandbox.requests if request.path.endswith("/run") and b"prompt" in request.body
    ]
    assert len(runs) == 1
    assert signs(report)["run"] == "?"
    assert report.runs == 4


def test_a_page_in_the_way(examine, sandbox):
    """A page of HTML in place of JSON is known as one; the token is not shown to it."""
    sandbox.answer_next(200, "<html>log in</html>", content_type="text/html", times=None)
    report = examine(sandbox)
    assert "proxy" in report.obstacle
    assert report.exit_code == 2
    assert len(sandbox.requests) == 1


def test_nobody_answers(examine, sandbox):
    """A closed port is said to be one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        report = examine(sandbox, base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert report.obstacle.startswith("No answer from http://127.0.0.1")


def test_a_proxy_that_refuses(monkeypatch):
    """It is named as the way to look at, and neither its address nor its password is told."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse():
            connection, _ = proxy.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:hunter2@127.0.0.1:{proxy.getsockname()[1]}")
        report = run_doctor(api_token="a-long-token", base_url="https://api.rockai.example/v1")  # noqa: S106
        thread.join()
    assert "names a proxy (HTTPS_PROXY" in report.obstacle
    assert "407" in report.obstacle
    assert "hunter2" not in report.markdown()
    assert report.exit_code == 2


@pytest.mark.parametrize("path", ["", "/v2"])
def test_a_base_url_without_its_path(examine, sandbox, path):
    """The right one is found and named, whole: it need not begin with the wrong one."""
    report = examine(sandbox, base_url=sandbox.base_url.removesuffix("/v1") + path)
    assert f"below /v1: end base_url with it, as in {sandbox.base_url}." in report.obstacle


def test_no_route_at_all(examine, sandbox):
    """Where nothing of the API is, the report says which settings name its paths."""
    report = examine(
        sandbox, base_url=sandbox.base_url.removesuffix("/v1"), service=Service(get_path="/no/{id}")
    )
    assert report.obstacle.startswith("None of the API's routes exists below http://127.0.0.1")
    assert "Service(create_path=…" in report.obstacle


def test_a_service_that_cannot_answer_now(examine, sandbox):
    """It is not taken for a refusal of the token, and nothing further is sent."""
    sandbox.answer_next(503, {"detail": "maintenance"}, times=None)
    report = examine(sandbox)
    assert report.obstacle.startswith('The service cannot answer now: 503 {"detail": "maintenance"}.')
    assert len(sandbox.requests) == 2


def test_what_has_ended_is_not_said_to_run(sandbox):
    """A cancel that is refused is reported only where the prediction still runs."""
    settings = operations(api_token=sandbox.api_token, base_url=sandbox.base_url).settings
    nothing = RunRequest(ModelReference("", None, None), {})
    session = DoctorSession(settings, Redactor(settings.api_token), nothing, say=print)
    with Client(sandbox.api_token, sandbox.base_url) as client:
        ended = client.predictions.create(model=MODEL, input={"prompt": "Hello"})
        client.predictions.wait(ended)
        running = client.predictions.create(model=NEVER_ENDS, input={"prompt": "Hello"})
    session.running = {ended.id, running.id}
    sandbox.answer_next(409, {"detail": "too late"}, times=None, method="POST")
    assert session.cancel_running() == [running.id]


def test_a_cold_model(examine, signs):
    """It is waited for."""
    with Sandbox(cold_start=0.2) as sandbox:
        report = examine(sandbox)
        assert signs(report) == {}
        assert "then canceled" in {finding.check: finding.observed for finding in report.findings}["cancel"]


def test_a_long_wait_says_why(examine, sandbox, monkeypatch):
    """After a while it is said what is waited for, that a model may be starting, and how to leave."""
    monkeypatch.setattr(seam, "FIRST_NOTICE", 0.05)
    said = []
    examine(sandbox, model=STAYS_COLD, timeout=0.3, say=said.append)
    told = [text for text in said if text.startswith("POST /run: waiting for 0 s. A cold start takes")]
    assert len(told) == 1  # the next would come ten seconds later
    assert "Ctrl-C" in told[0]


def test_a_pace_of_ones_own():
    """Notices that are told in another way than to the log come as often as that way wants."""
    said = []
    notices = Notices(1000.0, "POST /run", lambda *told: said.append(told), 10.0)
    for moment in (1009, 1011, 1012, 1022):
        notices.tell(moment)
    assert said == [("POST /run", 11.0), ("POST /run", 22.0)]


def test_what_never_ends_is_canceled(examine, sandbox):
    """A run that outlives its time is left, and canceled where its id is known."""
    report = examine(sandbox, model=NEVER_ENDS, timeout=0.3, route="predictions")
    assert {prediction.status for prediction in sandbox.predictions} == {"canceled"}
    assert report.left == ()


@on_unix
def test_ctrl_c(examine, sandbox, signs):
    """What was found is reported, what was started is canceled."""
    seen = []

    def interrupt():
        sandbox.wait_for(
            lambda here: any("/predictions/stream/" in request.path for request in here.requests)
        )
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    report = examine(sandbox, model=STAYS_COLD, on_finding=seen.append)
    assert report.obstacle.startswith("It was interrupted. ")
    assert "get" not in signs(report)
    assert signs(report)["run"] == "?"
    assert {prediction.status for prediction in sandbox.predictions} == {"canceled"}
    assert len(report.findings) == len(CHECKS)


@on_unix
def test_ctrl_c_before_an_answer(examine, sandbox):
    """Where no id is known yet, the report says that a run may go on."""

    def interrupt():
        sandbox.wait_for(lambda here: any(found.started_by == "run" for found in here.predictions))
        os.kill(os.getpid(), signal.SIGINT)

    @sandbox.model("owner/waits")
    async def waits(input):
        if sandbox.predictions[-1].started_by == "run":
            await asyncio.sleep(60)
        yield "a\nb"

    threading.Thread(target=interrupt).start()
    report = examine(sandbox, model="owner/waits")
    assert "while POST /run was under way" in report.obstacle
    assert report.runs == 3


def test_an_id_in_the_events(examine, sandbox, signs):
    """An id that ``/run_sse`` tells is asked about; only one that is a prediction's is reported."""
    known = examine(sandbox, route="predictions")
    known_id = sandbox.predictions[0].id
    assert signs(known) == {}
    events = f"id: {known_id}\nevent: output\ndata: a\n\nid: 000001\nevent: done\ndata: {{}}\n\n"

    def confirm(plan):
        sandbox.answer_next(200, events, content_type="text/event-stream", path="/run_sse")
        return True

    report = examine(sandbox, confirm=confirm)
    assert signs(report) == {"run-sse-id": "✗", "run-sse-newlines": "?"}
    assert known_id in {finding.check: finding.observed for finding in report.findings}["run-sse-id"]
