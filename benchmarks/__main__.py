"""``python -m benchmarks``: compare, measure, and write `RESULTS.md` and `results.svg` beside this file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import sdk
from benchmarks.arena import Arena
from benchmarks.facts import facts
from benchmarks.measures import Sizes, compare_texts, measure
from benchmarks.report import markdown, medians, plot
from benchmarks.server import Origin, serving

FULL = Sizes(
    rounds=5,
    tokens=4000,
    paced=300,
    calls=150,
    crowds=(10, 300, 1000),
    crowd=100,
    growth=(100, 10_000, 100_000),
    seconds=(0.3, 0.7, 1.5, 3.0, 6.0),
    objects=50,
)
QUICK = FULL._replace(
    rounds=3,
    tokens=1000,
    paced=200,
    calls=100,
    crowds=(10, 300),
    crowd=40,
    growth=(100, 1000, 10_000),
    seconds=(0.2, 0.5, 1.0),
    imports=FULL.imports[:2],
)


def results(origin: Origin, sizes: Sizes, remarks: Sequence[str] = ()) -> tuple[str, str]:
    """Run everything; return the text and the picture."""
    with Arena(origin) as arena:
        found = facts(arena)
        compare_texts(arena, sizes)
        arena.freeze()
        rounds = []
        for number in range(sizes.rounds):
            print(f"Round {number + 1} of {sizes.rounds}.", flush=True)
            rounds.append(measure(arena, sizes))
    burst = {name: value for (of, name), value in medians(rounds).items() if of == "burst"}
    return markdown(rounds, found, remarks), plot("CPU time of a token in burst, µs", burst)


def prepare(origin: Origin) -> None:
    """Give the server its own core, and allow enough sockets, if the system permits it."""
    if sys.platform == "linux" and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(origin.pid, cores[-1:])
        os.sched_setaffinity(0, cores[:-1])
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, printed and not written")
    quick = parser.parse_args().quick
    trouble = "a full run installs it" if quick else sdk.make_environment()
    about_sdk = f"{sdk.SDK}, in an environment of its own" if sdk.is_here() else f"none ({trouble})"
    with serving() as origin:
        prepare(origin)
        text, picture = results(origin, QUICK if quick else FULL, [f"Official SDK: {about_sdk}."])
    if quick:
        print(text)
        return
    here = Path(__file__).parent
    (here / "RESULTS.md").write_text(text + "\n![CPU time of a token](results.svg)\n", encoding="utf-8")
    (here / "results.svg").write_text(picture, encoding="utf-8")
    print(f"Written: {here / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
