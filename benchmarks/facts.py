"""The results of streams, apart from cost: the exact text, or an error; and how fast one can be left."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import httpx

from benchmarks.arena import Arena
from benchmarks.contestants import STREAMS, Contestant
from benchmarks.wires import RECORDED

CLIENTS = (
    "Client.stream",
    "ChatRockAI.stream",
    "RockAI.stream_complete",
    "httpx-sse",
    "sseclient-py",
    "replicate",
)
"""The contestants that can use RockAI's address."""


class Fact(NamedTuple):
    """The facts about one client."""

    exact: int
    """Number of texts, recorded from the official model server, that were exact."""
    lost: int
    """Number of their characters that were not."""
    broken: str
    """What a reader gets when the connection breaks, as when the model server dies."""
    short: str
    """The same if the body ends properly but without the last event, as at a gateway's limit."""
    left: float
    """Milliseconds from leaving a stream until the server has seen it."""


def facts(arena: Arena) -> dict[str, Fact]:
    """Collect the facts."""
    return {name: _fact(arena, STREAMS[name]) for name in CLIENTS}


def _fact(arena: Arena, one: Contestant) -> Fact:
    read = {name: arena.read(one, f"recorded-{name}") for name in RECORDED}
    exact = sum(read[name] == text for name, text in RECORDED.items())
    lost = sum(len(text) - len(read[name]) for name, text in RECORDED.items())
    return Fact(exact, lost, _outcome(arena, one, "cut"), _outcome(arena, one, "short"), _leaving(arena, one))


def _outcome(arena: Arena, one: Contestant, wire: str) -> str:
    try:
        return f"taken for an answer: {arena.read(one, wire)!r}"
    except Exception as error:  # noqa: BLE001 - any error means that it was noticed
        kept = getattr(error, "partial_text", None)
        return type(error).__name__ + (f", with {kept!r}" if kept else "")


def _leaving(arena: Arena, one: Contestant) -> float:
    with httpx.Client(base_url=arena.origin.url) as observer:

        def seen() -> list[Any]:
            found: list[Any] = observer.get("/left/now").json()
            return found

        stream = one.start(arena.client(one.peer, "held"))
        next(stream)
        before = len(seen())
        began = time.time()
        stream.close()
        while len(left := seen()) == before:
            pass
        return float(left[before] - began) * 1000
