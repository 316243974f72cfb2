"""The table of faults and operations, `matrix.md`: what must happen in each cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("matrix.md")
_CELL = re.compile(r'(?P<name>\w+?)(?P<started>!?) (?P<again>~?)(?P<requests>\d+)(?: "(?P<text>.*)")?')


class Cell(NamedTuple):
    """What must happen.

    Attributes:
        name: The exception, without its ``Error``; ``ok`` for none.
        started: Whether its ``may_have_started`` is true.
        again: Whether the request is tried again, so that a fault that happens once is not seen.
        requests: How many requests the service sees.
        text: What was handed on.
    """

    name: str
    started: bool
    again: bool
    requests: int
    text: str

    @classmethod
    def read(cls, written: str) -> Cell:
        """Read a cell of the table."""
        found = _CELL.fullmatch(written)
        assert found is not None, f"no cell: {written!r}"
        text = found["text"] or ""
        return cls(found["name"], bool(found["started"]), bool(found["again"]), int(found["requests"]), text)

    def once(self, right_text: str) -> Cell:
        """What must happen where the second request is answered right."""
        return Cell("ok", False, False, 2, right_text) if self.again else self  # noqa: FBT003 - a row

    def without_retries(self) -> Cell:
        """What must happen with ``max_retries=0``."""
        return self._replace(requests=1) if self.again else self


def read_table() -> dict[str, dict[str, Cell]]:
    """Give the cells, by fault and operation."""
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    operations = rows[0][1:]
    return {
        fault: {name: Cell.read(cell) for name, cell in zip(operations, cells, strict=True)}
        for fault, *cells in rows[2:]
    }
