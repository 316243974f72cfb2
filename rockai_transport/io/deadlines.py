"""The time limits of an operation's sockets, and how another thread interrupts them."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rockai_transport.protocol.io import Notices

TIME_IS_UP = "the time limit ran out"


@dataclass(slots=True, eq=False)
class Deadline:
    """The limits of one operation; they change while it runs, and its sockets check them before each wait."""

    until: float = math.inf
    within: float = math.inf
    notices: Notices | None = None
    waits_for: Any = None
    """The socket that a thread is reading from."""
    ended: bool = False
    """Whether another thread has ended the operation."""
    connecting: bool = False
    """Whether a new connection was needed; set by asynchronous operations."""
    sent: bool = False
    """Whether any byte of the request may have been sent; set by asynchronous operations."""
    _awake: threading.Event | None = None

    def remaining(self, since: float) -> float:
        """Return the seconds until the next timeout or log message; 0 means to give up.

        Args:
            since: When the wait for the next bytes began.
        """
        moment = time.monotonic()
        limit = min(self.until, since + self.within)
        if moment >= limit or self.ended:
            return 0.0
        if self.notices is not None:
            if moment >= self.notices.due:
                self.notices.tell(moment)
            limit = min(limit, self.notices.due)
        return max(limit - moment, 0.001)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless the operation was ended."""
        self._awake = threading.Event()
        if not self.ended:
            self._awake.wait(seconds)

    def end(self) -> None:
        """Interrupt the operation's thread. Closing the socket would not wake it; a shutdown does."""
        self.ended = True
        awake, waited_for = self._awake, self.waits_for
        if awake is not None:
            awake.set()
        if waited_for is not None:
            with contextlib.suppress(OSError, TypeError):  # TypeError: another client's, not a socket
                socket.socket.shutdown(waited_for, socket.SHUT_RDWR)


current_deadline: ContextVar[Deadline] = ContextVar("rockai_deadline", default=Deadline())  # noqa: B039
"""The deadline for the socket operations of this thread or task."""
