"""Records in an SQLite file, which any number of processes may share.

Invariants of this module: a claim is one transaction, during which no other process writes: it checks the key
and the amount left of the budget against everything that others have written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal

from rockai_transport._forks import lock_across_forks
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.records import Record, what_is_left
from rockai_transport.jobs.stores import Call, Records

_WAITS = 10.0
"""Seconds that a transaction waits for another process."""
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
    """

    def __init__(self, path: str, call: Call) -> None:
        self._path = path
        self._call = call

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """As `Records.put`."""
        return await self._call(self._put, record, unless_held=unless_held)

    async def claim(self, record: Record, max_cost: Decimal | None = None) -> bool:
        """As `Records.claim`, across processes too."""
        return await self._call(self._put, record, unless_held=True, max_cost=max_cost)

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        return await self._call(self._read, "scope = coalesce(?, scope)", scope)

    async def find(self, place: str) -> Record | None:
        """As `Records.find`."""
        found = await self._call(self._read, "key = ?", place.partition(":")[2])
        return found[0] if found else None

    def _put(self, record: Record, *, unless_held: bool, max_cost: Decimal | None = None) -> bool:
        with self._opened() as connection:
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

    def _read(self, where: str, value: str | None) -> list[Record]:
        with self._opened() as connection:
            return _select(connection, where, value)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with (
                _in_use,
                closing(sqlite3.connect(self._path, timeout=_WAITS, isolation_level=None)) as connection,
                connection,
            ):
                connection.execute(_TABLE)
                yield connection
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"The store {self._path!r} cannot be used: {error}. It must be an SQLite file that this "
                "process may write to, on a disk with room, and that no other program keeps locked."
            ) from error


def _select(connection: sqlite3.Connection, where: str, value: str | None) -> list[Record]:
    query = f"SELECT record FROM rockai_predictions WHERE {where} ORDER BY created"  # noqa: S608 - our own
    return [Record.from_json(text) for (text,) in connection.execute(query, (value,))]
