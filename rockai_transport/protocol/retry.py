"""What may be retried, and when: one table, pure.

Invariants of this module: a request that may have started a paid prediction is never sent twice. Only three
kinds of requests are sent again: those that the service refused (429, 503 with Retry-After), those that were
never sent, and those that may safely be repeated.
"""

from __future__ import annotations

import enum
from datetime import UTC
from email.utils import parsedate_to_datetime

from rockai_transport.protocol.messages import Request, ResponseHead

MAX_RETRY_AFTER = 60.0
"""Seconds. If the service asks for more, there is no retry, and the caller gets the error at once."""
_FIRST_DELAY = 0.5
_MAX_DELAY = 8.0
_JITTER = 0.25


class Failure(enum.Enum):
    """How a request failed."""

    NOT_SENT = "not sent"
    """There was no connection, or none was free in time: the service never got the request."""
    REFUSED = "refused"
    """429, or 503 with Retry-After: the service got the request, and refused it for now."""
    UNCERTAIN = "uncertain"
    """It may have been carried out: a gateway's error, a reset, a timeout while reading."""
    FINAL = "final"
    """A retry would give the same result."""

    @classmethod
    def of_response(cls, status: int, retry_after: float | None) -> Failure:
        """Classify a response by its status."""
        if status == 429 or (status == 503 and retry_after is not None):  # noqa: PLR2004
            return cls.REFUSED
        return cls.UNCERTAIN if status in (408, 500, 502, 503, 504) else cls.FINAL


def is_retryable(request: Request, failure: Failure) -> bool:
    """Return whether this request may be sent again after this failure."""
    if failure is Failure.UNCERTAIN:
        return not request.starts
    return failure is not Failure.FINAL


def retry_delay(retries: int, asked: float | None, jitter: float) -> float | None:
    """Return the seconds until the next attempt.

    Args:
        retries: Number of retries so far.
        asked: The seconds from Retry-After.
        jitter: A random number, 0 to 1.

    Returns:
        The seconds; None if the service asked for more than `MAX_RETRY_AFTER`.
    """
    if asked is not None:
        return asked if asked <= MAX_RETRY_AFTER else None
    return backoff(retries, jitter)


def backoff(failures: int, jitter: float) -> float:
    """Return the delay in seconds: doubled after each failure, at most eight, minus up to a quarter."""
    return min(_FIRST_DELAY * 2.0 ** min(failures, 10), _MAX_DELAY) * (1 - _JITTER * jitter)


def retry_after(head: ResponseHead) -> float | None:
    """Return the seconds in Retry-After, from a number or a date; None if it is invalid."""
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
    return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124 - NaN is not a time
