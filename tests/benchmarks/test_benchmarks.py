"""The benchmarks, tiny: that they run, and the facts among what they compare. Times are not facts."""

from __future__ import annotations

from xml.dom import minidom

import pytest

from benchmarks import structure
from benchmarks.__main__ import FULL, results
from benchmarks.arena import Arena
from benchmarks.budgets import BUDGETS
from benchmarks.contestants import STREAMS
from benchmarks.facts import CLIENTS, facts
from benchmarks.measures import compare_texts
from benchmarks.server import serving
from benchmarks.wires import RECORDED
from rockai_sandbox import Sandbox

OURS = CLIENTS[:3]
TINY = FULL._replace(
    rounds=1,
    tokens=20,
    paced=5,
    calls=1,
    crowds=(2, 3),
    crowd=5,
    growth=(5, 20, 80),
    seconds=(0.05,),
    objects=2,
    imports=FULL.imports[:2],
)
# replicate's client drops the response that it has read half; it is not ours to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module")
def origin():
    with serving() as running:
        yield running


def test_all_peers_are_here():
    """None is left out in silence."""
    assert {one.peer.package for one in STREAMS.values()} >= {
        "rockai-integrations",
        "httpx",
        "httpx-sse",
        "sseclient-py",
        "aiohttp",
        "replicate",
        "langchain-core",
        "langchain-ollama",
        "langchain-openai",
        "llama-index-core",
        "llama-index-llms-openai",
    }


def test_ours_alone_are_exact_and_take_no_half_answer(origin):
    """Every other client loses line breaks, and takes what a gateway cut short for an answer.

    Ours raise an error with what had arrived.
    """
    with Arena(origin) as arena:
        found = facts(arena)
    for name, fact in found.items():
        if name in OURS:
            assert (fact.exact, fact.lost) == (len(RECORDED), 0)
            assert fact.short == "StreamInterruptedError, with 'half of '"
        else:
            assert fact.exact < len(RECORDED)
            assert fact.short == "taken for an answer: 'half of '"
        assert "taken for" not in fact.broken


def test_a_contestant_that_reads_something_else_is_not_timed(origin, monkeypatch):
    """All texts are compared first."""
    wrong = STREAMS["httpx-sse"]
    monkeypatch.setitem(
        STREAMS, "httpx-sse", wrong._replace(peer=wrong.peer._replace(text=lambda _: "Hello"))
    )
    with Arena(origin) as arena, pytest.raises(AssertionError, match="httpx-sse reads 'Hello'"):
        compare_texts(arena, TINY)


def test_it_runs_and_gives_a_verdict_for_each_budget(origin, capsys):
    """With every measure in it; the picture is well-formed."""
    text, picture = results(origin, TINY)
    lines = [line for line in text.splitlines() if line.endswith(("| met |", "| missed |"))]
    assert len(lines) == len(BUDGETS)
    assert minidom.parseString(picture).documentElement.tagName == "svg"  # noqa: S318 - our own
    assert "Round 1 of 1" in capsys.readouterr().out


def test_what_one_call_enters_is_counted():
    """The same on every machine, but for the calls of what polls."""
    with Sandbox(video_seconds=0.3) as sandbox:
        found = structure.measure(sandbox)
    assert set(found) == {"Client.run", "ChatRockAI.invoke", "ChatRockAI.astream", "animate_image"}
    for one in found.values():
        assert 0 < len(one.frames) < one.files < one.functions < one.calls
