"""What may be tried again, and when: one table, pure.

Invariants of this module: a request that may have started a paid prediction is never sent twice. Sent again
are only what the service refused (429, 503 with Retry-After), what was never sent, and calls that do no harm
twice.
"""

from __future__ import annotations

import enum
from datetime import UTC
from email.utils import parsedate_to_datetime

from rockai_transport.protocol.messages import Request, ResponseHead

__all__ = ["MAX_RETRY_AFTER", "Failure", "backoff", "is_retryable", "retry_after", "retry_delay"]

MAX_RETRY_AFTER = 60.0
"""Seconds; a service that asks for more gets no second try, and its caller the error at once."""
_FIRST_DELAY = 0.5
_MAX_DELAY = 8.0
_JITTER = 0.25


class Failure(enum.Enum):
    """How a request failed."""

    NOT_SENT = "not sent"
    """No connection, or none free in time: the service has seen nothing of it."""
    REFUSED = "refused"
    """429, or 503 with Retry-After: the service has seen it, and will not do it now."""
    UNCERTAIN = "uncertain"
    """It may have been carried out, or not: a gateway's error, a reset, a timeout while reading."""
    FINAL = "final"
    """Trying again would give the same."""

    @classmethod
    def of_response(cls, status: int, retry_after: float | None) -> Failure:
        """Judge a response by its status."""
        if status == 429 or (status == 503 and retry_after is not None):  # noqa: PLR2004
            return cls.REFUSED
        return cls.UNCERTAIN if status in (408, 500, 502, 503, 504) else cls.FINAL


def is_retryable(request: Request, failure: Failure) -> bool:
    """Whether this request may be sent again after this failure."""
    if failure is Failure.UNCERTAIN:
        return not request.starts
    return failure is not Failure.FINAL


def retry_delay(retries: int, asked: float | None, jitter: float) -> float | None:
    """Seconds to wait before the next attempt.

    Args:
        retries: How many retries have been made so far.
        asked: What Retry-After said, in seconds.
        jitter: A random number, 0 to 1.

    Returns:
        The seconds, or None where the service asked for more than `MAX_RETRY_AFTER`.
    """
    if asked is not None:
        return asked if asked <= MAX_RETRY_AFTER else None
    return backoff(retries, jitter)


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after so many failures: doubled each time, eight at most, less up to a quarter."""
    return min(_FIRST_DELAY * 2.0 ** min(failures, 10), _MAX_DELAY) * (1 - _JITTER * jitter)


def retry_after(head: ResponseHead) -> float | None:
    """The seconds that Retry-After asks for, given as a number or as a date; None where it cannot be read."""
    value = head.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = moment.timestamp() - head.received_at
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124 - NaN is no time
