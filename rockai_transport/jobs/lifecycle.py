"""The prediction lifecycle in an agent's hands: start, get, wait, cancel, list; as flows.

Laws of this module:

* A start is remembered before it is sent. The same call again gets what it had started; where no answer is
  known it is told so, and nothing is sent.
* Nobody gets at a prediction that was not started in the same scope, unless the developer allows its id.
* Errors are answers. Only what is not the agent's business (a cancellation, a failing store) leaves a flow.
"""

from __future__ import annotations

import logging
import math
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rockai_transport.errors import ConfigurationError, PredictionError, RockAIError
from rockai_transport.jobs import agent_messages
from rockai_transport.jobs.agent_messages import PredictionView, ToolAnswer
from rockai_transport.jobs.effects import (
    Do,
    Flow,
    Pause,
    Together,
    approved,
    ask,
    download,
    keep,
    now,
    recall,
    recall_all,
)
from rockai_transport.jobs.policy import Progress
from rockai_transport.jobs.records import CLEARED, REFUSED, STARTED, UNANSWERED, Record, digest, record_key
from rockai_transport.jobs.schemas import input_schema, lifecycle_schemas, problems
from rockai_transport.protocol.prediction import Prediction, Update, is_unfetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rockai_transport.jobs.hosted_models import HostedModel
    from rockai_transport.jobs.policy import CallContext, Policy

__all__ = ["Lifecycle"]

logger = logging.getLogger("rockai")

_AT_ONCE = 0.05
"""A wait that is shorter is one look."""


class Lifecycle:
    """Every flow of one set of tools. Holds what is agreed, and what is under way in this process."""

    def __init__(
        self, models: Sequence[HostedModel], policy: Policy, elapsed: Callable[[float], float]
    ) -> None:
        self.policy = policy
        self._models = {model.name: model for model in models}
        self._elapsed = elapsed
        self._inputs = {model.name: input_schema(model) for model in models}
        self.schemas = {**lifecycle_schemas(models, policy.max_wait), **self._inputs}
        self._lock = threading.Lock()
        self._pending: dict[str, list[str]] = {}
        self._watched: list[str] = []

    def answer(self, tool: str, arguments: Mapping[str, Any], site: CallContext) -> Flow[ToolAnswer]:
        """Carry out one tool call."""
        if wrong := problems(self.schemas[tool], arguments):
            return agent_messages.refusal(
                f"{tool}: {wrong}. Nothing was sent. Correct this and call it again."
            )
        if tool in self._models:
            return (yield from self._run(site, self._models[tool], arguments))
        flow: Flow[ToolAnswer] = getattr(self, f"_{tool}")(site, **arguments)
        return (yield from flow)

    # Starting.

    def _run(self, site: CallContext, model: HostedModel, given: Mapping[str, Any]) -> Flow[ToolAnswer]:
        started = yield from self._start(site, model, given)
        if isinstance(started, ToolAnswer):
            return started
        return (yield from self._wait(site, started.record, started.prediction, self.policy.max_wait))

    def _start_prediction(self, site: CallContext, model: str, input: Mapping[str, Any]) -> Flow[ToolAnswer]:  # noqa: A002
        if wrong := problems(self._inputs[model], input):
            return agent_messages.refusal(
                f"input of {model}: {wrong}. Nothing was sent. Correct this and call it again."
            )
        started = yield from self._start(site, self._models[model], input)
        if isinstance(started, ToolAnswer):
            return started
        try:
            yield Pause()
        except GeneratorExit:
            raise
        except BaseException as error:
            yield from self._leave(site, started.record, error)
            raise
        if is_unfetched(started.prediction):  # found, not started
            return (yield from self._wait(site, started.record, started.prediction, 0.0))
        return (yield from self._told(started.record, started.prediction, just_started=True))

    def _start(
        self, site: CallContext, model: HostedModel, given: Mapping[str, Any]
    ) -> Flow[_Started | ToolAnswer]:
        """Start a prediction, or find the one that this same call had started."""
        sent = {**model.defaults, **given}
        fingerprint = digest(model.model, sent)
        key = record_key(site.scope, site.call, fingerprint)
        with self._queue(site.scope, key) as ahead:
            if key in ahead:
                return agent_messages.refusal(f"{model.name}: this same call is being carried out already.")
            record = yield from recall(site.scope, key)
            if record is not None and record.state == STARTED:
                return _Started(record, record.known)
            if record is not None and record.state == UNANSWERED:
                return agent_messages.not_started(model, key, None)
            if refused := (yield from self._over_limits(site, set(ahead))):
                return refused
            if not (yield from approved(model, sent, key)):
                return agent_messages.refusal(
                    f"{model.name}: a person declined this, or could not be asked. Nothing was started."
                )
            moment = yield from now()
            return (yield from self._send(Record(key, site.scope, model.name, fingerprint, moment), sent))

    def _send(self, record: Record, sent: Mapping[str, Any]) -> Flow[_Started | ToolAnswer]:
        """Remember, then send, then remember what came of it."""
        model = self._models[record.model]
        try:
            yield from keep(record)
        except Exception:
            logger.exception("The record of a start could not be written; nothing was sent.")
            return agent_messages.refusal(
                f"{model.name}: the start could not be remembered, so nothing was sent. Tell the user."
            )
        try:
            prediction = yield from ask("create", model=model.model, input=sent, shielded=True)
        except RockAIError as error:
            state = UNANSWERED if error.may_have_started else REFUSED
            yield from _note(record._replace(state=state, note=agent_messages.reason(error)))
            return agent_messages.not_started(model, record.key, error)
        return _Started((yield from _note(record.seen(prediction))), prediction)

    def _over_limits(self, site: CallContext, ahead: set[str]) -> Flow[ToolAnswer | None]:
        """Why nothing more may be started now; ``ahead`` are the calls that are being started before this."""
        records = [record for record in (yield from recall_all(site.scope)) if record.counts]
        ahead -= {record.key for record in records}
        if len(records) + len(ahead) >= self.policy.max_starts:
            return agent_messages.refusal(
                f"Not started: this conversation has used all its {self.policy.max_starts} starts. "
                "Tell the user."
            )
        if len(ahead) + sum(record.is_running for record in records) < self.policy.max_running:
            return None
        records = yield from self._refresh(records)
        running = [record.prediction_id or f"record {record.key}" for record in records if record.is_running]
        running += ["one that is being started"] * len(ahead)
        if len(running) < self.policy.max_running:
            return None
        return agent_messages.refusal(
            f"Not started: {len(running)} predictions are running ({', '.join(running)}), and "
            f"{self.policy.max_running} are allowed at once. Wait for one or cancel one, then try again."
        )

    @contextmanager
    def _queue(self, scope: str, key: str) -> Iterator[list[str]]:
        """Stand in line, and see who is ahead: they count against the limits before they are in any record.

        Who left the line before this was in it has written a record, which is read only after this.
        """
        with self._lock:
            line = self._pending.setdefault(scope, [])
            ahead = list(line)
            line.append(key)
        try:
            yield ahead
        finally:
            with self._lock:
                line.remove(key)
                if not line:
                    self._pending.pop(scope, None)

    # Waiting.

    def _get_prediction(self, site: CallContext, prediction_id: str) -> Flow[ToolAnswer]:
        return (yield from self._wait_for_prediction(site, prediction_id, 0.0))

    def _wait_for_prediction(
        self, site: CallContext, prediction_id: str, timeout: float = math.inf
    ) -> Flow[ToolAnswer]:
        found = yield from self._find(site, prediction_id)
        if isinstance(found, ToolAnswer):
            return found
        known = found.known if found else Prediction(id=prediction_id)
        return (yield from self._wait(site, found, known, min(timeout, self.policy.max_wait)))

    def _wait(
        self, site: CallContext, record: Record | None, known: Prediction, seconds: float
    ) -> Flow[ToolAnswer]:
        """Wait for the end, or for the time to be up; leaving ends the prediction."""
        if known.id is None or (known.is_terminal and not is_unfetched(known)):
            return (yield from self._told(record, known))
        self._watched.append(known.id)
        try:
            prediction = yield from self._watch(site, record, known, seconds)
        except PredictionError as error:
            prediction = error.prediction or known
        except RockAIError as error:
            return agent_messages.unseen(self._seen(record, known), error)
        except GeneratorExit:
            raise
        except BaseException as error:
            yield from self._leave(site, record, error)
            raise
        finally:
            self._watched.remove(known.id)
        return (yield from self._told(record, prediction))

    def _watch(
        self, site: CallContext, record: Record | None, known: Prediction, seconds: float
    ) -> Flow[Prediction]:
        if seconds < _AT_ONCE:
            return (yield from ask("get", known.id))
        on_update = partial(self._report, site, record)
        return (yield from ask("wait", known, timeout=seconds, on_update=on_update))

    def _report(self, site: CallContext, record: Record | None, update: Update) -> Any:
        prediction = update.prediction
        return site.report(
            Progress(
                prediction.id,
                record.model if record else "",
                prediction.status,
                1.0 if prediction.status == "succeeded" else update.progress,
                self._elapsed(record.created) if record else 0.0,
            )
        )

    def _told(
        self, record: Record | None, prediction: Prediction, *, just_started: bool = False
    ) -> Flow[ToolAnswer]:
        """Save what there is to save, remember, and tell."""
        seen = self._seen(record, prediction)
        saves = self.policy.save_to is not None and not (seen.model and seen.model.output == "text")
        if saves and prediction.status == "succeeded":
            seen = yield from self._saved(seen, record)
        if record is not None:
            yield from _note(record.seen(prediction)._replace(files=tuple(map(str, seen.files))))
        return agent_messages.looked(seen, just_started=just_started)

    def _saved(self, seen: PredictionView, record: Record | None) -> Flow[PredictionView]:
        had = tuple(map(Path, record.files if record else ()))
        if had and all(path.exists() for path in had):
            return seen._replace(files=had)
        try:
            files = yield from download(seen.prediction, self.policy.save_to or Path())
        except RockAIError as error:
            return seen._replace(trouble=f"The file could not be saved: {agent_messages.reason(error)}")
        return seen._replace(files=tuple(files))

    def _seen(self, record: Record | None, prediction: Prediction) -> PredictionView:
        model = self._models.get(record.model) if record else None
        elapsed = self._elapsed(record.created) if record and not prediction.is_terminal else None
        return PredictionView(prediction, model, elapsed, tuple(map(Path, record.files)) if record else ())

    # The others.

    def _cancel_prediction(self, site: CallContext, prediction_id: str) -> Flow[ToolAnswer]:
        found = yield from self._find(site, prediction_id)
        if isinstance(found, ToolAnswer):
            return found
        known = found.known if found else Prediction(id=prediction_id)
        try:
            prediction = yield from ask("cancel", known)
        except RockAIError as error:
            return agent_messages.unseen(self._seen(found, known), error)
        if found is not None:
            yield from _note(found.seen(prediction))
        return agent_messages.canceled(self._seen(found, prediction))

    def _list_predictions(self, site: CallContext) -> Flow[ToolAnswer]:
        records = yield from self._refresh(
            [record for record in (yield from recall_all(site.scope)) if record.counts]
        )
        seen = [self._seen(record, record.known) for record in records if record.state == STARTED]
        return agent_messages.listing(seen, [record for record in records if record.state == UNANSWERED])

    def _find(self, site: CallContext, prediction_id: str) -> Flow[Record | ToolAnswer | None]:
        """The record of a prediction; None where it has none but is allowed; else why it is refused."""
        records = yield from recall_all(site.scope)
        ids = [record.prediction_id for record in records if record.prediction_id]
        for record in records:
            if record.prediction_id == prediction_id:
                return record
        if self.policy.is_allowed(prediction_id):
            return None
        there = f"There are: {', '.join(ids)}." if ids else "None was started yet."
        return agent_messages.refusal(f"{prediction_id!r} is not a prediction of this conversation. {there}")

    def _refresh(self, records: Sequence[Record]) -> Flow[list[Record]]:
        """Look at all those that were running; one that cannot be looked at stays as it was."""
        running = [record for record in records if record.is_running and record.prediction_id]
        looks = yield Together(tuple(Do("predictions", "get", (record.prediction_id,)) for record in running))
        fresh = {
            record.key: record.seen(prediction)
            for record, prediction in zip(running, looks, strict=True)
            if isinstance(prediction, Prediction)
        }
        for record in fresh.values():
            yield from _note(record)
        return [fresh.get(record.key, record) for record in records]

    # For the developer.

    def survey(self, scope: str | None, *, refresh: bool) -> Flow[list[Record]]:
        """All records of a scope, or of all scopes."""
        records = yield from recall_all(scope)
        return (yield from self._refresh(records)) if refresh else records

    def cancel_running(self, scope: str | None) -> Flow[list[Record]]:
        """Cancel all that is still running."""
        return (yield from self._cancel_all((yield from recall_all(scope))))

    def resolve(self, key: str, prediction_id: str | None) -> Flow[Record | None]:
        """Clear an unknown record; None where there is none with this key."""
        records = yield from recall_all(None)
        record = next((record for record in records if record.key == key), None)
        if record is None:
            return None
        if record.state != UNANSWERED:
            raise ConfigurationError(f"Record {key} is not unknown: it is {record.state}.")
        if prediction_id is None:
            return (yield from keep(record._replace(state=CLEARED)))
        owner = next((other for other in records if other.prediction_id == prediction_id), None)
        if owner is not None:
            raise ConfigurationError(f"Prediction {prediction_id} is that of record {owner.key} already.")
        return (yield from keep(record._replace(state=STARTED, prediction_id=prediction_id, note="")))

    # Leaving.

    def _leave(self, site: CallContext, record: Record | None, error: BaseException) -> Flow[None]:
        """End what this call, and the conversation it belongs to, has under way; or say that it goes on."""
        if record is None:
            return  # an id that the developer allowed: not started here, not ended here
        if self.policy.on_cancel == "leave":
            error.add_note(f"Prediction {record.prediction_id} goes on.")
            logger.info("Prediction %s goes on (on_cancel='leave').", record.prediction_id)
            return
        records = [record]
        if site.is_one_run:
            try:
                others = yield from recall_all(site.scope, shielded=True)
            except Exception:
                logger.exception("What else is running could not be looked up while leaving.")
                others = []
            # A sibling that waits for its own prediction is canceled too, and ends that itself.
            waited_for = (record.prediction_id, *self._watched)
            records += [other for other in others if other.prediction_id not in waited_for]
        yield from self._cancel_all(records)

    def _cancel_all(self, records: Sequence[Record]) -> Flow[list[Record]]:
        running = [record for record in records if record.is_running and record.prediction_id]
        calls = tuple(Do("predictions", "cancel", (record.known,)) for record in running)
        ended = []
        for record, result in zip(running, (yield Together(calls)), strict=True):
            if isinstance(result, Prediction):
                ended.append((yield from _note(record.seen(result))))
            else:
                logger.warning("Prediction %s could not be canceled: %s", record.prediction_id, result)
        return ended


class _Started(NamedTuple):
    record: Record
    prediction: Prediction


def _note(record: Record) -> Flow[Record]:
    """Write down what became of a start; if that fails, what is known is told all the same."""
    try:
        return (yield from keep(record))
    except Exception:
        logger.exception("What became of prediction %s could not be written down.", record.prediction_id)
        return record
