"""What predictions may cost: reserved before a start is sent, settled at its end, exact for all."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import UserDict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from langgraph.store.memory import InMemoryStore
from support.memory_backends import LOST, PROMPT, MemoryBackends, call, do, records_of

from langchain_rockai import RockAIToolkit
from llama_index_rockai import RockAIToolSpec
from llama_index_rockai.tools import _ask
from rockai_sandbox import ECHO
from rockai_transport import ConfigurationError, HostedModel
from rockai_transport.io.detached import directly
from rockai_transport.jobs.budget import Price, amount, locked, shown
from rockai_transport.jobs.policy import CallContext, Policy
from rockai_transport.jobs.records import Record, receipt
from rockai_transport.jobs.sqlite_records import SqliteRecords
from rockai_transport.jobs.stores import MemoryRecords, sleep_here
from rockai_transport.jobs.toolset import Lifecycle, Toolset
from tests.support import warm

DRAW = HostedModel("draw", ECHO, "Draws.", cost_per_run=0.1, cost_per_second="0.2", longest_seconds=10)
FLAT = HostedModel("flat", ECHO, "Says it.", output="text", cost_per_run=Decimal("0.1"))


def tools(max_cost="5", **policy):
    return Lifecycle([DRAW, FLAT], Policy(max_cost=Decimal(max_cost), max_running=99, **policy))


def ended(backends, **how):
    backends.predictions.ends = {"status": "succeeded", "output": "x", **how}


def costs(backends):
    return [str(record.cost) for record in records_of(backends)]


def test_an_amount_of_numpy_is_read_as_written():
    """As any number."""
    import numpy as np

    price = HostedModel("draw", ECHO, "Draws.", cost_per_run=np.float32(0.1)).price
    assert price.reserved == Decimal("0.1")
    assert HostedModel("draw", ECHO, "Draws.", cost_per_run=np.int64(3)).price.reserved == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cost_per_second": 1}, "longest_seconds"),
        ({"cost_per_second": 1, "longest_seconds": 0}, "longest_seconds"),
        ({"cost_per_second": 1, "longest_seconds": "0.0"}, "cost_per_second needs longest_seconds"),
        ({"cost_per_run": 1, "cost_per_second": 1}, "longest_seconds"),
        ({"cost_per_run": -1}, "cost_per_run=-1"),
        ({"cost_per_run": "much"}, "cost_per_run='much'"),
        ({"cost_per_run": True}, "cost_per_run=True"),
        ({"cost_per_run": float("nan")}, "cost_per_run=nan"),
        ({"cost_per_run": float("inf")}, "cost_per_run=inf"),
        ({"cost_per_run": 1, "longest_seconds": []}, "longest_seconds"),
        ({"cost_per_run": "1e99"}, "from 0 to"),
        ({"cost_per_run": "1e-99"}, "decimals"),
    ],
)
def test_a_price_that_cannot_be_right(settings, said):
    """It is refused where it is given, by name."""
    with pytest.raises(ConfigurationError, match=said):
        HostedModel("draw", ECHO, "Draws.", **settings)


@pytest.mark.parametrize("kind", [RockAIToolkit, RockAIToolSpec])
@pytest.mark.parametrize("max_cost", [-1, "x", True, float("nan"), []])
def test_a_budget_that_cannot_be_right(kind, max_cost):
    """In both frameworks."""
    with pytest.raises(ConfigurationError, match="max_cost="):
        kind([FLAT], "token", max_cost=max_cost)


@pytest.mark.parametrize("kind", [RockAIToolkit, RockAIToolSpec])
def test_every_model_needs_a_price_under_a_budget(kind):
    """Else what a start costs would not be known; without a budget none is needed."""
    free = HostedModel("free", ECHO, "Free.")
    with pytest.raises(ConfigurationError, match=r"HostedModel free cost_per_run"):
        kind([FLAT, free], "token", max_cost=1)
    kind([FLAT, free], "token").close()


def test_sums_are_exact():
    """A float counts as it is written: ten times 0.1 is 1, and the smallest numbers are not lost."""
    price = Price("0.1", "0.000000000000000000000000000001", "3")
    assert price.reserved == Decimal("0.100000000000000000000000000003")
    assert amount(0.1, "x") * 10 == 1
    assert [shown(Decimal(one)) for one in ("1.30", "100", "0", "1E+2")] == ["1.3", "100", "0", "100"]


def test_ten_runs_of_a_tenth_fit_into_one():
    """And the eleventh is refused, with what is left."""
    backends, lifecycle = MemoryBackends(), tools("1", max_starts=99)
    for _ in range(10):
        assert not call(backends, "flat", PROMPT, lifecycle).is_error
    refused = call(backends, "flat", PROMPT, lifecycle)
    assert refused.is_error
    assert "may cost 0.1, and this conversation's budget of 1 has only 0 left" in refused.text
    assert len(backends.predictions.named("create")) == 10
    other = call(backends, "flat", PROMPT, lifecycle, scope="elsewhere")
    assert not other.is_error  # each conversation has its own


def test_the_amount_is_in_the_record_before_the_start_is_sent():
    """All that the run may cost."""
    backends = MemoryBackends()
    seen = []
    create = backends.predictions.create

    async def watched(**order):
        seen.extend(await backends.records.all(None))
        return await create(**order)

    backends.predictions.create = watched
    call(backends, "start_prediction", {"model": "draw", "input": PROMPT}, tools())
    [record] = seen
    assert (record.state, record.reserved, record.cost) == ("unknown", Decimal("2.1"), Decimal("2.1"))


@pytest.mark.parametrize(
    ("end", "cost"),
    [
        ({"metrics": {"predict_time": 1.5}}, "0.40"),
        ({"status": "failed", "error": "no", "metrics": {"predict_time": 1}}, "0.3"),
        ({"status": "canceled", "metrics": {"predict_time": 0}}, "0.1"),
        ({"status": "succeeded", "metrics": None}, "2.1"),
        ({"status": "failed", "error": "no"}, "2.1"),
        ({"metrics": {"predict_time": "1.5"}}, "2.1"),
        ({"metrics": {"predict_time": float("nan")}}, "2.1"),
        ({"metrics": {"predict_time": float("inf")}}, "2.1"),
        ({"metrics": {"predict_time": 10**400}}, "2.1"),
        ({"metrics": {"predict_time": -1}}, "2.1"),
        ({"status": "processing", "metrics": {"predict_time": 1.5}}, "2.1"),
    ],
)
def test_settling(end, cost):
    """By ``predict_time``, whatever the end; without it, or while it runs, all stays reserved."""
    backends = MemoryBackends()
    ended(backends, **end)
    call(backends, "draw", PROMPT, tools())
    [record] = records_of(backends)
    assert record.cost == Decimal(cost)
    assert Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record


def test_an_unknown_start_keeps_its_money_and_a_refused_one_gives_it_back():
    """Until a developer clears it."""
    backends = MemoryBackends()
    backends.predictions.failures = [LOST]
    call(backends, "draw", PROMPT, tools())
    assert costs(backends) == ["2.1"]
    [record] = records_of(backends)
    assert record._replace(state="cleared").cost == record._replace(state="refused").cost == 0


def test_what_has_ended_meanwhile_is_settled_before_a_start_is_refused():
    """Nobody has to look first."""
    backends, lifecycle = MemoryBackends(), tools("4")
    started = call(backends, "start_prediction", {"model": "draw", "input": PROMPT}, lifecycle)
    refused = call(backends, "draw", {"prompt": "y"}, lifecycle)
    assert "budget of 4 has only 1.9 left" in refused.text
    ended(backends, metrics={"predict_time": 1})
    do(backends.predictions.wait(started.result, timeout=1, on_update=None))
    assert not call(backends, "draw", {"prompt": "y"}, lifecycle).is_error


def test_a_run_that_costs_more_than_was_reserved_ends_all_further_starts():
    """The service does not enforce the longest time: it is recorded, and nothing else is started."""
    backends, lifecycle = MemoryBackends(), tools("100")
    ended(backends, metrics={"predict_time": 20})
    call(backends, "draw", PROMPT, lifecycle)
    assert [record.is_exceeded for record in records_of(backends)] == [True]
    refused = call(backends, "flat", PROMPT, lifecycle)
    assert "has cost 4.1, more than the 2.1 reserved" in refused.text
    assert "cost 4.1 (more than the 2.1 reserved)" in str(receipt(records_of(backends)))


def test_a_start_that_is_found_reserves_nothing():
    """The same call again, and the same order of a later turn."""
    backends, lifecycle = MemoryBackends(), tools("2.1")
    order = {"model": "draw", "input": PROMPT}
    for context in (
        {"call": ("1",), "turn": "a"},
        {"call": ("1",), "turn": "a"},
        {"call": ("2",), "turn": "b"},
    ):
        assert not call(backends, "start_prediction", order, lifecycle, **context).is_error
    assert str(receipt(records_of(backends)).cost) == "2.1"
    assert len(backends.predictions.named("create")) == 1


class Slow(UserDict):
    """A mapping that takes its time, as a file does: between a look and a write others come."""

    def __iter__(self):
        found = list(self.data)
        time.sleep(0.02)
        return iter(found)


@pytest.mark.parametrize("kind", ["process", "dict", "slow", "graph", "sqlite"])
@pytest.mark.parametrize("way", ["threads", "tasks", "both"])
def test_exact_for_all_threads_and_tasks(sandbox, tmp_path, kind, way):
    """Sixteen orders at once, from two sets of tools, and money for five: five are sent."""
    stores = {
        "process": None,
        "dict": {},
        "slow": Slow(),
        "graph": InMemoryStore(),
        "sqlite": tmp_path / "predictions.db",
    }
    settings = {"api_token": sandbox.api_token, "base_url": sandbox.base_url, "store": stores[kind]}
    settings |= {"max_cost": "0.55", "max_running": 99, "max_starts": 99}
    sets = [Toolset([FLAT], **settings) for _ in range(1 if kind == "process" else 2)]

    def ask(number):
        return sets[number % len(sets)].call("flat", {"prompt": str(number)}, CallContext("here"))

    async def ask_all(numbers):
        asked = [
            sets[one % len(sets)].acall("flat", {"prompt": str(one)}, CallContext("here")) for one in numbers
        ]
        answers = await asyncio.gather(*asked)
        for one in sets:
            await one.async_client.aclose()
        return answers

    def in_loop(numbers):
        return asyncio.run(ask_all(numbers))

    with ThreadPoolExecutor(17) as pool:
        threads = {"threads": range(16), "tasks": (), "both": range(8)}[way]
        tasks = [one for one in range(16) if one not in threads]
        futures = [pool.submit(ask, one) for one in threads]
        loop = pool.submit(in_loop, tasks) if tasks else None
        answers = [future.result() for future in futures] + (loop.result() if loop else [])
    for one in sets:
        one.close()
    assert len(sandbox.predictions) == sum(not answer.is_error for answer in answers) == 5


CLAIMS = """
import asyncio, sys
from decimal import Decimal
from rockai_transport.jobs.records import Record
from rockai_transport.jobs.sqlite_records import SqliteRecords
async def directly(function, *arguments, **named): return function(*arguments, **named)
records = SqliteRecords(sys.argv[1], directly)
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for number in range(20):
        record = Record(f"{sys.argv[2]}-{number}", "here", "m", "d", 1.0, price=("0.1", "0", "0"))
        won += await records.claim(record, Decimal("1"))
    print(won)
asyncio.run(main())
"""


def test_sqlite_is_exact_across_processes(tmp_path):
    """Three processes with twenty starts each, and money for ten: ten get it."""
    path = str(tmp_path / "predictions.db")
    processes = [
        subprocess.Popen(
            [*warm.PYTHON, "-c", CLAIMS, path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 10


def test_sqlite_keeps_a_key_for_one(tmp_path):
    """A second claim is refused, until the first was refused or cleared; records come back as they were."""
    records = SqliteRecords(str(tmp_path / "predictions.db"), directly)
    first = Record("k", "here", "m", "d", 1.0, nonce="1", price=("1", "0", "0"))
    assert do(records.claim(first))
    assert not do(records.claim(first._replace(nonce="2")))
    assert do(records.all("here")) == do(records.all(None)) == [first]
    assert do(records.all("there")) == []
    do(records.put(first._replace(state="refused")))
    assert do(records.claim(first._replace(nonce="3"), Decimal(1)))


@pytest.mark.parametrize("kind", [RockAIToolkit, RockAIToolSpec])
def test_both_frameworks_show_it(kind, sandbox):
    """The tool says what a run costs at most, the refusal what is left, the receipt what was spent."""
    toolkit = kind([FLAT], sandbox.api_token, sandbox.base_url, max_cost=0.15)
    tool = (toolkit.get_tools() if kind is RockAIToolkit else toolkit.to_tool_list())[0]
    about = tool.description if kind is RockAIToolkit else tool.metadata.description
    assert "Costs 0.1 at most." in about
    answers = [
        str(tool.invoke({"prompt": word}) if kind is RockAIToolkit else tool.call(prompt=word))
        for word in ("a", "b")
    ]
    assert "has only 0.05 left" in answers[1]
    assert toolkit.receipt().cost == Decimal("0.1")
    assert str(toolkit.receipt()).endswith("cost 0.1, 0.05 of 0.15 left")
    toolkit.close()


async def test_an_approval_request_says_what_the_run_costs_at_most_and_what_is_left():
    """In the question that a person is shown; without a budget, what it costs alone."""
    asked = []

    class Run:
        async def wait_for_event(self, kind, *, waiter_event, **_):
            asked.append(waiter_event.prefix)
            return kind(response="no")

    backends = MemoryBackends()
    ended(backends, metrics={"predict_time": 2})
    unlimited = Lifecycle([DRAW], Policy())
    for policy in (unlimited, tools("5"), tools("5")):
        call(backends, "draw", PROMPT, policy, approve=lambda *about: asked.append(about[3]))
        call(backends, "draw", PROMPT, policy)
    assert asked == [
        "Start draw? It costs 2.1 at most.",
        "Start draw? It costs 2.1 at most; 4.5 of 5 left.",
        "Start draw? It costs 2.1 at most; 4 of 5 left.",
    ]
    assert not await _ask(Run(), DRAW, PROMPT, "key", "the question")
    assert asked[-1] == "the question"


def test_a_receipt_shows_what_is_left():
    """Of one conversation in its last line; of several a line for each; all of it before the first start."""
    price = ("0.1", "0", "0")
    one = Record("k", "ann", "flat", "d", 1.0, "started", "p", "succeeded", 1.0, price=price)
    other = one._replace(key="l", scope="bob", state="unknown")
    assert str(receipt([], Decimal(5))).endswith(", 5 of 5 left")
    assert str(receipt([one], Decimal(5))).endswith("cost 0.1, 4.9 of 5 left")
    assert str(receipt([one, one._replace(key="m")], Decimal("0.1"))).endswith("cost 0.2, 0 of 0.1 left")
    both = receipt([one, other, one._replace(key="m")], Decimal(5))
    assert both.left == {"ann": Decimal("4.8"), "bob": Decimal("4.9")}
    assert "4.8 of 5 left: ann\n4.9 of 5 left: bob\n" in str(both)
    assert receipt([one]).left == {}
    assert "left" not in str(receipt([one]))


class Overtaken(MemoryRecords):
    """Another process reserves everything between the look at what is left and the claim."""

    async def claim(self, record, max_cost=None):
        await self.put(record._replace(key="rival", price=(str(max_cost), "0", "0")))
        return False


def test_a_store_that_refuses_the_money_is_believed():
    """It is told of the budget with the claim, and the agent of what is left; nothing is sent."""
    backends = MemoryBackends(records=Overtaken())
    refused = call(backends, "flat", PROMPT, tools("5"))
    assert "budget of 5 has only 0 left" in refused.text
    assert backends.predictions.named("create") == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_transaction_can_write(tmp_path):
    """The fork waits for it: in the child, SQLite's locks would look taken for ever."""
    records = SqliteRecords(str(tmp_path / "predictions.db"), directly)
    first = Record("k", "here", "m", "d", 1.0, nonce="1")
    begun, go_on = threading.Event(), threading.Event()

    def write(connection):
        connection.execute("BEGIN IMMEDIATE")
        begun.set()
        go_on.wait()

    writing = threading.Thread(target=records._attempt, args=[write])
    writing.start()
    begun.wait()
    threading.Timer(0.01, go_on.set).start()  # by a timer: nothing else runs while the fork waits
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # kills it
        with contextlib.suppress(BaseException):
            os._exit(not do(records.claim(first)))
        os._exit(2)
    writing.join()
    assert os.waitpid(child, 0)[1] == 0
    assert do(records.all("here")) == [first]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_starts():
    """A thread of the parent may be writing a start down at the fork: in the child, nobody ends that."""
    backends = MemoryBackends()
    writing = locked("here", sleep_here)
    do(writing.__aenter__())
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # kills it
        with contextlib.suppress(BaseException):
            os._exit(call(backends, "flat", PROMPT, tools()).is_error)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    do(writing.__aexit__(None, None, None))
