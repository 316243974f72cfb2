"""One examination, from the first probe to the report: what was learnt of the service, and what runs there.

Invariants of this module:

* Every operation is the clients' own, done once and recorded. What the service does, a refusal, a cut or a
  time limit that runs out, is in the recording, not an exception.
* Nothing that may start a run is sent before `confirm` has said yes to the plan that names it.
* Whatever was started is known here until its end was seen. Whatever ends an examination, Ctrl-C too, what is
  left running is canceled, and what was found is reported.
* What a probe, a check and the versions are called is never redacted, all else that leaves is (recording.py).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from platform import python_version
from typing import Any, NamedTuple

import httpx

from rockai_transport import ConfigurationError, Prediction, RockAIError, Service, Timeouts, __version__
from rockai_transport.base_client import DEFAULT_SERVICE, DEFAULT_TIMEOUTS
from rockai_transport.config import Route, Settings, check_timeout
from rockai_transport.doctor import checks
from rockai_transport.doctor.checks import TABLES, AnswerKey, Finding, SuggestedSetting
from rockai_transport.doctor.recording import Exchange, RecordingIO, Redactor
from rockai_transport.doctor.report import Report
from rockai_transport.io.connections import Connections
from rockai_transport.protocol.exchange import exchange
from rockai_transport.protocol.inputs import check_input, encode_input
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.messages import EVENT_STREAM, JSON, Request
from rockai_transport.protocol.operations import Operations, RunRequest
from rockai_transport.protocol.prediction import is_prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.responses import is_missing_route

Operation = Callable[..., Coroutine[Any, Any, Any]]

_VERSIONS = f"rockai-integrations {__version__}, Python {python_version()}, httpx {httpx.__version__}"


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


class UnavailableError(Exception):
    """A probe cannot be made. Its text says why."""


class ObstacleError(UnavailableError):
    """Nothing further can be checked either. Its text says what to do."""


@dataclass
class DoctorSession:
    """The service under examination."""

    settings: Settings
    """The clients' own, with the time limits of the examination."""
    redactor: Redactor
    request: RunRequest
    """What to run; a model without a name for an examination without runs."""
    say: Callable[[str], Any]
    """Told what is being waited for."""
    confirm: Callable[[Plan], bool] | None = None
    """Says whether the runs of a plan may be sent; None: they may not."""
    on_finding: Callable[[Finding], Any] = repr
    """Called with each finding, redacted."""
    connections: Connections = field(default_factory=Connections)
    under_way: RecordingIO | None = None
    """The operation that is being performed."""
    obstacles: dict[str, str] = field(default_factory=dict)
    """The fields of `Service` to whose route no further request can be sent, and why: a name in the table."""
    missing_route_response: Exchange | None = None
    """How a route is answered that nobody has."""
    accepted_by_mistake: RecordingIO | None = None
    """A prediction that was started although it should have been refused."""
    example: Prediction = field(default_factory=Prediction)
    """A prediction that was created, as last seen."""
    running: set[str] = field(default_factory=set)
    statuses: dict[str, str] = field(default_factory=dict)
    """The service's own words for a status, as they came, and what they mean; themselves if nothing tells."""

    def __post_init__(self) -> None:
        self.assumed, self.redact = self.settings.service, self.redactor.text
        nameless = replace(self.assumed, auth_header="X-RockAI-Doctor", auth_scheme="")
        self.anonymous: dict[str, Any] = {"service": nameless, "api_token": "anonymous"}
        """The changes with which nobody is shown the token."""
        model, assumed = self.request.reference, self.redactor.leaving(self.assumed)
        if model.version and not model.name:
            self.obstacles = dict.fromkeys(("run_path", "run_stream_path"), "bare")
        url, written, keys = self.redact((self.settings.base_url, model.written, tuple(self.request.input)))
        self.report = Report(_VERSIONS, url, written, keys, self.settings.route, assumed)

    # What is assumed.

    @property
    def service(self) -> Service:
        """What is assumed by now, read so that more is learnt of it."""
        return replace(self.assumed, statuses=self.statuses, read_prediction=self._read)

    def assume(self, suggestions: Iterable[SuggestedSetting]) -> None:
        """Go by what was found, so that what follows gets further."""
        self.assumed = checks.with_settings(self.assumed, suggestions)

    def _read(self, answer: Any) -> Any:
        """As `Service.read_prediction`. Finds a prediction's key, and what its word for a status means."""
        if self.assumed.read_prediction is None and not self.statuses:  # none was read as it came
            self.assume(SuggestedSetting("read_prediction", AnswerKey(key)) for key in _keys(answer)[:1])
        hook = self.assumed.read_prediction
        read = answer if hook is None else hook(answer)
        found = read.get("data", read) if isinstance(read, dict) and not is_prediction(read) else read
        if isinstance(found, dict) and isinstance(word := found.get("status"), str):
            by_time = found.get("completed_at") and ("failed" if found.get("error") else "succeeded")
            likely = TABLES["peers"]["statuses"].get(word.lower()) or by_time or word
            self.statuses[word] = self.assumed.statuses.get(word, likely)
        return read

    # Operations.

    def perform(self, operation: Operation, *arguments: Any, **changes: Any) -> RecordingIO:
        """Do one of the clients' operations, once, with these changes of their settings.

        Raises:
            ObstacleError: It cannot be sent.
        """
        settings = replace(self.settings, **{"service": self.service, **changes})
        self.under_way = io = RecordingIO(settings, self.connections, self.redactor, self.say)
        try:
            if isinstance(value := run_blocking(operation(Operations(settings), io, *arguments)), Prediction):
                io.prediction = value
        except ConfigurationError as error:
            raise ObstacleError(self.redact(str(error))) from error
        except RockAIError as error:
            io.error, io.prediction = error, error.prediction or Prediction()
        finally:
            run_blocking(io.close())
            self._note(io)
        self.under_way = None
        return io

    def _note(self, io: RecordingIO) -> None:
        """Take note of what came, and of what runs or has ended."""
        names = {self.redact(name) for each in io.exchanges for name in each.head.headers}
        self.report.headers = sorted(names.union(self.report.headers))
        self.report.runs += io.may_run
        if io.prediction.is_terminal:
            self.running.discard(io.prediction.id or "")
        elif io.prediction.id and io.may_run:
            self.running.add(io.prediction.id)

    def probe(self, field: str, path: str = "", **changes: Any) -> RecordingIO:
        """Ask for a route so that nothing starts, by an unknown id or with an empty body."""
        path = path or getattr(self.service, field)
        accept, method = EVENT_STREAM if "stream" in field else JSON, "GET" if field == "get_path" else "POST"
        body = None if "{id}" in path else b"{}"
        request = Request(method, path.replace("{id}", TABLES["asked"]["id"]), body=body, accept=accept)
        return self.perform(lambda the, io: exchange(io, the.settings, request, math.inf), **changes)

    def create(self, **changes: Any) -> RecordingIO:
        """Create a prediction, with these changes of what is run."""
        return self.perform(Operations.create, replace(self.request, **changes))

    def cancel_running(self) -> list[str]:
        """Cancel what still runs; give the ids of what could not be canceled."""
        for known in tuple(self.running):
            if self.perform(Operations.cancel, known, timeout=2.0).error is None:
                self.running.discard(known)
            else:  # it may have come to its end
                self.perform(Operations.get, known, timeout=2.0)
        return sorted(self.running)

    # What came of them.

    def require(self, run: RecordingIO) -> RecordingIO:
        """A run that was started.

        Raises:
            ObstacleError: It was refused, as every further one would be.
            UnavailableError: It was refused, or broke before an answer, for another reason.
        """
        if run.refusal:
            is_for_all = self.answer(run) in TABLES["statuses"]["refused_for_all"]
            raise (ObstacleError if is_for_all else UnavailableError)(self.redact(str(run.refusal)))
        if not run.exchange.status:
            may_run = " A run may have started." if run.may_run else ""
            raise UnavailableError(f"{run.exchange.failure}.{may_run}")
        return run

    def answer(self, asked: RecordingIO) -> str:
        """What was answered, as a case of a check: ``no_route``, ``no_answer``, or a status.

        That is the one of HTTP, or an envelope's code that contradicts it. Once it is known how a route is
        answered that nobody has, a 404 in JSON means no route only if it is alike:
        `Service.missing_route_statuses` may hold 404 itself.
        """
        known, exchange = self.missing_route_response, asked.exchange
        if asked.refusal is None:
            return str(exchange.status or "no_answer")
        is_missing = is_missing_route(self.service, asked.refusal)
        if known is not None and exchange.status == HTTPStatus.NOT_FOUND and exchange.response.is_json:
            is_missing = _without_path(exchange) == _without_path(known)
        return "no_route" if is_missing else str(asked.refusal.status_code)

    # The probes.

    def run(self) -> Report:
        """Make every probe, clean up, report."""
        self.report.left = ("what was running",)  # a second Ctrl-C: the user is in a hurry
        try:
            for probe in checks.PROBES:
                self._skip(probe, self._make(probe))
        finally:
            with contextlib.suppress(KeyboardInterrupt, ObstacleError):
                self.report.left = self.redact(tuple(self.cancel_running()))
            self.connections.close()
        return self.report

    def _make(self, probe: checks.Probe) -> str:
        """Make a probe; why it was not made, or not to its end; empty where it was."""
        from rockai_transport.doctor import probes  # which import this module

        try:
            if reason := self._reason_against(probe):
                return reason
            for finding in getattr(probes, probe.name)(self):
                self.assume(finding.suggestions)
                self._record(finding)
        except UnavailableError as error:
            if isinstance(error, ObstacleError):
                self.report.stopped = self.redactor.leaving(str(error))
            return str(error)
        except KeyboardInterrupt:
            io, why = self.under_way, " while {} was under way, and what that started may run on"
            during = why.format(io.exchange.request) if io and io.may_run else ""
            self.report.stopped = self.redactor.leaving(f"It was interrupted{during}.")
            return "not_reached"
        return ""

    def _hindrance(self, probe: checks.Probe) -> str:
        """Why a probe cannot be made, whoever agrees; empty where it can."""
        if self.report.stopped or not any(self.report.route in check.routes for check in probe.checks):
            return "not_reached"
        return str(TABLES["obstacles"].get(self.obstacles.get(probe.needs), ""))

    def _reason_against(self, probe: checks.Probe) -> str:
        """Why a probe is not made; empty where it is. Asks, before the first that may cost."""
        if (reason := self._hindrance(probe)) or not probe.asks:
            return reason
        if not self.report.model:
            return "no_model"
        return "" if self._is_agreed else "not_agreed"

    @cached_property
    def _is_agreed(self) -> bool:
        """Whether the plan may be carried out; it is shown when this is asked first."""
        report, possible = self.report, [p for p in checks.PROBES if p.asks and not self._hindrance(p)]
        steps = tuple((probe.title, probe.runs) for probe in possible)
        plan = Plan(report.base_url, report.model, self.redact(self.request.input), steps)
        report.announced = plan.runs if self.confirm else 0
        report.agreed = plan.runs if self.confirm and self.confirm(plan) else 0
        return report.agreed > 0

    def _skip(self, probe: checks.Probe, reason: str) -> None:
        """Record a reason for every check of a probe that has not been made."""
        made = {finding.check for finding in self.report.findings}
        text = checks.reason_words("each", reason, self.report.base_url)
        for check in probe.checks:
            if check.id not in made:
                self._record(Finding(*check[:4], checks.Verdict.UNKNOWN, text, skipped=reason))

    def _record(self, finding: Finding) -> None:
        check = checks.CHECK_BY_ID[finding.check]
        if self.report.route not in check.routes:
            return
        found = [s if s.ours else replace(s, value=self.redact(s.value)) for s in finding.suggestions]
        shown = (finding.observed, tuple(found), finding.frame, finding.skipped)
        finding = Finding(*check[:4], finding.verdict, *self.redactor.leaving(shown))
        self.report.findings.append(finding)
        self.on_finding(finding)


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
    how: dict[str, Any] = {"route": route, "service": service, "default_headers": default_headers}
    how |= {"timeout": limit, "timeouts": Timeouts(first_byte=limit, idle=limit), "max_retries": 0}
    settings = Settings.resolve(api_token=api_token, base_url=base_url, allow_http=allow_http, **how)
    redactor = Redactor(settings.api_token, shown_hosts=(httpx.URL(settings.base_url).host,))
    try:
        reference = ModelReference("", None, None) if model is None else ModelReference.parse(model)
        given = TABLES["asked"]["input"] if input is None else input
        check_input(given)
        request = RunRequest(reference, encode_input(given))
    except ConfigurationError as error:  # it quotes what was given, which may be the token by mistake
        raise ConfigurationError(redactor.text(error.message)) from None
    return DoctorSession(settings, redactor, request, say or str, confirm, on_finding or repr).run()


def _keys(answer: Any) -> list[str]:
    """The keys of an answer with a prediction under them, unless it is one itself or the envelope of one."""
    if not isinstance(answer, dict) or is_prediction(answer):
        return []
    is_envelope = isinstance(answer.get("code"), int) and is_prediction(answer.get("data"))
    return [key for key in answer if is_prediction(answer[key]) and not is_envelope]


def _without_path(exchange: Exchange) -> tuple[int, bytes]:
    """A refusal without the path that some repeat."""
    return exchange.status, bytes(exchange.body).replace(exchange.request.target.encode(), b"")
