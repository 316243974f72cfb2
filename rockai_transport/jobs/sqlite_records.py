"""Records in an SQLite file, which any number of processes may share.

Invariants of this module: a claim is one statement, which SQLite carries out alone: it holds the key, and
what is left of the budget, against all that other processes have written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

from rockai_transport.jobs.budget import left_of, total
from rockai_transport.jobs.records import Record
from rockai_transport.jobs.stores import Records

__all__ = ["SqliteRecords"]

_WAITS = 10.0
"""Seconds that a statement waits for another process."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS rockai_predictions (key TEXT PRIMARY KEY, scope TEXT NOT NULL, "
    "created REAL NOT NULL, counts INTEGER NOT NULL, cost TEXT NOT NULL, record TEXT NOT NULL)"
)
_PUT = (
    "INSERT INTO rockai_predictions SELECT :key, :scope, :created, :counts, :cost, :record "
    "WHERE {when} ON CONFLICT (key) DO UPDATE SET created = excluded.created, counts = excluded.counts, "
    "cost = excluded.cost, record = excluded.record{unless}"
)
_ALWAYS = _PUT.format(when="true", unless="")
_CLAIM = _PUT.format(
    when=(
        ":max_cost IS NULL OR is_enough(:max_cost, :cost, "
        "coalesce((SELECT exact_sum(cost) FROM rockai_predictions "
        "WHERE scope = :scope AND counts AND key != :key), '0'))"
    ),
    unless=" WHERE NOT rockai_predictions.counts",
)
_ONE = "SELECT record FROM rockai_predictions WHERE key = :key"
_ALL = "SELECT record FROM rockai_predictions WHERE :scope IS NULL OR scope = :scope ORDER BY created"


class _ExactSum:
    """SQLite's own ``sum`` is of floats."""

    def __init__(self) -> None:
        self._amounts: list[Decimal] = []

    def step(self, text: str) -> None:
        self._amounts.append(Decimal(text))

    def finalize(self) -> str:
        return str(total(self._amounts))


class SqliteRecords(Records):
    """`Records` in a file.

    Args:
        path: The file; made where there is none.
        call: Calls a function that uses it: directly, or in a thread.
    """

    def __init__(self, path: str, call: Callable[..., Awaitable[Any]]) -> None:
        self._path = path
        self._call = call

    async def put(self, record: Record) -> None:
        """As `Records.put`."""
        await self._call(self._execute, _ALWAYS, _row(record))

    async def claim(self, record: Record, max_cost: Decimal | None = None) -> bool:
        """As `Records.claim`, across processes too."""
        row = {**_row(record), "max_cost": None if max_cost is None else str(max_cost)}
        _, written = await self._call(self._execute, _CLAIM, row)
        return bool(written == 1)

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        found, _ = await self._call(self._execute, _ALL, {"scope": scope})
        return [Record.from_json(json.loads(text)) for (text,) in found]

    async def find(self, place: str) -> Record | None:
        """As `Records.find`."""
        found, _ = await self._call(self._execute, _ONE, {"key": place.partition(":")[2]})
        return Record.from_json(json.loads(found[0][0])) if found else None

    def _execute(self, statement: str, values: dict[str, Any]) -> tuple[list[Any], int]:
        with closing(sqlite3.connect(self._path, timeout=_WAITS)) as connection, connection:
            connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
            connection.create_function("is_enough", 3, _is_enough)
            connection.execute(_TABLE)
            cursor = connection.execute(statement, values)
            return cursor.fetchall(), cursor.rowcount


def _is_enough(max_cost: str, cost: str, spent: str) -> bool:
    return left_of(Decimal(max_cost), Decimal(spent)) >= Decimal(cost)


def _row(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "scope": record.scope,
        "created": record.created,
        "counts": record.holds_its_key,  # what is no start costs nothing
        "cost": str(record.cost or 0),
        "record": json.dumps(record.to_json()),
    }
