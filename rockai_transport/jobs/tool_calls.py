"""One tool call about existing predictions: get, wait, cancel, list; and leaving it.

Invariants of this module: an agent cannot access a prediction of another scope, unless the developer allows
its id. A call takes at most ``max_wait``, or one second if that is less. If the prediction takes longer, the
answer has its id, and it continues. If a caller leaves, the running predictions of its run are canceled
within two seconds.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rockai_transport.errors import APITimeoutError, PredictionError, RockAIError
from rockai_transport.jobs import agent_messages as messages
from rockai_transport.jobs.agent_messages import PredictionView, ToolAnswer
from rockai_transport.jobs.backends import Backends
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.policy import CallContext, Policy, Progress
from rockai_transport.jobs.records import STARTED, UNANSWERED, Record
from rockai_transport.jobs.running import ToolCallsUnderWay, cancel_all, note, refresh
from rockai_transport.protocol.operations import CANCEL_GRACE_SECONDS
from rockai_transport.protocol.prediction import Prediction, Update, is_unfetched

logger = logging.getLogger("rockai")

T = TypeVar("T")
_AT_ONCE = 0.05
"""A wait that is shorter is a single poll."""
_AWAKE = 5.0
"""Seconds that a call polls for the end before it sleeps until the webhook arrives."""
_NOT_SAVED_YET = "The file is not saved yet: this took too long. get_prediction will save it."


@dataclass(eq=False)
class LifecycleCall:
    """One tool call: the state it shares with others, its backends and context, and its deadline."""

    _models: Mapping[str, HostedModel]
    _policy: Policy
    _under_way: ToolCallsUnderWay
    _backends: Backends
    _context: CallContext
    _until: float
    _record: Record | None = None
    """The record of the prediction that this call has started or waits for: leaving cancels it."""

    def _left(self) -> float:
        """The seconds that this call may still take, minus a little for a last request."""
        return max(self._until - self._backends.clock(), _AT_ONCE)

    async def _in_time(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run a request to the service, for as long as the call may still take."""
        [result] = await self._backends.together([operation], self._left())
        if isinstance(result, TimeoutError | asyncio.CancelledError):
            raise APITimeoutError("The service took too long to answer.")
        if isinstance(result, BaseException):
            raise result
        return result

    # Waiting.

    async def get_prediction(self, prediction_id: str) -> ToolAnswer:
        """Get a prediction once."""
        return await self.wait_for_prediction(prediction_id, 0.0)

    async def wait_for_prediction(self, prediction_id: str, timeout: float = math.inf) -> ToolAnswer:
        """Wait for a prediction, for at most ``timeout`` seconds; with 0, get it once."""
        found = await self._find(prediction_id)
        if isinstance(found, ToolAnswer):
            return found
        return await self._wait(found, found.known, min(timeout, self._policy.max_wait))

    async def _wait(self, record: Record, known: Prediction, seconds: float, remark: str = "") -> ToolAnswer:
        """Wait until the prediction ends or the time is up."""
        if known.id is None or (known.is_terminal and not is_unfetched(known)):
            return await self._conclude(record, known, remark)
        if remark or seconds >= _AT_ONCE:  # leaving a single poll cancels nothing
            self._remember(record, is_own=True)
        predictions = self._backends.predictions
        self._under_way.watched.append(known.id)
        may_sleep = bool(self._context.thread) and self._may_sleep(record, seconds)
        if may_sleep and record.asleep:  # resumed: the same call polls, and answers as it would have
            seconds, remark = 0.0, ""
        elif may_sleep:
            seconds = min(seconds, _AWAKE)
        try:
            if seconds < _AT_ONCE:
                prediction = await self._in_time(predictions.get(known.id))
            else:
                limit = min(seconds, self._left())
                on_update = partial(self._report, record)
                prediction = await predictions.wait(known, timeout=limit, on_update=on_update)
        except PredictionError as error:
            prediction = error.prediction or known
        except RockAIError as error:
            return messages.describe_unreachable(self._view(record, known), error)
        finally:
            self._under_way.watched.remove(known.id)
        if may_sleep:
            record, prediction = await self._fall_asleep(record, prediction)
            if record.asleep:
                view = self._view(record, prediction)
                return messages.describe_prediction(view, remark)._replace(sleeps=True)
        return await self._conclude(record, prediction, remark)

    async def _report(self, record: Record, update: Update) -> None:
        """Report progress to the program. If that fails, it is only logged: the answer matters more."""
        if (report := self._context.report) is None:
            return
        prediction = update.prediction
        share = 1.0 if prediction.status == "succeeded" else update.progress
        since = self._backends.now() - record.created if record.key else 0.0
        try:
            result = report(Progress(prediction.id, record.model, prediction.status, share, since))
            if inspect.isawaitable(result):
                await result
        except Exception:  # whatever the listener raises: the prediction is paid for
            logger.debug("Progress could not be reported.", exc_info=True)

    # Sleeping until a webhook comes.

    def _may_sleep(self, record: Record, seconds: float) -> bool:
        """Whether this call waits longer and can be suspended.

        A record resumes one thread: if another sleeps for the same prediction, this call waits.
        """
        if not record.webhook_hash or seconds < min(_AWAKE, self._policy.max_wait):
            return False
        return not record.asleep or record.thread == self._context.thread

    async def _fall_asleep(self, record: Record, prediction: Prediction) -> tuple[Record, Prediction]:
        """Record that an agent sleeps, then poll: an end before the record would not be reported."""
        awake, put = record._replace(asleep=None, thread=self._context.thread), self._backends.records.put
        try:
            if not prediction.is_terminal:
                record = awake.seen(prediction)._replace(asleep=self._backends.now())
                await self._backends.detached(put(record))
                prediction = await self._polled_last(prediction)
            if prediction.is_terminal and record.asleep:
                await self._backends.detached(put(awake.seen(prediction)))
        except Exception:
            logger.exception("A record could not be written, so its agent does not sleep.")
            return awake, prediction
        if prediction.is_terminal:
            return awake, prediction
        for run in self._context.runs:  # a sleeping call's prediction is not canceled with the run
            run.forget(prediction.id or "")
        self._record = None
        return record, prediction

    async def _polled_last(self, prediction: Prediction) -> Prediction:
        """Poll a prediction before its agent sleeps; return its known state if that fails."""
        try:
            return await self._in_time(self._backends.predictions.get(prediction.id or ""))
        except RockAIError:
            logger.info(
                "The last poll of prediction %s failed. Its webhook will report the end.", prediction.id
            )
            return prediction

    async def _conclude(
        self, record: Record, prediction: Prediction, remark: str, *, just_started: bool = False
    ) -> ToolAnswer:
        """Save the output files, update the record, and describe the prediction."""
        view = self._view(record, prediction)
        if self._policy.save_to and prediction.status == "succeeded" and view.has_files:
            view = await self._save(view, self._policy.save_to)
        record = record.seen(prediction)._replace(files=tuple(map(str, view.files)))
        self._remember(record, is_own=self._record is not None)
        await self._backends.detached(note(self._backends, record))
        return messages.describe_prediction(view, remark, just_started=just_started)

    async def _save(self, view: PredictionView, folder: Path) -> PredictionView:
        if view.files and all(path.exists() for path in view.files):
            return view
        try:
            files = await self._backends.download(view.prediction, folder, timeout=self._left())
        except APITimeoutError:
            return view._replace(files=(), trouble=_NOT_SAVED_YET)
        except RockAIError as error:
            return view._replace(files=(), trouble=f"The file could not be saved: {messages.reason(error)}")
        return view._replace(files=tuple(files))

    def _view(self, record: Record, prediction: Prediction) -> PredictionView:
        is_timed = record.key and not prediction.is_terminal
        elapsed = self._backends.now() - record.created if is_timed else None
        model = self._models.get(record.model)
        return PredictionView(prediction, model, elapsed, tuple(map(Path, record.files)))

    # The others.

    async def cancel_prediction(self, prediction_id: str) -> ToolAnswer:
        """Cancel a prediction."""
        found = await self._find(prediction_id)
        if isinstance(found, ToolAnswer):
            return found
        try:
            prediction = await self._in_time(self._backends.predictions.cancel(found.known))
        except RockAIError as error:
            return messages.describe_unreachable(self._view(found, found.known), error)
        record = found.seen(prediction)
        self._remember(record, is_own=False)
        await self._backends.detached(note(self._backends, record))
        return messages.describe_canceled(self._view(record, prediction))

    async def list_predictions(self) -> ToolAnswer:
        """List the predictions of this scope with their current status."""
        everything = await self._backends.records.all(self._context.scope)
        records = [one for one in self._under_way.with_ids(everything) if one.counts]
        records = await self._refreshed(records)
        views = [self._view(record, record.known) for record in records if record.state == STARTED]
        unknown = [record for record in records if record.state == UNANSWERED]
        starting = {start.record.key for start in tuple(self._under_way.starting)}
        return messages.describe_list(views, unknown, starting)

    async def _find(self, prediction_id: str) -> Record | ToolAnswer:
        """Return the record of a prediction, or why it is refused; that of an allowed id has no key."""
        records = self._under_way.with_ids(await self._backends.records.all(self._context.scope))
        by_id = {one.prediction_id: one for one in records if one.prediction_id and one.counts}
        if record := by_id.get(prediction_id):
            return record
        if self._policy.is_allowed(prediction_id):
            return Record("", self._context.scope, "", "", 0.0, STARTED, prediction_id)
        there = f"There are: {', '.join(by_id)}." if by_id else "None was started yet."
        asked = messages.shortened(prediction_id)
        return messages.refusal(f"{asked} is not a prediction of this conversation. {there}")

    async def _refreshed(self, records: list[Record]) -> list[Record]:
        return await refresh(self._backends, records, min(CANCEL_GRACE_SECONDS, self._left()))

    # Remembering.

    def _remember(self, record: Record, *, is_own: bool) -> None:
        """Keep a prediction's status for leaving: for this call and for its runs."""
        if not record.key:  # it was started elsewhere
            return
        if is_own:
            self._record = record
        for run in self._context.runs:
            if is_own or record.prediction_id in run:
                run.note(self._context.store, record)

    # Leaving.

    async def leave(self, error: BaseException) -> None:
        """Cancel the running predictions of this call and of its runs, or note that they continue."""
        records = self._to_end()
        if self._policy.on_cancel == "leave":
            for record in records:
                error.add_note(f"Prediction {record.prediction_id} goes on.")
                logger.info("Prediction %s goes on (on_cancel='leave').", record.prediction_id)
            return
        try:
            canceling = cancel_all(self._backends, records, may_sleep=False)
            await self._backends.detached(canceling, CANCEL_GRACE_SECONDS)
        except TimeoutError:
            ids = ", ".join(str(record.prediction_id) for record in records)
            logger.warning("There was no time to cancel these predictions, which may go on: %s.", ids)

    def _to_end(self) -> list[Record]:
        """Return the call's own prediction, and the running predictions of its runs.

        A sibling call that waits for its own prediction is canceled too, and cancels that one itself.
        """
        own = [self._record] if self._record is not None and self._record.is_running else []
        self._record = None
        self._under_way.leave(self._context.runs)
        own_ids = [one.prediction_id for one in own]
        watched = [one for one in self._under_way.watched if one not in own_ids]
        taken = [one for run in self._context.runs for _, one in run.take(watched)]
        return list({one.prediction_id: one for one in (*taken, *own)}.values())
