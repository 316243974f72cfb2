"""One tool call that starts a prediction, or finds the one that was started.

Invariants of this module:

* A start is remembered before it is sent. The same call again gets what it had started; where the answer was
  lost it gets "unknown", and nothing is sent: nor for the same order in another call, until that is resolved.
* Of several workers that carry out the same call, one sends.
* Where a budget is agreed, a start's money is reserved with its record, or nothing is sent.
* The same order in a later turn, while the first still runs, gets that prediction.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import uuid4

from rockai_transport.errors import RockAIError
from rockai_transport.jobs.agent_messages import (
    ALREADY_RUNNING,
    STARTED_BEFORE,
    ToolAnswer,
    describe_not_started,
    describe_order,
    describe_over_budget,
    describe_too_many,
    reason,
    refusal,
)
from rockai_transport.jobs.backends import Steps
from rockai_transport.jobs.budget import scope_lock
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.records import REFUSED, STARTED, UNANSWERED, Record, digest, record_key
from rockai_transport.jobs.running import note
from rockai_transport.jobs.stores import place_of
from rockai_transport.jobs.tool_calls import LifecycleCall
from rockai_transport.protocol.prediction import Prediction, is_unfetched
from rockai_transport.protocol.webhooks import WebhookTarget

__all__ = ["StartCall"]

logger = logging.getLogger("rockai")


class StartCall(LifecycleCall):
    """A tool call that may start a prediction."""

    was_left = False
    """Whether its caller has left: what it starts is canceled."""

    async def start(self, model: HostedModel, given: Mapping[str, Any], seconds: float | None) -> ToolAnswer:
        """Start a prediction and wait for it, for so many seconds at most; with None, return at once."""
        started = await self._start(model, given)
        if isinstance(started, ToolAnswer):
            return started
        if seconds is None and not is_unfetched(started.prediction):  # started, not found
            return await self._conclude(
                started.record, started.prediction, just_started=True, remark=started.remark
            )
        return await self._wait(started.record, started.prediction, seconds or 0.0, started.remark)

    async def _start(self, model: HostedModel, given: Mapping[str, Any]) -> _Started | ToolAnswer:
        """Start a prediction, or find the one that this same call, or an earlier turn, had started."""
        scope, sent = self._context.scope, {**model.defaults, **given}
        fingerprint = digest(model.model, sent)
        key = record_key(scope, self._context.call, fingerprint)
        record = Record(
            key,
            scope,
            model.name,
            fingerprint,
            self._backends.now(),
            turn=self._context.turn,
            price=tuple(model.price or ()),
        )
        ahead = self._under_way.announce(scope, key)
        was_sent = False
        try:
            if key in ahead:
                return refusal(
                    f"{model.name}: this same call is being carried out already: look with list_predictions "
                    "later. Do not start it again."
                )
            if decided := await self._decided(model, record, ahead):
                return decided
            if not await self._approved(model, sent, key):
                return refusal(
                    f"{model.name}: a person declined this, or could not be asked. Nothing was started."
                )
            was_sent = True
            record = record._replace(nonce=uuid4().hex, thread=self._context.thread)
            return await self._send(model, record, sent)
        finally:
            if not was_sent:
                self._under_way.withdraw(scope, key)

    async def _approved(self, model: HostedModel, sent: Mapping[str, Any], key: str) -> bool:
        """Ask a person, where somebody is to be asked."""
        if self._context.approve is None:
            return True
        records = await self._backends.records.all(self._context.scope)
        question = describe_order(model, records, self._policy.max_cost)
        asked = self._backends.now()
        is_approved = await _awaited(self._context.approve(model, sent, key, question))
        self._until += self._backends.now() - asked  # a person may take their time
        return bool(is_approved)

    async def _decided(
        self, model: HostedModel, record: Record, ahead: set[str]
    ) -> _Started | ToolAnswer | None:
        """What has been started already, or why nothing may be; None: this may be sent."""
        records = [one for one in await self._backends.records.all(record.scope) if one.counts]
        for one in records:
            if one.key == record.key:
                if one.state != STARTED:
                    return describe_not_started(model, one.key)
                is_ours = one.thread == self._context.thread  # else what slept was lost before it was saved
                return _Started(one if is_ours else one._replace(asleep=None), one.known, STARTED_BEFORE)
        same = [one for one in records if one.digest == record.digest and one.key not in ahead]
        for one in same:
            if one.state == UNANSWERED:
                return describe_not_started(model, one.key)
        for one in await self._refreshed([one for one in same if self._may_join(one)]):
            if one.is_running:
                return _Started(one, one.known, ALREADY_RUNNING)
        limited = await self._over_limits(records, len(ahead.difference(map(attrgetter("key"), records))))
        return limited or await self._over_budget(record, records)

    def _may_join(self, record: Record) -> bool:
        """Whether an order that runs is that of an earlier turn of this conversation.

        The calls of one turn are meant to be several; what is known of no turn is a program's own call.
        """
        turn = self._context.turn
        if self._policy.duplicates == "allow" or not record.is_running or not (turn and record.turn):
            return False
        is_ours = not self._context.is_shared or any(
            record.prediction_id in run for run in self._context.runs
        )
        return is_ours and turn != record.turn

    async def _over_limits(self, records: list[Record], ahead: int) -> ToolAnswer | None:
        """Why nothing more may be started now; so many calls ``ahead`` of this one have no record yet."""
        max_starts, max_running = self._policy.max_starts, self._policy.max_running
        if len(records) + ahead >= max_starts:
            return refusal(
                f"Not started: this conversation has used all its {max_starts} starts. Tell the user."
            )
        if ahead + sum(map(attrgetter("is_running"), records)) < max_running:
            return None
        running = [one for one in await self._refreshed(records) if one.is_running]
        if len(running) + ahead < max_running:
            return None
        return describe_too_many(running, ahead, max_running)

    async def _over_budget(self, record: Record, records: list[Record]) -> ToolAnswer | None:
        """Why no money is left for this; what has ended meanwhile is settled before it is said."""
        max_cost = self._policy.max_cost
        if max_cost is None or describe_over_budget(record, records, max_cost) is None:
            return None
        return describe_over_budget(record, await self._refreshed(records), max_cost)

    # Sending.

    async def _send(
        self, model: HostedModel, record: Record, sent: Mapping[str, Any]
    ) -> _Started | ToolAnswer:
        """Send a start, whatever becomes of the caller meanwhile; end it where it has left.

        Without an answer within two seconds the record of who has left goes on to say "unknown".
        """
        for run in self._context.runs:
            run.pending.add(self)
        webhook: dict[str, Any] = {}
        if self._policy.webhook_url:
            target = WebhookTarget.make(self._policy.webhook_url, place_of(record))
            webhook = {"webhook": target.address, "webhook_events_filter": ["completed"]}
            record = record._replace(webhook_hash=target.secret_hash)
        steps = Steps(
            partial(self._claim, model, record),
            partial(self._attempt, model, record, sent, webhook),
            partial(self._answered, model, record),
        )
        try:
            started = await self._backends.left_behind(steps, self._left(), self._leave_while_sending)
        except BaseException:
            self.was_left = True
            raise
        if started is not None:
            return started
        return refusal(
            f"{model.name}: the start was sent, and is not answered yet. It goes on by itself: look with "
            "list_predictions later. Do not start it again."
        )

    async def _claim(self, model: HostedModel, record: Record) -> ToolAnswer | None:
        """Write the record before anything is sent; why nothing is sent, where that is so."""
        try:
            refused = await self._claimed(model, record)
        except BaseException:
            self._withdraw(record)
            raise
        if refused is not None:
            self._withdraw(record)
        return refused

    async def _claimed(self, model: HostedModel, record: Record) -> ToolAnswer | None:
        try:
            is_claimed = await self._reserved(record)
        except Exception:
            logger.exception("The record of a start could not be written; nothing was sent.")
            return refusal(
                f"{model.name}: the start could not be remembered, so nothing was sent. Tell the user."
            )
        if isinstance(is_claimed, ToolAnswer):
            return is_claimed
        if not is_claimed:
            return refusal(f"{model.name}: another worker carries out this same call. Nothing was sent here.")
        if not self._has_left():
            return None
        text = "The call was canceled before anything was sent."
        await note(self._backends, record._replace(state=REFUSED, note=text))
        return refusal(f"{model.name}: {text}")

    async def _reserved(self, record: Record) -> bool | ToolAnswer:
        """Claim the record's key, and its money: both or neither."""
        records, max_cost = self._backends.records, self._policy.max_cost
        if max_cost is None:
            return await records.claim(record)
        lock = scope_lock(record.scope)
        async with self._backends.locked(lock):
            refused = describe_over_budget(record, await records.all(record.scope), max_cost)
            is_claimed = refused is None and await records.claim(record, max_cost)
        if not is_claimed and refused is None:  # another process may have been faster
            refused = describe_over_budget(record, await records.all(record.scope), max_cost)
        return refused or is_claimed

    async def _attempt(
        self, model: HostedModel, record: Record, sent: Mapping[str, Any], webhook: Mapping[str, Any]
    ) -> Prediction | RockAIError:
        """Send it, once."""
        try:
            return await self._backends.predictions.create(model=model.model, input=sent, **webhook)
        except RockAIError as error:
            return error
        except BaseException:
            self._withdraw(record)
            raise

    async def _answered(
        self, model: HostedModel, record: Record, outcome: Prediction | RockAIError
    ) -> _Started | ToolAnswer:
        """Remember what came of it."""
        try:
            if isinstance(outcome, RockAIError):
                state = UNANSWERED if outcome.may_have_started else REFUSED
                await note(self._backends, record._replace(state=state, note=reason(outcome)))
                return describe_not_started(model, record.key, outcome)
            self._take(record := record.seen(outcome))
            await note(self._backends, record)
            if self._has_left():  # ended here, within the two seconds that the caller waits for this
                await self._leave_while_sending()
            return _Started(record, outcome)
        finally:
            self._withdraw(record)

    async def _leave_while_sending(self) -> None:
        self.was_left = True
        if self._policy.on_cancel == "cancel":
            await self._end(self._to_end())

    def _withdraw(self, record: Record) -> None:
        self._under_way.withdraw(record.scope, record.key)
        for run in self._context.runs:
            run.pending.discard(self)

    def _has_left(self) -> bool:
        return self.was_left or self._backends.was_canceled()


class _Started(NamedTuple):
    record: Record
    prediction: Prediction
    remark: str = ""
    """What the agent is told where nothing new was started."""


async def _awaited(answer: Any) -> Any:
    """What a function of the program's answers; with await it may be a coroutine function."""
    return await answer if inspect.isawaitable(answer) else answer
