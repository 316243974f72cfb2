"""The service under examination: how it is asked, what has been learnt of it, and what still runs there.

Laws of this module:

* A call that may start a paid run is sent once, counted, and never repeated.
* Whatever was started is known here until its end was seen; `Patient.cancel_left` cancels the rest.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from rockai_transport.doctor.findings import Mend, Nested, bent
from rockai_transport.doctor.probes import RefusedError, UnavailableError
from rockai_transport.errors import ConfigurationError, InvalidResponseError, RockAIError
from rockai_transport.protocol import requests as calls
from rockai_transport.protocol import responses as answers
from rockai_transport.protocol.effects import Notices
from rockai_transport.protocol.events import EventReader
from rockai_transport.protocol.prediction import TERMINAL_STATUSES, Prediction, is_prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rockai_transport.config import Route
    from rockai_transport.doctor.recording import Exchange, Wire
    from rockai_transport.protocol.requests import Request

__all__ = ["STATUS_WORDS", "Created", "Patient", "Waiting", "stream_ends"]

T = TypeVar("T")

_FREE_SECONDS = 60.0
_CANCEL_SECONDS = 2.0
_UNCHANGED_SECONDS = 15.0
_FIRST_POLL, _LAST_POLL = 0.05, 1.0
_NOTICE_AFTER = 10.0

STATUS_WORDS = {
    **dict.fromkeys(("queued", "pending", "created", "booting", "in_queue"), "starting"),
    **dict.fromkeys(("running", "in_progress", "started"), "processing"),
    **dict.fromkeys(("completed", "complete", "success", "successful", "done", "finished"), "succeeded"),
    **dict.fromkeys(("error", "failure", "timeout", "timed_out"), "failed"),
    **dict.fromkeys(("cancelled", "aborted", "cancelling", "stopped"), "canceled"),
}
"""Words for a status that peers use → ours."""

_REFUSED_FOR_ALL = frozenset({400, 401, 402, 403, 404, 422})
"""Refusals of a run that every other run with the same token, model and input would meet too."""


class Created(NamedTuple):
    """A prediction that was created, and the exchange that did it."""

    exchange: Exchange
    prediction: Prediction


class Patient:
    """The service under examination.

    Args:
        wire: asks it.
        route: what the clients would be told.
        model: the model to run; `None` for an examination without runs.
        model_input: what it is run with.
        seconds: how long one run may take.
        say: told what is being waited for.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        route: Route,
        model: ModelReference | None,
        model_input: Mapping[str, Any],
        seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._wire = wire
        self.route = route
        self.model = model
        self.input = model_input
        self.seconds = seconds
        self.say = say
        self.runs = 0
        self.under_way = ""
        """The call that starts a run and is not answered yet."""
        self.nowhere: Exchange | None = None
        """How a route is answered that nobody has."""
        self.missing: set[str] = set()
        """The fields of `Service` whose route does not exist."""
        self.spare: Created | None = None
        """A prediction that was started although it should have been refused."""
        self.hook: Nested | None = None
        """Where in the answer to create the prediction was found, if not where it is believed to be."""
        self.unreadable = False
        """Whether an answer to create could not be read at all."""
        self.created_output: Any = None
        """What the model answered to a prediction that was created."""
        self.words_seen: dict[str, Prediction] = {}
        """The service's own words for a status, and what it last said them of."""
        self.other_form: ModelReference | None = None
        """The model in the other form that create takes: its version alone, or its name too."""
        self.headers: Counter[str] = Counter()
        self._running: dict[str, Prediction] = {}

    @property
    def service(self) -> Service:
        """What is believed of it by now."""
        return self._wire.settings.service

    @property
    def wire(self) -> Wire:
        """What it is asked through."""
        return self._wire

    @property
    def address(self) -> str:
        """Where it is, as others may see it."""
        return self.told(self._wire.base_url)

    def told(self, value: T) -> T:
        """What it said, as others may see it: for every text that enters a sentence of ours, before a cut."""
        return self._wire.redactor.value(value)

    def adopt(self, mends: Sequence[Mend]) -> None:
        """Believe what was found, so that the next probe gets further."""
        self._wire.bend(bent(self.service, mends))

    def ask(self, call: Request, **options: Any) -> Exchange:
        """Send a call that starts nothing."""
        return self._noted(self._wire.send(call, within=_FREE_SECONDS, **options))

    def follow(self, call: Request) -> Exchange:
        """Read the event stream of a prediction that was created; cold models keep it waiting."""
        notices = Waiting(self.told(str(call)), self.say)
        is_over = stream_ends(self.service)
        return self._noted(self._wire.send(call, within=self.seconds, is_over=is_over, notices=notices))

    def run(self, call: Request, is_over: Callable[[bytes], bool] | None = None) -> Exchange:
        """Send a call that starts a paid run.

        Raises:
            RefusedError: it was refused, as every further run would be.
            UnavailableError: it was refused, or broke, for another reason.
        """
        self.runs += 1
        self.under_way = str(call)
        notices = Waiting(str(call), self.say)
        exchange = self._noted(self._wire.send(call, within=self.seconds, is_over=is_over, notices=notices))
        self.under_way = ""
        if exchange.reply is None:
            self.runs -= not exchange.sent
            may_run = " A run may have started." if exchange.sent else ""
            raise UnavailableError(f"{exchange.failure}.{may_run}")
        if not self.is_accepted(exchange):
            self._refuse(exchange)
        return exchange

    def _refuse(self, exchange: Exchange) -> NoReturn:
        """Raise what a refused run means for the examination."""
        status = self.status(exchange)
        # A 5xx may come from a gateway in front of a model that runs all the same.
        self.runs -= status < HTTPStatus.INTERNAL_SERVER_ERROR
        if status in _REFUSED_FOR_ALL and not self.is_missing(exchange):
            raise RefusedError(self.explain(exchange), exchange)
        raise UnavailableError(self.explain(exchange))

    def create(self, call: Request) -> Created:
        """Create a prediction, and know of it until its end.

        Raises:
            RefusedError, UnavailableError: as in `run`.
        """
        exchange = self.run(call)
        return Created(exchange, self.own(call, exchange))

    def own(self, call: Request, exchange: Exchange) -> Prediction:
        """Know of the prediction in the answer to create; one without an id where it cannot be read."""
        if exchange.reply is None:
            return Prediction()
        try:
            prediction = answers.read_created(self.service, call, exchange.reply, Prediction())
        except InvalidResponseError:
            self.hook = _nested(exchange.reply.content)
            if self.hook is None or self.service.read_prediction is not None:
                self.unreadable = True
                return Prediction()
            self.adopt((Mend("read_prediction", self.hook),))
            return self.own(call, exchange)
        self._learn(prediction)
        if prediction.id and not self._ends(prediction):
            self._running[prediction.id] = prediction
        return prediction

    def look(self, prediction: Prediction) -> Created:
        """Look at a prediction once."""
        exchange = self.ask(calls.get_call(self.service, prediction.id))
        if exchange.reply is None or not self.is_accepted(exchange):
            return Created(exchange, prediction)
        try:
            seen = answers.read_seen(self.service, exchange.call, exchange.reply, prediction)
        except RockAIError:
            return Created(exchange, prediction)
        self._learn(seen)
        if self._ends(seen) and seen.id:
            self._running.pop(seen.id, None)
        return Created(exchange, seen)

    def wait(self, prediction: Prediction) -> list[Created]:
        """Look until its end, a failure to look, or a status that nobody knows has stayed for a while."""
        started = changed = time.monotonic()
        looks = [self.look(prediction)]
        pause = _FIRST_POLL
        notices = Waiting(f"prediction {self.told(prediction.id)}", self.say)
        while not self._ends(looks[-1].prediction) and looks[-1].exchange.status:
            moment = time.monotonic()
            known = looks[-1].prediction.status in self.service.statuses
            if moment - started > self.seconds or (not known and moment - changed > _UNCHANGED_SECONDS):
                break
            notices.tell(moment)
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL)
            looks.append(self.look(looks[-1].prediction))
            if looks[-1].prediction.status != looks[-2].prediction.status:
                changed = time.monotonic()
            if not looks[-1].exchange.is_success:
                break
        return looks

    def cancel(self, prediction: Prediction) -> Exchange:
        """Cancel a prediction."""
        return self.ask(calls.cancel_call(self.service, prediction.id))

    def cancel_left(self) -> list[str]:
        """Cancel what still runs; give the ids of what could not be."""
        left = []
        for prediction_id in tuple(self._running):
            call = calls.cancel_call(self.service, prediction_id)
            exchange = self._wire.send(call, within=_CANCEL_SECONDS)
            if not exchange.is_success:
                left.append(prediction_id)
        self._running.clear()
        return left

    def status(self, exchange: Exchange) -> int:
        """The HTTP status, or an envelope's code that contradicts it; 0 where there was no answer."""
        return answers.effective_status(self.service, exchange.reply) if exchange.reply else 0

    def is_accepted(self, exchange: Exchange) -> bool:
        """Whether the answer is a 2xx that no envelope contradicts."""
        return HTTPStatus.OK <= self.status(exchange) < HTTPStatus.MULTIPLE_CHOICES

    def is_missing(self, exchange: Exchange) -> bool:
        """Whether the answer says that there is no such route.

        Once it is known how a route is answered that nobody has, a 404 in JSON says so only if it is alike:
        `Service.missing_route_statuses` may hold 404 itself.
        """
        if exchange.reply is None or exchange.is_success:
            return False
        if self.nowhere is not None and exchange.status == HTTPStatus.NOT_FOUND and exchange.reply.is_json:
            return _unaddressed(exchange) == _unaddressed(self.nowhere)
        error = answers.status_error(self.service, exchange.call, exchange.reply, exchange.status)
        return answers.is_missing_route(self.service, error)

    def meaning(self, prediction: Prediction) -> str | None:
        """Our word for what a prediction's status means; `None` if neither its word nor its fields tell."""
        word = prediction.status.lower()
        if word in Service().statuses:
            return word
        if word in STATUS_WORDS:
            return STATUS_WORDS[word]
        if prediction.completed_at is None:
            return None
        return "failed" if prediction.error else "succeeded"

    def explain(self, exchange: Exchange) -> str:
        """What a refusal means, and what to do: the words of the exception that a client would raise."""
        if exchange.shown is None:
            return exchange.failure
        error = answers.status_error(self.service, exchange.call, exchange.shown, self.status(exchange))
        return str(error)

    def _ends(self, prediction: Prediction) -> bool:
        return prediction.is_terminal or self.meaning(prediction) in TERMINAL_STATUSES

    def _learn(self, prediction: Prediction) -> None:
        """Take note of the words for its status, and of the model's other form."""
        if isinstance(prediction.raw, dict):
            self.words_seen[str(prediction.raw.get("status"))] = prediction
        given = self.model
        if given is None or self.other_form is not None or prediction.version is None:
            return
        with contextlib.suppress(ConfigurationError):  # what the service calls a version may be none
            if given.name is not None:
                self.other_form = ModelReference.combine(None, prediction.version)
            elif prediction.model is not None:
                self.other_form = ModelReference.combine(prediction.model, prediction.version)

    def _noted(self, exchange: Exchange) -> Exchange:
        self.headers.update(exchange.reply.headers.keys() if exchange.reply else ())
        return exchange


class Waiting(Notices):
    """Says that a model may be starting, to whoever watches the doctor and not in the log."""

    def __init__(self, subject: str, say: Callable[[str], None]) -> None:
        super().__init__(time.monotonic(), subject)
        self._told = say
        self._since = time.monotonic()
        self._what = subject

    def tell(self, moment: float) -> None:
        """Say it, if it is due by the clock's ``moment``."""
        if moment < self.due:
            return
        self.due = moment + _NOTICE_AFTER
        self._told(
            f"{self._what}: waiting for {moment - self._since:.0f} s. A model that was not in use starts "
            "first, which takes minutes, up to twenty for a large one. Ctrl-C stops, cancels, and reports."
        )


def _unaddressed(exchange: Exchange) -> tuple[int, bytes]:
    """A refusal without the path that some repeat."""
    return exchange.status, exchange.body.replace(exchange.call.target.encode(), b"")


def stream_ends(service: Service) -> Callable[[bytes], bool]:
    """Tell, part by part, whether an event stream has come to its end."""
    reader = EventReader(service)

    def is_over(part: bytes) -> bool:
        reader.feed(part)
        return reader.ended

    return is_over


def _nested(answer: Any) -> Nested | None:
    """The key of an answer under which a prediction stands."""
    items = answer.items() if isinstance(answer, dict) else ()
    return next((Nested(key) for key, value in items if is_prediction(value)), None)
