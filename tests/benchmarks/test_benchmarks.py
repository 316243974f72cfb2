"""The benchmarks, tiny: that they run, and the facts among what they compare. Times are not facts."""

from __future__ import annotations

import pytest
from rich.console import Console

import benchmarks.__main__ as program
from benchmarks import measures
from benchmarks.contestants import CONTESTANTS, Place
from benchmarks.service import RECORDED, prepare
from rockai_sandbox import Sandbox

OURS = {"rockai_transport", "langchain_rockai", "llama_index_rockai"}
# replicate's client drops the response that it has read half; it is not ours to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def sandbox():
    with Sandbox() as running:
        prepare(running, 20)
        yield running


@pytest.fixture
def place(sandbox):
    return Place(sandbox.base_url, sandbox.api_token)


def test_all_contestants_are_here():
    """Ours and the peers: none is left out in silence."""
    assert {one.name for one in CONTESTANTS} == {
        *OURS,
        "httpx + httpx-sse",
        "httpx + sseclient-py",
        "replicate",
    }


def test_ours_alone_are_exact(place):
    """Of what the official model server said, every other client loses line breaks."""
    kept = measures.exactness(place)
    assert {name for name, one in kept.items() if one == (len(RECORDED), 0)} == OURS


def test_ours_alone_take_no_half_answer(sandbox, place):
    """A stream that ends in good order without its end event is an error, with what had arrived."""
    for name, cut in measures.cut_streams(sandbox, place).items():
        said = (
            "StreamInterruptedError, with 'half of '" if name in OURS else "taken for an answer: 'half of '"
        )
        assert cut.in_good_order == said
        assert "taken for" not in cut.broken_off


def test_it_runs_and_prints_its_tables(monkeypatch):
    """With every measure in it."""
    console = Console(record=True, width=120, quiet=False)
    monkeypatch.setattr(program, "console", console)
    program.what_comes_out(20)
    program.what_it_costs(20, 1)
    printed = console.export_text()
    for title in (
        "recorded from",
        "ends half-way",
        "Leaving",
        "of a stream of 20",
        "short calls",
        "at once",
        "import",
    ):
        assert title in printed
