"""When a tool call sleeps, in memory: what is written, what is looked at, what it says once it is woken."""

import asyncio

import pytest

from rockai_transport import APIConnectionError, ConfigurationError, Prediction
from rockai_transport.jobs.records import Record
from rockai_transport.jobs.running import AgentRun
from rockai_transport.jobs.stores import MemoryRecords
from tests.support.memory_backends import (
    PROMPT,
    SAME,
    START,
    MemoryBackends,
    MemoryService,
    call,
    do,
    lifecycle,
    records_of,
)

URL = "https://my.app/rockai"
TOOLS = lifecycle(max_wait=5.0, webhook_url=URL)


@pytest.fixture
def backends():
    """A service whose predictions go on until a test ends them; a call can be suspended."""
    made = MemoryBackends()
    made.predictions.ends = {"status": "processing"}
    return made.during(thread="t", call=SAME)


def end(backends, **changes):
    """Let the service's only prediction end."""
    ended = Prediction(id="p1", raw={}, **{"status": "succeeded", "output": "x", **changes})
    backends.predictions.predictions["p1"] = ended


def test_a_call_that_waits_for_longer_sleeps(backends):
    """It has looked for five seconds; the record says since when, and which thread is resumed."""
    answer = call(backends, "say", PROMPT, TOOLS)
    assert answer.sleeps
    assert answer.result.id == "p1"
    assert backends.predictions.named("wait") == [("p1", 5.0)]
    (record,) = records_of(backends)
    assert (record.asleep, record.thread, record.is_awaited) == (1000.0, "t", True)


def test_woken_it_says_what_it_would_have_said(backends):
    """Nothing is started again, it looks once, and nobody sleeps any more."""
    asleep = call(backends, "say", PROMPT, TOOLS)
    end(backends)
    answer = call(backends, "say", PROMPT, TOOLS)
    assert asleep.sleeps
    assert not answer.sleeps
    assert answer.text == "Prediction p1 (say) succeeded.\nOutput: x"
    assert len(backends.predictions.named("create")) == 1
    (record,) = records_of(backends)
    assert (record.asleep, record.status, record.is_awaited) == (None, "succeeded", False)


def test_woken_too_early_it_sleeps_again(backends):
    """As after an end of another prediction in the same node: it looks, without waiting."""
    call(backends, "say", PROMPT, TOOLS)
    waited = len(backends.predictions.named("wait"))
    backends.moment = 2000.0
    assert call(backends, "say", PROMPT, TOOLS).sleeps
    assert len(backends.predictions.named("wait")) == waited
    assert len(backends.predictions.named("create")) == 1


class EndsMeanwhile(MemoryRecords):
    """A prediction ends, and its webhook comes, at the moment when it is written that an agent sleeps."""

    def __init__(self):
        super().__init__()
        self.on_sleep = lambda: None

    async def put(self, record, **settings):
        is_written = await super().put(record, **settings)
        if record.asleep:
            self.on_sleep()
        return is_written


def test_an_end_before_it_sleeps_is_seen():
    """The last look comes after the record: no delivery is lost in between."""
    records = EndsMeanwhile()
    backends = MemoryBackends(MemoryService(), records).during(thread="t", call=SAME)
    backends.predictions.ends = {"status": "processing"}
    records.on_sleep = lambda: end(backends)
    answer = call(backends, "say", PROMPT, TOOLS)
    assert not answer.sleeps
    assert "succeeded" in answer.text
    assert records_of(backends)[0].asleep is None


def test_who_leaves_while_falling_asleep_is_told_of_nothing():
    """Its prediction is canceled; no sweep finds somebody who sleeps for that."""
    records = EndsMeanwhile()
    backends = MemoryBackends(MemoryService(), records).during(thread="t", call=SAME)
    backends.predictions.ends = {"status": "processing"}
    calls = backends.during()
    records.on_sleep = lambda: setattr(calls, "canceled", True)
    with pytest.raises(asyncio.CancelledError):
        do(TOOLS.answer(calls, calls.context, "say", PROMPT))
    (record,) = records_of(backends)
    assert (record.status, record.asleep, record.is_awaited) == ("canceled", None, False)


def test_a_last_look_that_fails_is_no_reason_to_stay_awake(backends):
    """The webhook tells of the end."""
    call(backends, "start_prediction", START, TOOLS)

    async def fails(prediction_id):
        raise APIConnectionError("gone")

    backends.predictions.get = fails
    assert call(backends, "wait_for_prediction", {"prediction_id": "p1"}, TOOLS).sleeps


@pytest.mark.parametrize("failure", [OSError("the disk is full"), ConfigurationError("the disk is full")])
def test_who_cannot_write_it_down_does_not_sleep(backends, caplog, failure):
    """Nobody would know whom to wake: it answers with the id."""

    class Forgetful(MemoryRecords):
        async def put(self, record, **settings):
            if record.asleep:
                raise failure
            return await super().put(record, **settings)

    backends = MemoryBackends(backends.predictions, Forgetful()).during(thread="t", call=SAME)
    answer = call(backends, "say", PROMPT, TOOLS)
    assert not answer.sleeps
    assert "is still processing" in answer.text
    assert "could not be written, so its agent does not sleep" in caplog.text


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("start_prediction", START),
        ("get_prediction", {"prediction_id": "p1"}),
        ("wait_for_prediction", {"prediction_id": "p1", "timeout": 1}),
        ("list_predictions", {}),
    ],
)
def test_what_does_not_wait_for_long_does_not_sleep(backends, tool, arguments):
    """A start, a look, a list, and a wait that the agent wants to be short."""
    call(backends, "start_prediction", START, TOOLS)
    assert not call(backends, tool, arguments, TOOLS).sleeps


@pytest.mark.parametrize(("thread", "url"), [("", URL), ("t", None)])
def test_without_a_thread_or_a_webhook_it_waits(backends, thread, url):
    """As long as it may, and answers with the id."""
    answer = call(backends, "say", PROMPT, lifecycle(max_wait=60.0, webhook_url=url), thread=thread)
    assert not answer.sleeps
    assert backends.predictions.named("wait")[0][1] > 50


def test_what_sleeps_does_not_end_with_its_run(backends):
    """The run has nothing under way any more."""
    run = AgentRun()
    assert call(backends, "say", PROMPT, TOOLS, runs=(run,)).sleeps
    assert run.take() == []


def test_a_look_does_not_wake_who_sleeps(backends):
    """An agent that looks at what another call sleeps for leaves it asleep, however it stands."""
    call(backends, "say", PROMPT, TOOLS)
    end(backends)
    call(backends, "get_prediction", {"prediction_id": "p1"}, TOOLS, call=("task", "other"))
    (record,) = records_of(backends)
    assert record.status == "succeeded"
    assert record.is_awaited


def test_without_a_webhook_nothing_is_sent_of_one(backends):
    """As before."""
    call(backends, "say", PROMPT, lifecycle())
    assert backends.predictions.webhooks == [{}]


def test_a_record_of_an_earlier_version_is_read():
    """It had no webhook, and nobody sleeps."""
    old = {"key": "k", "scope": "s", "model": "say", "digest": "d", "created": 1.0, "state": "started"}
    assert not Record.from_json(old).is_awaited


def test_an_end_that_is_seen_while_another_call_falls_asleep(backends):
    """A look that was on its way meanwhile does not write over it: who sleeps is still to be told."""
    call(backends, "start_prediction", START, TOOLS)
    looks = backends.predictions.get
    slept = []

    async def get(prediction_id):
        backends.predictions.get = looks
        slept.append(call(backends, "wait_for_prediction", {"prediction_id": "p1"}, TOOLS).sleeps)
        end(backends)
        return await looks(prediction_id)

    backends.predictions.get = get
    assert "succeeded" in call(backends, "get_prediction", {"prediction_id": "p1"}, TOOLS).text
    assert slept == [True]
    (record,) = records_of(backends)
    assert record.status == "succeeded"
    assert record.is_awaited


def test_another_thread_waits_itself_for_what_one_sleeps_for(backends):
    """A record wakes one thread: the first stays to be told, also of an end that the other has seen."""
    assert call(backends, "say", PROMPT, TOOLS).sleeps
    wait = {"prediction_id": "p1"}
    other = call(backends, "wait_for_prediction", wait, TOOLS, thread="u", call=("u", "1"))
    assert not other.sleeps
    backends.predictions.ends = {"status": "succeeded", "output": "x"}
    assert "succeeded" in call(backends, "wait_for_prediction", wait, TOOLS, thread="u").text
    (record,) = records_of(backends)
    assert (record.thread, record.asleep, record.is_awaited) == ("t", 1000.0, True)


def test_the_same_call_takes_the_place_of_one_that_slept_elsewhere(backends):
    """As after a crash before what slept was saved: the new one is woken."""
    assert call(backends, "say", PROMPT, TOOLS).sleeps
    assert call(backends, "say", PROMPT, TOOLS, thread="u").sleeps
    assert len(backends.predictions.named("create")) == 1
    (record,) = records_of(backends)
    assert (record.thread, record.is_awaited) == ("u", True)
