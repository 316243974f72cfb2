"""One examination's dealings with the service: its operations, what was learnt of it, and what runs there.

Invariants of this module:

* Every operation is the clients' own, done once and recorded. What the service does, a refusal, a cut or a
  time limit that runs out, is in the recording, not an exception.
* Whatever was started is known here until its end was seen; `DoctorSession.cancel_running` cancels the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from platform import python_version
from typing import Any

import httpx

from rockai_transport import ConfigurationError, Prediction, RockAIError, Service, __version__
from rockai_transport.config import Settings
from rockai_transport.doctor.checks import TABLES, AnswerKey, Finding, SuggestedSetting, with_settings
from rockai_transport.doctor.recording import Exchange, RecordingIO
from rockai_transport.doctor.redaction import Redactor
from rockai_transport.doctor.report import Report
from rockai_transport.io.connections import Connections
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.protocol.exchange import exchange as send
from rockai_transport.protocol.io import IO, run_blocking
from rockai_transport.protocol.messages import EVENT_STREAM, JSON, Request
from rockai_transport.protocol.operations import Operations, RunRequest
from rockai_transport.protocol.prediction import is_prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.responses import is_missing_route

__all__ = ["DoctorSession", "Findings", "ObstacleError", "UnavailableError"]

Operation = Callable[..., Coroutine[Any, Any, Any]]
Findings = Iterator[Finding]
"""What a probe gives: a finding for each of its checks."""

_VERSIONS = f"rockai-integrations {__version__}, Python {python_version()}, httpx {httpx.__version__}"
_FREE_SECONDS = 60.0


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
    model: ModelReference | None
    """The model to run; None for an examination without runs."""
    input: dict[str, Any]
    say: Callable[[str], Any]
    """Told what is being waited for."""
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
        if self.model and self.model.name is None:
            self.obstacles = dict.fromkeys(("run_path", "run_stream_path"), "bare")
        self.request = RunRequest(self.model or ModelReference("", None, None), self.input)
        written, keys = self.request.reference.written, tuple(self.input)
        base_url, model, keys = self.redact((self.settings.base_url, written, keys))
        assumed = self.redactor.leaving(self.assumed)
        self.report = Report(_VERSIONS, base_url, model, keys, self.settings.route, assumed)

    # What is assumed.

    @property
    def service(self) -> Service:
        """What is assumed by now, read so that more is learnt of it."""
        return replace(self.assumed, statuses=self.statuses, read_prediction=self._read)

    def assume(self, suggestions: Iterable[SuggestedSetting]) -> None:
        """Go by what was found, so that what follows gets further."""
        self.assumed = with_settings(self.assumed, suggestions)

    def _read(self, answer: Any) -> Any:
        """As `Service.read_prediction`. Finds a prediction's key, and what its word for a status means."""
        if self.assumed.read_prediction is None:
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
        endpoint = Endpoint(settings, None, httpx.Client)
        self.under_way = io = RecordingIO(endpoint, self.connections, self.redactor, self.say)
        try:
            io.value = run_blocking(operation(Operations(settings), io, *arguments))
        except ConfigurationError as error:
            raise ObstacleError(self.redact(str(error))) from None
        except RockAIError as error:
            io.error, io.value = error, error.prediction
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
        return self.perform(_send, request, **changes)

    def create(self, request: RunRequest) -> RecordingIO:
        """Create a prediction."""
        return self.perform(Operations.create, request)

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
            kind = ObstacleError if self.is_refused_for_all(run) else UnavailableError
            raise kind(self.redact(str(run.refusal)))
        if not run.status:
            may_run = " A run may have started." if run.may_run else ""
            raise UnavailableError(f"{run.exchange.failure}.{may_run}")
        return run

    def is_refused_for_all(self, run: RecordingIO) -> bool:
        """Whether every other run with the same token, model and input would be refused too."""
        refused = TABLES["statuses"]["refused_for_all"]
        return run.refusal is not None and run.status in refused and not self.is_missing(run)

    def answer(self, asked: RecordingIO) -> str:
        """What was answered, as a case of a check: a status, ``no_route`` or ``no_answer``."""
        return "no_route" if self.is_missing(asked) else str(asked.status or "no_answer")

    def is_missing(self, asked: RecordingIO) -> bool:
        """Whether the answer says that there is no such route.

        Once it is known how a route is answered that nobody has, a 404 in JSON says so only if it is alike:
        `Service.missing_route_statuses` may hold 404 itself.
        """
        known, exchange = self.missing_route_response, asked.exchange
        if asked.refusal is None:
            return False
        if known is not None and exchange.status == HTTPStatus.NOT_FOUND and exchange.response.is_json:
            return _without_path(exchange) == _without_path(known)
        return is_missing_route(self.service, asked.refusal)


async def _send(operations: Operations, io: IO, request: Request) -> Any:
    return await send(io, operations.settings, request, io.now() + _FREE_SECONDS)


def _keys(answer: Any) -> list[str]:
    """The keys of an answer with a prediction under them, unless it is one itself or the envelope of one."""
    if not isinstance(answer, dict) or is_prediction(answer):
        return []
    is_envelope = isinstance(answer.get("code"), int) and is_prediction(answer.get("data"))
    return [key for key in answer if is_prediction(answer[key]) and not is_envelope]


def _without_path(exchange: Exchange) -> tuple[int, bytes]:
    """A refusal without the path that some repeat."""
    return exchange.status, bytes(exchange.body).replace(exchange.request.target.encode(), b"")
