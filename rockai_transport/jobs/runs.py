"""What is under way: in one run of an agent, which it ends with, and in the tool calls of this process.

Invariants of this module: only predictions that may be running are kept, and nothing else of a run. What is
taken out of it is ended by who took it, and by nobody else. A start is listed before the records are read,
and until it has an answer: of calls side by side, each sees those that came before it, in a record or here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from rockai_transport.jobs.records import Record

__all__ = ["AgentRun", "Block", "RunRegistry", "ToolCallsUnderWay", "UnderWay", "open_blocks"]

_MOST_RUNS = 4096


class UnderWay(NamedTuple):
    """A prediction that may be running, and the store that holds its record."""

    store: Any
    record: Record


class AgentRun:
    """What one run of an agent has under way, as far as this process knows."""

    def __init__(self) -> None:
        self._under_way: dict[str, UnderWay] = {}

    def __contains__(self, prediction_id: str | None) -> bool:
        return prediction_id in self._under_way

    def note(self, store: Any, record: Record) -> None:
        """Note how a prediction stands that this run has started or waited for."""
        if record.prediction_id is None:
            return
        if record.is_running:
            self._under_way[record.prediction_id] = UnderWay(store, record)
        else:
            self._under_way.pop(record.prediction_id, None)

    def forget(self, prediction_id: str) -> None:
        """Let a prediction go on after the run, however that ends."""
        self._under_way.pop(prediction_id, None)

    def take(self, besides: Collection[str] = ()) -> list[UnderWay]:
        """Take out what is under way, to end it; without what somebody else sees to."""
        ids = [one for one in tuple(self._under_way) if one not in besides]
        return [found for one in ids if (found := self._under_way.pop(one, None))]


class PendingStart(Protocol):
    """A start that has no answer yet."""

    was_left: bool
    """Whether its run has ended meanwhile: it is canceled once its id is known."""
    runs: tuple[AgentRun, ...]
    """The runs that it is part of."""
    record: Record


class ToolCallsUnderWay:
    """The starts and waits of one toolset's tool calls in this process."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        """The ids of the predictions that are being waited for."""
        self.starting: dict[PendingStart, None] = {}
        """The starts that have no answer yet, in the order in which they came."""

    def ahead_of(self, start: PendingStart) -> set[str]:
        """The keys of those of its scope that came before: they count before they are in any record."""
        starts, ahead = tuple(self.starting), set()
        for one in starts[: starts.index(start)]:
            if one.record.scope == start.record.scope:
                ahead.add(one.record.key)
        return ahead

    def leave(self, runs: Iterable[AgentRun]) -> None:
        """Runs have ended: what they are starting is canceled once its id is known."""
        for one in tuple(self.starting):
            one.was_left |= not set(one.runs).isdisjoint(runs)


class RunRegistry:
    """The runs of a process, by what a framework knows them by: an object of its own, or an id."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Any, tuple[Any, AgentRun]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, identity: Any) -> AgentRun:
        """The run of an object, by its identity, or of an id; the one unused for longest makes room."""
        key = identity if isinstance(identity, str) else id(identity)
        with self._lock:
            _, run = self._runs.pop(key, (identity, AgentRun()))
            self._runs[key] = (identity, run)  # the object is kept: another may not get its identity
            if len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
        return run


class Block(NamedTuple):
    """A block of code that leaves nothing running."""

    owner: Any
    """The toolset whose predictions it is about."""
    scope: str | None
    run: AgentRun


open_blocks: ContextVar[tuple[Block, ...]] = ContextVar("rockai_open_blocks", default=())
"""The blocks that the running code is in."""
