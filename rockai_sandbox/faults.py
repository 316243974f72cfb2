"""What a test puts in front of the service: a busy gateway, a broken one, a page of HTML, a reset."""

import threading
from dataclasses import dataclass, replace

from rockai_sandbox.protocol import RawAnswer


@dataclass(frozen=True)
class Fault:
    """An answer to give instead of the service's own.

    Attributes:
        answer: what to say; `None` drops the connection without a word.
        times: how often; `None` for always.
        method: only to this method; `None` for every one.
        path: only where the path ends so; `None` for every one.
    """

    answer: RawAnswer | None
    times: int | None = 1
    method: str | None = None
    path: str | None = None

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request is one of those meant."""
        return self.method in (None, method) and (self.path is None or path.endswith(self.path))


class Faults:
    """The faults still to come, in the order they were asked for; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Let no more faults happen."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, if any, and count it."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fault.concerns(method, path):
                    continue
                if fault.times == 1:
                    del self._faults[index]
                elif fault.times is not None:
                    self._faults[index] = replace(fault, times=fault.times - 1)
                return fault
        return None
