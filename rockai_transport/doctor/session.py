"""One examination, from the first probe to the report: what it learns about the service, and what it runs.

Invariants of this module:

* Every operation is the clients' own, performed once and recorded. Whatever the service does (a refusal, a
  cut, an expired timeout) is in the recording, not an exception.
* Nothing that may start a run is sent before `confirm` has approved the plan that names it.
* Whatever was started is tracked until its end was seen. Whatever ends an examination, even Ctrl-C, the
  running predictions are canceled, and the findings are reported.
* The names of probes, checks and versions are never redacted; everything else that leaves is (recording.py).
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
from rockai_transport.io.blocking import Connections
from rockai_transport.protocol.exchange import exchange
from rockai_transport.protocol.inputs import check_input, encode_input
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.messages import EVENT_STREAM, JSON, REDIRECTS, Request
from rockai_transport.protocol.operations import Operations
from rockai_transport.protocol.prediction import is_prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.requests import RunRequest
from rockai_transport.protocol.responses import is_missing_route

Operation = Callable[..., Coroutine[Any, Any, Any]]

_VERSIONS = f"rockai-integrations {__version__}, Python {python_version()}, httpx {httpx.__version__}"


class Plan(NamedTuple):
    """The plan to approve before anything that may cost money is sent.

    Attributes:
        base_url: The base URL.
        model: The model to run.
        input: Its input.
        steps: The steps, with the maximum number of runs of each.
    """

    base_url: str
    model: str
    input: Mapping[str, Any]
    steps: tuple[tuple[str, int], ...]

    @property
    def runs(self) -> int:
        """The maximum number of runs."""
        return sum(runs for _, runs in self.steps)


class UnavailableError(Exception):
    """A probe cannot be run. The message says why."""


class ObstacleError(UnavailableError):
    """No further check is possible. The message says what to do."""


@dataclass
class DoctorSession:
    """The examination of one service."""

    settings: Settings
    """The clients' settings, with the examination's timeouts."""
    redactor: Redactor
    request: RunRequest
    """The run request; its model has no name in an examination without runs."""
    say: Callable[[str], Any]
    """Called with what is being waited for."""
    confirm: Callable[[Plan], bool] | None = None
    """Returns whether the runs of a plan may be sent; None: they may not."""
    on_finding: Callable[[Finding], Any] = repr
    """Called with each finding, redacted."""
    connections: Connections = field(default_factory=Connections)
    under_way: RecordingIO | None = None
    """The current operation."""
    obstacles: dict[str, str] = field(default_factory=dict)
    """The fields of `Service` whose route accepts no further request → the reason's name in the table."""
    missing_route_response: Exchange | None = None
    """The response to an unknown route."""
    accepted_by_mistake: RecordingIO | None = None
    """A prediction that started although it should have been refused."""
    example: Prediction = field(default_factory=Prediction)
    """A created prediction, as last seen."""
    running: set[str] = field(default_factory=set)
    statuses: dict[str, str] = field(default_factory=dict)
    """The service's own statuses, and their meanings; themselves if the meaning is unknown."""

    def __post_init__(self) -> None:
        self.assumed, self.redact = self.settings.service, self.redactor.text
        nameless = replace(self.assumed, auth_header="X-RockAI-Doctor", auth_scheme="")
        self.anonymous: dict[str, Any] = {"service": nameless, "api_token": "anonymous"}
        """The changed settings that send no token."""
        model, assumed = self.request.reference, self.redactor.leaving(self.assumed)
        if model.version and not model.name:
            self.obstacles = dict.fromkeys(("run_path", "run_stream_path"), "bare")
        url, written, keys = self.redact((self.settings.base_url, model.written, tuple(self.request.input)))
        self.report = Report(_VERSIONS, url, written, keys, self.settings.route, assumed)

    # Assumptions.

    @property
    def service(self) -> Service:
        """The current assumptions, with a hook that learns from each response."""
        return replace(self.assumed, statuses=self.statuses, read_prediction=self._read)

    def assume(self, suggestions: Iterable[SuggestedSetting]) -> None:
        """Apply suggestions, so that later probes get further."""
        self.assumed = checks.with_settings(self.assumed, suggestions)

    def _read(self, answer: Any) -> Any:
        """As `Service.read_prediction`. Detects the key of a prediction, and the meaning of its status."""
        if self.assumed.read_prediction is None and not self.statuses:  # none could be read unchanged
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
        """Perform one of the clients' operations, once, with changed settings.

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
        """Record what arrived, and which predictions run or have ended."""
        names = {self.redact(name) for each in io.exchanges for name in each.head.headers}
        self.report.headers = sorted(names.union(self.report.headers))
        self.report.runs += io.may_run
        if io.prediction.is_terminal:
            self.running.discard(io.prediction.id or "")
        elif io.prediction.id and io.may_run:
            self.running.add(io.prediction.id)

    def probe(self, field: str, path: str = "", **changes: Any) -> RecordingIO:
        """Request a route in a way that starts nothing: with an unknown id or an empty body."""
        path = path or getattr(self.service, field)
        accept, method = EVENT_STREAM if "stream" in field else JSON, "GET" if field == "get_path" else "POST"
        body = None if "{id}" in path else b"{}"
        request = Request(method, path.replace("{id}", TABLES["asked"]["id"]), body=body, accept=accept)
        return self.perform(lambda the, io: exchange(io, the.settings, request, math.inf), **changes)

    def create(self, **changes: Any) -> RecordingIO:
        """Create a prediction, with a changed run request."""
        return self.perform(Operations.create, replace(self.request, **changes))

    def cancel_running(self) -> list[str]:
        """Cancel the running predictions; return the ids of those that could not be canceled."""
        for known in tuple(self.running):
            if self.perform(Operations.cancel, known, timeout=2.0).error is None:
                self.running.discard(known)
            else:  # it may have ended
                self.perform(Operations.get, known, timeout=2.0)
        return sorted(self.running)

    # Results.

    def require(self, run: RecordingIO) -> RecordingIO:
        """Return a run that was started.

        Raises:
            ObstacleError: It was refused, and so would every other run be.
            UnavailableError: It was refused for another reason, or broke before a response.
        """
        if run.refusal:
            is_for_all = self.answer(run) in TABLES["statuses"]["refused_for_all"]
            raise (ObstacleError if is_for_all else UnavailableError)(self.redact(str(run.refusal)))
        if not run.exchange.status:
            may_run = " A run may have started." if run.may_run else ""
            raise UnavailableError(f"{run.exchange.failure}.{may_run}")
        return run

    def answer(self, asked: RecordingIO) -> str:
        """Return the response as a case of a check: ``no_route``, ``no_answer``, or a status.

        The status is that of HTTP, or an envelope's code that contradicts it. Once the response to an unknown
        route is known, a 404 in JSON means a missing route only if it is similar to that response:
        `Service.missing_route_statuses` may contain 404 itself.
        """
        known, exchange = self.missing_route_response, asked.exchange
        if asked.refusal is None:
            return str(exchange.status or "no_answer")
        is_missing = is_missing_route(self.service, asked.refusal) or exchange.status in REDIRECTS
        if known is not None and exchange.status == HTTPStatus.NOT_FOUND and exchange.response.is_json:
            is_missing = _without_path(exchange) == _without_path(known)
        return "no_route" if is_missing else str(asked.refusal.status_code)

    # The probes.

    def run(self) -> Report:
        """Run every probe, clean up, and return the report."""
        self.report.left = ("what was running",)  # a second Ctrl-C: stop at once
        try:
            for probe in checks.PROBES:
                self._skip(probe, self._make(probe))
        finally:
            with contextlib.suppress(KeyboardInterrupt, ObstacleError):
                self.report.left = self.redact(tuple(self.cancel_running()))
            self.connections.close()
        return self.report

    def _make(self, probe: checks.Probe) -> str:
        """Run a probe; return why it was not completed, or an empty string."""
        from rockai_transport.doctor import probes  # it imports this module

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
            io, why = self.under_way, " while {} was under way, and what that started may still run"
            during = why.format(io.exchange.request) if io and io.may_run else ""
            self.report.stopped = self.redactor.leaving(f"It was interrupted{during}.")
            return "not_reached"
        return ""

    def _obstacle_to(self, probe: checks.Probe) -> str:
        """Return why a probe cannot be run even with approval; empty if it can."""
        if self.report.stopped or not any(self.report.route in check.routes for check in probe.checks):
            return "not_reached"
        return str(TABLES["obstacles"].get(self.obstacles.get(probe.needs), ""))

    def _reason_against(self, probe: checks.Probe) -> str:
        """Return why a probe is skipped; empty if it is not. Ask before the first one that may cost money."""
        if (reason := self._obstacle_to(probe)) or not probe.asks:
            return reason
        if not self.report.model:
            return "no_model"
        return "" if self._is_agreed else "not_agreed"

    @cached_property
    def _is_agreed(self) -> bool:
        """Return whether the plan is approved; the first call shows it and asks."""
        report, possible = self.report, [p for p in checks.PROBES if p.asks and not self._obstacle_to(p)]
        steps = tuple((probe.title, probe.runs) for probe in possible)
        plan = Plan(report.base_url, report.model, self.redact(self.request.input), steps)
        report.announced = plan.runs if self.confirm else 0
        report.agreed = plan.runs if self.confirm and self.confirm(plan) else 0
        return report.agreed > 0

    def _skip(self, probe: checks.Probe, reason: str) -> None:
        """Record the reason for every check of a probe that has no result."""
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
    """Check at the service what this package assumes about it.

    Args:
        api_token: As for `Client`.
        base_url: As for `Client`.
        model: A cheap model to run; None: only the checks that start nothing.
        input: Its input; by default a short prompt.
        service: The initial assumptions, with the settings that an earlier report suggested.
        route: As for `Client`; checks that this route does not use are skipped.
        confirm: Called with the plan before the first run; returns whether it may be sent. None: no runs.
        on_finding: Called with each finding at once, already redacted.
        say: Called with what is being waited for.
        timeout: Seconds for one run, including its cold start.
        default_headers: As for `Client`.
        allow_http: As for `Client`.

    Returns:
        The report, redacted, also after Ctrl-C.

    Raises:
        ConfigurationError: There is no token, or a setting is invalid. Nothing was sent.

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
    except ConfigurationError as error:  # it quotes the arguments, which may contain the token by mistake
        raise ConfigurationError(redactor.text(error.message)) from None
    return DoctorSession(settings, redactor, request, say or str, confirm, on_finding or repr).run()


def _keys(answer: Any) -> list[str]:
    """Return the keys with a prediction under them, unless the response is one, or one's valid envelope."""
    if not isinstance(answer, dict) or is_prediction(answer):
        return []
    is_envelope = answer.get("code") in range(200, 300) and is_prediction(answer.get("data"))
    return [key for key in answer if is_prediction(answer[key]) and not is_envelope]


def _without_path(exchange: Exchange) -> tuple[int, bytes]:
    """Return the status and body of a refusal without the path, which some services repeat."""
    return exchange.status, bytes(exchange.body).replace(exchange.request.target.encode(), b"")
