"""The measurements. A round measures everything once, so that its figures are from the same minutes.

A figure has a name of two parts: what is measured, and for whom. Times are CPU times of this process, except
lateness.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from operator import truediv
from typing import NamedTuple

from benchmarks import sdk
from benchmarks.arena import Arena
from benchmarks.contestants import CALLS, GROWING, STREAMS, TRANSCRIPT, Contestant
from benchmarks.peers import INPUT, MODEL, TOKEN
from benchmarks.wires import said
from rockai_transport import AsyncClient, Client

Figures = dict[tuple[str, str], float]

CROWD = ("AsyncClient.stream", "ChatRockAI.astream", "httpx aiter_raw", "aiohttp", "ChatOpenAI.astream")
"""The contestants whose streams are read concurrently."""
OURS = CROWD[:2]
IMPORTS = (
    "import httpx",
    "from rockai_transport import Client",
    "from replicate import Client",
    "from openai import OpenAI",
    "from langchain_core.language_models import BaseChatModel",
    "from langchain_rockai import ChatRockAI",
    "from langchain_openai import ChatOpenAI",
    "from llama_index.core.llms import LLM",
    "from llama_index_rockai import RockAI",
    "from llama_index.llms.openai import OpenAI",
)
"""The modules that are imported in a fresh interpreter."""


class Sizes(NamedTuple):
    """The amounts to measure."""

    rounds: int
    tokens: int
    """Number of tokens in a burst stream, and in a coalesced one."""
    paced: int
    """Tokens of a paced stream; each takes a millisecond."""
    calls: int
    crowds: tuple[int, ...]
    """Numbers of concurrent streams."""
    crowd: int
    """Number of tokens in each of these."""
    growth: tuple[int, int, int]
    """Numbers of tokens in streams whose costs must be in proportion; for conversations, ten times their
    turns."""
    seconds: tuple[float, ...]
    """Durations of the predictions to wait for."""
    objects: int
    """Number of clients and streams for measuring their memory."""
    imports: tuple[str, ...] = IMPORTS


def streams() -> Iterator[Contestant]:
    """Return the contestants whose environment is installed."""
    return (one for name, one in STREAMS.items() if name != "rockai SDK" or sdk.is_here())


def compare_texts(arena: Arena, sizes: Sizes) -> None:
    """Let every contestant read everything that will be measured once.

    Raises:
        AssertionError: A text is not exact.
    """
    growth = f"reasoning-{sizes.growth[0]}"
    wires = [(one, wire) for wire in _wires(sizes) for one in streams()]
    wires += [(one, "call-5") for one in CALLS.values()]
    wires += [(one, growth) for one in GROWING.values()]
    for one, wire in wires:
        text = arena.read(one, wire)
        right = text.endswith(said(wire)) if wire == growth else text == said(wire)
        if one.peer is not TRANSCRIPT and not right:
            raise AssertionError(f"{one.name} reads {text[:99]!r}… on {wire}")


def _wires(sizes: Sizes) -> dict[str, int]:
    return {
        f"burst-{sizes.tokens}": sizes.tokens,
        f"coalesced-{sizes.tokens}": sizes.tokens,
        f"paced-{sizes.paced}": sizes.paced,
    }


def measure(arena: Arena, sizes: Sizes) -> Figures:
    """Measure one round."""
    figures: Figures = {}
    for part in (_streams, _calls, _crowds, _growth, _lateness, _imports, _objects):
        figures.update(part(arena, sizes))
    return figures


def _streams(arena: Arena, sizes: Sizes) -> Figures:
    """Microseconds per token."""
    return {
        (wire.partition("-")[0], one.name): arena.cost(one, wire) / tokens * 1e6
        for wire, tokens in _wires(sizes).items()
        for one in streams()
        if one.peer.protocol or not wire.startswith("paced")  # a contestant that asks no server has no pace
    }


def _calls(arena: Arena, sizes: Sizes) -> Figures:
    """Microseconds per call."""
    return {
        ("call", name): arena.cost(one, "call-5", sizes.calls) / sizes.calls * 1e6
        for name, one in CALLS.items()
    }


def _crowds(arena: Arena, sizes: Sizes) -> Figures:
    """Microseconds per token; small numbers of streams are read several times, for more tokens."""
    figures: Figures = {}
    for count in sizes.crowds:
        times = max(1, sizes.crowds[-1] // count // 4)
        for name in CROWD:
            cost = arena.cost(STREAMS[name], f"crowd-{count}-{sizes.crowd}", times, count)
            figures[f"{count} streams", name] = cost / (times * count * sizes.crowd) * 1e6
    for position, count in (("fewest", sizes.crowds[0]), ("most", sizes.crowds[-1])):
        figures |= {(f"{position} streams", name): figures[f"{count} streams", name] for name in CROWD}
    return figures | {("most streams", "failures"): sum(arena.failures[name] for name in OURS)}


def _growth(arena: Arena, sizes: Sizes) -> Figures:
    """Cost of a further token in long texts, relative to that in short ones; constant cost is 1."""
    figures = {}
    few, more, most = sizes.growth
    for name, one in GROWING.items():
        # Long texts once: garbage of earlier ones would be collected among all objects of the benchmark.
        times = {few: 30, more: 30, most: max(1, 30_000 // most)}
        first, second, third = (
            arena.cost(one, f"reasoning-{count}", repeated) / repeated for count, repeated in times.items()
        )
        figures["growth", name] = (third - second) / (most - more) / ((second - first) / (more - few))
    return figures


def _lateness(arena: Arena, sizes: Sizes) -> Figures:
    """Polling: the worst share of the allowed time. With its event stream: milliseconds, the median."""

    async def late(seconds: float, on_text: Callable[[str], None] | None) -> float:
        url = arena.origin.at("rockai", f"ends-{seconds}")
        async with AsyncClient(TOKEN, f"{url}/v1", route="predictions") as client:
            prediction = await client.run(MODEL, INPUT, on_text=on_text)
        return time.time() - float(prediction.text)

    async def all_at_once(on_text: Callable[[str], None] | None) -> list[float]:
        return list(await asyncio.gather(*(late(seconds, on_text) for seconds in sizes.seconds)))

    polled, streamed = arena.run(all_at_once(None)), arena.run(all_at_once(lambda _: None))
    allowed = [max(0.05, 0.06 * seconds) + 0.05 for seconds in sizes.seconds]
    return {
        ("lateness", "polling, share of what is allowed"): max(map(truediv, polled, allowed)),
        ("lateness", "event stream, ms"): statistics.median(streamed) * 1e3,
    }


def _imports(_: Arena, sizes: Sizes) -> Figures:
    """Milliseconds of a fresh interpreter, the better of two."""
    program = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
    figures = {}
    for statement in sizes.imports:
        command = [sys.executable, "-c", program.format(statement)]
        fastest = min(float(subprocess.check_output(command, text=True)) for _ in range(2))
        figures["import", statement] = fastest * 1e3
    return figures


def _objects(arena: Arena, sizes: Sizes) -> Figures:
    """Milliseconds to create a client; kilobytes of a client after a call, and of an open stream."""
    count = sizes.objects
    began = time.process_time()
    for _ in range(count):
        Client(TOKEN).close()
    spent = time.process_time() - began
    with traced() as memory, contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(Client(TOKEN, f"{arena.origin.at('rockai', 'call-5')}/v1"))
            client.run(MODEL, INPUT)
        of_clients = memory()
    of_streams = arena.run(
        _memory_of_streams(arena.client(STREAMS["AsyncClient.stream"].peer, "held"), count)
    )
    return {
        ("a client", "ms"): spent / count * 1e3,
        ("a client", "KB"): of_clients / count / 1024,
        ("an open stream", "KB"): of_streams / count / 1024,
    }


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Trace memory; yield a function that returns the bytes allocated since, and still in use."""

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    gc.collect()
    tracemalloc.start()
    try:
        yield held
    finally:
        tracemalloc.stop()


async def _memory_of_streams(client: AsyncClient, count: int) -> int:
    with traced() as memory:
        streams = [client.stream(MODEL, INPUT) for _ in range(count)]
        for stream in streams:
            await anext(stream)
        held = memory()
    for stream in streams:
        await stream.aclose()
    return held
