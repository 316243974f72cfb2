"""One examination, from the first probe to the report.

Invariants of this module:

* Nothing that may start a run is sent before `confirm` has said yes to the plan that names it.
* Whatever ends an examination, Ctrl-C too, what it left running is canceled, and what was found is reported.
* What a probe, a check and the versions are called is never redacted, all else that leaves is (redaction.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import httpx

from rockai_transport import ConfigurationError, Service, Timeouts
from rockai_transport.base_client import DEFAULT_SERVICE, DEFAULT_TIMEOUTS
from rockai_transport.config import Route, Settings, check_timeout
from rockai_transport.doctor import probes
from rockai_transport.doctor.checks import CHECK_BY_ID, PROBES, TABLES, Finding, Probe, Verdict, reason_words
from rockai_transport.doctor.redaction import Redactor
from rockai_transport.doctor.report import Report
from rockai_transport.doctor.session import DoctorSession, ObstacleError, UnavailableError
from rockai_transport.protocol.inputs import check_input, encode_input
from rockai_transport.protocol.references import ModelReference

__all__ = ["DEFAULT_INPUT", "Plan", "run_doctor"]

DEFAULT_INPUT: Mapping[str, Any] = {"prompt": "Count from one to five, one number on each line."}
"""Short to answer, in several lines; `prompt` is what every text model of docs/http-api.md takes."""


class Plan(NamedTuple):
    """What is asked for before anything that may cost is sent.

    Attributes:
        base_url: Where it goes.
        model: What is run.
        input: What it is run with.
        steps: What is done, and how many runs each step takes at most.
    """

    base_url: str
    model: str
    input: Mapping[str, Any]
    steps: tuple[tuple[str, int], ...]

    @property
    def runs(self) -> int:
        """How many runs are started at most."""
        return sum(runs for _, runs in self.steps)


def run_doctor(
    *,
    api_token: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
    input: Mapping[str, Any] | None = None,
    service: Service = DEFAULT_SERVICE,
    route: Route = "auto",
    confirm: Callable[[Plan], bool] | None = None,
    on_finding: Callable[[Finding], Any] | None = None,
    say: Callable[[str], Any] | None = None,
    timeout: float = DEFAULT_TIMEOUTS.first_byte,
    default_headers: Mapping[str, str] | None = None,
    allow_http: bool = False,
) -> Report:
    """Check at the service what this package assumes of it.

    Args:
        api_token: As for `Client`.
        base_url: As for `Client`.
        model: A cheap model to run; None: only what starts nothing is checked.
        input: What it is run with; a short prompt by default.
        service: What is assumed already, with the settings that an earlier report suggested.
        route: As for `Client`; what that route does not use is left out.
        confirm: Is shown the runs before the first, says whether they may be sent; None: they may not.
        on_finding: Called with each finding as it is made, already redacted.
        say: Called with what is being waited for.
        timeout: Seconds that one run may take, its cold start included.
        default_headers: As for `Client`.
        allow_http: As for `Client`.

    Returns:
        What was found, redacted, also after Ctrl-C.

    Raises:
        ConfigurationError: There is no token, or a setting cannot be right. Nothing was sent.

    Example:
        ``print(run_doctor(model="owner/name", confirm=lambda plan: plan.runs <= 4).text())``
    """
    limit = check_timeout(timeout, "timeout")
    limits = Timeouts(first_byte=limit, idle=limit)
    where: dict[str, Any] = {"api_token": api_token, "base_url": base_url, "allow_http": allow_http}
    how: dict[str, Any] = {"route": route, "timeout": limit, "timeouts": limits, "max_retries": 0}
    settings = Settings.resolve(**where, **how, service=service, default_headers=default_headers)
    redactor = Redactor(settings.api_token, shown_hosts=(httpx.URL(settings.base_url).host,))
    try:
        reference = ModelReference.parse(model) if model is not None else None
        given = DEFAULT_INPUT if input is None else input
        model_input = encode_input(given) if check_input(given) else dict(given)
    except ConfigurationError as error:  # it quotes what was given, which may be the token by mistake
        raise ConfigurationError(redactor.text(error.message)) from None
    leaving, tell = redactor.leaving, say or str
    told = (settings, redactor, reference, model_input, lambda text: tell(leaving(text)))
    return _Examination(*told, confirm=confirm, on_finding=on_finding).run()


@dataclass
class _Examination(DoctorSession):
    """A session in which the probes are made, and what they find is written down."""

    confirm: Callable[[Plan], bool] | None = None
    on_finding: Callable[[Finding], Any] | None = None

    def run(self) -> Report:
        """Make every probe, clean up, report."""
        self.report.left = ("what was running",)  # a second Ctrl-C: the user is in a hurry
        try:
            for probe in PROBES:
                self._skip(probe, self._reason_against(probe) or self._make(probe))
        except KeyboardInterrupt:
            io, why = self.under_way, " while {} was under way, and what that started may run on"
            told = why.format(io.exchange.request) if io and io.may_run else ""
            self.report.stopped = self.redactor.leaving(f"It was interrupted{told}.")
        finally:
            with contextlib.suppress(KeyboardInterrupt, ObstacleError):
                self.report.left = self.redact(tuple(self.cancel_running()))
            self.connections.close()
        for probe in PROBES:
            self._skip(probe, "not_reached")
        return self.report

    def _make(self, probe: Probe) -> str:
        """Make a probe; why it was not made to its end, empty where it was."""
        try:
            for finding in getattr(probes, probe.name)(self):
                self.assume(finding.suggestions)
                self._record(finding)
        except UnavailableError as error:
            if isinstance(error, ObstacleError):
                self.report.stopped = self.redactor.leaving(str(error))
            return str(error)
        return ""

    def _reason_against(self, probe: Probe) -> str:
        """Why a probe is not made; empty where it is. Asks, before the first that may cost."""
        if self.report.stopped or self.report.route not in probe.routes:
            return "not_reached"
        if not probe.asks or probe.needs in self.obstacles:
            return str(TABLES["obstacles"].get(self.obstacles.get(probe.needs), ""))
        if self.model is None:
            return "no_model"
        return "" if self._is_agreed else "not_agreed"

    @cached_property
    def _is_agreed(self) -> bool:
        """Whether the plan may be carried out; it is shown when this is asked first."""
        report, possible = self.report, [each for each in PROBES if each.needs not in self.obstacles]
        steps = tuple(
            (each.title, each.runs) for each in possible if each.asks and report.route in each.routes
        )
        plan = Plan(report.base_url, report.model, self.redact(dict(self.input)), steps)
        report.announced = plan.runs if self.confirm else 0
        report.agreed = plan.runs if self.confirm and self.confirm(plan) else 0
        return report.agreed > 0

    def _skip(self, probe: Probe, reason: str) -> None:
        """Record a reason for every check of a probe that has not been made."""
        made = {finding.check for finding in self.report.findings}
        told = reason_words("each", reason, self.report.base_url)
        for check in probe.checks:
            if check.id not in made:
                self._record(Finding(*check[:4], Verdict.UNKNOWN, told, skipped=reason))

    def _record(self, finding: Finding) -> None:
        check = CHECK_BY_ID[finding.check]
        if self.report.route not in check.routes:
            return
        found = [s if s.ours else replace(s, value=self.redact(s.value)) for s in finding.suggestions]
        told = (finding.observed, tuple(found), finding.frame, finding.skipped)
        finding = Finding(*check[:4], finding.verdict, *self.redactor.leaving(told))
        self.report.findings.append(finding)
        if self.on_finding is not None:
            self.on_finding(finding)
