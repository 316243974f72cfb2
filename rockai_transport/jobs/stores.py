"""Where records are kept: in the process, in a mapping, in a LangGraph store, in a LlamaIndex Context.

Each has both forms of three methods: `get`, `put` and `all`, and `aget`, `aput` and `aall`. The frameworks'
stores are known by their methods alone: neither framework is imported.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterable, MutableMapping
from typing import Any, Protocol

from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.records import Record

__all__ = ["ContextRecords", "GraphRecords", "MappingRecords", "MirroredRecords", "Records", "as_records"]

_NAMESPACE = ("rockai", "predictions")
_PREFIX = "rockai-prediction"
_PAGE = 100


class Records(Protocol):
    """What the lifecycle needs of a store."""

    def get(self, scope: str, key: str) -> Record | None:
        """The record with this key."""

    def put(self, record: Record) -> None:
        """Write a record; it must be durable when this returns, as far as the store is at all."""

    def all(self, scope: str | None) -> list[Record]:
        """The records of a scope, oldest first; of all scopes if None."""

    async def aget(self, scope: str, key: str) -> Record | None:
        """As `get`."""

    async def aput(self, record: Record) -> None:
        """As `put`."""

    async def aall(self, scope: str | None) -> list[Record]:
        """As `all`."""


class MappingRecords:
    """Records in a mapping from strings to strings: a dict, a `shelve`, a database's own."""

    def __init__(self, mapping: MutableMapping[str, str] | None = None) -> None:
        self._mapping = {} if mapping is None else mapping
        self._lock = threading.Lock()
        self._quick = type(self._mapping) is dict

    def get(self, scope: str, key: str) -> Record | None:
        """The record with this key."""
        with self._lock:
            try:
                text = self._mapping[_name(scope, key)]
            except KeyError:
                return None
        return Record.from_json(json.loads(text))

    def put(self, record: Record) -> None:
        """Write a record; a `shelve` is synced."""
        with self._lock:
            self._mapping[_name(record.scope, record.key)] = json.dumps(record.to_json())
            if callable(sync := getattr(self._mapping, "sync", None)):
                sync()

    def all(self, scope: str | None) -> list[Record]:
        """The records of a scope, oldest first; of all scopes if None."""
        prefix = f"{_PREFIX}:" if scope is None else _name(scope, "")
        with self._lock:
            texts = [self._mapping[name] for name in list(self._mapping) if str(name).startswith(prefix)]
        return _sorted(json.loads(text) for text in texts)

    async def aget(self, scope: str, key: str) -> Record | None:
        """As `get`; a mapping that may be slow is read in a thread."""
        return self.get(scope, key) if self._quick else await asyncio.to_thread(self.get, scope, key)

    async def aput(self, record: Record) -> None:
        """As `put`."""
        if self._quick:
            self.put(record)
        else:
            await asyncio.to_thread(self.put, record)

    async def aall(self, scope: str | None) -> list[Record]:
        """As `all`."""
        return self.all(scope) if self._quick else await asyncio.to_thread(self.all, scope)


class GraphRecords:
    """Records in a LangGraph ``BaseStore``, below the namespace ``("rockai", "predictions")``."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def get(self, scope: str, key: str) -> Record | None:
        """The record with this key."""
        return _of_item(self._store.get(_namespace(scope), key))

    def put(self, record: Record) -> None:
        """Write a record. It is never indexed: nobody searches it by meaning, and embedding costs."""
        self._store.put(_namespace(record.scope), record.key, record.to_json(), index=False)

    def all(self, scope: str | None) -> list[Record]:
        """The records of a scope, oldest first; of all scopes if None."""
        items: list[Any] = []
        while True:
            page = self._store.search(_namespace(scope), limit=_PAGE, offset=len(items))
            items += page
            if len(page) < _PAGE:
                return _sorted(item.value for item in items)

    async def aget(self, scope: str, key: str) -> Record | None:
        """As `get`, by the store's own async method; in a thread where it has none."""
        try:
            return _of_item(await self._store.aget(_namespace(scope), key))
        except NotImplementedError:
            return await asyncio.to_thread(self.get, scope, key)

    async def aput(self, record: Record) -> None:
        """As `put`."""
        try:
            await self._store.aput(_namespace(record.scope), record.key, record.to_json(), index=False)
        except NotImplementedError:
            await asyncio.to_thread(self.put, record)

    async def aall(self, scope: str | None) -> list[Record]:
        """As `all`."""
        items: list[Any] = []
        try:
            while True:
                page = await self._store.asearch(_namespace(scope), limit=_PAGE, offset=len(items))
                items += page
                if len(page) < _PAGE:
                    return _sorted(item.value for item in items)
        except NotImplementedError:
            return await asyncio.to_thread(self.all, scope)


class MirroredRecords:
    """Records in a conversation's own store, and in this process too: a receipt then needs no store."""

    def __init__(self, records: Records, mirror: MappingRecords) -> None:
        self.records = records
        self._mirror = mirror

    def get(self, scope: str, key: str) -> Record | None:
        """As the store says: another process may have written since."""
        return self.records.get(scope, key)

    def put(self, record: Record) -> None:
        """Write to both, the store first."""
        self.records.put(record)
        self._mirror.put(record)

    def all(self, scope: str | None) -> list[Record]:
        """As the store says."""
        return self.records.all(scope)

    async def aget(self, scope: str, key: str) -> Record | None:
        """As `get`."""
        return await self.records.aget(scope, key)

    async def aput(self, record: Record) -> None:
        """As `put`."""
        await self.records.aput(record)
        self._mirror.put(record)

    async def aall(self, scope: str | None) -> list[Record]:
        """As `all`."""
        return await self.records.aall(scope)


class ContextRecords:
    """Records in the store of a LlamaIndex ``Context``: they go where the Context goes. Async only."""

    def __init__(self, context: Any) -> None:
        self._store = context.store

    def get(self, scope: str, key: str) -> Record | None:  # noqa: ARG002
        """Never."""
        raise _only_async()

    def put(self, record: Record) -> None:  # noqa: ARG002
        """Never."""
        raise _only_async()

    def all(self, scope: str | None) -> list[Record]:  # noqa: ARG002
        """Never."""
        raise _only_async()

    async def aget(self, scope: str, key: str) -> Record | None:  # noqa: ARG002
        """The record with this key."""
        data = (await self._data()).get(key)
        return None if data is None else Record.from_json(data)

    async def aput(self, record: Record) -> None:
        """Write a record, beside whatever other calls are writing."""
        async with self._store.edit_state() as state:
            state[_PREFIX] = {**state.get(_PREFIX, {}), record.key: record.to_json()}

    async def aall(self, scope: str | None) -> list[Record]:
        """The records of a scope, oldest first; of all scopes if None."""
        data = (await self._data()).values()
        return [record for record in _sorted(data) if scope in (None, record.scope)]

    async def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = await self._store.get(_PREFIX, default={})
        return data


def as_records(store: Any) -> Records:
    """Wrap what a user gives as ``store``: a mapping, a LangGraph store, a LlamaIndex Context, or `Records`.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(store, MutableMapping):
        return MappingRecords(store)
    if all(hasattr(store, name) for name in ("get", "put", "search", "aget", "aput", "asearch")):
        return GraphRecords(store)
    if all(hasattr(store, name) for name in ("get", "put", "all", "aget", "aput", "aall")):
        given: Records = store
        return given
    if hasattr(store, "write_event_to_stream"):
        return ContextRecords(store)
    raise ConfigurationError(
        f"store must be a mapping, a LangGraph BaseStore or a LlamaIndex Context, not {type(store).__name__}."
    )


def _hashed(scope: str) -> str:
    # LangGraph's namespaces refuse empty labels and full stops, which a thread id may hold.
    return hashlib.sha256(scope.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _namespace(scope: str | None) -> tuple[str, ...]:
    return _NAMESPACE if scope is None else (*_NAMESPACE, _hashed(scope))


def _name(scope: str, key: str) -> str:
    return f"{_PREFIX}:{_hashed(scope)}:{key}"


def _of_item(item: Any) -> Record | None:
    return None if item is None else Record.from_json(item.value)


def _sorted(data: Iterable[Any]) -> list[Record]:
    return sorted(map(Record.from_json, data), key=lambda record: record.created)


def _only_async() -> ConfigurationError:
    return ConfigurationError("A LlamaIndex Context is read and written with await: use the async method.")
