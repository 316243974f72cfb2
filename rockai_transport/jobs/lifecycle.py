"""The prediction lifecycle as an agent's tools: start, get, wait, cancel, list.

Invariants of this module:

* A start is remembered before it is sent. The same call again gets what it had started; where the answer
  was lost it gets "unknown", and nothing is sent.
* A prediction that was not started in the same scope is out of reach, unless the developer allows its id.
* Errors are answers. Only what is not the agent's business (a cancellation, a failing store) is raised.
* What is decided here holds with ``await`` and without: `Backends` do what is to be done.
"""

from __future__ import annotations

import inspect
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from rockai_transport.errors import PredictionError, RockAIError
from rockai_transport.io.detached import GRACE_SECONDS
from rockai_transport.jobs.agent_messages import (
    PredictionView,
    ToolAnswer,
    describe_canceled,
    describe_list,
    describe_not_started,
    describe_prediction,
    describe_unreachable,
    reason,
    refusal,
)
from rockai_transport.jobs.backends import Backends
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.json_schema import validator
from rockai_transport.jobs.policy import Policy, Progress
from rockai_transport.jobs.records import REFUSED, STARTED, UNANSWERED, Record, digest, record_key
from rockai_transport.jobs.running import cancel_all, note, refresh
from rockai_transport.jobs.schemas import input_schema, lifecycle_schemas, problems
from rockai_transport.prompting.reply.schema_values import adapted
from rockai_transport.protocol.prediction import Prediction, Update, is_unfetched

__all__ = ["Lifecycle"]

logger = logging.getLogger("rockai")

_AT_ONCE = 0.05
"""A wait that is shorter is one look."""


class Lifecycle:
    """What the tools of one set share: what is agreed, and what is under way in this process."""

    def __init__(self, models: Sequence[HostedModel], policy: Policy) -> None:
        self.policy = policy
        self.models = {model.name: model for model in models}
        inputs = {model.name: input_schema(model) for model in models}
        self.schemas = {**lifecycle_schemas(models, policy.max_wait), **inputs}
        self.checkers = {name: validator(schema) for name, schema in self.schemas.items()}
        self.watched: list[str] = []
        """The ids of the predictions that are being waited for."""
        self._starting: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def _checked(self, tool: str, arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
        """The arguments, and what is wrong with them; what does not fit is read as declared, if it can be."""
        wrong = problems(self.checkers[tool], arguments)
        if wrong:
            arguments = adapted(dict(arguments), self.schemas[tool])
            wrong = problems(self.checkers[tool], arguments)
        return arguments, wrong

    async def answer(self, backends: Backends, tool: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        """Carry out one tool call."""
        arguments, wrong = self._checked(tool, arguments)
        if wrong:
            return refusal(f"{tool}: {wrong}. Nothing was sent. Correct this and call it again.")
        call = _ToolCall(self, backends)
        match tool:
            case "start_prediction":
                name = arguments["model"]
                given, wrong = self._checked(name, arguments["input"])
                if wrong:
                    return refusal(
                        f"input of {name}: {wrong}. Nothing was sent. Correct this and call it again."
                    )
                operation = call.start(self.models[name], given, None)
            case "get_prediction":
                operation = call.wait_for_prediction(arguments["prediction_id"], 0.0)
            case "wait_for_prediction":
                seconds = arguments.get("timeout", self.policy.max_wait)
                operation = call.wait_for_prediction(arguments["prediction_id"], seconds)
            case "cancel_prediction":
                operation = call.cancel_prediction(arguments["prediction_id"])
            case "list_predictions":
                operation = call.list_predictions()
            case _:
                operation = call.start(self.models[tool], arguments, self.policy.max_wait)
        return await operation

    @contextmanager
    def queue(self, scope: str, key: str) -> Iterator[set[str]]:
        """Queue up for a start, and see who is ahead: they count before they are in any record.

        An earlier caller that is done has written a record, which is read only after this.
        """
        with self._lock:
            queue = self._starting.setdefault(scope, [])
            ahead = set(queue)
            queue.append(key)
        try:
            yield ahead
        finally:
            with self._lock:
                queue.remove(key)
                if not queue:
                    self._starting.pop(scope, None)


class _ToolCall:
    """One tool call: what it works with, and what it shares with others."""

    def __init__(self, tools: Lifecycle, backends: Backends) -> None:
        self._tools = tools
        self._policy = tools.policy
        self._backends = backends
        self._context = backends.context
        self._sent: _Started | None = None

    # Starting.

    async def start(self, model: HostedModel, given: Mapping[str, Any], seconds: float | None) -> ToolAnswer:
        """Start a prediction and wait for it, for so many seconds at most; with None, return at once."""
        started = await self._start(model, given)
        if isinstance(started, ToolAnswer):
            return started
        if seconds is None and not is_unfetched(started.prediction):  # started, not found
            return await self._conclude(started.record, started.prediction, just_started=True)
        return await self._wait(started.record, started.prediction, seconds or 0.0)

    async def _start(self, model: HostedModel, given: Mapping[str, Any]) -> _Started | ToolAnswer:
        """Start a prediction, or find the one that this same call had started."""
        scope, sent = self._context.scope, {**model.defaults, **given}
        fingerprint = digest(model.model, sent)
        key = record_key(scope, self._context.call, fingerprint)
        with self._tools.queue(scope, key) as ahead:
            if key in ahead:
                return refusal(f"{model.name}: this same call is being carried out already.")
            records = []
            for record in await self._backends.records.all(scope):
                if not record.counts:
                    continue
                if record.key == key:
                    is_started = record.state == STARTED
                    return _Started(record, record.known) if is_started else describe_not_started(model, key)
                records.append(record)
                ahead.discard(record.key)
            if refused := await self._over_limits(records, len(ahead)):
                return refused
            if self._context.approve and not await _awaited(self._context.approve(model, sent, key)):
                return refusal(
                    f"{model.name}: a person declined this, or could not be asked. Nothing was started."
                )
            record = Record(key, scope, model.name, fingerprint, self._backends.now())
            return await self._send(model, record, sent)

    async def _send(
        self, model: HostedModel, record: Record, sent: Mapping[str, Any]
    ) -> _Started | ToolAnswer:
        """Send a start, whatever becomes of the caller meanwhile; end it where it has left.

        Without an answer within two seconds the record of who has left goes on to say "unknown".
        """
        try:
            return await self._backends.detached(self._remember_and_send(model, record, sent), math.inf)
        except GeneratorExit:
            raise
        except BaseException as error:
            if self._sent is not None and not self._sent.was_ended:
                await self._leave(self._sent.record, error)
            raise

    async def _remember_and_send(
        self, model: HostedModel, record: Record, sent: Mapping[str, Any]
    ) -> _Started | ToolAnswer:
        """Remember, then send, then remember what came of it."""
        backends = self._backends
        try:
            await backends.records.put(record)
        except Exception:
            logger.exception("The record of a start could not be written; nothing was sent.")
            return refusal(
                f"{model.name}: the start could not be remembered, so nothing was sent. Tell the user."
            )
        if backends.was_canceled():
            text = "The call was canceled before anything was sent."
            await note(backends, record._replace(state=REFUSED, note=text))
            return refusal(f"{model.name}: {text}")
        try:
            prediction = await backends.predictions.create(model=model.model, input=sent)
        except RockAIError as error:
            state = UNANSWERED if error.may_have_started else REFUSED
            await note(backends, record._replace(state=state, note=reason(error)))
            return describe_not_started(model, record.key, error)
        record = await note(backends, record.seen(prediction))
        was_ended = backends.was_canceled() and self._policy.on_cancel == "cancel"
        if was_ended:  # here, within the two seconds that the caller waits for this
            await self._end(record)
        self._sent = _Started(record, prediction, was_ended)
        return self._sent

    async def _over_limits(self, records: list[Record], ahead: int) -> ToolAnswer | None:
        """Why nothing more may be started now; so many calls ``ahead`` of this one have no record yet."""
        max_starts, max_running = self._policy.max_starts, self._policy.max_running
        if len(records) + ahead >= max_starts:
            return refusal(
                f"Not started: this conversation has used all its {max_starts} starts. Tell the user."
            )
        if ahead + sum(map(attrgetter("is_running"), records)) < max_running:
            return None
        records = await refresh(self._backends, records)
        running = [record.prediction_id or f"record {record.key}" for record in records if record.is_running]
        running += ["one that is being started"] * ahead
        if len(running) < max_running:
            return None
        return refusal(
            f"Not started: {len(running)} predictions are running ({', '.join(running)}), and "
            f"{max_running} are allowed at once. Wait for one or cancel one, then try again."
        )

    # Waiting.

    async def wait_for_prediction(self, prediction_id: str, seconds: float) -> ToolAnswer:
        """Wait for a prediction, for so many seconds at most; with none, look at it once."""
        found = await self._find(prediction_id)
        if isinstance(found, ToolAnswer):
            return found
        return await self._wait(*found, min(seconds, self._policy.max_wait))

    async def _wait(self, record: Record | None, known: Prediction, seconds: float) -> ToolAnswer:
        """Wait for the end, or for the time to be up; leaving ends the prediction."""
        if known.id is None or (known.is_terminal and not is_unfetched(known)):
            return await self._conclude(record, known)
        predictions, report = self._backends.predictions, None
        if self._context.report:
            report = partial(_report, self._backends, self._context.report, record)
        self._tools.watched.append(known.id)
        try:
            if seconds < _AT_ONCE:
                prediction = await predictions.get(known.id)
            else:
                prediction = await predictions.wait(known, timeout=seconds, on_update=report)
        except PredictionError as error:
            prediction = error.prediction or known
        except RockAIError as error:
            return describe_unreachable(self._view(record, known), error)
        except GeneratorExit:
            raise
        except BaseException as error:
            await self._leave(record, error)
            raise
        finally:
            self._tools.watched.remove(known.id)
        return await self._conclude(record, prediction)

    async def _conclude(
        self, record: Record | None, prediction: Prediction, *, just_started: bool = False
    ) -> ToolAnswer:
        """Save what there is to save, remember it, and describe it."""
        view = self._view(record, prediction)
        is_text = view.model is not None and view.model.output == "text"
        if self._policy.save_to and prediction.status == "succeeded" and not is_text:
            view = await self._save(view, self._policy.save_to)
        if record is not None:
            record = record.seen(prediction)._replace(files=tuple(map(str, view.files)))
            await self._backends.detached(note(self._backends, record), math.inf)
        return describe_prediction(view, just_started=just_started)

    async def _save(self, view: PredictionView, folder: Path) -> PredictionView:
        if view.files and all(path.exists() for path in view.files):
            return view
        try:
            files = await self._backends.download(view.prediction, folder)
        except RockAIError as error:
            return view._replace(files=(), trouble=f"The file could not be saved: {reason(error)}")
        return view._replace(files=tuple(files))

    def _view(self, record: Record | None, prediction: Prediction) -> PredictionView:
        if record is None:
            return PredictionView(prediction)
        elapsed = None if prediction.is_terminal else self._backends.now() - record.created
        model = self._tools.models.get(record.model)
        return PredictionView(prediction, model, elapsed, tuple(map(Path, record.files)))

    # The others.

    async def cancel_prediction(self, prediction_id: str) -> ToolAnswer:
        """Cancel a prediction."""
        found = await self._find(prediction_id)
        if isinstance(found, ToolAnswer):
            return found
        record, known = found
        try:
            prediction = await self._backends.predictions.cancel(known)
        except RockAIError as error:
            return describe_unreachable(self._view(record, known), error)
        if record is not None:
            await self._backends.detached(note(self._backends, record.seen(prediction)), math.inf)
        return describe_canceled(self._view(record, prediction))

    async def list_predictions(self) -> ToolAnswer:
        """List what was started in this scope, as it stands now."""
        records = [one for one in await self._backends.records.all(self._context.scope) if one.counts]
        records = await refresh(self._backends, records)
        views = [self._view(record, record.known) for record in records if record.state == STARTED]
        return describe_list(views, [record for record in records if record.state == UNANSWERED])

    async def _find(self, prediction_id: str) -> tuple[Record | None, Prediction] | ToolAnswer:
        """A prediction, and its record, which one that is allowed may lack; else why it is refused."""
        records = await self._backends.records.all(self._context.scope)
        by_id = {record.prediction_id: record for record in records if record.prediction_id}
        if record := by_id.get(prediction_id):
            return record, record.known
        if self._policy.is_allowed(prediction_id):
            return None, Prediction(id=prediction_id)
        there = f"There are: {', '.join(by_id)}." if by_id else "None was started yet."
        return refusal(f"{prediction_id!r} is not a prediction of this conversation. {there}")

    # Leaving.

    async def _leave(self, record: Record | None, error: BaseException) -> None:
        """End what this call, and the conversation it belongs to, has under way; or say that it goes on."""
        if record is None:
            return  # an id that the developer allowed: not started here, not ended here
        if self._policy.on_cancel == "leave":
            error.add_note(f"Prediction {record.prediction_id} goes on.")
            logger.info("Prediction %s goes on (on_cancel='leave').", record.prediction_id)
            return
        try:
            await self._backends.detached(self._end(record), GRACE_SECONDS)
        except TimeoutError:
            logger.warning("There was no time to cancel prediction %s.", record.prediction_id)

    async def _end(self, record: Record) -> None:
        """Cancel a prediction, and what else runs in a conversation that is one run."""
        records = [record]
        if self._context.is_one_run:
            try:
                others = await self._backends.records.all(self._context.scope)
            except Exception:
                logger.exception("What else is running could not be looked up while leaving.")
                others = []
            # A sibling that waits for its own prediction is canceled too, and ends that itself.
            waited_for = (record.prediction_id, *self._tools.watched)
            records += [other for other in others if other.prediction_id not in waited_for]
        await cancel_all(self._backends, records)


class _Started(NamedTuple):
    record: Record
    prediction: Prediction
    was_ended: bool = False
    """Whether its caller had left, and it was canceled."""


async def _awaited(answer: Any) -> Any:
    """What a function of the program's answers; with await it may be a coroutine function."""
    return await answer if inspect.isawaitable(answer) else answer


def _report(
    backends: Backends, report: Callable[[Progress], Any], record: Record | None, update: Update
) -> Any:
    """Report progress to the program; what it returns may have to be awaited."""
    prediction = update.prediction
    return report(
        Progress(
            prediction.id,
            record.model if record else "",
            prediction.status,
            1.0 if prediction.status == "succeeded" else update.progress,
            backends.now() - record.created if record else 0.0,
        )
    )
