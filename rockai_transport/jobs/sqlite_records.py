"""Records in an SQLite file, which any number of processes may share.

Invariants of this module: a claim is one transaction, during which no other process writes: it checks the key
and the amount left of the budget against everything that others have written.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from functools import partial
from typing import TypeVar

from rockai_transport._forks import lock_across_forks
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.records import Record, what_is_left
from rockai_transport.jobs.stores import Call, Pause, Records, sleep_here

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_WAITS = 10.0
"""Seconds for which the work waits if another process keeps the file locked."""
_WAITS_AT_ONCE = 0.05
"""Seconds of these for which one attempt waits: the stores in other files, and a fork, wait for it."""
_PAUSE = 0.05
"""Seconds between two attempts."""
_in_use = lock_across_forks()
"""SQLite notes in memory what it has locked: a child forked meanwhile could never write to the file."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS rockai_predictions "
    "(key TEXT PRIMARY KEY, scope TEXT NOT NULL, created REAL NOT NULL, record TEXT NOT NULL)"
)


class SqliteRecords(Records):
    """`Records` in a file.

    Args:
        path: The file; created if it does not exist.
        call: Calls a function that uses it: directly, or in a thread.
        sleep: Waits between two attempts.
    """

    def __init__(self, path: str, call: Call, sleep: Pause = sleep_here) -> None:
        self._path = path
        self._call = call
        self._sleep = sleep

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """As `Records.put`."""
        return await self._do(partial(_put, record=record, unless_held=unless_held))

    async def claim(self, record: Record, max_cost: Decimal | None = None) -> bool:
        """As `Records.claim`, across processes too."""
        return await self._do(partial(_put, record=record, unless_held=True, max_cost=max_cost))

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        return await self._do(partial(_select, where="scope = coalesce(?, scope)", value=scope))

    async def find(self, place: str) -> Record | None:
        """As `Records.find`."""
        found = await self._do(partial(_select, where="key = ?", value=place.partition(":")[2]))
        return found[0] if found else None

    async def _do(self, work: Work[T]) -> T:
        """Do work in the file; as long as another process keeps it locked, try again."""
        give_up = time.monotonic() + _WAITS
        while True:
            try:
                return await self._call(self._attempt, work)
            except sqlite3.Error as error:
                if "database is locked" not in str(error) or time.monotonic() >= give_up:
                    raise ConfigurationError(
                        f"The store {self._path!r} cannot be used: {error}. It must be an SQLite file that "
                        "this process may write to, on a disk with room, and that no other program keeps "
                        "locked."
                    ) from error
            await self._sleep(_PAUSE)

    def _attempt(self, work: Work[T]) -> T:
        with _in_use:
            connected = sqlite3.connect(self._path, timeout=_WAITS_AT_ONCE, isolation_level=None)
            with closing(connected) as connection, connection:
                connection.execute(_TABLE)
                return work(connection)


def _put(
    connection: sqlite3.Connection, *, record: Record, unless_held: bool, max_cost: Decimal | None = None
) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    if unless_held:
        others = {one.key: one for one in _select(connection, "scope = ?", record.scope)}
        held = others.pop(record.key, None)
        if held is not None and held.holds_its_key:
            return False
        if max_cost is not None and what_is_left(max_cost, others.values()) < (record.cost or 0):
            return False
    row = (record.key, record.scope, record.created, json.dumps(record.to_json()))
    connection.execute("REPLACE INTO rockai_predictions VALUES (?, ?, ?, ?)", row)
    return True


def _select(connection: sqlite3.Connection, where: str, value: str | None) -> list[Record]:
    query = f"SELECT record FROM rockai_predictions WHERE {where} ORDER BY created"  # noqa: S608 - our own
    return [Record.from_json(text) for (text,) in connection.execute(query, (value,))]
