"""The results as text, and as a picture."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

from benchmarks.budgets import BUDGETS
from benchmarks.contestants import CALLS, STREAMS
from benchmarks.facts import Fact
from benchmarks.measures import Figures
from benchmarks.wires import RECORDED

TABLES = {
    "CPU time of a token, µs": ("burst", "coalesced", "paced"),
    "CPU time of a call, µs": ("call",),
    "CPU time of an import, ms": ("import",),
}
"""The measures that are shown side by side."""
LISTED = ("lateness", "a client", "an open stream", "growth")
OURS = ("Client", "AsyncClient", "ChatRockAI", "RockAI", "RockAILLM")


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def markdown(rounds: Sequence[Figures], found: Mapping[str, Fact], remarks: Sequence[str]) -> str:
    """Return the results as Markdown."""
    parts = ["# Results", _about(len(rounds)), *remarks, "## Budgets", _budgets(rounds)]
    typical = medians(rounds)
    crowds = tuple(dict.fromkeys(measure for measure, _ in typical if measure[0].isdigit()))
    for title, measures in {**TABLES, "CPU time of a token of many streams at once, µs": crowds}.items():
        parts += [f"## {title}", _side_by_side(typical, measures)]
    parts += ["## The rest", _listed(typical), "## What comes out", _facts(found)]
    return "\n\n".join(parts) + "\n"


def _about(rounds: int) -> str:
    packages = sorted(
        {one.peer.package for one in (*STREAMS.values(), *CALLS.values())} - {""} | {"httpcore", "openai"}
    )
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{datetime.now(UTC):%d %B %Y}; {_processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}; rounds: {rounds}.\n\n{versions}."
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _budgets(rounds: Sequence[Figures]) -> str:
    rows = []
    for budget in BUDGETS:
        value = budget.value(rounds)
        verdict = "met" if value <= budget.limit else "missed"
        rows.append([budget.name, f"{value:.2f}", f"≤ {budget.limit:g}", verdict])
    return _table(["", "measured", "budget", "verdict"], rows)


def _side_by_side(figures: Figures, measures: Sequence[str]) -> str:
    names = dict.fromkeys(name for measure, name in figures if measure in measures)
    rows = [[name, *(_cell(figures.get((measure, name))) for measure in measures)] for name in names]
    return _table(["", *measures], rows)


def _listed(figures: Figures) -> str:
    rows = [[f"{of}: {name}", f"{value:.2f}"] for (of, name), value in figures.items() if of in LISTED]
    return _table(["", ""], rows)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _facts(found: Mapping[str, Fact]) -> str:
    head = [
        "",
        "exact texts",
        "characters lost",
        "the connection breaks",
        "ended without its last event",
        "left after",
    ]
    rows = [
        [name, f"{one.exact} of {len(RECORDED)}", str(one.lost), one.broken, one.short, f"{one.left:.1f} ms"]
        for name, one in found.items()
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(title: str, bars: Mapping[str, float]) -> str:
    """Draw horizontal bars as SVG; ours are dark."""
    left, width, height = 230, 560, 20
    longest = max(bars.values())
    drawn = [f'<text x="10" y="22" font-size="15">{escape(title)}</text>']
    for number, (name, value) in enumerate(sorted(bars.items(), key=lambda bar: bar[1])):
        y, length = 36 + number * height, value / longest * width
        color = "#1f4e9c" if name.partition(".")[0] in OURS else "#b8c4d6"
        drawn += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{height - 4}" fill="{color}"/>',
            f'<text x="{left + length + 6:.1f}" y="{y + 14}">{value:.1f}</text>',
        ]
    size = f'width="{left + width + 60}" height="{46 + len(bars) * height}"'
    style = 'font-family="sans-serif" font-size="12"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', background, *drawn, "</svg>\n"]
    )
