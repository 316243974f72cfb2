"""Waiting for a prediction: how often, how long, and what ends it. The hours here are a virtual clock's."""

import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.virtual_io import SILENCE, VirtualIO, operations, reply, run_request
from support.wire_server import answer, silence

from rockai_transport import (
    APIStatusError,
    APITimeoutError,
    Client,
    InvalidResponseError,
    Prediction,
    PredictionCanceledError,
    PredictionFailedError,
    PredictionTimeoutError,
    RockAIError,
    Timeouts,
)
from rockai_transport.protocol.io import BrokenError, NotSentError

GET = "GET /v1/predictions/p1"
BUSY = reply(200, prediction("processing"))


def wait(io, *, timeout=None, target="p1", **changes):
    return io.do(operations(**changes).wait, target, timeout, None)


def run(io, *, timeout=None, **changes):
    return io.do(operations(route="predictions", **changes).run, run_request(MODEL), timeout)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_polls_after_a_twentieth_of_the_time(chance):
    """Poll after max(25 ms, 5 % of the time elapsed), at most 1 s, with at most a tenth of jitter."""
    io = VirtualIO(BUSY, jitter=chance)
    with pytest.raises(PredictionTimeoutError):
        wait(io, timeout=100)
    elapsed = 0.0
    for slept in io.sleeps[:-1]:
        ideal = min(max(0.025, 0.05 * elapsed), 1.0)
        assert 0.9 * ideal - 1e-9 <= slept <= ideal + 1e-9
        assert slept == pytest.approx(ideal * (1 - 0.1 * chance))
        elapsed += slept
    assert io.moment == pytest.approx(1100)
    assert len(io.requests) < 200


def test_the_first_look_comes_at_once():
    """Wait on an id looks before it sleeps; on a prediction that has ended it asks nothing."""
    io = VirtualIO(reply(200, prediction("succeeded", output="x")))
    assert wait(io).output == "x"
    assert io.sleeps == []
    io = VirtualIO(BUSY)
    assert wait(io, target=Prediction(id="p1", status="succeeded", output="y")).output == "y"
    with pytest.raises(PredictionFailedError, match="boom"):
        wait(io, target=Prediction(id="p1", status="failed", error="boom"))
    assert io.requests == []


def test_what_ended_elsewhere_is_looked_at():
    """Of a prediction that a record knows only by id and status, the output is fetched."""
    io = VirtualIO(reply(200, prediction("succeeded", output="x")))
    assert wait(io, target=Prediction(id="p1", status="succeeded")).output == "x"
    assert [str(call) for call in io.requests] == ["GET /predictions/p1"]


def test_a_look_that_fails_tells_nothing():
    """What a record says of a status is not told as the outcome where the service could not be asked."""
    with pytest.raises(PredictionTimeoutError) as caught:
        wait(VirtualIO(SILENCE), target=Prediction(id="p1", status="succeeded"), timeout=20)
    assert (caught.value.prediction.id, caught.value.prediction.is_terminal) == ("p1", False)


@pytest.mark.parametrize(
    ("status", "kind"), [("failed", PredictionFailedError), ("canceled", PredictionCanceledError)]
)
def test_failed_and_canceled_raise(status, kind):
    """A prediction that failed or was canceled raises, with the prediction."""
    io = VirtualIO(BUSY, reply(200, prediction(status, error="boom")))
    with pytest.raises(kind) as caught:
        wait(io)
    assert caught.value.prediction.status == status


def test_wait_gives_up_after_an_hour():
    """Without a timeout wait gives up after an hour; math.inf is none."""
    io = VirtualIO(BUSY)
    with pytest.raises(PredictionTimeoutError) as caught:
        wait(io)
    assert io.moment == pytest.approx(1000 + 3600)
    assert caught.value.prediction.id == "p1"
    assert "predictions.wait('p1')" in str(caught.value)
    io = VirtualIO(*[BUSY] * 4000, reply(200, prediction("succeeded")))
    wait(io, timeout=math.inf)
    assert io.moment > 1000 + 3700


def test_wait_takes_the_clients_timeout():
    """A wait without its own timeout takes the client's."""
    io = VirtualIO(BUSY)
    with pytest.raises(PredictionTimeoutError):
        io.do(operations(timeout=20).wait, "p1", None, None)
    assert io.moment == pytest.approx(1020)


def test_an_unknown_status_is_not_terminal():
    """A status that nobody knows is waited on, up to the deadline, and carried in the error."""
    io = VirtualIO(reply(200, prediction("aborted")))
    with pytest.raises(PredictionTimeoutError, match="aborted"):
        wait(io, timeout=5)


def test_run_without_timeout_gives_up_when_nothing_changes_for_an_hour():
    """Status, logs and output unchanged for an hour: run gives up; any change of one starts the hour anew."""
    io = VirtualIO(reply(201, prediction("processing")), BUSY)
    with pytest.raises(PredictionTimeoutError) as caught:
        run(io)
    assert 3600 <= io.moment - 1000 <= 3602
    assert caught.value.prediction.id == "p1"
    assert io.detached_operations == 0
    for change in ({"logs": "x"}, {"output": ["x"]}, {"status": "odd"}):
        looks = [BUSY] * 300 + [reply(200, {**prediction("processing"), **change})]
        io = VirtualIO(reply(201, prediction("processing")), *looks)
        with pytest.raises(PredictionTimeoutError):
            run(io, timeouts=Timeouts(stall=400))
        assert 400 + 200 < io.moment - 1000 < 400 + 300, change


def test_an_output_that_is_no_number_stays_as_it_is():
    """NaN differs from itself: run without a timeout gives up all the same when nothing has changed."""
    busy = reply(200, prediction("processing", output=math.nan))
    io = VirtualIO(reply(201, prediction("processing")), *[busy] * 3000, reply(200, prediction("succeeded")))
    with pytest.raises(PredictionTimeoutError):
        run(io, timeouts=Timeouts(stall=400))


def test_run_with_a_timeout_does_not_stall():
    """With a timeout of its own or of the client, only that ends run; it cancels nothing."""
    for given in ({"timeout": 9000}, {"timeout": math.inf}):
        looks = [BUSY] * 4000 + [reply(200, prediction("succeeded"))]
        io = VirtualIO(reply(201, prediction("processing")), *looks)
        assert run(io, **given).status == "succeeded"
    io = VirtualIO(reply(201, prediction("processing")), BUSY)
    with pytest.raises(PredictionTimeoutError):
        run(io, timeout=30)
    assert io.moment == pytest.approx(1030)
    assert io.detached_operations == 0


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_look_that_is_refused_carries_what_is_known(status):
    """A refusal that would come again ends the waiting; its error carries the prediction, which goes on."""
    io = VirtualIO(reply(201, prediction("processing")), reply(status, {"detail": "no"}))
    with pytest.raises(APIStatusError) as caught:
        run(io)
    assert caught.value.status_code == status
    assert caught.value.prediction.id == "p1"
    assert caught.value.may_have_started
    assert len(io.requests) == 2


def test_a_look_that_cannot_be_read_ends_the_waiting():
    """An answer that is no prediction is no failure of the moment."""
    io = VirtualIO(BUSY, reply(200, {"not": "a prediction"}))
    with pytest.raises(InvalidResponseError) as caught:
        wait(io)
    assert caught.value.prediction.id == "p1"


@pytest.mark.parametrize("how", [wait, run])
@pytest.mark.parametrize(
    "failure",
    [
        reply(502, {}),
        reply(500, {}),
        reply(429, {}),
        reply(408, {}),
        NotSentError("refused"),
        BrokenError("reset"),
    ],
    ids=["502", "500", "429", "408", "refused", "reset"],
)
def test_looks_that_fail_for_minutes_end_no_waiting(how, failure):
    """A look is harmless: the waiting goes on through an outage, more slowly, and gives the prediction."""
    created = [reply(201, prediction("processing"))] if how is run else []
    io = VirtualIO(*created, BUSY, *[failure] * 40, reply(200, prediction("succeeded", output="x")))
    assert how(io).output == "x"
    assert io.moment > 1000 + 240
    assert [slept for slept in io.sleeps if slept >= 0.5] == [0.5, 1, 2, 4, *[8] * 36]


def test_a_look_is_put_off_as_long_as_the_service_asks():
    """Retry-After is honoured while waiting, however long; the next look comes then."""
    io = VirtualIO(BUSY, reply(429, {}, retry_after="90"), reply(200, prediction("succeeded", output="x")))
    assert wait(io).output == "x"
    assert io.sleeps == [0.025, 90]


@pytest.mark.parametrize("asked", ["1e300", "inf", "99999999999"])
def test_a_look_is_put_off_an_hour_at_most(asked):
    """A wait without end is not put to sleep for ever by one answer: a look does no harm."""
    io = VirtualIO(reply(429, retry_after=asked), reply(200, prediction("succeeded", output="x")))
    ended = wait(io, timeout=math.inf)
    assert (ended.output, io.sleeps) == ("x", [3600.0])


def test_a_look_that_is_put_off_does_not_put_off_the_end():
    """However long Retry-After asks for, run gives up when `Timeouts.stall` has passed, after a last look."""
    io = VirtualIO(reply(201, prediction("processing")), reply(429, retry_after="3600"), BUSY)
    with pytest.raises(PredictionTimeoutError):
        run(io, timeouts=Timeouts(stall=400))
    assert io.moment == pytest.approx(1400)


@pytest.mark.parametrize(
    "failure", [reply(502, {}), reply(429, {}, retry_after="90"), NotSentError("refused")]
)
def test_an_outage_ends_with_the_waiting(failure):
    """When the time of the waiting is up, that is what is told, with the last failure as its cause."""
    io = VirtualIO(BUSY, failure)
    with pytest.raises(PredictionTimeoutError) as caught:
        wait(io, timeout=60)
    assert io.moment == pytest.approx(1060)
    assert (caught.value.prediction.id, caught.value.prediction.status) == ("p1", "processing")
    assert isinstance(caught.value.__cause__, RockAIError)


def test_a_look_that_fails_now_and_then_does_no_harm():
    """After a look that works the next one comes as soon as ever."""
    looks = itertools.chain.from_iterable([reply(502, {}), BUSY] for _ in range(10))
    io = VirtualIO(*looks, reply(200, prediction("succeeded", output="x")))
    assert wait(io).output == "x"
    assert io.sleeps[0::2] == [0.5] * 10


def test_the_notice_of_a_cold_start(caplog):
    """After 10 s of waiting one INFO line says that the model may be starting, then one a minute."""
    caplog.set_level("INFO", "rockai")
    starting = reply(200, prediction("starting"))
    with pytest.raises(PredictionTimeoutError):
        wait(VirtualIO(starting), timeout=9)
    assert caplog.records == []
    with pytest.raises(PredictionTimeoutError):
        wait(VirtualIO(starting), timeout=200)
    assert len(caplog.records) == 4  # 10, 70, 130, 190 s
    assert all("may be starting" in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} == {"rockai"}
    caplog.clear()
    with pytest.raises(PredictionTimeoutError):
        wait(VirtualIO(BUSY), timeout=200)
    assert caplog.records == []  # one that runs is not starting


@pytest.mark.parametrize("known", ["p1", Prediction(id="p1", status="processing")], ids=["id", "known"])
def test_a_silent_look_ends_with_the_deadline(known):
    """A deadline holds while a look is under way; it is a PredictionTimeoutError in wait and run."""
    io = VirtualIO(SILENCE)
    with pytest.raises(PredictionTimeoutError) as caught:
        wait(io, target=known, timeout=200)
    assert (io.moment, caught.value.prediction.id) == (pytest.approx(1200), "p1")
    io = VirtualIO(reply(201, prediction("processing")), SILENCE)
    with pytest.raises(PredictionTimeoutError) as caught:
        run(io, timeout=200)
    assert (io.moment, caught.value.prediction.id) == (pytest.approx(1200), "p1")
    assert not [line for line in io.lines if "cancel" in line]


def test_waiting_can_go_on_after_a_time_out():
    """A prediction whose waiting timed out can be waited for again."""
    with pytest.raises(PredictionTimeoutError) as caught:
        wait(VirtualIO(BUSY), timeout=10)
    again = VirtualIO(reply(200, prediction("succeeded", output="x")))
    assert wait(again, target=caught.value.prediction).output == "x"


def test_a_poll_has_its_own_limit():
    """A look that is not answered is given up after `Timeouts.poll`, and tried again."""
    io = VirtualIO(SILENCE, SILENCE, reply(200, prediction("succeeded", output="x")))
    assert io.do(operations().get, "p1").output == "x"
    assert io.moment == 1000 + 2 * 60 + 0.5 + 1
    io = VirtualIO(SILENCE)
    with pytest.raises(APITimeoutError):
        io.do(operations(timeouts=Timeouts(poll=7), max_retries=0).get, "p1")
    assert io.moment == 1007


# Over sockets.


def test_a_silent_look_over_a_socket(connect, server, quick):
    """It is given up after `Timeouts.poll` and tried again; the deadline of the waiting ends it for good."""
    server.route(GET, silence(), answer(200, prediction("processing")), silence())
    started = time.monotonic()
    with pytest.raises(PredictionTimeoutError) as caught:
        connect(timeouts=Timeouts(poll=0.1)).wait("p1", timeout=1)
    assert 0.95 < time.monotonic() - started < 2
    assert caught.value.prediction.status == "processing"
    assert len(server.requests) > 2
    assert not server.seen("cancel")


def test_many_waits_at_once(server):
    """Several predictions can be waited for in several threads, by one client."""
    server.script = answer(200, prediction("succeeded", output="x"))
    with Client(TOKEN, server.base_url) as client, ThreadPoolExecutor(5) as threads:
        waited = threads.map(client.predictions.wait, [f"p{n}" for n in range(5)])
        assert [one.output for one in waited] == ["x"] * 5
