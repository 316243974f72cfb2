"""What the doctor finds: a verdict for each assumption, and the setting that would mend a difference.

Law of this module: values only. Nothing here sends, prints or decides.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rockai_transport.service import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rockai_transport.doctor.recording import Exchange

__all__ = [
    "UNSET",
    "Finding",
    "Judgement",
    "Mend",
    "Nested",
    "OutputUnder",
    "Unmade",
    "Verdict",
    "as_assumed",
    "bent",
    "differs",
    "unknown",
]

UNSET = object()
"""The value of a `Mend` whose field is known, but not what belongs there."""


class Verdict(enum.Enum):
    """How an assumption fared; the value is the sign in front of its line."""

    AS_ASSUMED = "✓"
    DIFFERS = "✗"
    UNKNOWN = "?"


class Unmade(enum.Enum):
    """Why checks were not made, where one sentence says it of them all; the value says it of one."""

    NO_MODEL = "it needs a paid run: give a model with --model owner/name"
    NOT_AGREED = "it needs a paid run, which was not agreed to"
    NOT_REACHED = "not reached"

    def of(self, count: int) -> str:
        """The sentence, for a number of checks."""
        checks, need, were = ("check", "needs", "was") if count == 1 else ("checks", "need", "were")
        match self:
            case Unmade.NO_MODEL:
                return f"{count} {checks} {need} a paid run: make them with --model owner/name."
            case Unmade.NOT_AGREED:
                return (
                    f"{count} {checks} {need} a paid run, which was not agreed to: answer y, or give --yes."
                )
            case Unmade.NOT_REACHED:
                return f"{count} further {checks} {were} not reached."


@dataclass(frozen=True)
class Nested:
    """A `Service.read_prediction` hook: the prediction stands under one key of the answer."""

    key: str

    def __call__(self, answer: Any) -> Any:
        """Take the prediction out of an answer; leave any other answer as it is."""
        inner = answer.get(self.key) if isinstance(answer, dict) else None
        return inner if isinstance(inner, dict) else answer

    def __repr__(self) -> str:
        # Code that can be pasted: the hook of a user who has no reason to import the doctor.
        return f"lambda answer: answer.get({self.key!r}, answer) if isinstance(answer, dict) else answer"


@dataclass(frozen=True)
class OutputUnder:
    """A `Service.read_prediction` hook: ``/run`` answers with the output under a key, and no status."""

    key: str

    def __call__(self, answer: Any) -> Any:
        """Make a prediction of such an answer; leave any other as it is."""
        if not isinstance(answer, dict) or self.key not in answer or "status" in answer:
            return answer
        return {"status": "succeeded", "output": answer[self.key]}

    def __repr__(self) -> str:
        key = repr(self.key)
        fits = f"isinstance(answer, dict) and {key} in answer and 'status' not in answer"
        return f"lambda answer: {{'status': 'succeeded', 'output': answer[{key}]}} if {fits} else answer"


@dataclass(frozen=True)
class Mend:
    """A setting that would mend a difference.

    Attributes:
        field: a field of `Service`; ``route`` and ``base_url`` are arguments of the clients.
        value: what to set it to; `UNSET` where only a person can know.
        ours: whether we believed or tried it, so that it need not be redacted: the service did not name it.
    """

    field: str
    value: Any = UNSET
    ours: bool = dataclasses.field(default=False, compare=False)

    @property
    def of_service(self) -> bool:
        """Whether it is a field of `Service`, and not an argument of the clients."""
        return self.field in _SERVICE_FIELDS

    @property
    def is_known(self) -> bool:
        """Whether the value is known too."""
        return self.value is not UNSET

    def __str__(self) -> str:
        value = repr(self.value) if self.is_known else "…"
        return f"{'Service' if self.of_service else 'Client'}({self.field}={value})"


_SERVICE_FIELDS = frozenset(field.name for field in dataclasses.fields(Service))


@dataclass(frozen=True)
class Judgement:
    """What a check says of the evidence."""

    verdict: Verdict
    seen: str
    mends: tuple[Mend, ...] = ()
    exchange: Exchange | None = None
    """The one to show, where the check looked at several."""


def as_assumed(seen: str, exchange: Exchange | None = None) -> Judgement:
    """It is as docs/http-api.md says."""
    return Judgement(Verdict.AS_ASSUMED, seen, exchange=exchange)


def differs(seen: str, *mends: Mend, exchange: Exchange | None = None) -> Judgement:
    """It is not; `mends` are the settings that would mend it."""
    return Judgement(Verdict.DIFFERS, seen, mends, exchange)


def unknown(why: str, exchange: Exchange | None = None) -> Judgement:
    """It cannot be told."""
    return Judgement(Verdict.UNKNOWN, why, exchange=exchange)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    title: str
    """The probe's: what was done."""
    assumption: str
    source: str
    verdict: Verdict
    seen: str
    mends: tuple[Mend, ...] = ()
    frame: str = ""
    """The exchange that shows it: request line, headers of note, the first bytes of the body."""
    unmade: Unmade | None = None
    """Why the check was not made, where a report says that of all such checks together."""


def bent(service: Service, mends: Sequence[Mend]) -> Service:
    """The service with those mends that are known applied."""
    changes = {mend.field: mend.value for mend in mends if mend.of_service and mend.is_known}
    return dataclasses.replace(service, **changes)
