"""One call, with its tries: what every other flow is made of.

Law of this module: a call that starts a paid prediction is repeated only after `Failure.NOT_SENT` and
`Failure.REFUSED`; waits between tries count against the total; nothing is repeated after the first byte of a
body that somebody reads piece by piece.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rockai_transport.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InvalidResponseError,
    RockAIError,
)
from rockai_transport.protocol.effects import (
    Close,
    Flow,
    Notices,
    NotSentError,
    Sleep,
    TransportFailure,
    chance,
    now,
    open_call,
    read,
)
from rockai_transport.protocol.requests import Request, Response, ResponseHead
from rockai_transport.protocol.responses import effective_status, status_error
from rockai_transport.protocol.retry import Failure, is_retryable, retry_delay

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.config import Settings

__all__ = [
    "Opened",
    "Try",
    "exchange",
    "open_answer",
    "persist",
    "read_rest",
    "read_whole",
    "transport_error",
]

T = TypeVar("T")

# What OpenSSL finds wrong, in its own words, and what can be done about it.
_TLS_ADVICE = {
    "WRONG_VERSION_NUMBER": "It speaks no TLS there: write base_url with http:// if it is this machine.",
    "certificate has expired": "Check this machine's clock.",
    "mismatch": "The certificate is another host's: check base_url.",
    "certificate verify failed": (
        "If a proxy of your network signs connections itself, name its authority in SSL_CERT_FILE."
    ),
}


class Opened(NamedTuple):
    """The head of a good answer, and until when its first byte or event has to come."""

    head: ResponseHead
    first_by: float
    notices: Notices


class Try(NamedTuple):
    """What one try may take."""

    until: float
    first_by: float
    notices: Notices


def exchange(settings: Settings, call: Request, until: float) -> Flow[Response]:
    """Send a call and read its whole answer, trying again what may be tried again.

    Raises:
        RockAIError: The last try's failure.
    """
    per_try = settings.timeouts.poll if call.repeatable else math.inf

    def once(limits: Try) -> Flow[Response]:
        head = yield from open_call(call, min(limits.until, limits.first_by), limits.notices)
        reply = yield from read_whole(settings, head, limits.until)
        return _accepted(settings, call, reply)

    return (yield from persist(settings, call, until, per_try, once))


def open_answer(settings: Settings, call: Request, until: float) -> Flow[Opened]:
    """Send a call and wait for the head of a good answer, whose body the caller reads.

    Raises:
        RockAIError: The last try's failure.
    """

    def once(limits: Try) -> Flow[Opened]:
        head = yield from open_call(call, min(limits.until, limits.first_by), limits.notices)
        if not head.is_success:
            reply = yield from read_whole(settings, head, limits.until)
            raise status_error(settings.service, call, reply, reply.status_code)
        return Opened(head, limits.first_by, limits.notices)

    return (yield from persist(settings, call, until, math.inf, once))


def read_rest(settings: Settings, call: Request, opened: Opened, until: float) -> Flow[Response]:
    """Read the whole body of an open answer after all: it is not the stream that was asked for."""
    reply = yield from read_whole(settings, opened.head, until)
    return _accepted(settings, call, reply)


def transport_error(call: Request, failure: TransportFailure) -> APIConnectionError:
    """The exception for a connection that failed; its cause is what failed below, not our word for it."""
    kind = APITimeoutError if failure.timed_out else APIConnectionError
    if isinstance(failure, NotSentError):
        known = (advice for words, advice in _TLS_ADVICE.items() if words in str(failure))
        advice = next(known, "Check the network, base_url, and the proxies in the environment.")
    elif failure.timed_out and call.starts:
        advice = (
            "A cold model takes minutes to start: raise timeout=, or wait by id with route='predictions'."
        )
    else:
        advice = ""
    sent = not isinstance(failure, NotSentError)
    words = str(failure).rstrip(".")
    error = kind(f"{call}: {words}. {advice}".strip(), may_have_started=call.starts and sent)
    error.__cause__ = _below(failure)
    return error


def _below(failure: BaseException | None) -> BaseException | None:
    """What has failed below the transport; None where nothing has, and only time ran out."""
    while isinstance(failure, TransportFailure):
        failure = failure.__cause__
    return failure


def persist(
    settings: Settings, call: Request, until: float, per_try: float, once: Callable[[Try], Flow[T]]
) -> Flow[T]:
    """Try, and try again what may be tried again, until it works or time or tries run out."""
    started = yield from now()
    first_by = started + settings.timeouts.first_byte
    notices = Notices(started, str(call))
    attempt = 0
    while True:
        moment = yield from now()
        try:
            return (yield from once(Try(min(until, moment + per_try), first_by, notices)))
        except (TransportFailure, APIStatusError) as failure:
            error, kind = _judge(call, failure)
        yield Close()
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        delay = retry_delay(attempt, asked, (yield from chance()))
        moment = yield from now()
        if (
            attempt >= settings.max_retries
            or delay is None
            or not is_retryable(call, kind)
            or moment + delay >= min(until, first_by)
        ):
            raise error
        yield Sleep(delay)
        attempt += 1


def _judge(call: Request, failure: TransportFailure | APIStatusError) -> tuple[RockAIError, Failure]:
    """The exception a failure means, and how it is to be treated."""
    if isinstance(failure, APIStatusError):
        return failure, Failure.of_answer(failure.status_code, failure.retry_after)
    kind = Failure.NOT_SENT if isinstance(failure, NotSentError) else Failure.UNCERTAIN
    return transport_error(call, failure), kind


def read_whole(settings: Settings, head: ResponseHead, until: float) -> Flow[Response]:
    """Read the whole body of an open answer."""
    chunks = []
    while chunk := (yield from read(settings.timeouts.idle, until)):
        chunks.append(chunk)
    yield Close()
    return Response(head.status_code, head.headers, head.received_at, b"".join(chunks))


def _accepted(settings: Settings, call: Request, reply: Response) -> Response:
    try:
        status = effective_status(settings.service, reply)
    except InvalidResponseError as error:
        error.may_have_started = call.starts
        raise
    if 200 <= status < 300:  # noqa: PLR2004
        return reply
    raise status_error(settings.service, call, reply, status)
