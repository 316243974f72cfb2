"""One request with its retries; every operation consists of these.

Invariants of this module: a request that may have started a paid prediction is not sent again. Delays
between attempts count against the total. Nothing is sent again after the first byte of a body that the caller
reads piece by piece.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rockai_transport.config import Settings
from rockai_transport.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InvalidResponseError,
    RockAIError,
)
from rockai_transport.protocol.io import IO, AttemptLimits, EventBody, Notices, NotSentError, TransportFailure
from rockai_transport.protocol.messages import Request, Response, ResponseHead
from rockai_transport.protocol.responses import Answer, accepted
from rockai_transport.protocol.retry import retry_delay
from rockai_transport.protocol.webhooks import redacted

T = TypeVar("T")

_MAX_ERROR_BYTES = 64 * 1024**2
"""Maximum bytes that are read of an error; it may repeat the input, with its files."""

# What httpx and OpenSSL say if there is no connection, and what to do about each.
_NO_CONNECTION_ADVICE = {
    "PoolTimeout": "All connections are in use: send fewer requests at once, or allow your http_client more.",
    "WRONG_VERSION_NUMBER": "The server speaks no TLS: if it is this machine, write base_url with http://.",
    "certificate has expired": "Check this machine's clock; if it is right, only the server can renew it.",
    "not yet valid": "Check this machine's clock.",
    "Too many open files": "Raise this process's limit of open files (ulimit -n), or send less at once.",
    "mismatch": "The certificate is for another host: check base_url.",
    "certificate verify failed": (
        "If a proxy of your network signs connections itself, set SSL_CERT_FILE to its certificates."
    ),
}


async def exchange(
    io: IO, settings: Settings, request: Request, until: float, received: list[bytes] | None = None
) -> Answer:
    """Send a request and read its whole response; retry what may be retried.

    Args:
        io: The `IO` to use.
        settings: The client's settings.
        request: The request.
        until: The deadline.
        received: Collects the chunks of the last attempt's body, for a caller that is interrupted.

    Raises:
        RockAIError: The failure of the last attempt.
    """
    chunks = [] if received is None else received

    async def attempt(limits: AttemptLimits) -> Answer:
        chunks.clear()
        head = await io.open(request, limits.first_by, limits.notices)
        response = await read_body(io, settings.timeouts.idle, head, limits.until, chunks)
        return accepted(settings.service, request, response)

    per_attempt = settings.timeouts.poll if not request.starts else math.inf
    return await with_retries(io, settings, request, until, per_attempt, attempt)


async def open_response(io: IO, settings: Settings, request: Request, until: float) -> EventBody | Answer:
    """Send a request; wait for an event stream, which the caller reads, or for another response.

    Raises:
        RockAIError: The failure of the last attempt.
    """

    async def attempt(limits: AttemptLimits) -> EventBody | Answer:
        head = await io.open(request, limits.first_by, limits.notices)
        if head.is_success and head.media_type == settings.service.stream_content_type:
            return EventBody(request, head, limits, until, settings)
        response = await read_body(io, settings.timeouts.idle, head, limits.until, [])
        return accepted(settings.service, request, response)

    return await with_retries(io, settings, request, until, math.inf, attempt)


async def with_retries(
    io: IO,
    settings: Settings,
    request: Request,
    until: float,
    per_attempt: float,
    attempt: Callable[[AttemptLimits], Awaitable[T]],
) -> T:
    """Attempt and retry what may be retried, until it succeeds, or time or attempts run out."""
    started = moment = io.now()
    first_by = started + settings.timeouts.first_byte
    notices = Notices(started, request)
    retries = 0
    while True:
        try:
            end = min(until, moment + per_attempt)
            return await attempt(AttemptLimits(end, min(end, first_by), notices))
        except TransportFailure as failure:
            error: RockAIError = transport_error(request, failure, settings.base_url)
        except APIStatusError as refusal:
            error = refusal
        except InvalidResponseError as undecoded:
            undecoded.may_have_started |= request.starts
            raise
        await io.close()
        delay = retry_delay(error, retries, io.jitter())
        if delay is None or retries >= settings.max_retries or io.now() + delay >= min(until, first_by):
            raise error
        await io.sleep(delay)
        moment = io.now()
        retries += 1


async def read_body(
    io: IO,
    idle: float,
    head: ResponseHead,
    until: float,
    chunks: list[bytes],
    max_error_bytes: int = _MAX_ERROR_BYTES,
) -> Response:
    """Read the body of an open response into the empty list ``chunks``: all of it, unless it is an error."""
    left = math.inf if head.is_success else max_error_bytes
    try:
        while left > 0 and (not chunks or chunks[-1]):
            # Stored at once: Ctrl-C may come next.
            chunks.append(await io.read(idle, until))
            left -= len(chunks[-1])
    except (TransportFailure, InvalidResponseError):
        if head.is_success:
            raise
    await io.close()
    return Response(head.status_code, head.headers, head.received_at, redacted(b"".join(chunks)))


def transport_error(request: Request, failure: TransportFailure, base_url: str = "") -> APIConnectionError:
    """Return the exception for a failed connection; its cause is the underlying error, not our wrapper."""
    kind = APITimeoutError if failure.timed_out else APIConnectionError
    sent = not isinstance(failure, NotSentError)
    advice = ""
    if not sent:
        known = (advice for reason, advice in _NO_CONNECTION_ADVICE.items() if reason in str(failure))
        tried = f" ({base_url})" if base_url and not request.download else ""
        advice = next(known, f"Check the network, base_url{tried}, and the proxies in the environment.")
    elif failure.timed_out and request.starts:
        advice = (
            "A cold model takes minutes to start: raise timeout= or Timeouts(first_byte=…), or wait by id "
            "with route='predictions'."
        )
    reason = str(failure).rstrip(".")
    error = kind(f"{request}: {reason}. {advice}".strip(), may_have_started=request.starts and sent)
    error.__cause__ = below(failure)
    return error


def below(failure: BaseException | None) -> BaseException | None:
    """Return the error below the transport; None if there is none, because only the time ran out."""
    while isinstance(failure, TransportFailure):
        failure = failure.__cause__
    return failure
