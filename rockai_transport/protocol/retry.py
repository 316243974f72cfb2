"""What may be retried, and when: one table, pure.

Invariants of this module: a request that may have started a paid prediction is never sent twice. Only three
kinds of requests are sent again: those that the service refused (429, 503 with Retry-After), those that were
never sent, and those that may safely be repeated.
"""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime

from rockai_transport.errors import APIStatusError, RockAIError
from rockai_transport.protocol.messages import ResponseHead

MAX_RETRY_AFTER = 60.0
"""Seconds. If the service asks for more, there is no retry, and the caller gets the error at once."""
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which a retry may succeed."""
_FIRST_DELAY = 0.5  # seconds
_MAX_DELAY = 8.0  # seconds
_JITTER = 0.25  # the maximum share by which a delay is shortened at random


def was_refused(status: int, wait_seconds: float | None) -> bool:
    """Return whether the service got the request, and refused it for now.

    Args:
        status: The HTTP status, or an envelope's code.
        wait_seconds: The seconds in Retry-After; None: there is no such header.
    """
    return status == 429 or (status == 503 and wait_seconds is not None)  # noqa: PLR2004 - HTTP statuses


def retry_delay(error: RockAIError, retries: int, jitter: float) -> float | None:
    """Return the seconds until the next attempt.

    Args:
        error: How the last attempt failed: `APIConnectionError` or `APIStatusError`.
        retries: Number of retries so far.
        jitter: A random number, 0 to 1.

    Returns:
        The seconds; None if the request must not be sent again, if that would give the same result, or if the
        service asked for more than `MAX_RETRY_AFTER`.
    """
    if error.may_have_started:
        return None
    if isinstance(error, APIStatusError):
        if error.status_code not in _TRANSIENT:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= MAX_RETRY_AFTER else None
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
    return None if math.isnan(seconds) else max(seconds, 0.0)
