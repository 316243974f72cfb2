"""Stores for records: the process, a mapping, a LangGraph store, a LlamaIndex Context.

Invariants of this module: a store is recognized only by its methods, and neither framework is imported.
`Records` for blocking calls never suspend. If several workers claim a key at the same moment, one gets it.
This is exact in this process, a dict, an `InMemoryStore` and a Context. Elsewhere a claim is written and read
back, and a worker that pauses between its read and its write for longer than `_SETTLES` can get the key too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

from rockai_transport._forks import lock_across_forks
from rockai_transport.errors import ConfigurationError
from rockai_transport.io.detached import directly, to_thread
from rockai_transport.jobs.records import Record

_NAMESPACE = ("rockai", "predictions")
"""The namespace of records in a LangGraph store."""
_PREFIX = "rockai-prediction"
_PAGE = 100
"""Number of records that one search of a LangGraph store returns."""
_SETTLES = 0.2
"""Seconds between writing a claim and reading it back: workers that read before have written by then."""
_IN_MEMORY = ("langgraph.store.memory", "InMemoryStore")
_in_memory = lock_across_forks()
"""Held while a store that lives in this process is used; its operations are fast."""

_mapping_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""The lock of each mapping in use, by its id: a toolkit and a `WebhookReceiver` may share the mapping."""

P = ParamSpec("P")
T = TypeVar("T")
OpenMapping = Callable[[], AbstractContextManager[MutableMapping[str, str]]]
Pause = Callable[[float], Awaitable[None]]
Method = Callable[..., Awaitable[Any]]  # of a LangGraph store


class Call(Protocol):
    """Calls a function that may block: directly, or in a thread."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it."""
        ...


class Records:
    """The interface to a store: each kind of store implements `put` and `all`."""

    _pause: Pause | None = None
    """Waits before a claim is read back; None: a written claim is final."""

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """Write a record; it must be durable when this returns, as far as the store is durable.

        Args:
            record: The record to write.
            unless_held: Do not overwrite the record of another start that holds the key.

        Returns:
            Whether it was written.
        """
        raise NotImplementedError

    async def claim(self, record: Record, max_cost: Decimal | None = None) -> bool:  # noqa: ARG002
        """Write the record of a start unless another start holds its key; return whether it was written.

        A store with compare-and-set also checks the budget. For others, one call of a process runs at a time.
        """
        is_written = await self.put(record, unless_held=True)
        if self._pause is None or not is_written:
            return is_written
        await self._pause(_SETTLES)
        written = await self.find(place_of(record))
        return written is not None and written.nonce == record.nonce

    async def all(self, scope: str | None) -> list[Record]:
        """Return the records of a scope, oldest first; None: of all scopes."""
        raise NotImplementedError

    async def find(self, place: str) -> Record | None:
        """Return the record at a place from `place_of`; None: there is none."""
        return next((record for record in await self.all(None) if place_of(record) == place), None)


class MemoryRecords(Records):
    """Records in this process's memory. They never suspend, so blocking calls can use them too."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, Record]] = {}

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """As `Records.put`."""
        with _in_memory:
            found = self._scopes.setdefault(record.scope, {})
            if unless_held and (held := found.get(record.key)) is not None and held.holds_its_key:
                return False
            found[record.key] = record
        return True

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        scopes = list(self._scopes.values()) if scope is None else [self._scopes.get(scope, {})]
        return sorted(chain.from_iterable(map(dict.values, scopes)), key=attrgetter("created"))


class MirroredRecords(Records):
    """Records in a conversation's own store, copied to this process, so that a receipt needs no store.

    Reads use the store, because another process may have written to it.
    """

    def __init__(self, store: Records, mirror: Records) -> None:
        self._store = store
        self._mirror = mirror
        self.all, self.find = store.all, store.find  # type: ignore[method-assign]

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """Write to both: a claim to the store first, and what is known to this process even if that fails."""
        if unless_held:
            return await self._store.put(record, unless_held=True) and await self._mirror.put(record)
        await self._mirror.put(record)
        return await self._store.put(record)

    async def claim(self, record: Record, max_cost: Decimal | None = None) -> bool:
        """Claim it in the store, and write it to both."""
        return await self._store.claim(record, max_cost) and await self._mirror.put(record)


class ContextRecords(Records):
    """Records in the store of a LlamaIndex ``Context``, saved and restored with it. With ``await`` only."""

    def __init__(self, context: Any) -> None:
        self._store = context.store

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """Write it, concurrently with other calls."""
        async with self._store.edit_state() as state:
            kept = state.get(_PREFIX, {})
            if unless_held and _is_held(kept.get(record.key)):
                return False
            state[_PREFIX] = {**kept, record.key: record.to_json()}
        return True

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        data = await self._store.get(_PREFIX, default={})
        return [record for record in _sorted(data.values()) if scope in (None, record.scope)]


class MappingRecords(Records):
    """Records in a mapping from strings to strings: a dict, a `shelve`, a mapping over a database.

    Args:
        opened: Opens the mapping for one use.
        lock: Held by everything that shares the mapping while it is used.
        call: Calls a function that uses it: directly, or in a thread.
        pause: Waits before a claim is read back; None: the lock is enough.
    """

    def __init__(
        self, opened: OpenMapping, lock: AbstractContextManager[Any], call: Call, pause: Pause | None = None
    ) -> None:
        self._opened = opened
        self._lock = lock
        self._call = call
        self._pause = pause

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """Write it; a `shelve` is synced."""
        return await self._call(self._set, record, unless_held=unless_held)

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        prefix = f"{_PREFIX}:" if scope is None else f"{_PREFIX}:{_hashed(scope)}:"
        return _sorted(await self._call(self._read, prefix))

    async def find(self, place: str) -> Record | None:
        """As `Records.find`."""
        data = await self._call(self._get, f"{_PREFIX}:{place}")
        return None if data is None else Record.from_json(data)

    def _set(self, record: Record, *, unless_held: bool) -> bool:
        name, text = f"{_PREFIX}:{place_of(record)}", json.dumps(record.to_json())
        with self._lock, self._opened() as mapping:
            if unless_held and name in mapping and _is_held(mapping[name]):
                return False
            mapping[name] = text
            if callable(sync := getattr(mapping, "sync", None)):
                sync()
        return True

    def _get(self, name: str) -> Any:
        with self._lock, self._opened() as mapping:
            return mapping.get(name)

    def _read(self, prefix: str) -> list[str]:
        with self._lock, self._opened() as mapping:
            return [mapping[name] for name in list(mapping) if str(name).startswith(prefix)]


@dataclass(eq=False)
class GraphRecords(Records):
    """Records in a LangGraph ``BaseStore``, which has no compare-and-set."""

    _put: Method
    """The store's ``put``, awaited; likewise the next two."""
    _get: Method
    _search: Method
    _pause: Pause | None
    """As in `MappingRecords`."""
    _lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
    """Held from the read to the write of a claim."""

    async def put(self, record: Record, *, unless_held: bool = False) -> bool:
        """Write it without an index: records are not searched by meaning, and embeddings cost money."""
        place = (_namespace(record.scope), record.key)
        with self._lock:
            held = await self._get(*place) if unless_held else None
            if held is not None and _is_held(held.value):
                return False
            await self._put(*place, record.to_json(), index=False)
        return True

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        items: list[Any] = []
        while True:
            page = await self._search(_namespace(scope), limit=_PAGE, offset=len(items))
            items += page
            if len(page) < _PAGE:
                found = {(one.namespace, one.key): one.value for one in items}
                # Others may write between two pages: then one record is read twice, and another not at all.
                return _sorted(found.values()) if len(found) == len(items) else await self.all(scope)

    async def find(self, place: str) -> Record | None:
        """As `Records.find`."""
        scope, _, key = place.partition(":")
        if not (scope and key) or "." in scope:  # not one of our places: LangGraph refuses such a label
            return None
        item = await self._get((*_NAMESPACE, scope), key)
        return None if item is None else Record.from_json(item.value)


class Store(NamedTuple):
    """The user's ``store``, for awaited and for blocking calls."""

    awaited: Records
    blocking: Records | None
    """None: the store has only async methods."""

    def for_blocking(self) -> Records:
        """Return the records for blocking calls.

        Raises:
            ConfigurationError: The store has only async methods.
        """
        if self.blocking is None:
            raise ConfigurationError(
                "A LlamaIndex Context is read and written with await: use the async method."
            )
        return self.blocking


def as_store(store: Any) -> Store:
    """Wrap the user's ``store``: a file, a mapping, a LangGraph store, a LlamaIndex Context.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(store, str | os.PathLike):
        from rockai_transport.jobs.sqlite_records import SqliteRecords

        written, path = os.fspath(store), ""
        with suppress(OSError, RuntimeError, TypeError, ValueError):  # a name too long, no such home, bytes
            file = Path(written).expanduser().absolute()
            os.fsencode(file)  # not possible with half a surrogate pair
            if "\0" not in written and not file.is_dir() and file.parent.is_dir():
                path = str(file)
        if not path or written in ("", ":memory:"):
            raise ConfigurationError(f"store={written!r} must be a file in a folder that exists.")
        return Store(SqliteRecords(path, to_thread, asyncio.sleep), SqliteRecords(path, directly))
    if isinstance(store, MutableMapping):
        opened = _opening(store)
        if type(store) is dict:
            at_once = MappingRecords(opened, _in_memory, directly)
            return Store(at_once, at_once)
        # Any other mapping may be slow and shared, because a file or a database may be behind it.
        with _in_memory:
            lock = _mapping_locks.setdefault(id(store), RLock())
        return Store(
            MappingRecords(opened, lock, _in_thread_or_here, asyncio.sleep),
            MappingRecords(opened, lock, directly, sleep_here),
        )
    if all(hasattr(store, name) for name in ("get", "put", "search", "aget", "aput", "asearch")):
        put, get, search = (partial(directly, method) for method in (store.put, store.get, store.search))
        if (type(store).__module__, type(store).__name__) == _IN_MEMORY:
            in_memory = GraphRecords(put, get, search, None, _in_memory)
            return Store(in_memory, in_memory)
        return Store(
            GraphRecords(
                partial(_or_in_thread, store.aput, store.put),
                partial(_or_in_thread, store.aget, store.get),
                partial(_or_in_thread, store.asearch, store.search),
                asyncio.sleep,
            ),
            GraphRecords(put, get, search, sleep_here),
        )
    if hasattr(store, "write_event_to_stream"):
        return Store(ContextRecords(store), None)
    raise ConfigurationError(
        "store must be a mapping, a LangGraph BaseStore, a LlamaIndex Context or the path of an SQLite file, "
        f"not {type(store).__name__}."
    )


def _opening(mapping: MutableMapping[str, str]) -> OpenMapping:
    """Return a function that opens the mapping for one use: the mapping itself, or a new connection.

    Since Python 3.13, a `shelve` is an SQLite connection (``dbm.sqlite3``), which only the thread that opened
    it may use; tools run in other threads.
    """
    connection = getattr(getattr(mapping, "dict", None), "_cx", None)
    if connection is None:
        return lambda: nullcontext(mapping)
    import shelve

    (_, _, path), *_ = connection.execute("PRAGMA database_list")
    return partial(shelve.open, path, "w")


async def sleep_here(seconds: float) -> None:
    """Sleep without suspending."""
    time.sleep(seconds)  # noqa: ASYNC251 - of blocking calls


async def _in_thread_or_here(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a mapping in a thread, or here if SQLite binds the mapping to this thread."""
    try:
        return await to_thread(function, *args, **kwargs)
    except Exception as error:
        if not _is_bound_to_a_thread(error):
            raise
        return function(*args, **kwargs)


def _is_bound_to_a_thread(error: BaseException | None) -> bool:
    """Whether the error, or an error it wraps, is SQLite's error about threads; `dbm.sqlite3` wraps it."""
    while error is not None and not isinstance(error, sqlite3.ProgrammingError):
        error = error.__cause__ or error.__context__
    return error is not None


async def _or_in_thread(
    method: Callable[P, Awaitable[T]], blocking: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Await a store's async method; if it has none, call the blocking one in a thread."""
    try:
        return await method(*args, **kwargs)
    except NotImplementedError:
        return await to_thread(blocking, *args, **kwargs)


def _is_held(data: Mapping[str, Any] | str | None) -> bool:
    """Whether a start holds this key; a refused or cleared start does not."""
    return data is not None and Record.from_json(data).holds_its_key


def place_of(record: Record) -> str:
    """Return a record's place without its scope's name, for an address that others may see."""
    return f"{_hashed(record.scope)}:{record.key}"


def _hashed(scope: str) -> str:
    # LangGraph's namespaces refuse empty labels and full stops, which a thread id may contain.
    return hashlib.sha256(scope.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _namespace(scope: str | None) -> tuple[str, ...]:
    return _NAMESPACE if scope is None else (*_NAMESPACE, _hashed(scope))


def _sorted(data: Iterable[Any]) -> list[Record]:
    return sorted(map(Record.from_json, data), key=attrgetter("created"))
