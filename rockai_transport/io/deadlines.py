"""How long the socket operations of one operation may take, and how another thread ends them before that."""

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

__all__ = ["Deadline", "current_deadline"]


@dataclass(slots=True, eq=False)
class Deadline:
    """The limits of one operation, changed as it goes on; its sockets ask before each wait."""

    until: float = math.inf
    within: float = math.inf
    notices: Notices | None = None
    waits_for: Any = None
    """The socket whose bytes a thread waits for."""
    ended: bool = False
    """Whether another thread has ended the operation."""
    connecting: bool = False
    """Whether a connection had to be made; noted by asynchronous operations."""
    sent: bool = False
    """Whether any byte of the request may have left; likewise."""
    _awake: threading.Event | None = None

    def remaining(self, since: float) -> float:
        """Seconds until the next thing to do, be it to give up or to say something; 0 is to give up.

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
        """Sleep, unless ended."""
        self._awake = threading.Event()
        if not self.ended:
            self._awake.wait(seconds)

    def end(self) -> None:
        """End what the operation's thread waits for. A close would not wake it; a shutdown does."""
        self.ended = True
        awake, waited_for = self._awake, self.waits_for
        if awake is not None:
            awake.set()
        if waited_for is not None:
            with contextlib.suppress(OSError, TypeError):  # TypeError: of another HTTP client, and no socket
                socket.socket.shutdown(waited_for, socket.SHUT_RDWR)


current_deadline: ContextVar[Deadline] = ContextVar("rockai_deadline", default=Deadline())  # noqa: B039
"""The deadline that socket operations of this thread, or this task, are held to."""
