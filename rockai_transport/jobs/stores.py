"""Where records are kept: in the process, in a mapping, in a LangGraph store, in a LlamaIndex Context.

Invariants of this module: a store is known by its methods alone, and neither framework is imported. `Records`
made for blocking calls never suspend.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.records import Record

__all__ = ["MemoryRecords", "MirroredRecords", "Records", "Store", "as_store"]

_NAMESPACE = ("rockai", "predictions")
"""Where records are in a LangGraph store."""
_PREFIX = "rockai-prediction"
_PAGE = 100

Call = Callable[..., Awaitable[Any]]


class Records(Protocol):
    """What the lifecycle needs of a store."""

    async def put(self, record: Record) -> None:
        """Write a record; it must be durable when this returns, as far as the store is at all."""

    async def all(self, scope: str | None) -> list[Record]:
        """The records of a scope, oldest first; of all scopes if None."""


class MemoryRecords:
    """Records of this process. They are there at once, for blocking calls too."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, Record]] = {}

    async def put(self, record: Record) -> None:
        """As `Records.put`."""
        self._scopes.setdefault(record.scope, {})[record.key] = record

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        scopes = list(self._scopes.values()) if scope is None else [self._scopes.get(scope, {})]
        return sorted(chain.from_iterable(map(dict.values, scopes)), key=attrgetter("created"))


class MirroredRecords:
    """Records in a conversation's own store, and in this process too: a receipt then needs no store.

    What is read is what the store says: another process may have written since.
    """

    def __init__(self, store: Records, mirror: Records) -> None:
        self._store = store
        self._mirror = mirror
        self.all = store.all

    async def put(self, record: Record) -> None:
        """Write to both, the store first."""
        await self._store.put(record)
        await self._mirror.put(record)


class ContextRecords:
    """Records in the store of a LlamaIndex ``Context``: they go where it goes. With ``await`` only."""

    def __init__(self, context: Any) -> None:
        self._store = context.store

    async def put(self, record: Record) -> None:
        """Write a record, beside whatever other calls are writing."""
        async with self._store.edit_state() as state:
            state[_PREFIX] = {**state.get(_PREFIX, {}), record.key: record.to_json()}

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        data = await self._store.get(_PREFIX, default={})
        return [record for record in _sorted(data.values()) if scope in (None, record.scope)]


class MappingRecords:
    """Records in a mapping from strings to strings: a dict, a `shelve`, a database's own.

    Args:
        mapping: The mapping.
        lock: Held while it is used, by all that share it.
        call: Calls a function that uses it: directly, or in a thread.
    """

    def __init__(self, mapping: MutableMapping[str, str], lock: threading.Lock, call: Call) -> None:
        self._mapping = mapping
        self._lock = lock
        self._call = call

    async def put(self, record: Record) -> None:
        """As `Records.put`; a `shelve` is synced."""
        await self._call(self._write, _name(record.scope, record.key), json.dumps(record.to_json()))

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        texts = await self._call(self._read, f"{_PREFIX}:" if scope is None else _name(scope, ""))
        return _sorted(map(json.loads, texts))

    def _write(self, name: str, text: str) -> None:
        with self._lock:
            self._mapping[name] = text
            if callable(sync := getattr(self._mapping, "sync", None)):
                sync()

    def _read(self, prefix: str) -> list[str]:
        with self._lock:
            return [self._mapping[name] for name in list(self._mapping) if str(name).startswith(prefix)]


class GraphRecords:
    """Records in a LangGraph ``BaseStore``.

    Args:
        put: The store's ``put``, awaited.
        search: Its ``search``, awaited.
    """

    def __init__(self, put: Call, search: Call) -> None:
        self._put = put
        self._search = search

    async def put(self, record: Record) -> None:
        """As `Records.put`. Nothing is indexed: nobody searches it by meaning, and embedding costs."""
        await self._put(_namespace(record.scope), record.key, record.to_json(), index=False)

    async def all(self, scope: str | None) -> list[Record]:
        """As `Records.all`."""
        items: list[Any] = []
        while True:
            page = await self._search(_namespace(scope), limit=_PAGE, offset=len(items))
            items += page
            if len(page) < _PAGE:
                return _sorted(item.value for item in items)


class Store(NamedTuple):
    """What a user gave as ``store``, for awaited calls and for blocking ones."""

    awaited: Records
    blocking: Records | None
    """None: it can only be awaited."""

    def records(self, *, blocking: bool) -> Records:
        """The form for such calls.

        Raises:
            ConfigurationError: There is none.
        """
        if not blocking:
            return self.awaited
        if self.blocking is None:
            raise ConfigurationError(
                "A LlamaIndex Context is read and written with await: use the async method."
            )
        return self.blocking


def as_store(store: Any) -> Store:
    """Wrap what a user gives as ``store``: a mapping, a LangGraph store, a LlamaIndex Context.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(store, MutableMapping):
        lock = threading.Lock()
        at_once = MappingRecords(store, lock, _directly)
        # Any other mapping may be slow: it stands for a file, or a database.
        is_slow = type(store) is not dict
        return Store(MappingRecords(store, lock, asyncio.to_thread) if is_slow else at_once, at_once)
    if all(hasattr(store, name) for name in ("get", "put", "search", "aget", "aput", "asearch")):
        return Store(
            GraphRecords(_or_in_thread(store.aput, store.put), _or_in_thread(store.asearch, store.search)),
            GraphRecords(partial(_directly, store.put), partial(_directly, store.search)),
        )
    if hasattr(store, "write_event_to_stream"):
        return Store(ContextRecords(store), None)
    raise ConfigurationError(
        f"store must be a mapping, a LangGraph BaseStore or a LlamaIndex Context, not {type(store).__name__}."
    )


async def _directly(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return function(*arguments, **named)


def _or_in_thread(method: Call, blocking: Callable[..., Any]) -> Call:
    """A store's async method; its blocking one in a thread where it has none."""

    async def call(*arguments: Any, **named: Any) -> Any:
        try:
            return await method(*arguments, **named)
        except NotImplementedError:
            return await asyncio.to_thread(blocking, *arguments, **named)

    return call


def _hashed(scope: str) -> str:
    # LangGraph's namespaces refuse empty labels and full stops, which a thread id may hold.
    return hashlib.sha256(scope.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _namespace(scope: str | None) -> tuple[str, ...]:
    return _NAMESPACE if scope is None else (*_NAMESPACE, _hashed(scope))


def _name(scope: str, key: str) -> str:
    return f"{_PREFIX}:{_hashed(scope)}:{key}"


def _sorted(data: Iterable[Any]) -> list[Record]:
    return sorted(map(Record.from_json, data), key=attrgetter("created"))
