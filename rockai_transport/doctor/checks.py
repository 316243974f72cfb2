"""The checks (the tables in ``checks.toml``), and their results: verdicts and settings."""

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
    """Its id in reports."""
    title: str
    """The probe's title: what was done."""
    assumption: str
    source: str
    """The section of docs/http-api.md about it, with that page's mark for the source."""
    cases: Mapping[str, str]
    """The possible results: the name of each case → the sign of its verdict, and its sentence."""
    unfixed: Sequence[str] = ()
    """The cases of a difference that no setting can fix."""
    routes: Sequence[str] = get_args(Route)
    """The clients' ``route`` settings that depend on it."""


class Probe(NamedTuple):
    """A step that is done once, and its checks. The table describes the fields."""

    name: str
    title: str
    checks: tuple[Check, ...]
    needs: str = ""
    runs: int = 0
    asks: bool = False


def _probe(row: dict[str, Any]) -> Probe:
    rows = [_ROWS.get(check.pop("like", ""), {}) | check for check in row.pop("checks")]
    return Probe(checks=tuple(Check(title=row["title"], **check) for check in rows), **row)


PROBES = tuple(map(_probe, TABLES["probes"]))
"""All probes, in the order in which they run."""

CHECKS = tuple(check for probe in PROBES for check in probe.checks)
"""All checks, in the order of the report."""

CHECK_BY_ID = {check.id: check for check in CHECKS}


def run_words(base_url: str) -> dict[str, str]:
    """Return the words for runs: only at the live service they are known to cost money."""
    forms = TABLES["charges"]
    return dict(forms["live" if re.match(forms["address"], base_url) else "elsewhere"])


def reason_words(form: str, reason: str, base_url: str, **facts: Any) -> str:
    """Return why checks were skipped, in one of the table's forms: ``each``, ``one`` or ``several``."""
    forms = TABLES["report"]["skipped"]
    return str(forms.get(reason, forms["other"])[form]).format(reason=reason, **facts, **run_words(base_url))


class Verdict(enum.Enum):
    """The verdict of an assumption; its value is the sign at the start of its line."""

    AS_ASSUMED = "✓"
    DIFFERS = "✗"
    UNKNOWN = "?"


@dataclasses.dataclass(frozen=True)
class AnswerKey:
    """A `Service.read_prediction` hook for responses that put their content under an additional key.

    Attributes:
        key: The key.
        is_output: Whether only the output is under it, not a prediction.
    """

    key: str
    is_output: bool = False

    def __call__(self, answer: Any) -> Any:
        """Return the content of the key; any other response, and an envelope without content, is returned."""
        is_under = isinstance(answer, dict) and self.key in answer and "status" not in answer
        if not is_under or ("code" in answer and not answer[self.key]):
            return answer
        return {"status": "succeeded", "output": answer[self.key]} if self.is_output else answer[self.key]

    def __repr__(self) -> str:
        # Code to paste: users have no reason to import the doctor.
        return str(TABLES["hooks"]["output" if self.is_output else "prediction"]).format(key=self.key)


@dataclasses.dataclass(frozen=True)
class SuggestedSetting:
    """A setting that fixes a difference.

    Attributes:
        field: A field of `Service`; ``route`` is an argument of the clients.
        value: The new value; None if only a person can know it.
        ours: Whether the value comes from us, not from the service, and so need not be redacted.
    """

    field: str
    value: Any = None
    ours: bool = dataclasses.field(default=False, compare=False)

    @property
    def of_service(self) -> bool:
        """Whether it is a field of `Service`, not an argument of the clients."""
        return hasattr(Service(), self.field)

    @property
    def is_known(self) -> bool:
        """Whether the value is known."""
        return self.value is not None

    @property
    def code(self) -> str:
        """The call with this setting as an argument."""
        return f"{'Service' if self.of_service else 'Client'}({self})"

    def __str__(self) -> str:
        # As an argument; an ellipsis if only a person can know the value.
        return f"{self.field}={self.value!r}" if self.is_known else f"{self.field}=…"


def with_settings(service: Service, suggestions: Iterable[SuggestedSetting]) -> Service:
    """Return the service with the suggestions whose value is known."""
    known = {each.field: each.value for each in suggestions if each.of_service and each.is_known}
    return dataclasses.replace(service, **known)


def changes(old: Service, new: Service) -> dict[str, Any]:
    """Return the fields that differ, with their new values."""
    return {name: value for name, value in vars(new).items() if value != vars(old)[name]}


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a check, redacted when it leaves the doctor. The check sets the first four fields."""

    check: str
    title: str
    assumption: str
    source: str
    verdict: Verdict
    observed: str
    suggestions: tuple[SuggestedSetting, ...] = ()
    """The settings that fix a difference."""
    frame: str = ""
    """The exchange that shows it: request line, relevant headers, first bytes of the body."""
    skipped: str = ""
    """Why the check was skipped, or that reason's name in the table; empty if it was not."""
