"""The words of the table: what a probe is, what a check is, and what stops them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.config import Route
    from rockai_transport.doctor.findings import Judgement
    from rockai_transport.doctor.patient import Patient
    from rockai_transport.doctor.recording import Exchange

__all__ = ["Check", "ObstacleError", "Probe", "RefusedError", "UnavailableError"]

E = TypeVar("E")
_ALL: frozenset[Route] = frozenset({"auto", "run", "predictions"})


class ObstacleError(Exception):
    """Nothing further can be checked. Its text teaches what to do."""


class RefusedError(ObstacleError):
    """A run was refused, as every further one with the same token, model and input would be."""

    def __init__(self, words: str, exchange: Exchange) -> None:
        super().__init__(words)
        self.exchange = exchange


class UnavailableError(Exception):
    """The evidence of one probe could not be had. Its text says why."""


@dataclass(frozen=True)
class Check(Generic[E]):
    """One assumption.

    Attributes:
        id: its name in reports.
        assumption: in one line.
        source: the section of docs/http-api.md that tells it, and that page's own mark for its source.
        judge: the evidence and the patient → a judgement. Sends nothing.
        settings: the fields of `Service`, or the arguments of the clients, that would mend a difference.
        routes: the clients' ``route`` settings that rely on it.
    """

    id: str
    assumption: str
    source: str
    judge: Callable[[E, Patient], Judgement]
    settings: tuple[str, ...] = ()
    routes: frozenset[Route] = _ALL


@dataclass(frozen=True)
class Probe(Generic[E]):
    """What is sent once, and the checks that its evidence serves.

    Attributes:
        title: what is done, for the one who is asked to pay.
        send: gathers the evidence.
        checks: in the order in which their mends build on each other.
        runs: how many paid runs it takes at most.
        consent: whether it may be sent only after asking: it costs a run, or would if an assumption fails.
        obstacle: why it cannot be sent to this patient; empty where it can.
        routes: the clients' ``route`` settings that rely on it.
    """

    title: str
    send: Callable[[Patient], E]
    checks: tuple[Check[E], ...]
    runs: int = 0
    consent: bool = False
    obstacle: Callable[[Patient], str] = field(default=lambda _patient: "")
    routes: frozenset[Route] = _ALL
