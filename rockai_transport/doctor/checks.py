"""What is checked (the tables of ``checks.toml``), and what is found: verdicts, and settings."""

from __future__ import annotations

import dataclasses
import enum
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, get_args

from rockai_transport.config import Route
from rockai_transport.service import Service

TABLES: dict[str, Any] = tomllib.loads((files("rockai_transport.doctor") / "checks.toml").read_text("utf-8"))
_ROWS = {row["id"]: row for probe in TABLES["probes"] for row in probe["checks"]}


class Check(NamedTuple):
    """One assumption."""

    id: str
    """Its name in reports."""
    title: str
    """The probe's: what was done."""
    assumption: str
    source: str
    """The section of docs/http-api.md that tells it, and that page's own mark for its source."""
    cases: Mapping[str, str]
    """What may be seen: the name of each case → its verdict's sign, and what is said of it."""
    unfixed: Sequence[str] = ()
    """The cases of a difference that no setting fixes."""
    routes: Sequence[str] = get_args(Route)
    """The clients' ``route`` settings that rely on it."""


class Probe(NamedTuple):
    """What is done once, and the checks that it serves. Its fields are told in the table."""

    name: str
    title: str
    checks: tuple[Check, ...]
    needs: str = ""
    runs: int = 0
    asks: bool = False


def _probe(row: dict[str, Any]) -> Probe:
    rows = [_ROWS.get(check.pop("like", ""), {}) | check for check in row["checks"]]
    return Probe(**row | {"checks": tuple(Check(title=row["title"], **check) for check in rows)})


PROBES = tuple(map(_probe, TABLES["probes"]))
"""Every probe, in the order in which they are made."""

CHECKS = tuple(check for probe in PROBES for check in probe.checks)
"""Every check, in the order of the report."""

CHECK_BY_ID = {check.id: check for check in CHECKS}


def run_words(base_url: str) -> dict[str, str]:
    """How runs are spoken of: that they are charged for is known of the live service alone."""
    forms = TABLES["charges"]
    return dict(forms["live" if re.match(forms["address"], base_url) else "elsewhere"])


def reason_words(form: str, reason: str, base_url: str, **facts: Any) -> str:
    """Why checks were not made, in a form of the table: ``each``, ``one`` or ``several``."""
    forms = TABLES["report"]["skipped"]
    return str(forms.get(reason, forms["other"])[form]).format(reason=reason, **facts, **run_words(base_url))


class Verdict(enum.Enum):
    """How an assumption fared; the value is the sign in front of its line."""

    AS_ASSUMED = "✓"
    DIFFERS = "✗"
    UNKNOWN = "?"


@dataclasses.dataclass(frozen=True)
class AnswerKey:
    """A `Service.read_prediction` hook for answers with one more key around what they hold.

    Attributes:
        key: The key.
        is_output: Whether the output alone stands under it, and not a prediction.
    """

    key: str
    is_output: bool = False

    def __call__(self, answer: Any) -> Any:
        """What stands under the key; any other answer as it is."""
        if not isinstance(answer, dict) or self.key not in answer or "status" in answer:
            return answer
        return {"status": "succeeded", "output": answer[self.key]} if self.is_output else answer[self.key]

    def __repr__(self) -> str:
        # Code that can be pasted: its user has no reason to import the doctor.
        return str(TABLES["hooks"]["output" if self.is_output else "prediction"]).format(key=self.key)


@dataclasses.dataclass(frozen=True)
class SuggestedSetting:
    """A setting that fixes a difference.

    Attributes:
        field: A field of `Service`; ``route`` is an argument of the clients.
        value: What to set it to; None where only a person can know.
        ours: Whether we assumed or tried it, so that it need not be redacted: the service did not name it.
    """

    field: str
    value: Any = None
    ours: bool = dataclasses.field(default=False, compare=False)

    @property
    def of_service(self) -> bool:
        """Whether it is a field of `Service`, and not an argument of the clients."""
        return hasattr(Service(), self.field)

    @property
    def is_known(self) -> bool:
        """Whether the value is known too."""
        return self.value is not None

    @property
    def code(self) -> str:
        """The call that takes it as an argument."""
        return f"{'Service' if self.of_service else 'Client'}({self})"

    def __str__(self) -> str:
        # As an argument; an ellipsis stands for what only a person can know.
        return f"{self.field}={self.value!r}" if self.is_known else f"{self.field}=…"


def with_settings(service: Service, suggestions: Iterable[SuggestedSetting]) -> Service:
    """The service with those suggestions whose value is known."""
    known = {each.field: each.value for each in suggestions if each.of_service and each.is_known}
    return dataclasses.replace(service, **known)


def changes(old: Service, new: Service) -> dict[str, Any]:
    """The fields that differ, with their new values."""
    return {name: value for name, value in vars(new).items() if value != vars(old)[name]}


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check says; it leaves the doctor redacted. The first four are the check's own words."""

    check: str
    title: str
    assumption: str
    source: str
    verdict: Verdict
    observed: str
    suggestions: tuple[SuggestedSetting, ...] = ()
    """The settings that fix a difference."""
    frame: str = ""
    """The exchange that shows it: request line, headers of note, the first bytes of the body."""
    skipped: str = ""
    """Why the check was not made, or that reason's name in the table; empty where it was."""
