"""The receipt: what an agent has started, for the person who pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rockai_transport.jobs.records import STARTED, UNANSWERED, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Receipt", "receipt"]


class Receipt(NamedTuple):
    """What was started, oldest first. ``str()`` gives it as a table.

    Made by `RockAIToolkit.receipt` and `RockAIToolSpec.receipt`.

    Example:
        >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
        >>> print(toolkit.receipt())
        generate_image       succeeded   ... s
        1 started, ... s of prediction
    """

    started: tuple[Record, ...]
    """Predictions, each with its id, status, predict seconds and files as last seen."""
    unknown: tuple[Record, ...]
    """Starts of which no answer is known; clear them with ``resolve(record.key, prediction_id=…)``."""

    @property
    def predict_seconds(self) -> float:
        """The seconds that the service has measured, in all.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> 0 < toolkit.receipt().predict_seconds < 60
            True
        """
        return sum((record.predict_seconds or 0.0 for record in self.started), 0.0)

    def __str__(self) -> str:
        rows = [_row(record) for record in self.started]
        rows += [
            f"{record.model:<20} unknown     record {record.key}  {record.note}" for record in self.unknown
        ]
        total = f"{len(self.started)} started, {self.predict_seconds:.1f} s of prediction"
        if self.unknown:
            total += f", {len(self.unknown)} unknown"
        return "\n".join([*(row.rstrip() for row in rows), total])


def receipt(records: Iterable[Record]) -> Receipt:
    """Make a receipt of records; what was refused or cleared is not on it."""
    ordered = sorted({record.key: record for record in records}.values(), key=lambda record: record.created)
    return Receipt(
        tuple(record for record in ordered if record.state == STARTED),
        tuple(record for record in ordered if record.state == UNANSWERED),
    )


def _row(record: Record) -> str:
    seconds = "" if record.predict_seconds is None else f"{record.predict_seconds:.1f} s"
    files = ", ".join(record.files)
    return f"{record.model:<20} {record.status:<11} {record.prediction_id}  {seconds:>8}  {files}"
