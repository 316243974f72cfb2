import asyncio
import contextlib
import json
import shelve
import sqlite3
import sys
import threading
from collections import UserDict
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType, SimpleNamespace

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from rockai_transport import GENERATE_IMAGE, Client, ConfigurationError, Prediction
from rockai_transport.jobs import sqlite_records
from rockai_transport.jobs.keys import digest, record_key
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.records import CLEARED, STARTED, Record, receipt
from rockai_transport.jobs.stores import MemoryRecords, MirroredRecords, Store, as_store, place_of
from rockai_transport.jobs.toolset import Toolset
from rockai_transport.protocol.io import run_blocking

ONE = Record("k1", "user.7/ü", "draw", "d", 1.0)
TWO = Record("k2", "user.7/ü", "draw", "d", 2.0, STARTED, "p2", "succeeded", 1.5, ("a.png",), "a note")
OTHER = Record("k3", "somebody else", "draw", "d", 3.0)


@pytest.fixture(params=["process", "dict", "shelve", "memory", "sqlite"])
def store(request, tmp_path):
    match request.param:
        case "process":
            records = MemoryRecords()
            yield Store(records, records)
        case "dict":
            yield as_store({})
        case "shelve":
            with shelve.open(str(tmp_path / "records")) as shelf:  # noqa: S301
                yield as_store(shelf)
        case "memory":
            yield as_store(InMemoryStore())
        case "sqlite":
            with SqliteStore.from_conn_string(str(tmp_path / "store.db")) as sqlite:
                sqlite.setup()
                yield as_store(sqlite)


@pytest.fixture
def quick_switches():
    """Threads take turns after each few instructions."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


async def use(records):
    """Write and read in all ways there are."""
    await asyncio.gather(*(records.put(record) for record in (TWO, ONE, OTHER)))
    assert await records.all(ONE.scope) == [ONE, TWO]
    assert await records.all(None) == [ONE, TWO, OTHER]
    await records.put(ONE._replace(state=STARTED))
    assert [record.state for record in await records.all(ONE.scope)] == [STARTED, STARTED]


def test_what_is_written_is_read(store):
    """By scope, or all of them, oldest first; a key has one record."""
    asyncio.run(use(store.for_blocking()))


async def test_the_same_with_await(store):
    """By the store's async methods, in a thread where it has none."""
    await use(store.awaited)


def test_a_key_is_claimed_once(store):
    """Until the start that holds it was refused or cleared; with await and without."""
    records, awaited = store.for_blocking(), store.awaited
    first, other = ONE._replace(nonce="a"), ONE._replace(nonce="b")
    assert run_blocking(records.claim(first))
    assert not run_blocking(records.claim(other))
    assert not asyncio.run(awaited.claim(other))
    assert [record.nonce for record in run_blocking(records.all(ONE.scope))] == ["a"]
    run_blocking(records.put(first._replace(state=CLEARED)))
    assert asyncio.run(awaited.claim(other))


@pytest.mark.parametrize("made", [dict, InMemoryStore])
def test_a_store_of_this_process_has_one_claim(made, quick_switches):
    """Of several threads and event loops that claim a key at the same moment, one gets it."""
    few = 4
    together = threading.Barrier(few)

    def claim(store, number):
        records, record = as_store(store), ONE._replace(nonce=str(number))
        together.wait()
        if number % 2:
            return run_blocking(records.blocking.claim(record))
        return asyncio.run(records.awaited.claim(record))

    with ThreadPoolExecutor(few) as threads:
        for _ in range(100):
            assert sum(threads.map(claim, [made()] * few, range(few))) == 1


@pytest.mark.parametrize("kind", ["langgraph", "mapping"])
def test_who_writes_last_has_the_key(kind):
    """Where a store has no compare-and-set, another worker that had looked before writes over a claim."""
    claims = []

    class Slow(dict):
        """A mapping to which another worker writes between this one's write and its reading back."""

        def sync(self):
            if not claims:
                claims.append("other")
                run_blocking(as_store(self).blocking.put(ONE._replace(nonce="other")))

    class Raced(InMemoryStore):
        def put(self, namespace, key, value, **settings):
            super().put(namespace, key, value, **settings)
            if not claims:
                claims.append("other")
                super().put(namespace, key, {**value, "nonce": "other"}, **settings)

    store = as_store(Raced() if kind == "langgraph" else Slow())
    assert not run_blocking(store.blocking.claim(ONE._replace(nonce="mine")))
    assert [record.nonce for record in run_blocking(store.blocking.all(None))] == ["other"]


class BoundToItsThread(MutableMapping):
    """A mapping over an SQLite connection, which works in the thread that opened it, and in no other."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("CREATE TABLE pairs (name TEXT PRIMARY KEY, text TEXT)")

    def __getitem__(self, name):
        found = self.connection.execute("SELECT text FROM pairs WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise KeyError(name)
        return found[0]

    def __setitem__(self, name, text):
        self.connection.execute("REPLACE INTO pairs VALUES (?, ?)", (name, text))

    def __delitem__(self, name):
        self.connection.execute("DELETE FROM pairs WHERE name = ?", (name,))

    def __iter__(self):
        return iter([name for (name,) in self.connection.execute("SELECT name FROM pairs")])

    def close(self):
        self.connection.close()

    def __len__(self):
        return self.connection.execute("SELECT count(*) FROM pairs").fetchone()[0]


class ErrorsOfItsOwn(BoundToItsThread):
    """As Python's `dbm.sqlite3`: its errors wrap SQLite's."""

    def __iter__(self):
        try:
            return super().__iter__()
        except sqlite3.Error as error:
            raise OSError("no") from error

    def __setitem__(self, name, text):
        try:
            super().__setitem__(name, text)
        except sqlite3.Error as error:
            raise OSError("no") from error


@pytest.fixture(params=[BoundToItsThread, ErrorsOfItsOwn])
def bound(request):
    """One that was opened in the thread of the tests."""
    with contextlib.closing(request.param()) as mapping:
        yield mapping


async def test_a_mapping_that_is_bound_to_its_thread(bound):
    """It is used there, where the event loop runs in that thread."""
    await use(as_store(bound).awaited)


def test_tools_with_a_mapping_that_is_bound_to_its_thread(sandbox, bound):
    """With and without await."""
    with Client(sandbox.api_token, sandbox.base_url) as client:
        toolset = Toolset([GENERATE_IMAGE], client=client, store=bound)
        arguments, context = {"prompt": "x"}, CallContext("here")
        assert "succeeded" in toolset.call("generate_image", arguments, context).text
        assert "succeeded" in asyncio.run(toolset.acall("generate_image", arguments, context)).text


def test_a_shelve_is_used_in_any_thread(tmp_path):
    """With and without await, though since Python 3.13 it is bound to the thread that opened it."""
    with shelve.open(str(tmp_path / "records")) as shelf, ThreadPoolExecutor(1) as tools:  # noqa: S301
        shelf["own"] = "of the program"
        store = as_store(shelf)
        tools.submit(run_blocking, store.blocking.put(ONE)).result()
        asyncio.run(store.awaited.put(TWO))
        found = tools.submit(run_blocking, store.blocking.all(ONE.scope)).result()
        assert found == run_blocking(store.blocking.all(None)) == [ONE, TWO]
        assert len(shelf) == 3


def test_blocking_calls_never_suspend(store):
    """A coroutine over them is finished in one step."""
    records = store.for_blocking()
    run_blocking(records.put(TWO))
    assert run_blocking(records.all(TWO.scope)) == [TWO]
    assert run_blocking(records.all(None)) == [TWO]


async def test_both_forms_see_the_same(store):
    """A toolkit can be called with and without await."""
    run_blocking(store.for_blocking().put(TWO))
    assert await store.awaited.all(TWO.scope) == [TWO]


async def test_an_async_store_of_langgraph(tmp_path):
    """Written with await, read from another thread too."""
    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as sqlite:
        await sqlite.setup()
        store = as_store(sqlite)
        await store.awaited.put(TWO)
        assert await store.awaited.all(TWO.scope) == [TWO]
        reading = store.for_blocking().all(TWO.scope)
        assert await asyncio.to_thread(run_blocking, reading) == [TWO]


async def test_more_records_than_a_page(store):
    """A search of a LangGraph store gives a page at a time; all of them are read."""
    many = [Record(f"k{number:03}", "s", "draw", "d", float(number)) for number in range(230)]
    for record in many:
        run_blocking(store.for_blocking().put(record))
    assert run_blocking(store.for_blocking().all("s")) == many
    assert await store.awaited.all("s") == many


def test_a_record_that_moves_between_two_pages_is_not_missed():
    """A search in the order of the last writes, as SQLite's and Postgres' are: its cost would not count."""
    many = [Record(f"k{number:03}", "s", "draw", "d", float(number)) for number in range(130)]
    writing = iter([many[0]])

    class LastWrittenFirst(InMemoryStore):
        def search(self, place, /, *, limit, offset):
            found = super().search(place, limit=1000)[::-1]
            for record in writing:
                run_blocking(records.put(record))
            return found[offset : offset + limit]

        def put(self, place, key, value, **how):
            self.delete(place, key)
            super().put(place, key, value, **how)

    records = as_store(LastWrittenFirst()).for_blocking()
    for record in many:
        run_blocking(records.put(record))
    assert run_blocking(records.all("s")) == many


def test_a_mapping_is_used_by_one_thread_at_a_time_however_often_it_is_wrapped():
    """A toolkit and a `WebhookReceiver` of one process share it: no iteration may see it grow."""
    found = []
    reader = threading.Thread(target=lambda: found.append(run_blocking(as_store(rows).blocking.all(None))))

    class Rows(UserDict):
        def __setitem__(self, key, value):
            reader.start()
            reader.join(0.05)
            assert found == []
            super().__setitem__(key, value)

    rows = Rows()
    run_blocking(as_store(rows).blocking.put(TWO))
    reader.join()
    assert found == [[TWO]]


def test_what_is_no_store_is_refused():
    """With the kinds that there are."""
    with pytest.raises(ConfigurationError, match="must be a mapping, a LangGraph BaseStore"):
        as_store([])


@pytest.mark.parametrize(
    "path",
    ["", ".", "missing/predictions.db", ":memory:", "~nobody-of-this-name/p.db", "a\0b", "\ud800", "x" * 300],
)
def test_a_path_that_can_be_no_file_is_refused(path, tmp_path, monkeypatch):
    """Before an agent orders anything that could not be remembered."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="must be a file in a folder that exists"):
        as_store(path)


@pytest.mark.parametrize(
    ("text", "reason"), [("Dear Ada, " * 100, "is not a database"), (None, "unable to open database file")]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, text, reason):
    """With SQLite's reason, and what to check; the folder may be gone after the store was made."""
    file = tmp_path / "folder" / "records.db"
    file.parent.mkdir()
    records = as_store(file).blocking
    if text is None:
        file.parent.rmdir()
    else:
        file.write_text(text)
    for use in (records.all(None), records.find(place_of(ONE)), records.put(ONE), records.claim(ONE)):
        with pytest.raises(ConfigurationError, match=rf"store .*records.db' cannot be used: .*{reason}. It"):
            run_blocking(use)


async def test_a_file_that_another_program_keeps_locked_holds_up_no_other(tmp_path):
    """Its own calls wait together, and go on once it is free; the stores in other files work meanwhile."""
    locked, free = (as_store(tmp_path / name) for name in ("locked.db", "free.db"))
    await locked.awaited.put(OTHER)
    with contextlib.closing(sqlite3.connect(tmp_path / "locked.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        waiting = [asyncio.create_task(locked.awaited.claim(one)) for one in (ONE, TWO)]
        for _ in range(5):
            await free.awaited.put(ONE)
            assert await asyncio.to_thread(run_blocking, free.blocking.find(place_of(ONE))) == ONE
        assert not any(task.done() for task in waiting)
        other.execute("ROLLBACK")
        assert await asyncio.gather(*waiting) == [True, True]
    assert await locked.awaited.all(None) == [ONE, TWO, OTHER]


def test_a_file_that_stays_locked_is_named(tmp_path, monkeypatch):
    """After a while: a backup or an editor may keep it for long."""
    monkeypatch.setattr(sqlite_records, "_WAITS", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / "locked.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match=r"locked.db' cannot be used: database is locked\. It"):
            run_blocking(as_store(tmp_path / "locked.db").blocking.all(None))


def test_a_context_can_only_be_awaited():
    """Who asks for blocking calls is told so."""
    context = SimpleNamespace(write_event_to_stream=None, store=None)
    with pytest.raises(ConfigurationError, match="use the async method"):
        as_store(context).for_blocking()


def test_a_record_of_a_later_version_is_read():
    """Fields that this version does not know are left out."""
    assert Record.from_json({**TWO.to_json(), "colour": "red"}) == TWO


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", json.dumps({**TWO.to_json(), "created": None}), b"\xff", '{"key": "x"}']
)
def test_what_is_no_record_is_named(tmp_path, text):
    """For the developer, by each store; left out in silence, it might be a start that was paid."""
    stores = [{}, str(tmp_path / "records.db")]
    for store in stores:
        run_blocking(as_store(store).blocking.put(TWO))
    stores[0].update(dict.fromkeys(stores[0], text))
    with contextlib.closing(sqlite3.connect(stores[1])) as connection, connection:
        connection.execute("UPDATE rockai_predictions SET record = ?", (text,))
    for opened in map(as_store, stores):
        for read in (opened.blocking.all(None), opened.blocking.find(place_of(TWO))):
            with pytest.raises(ConfigurationError, match=r"no record of a start: .*\. Remove it"):
                run_blocking(read)


def test_a_key_tells_calls_apart():
    """By scope, by call, by model and input; without a call every wish is a new one."""
    one = digest("a/b", {"prompt": "x", "n": 1})
    assert one == digest("a/b", {"n": 1, "prompt": "x"})
    assert one != digest("a/c", {"prompt": "x", "n": 1})
    keys = {
        record_key("s", ("t", "c"), one),
        record_key("s", ("t", "d"), one),
        record_key("s", ("u", "c"), one),
        record_key("r", ("t", "c"), one),
        record_key("s", ("t", "c"), digest("a/b", {})),
        record_key("s", None, one),
        record_key("s", None, one),
    }
    assert len(keys) == 7
    assert record_key("s", ("t", "c"), one) in keys


def test_a_mirror_knows_what_its_store_could_not_write():
    """So a receipt has the id of a prediction that was paid for."""
    store, mirror = MemoryRecords(), MemoryRecords()
    mirrored = MirroredRecords(store, mirror)
    run_blocking(mirrored.claim(ONE))

    async def fail(record, *, unless_held=False):
        raise OSError("it is down")

    store.put = fail
    with pytest.raises(OSError, match="down"):
        run_blocking(mirrored.put(ONE._replace(state=STARTED, prediction_id="p1")))
    assert [one.prediction_id for one in run_blocking(mirror.all(None))] == ["p1"]


def test_of_two_stores_the_one_that_knows_the_id_is_believed():
    """In a receipt: the other could not be written, and still says unknown."""
    found = ONE._replace(state=STARTED, prediction_id="p1")
    for records in ([ONE, found], [found, ONE]):
        assert receipt(records).started == (found,)
        assert receipt(records).unknown == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1, "prompt": "x"}, {"prompt": "x", "n": 1.0}),
        ({"sizes": [{"n": 0}]}, {"sizes": ({"n": -0.0},)}),
        ({"prompt": "\ud83d\ude00"}, {"prompt": "\U0001f600"}),
        ({"image": memoryview(b"x")}, {"image": bytearray(b"x")}),
        ({"a": {"b": 1}}, {"a": MappingProxyType({"b": 1})}),
    ],
)
def test_equal_inputs_have_one_digest(one, other):
    """However they are written: a model repeats its own numbers as it likes."""
    assert digest("a/b", one) == digest("a/b", other)


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, "1"), (1, 1.5), (None, "null")])
def test_different_inputs_have_different_digests(one, other):
    """Even if Python takes them for equal."""
    assert digest("a/b", {"n": one}) != digest("a/b", {"n": other})


def test_a_look_updates_a_record():
    """Status, id and what the service measured; never the input."""
    seen = ONE.seen(
        Prediction(id="p1", status="succeeded", metrics={"predict_time": 2}, input={"prompt": "x"})
    )
    assert (seen.prediction_id, seen.status, seen.predict_seconds) == ("p1", "succeeded", 2.0)
    assert "prompt" not in str(seen.to_json())
    assert ONE.is_running
    assert not seen.is_running
