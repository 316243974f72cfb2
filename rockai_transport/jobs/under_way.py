"""What the tool calls of one toolset have under way in this process.

Invariants of this module: a start is announced before the records are read, and withdrawn once it has an
answer: of calls side by side, each sees those that came before it, in a record or here.
"""

from __future__ import annotations

import threading

__all__ = ["ToolCallsUnderWay"]


class ToolCallsUnderWay:
    """The starts and waits of this process."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        """The ids of the predictions that are being waited for."""
        self._starting: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def announce(self, scope: str, key: str) -> set[str]:
        """Queue up for a start, and see who is ahead: they count before they are in any record.

        An earlier caller that is done has written a record, which is read only after this.
        """
        with self._lock:
            queue = self._starting.setdefault(scope, [])
            ahead = set(queue)
            queue.append(key)
        return ahead

    def withdraw(self, scope: str, key: str) -> None:
        """Leave the queue."""
        with self._lock:
            queue = self._starting[scope]
            queue.remove(key)
            if not queue:
                del self._starting[scope]
