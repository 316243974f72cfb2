"""An agent run's predictions, the running tool calls of this process, and polling and canceling predictions.

Invariants of this module:

* Of a run, only predictions that may be running are kept. Whoever takes predictions out of a run cancels
  them; nobody else does.
* A start is listed from before the records are read until it has a response: of concurrent calls, each sees
  the earlier ones, in a record or here.
* Each response about a prediction is recorded; a record whose prediction cannot be fetched does not change,
  except that one which the service does not know any more does not count as running.
* Polling and canceling several predictions at once takes two seconds at most.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from rockai_transport._forks import lock_across_forks
from rockai_transport.jobs.backends import Backends
from rockai_transport.jobs.records import GONE, UNANSWERED, Record
from rockai_transport.jobs.stores import Store, place_of
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.responses import is_gone

logger = logging.getLogger("rockai")

_MOST_RUNS = 4096
"""Maximum number of runs that a registry remembers."""
_registering = lock_across_forks()


class AgentRun:
    """The running predictions of one run of an agent, as far as this process knows."""

    def __init__(self) -> None:
        self._under_way: dict[str | None, tuple[Store, Record]] = {}

    def __contains__(self, prediction_id: str | None) -> bool:
        return prediction_id in self._under_way

    def note(self, store: Store, record: Record) -> None:
        """Record the status of a prediction that this run has started or waited for."""
        if record.is_running:
            self._under_way[record.prediction_id] = (store, record)
        else:
            self._under_way.pop(record.prediction_id, None)

    def forget(self, prediction_id: str) -> None:
        """Let a prediction continue after the run, however the run ends."""
        self._under_way.pop(prediction_id, None)

    def take(self, kept: Collection[str] = ()) -> list[tuple[Store, Record]]:
        """Take out the running predictions to cancel them, except those in ``kept``."""
        ids = [one for one in tuple(self._under_way) if one not in kept]
        return [found for one in ids if (found := self._under_way.pop(one, None))]


class PendingStart(Protocol):
    """A start without a response so far."""

    was_left: bool
    """Whether its run has ended: then it is canceled once its id is known."""
    is_late: bool
    """Whether its call has ended without a response: then no equal request is sent."""
    record: Record


class ToolCallsUnderWay:
    """The starts and waits of one toolset's tool calls in this process."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        """The ids of the predictions that are being waited for."""
        self.starting: dict[PendingStart, tuple[AgentRun, ...]] = {}
        """The starts without a response, in their order, and the runs that each is part of."""
        self.unwritten: dict[str, Record] = {}
        """The records of predictions whose ids the store could not write: there they are still unknown."""

    def ahead_of(self, start: PendingStart) -> dict[str, bool]:
        """Return the keys of earlier starts in its scope, and whether each is late.

        They count before they are in any record.
        """
        starts, ahead = tuple(self.starting), dict[str, bool]()
        for one in starts[: starts.index(start)]:
            if one.record.scope == start.record.scope:
                ahead[one.record.key] = one.is_late
        return ahead

    def with_ids(self, records: Iterable[Record]) -> list[Record]:
        """Return the records of a store, with the ids that could not be written."""
        known = [(one, self.unwritten.get(one.key, one)) for one in records]
        return [mine if one.state == UNANSWERED and mine.nonce == one.nonce else one for one, mine in known]

    def leave(self, runs: Iterable[AgentRun]) -> None:
        """Mark the pending starts of ended runs, so that they are canceled once their ids are known."""
        for start, its_runs in tuple(self.starting.items()):
            start.was_left |= not set(its_runs).isdisjoint(runs)

    def leave_scope(self, scope: str | None) -> None:
        """As `leave`, for the pending starts of a scope; None: of all."""
        for one in tuple(self.starting):
            one.was_left |= scope in (None, one.record.scope)


class RunRegistry:
    """The runs of a process, by the framework's identity for a run: an object or an id."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Any, tuple[Any, AgentRun]] = OrderedDict()

    def find(self, identity: Any) -> AgentRun:
        """Return the run for an object (by identity) or an id; drop the least recently used one if full."""
        key = identity if isinstance(identity, str) else id(identity)
        with _registering:
            _, run = self._runs.pop(key, (identity, AgentRun()))
            self._runs[key] = (identity, run)  # keeps the object, so that no other gets its id()
            if len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
        return run


class Block(NamedTuple):
    """A block of code that leaves nothing running."""

    owner: Any
    """The toolset whose predictions it cancels."""
    scope: str | None
    run: AgentRun


open_blocks: ContextVar[tuple[Block, ...]] = ContextVar("rockai_open_blocks", default=())
"""The blocks that the running code is in."""


async def note(
    backends: Backends,
    record: Record,
    *,
    may_sleep: bool = True,
    unwritten: MutableMapping[str, Record] | None = None,
) -> Record:
    """Write an updated record; a failure is only logged, because the tool's answer matters more.

    What could not be written is kept in ``unwritten``. What was started elsewhere has no key, and no record.

    If an agent may sleep, the field about it is kept as stored: the agent may have fallen asleep during the
    poll. Without a webhook, no agent sleeps.
    """
    if not record.key:
        return record
    try:
        if record.webhook_hash:
            kept = await backends.records.find(place_of(record)) or record
            record = record._replace(asleep=kept.asleep if may_sleep else None, thread=kept.thread)
        await backends.records.put(record)
    except Exception:
        logger.exception("The record of prediction %s could not be written.", record.prediction_id)
        if unwritten is not None:
            unwritten[record.key] = record
    return record


async def refresh(
    backends: Backends, records: Sequence[Record], within: float = CANCEL_GRACE_SECONDS
) -> list[Record]:
    """Poll all running predictions; the record of one that cannot be fetched does not change."""
    ids = [record.prediction_id for record in records if record.is_running and record.prediction_id]
    polled = await backends.together([backends.predictions.get(one) for one in ids], within)
    found: dict[str | None, Any] = dict(zip(ids, polled, strict=True))
    fresh = list(records)
    for index, record in enumerate(records):
        current = found.get(record.prediction_id)
        if isinstance(current, Prediction):
            fresh[index] = await backends.detached(note(backends, record.seen(current)))
        elif is_gone(current):
            fresh[index] = record._replace(status=GONE)
    return fresh


async def cancel_all(
    backends: Backends, records: Sequence[Record], *, may_sleep: bool = True
) -> list[Record]:
    """Cancel the running predictions; return the updated records of those that were canceled."""
    running = [record for record in records if record.is_running and record.prediction_id]
    results = await backends.together([backends.predictions.cancel(record.known) for record in running])
    ended = []
    for record, result in zip(running, results, strict=True):
        if isinstance(result, Prediction):
            ended.append(await note(backends, record.seen(result), may_sleep=may_sleep))
        else:
            logger.warning("Prediction %s could not be canceled: %r", record.prediction_id, result)
    return ended
