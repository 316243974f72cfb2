"""One tool call that starts a prediction, or finds the one that it started before.

Invariants of this module:

* A start is recorded before it is sent. If the same call runs again, it gets the prediction it has started.
  If the response was lost, it gets "unknown" and nothing is sent; nor for an equal request in another call,
  until the record is resolved.
* If several workers execute the same call, one of them sends it.
* With a budget, the maximum cost is reserved together with the record, or nothing is sent.
* An equal request in a later turn, while the first still runs as far as the agent knows, gets that
  prediction; and gets it again if the call runs again.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import uuid4

from rockai_transport.errors import RockAIError
from rockai_transport.jobs import agent_messages as messages
from rockai_transport.jobs.agent_messages import ToolAnswer, refusal
from rockai_transport.jobs.budget import locked
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.keys import digest, record_key
from rockai_transport.jobs.records import JOINED, REFUSED, STARTED, UNANSWERED, Record
from rockai_transport.jobs.running import cancel_all, note
from rockai_transport.jobs.stores import place_of
from rockai_transport.jobs.tool_calls import LifecycleCall
from rockai_transport.protocol.prediction import Prediction, is_unfetched
from rockai_transport.protocol.webhooks import WebhookTarget

logger = logging.getLogger("rockai")

_LATER = "Call list_predictions later. Do not start it again."


class StartCall(LifecycleCall):
    """A tool call that may start a prediction, with the `Steps` for that."""

    was_left = False
    """Whether its caller has left: then the prediction it starts is canceled."""
    is_late = False
    """Whether its caller was told that there is no response yet."""

    async def start(
        self, model: HostedModel, given: Mapping[str, Any], seconds: float | None, written: Mapping[str, Any]
    ) -> ToolAnswer:
        """Start a prediction and wait for it, for at most ``seconds``; with None, return at once.

        ``written`` is the input as the model wrote it, before it was adapted to the schema.
        """
        self._order(model, given, written)
        self._under_way.starting[self] = self._context.runs
        try:
            found = await self._decided()
            if found is None:
                found = await self._backends.left_behind(self, self._left(), self._leave_while_sending)
        except BaseException:
            self.was_left = True
            self.ended()
            raise
        if found is None:
            self.is_late = True
            return self._unanswered(self.record.key, goes_on=True)
        self.ended()
        if isinstance(found, ToolAnswer):
            return found
        record, prediction, remark = found
        if seconds is None and not is_unfetched(prediction):  # started, not found
            return await self._conclude(record, prediction, remark, just_started=True)
        return await self._wait(record, prediction, seconds or 0.0, remark)

    def _order(self, model: HostedModel, given: Mapping[str, Any], written: Mapping[str, Any]) -> None:
        """Set the request to send, and its record.

        A model's call is the same start even if the developer has changed the version, defaults or types.
        Of a program's calls, which have no id, only equal requests are the same.
        """
        context = self._context
        self._model = model
        self._sent = {**model.defaults, **given}
        self._webhook: dict[str, Any] = {}
        request = digest(model.model, self._sent)
        fingerprint = digest(model.name, written) if context.call and context.call[-1] else request
        self.record = Record(
            record_key(context.scope, context.call, fingerprint),
            context.scope,
            model.name,
            request,
            self._backends.now(),
            turn=context.turn,
            nonce=uuid4().hex,
            price=tuple(model.price or ()),
            thread=context.thread,
        )
        if self._policy.webhook_url:
            target = WebhookTarget.make(self._policy.webhook_url, place_of(self.record))
            self._webhook = {"webhook": target.address, "webhook_events_filter": ["completed"]}
            self.record = self.record._replace(webhook_hash=target.secret_hash)

    # Deciding.

    async def _decided(self) -> _Started | ToolAnswer | None:
        """Return an existing start, or why nothing may be started; None: the request may be sent."""
        name, key = self._model.name, self.record.key
        ahead = self._under_way.ahead_of(self)
        if key in ahead:
            return refusal(f"{name}: this same call is being carried out already. {_LATER}")
        everything = await self._backends.records.all(self.record.scope)
        if self._under_way.unwritten:
            everything = self._under_way.with_ids(everything)
        records, own = [], None
        for one in everything:
            own = one if one.key == key else own
            if one.counts:
                records.append(one)
        if found := await self._started_before(own, records, ahead):
            return found
        others = len(ahead.keys() - map(attrgetter("key"), records))
        most = self._policy.max_starts
        if len(records) + others >= most:
            return refusal(f"Not started: this conversation has used all its {most} starts. Tell the user.")
        limited = self._limited(records, others)
        if limited is not None:  # predictions that have ended since are settled before a start is refused
            limited = self._limited(await self._refreshed(records), others)
        if limited is not None:
            return limited
        if self._context.approve is None or await self._approved(self._context.approve):
            return None
        return refusal(
            f"{name}: a person declined this, or could not be asked. Nothing was started. Tell the user."
        )

    async def _started_before(
        self, own: Record | None, records: list[Record], ahead: Mapping[str, bool]
    ) -> _Started | ToolAnswer | None:
        """Return what this call or an earlier turn has started, or that it is unknown whether it started.

        ``own`` is the record of this same call, if it was carried out before.
        """
        remark = messages.STARTED_BEFORE
        if own is not None and own.state == JOINED:  # this same call got a prediction of another one
            theirs, remark = own.prediction_id, messages.ALREADY_RUNNING
            own = next((one for one in records if one.prediction_id == theirs), None)
        if own is not None and own.counts:
            if own.state != STARTED:
                return messages.describe_not_started(self._model, own.key)
            is_ours = own.thread == self._context.thread  # else the sleeper was lost before it was saved
            return _Started(own if is_ours else own._replace(asleep=None), own.known, remark)
        # A start that came later may have been recorded before this one has read the records.
        starting = map(attrgetter("record.key", "is_late"), tuple(self._under_way.starting))
        is_late = {**ahead, **dict(starting)}
        running = []
        for one in records:
            if one.digest != self.record.digest or not is_late.get(one.key, True):
                continue  # another request, or one of a call beside this one that waits for the response
            if one.state == UNANSWERED:
                return self._unanswered(one.key, goes_on=one.key in is_late)
            if one.is_running and self._may_join(one):
                running.append(one)
        for one in await self._refreshed(running) if running else ():
            if one.is_running or one.status in ("succeeded", "failed"):  # the agent does not know that yet
                mine = self.record._replace(state=JOINED, prediction_id=one.prediction_id, webhook_hash="")
                await note(self._backends, mine)
                return _Started(one, one.known, messages.ALREADY_RUNNING)
        return None

    def _unanswered(self, key: str, *, goes_on: bool) -> ToolAnswer:
        if not goes_on:
            return messages.describe_not_started(self._model, key)
        return refusal(
            f"{self._model.name}: the start is on its way, and is not answered yet. It goes on by itself. "
            f"{_LATER}"
        )

    def _may_join(self, record: Record) -> bool:
        """Whether a running prediction was requested in an earlier turn of this conversation.

        Equal calls of one turn are intended. A call without a known turn comes from a program, not a model.
        """
        turn = self._context.turn
        if self._policy.duplicates == "allow" or not (turn and record.turn) or turn == record.turn:
            return False
        return not self._context.is_shared or any(record.prediction_id in run for run in self._context.runs)

    def _limited(self, records: list[Record], others: int) -> ToolAnswer | None:
        """Say why no more may be started, given these records and ``others`` starts without a record."""
        max_running, max_cost = self._policy.max_running, self._policy.max_cost
        running = list(filter(attrgetter("is_running"), records))
        if len(running) + others >= max_running:
            return messages.describe_too_many(running, others, max_running)
        return None if max_cost is None else messages.describe_over_budget(self.record, records, max_cost)

    async def _approved(self, approve: Callable[..., Any]) -> bool:
        """Ask a person for approval."""
        records = await self._backends.records.all(self.record.scope)
        asked_at = self._backends.clock()
        question = messages.describe_order(self._model, records, self._policy.max_cost)
        answer = approve(self._model, self._sent, self.record.key, question)
        is_approved = await answer if inspect.isawaitable(answer) else answer
        self._until += self._backends.clock() - asked_at  # the time for the approval does not count
        return bool(is_approved)

    # Sending. It finishes even if the caller leaves; then the started prediction is canceled.

    async def before(self) -> ToolAnswer | None:
        """Write the record before anything is sent; return an answer if nothing may be sent."""
        record, max_cost = self.record, self._policy.max_cost
        name = record.model
        refused = None
        try:
            if max_cost is None:
                is_claimed = await self._backends.records.claim(record)
            else:
                is_claimed, refused = await self._claimed_within(max_cost)
        except Exception:
            logger.exception("The record of a start could not be written; nothing was sent.")
            await self._withdraw()
            return refusal(f"{name}: the start could not be remembered, so nothing was sent. Tell the user.")
        if not is_claimed:
            taken = f"{name}: another worker carries out this same call. Nothing was sent here. {_LATER}"
            return refused or refusal(taken)
        if self.was_left or self._backends.was_canceled():
            text = "The call was canceled before anything was sent."
            await note(self._backends, record._replace(state=REFUSED, note=text))
            return refusal(f"{name}: {text}")
        return None

    async def _claimed_within(self, max_cost: Decimal) -> tuple[bool, ToolAnswer | None]:
        """Claim the record's key and reserve its cost, both or neither; say why if the budget forbids it."""
        record, records = self.record, self._backends.records
        async with locked(record.scope, self._backends.sleep):
            refused = messages.describe_over_budget(record, await records.all(record.scope), max_cost)
            is_claimed = refused is None and await records.claim(record, max_cost)
        if not is_claimed and refused is None:  # another process may have been faster
            refused = messages.describe_over_budget(record, await records.all(record.scope), max_cost)
        return is_claimed, refused

    async def _withdraw(self) -> None:
        """Release the record if it was written although the store has failed: else it would stay unknown."""
        with contextlib.suppress(Exception):
            if written := await self._written():
                await self._backends.records.put(written._replace(state=REFUSED, note="Nothing was sent."))

    async def _written(self) -> Record | None:
        """Return this start's record as the store has it."""
        written = await self._backends.records.find(place_of(self.record))
        return written if written is not None and written.nonce == self.record.nonce else None

    async def operation(self) -> Prediction | RockAIError:
        """Send the request, once."""
        try:
            create = self._backends.predictions.create
            return await create(model=self._model.model, input=self._sent, **self._webhook)
        except RockAIError as error:
            return error.prediction or error

    async def then(self, outcome: Prediction | RockAIError) -> _Started | ToolAnswer:
        """Record the outcome. If the response was lost, the webhook may have told the id before."""
        if isinstance(outcome, RockAIError) and outcome.may_have_started:
            with contextlib.suppress(Exception):
                if (written := await self._written()) and written.state == STARTED:
                    outcome = written.known
        if isinstance(outcome, RockAIError):
            state = UNANSWERED if outcome.may_have_started else REFUSED
            await note(self._backends, self.record._replace(state=state, note=messages.reason(outcome)))
            return messages.describe_not_started(self._model, self.record.key, outcome)
        record = self.record.seen(outcome)
        self._remember(record, is_own=True)
        await note(self._backends, record, unwritten=self._under_way.unwritten)
        if self.was_left or self._backends.was_canceled():
            # It is canceled here, within the two seconds that the caller waits for this.
            await self._leave_while_sending()
        return _Started(record, outcome)

    async def all(self) -> _Started | ToolAnswer:
        """Run the steps one after the other."""
        try:
            early = await self.before()
            return await self.then(await self.operation()) if early is None else early
        finally:
            self.ended()

    def ended(self) -> None:
        """No longer list it among the starts without an answer."""
        self._under_way.starting.pop(self, None)

    async def _leave_while_sending(self) -> None:
        self.was_left = True
        if self._policy.on_cancel == "cancel":
            await cancel_all(self._backends, self._to_end(), may_sleep=False)


class _Started(NamedTuple):
    record: Record
    prediction: Prediction
    remark: str = ""
    """What the agent reads if nothing new was started."""
