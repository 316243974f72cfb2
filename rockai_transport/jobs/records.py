"""The record of a start, and the receipt of many records.

Invariants of this module: a record is written before its start is sent, and says "unknown" until the service
responds. If the response is lost, only a developer resolves it. A record contains no input, which may be
private or large, only its digest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.budget import Price, shown, shown_left, total
from rockai_transport.protocol.prediction import UNKNOWN, Prediction
from rockai_transport.service import TERMINAL_STATUSES

UNANSWERED = "unknown"
"""Sent, or about to be sent: it is not known whether a prediction exists."""
STARTED = "started"
"""The service has returned an id."""
REFUSED = "refused"
"""The service refused it, or it was not sent: nothing exists, and the same call may be sent again."""
RESUMED = "resumed"
"""Not a start: a worker has claimed to resume the thread that waits for a prediction."""
JOINED = "joined"
"""Not a start: the call got a prediction that was already running. If it runs again, it gets the same one."""
CLEARED = "cleared"
"""A developer found that nothing exists: the same call may be sent again."""

GONE = "gone"
"""A status: the service does not know the prediction any more. It is not stored: the next poll may differ."""


class Record(NamedTuple):
    """What is known about one start. Every field can be stored as JSON.

    Made by `RockAIToolkit`'s and `RockAIToolSpec`'s tools; a `Receipt` and the stores hold them.

    Attributes:
        key: Identifies the record; ``resolve`` takes it.
        scope: Its conversation: ``"thread:"`` and LangGraph's thread id, or the name from ``scope=``.
        model: The name of the `HostedModel`.
        digest: The digest of the model reference and the input.
        created: Seconds since 1970, by this machine's clock.
        state: ``unknown``: no response; ``started``; ``refused``, or not sent; ``cleared`` by a developer.
        prediction_id: The prediction's id, once the service has returned it.
        status: The prediction's last known status; after a refresh also ``gone``: the service does not know
            it.
        predict_seconds: Seconds, as the service measured them, once the prediction has ended.
        files: The paths of the saved output.
        note: Why it is unknown or was refused.
        turn: The model's turn that requested it; empty if it is not known.
        nonce: Distinguishes this attempt from another worker's for the same call.
        price: The cost per run, the cost per second, and the reserved seconds; empty: not known.
        webhook_hash: The digest of the secret in the webhook address; empty: no webhook.
        thread: What to resume once it has ended: LangGraph's thread id, or LlamaIndex's scope.
        asleep: When an agent fell asleep to wait for its end: seconds since 1970; None: no agent sleeps.

    Example:
        >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
        >>> [record] = toolkit.receipt().started
        >>> record.model, record.state, record.status
        ('generate_image', 'started', 'succeeded')
    """

    key: str
    scope: str
    model: str
    digest: str
    created: float
    state: str = UNANSWERED
    prediction_id: str | None = None
    status: str = UNKNOWN
    predict_seconds: float | None = None
    files: tuple[str, ...] = ()
    note: str = ""
    turn: str = ""
    nonce: str = ""
    price: tuple[str, ...] = ()
    webhook_hash: str = ""
    thread: str = ""
    asleep: float | None = None

    @property
    def reserved(self) -> Decimal | None:
        """The amount reserved before the start was sent; None: no price is known.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> print(toolkit.receipt().started[0].reserved)
            None
        """
        return Price(*self.price).reserved if self.price else None

    @property
    def cost(self) -> Decimal | None:
        """The cost that counts: the reserved amount, until its end and ``metrics.predict_time`` are known.

        It can exceed the reserved amount, because the service does not enforce ``longest_seconds``.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> print(toolkit.receipt().started[0].cost)
            None
        """
        if not self.price:
            return None
        if not self.counts:
            return Decimal(0)
        return Price(*self.price).settled(None if self.is_running else self.predict_seconds)

    @property
    def is_exceeded(self) -> bool:
        """Whether its cost exceeds the reserved amount.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> toolkit.receipt().started[0].is_exceeded
            False
        """
        cost, reserved = self.cost, self.reserved
        return cost is not None and reserved is not None and cost > reserved

    @property
    def is_running(self) -> bool:
        """Whether its prediction may be running and cost money.

        Example:
            >>> tools = {tool.name: tool for tool in toolkit.get_tools()}
            >>> start = {"model": "generate_image", "input": {"prompt": "a lighthouse"}}
            >>> answer = tools["start_prediction"].invoke(start)
            >>> toolkit.receipt().started[0].is_running
            True
        """
        if self.state == STARTED:
            return self.status not in TERMINAL_STATUSES and self.status != GONE
        return self.state == UNANSWERED

    @property
    def counts(self) -> bool:
        """Whether it counts as one of the scope's starts.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> sum(record.counts for record in toolkit.receipt().started)
            1
        """
        return self.state in (STARTED, UNANSWERED)

    @property
    def holds_its_key(self) -> bool:
        """Whether its key is taken, so that no other record may be written under it.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> toolkit.receipt().started[0].holds_its_key
            True
        """
        return self.state not in (REFUSED, CLEARED)

    @property
    def is_awaited(self) -> bool:
        """Whether a webhook is expected for its end, which has not been seen yet.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> toolkit.receipt().started[0].is_awaited  # without a webhook nobody is told
            False
        """
        is_open = self.asleep is not None or self.status not in TERMINAL_STATUSES
        return bool(self.webhook_hash) and self.state == STARTED and is_open

    @property
    def known(self) -> Prediction:
        """The prediction, with the id and status from the record.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> [record] = toolkit.receipt().started
            >>> client.predictions.get(record.known.id).output
            ['http...png']
        """
        return Prediction(id=self.prediction_id, status=self.status)

    def seen(self, prediction: Prediction) -> Record:
        """Return the record, updated from its prediction.

        Args:
            prediction: The prediction in its current state.

        Returns:
            A new record; this one does not change.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> [record] = toolkit.receipt().started
            >>> record.seen(client.predictions.get(record.prediction_id)).status
            'succeeded'
        """
        measured = (prediction.metrics or {}).get("predict_time")
        if not isinstance(measured, int | float) or not 0 <= measured <= sys.float_info.max:  # NaN is not
            measured = self.predict_seconds
        return self._replace(
            state=STARTED,
            prediction_id=prediction.id or self.prediction_id,
            status=prediction.status,
            predict_seconds=None if measured is None else float(measured),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as a dict for any store.

        Returns:
            The fields by name, with JSON types.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> toolkit.receipt().started[0].to_json()
            {'key': '...', 'scope': '...', 'model': 'generate_image', ...}
        """
        return {**self._asdict(), "files": list(self.files), "price": list(self.price)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Record:
        """Read a record; fields of later versions are ignored.

        Args:
            data: The result of `to_json`, also as JSON text.

        Returns:
            The record.

        Raises:
            ConfigurationError: It is no record.

        Example:
            >>> from rockai_transport.jobs.records import Record
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> [record] = toolkit.receipt().started
            >>> Record.from_json(record.to_json()) == record
            True
        """
        try:
            found = json.loads(data) if isinstance(data, str | bytes) else data
            known = {name: found[name] for name in cls._fields if name in found}
            lists = {name: tuple(found.get(name, ())) for name in ("files", "price")}
            return cls(**{**known, **lists, "created": float(known["created"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            wrong = f"The store holds something that is no record of a start: {data!r:.100}. Remove it."
            raise ConfigurationError(wrong) from error


class _Started(NamedTuple):
    started: tuple[Record, ...]
    unknown: tuple[Record, ...]


class Receipt(_Started):
    """What was started, oldest first: ``started`` and ``unknown``. ``str()`` returns it as a table.

    Made by `RockAIToolkit.receipt` and `RockAIToolSpec.receipt`.

    Attributes:
        started: The started predictions, each with its id and its last known status, predict seconds and
            files.
        unknown: Starts whose response was lost; resolve them with ``resolve(record.key, prediction_id=…)``.
        max_cost: The toolkit's ``max_cost`` for each conversation; None: no limit.

    Example:
        >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
        >>> print(toolkit.receipt())
        generate_image       succeeded   ... s
        1 started, ... s of prediction
    """

    max_cost: Decimal | None = None

    @property
    def left(self) -> dict[str, Decimal]:
        """The amount left of ``max_cost`` for each conversation on this receipt, by its scope.

        It is negative if predictions took longer than ``longest_seconds``. Empty without ``max_cost``.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> toolkit.receipt().left  # there is no max_cost
            {}
        """
        by_scope: dict[str, list[Record]] = {}
        for record in (*self.started, *self.unknown):
            by_scope.setdefault(record.scope, []).append(record)
        most = self.max_cost
        return {} if most is None else {name: what_is_left(most, found) for name, found in by_scope.items()}

    @property
    def predict_seconds(self) -> float:
        """The total seconds that the service has measured.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> 0 < toolkit.receipt().predict_seconds < 60
            True
        """
        return sum((record.predict_seconds or 0.0 for record in self.started), 0.0)

    @property
    def cost(self) -> Decimal:
        """The total cost, including reserved amounts, in the unit of `HostedModel`'s prices.

        Example:
            >>> answer = toolkit.get_tools()[0].invoke({"prompt": "a lighthouse"})
            >>> print(toolkit.receipt().cost)  # no price was given
            0
        """
        return _spent((*self.started, *self.unknown))

    def __str__(self) -> str:
        last = f"{len(self.started)} started, {self.predict_seconds:.1f} s of prediction"
        if self.unknown:
            last += f", {len(self.unknown)} unknown"
        if any(record.price for record in (*self.started, *self.unknown)):
            last += f", cost {shown(self.cost)}"
        rows = [*map(_row, self.started), *map(_row, self.unknown)]
        if (most := self.max_cost) is not None:
            by_scope = self.left
            if len(by_scope) > 1:
                rows += [f"{shown_left(most, left)}: {scope}" for scope, left in by_scope.items()]
            else:  # a single conversation needs no name
                last += f", {shown_left(most, next(iter(by_scope.values()), most))}"
        return "\n".join([*rows, last])


def what_is_left(max_cost: Decimal, records: Iterable[Record]) -> Decimal:
    """Return the amount left of a budget after these records; negative if it was exceeded."""
    return total((max_cost, _spent(records).copy_negate()))


def _spent(records: Iterable[Record]) -> Decimal:
    return total(record.cost or Decimal(0) for record in records)


def receipt(records: Iterable[Record], max_cost: Decimal | None = None) -> Receipt:
    """Create a receipt from records, without refused or cleared ones."""
    known_last = sorted(records, key=lambda record: record.state == STARTED)  # one store may have failed
    ordered = sorted({record.key: record for record in known_last}.values(), key=attrgetter("created"))
    made = Receipt(
        tuple(record for record in ordered if record.state == STARTED),
        tuple(record for record in ordered if record.state == UNANSWERED),
    )
    made.max_cost = max_cost
    return made


def _row(record: Record) -> str:
    if record.state == UNANSWERED:
        return f"{record.model:<20} unknown     record {record.key}{_cost(record)}  {record.note}".rstrip()
    seconds = "" if record.predict_seconds is None else f"{record.predict_seconds:.1f} s"
    files = ", ".join(record.files)
    end = f"{seconds:>8}{_cost(record)}  {files}"
    return f"{record.model:<20} {record.status:<11} {record.prediction_id}  {end}".rstrip()


def _cost(record: Record) -> str:
    """Return the cost for a row."""
    cost, reserved = record.cost, record.reserved
    if cost is None or reserved is None:
        return ""
    is_final = not record.is_running and record.predict_seconds is not None
    note = f" (more than the {shown(reserved)} reserved)" if record.is_exceeded else ""
    return f"  {'cost' if is_final else 'reserved'} {shown(cost)}{note}"
