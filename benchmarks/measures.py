"""What is measured: what comes out, what it costs, what becomes of it when somebody leaves."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import httpx_sse

from benchmarks.contestants import CONTESTANTS, Contestant, Place
from benchmarks.service import CUT, ENDLESS, LONG, RECORDED, SHORT
from rockai_sandbox import Event
from rockai_transport import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rockai_sandbox import Sandbox

__all__ = [
    "Crowd",
    "Cut",
    "Kept",
    "calls",
    "crowd",
    "cut_streams",
    "exactness",
    "imports",
    "leaving",
    "streams",
]


class Kept(NamedTuple):
    """What of the recorded texts comes out."""

    exact: int
    """How many of them came out as they were said."""
    lost: int
    """How many characters did not."""


def exactness(place: Place) -> dict[str, Kept]:
    """Stream each text that was recorded from the official model server."""
    found = {}
    for one in CONTESTANTS:
        said = {name: "".join(one.stream(place, f"recorded/{name}")) for name in RECORDED}
        exact = sum(said[name] == text for name, text in RECORDED.items())
        found[one.name] = Kept(exact, sum(len(text) - len(said[name]) for name, text in RECORDED.items()))
    return found


class Cut(NamedTuple):
    """What a reader is told of a stream that ended half-way: an error, or half an answer."""

    broken_off: str
    """The connection broke, as when the model server dies."""
    in_good_order: str
    """The body was ended properly, but without the event that ends a stream, as by a gateway at its limit."""


def cut_streams(sandbox: Sandbox, place: Place) -> dict[str, Cut]:
    """Stream what ends half-way, in both ways."""
    half = Event("output", "half of ").frame().decode()
    found = {}
    for one in speaking(place):
        broken = _outcome(one, place, CUT)
        sandbox.answer_next(200, half, content_type="text/event-stream", path="/run_sse")
        found[one.name] = Cut(broken, _outcome(one, place, SHORT))
    return found


def _outcome(one: Contestant, place: Place, model: str) -> str:
    try:
        return f"taken for an answer: {''.join(one.stream(place, model))!r}"
    except Exception as error:  # noqa: BLE001 - whichever it is, it was noticed
        kept = getattr(error, "partial_text", None)
        return type(error).__name__ + (f", with {kept!r}" if kept else "")


def leaving(sandbox: Sandbox, place: Place) -> dict[str, float]:
    """Milliseconds from leaving a stream until the service has seen the connection close."""
    found = {}
    for one in speaking(place):
        pieces = one.stream(place, ENDLESS)
        next(pieces)
        have_left = _left(sandbox) + 1
        began = time.perf_counter()
        pieces.close()
        sandbox.wait_for(partial(_has_seen, have_left))
        found[one.name] = 1000 * (time.perf_counter() - began)
    return found


def _left(sandbox: Sandbox) -> int:
    return sum(request.disconnected for request in sandbox.requests)


def _has_seen(have_left: int, sandbox: Sandbox) -> bool:
    return _left(sandbox) >= have_left


def speaking(place: Place) -> list[Contestant]:
    """Those through which anything comes at all."""
    return [one for one in CONTESTANTS if any(one.stream(place, SHORT))]


def streams(place: Place, pieces: int, rounds: int) -> dict[str, float]:
    """CPU time for one long stream, as a ratio to reading the same bytes and looking at none of them."""

    def floor() -> None:
        body = {"model": LONG, "input": {}}
        with (
            httpx.Client(headers=place.headers, timeout=60) as client,
            client.stream("POST", f"{place.base_url}/run_sse", json=body) as response,
        ):
            for _ in response.iter_raw():
                pass

    def through(stream: Callable[[Place, str], Iterable[str]]) -> Callable[[], None]:
        def consume() -> None:
            got = sum(1 for piece in stream(place, LONG) if piece)
            if got != pieces:
                raise AssertionError(f"{got} of {pieces} pieces")

        return consume

    return _ratios({"": floor, **{one.name: through(one.stream) for one in speaking(place)}}, rounds)


def calls(place: Place, count: int, rounds: int) -> dict[str, float]:
    """CPU time for short calls one after another on one connection, as a ratio to httpx's own."""
    ours, theirs = Client(place.api_token, place.base_url), httpx.Client(headers=place.headers, timeout=60)

    def by_hand() -> None:
        for _ in range(count):
            theirs.post(f"{place.base_url}/run", json={"model": SHORT, "input": {}}).raise_for_status().json()

    def by_ours() -> None:
        for _ in range(count):
            ours.run(SHORT, {})

    with ours, theirs:
        return _ratios({"": by_hand, "rockai_transport": by_ours}, rounds)


class Crowd(NamedTuple):
    """Many streams at once in one event loop."""

    cpu: float
    """CPU seconds."""
    lag: float
    """The longest that anything else in the loop had to wait for its turn, in milliseconds."""


def crowd(place: Place, at_once: int) -> dict[str, Crowd]:
    """Read so many streams at once with ``await``."""

    async def ours() -> None:
        async with AsyncClient(place.api_token, place.base_url) as client:

            async def one() -> None:
                async for _ in client.stream(LONG, {}):
                    pass

            await asyncio.gather(*(one() for _ in range(at_once)))

    async def by_hand() -> None:
        limits = httpx.Limits(max_connections=at_once)
        async with httpx.AsyncClient(headers=place.headers, timeout=120, limits=limits) as client:

            async def one() -> None:
                body = {"model": LONG, "input": {}}
                sending = httpx_sse.aconnect_sse(client, "POST", f"{place.base_url}/run_sse", json=body)
                async with sending as source:
                    async for _ in source.aiter_sse():
                        pass

            await asyncio.gather(*(one() for _ in range(at_once)))

    ways = {"rockai_transport": ours, "httpx + httpx-sse": by_hand}
    return {name: asyncio.run(_watched(way)) for name, way in ways.items()}


async def _watched(way: Callable[[], Any]) -> Crowd:
    lags = [0.0]

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before - 0.005)

    ticking = asyncio.create_task(tick())
    began = time.process_time()
    await way()
    spent = time.process_time() - began
    ticking.cancel()
    return Crowd(spent, 1000 * max(lags))


def imports(rounds: int) -> dict[str, float]:
    """CPU time of an import in a fresh interpreter, as a ratio to httpx's."""
    modules = ["httpx", "rockai_transport", *(one.needs for one in CONTESTANTS if one.needs != "httpx")]

    def fresh(module: str) -> Callable[[], float]:
        program = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
        return lambda: float(subprocess.check_output([sys.executable, "-c", program], text=True))

    return _ratios({"" if module == "httpx" else module: fresh(module) for module in modules}, rounds)


def _ratios(ways: dict[str, Callable[[], float | None]], rounds: int) -> dict[str, float]:
    """Take turns, and give the median of each one's CPU time divided by that of the one without a name."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            told = way()
            spent[name].append(time.process_time() - began if told is None else told)
    floor = statistics.median(spent.pop(""))
    return {name: statistics.median(times) / floor for name, times in spent.items()}
