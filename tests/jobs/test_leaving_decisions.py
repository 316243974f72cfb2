"""What the lifecycle decides when its caller leaves, in memory; `test_leaving` does it over sockets."""

import asyncio

import pytest
from support.memory_backends import (
    PROMPT,
    SAME,
    START,
    Breaking,
    MemoryBackends,
    MemoryService,
    call,
    do,
    lifecycle,
    records_of,
)

from rockai_transport.jobs.records import REFUSED, STARTED, UNANSWERED
from rockai_transport.jobs.running import AgentRun
from rockai_transport.jobs.stores import MemoryRecords


class Canceling(MemoryRecords):
    """Records during whose writing the caller is canceled."""

    def __init__(self, state):
        super().__init__()
        self.state = state
        self.backends = None

    async def put(self, record, **settings):
        if record.state == self.state:
            self.backends.canceled = True
        return await super().put(record, **settings)


def left_while_writing(state, tool="say", arguments=PROMPT, tools=None, **context):
    """Cancel a call while its record is written in this state."""
    records = Canceling(state)
    backends = records.backends = MemoryBackends(records=records).during(call=SAME, **context)
    with pytest.raises(asyncio.CancelledError) as left:
        do((tools or lifecycle()).answer(backends, backends.context, tool, arguments))
    return backends, left.value


@pytest.mark.parametrize("on_cancel", ["cancel", "leave"])
def test_who_leaves_while_the_record_is_written_starts_nothing(on_cancel):
    """The record says so, and the same call may be sent later."""
    backends, _ = left_while_writing(UNANSWERED, tools=lifecycle(on_cancel=on_cancel))
    assert not backends.predictions.calls
    (record,) = records_of(backends)
    assert (record.state, record.counts) == (REFUSED, False)
    assert "canceled before anything was sent" in record.note
    assert "succeeded" in call(MemoryBackends(records=backends.records), "say", PROMPT, call=SAME).text


@pytest.mark.parametrize(("tool", "arguments"), [("say", PROMPT), ("start_prediction", START)])
def test_who_leaves_while_a_start_is_on_its_way_ends_it(tool, arguments):
    """Once, and the record knows."""
    backends, _ = left_while_writing(STARTED, tool, arguments)
    assert backends.predictions.named("cancel") == ["p1"]
    assert [record.status for record in records_of(backends)] == ["canceled"]


def test_what_goes_on_is_told():
    """With on_cancel="leave" nothing is canceled; the exception says which prediction it is."""
    backends, error = left_while_writing(STARTED, tools=lifecycle(on_cancel="leave"))
    assert not backends.predictions.named("cancel")
    assert error.__notes__ == ["Prediction p1 goes on."]


class Interrupted(MemoryService):
    """Ctrl-C comes while a prediction is waited for."""

    async def wait(self, prediction_or_id, *, timeout, on_update):
        raise KeyboardInterrupt


def test_leaving_ends_the_whole_run():
    """What this run had started or waited for; never what another run has, of the same scope or not."""
    backends = MemoryBackends()
    backends.predictions.ends = {}
    earlier, run, tools = AgentRun(), AgentRun(), lifecycle(max_running=9)
    for prompt, runs in (("1", (earlier,)), ("2", (run,)), ("3", ()), ("4", ())):
        call(backends, "start_prediction", {**START, "input": {"prompt": prompt}}, tools, runs=runs)
    call(backends, "wait_for_prediction", {"prediction_id": "p3"}, tools, runs=(run,))
    call(backends, "get_prediction", {"prediction_id": "p4"}, tools, runs=(run,))  # it only looks
    interrupted = Interrupted()
    interrupted.predictions = backends.predictions.predictions
    backends.predictions = interrupted
    with pytest.raises(KeyboardInterrupt):
        call(backends, "say", PROMPT, tools, runs=(run,))
    assert sorted(interrupted.named("cancel")) == ["p2", "p3", "p5"]


class LeftAt(MemoryRecords):
    """Records during whose reading Ctrl-C comes, once it is due."""

    due = False

    async def all(self, scope):
        if self.due:
            raise KeyboardInterrupt
        return await super().all(scope)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_predictions", {}),
        ("cancel_prediction", {"prediction_id": "p1"}),
        ("get_prediction", {"prediction_id": "p1"}),
        ("say", PROMPT),
    ],
)
def test_leaving_any_tool_ends_the_run(tool, arguments):
    """Not only one that waits."""
    backends, run = MemoryBackends(records=LeftAt()), AgentRun()
    call(backends, "start_prediction", START, runs=(run,))
    backends.records.due = True
    with pytest.raises(KeyboardInterrupt):
        call(backends, tool, arguments, runs=(run,))
    assert backends.predictions.named("cancel") == ["p1"]


def test_an_allowed_prediction_is_not_ended():
    """It was not started here."""
    backends = MemoryBackends(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        call(backends, "wait_for_prediction", {"prediction_id": "z"}, lifecycle(is_allowed=lambda _: True))
    assert not backends.predictions.calls


def test_a_store_that_fails_while_leaving():
    """The prediction is canceled all the same."""
    backends = MemoryBackends(Interrupted(), Breaking(2))
    with pytest.raises(KeyboardInterrupt):
        call(backends, "say", PROMPT, runs=(AgentRun(),))
    assert backends.predictions.named("cancel") == ["p1"]
