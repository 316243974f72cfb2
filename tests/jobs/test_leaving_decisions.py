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
from rockai_transport.jobs.stores import MemoryRecords


class Canceling(MemoryRecords):
    """Records during whose writing the caller is canceled."""

    def __init__(self, state):
        super().__init__()
        self.state = state
        self.backends = None

    async def put(self, record):
        await super().put(record)
        if record.state == self.state:
            self.backends.canceled = True


def left_while_writing(state, tool="say", arguments=PROMPT, tools=None, **context):
    """Cancel a call while its record is written in this state."""
    records = Canceling(state)
    backends = records.backends = MemoryBackends(records=records).during(call=SAME, **context)
    with pytest.raises(asyncio.CancelledError) as left:
        do((tools or lifecycle()).answer(backends, tool, arguments))
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


@pytest.mark.parametrize(("is_one_run", "canceled"), [(True, ["p2", "p1"]), (False, ["p2"])])
def test_leaving_ends_the_whole_run(is_one_run, canceled):
    """What else runs in the same conversation, if the scope is one; never what another one has."""
    backends = MemoryBackends(Interrupted())
    call(backends, "start_prediction", START)
    with pytest.raises(KeyboardInterrupt):
        call(backends, "say", PROMPT, is_one_run=is_one_run)
    assert backends.predictions.named("cancel") == canceled
    call(backends, "start_prediction", START, scope="elsewhere")
    with pytest.raises(KeyboardInterrupt):
        call(backends, "say", PROMPT, is_one_run=is_one_run)
    assert "p3" not in backends.predictions.named("cancel")


def test_an_allowed_prediction_is_not_ended():
    """It was not started here."""
    backends = MemoryBackends(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        call(backends, "wait_for_prediction", {"prediction_id": "z"}, lifecycle(is_allowed=lambda _: True))
    assert not backends.predictions.calls


def test_a_store_that_fails_while_leaving():
    """The prediction is canceled all the same."""
    records = Breaking(2)
    backends = MemoryBackends(Interrupted(), records)

    class Failing(Interrupted):
        async def wait(self, prediction_or_id, *, timeout, on_update):
            records.lists = False
            await super().wait(prediction_or_id, timeout=timeout, on_update=on_update)

    backends.predictions = Failing()
    with pytest.raises(KeyboardInterrupt):
        call(backends, "say", PROMPT, is_one_run=True)
    assert backends.predictions.named("cancel") == ["p1"]
