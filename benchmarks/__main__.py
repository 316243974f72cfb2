"""``python -m benchmarks``: measure, and print a table of each."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from benchmarks import measures
from benchmarks.contestants import Place
from benchmarks.service import RECORDED, apart, prepare
from rockai_sandbox import Sandbox

console = Console(width=120)


def show(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    """Print one table."""
    table = Table("", *columns)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(f"\n[bold]{title}", table, sep="\n")


def what_comes_out(pieces: int) -> None:
    """What needs no other process."""
    with Sandbox() as sandbox:
        prepare(sandbox, pieces)
        place = Place(sandbox.base_url, sandbox.api_token)
        kept = measures.exactness(place)
        rows = {name: [f"{one.exact} of {len(RECORDED)}", str(one.lost)] for name, one in kept.items()}
        show("Texts recorded from the official model server", ["exact", "characters lost"], rows)
        cut = measures.cut_streams(sandbox, place)
        rows = {name: list(one) for name, one in cut.items()}
        show("A stream that ends half-way", ["the connection breaks", "ended in good order"], rows)
        gone = measures.leaving(sandbox, place)
        rows = {name: [f"{milliseconds:.1f} ms"] for name, milliseconds in gone.items()}
        show("Leaving a stream: until the service sees it", ["after"], rows)


def what_it_costs(pieces: int, rounds: int) -> None:
    """CPU time of this process alone; the service has its own."""
    few = max(pieces // 50, 1)
    with apart(pieces) as place:
        of_streams = measures.streams(place, pieces, rounds)
        show_ratios(f"CPU time of a stream of {pieces} pieces (1: httpx reads the bytes)", of_streams)
        show_ratios("CPU time of short calls (1: httpx by hand)", measures.calls(place, few, rounds))
    with apart(few) as place:
        at_once = max(pieces // 25, 2)
        crowd = measures.crowd(place, at_once)
        rows = {name: [f"{one.cpu:.2f} s", f"{one.lag:.0f} ms"] for name, one in crowd.items()}
        title = f"{at_once} streams of {few} pieces at once, in one event loop"
        show(title, ["CPU time", "longest wait of others"], rows)
    show_ratios("CPU time of an import (1: httpx)", measures.imports(rounds))


def show_ratios(title: str, ratios: dict[str, float]) -> None:
    """Print a table of ratios."""
    show(title, ["ratio"], {name: [f"{ratio:.2f}"] for name, ratio in ratios.items()})


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--pieces", type=int, default=5000, help="the length of a stream (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (%(default)s)")
    options = parser.parse_args()
    what_comes_out(options.pieces)
    what_it_costs(options.pieces, options.rounds)


if __name__ == "__main__":
    main()
