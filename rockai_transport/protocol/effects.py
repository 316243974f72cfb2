"""What a flow asks its shell to do, and how a shell says that it could not.

A flow is a generator that yields effects and returns a value. It decides everything and does nothing: the
two shells (`rockai_transport.client`, `rockai_transport.async_client`) do what it asks, one with threads'
calls and one with ``await``, and pass failures in with ``throw``, Ctrl-C and task cancellation too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from rockai_transport.protocol.requests import Request, ResponseHead

__all__ = [
    "BrokenError",
    "Chance",
    "Close",
    "Effect",
    "Emit",
    "ExpiredError",
    "Farewell",
    "Flow",
    "LeftError",
    "NotSentError",
    "Notices",
    "Now",
    "Open",
    "Read",
    "Sleep",
    "Tell",
    "TransportFailure",
    "Work",
    "chance",
    "now",
    "open_call",
    "read",
]

logger = logging.getLogger("rockai")

_FIRST_NOTICE = 10.0
_NOTICE_EVERY = 60.0


class Notices:
    """Says in the log, after ten seconds of waiting and then once a minute, that a model may be starting."""

    def __init__(self, started: float, subject: str) -> None:
        self._started = started
        self._subject = subject
        self.due = started + _FIRST_NOTICE

    def tell(self, moment: float) -> None:
        """Say it, if it is due by the clock's ``moment``."""
        if moment < self.due:
            return
        self.due = max(self.due + _NOTICE_EVERY, moment)
        logger.info(
            "%s: waiting for %.0f s. The model may be starting: a cold start takes minutes.",
            self._subject,
            moment - self._started,
        )


class Open(NamedTuple):
    """Send a call and wait for the head of its answer → `ResponseHead`."""

    call: Request
    until: float
    """The moment of `Now`'s clock when this has to give up."""
    notices: Notices | None = None


class Read(NamedTuple):
    """Wait for the next bytes of the open answer → bytes, empty at the end of the body."""

    within: float
    """Seconds of silence after which this has to give up."""
    until: float
    notices: Notices | None = None


class Close(NamedTuple):
    """Close the open answer, and its connection unless the body was read to its end."""


class Sleep(NamedTuple):
    """Let time pass."""

    seconds: float


class Now(NamedTuple):
    """→ the moment, in seconds of a clock that never goes back."""


class Chance(NamedTuple):
    """→ a random number, 0 to 1."""


class Emit(NamedTuple):
    """Hand a piece to whoever iterates over the stream."""

    piece: str


class Tell(NamedTuple):
    """Call the user's callback; in an async shell it may be a coroutine function."""

    callback: Callable[[Any], Any]
    value: Any


class Work(NamedTuple):
    """Do something that may take a while at a disk → its result. An async shell does it in a thread."""

    function: Callable[[], Any]


class Farewell(NamedTuple):
    """Run a flow of its own before leaving: shielded, for two seconds at most → its value, or None."""

    begin: Callable[[], Flow[Any]]
    """Makes the flow; called again where a loop that ends has canceled the first."""


Effect = Open | Read | Close | Sleep | Now | Chance | Emit | Tell | Work | Farewell

T = TypeVar("T")
Flow = Generator[Effect, Any, T]


class TransportFailure(Exception):  # noqa: N818 - the errors are its subclasses
    """A connection failed. Never leaves the transport: a flow turns it into a `RockAIError`."""

    timed_out = False


class NotSentError(TransportFailure):
    """The call was never sent: no connection, or none free in time."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class BrokenError(TransportFailure):
    """The connection broke while the call was on its way, or its answer."""


class ExpiredError(TransportFailure):
    """A limit of `Open` or `Read` ran out. The connection is closed."""

    timed_out = True


class LeftError(BaseException):
    """Thrown into a stream's flow when its reader leaves: like a GeneratorExit after which it may yield."""


def now() -> Flow[float]:
    """Ask for the moment."""
    moment: float = yield Now()
    return moment


def chance() -> Flow[float]:
    """Ask for a random number."""
    number: float = yield Chance()
    return number


def open_call(call: Request, until: float, notices: Notices | None) -> Flow[ResponseHead]:
    """Ask for the head of an answer."""
    head: ResponseHead = yield Open(call, until, notices)
    return head


def read(within: float, until: float, notices: Notices | None = None) -> Flow[bytes]:
    """Ask for the next bytes."""
    chunk: bytes = yield Read(within, until, notices)
    return chunk
