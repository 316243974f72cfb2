"""One examination, from the first probe to the report.

Laws of this module:

* Nothing that may start a run is sent before `confirm` has said yes to the plan that names it.
* Whatever ends an examination, Ctrl-C too, what it left running is canceled, and what was found is reported.
* What a probe, a check and the versions are called is never redacted, all else that leaves is (redaction.py).
"""

from __future__ import annotations

import dataclasses
import platform
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from rockai_transport._version import __version__
from rockai_transport.base_client import DEFAULT_SERVICE, DEFAULT_TIMEOUTS
from rockai_transport.config import check_timeout
from rockai_transport.doctor.findings import Finding, Unmade, unknown
from rockai_transport.doctor.patient import Patient
from rockai_transport.doctor.probes import ObstacleError, UnavailableError
from rockai_transport.doctor.recording import Wire
from rockai_transport.doctor.report import Report
from rockai_transport.doctor.table import PROBES
from rockai_transport.errors import ConfigurationError, RockAIError
from rockai_transport.protocol.inputs import check_input, encode_input
from rockai_transport.protocol.references import ModelReference

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from rockai_transport.config import Route
    from rockai_transport.doctor.findings import Judgement
    from rockai_transport.doctor.probes import Check, Probe
    from rockai_transport.doctor.recording import Exchange
    from rockai_transport.service import Service

__all__ = ["DEFAULT_INPUT", "Plan", "run_doctor"]

DEFAULT_INPUT: Mapping[str, Any] = {"prompt": "Count from one to five, one number on each line."}
"""Short to answer, in several lines; `prompt` is what every text model of docs/http-api.md takes."""


@dataclass(frozen=True)
class Plan:
    """What is asked for before anything that may cost is sent.

    Attributes:
        base_url: where it goes.
        model: what is run.
        input: what it is run with.
        steps: what is done, and how many runs each step takes at most.
    """

    base_url: str
    model: str
    input: Mapping[str, Any]
    steps: tuple[tuple[str, int], ...]

    @property
    def runs(self) -> int:
        """How many runs are paid for at most."""
        return sum(runs for _, runs in self.steps)


def run_doctor(
    *,
    api_token: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - the service's own word
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
        api_token: as for `Client`.
        base_url: as for `Client`.
        model: a cheap model to run; None: only what starts nothing is checked.
        input: what it is run with; a short prompt by default.
        service: what is believed already, with the mends of an earlier report.
        route: as for `Client`; what that route does not use is left out.
        confirm: is shown the paid runs before the first, says whether they may be sent; None: they may not.
        on_finding: called with each finding as it is made, already redacted.
        say: called with what is being waited for.
        timeout: seconds that one run may take, its cold start included.
        default_headers: as for `Client`.
        allow_http: as for `Client`.

    Returns:
        What was found, redacted, also after Ctrl-C.

    Raises:
        ConfigurationError: There is no token, or a setting cannot be right. Nothing was sent.

    Example:
        ``print(run_doctor(model="owner/name", confirm=lambda plan: plan.runs <= 4).text())``
    """
    wire = Wire(
        {
            "api_token": api_token,
            "base_url": base_url,
            "timeout": None,
            "max_retries": 0,
            "route": route,
            "service": service,
            "default_headers": default_headers,
            "timeouts": DEFAULT_TIMEOUTS,
            "allow_http": allow_http,
        }
    )
    try:
        patient = Patient(
            wire,
            route=route,
            model=ModelReference.parse(model) if model is not None else None,
            model_input=encode_input(check_input(DEFAULT_INPUT if input is None else input)),
            seconds=check_timeout(timeout, "timeout"),
            say=lambda text: say(wire.redactor.leaving(text)) if say else None,
        )
    except ConfigurationError as error:  # it quotes what was given, which may be the token by mistake
        raise ConfigurationError(wire.redactor.text(error.message)) from None
    return _Examination(patient, service, confirm, on_finding).run()


class _Examination:
    """Goes through the table, and writes down what it finds."""

    def __init__(
        self,
        patient: Patient,
        service: Service,
        confirm: Callable[[Plan], bool] | None,
        on_finding: Callable[[Finding], Any] | None,
    ) -> None:
        self._patient = patient
        self._service = service
        self._confirm = confirm
        self._on_finding = on_finding
        self._findings: list[Finding] = []
        self._agreed: bool | None = None
        self._announced = 0
        self._obstacle = ""
        self._left: list[str] = []

    def run(self) -> Report:
        """Send every probe, judge, clean up, report."""
        probes = [probe for probe in PROBES if self._patient.route in probe.routes]
        try:
            for probe in probes:
                self._examine(probe)
        except KeyboardInterrupt:
            call = self._patient.under_way
            self._stop(
                f"It was interrupted while {call} was under way, and what that started may run on."
                if call
                else "It was interrupted."
            )
        finally:
            self._clean_up()
        done = {finding.check for finding in self._findings}
        for probe in probes:
            self._skip(probe, Unmade.NOT_REACHED, done)
        return self._report()

    def _examine(self, probe: Probe[Any]) -> None:
        patient = self._patient
        if reason := self._reason_against(probe):
            self._skip(probe, reason)
            return
        try:
            evidence = probe.send(patient)
        except ObstacleError as obstacle:
            self._skip(probe, self._stop(str(obstacle)))
        except ConfigurationError as error:
            self._skip(probe, self._stop(patient.told(str(error))))
        except UnavailableError as error:
            self._skip(probe, str(error))
        except RockAIError as error:
            self._skip(probe, patient.told(str(error)))
        else:
            for check in self._checks(probe):
                self._judge(probe, check, evidence)

    def _stop(self, obstacle: str) -> str:
        self._obstacle = obstacle
        return obstacle

    def _judge(self, probe: Probe[Any], check: Check[Any], evidence: Any) -> None:
        try:
            judgement = check.judge(evidence, self._patient)
        except RockAIError as error:  # a read_prediction hook of the user's may fail on what came
            judgement = unknown(self._patient.told(str(error)))
        self._patient.adopt(judgement.mends)
        self._record(probe, check, judgement, judgement.exchange or _exchange_in(evidence))

    def _reason_against(self, probe: Probe[Any]) -> str | Unmade:
        """Why a probe is not sent; empty where it is. Asks, before the first that may cost."""
        if self._obstacle:
            return Unmade.NOT_REACHED
        if reason := probe.obstacle(self._patient):
            return reason
        if not probe.consent:
            return ""
        if self._patient.model is None:
            return Unmade.NO_MODEL
        if self._agreed is None:
            self._agreed = self._ask()
        return "" if self._agreed else Unmade.NOT_AGREED

    def _ask(self) -> bool:
        patient = self._patient
        steps = tuple(
            (probe.title, probe.runs)
            for probe in PROBES
            if probe.consent and patient.route in probe.routes and not probe.obstacle(patient)
        )
        if self._confirm is None:
            return False
        plan = Plan(patient.address, self._model(), patient.told(dict(patient.input)), steps)
        self._announced = plan.runs
        return self._confirm(plan)

    def _model(self) -> str:
        model = self._patient.model
        return self._patient.told(model.written) if model else ""

    def _checks(self, probe: Probe[Any]) -> list[Check[Any]]:
        return [check for check in probe.checks if self._patient.route in check.routes]

    def _skip(self, probe: Probe[Any], reason: str | Unmade, done: Container[str] = ()) -> None:
        words, unmade = (reason.value, reason) if isinstance(reason, Unmade) else (reason, None)
        for check in self._checks(probe):
            if check.id not in done:
                self._record(probe, check, unknown(words), unmade=unmade)

    def _record(
        self,
        probe: Probe[Any],
        check: Check[Any],
        judgement: Judgement,
        exchange: Exchange | None = None,
        unmade: Unmade | None = None,
    ) -> None:
        leaving = self._patient.wire.redactor.leaving
        mends = [
            mend if mend.ours else dataclasses.replace(mend, value=self._patient.told(mend.value))
            for mend in judgement.mends
        ]
        finding = Finding(
            check.id,
            probe.title,
            check.assumption,
            check.source,
            judgement.verdict,
            leaving(judgement.seen),
            leaving(tuple(mends)),
            leaving(exchange.frame() if exchange else ""),
            unmade,
        )
        self._findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding)

    def _clean_up(self) -> None:
        try:
            self._left = self._patient.cancel_left()
        except KeyboardInterrupt:  # a second Ctrl-C: the user is in a hurry
            self._left = ["what was running"]
        self._patient.wire.close()

    def _report(self) -> Report:
        patient = self._patient
        leaving = patient.wire.redactor.leaving
        counts = Counter(finding.unmade for finding in self._findings)
        unmade = [reason.of(counts[reason]) for reason in Unmade if counts[reason]]
        return Report(
            versions=f"rockai-integrations {__version__}, Python {platform.python_version()}, "
            f"httpx {httpx.__version__}",
            base_url=patient.address,
            model=self._model(),
            input_keys=patient.told(tuple(patient.input)),
            route=patient.route,
            believed=leaving(self._service),
            findings=tuple(self._findings),
            announced=self._announced,
            agreed=self._announced if self._agreed else 0,
            runs=patient.runs,
            left=patient.told(tuple(self._left)),
            headers=patient.told(tuple(sorted(patient.headers))),
            obstacle=" ".join([leaving(self._obstacle), *unmade]).strip(),
        )


def _exchange_in(evidence: Any) -> Exchange | None:
    """The exchange of a probe that has only one."""
    return getattr(evidence, "exchange", evidence if hasattr(evidence, "frame") else None)
