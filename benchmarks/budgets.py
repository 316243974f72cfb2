"""All budgets, in one table. Each is a figure, or its ratio to the sum of others in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.contestants import GROWING
from benchmarks.measures import Figures

Key = tuple[str, str]


class Budget(NamedTuple):
    """One budget."""

    of: Key
    """The figure."""
    limit: float
    """The maximum."""
    beside: tuple[Key, ...] = ()
    """The figures whose sum it is divided by; empty: it is not divided."""

    @property
    def name(self) -> str:
        """The figure, and what it is compared with."""
        measure, one = self.of
        others = " + ".join(other if key == measure else f"{other} ({key})" for key, other in self.beside)
        return f"{measure}: {one}" + (f" ÷ {others}" if others else "")

    def value(self, rounds: Sequence[Figures]) -> float:
        """Return the median over the rounds."""
        return statistics.median(self._of_round(figures) for figures in rounds)

    def _of_round(self, figures: Figures) -> float:
        return figures[self.of] / (sum(figures[key] for key in self.beside) or 1.0)


def _ratio(measure: str, one: str, limit: float, *others: str) -> Budget:
    return Budget((measure, one), limit, tuple((measure, other) for other in others))


FLAT = 1.3
"""Maximum cost of a further token in a long text, relative to one in a short text."""

BUDGETS = [
    _ratio("burst", "Client.stream", 0.5, "httpx iter_raw"),
    _ratio("burst", "AsyncClient.stream", 0.5, "httpx aiter_raw"),
    _ratio("paced", "Client.stream", 1.0, "httpx iter_raw"),
    _ratio("paced", "AsyncClient.stream", 1.0, "httpx aiter_raw"),
    _ratio("burst", "ChatRockAI.stream", 1.25, "langchain-core stream", "Client.stream"),
    _ratio("burst", "ChatRockAI.astream", 1.25, "langchain-core astream", "AsyncClient.stream"),
    _ratio("burst", "ChatRockAI.stream", 0.7, "ChatOllama.stream"),
    _ratio("burst", "ChatRockAI.astream", 0.7, "ChatOllama.astream"),
    _ratio("burst", "ChatRockAI.stream", 0.2, "ChatOpenAI.stream"),
    _ratio("burst", "ChatRockAI.astream", 0.2, "ChatOpenAI.astream"),
    _ratio("burst", "RockAI.stream_complete", 1.25, "LlamaIndex stream_complete", "Client.stream"),
    _ratio("burst", "RockAI.stream_chat", 1.25, "LlamaIndex stream_chat", "Client.stream"),
    _ratio("call", "Client.run", 1.2, "httpx post"),
    _ratio("call", "AsyncClient.run", 1.2, "httpx async post"),
    _ratio("call", "ChatRockAI.invoke", 1.6, "httpx post", "langchain-core invoke"),
    _ratio("call", "ChatRockAI.ainvoke", 1.6, "httpx async post", "langchain-core ainvoke"),
    _ratio("call", "RockAI.complete", 1.6, "httpx post", "LlamaIndex complete"),
    _ratio("call", "ChatRockAI.invoke", 0.5, "ChatOpenAI.invoke"),
    Budget(("most streams", "AsyncClient.stream"), 1.5, (("fewest streams", "AsyncClient.stream"),)),
    Budget(("most streams", "failures"), 0),
    _ratio("most streams", "ChatRockAI.astream", 0.25, "ChatOpenAI.astream"),
    Budget(("lateness", "polling, share of what is allowed"), 1.0),
    Budget(("lateness", "event stream, ms"), 25),
    _ratio("import", "from rockai_transport import Client", 1.25, "import httpx"),
    Budget(("a client", "ms"), 1),
    Budget(("a client", "KB"), 20),
    Budget(("an open stream", "KB"), 50),
    *(Budget(("growth", name), FLAT) for name in GROWING),
]
