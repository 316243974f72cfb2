"""Polling and canceling several running predictions at once.

Invariants of this module: each response about a prediction is recorded; a record whose prediction cannot be
fetched does not change, except that one which the service does not know any more does not count as running;
neither operation takes longer than two seconds.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping, Sequence
from typing import Any

from rockai_transport.io.detached import GRACE_SECONDS
from rockai_transport.jobs.backends import Backends
from rockai_transport.jobs.records import GONE, Record
from rockai_transport.jobs.stores import place_of
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.responses import is_missing_route
from rockai_transport.service import Service
from rockai_transport.status_errors import NotFoundError

logger = logging.getLogger("rockai")


async def note(
    backends: Backends,
    record: Record,
    *,
    may_sleep: bool = True,
    unwritten: MutableMapping[str, Record] | None = None,
) -> Record:
    """Write an updated record; a failure is only logged, because the tool's answer matters more.

    What could not be written is kept in ``unwritten``. What was started elsewhere has no key, and no record.

    If an agent may sleep, the field about it is kept as stored: the agent may have fallen asleep during the
    poll. Without a webhook, no agent sleeps.
    """
    if not record.key:
        return record
    try:
        if record.webhook_hash:
            kept = await backends.records.find(place_of(record)) or record
            record = record._replace(asleep=kept.asleep if may_sleep else None, thread=kept.thread)
        await backends.records.put(record)
    except Exception:
        logger.exception("The record of prediction %s could not be written.", record.prediction_id)
        if unwritten is not None:
            unwritten[record.key] = record
    return record


async def refresh(
    backends: Backends, records: Sequence[Record], within: float = GRACE_SECONDS
) -> list[Record]:
    """Poll all running predictions; the record of one that cannot be fetched does not change."""
    ids = [record.prediction_id for record in records if record.is_running and record.prediction_id]
    polled = await backends.together([backends.predictions.get(one) for one in ids], within)
    found: dict[str | None, Any] = dict(zip(ids, polled, strict=True))
    fresh = list(records)
    for index, record in enumerate(records):
        current = found.get(record.prediction_id)
        if isinstance(current, Prediction):
            fresh[index] = await backends.detached(note(backends, record.seen(current)))
        elif is_gone(current):
            fresh[index] = record._replace(status=GONE)
    return fresh


def is_gone(error: object) -> bool:
    """Return whether the service itself has said that it knows no such prediction."""
    return isinstance(error, NotFoundError) and not is_missing_route(Service(), error)


async def cancel_all(
    backends: Backends, records: Sequence[Record], *, may_sleep: bool = True
) -> list[Record]:
    """Cancel the running predictions; return the updated records of those that were canceled."""
    running = [record for record in records if record.is_running and record.prediction_id]
    results = await backends.together([backends.predictions.cancel(record.known) for record in running])
    ended = []
    for record, result in zip(running, results, strict=True):
        if isinstance(result, Prediction):
            ended.append(await note(backends, record.seen(result), may_sleep=may_sleep))
        else:
            logger.warning("Prediction %s could not be canceled: %r", record.prediction_id, result)
    return ended
