"""What a lifecycle flow asks its shell to do: call the client, or the records.

A flow is a generator that decides everything and does nothing, as in the transport. The two
shells (`rockai_transport.jobs.shells`) call what it names, one with ``await``, and pass failures in with
``throw``, Ctrl-C and task cancellation too.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from rockai_transport.jobs.records import Record
    from rockai_transport.protocol.prediction import Prediction

__all__ = [
    "Do",
    "Effect",
    "Flow",
    "Now",
    "Pause",
    "Together",
    "approved",
    "ask",
    "download",
    "keep",
    "now",
    "recall",
    "recall_all",
]


class Do(NamedTuple):
    """Call a method → what it returns."""

    on: Literal["client", "predictions", "records", "site"]
    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed
    shielded: bool = False
    """Whether a cancellation waits until it is done, two seconds at most: what is sent must be remembered."""


class Together(NamedTuple):
    """Do several things at once, shielded, for two seconds at most → results, exceptions among them."""

    calls: tuple[Do, ...]


class Now(NamedTuple):
    """→ seconds since 1970."""


class Pause(NamedTuple):
    """Let a cancellation through that has been waiting."""


Effect = Do | Together | Now | Pause

T = TypeVar("T")
Flow = Generator[Effect, Any, T]


def ask(method: str, *args: Any, shielded: bool = False, **kwargs: Any) -> Flow[Prediction]:
    """Ask the service about a prediction."""
    prediction: Prediction = yield Do("predictions", method, args, kwargs, shielded)
    return prediction


def download(prediction: Prediction, folder: str | Path) -> Flow[list[Path]]:
    """Save the files of an output."""
    paths: list[Path] = yield Do("client", "download", (prediction, folder))
    return paths


def approved(*about: Any) -> Flow[bool]:
    """Ask a person, where the program has somebody to ask."""
    yes: bool = yield Do("site", "approve", about)
    return yes


def now() -> Flow[float]:
    """Ask for the time of day."""
    moment: float = yield Now()
    return moment


def recall(scope: str, key: str) -> Flow[Record | None]:
    """Read one record."""
    record: Record | None = yield Do("records", "get", (scope, key))
    return record


def recall_all(scope: str | None, *, shielded: bool = False) -> Flow[list[Record]]:
    """Read the records of a scope, oldest first."""
    records: list[Record] = yield Do("records", "all", (scope,), {}, shielded)
    return records


def keep(record: Record) -> Flow[Record]:
    """Write a record; a cancellation waits for it."""
    yield Do("records", "put", (record,), {}, shielded=True)
    return record
