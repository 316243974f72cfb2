import asyncio
import shelve

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from rockai_transport import ConfigurationError, Prediction
from rockai_transport.jobs.records import STARTED, Record, digest, record_key
from rockai_transport.jobs.stores import as_records

ONE = Record("k1", "user.7/ü", "draw", "d", 1.0)
TWO = Record("k2", "user.7/ü", "draw", "d", 2.0, STARTED, "p2", "succeeded", 1.5, ("a.png",), "a note")
OTHER = Record("k3", "somebody else", "draw", "d", 3.0)


@pytest.fixture(params=["dict", "shelve", "memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "dict":
        yield {}
    elif request.param == "shelve":
        with shelve.open(str(tmp_path / "records")) as shelf:  # noqa: S301
            yield shelf
    elif request.param == "memory":
        yield InMemoryStore()
    else:
        with SqliteStore.from_conn_string(str(tmp_path / "store.db")) as sqlite:
            sqlite.setup()
            yield sqlite


def test_what_is_written_is_read(store):
    """By key within a scope, and as a list, oldest first."""
    records = as_records(store)
    for record in (TWO, ONE, OTHER):
        records.put(record)
    assert records.get(ONE.scope, "k2") == TWO
    assert records.get(OTHER.scope, "k2") is None
    assert records.all(ONE.scope) == [ONE, TWO]
    assert records.all(None) == [ONE, TWO, OTHER]
    records.put(ONE._replace(state=STARTED))
    assert records.get(ONE.scope, "k1").state == STARTED


async def test_the_same_with_await(store):
    """By the store's async methods, in a thread where it has none."""
    records = as_records(store)
    await asyncio.gather(*(records.aput(record) for record in (TWO, ONE, OTHER)))
    assert await records.aget(ONE.scope, "k2") == TWO
    assert await records.aget(OTHER.scope, "k2") is None
    assert await records.aall(ONE.scope) == [ONE, TWO]
    assert await records.aall(None) == [ONE, TWO, OTHER]


async def test_an_async_store_of_langgraph(tmp_path):
    """Written with await, read from another thread too."""
    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as store:
        await store.setup()
        records = as_records(store)
        await records.aput(TWO)
        assert await records.aall(TWO.scope) == [TWO]
        assert await asyncio.to_thread(records.get, TWO.scope, "k2") == TWO


def test_more_records_than_a_page(store):
    """A search of a LangGraph store gives a page at a time; all of them are read."""
    records = as_records(store)
    many = [Record(f"k{number:03}", "s", "draw", "d", float(number)) for number in range(230)]
    for record in many:
        records.put(record)
    assert records.all("s") == many


def test_what_is_no_store_is_refused():
    """With the kinds that there are."""
    with pytest.raises(ConfigurationError, match="must be a mapping, a LangGraph BaseStore"):
        as_records([])


def test_a_record_of_a_later_version_is_read():
    """Fields that this version does not know are left out."""
    assert Record.from_json({**TWO.to_json(), "colour": "red"}) == TWO


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


def test_a_look_updates_a_record():
    """Status, id and what the service measured; never the input."""
    seen = ONE.seen(
        Prediction(id="p1", status="succeeded", metrics={"predict_time": 2}, input={"prompt": "x"})
    )
    assert (seen.prediction_id, seen.status, seen.predict_seconds) == ("p1", "succeeded", 2.0)
    assert "prompt" not in str(seen.to_json())
    assert ONE.is_running
    assert not seen.is_running
