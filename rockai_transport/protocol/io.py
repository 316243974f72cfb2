"""The seam: what an operation needs done for it, and how it is told that it could not be done.

Invariants of this module: an operation (run, stream, create, wait, cancel, download) is a coroutine that is
given an `IO` and touches no clock, socket or thread itself. The asynchronous `IO` awaits. The blocking one
never suspends, so that `run_blocking` finishes an operation in one step. What is decided is written once, for
both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from rockai_transport.protocol.messages import Request, ResponseHead

__all__ = [
    "IO",
    "BrokenError",
    "EventBody",
    "ExpiredError",
    "LeftError",
    "NotSentError",
    "Notices",
    "TransportFailure",
    "run_blocking",
]

logger = logging.getLogger("rockai")

T = TypeVar("T")

FIRST_NOTICE = 10.0
NOTICE_EVERY = 60.0


class EventBody(Protocol):
    """An open event stream while its bytes come: what an `IO` has to know between two reads."""

    until: float
    """The moment when its reader gives up."""
    within: float
    """Seconds of silence after which its reader gives up."""
    notices: Notices | None
    """Due while nothing has come yet."""

    @property
    def ended(self) -> bool:
        """Whether its end has come."""
        ...

    @property
    def feed(self) -> Callable[[bytes], list[str]]:
        """Take bytes; give the pieces that they complete."""
        ...

    def end(self) -> None:
        """Take note that there are no more bytes; raise if that was not the end."""


class IO(Protocol):
    """One operation's connection, clock, and calls of the user's functions. Moments are `now`'s seconds."""

    def now(self) -> float:
        """The moment, in seconds of a clock that never goes back."""
        ...

    def jitter(self) -> float:
        """A random number, 0 to 1."""
        ...

    async def open(self, request: Request, until: float, notices: Notices | None = None) -> ResponseHead:
        """Send a request and wait for the head of its response, until a moment."""
        ...

    async def read(self, within: float, until: float) -> bytes:
        """Wait for the next bytes of the open response; empty at the end of its body."""
        ...

    async def follow(self, body: EventBody) -> list[str]:
        """Read on until an event stream gives pieces: all that one read brought; empty at its end."""
        ...

    async def close(self) -> None:
        """Close the open response, and its connection unless the body was read to its end."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    async def call(self, callback: Callable[[Any], Any], value: Any) -> None:
        """Call the user's function; with await it may be a coroutine function."""

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Do something that may take a while at a disk."""
        ...

    async def detached(self, operation: Callable[[IO], Coroutine[Any, Any, T]], within: float) -> T:
        """Finish an operation of its own, with a fresh `IO`, whatever becomes of the caller meanwhile.

        Args:
            operation: What to finish.
            within: Seconds after which it is given up.

        Raises:
            TimeoutError: It was given up.
        """
        ...


def run_blocking(operation: Coroutine[Any, Any, T]) -> T:
    """Finish an operation whose `IO` blocks."""
    try:
        operation.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("blocking input and output never suspends")


def _log(subject: Request | str, seconds: float) -> None:
    text = "%s: waiting for %.0f s. The model may be starting: a cold start takes minutes."
    logger.info(text, subject, seconds)


class Notices:
    """Says, after ten seconds of waiting and then once a minute, that a model may be starting.

    Args:
        started: When the waiting began.
        subject: What is waited for; ``str()`` gives its name.
        say: Is given the subject and the seconds since then; writes to the log by default.
        every: Seconds from one time to the next; a minute by default.
    """

    def __init__(
        self,
        started: float,
        subject: Request | str,
        say: Callable[[Request | str, float], Any] | None = None,
        every: float | None = None,
    ) -> None:
        self.subject = subject
        self.due = started + FIRST_NOTICE
        self._started = started
        self._say = say or _log
        self._every = NOTICE_EVERY if every is None else every

    def tell(self, moment: float) -> None:
        """Say it, if it is due by the clock's ``moment``."""
        if moment >= self.due:
            self.due = max(self.due + self._every, moment)
            self._say(self.subject, moment - self._started)


class TransportFailure(Exception):  # noqa: N818 - the errors are its subclasses
    """A connection failed. Never leaves the transport: an operation turns it into a `RockAIError`."""

    timed_out = False


class NotSentError(TransportFailure):
    """The request was never sent: no connection, or none free in time."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class BrokenError(TransportFailure):
    """The connection broke while the request was on its way, or its response."""


class ExpiredError(TransportFailure):
    """A time limit ran out. The connection is closed."""

    timed_out = True


class LeftError(BaseException):
    """Somebody else has closed the stream whose next bytes were waited for."""
