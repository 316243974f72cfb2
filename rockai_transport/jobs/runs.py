"""The running predictions of an agent's run, and the running tool calls of this process.

Invariants of this module: of a run, only predictions that may be running are kept. Whoever takes predictions
out of a run cancels them; nobody else does. A start is listed from before the records are read until it has
a response: of concurrent calls, each sees the earlier ones, in a record or here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from rockai_transport.jobs.records import UNANSWERED, Record

_MOST_RUNS = 4096


class UnderWay(NamedTuple):
    """A prediction that may be running, and the store that holds its record."""

    store: Any
    record: Record


class AgentRun:
    """The running predictions of one run of an agent, as far as this process knows."""

    def __init__(self) -> None:
        self._under_way: dict[str | None, UnderWay] = {}

    def __contains__(self, prediction_id: str | None) -> bool:
        return prediction_id in self._under_way

    def note(self, store: Any, record: Record) -> None:
        """Record the status of a prediction that this run has started or waited for."""
        if record.is_running:
            self._under_way[record.prediction_id] = UnderWay(store, record)
        else:
            self._under_way.pop(record.prediction_id, None)

    def forget(self, prediction_id: str) -> None:
        """Let a prediction continue after the run, however the run ends."""
        self._under_way.pop(prediction_id, None)

    def take(self, besides: Collection[str] = ()) -> list[UnderWay]:
        """Take out the running predictions to cancel them, except those in ``besides``."""
        ids = [one for one in tuple(self._under_way) if one not in besides]
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
        self._lock = threading.Lock()

    def find(self, identity: Any) -> AgentRun:
        """Return the run for an object (by identity) or an id; drop the least recently used one if full."""
        key = identity if isinstance(identity, str) else id(identity)
        with self._lock:
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
