"""The seam: the `IO` protocol that operations use, and its exceptions.

Invariants of this module: an operation (run, stream, create, wait, cancel, download) is a coroutine that
receives an `IO` and uses no clock, socket or thread itself. The asynchronous `IO` awaits. The blocking one
never suspends, so `run_blocking` finishes an operation in one step. Both share the code of all decisions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from rockai_transport.config import Settings
from rockai_transport.protocol.events import EventReader
from rockai_transport.protocol.messages import EVENT_STREAM, Request, ResponseHead

logger = logging.getLogger("rockai")

T = TypeVar("T")
P = ParamSpec("P")

FIRST_NOTICE = 10.0
"""Seconds of waiting before the first report."""
NOTICE_EVERY = 60.0
"""Seconds between two reports."""
TIME_IS_UP = "the time limit ran out"


class AttemptLimits(NamedTuple):
    """The limits of one attempt."""

    until: float
    first_by: float
    """Deadline of the first byte or event; not later than ``until``."""
    notices: Notices


class EventBody:
    """An open event stream: what an `IO` must know between two reads.

    Before the first event only the first-byte limit applies, so heartbeats do not extend it.

    Args:
        request: The request that opened it.
        head: The head of its response.
        limits: The limits of the attempt, for the first event.
        until: The reader's deadline.
        settings: The client's settings.
    """

    def __init__(
        self, request: Request, head: ResponseHead, limits: AttemptLimits, until: float, settings: Settings
    ) -> None:
        self.request = request
        self.reader = EventReader(settings.service)
        self.until = limits.first_by
        self.within = math.inf  # seconds without data after which the reader gives up
        self.notices: Notices | None = limits.notices  # logged while nothing has arrived
        self.feed: Callable[[bytes], list[str]] = self._feed_first
        """Returns the pieces that the given bytes complete."""
        self._head = head
        self._reader_deadline = until
        self._idle_seconds = settings.timeouts.idle

    def end(self) -> None:
        """Handle the end of the bytes.

        Raises:
            EOFError: The stream was not complete.
        """
        if not self.reader.is_whole(framed=self._head.is_framed):
            name = self.reader.other_event
            ignored = f". Events named {name[:100]!r} were ignored: see Service(output_event=…, end_events=…)"
            raise EOFError("it ended before its end event" + (ignored if name else ""))

    def _feed_first(self, chunk: bytes) -> list[str]:
        pieces = self.reader.read(chunk)
        if self.reader.seen_event:
            self.until = self._reader_deadline
            self.within = self._idle_seconds
            self.notices = None
            self.feed = self.reader.read
        return pieces


class IO(Protocol):
    """Connection, clock, and callbacks of one operation. Moments are seconds of `now`."""

    def now(self) -> float:
        """Return the time in seconds, from a monotonic clock."""
        ...

    def jitter(self) -> float:
        """Return a random number, 0 to 1."""
        ...

    async def open(self, request: Request, until: float, notices: Notices | None = None) -> ResponseHead:
        """Send a request and wait for the head of its response, until the deadline."""
        ...

    async def read(self, within: float, until: float) -> bytes:
        """Wait for the next bytes of the open response; empty at the end of its body."""
        ...

    async def follow(self, body: EventBody) -> list[str]:
        """Read until an event stream yields pieces; return all pieces of that read, none at its end."""
        ...

    async def close(self) -> None:
        """Close the open response, and its connection unless the body was read completely."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def call(self, callback: Callable[[Any], Any], value: Any) -> None:
        """Call the user's function; the asynchronous `IO` also accepts a coroutine function."""

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function that may block on the disk."""
        ...

    async def detached(self, operation: Callable[[IO], Coroutine[Any, Any, T]], within: float) -> T:
        """Finish an operation with its own new `IO`, even if the caller is canceled.

        Args:
            operation: The operation.
            within: Seconds until it is given up.

        Raises:
            TimeoutError: It was given up.
        """
        ...


Operation = Callable[Concatenate[IO, P], Coroutine[Any, Any, T]]
"""An operation of a client, with any further arguments."""


def run_blocking(operation: Coroutine[Any, Any, T]) -> T:
    """Run an operation with a blocking `IO` to its end."""
    try:
        operation.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("blocking input and output never suspends")


def _log(subject: Request | str, seconds: float) -> None:
    text = "%s: waiting for %.0f s."
    if isinstance(subject, str) or subject.starts or subject.accept == EVENT_STREAM:
        text += " The model may be starting: a cold start takes minutes."
    logger.info(text, subject, seconds)


class Notices:
    """Reports, after ten seconds of waiting and then once a minute, that a model may be starting.

    Args:
        started: When the wait began.
        subject: What the wait is for; ``str()`` returns its name.
        say: Called with the subject and the seconds since then. Default: writes to the log.
        every: Seconds between two reports. Default: 60.
    """

    def __init__(
        self,
        started: float,
        subject: Request | str,
        say: Callable[[Request | str, float], Any] = _log,
        every: float | None = None,
    ) -> None:
        self.subject = subject
        self.due = started + FIRST_NOTICE
        self._started = started
        self._say = say
        self._every = NOTICE_EVERY if every is None else every

    def tell(self, moment: float) -> None:
        """Report, if a report is due at ``moment``."""
        if moment >= self.due:
            self.due = max(self.due + self._every, moment)
            self._say(self.subject, moment - self._started)


class TransportFailure(Exception):  # noqa: N818 - the errors are its subclasses
    """A connection failed. It never leaves the transport: operations convert it to a `RockAIError`."""

    timed_out = False


class NotSentError(TransportFailure):
    """The request was never sent: there was no connection, or none was free in time."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class BrokenError(TransportFailure):
    """The connection broke while the request or its response was being transferred."""


class ExpiredError(TransportFailure):
    """A timeout expired. The connection is closed."""

    timed_out = True


class LeftError(BaseException):
    """The stream was closed elsewhere while this reader waited for its next bytes."""
