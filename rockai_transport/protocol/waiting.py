"""Polls a prediction, once or until it ends.

Invariants of this module: waiting never cancels. A failed poll costs nothing, so the wait continues until its
deadline. Every error carries the last known state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rockai_transport.config import Settings
from rockai_transport.errors import APIConnectionError, APIStatusError, PredictionTimeoutError, RockAIError
from rockai_transport.protocol.exchange import exchange
from rockai_transport.protocol.io import IO, Notices
from rockai_transport.protocol.prediction import UNKNOWN, Prediction, Update, must_be_fetched
from rockai_transport.protocol.requests import prediction_request
from rockai_transport.protocol.responses import finished, read_whole
from rockai_transport.protocol.retry import backoff
from rockai_transport.sanitize import sanitize

logger = logging.getLogger("rockai")

_FIRST_POLL = 0.025
"""Minimum seconds between two polls."""
_POLL_SHARE = 0.05
"""The pause between two polls, as a share of the time waited so far."""
_MAX_POLL = 1.0
"""Maximum seconds between two polls, as long as none fails."""
_POLL_JITTER = 0.1
"""The maximum share by which a pause is shortened at random."""
_LONGEST_PAUSE = 3600.0
"""Maximum seconds between two polls, whatever Retry-After says: a poll costs nothing."""
_FINAL_STATUSES = frozenset({401, 402, 403, 404})
"""A retry would get the same response: wrong token, account, or no such prediction."""


async def fetch(io: IO, settings: Settings, known: Prediction, until: float) -> Prediction:
    """Get a prediction once."""
    request = prediction_request("GET", settings.service.get_path, known.id)
    return read_whole(settings.service, await exchange(io, settings, request, until), known)


async def wait(
    io: IO,
    settings: Settings,
    known: Prediction,
    until: float,
    stall: float,
    on_update: Callable[[Update], Any] | None = None,
) -> Prediction:
    """Poll, less and less often, until the prediction is terminal or the deadline is reached.

    Args:
        io: The `IO` to use.
        settings: The client's settings.
        known: The prediction, as far as it is known.
        until: The deadline.
        stall: Seconds without any change after which to give up.
        on_update: Called on each change of status, and on new log lines.

    Returns:
        The succeeded prediction.

    Raises:
        PredictionError: It failed, was canceled, or the deadline was reached.
        RockAIError: The service refuses to return it, or its response cannot be parsed.
    """
    poll = _Poll(io, replace(settings, max_retries=0), until)
    started = changed = io.now()
    notices = Notices(started, f"Prediction {known.id}")
    seen: Prediction | None = None
    # A record's «succeeded» has no outcome yet. If the first poll fails, it must not count as succeeded.
    unfetched = replace(known, status=UNKNOWN) if must_be_fetched(known) else None
    prediction = await poll(unfetched, started) if unfetched else known
    while True:
        moment = io.now()
        update = Update.between(seen, prediction)
        if update is not None and on_update is not None and prediction is not unfetched:
            await io.call(on_update, update)
        # Compared as text, because NaN equals nothing.
        if seen is None or update is not None or repr(seen.output) != repr(prediction.output):
            changed = moment
        seen = prediction
        if prediction.is_terminal:
            return finished(prediction)
        if moment >= until or moment - changed >= stall:
            raise _timed_out(prediction, moment - started) from poll.failure
        if prediction.status != "processing":
            notices.tell(moment)
        # Poll soon at first, then less and less often: a share of the time waited, at most a second.
        delay = min(max(_FIRST_POLL, _POLL_SHARE * (moment - started)), _MAX_POLL)
        delay *= 1 - _POLL_JITTER * io.jitter()
        await io.sleep(min(max(delay, poll.delay), min(until, changed + stall) - moment))
        prediction = await poll(prediction, started)


@dataclass
class _Poll:
    """Polls one at a time. A failed poll keeps the prediction's state and delays the next poll."""

    io: IO
    settings: Settings
    until: float
    failures: int = 0
    delay: float = 0.0
    """Minimum seconds until the next poll."""
    failure: RockAIError | None = None
    """The error of the last poll; None if it succeeded."""

    async def __call__(self, known: Prediction, started: float) -> Prediction:
        try:
            prediction = await fetch(self.io, self.settings, known, self.until)
        except (APIConnectionError, APIStatusError) as error:
            status = getattr(error, "status_code", None)
            if status in _FINAL_STATUSES:
                raise _informed(error, known) from error.__cause__
            if self.io.now() >= self.until:
                raise _timed_out(known, self.io.now() - started) from error
            requested = min(getattr(error, "retry_after", None) or 0.0, _LONGEST_PAUSE)
            self.delay = max(backoff(self.failures, self.io.jitter()), requested)
            self.failures += 1
            self.failure = error
            sanitize(error, self.settings.api_token)
            logger.info(
                "Prediction %s could not be polled: %s The wait goes on; the next poll is in %.1f s.",
                known.id,
                error.message,
                self.delay,
            )
            return known
        except RockAIError as error:
            raise _informed(error, known) from error.__cause__
        self.failures, self.delay, self.failure = 0, 0.0, None
        return prediction


def _informed(error: RockAIError, known: Prediction) -> RockAIError:
    """Add the last known state to an error."""
    if known.status != UNKNOWN:
        error.prediction = error.prediction or known
        error.may_have_started = True
    return error


def _timed_out(prediction: Prediction, waited: float) -> PredictionTimeoutError:
    return PredictionTimeoutError(
        f"Prediction {prediction.id} had not ended after {round(waited, 1):g} s; "
        f"it was last seen {prediction.status}.",
        prediction,
    )
