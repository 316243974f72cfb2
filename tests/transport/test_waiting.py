"""Waiting for a prediction: how often, how long, and what ends it. The hours here are a virtual clock's."""

import itertools
import math
import threading
import time

import pytest
from support.replies import MODEL, prediction
from support.virtual_shell import VirtualShell, flows, reply
from support.wire_server import answer, silence

from rockai_transport import (
    APITimeoutError,
    InternalServerError,
    NotFoundError,
    Prediction,
    PredictionCanceledError,
    PredictionFailedError,
    PredictionTimeoutError,
    Timeouts,
)
from rockai_transport.protocol.references import ModelReference

GET = "GET /v1/predictions/p1"
BUSY = reply(200, prediction("processing"))


def wait(shell, *, timeout=None, target="p1", **changes):
    return shell.drive(flows(**changes).wait(target, timeout, None))


def run(shell, *, timeout=None, **changes):
    all_ = flows(route="predictions", **changes)
    return shell.drive(all_.run(all_.order(ModelReference.parse(MODEL), {}), timeout))


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_polls_after_a_twentieth_of_the_time(chance):
    """Poll after max(25 ms, 5 % of the time elapsed), at most 1 s, with at most a tenth of jitter."""
    shell = VirtualShell(BUSY, chance=chance)
    with pytest.raises(PredictionTimeoutError):
        wait(shell, timeout=100)
    elapsed = 0.0
    for slept in shell.sleeps[:-1]:
        ideal = min(max(0.025, 0.05 * elapsed), 1.0)
        assert 0.9 * ideal - 1e-9 <= slept <= ideal + 1e-9
        assert slept == pytest.approx(ideal * (1 - 0.1 * chance))
        elapsed += slept
    assert shell.moment == pytest.approx(1100)
    assert len(shell.calls) < 200


def test_the_first_look_comes_at_once():
    """Wait on an id looks before it sleeps; on a prediction that has ended it asks nothing."""
    shell = VirtualShell(reply(200, prediction("succeeded", output="x")))
    assert wait(shell).output == "x"
    assert shell.sleeps == []
    shell = VirtualShell(BUSY)
    assert wait(shell, target=Prediction(id="p1", status="succeeded", output="y")).output == "y"
    assert shell.calls == []


def test_what_ended_elsewhere_is_looked_at():
    """Of a prediction that a record knows only by id and status, the output is fetched."""
    shell = VirtualShell(reply(200, prediction("succeeded", output="x")))
    assert wait(shell, target=Prediction(id="p1", status="succeeded")).output == "x"
    assert [str(call) for call in shell.calls] == ["GET /predictions/p1"]


def test_a_look_that_fails_tells_nothing(connect, server):
    """What a record says of a status is not told as the outcome where the service could not be asked."""
    server.route(GET, silence())
    with pytest.raises(PredictionTimeoutError) as caught:
        connect().wait(Prediction(id="p1", status="succeeded"), timeout=0.2)
    assert (caught.value.prediction.id, caught.value.prediction.is_terminal) == ("p1", False)


@pytest.mark.parametrize(
    ("status", "kind"), [("failed", PredictionFailedError), ("canceled", PredictionCanceledError)]
)
def test_failed_and_canceled_raise(status, kind):
    """A prediction that failed or was canceled raises, with the prediction."""
    shell = VirtualShell(BUSY, reply(200, prediction(status, error="boom")))
    with pytest.raises(kind) as caught:
        wait(shell)
    assert caught.value.prediction.status == status


def test_wait_gives_up_after_an_hour():
    """Without a timeout wait gives up after an hour; math.inf is none."""
    shell = VirtualShell(BUSY)
    with pytest.raises(PredictionTimeoutError) as caught:
        wait(shell)
    assert shell.moment == pytest.approx(1000 + 3600)
    assert caught.value.prediction.id == "p1"
    assert "predictions.wait('p1')" in str(caught.value)
    shell = VirtualShell(*[BUSY] * 8000, reply(200, prediction("succeeded")))
    wait(shell, timeout=math.inf)
    assert shell.moment > 1000 + 7200


def test_wait_takes_the_clients_timeout():
    """A wait without its own timeout takes the client's."""
    shell = VirtualShell(BUSY)
    with pytest.raises(PredictionTimeoutError):
        shell.drive(flows(timeout=20).wait("p1", None, None))
    assert shell.moment == pytest.approx(1020)


def test_an_unknown_status_is_not_terminal():
    """A status that nobody knows is waited on, up to the deadline, and carried in the error."""
    shell = VirtualShell(reply(200, prediction("aborted")))
    with pytest.raises(PredictionTimeoutError, match="aborted"):
        wait(shell, timeout=5)


def test_run_without_timeout_gives_up_when_nothing_changes_for_an_hour():
    """Status, logs and output unchanged for an hour: run gives up; any change of one starts the hour anew."""
    shell = VirtualShell(reply(201, prediction("processing")), BUSY)
    with pytest.raises(PredictionTimeoutError) as caught:
        run(shell)
    assert 3600 <= shell.moment - 1000 <= 3602
    assert caught.value.prediction.id == "p1"
    assert shell.farewells == 0
    for change in ({"logs": "x"}, {"output": ["x"]}, {"status": "odd"}):
        looks = [BUSY] * 2000 + [reply(200, {**prediction("processing"), **change})]
        shell = VirtualShell(reply(201, prediction("processing")), *looks)
        with pytest.raises(PredictionTimeoutError):
            run(shell)
        assert shell.moment - 1000 > 3600 + 1700, change


def test_run_with_a_timeout_does_not_stall():
    """With a timeout of its own or of the client, only that ends run; it cancels nothing."""
    for given in ({"timeout": 9000}, {"timeout": math.inf}):
        looks = [BUSY] * 6000 + [reply(200, prediction("succeeded"))]
        shell = VirtualShell(reply(201, prediction("processing")), *looks)
        assert run(shell, **given).status == "succeeded"
    shell = VirtualShell(reply(201, prediction("processing")), BUSY)
    with pytest.raises(PredictionTimeoutError):
        run(shell, timeout=30)
    assert shell.moment == pytest.approx(1030)
    assert shell.farewells == 0


def test_a_look_that_fails_carries_what_is_known():
    """If looking fails for good, the error carries the prediction, which goes on."""
    for failure, kind in (
        (reply(404, {"detail": "id not found"}), NotFoundError),
        (reply(500, {}), InternalServerError),
    ):
        shell = VirtualShell(reply(201, prediction("processing")), failure)
        with pytest.raises(kind) as caught:
            run(shell)
        assert caught.value.prediction.id == "p1"
        assert caught.value.may_have_started


def test_a_look_that_fails_now_and_then_does_no_harm():
    """Looks are retried like any GET, each on its own."""
    looks = itertools.chain.from_iterable([reply(502, {}), BUSY] for _ in range(10))
    shell = VirtualShell(*looks, reply(200, prediction("succeeded", output="x")))
    assert wait(shell).output == "x"


def test_the_notice_of_a_cold_start(caplog):
    """After 10 s of waiting one INFO line says that the model may be starting, then one a minute."""
    caplog.set_level("INFO", "rockai")
    starting = reply(200, prediction("starting"))
    with pytest.raises(PredictionTimeoutError):
        wait(VirtualShell(starting), timeout=9)
    assert caplog.records == []
    with pytest.raises(PredictionTimeoutError):
        wait(VirtualShell(starting), timeout=200)
    assert len(caplog.records) == 4  # 10, 70, 130, 190 s
    assert all("may be starting" in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} == {"rockai"}
    caplog.clear()
    with pytest.raises(PredictionTimeoutError):
        wait(VirtualShell(BUSY), timeout=200)
    assert caplog.records == []  # one that runs is not starting


def test_a_silent_look_ends_with_the_deadline(connect, server):
    """A deadline holds while a look is under way; it is a PredictionTimeoutError in wait and run."""
    client = connect(route="predictions")
    server.route("POST /v1/predictions", answer(201, prediction("processing")))
    server.route(GET, silence())
    for call in (
        lambda: client.wait("p1", timeout=0.3),
        lambda: client.wait(Prediction(id="p1", status="processing"), timeout=0.3),
        lambda: client.run(MODEL, {}, timeout=0.3),
    ):
        started = time.monotonic()
        with pytest.raises(PredictionTimeoutError) as caught:
            call()
        assert 0.25 < time.monotonic() - started < 1.3
        assert caught.value.prediction.id == "p1"
    assert not server.seen("cancel")


def test_waiting_can_go_on_after_a_time_out(connect, server):
    """A prediction whose waiting timed out can be waited for again."""
    server.route(GET, answer(200, prediction("processing")))
    with pytest.raises(PredictionTimeoutError) as caught:
        connect().wait("p1", timeout=0.1)
    server.route(GET, answer(200, prediction("succeeded", output="x")))
    assert connect().wait(caught.value.prediction).output == "x"


def test_a_poll_has_its_own_limit(connect, server):
    """A look that is not answered is given up after `Timeouts.poll`, and tried again."""
    server.route(GET, silence(), silence(), answer(200, prediction("succeeded", output="x")))
    assert connect(timeouts=Timeouts(poll=0.2)).get("p1").output == "x"
    server.route(GET, silence())
    started = time.monotonic()
    with pytest.raises(APITimeoutError):
        connect(timeouts=Timeouts(poll=0.2), max_retries=0).get("p1")
    assert 0.15 < time.monotonic() - started < 1.2


def test_many_waits_at_once(connect, server):
    """Several predictions can be waited for in several threads."""
    server.script = answer(200, prediction("succeeded", output="x"))
    got = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(connect().wait(f"p{n}").output)) for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["x"] * 5
