"""Costs of predictions: prices, reservations for starts, and the amount left of a budget.

Invariants of this module: sums are exact. From before it is sent until the service reports its predict time,
a start counts with its maximum cost; a start that was refused or cleared counts nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from functools import reduce
from numbers import Real
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from rockai_transport._forks import lock_across_forks
from rockai_transport.errors import ConfigurationError

Money = Decimal | float | str
"""Types for an amount; a float is read as the decimal number that it is written as."""

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_MOST = Decimal(10) ** 15  # maximum amount
_DIGITS = 30  # maximum number of decimals of an amount
_LOCK_SECONDS = 10.0
"""Maximum seconds to wait for the lock."""
_LOCK_POLL = 0.005
"""Seconds between two attempts to take it."""


class Price(NamedTuple):
    """The price of one run, as a record stores it: decimal numbers as text."""

    per_run: str = "0"
    per_second: str = "0"
    longest_seconds: str = "0"

    @property
    def reserved(self) -> Decimal:
        """The maximum cost of a run."""
        return self.settled(None)

    def settled(self, seconds: float | None) -> Decimal:
        """The cost of a run that took ``seconds``; the maximum cost if the service has not reported them."""
        took = Decimal(self.longest_seconds if seconds is None else str(seconds))
        return _EXACT.add(Decimal(self.per_run), _EXACT.multiply(Decimal(self.per_second), took))


def amount(value: Any, name: str) -> Decimal:
    """Read an amount, or a number of seconds.

    Raises:
        ConfigurationError: It is not a valid number.
    """
    try:
        given = Decimal(str(value) if isinstance(value, Real) else value)
    except (InvalidOperation, TypeError, ValueError):
        given = Decimal("NaN")
    exponent = given.as_tuple().exponent
    is_number = isinstance(exponent, int) and -exponent <= _DIGITS and not isinstance(value, bool)
    if not is_number or not 0 <= given <= _MOST:
        raise ConfigurationError(
            f"{name}={value!r} must be a number from 0 to {_MOST:.0E}, with {_DIGITS} decimals at most."
        )
    return given.copy_abs()  # "-0"


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum of amounts."""
    return reduce(_EXACT.add, amounts, Decimal(0))


def shown(value: Decimal) -> str:
    """Return an amount as text, without trailing zeros."""
    return f"{_EXACT.normalize(value):f}"


def shown_left(max_cost: Decimal, left: Decimal) -> str:
    """Describe the amount left of a budget."""
    return f"{shown(max(left, Decimal(0)))} of {shown(max_cost)} left"


_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_guard = lock_across_forks()


@asynccontextmanager
async def locked(scope: str, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """Let one thread or task at a time check a scope's budget and write a record.

    The lock is polled, because no event loop may block.

    Raises:
        TimeoutError: Another call has held it for ten seconds.
    """
    with _guard:
        # In a forked child, no thread releases a lock of its parent.
        lock = _locks.setdefault(f"{os.getpid()} {scope}", threading.Lock())
    give_up = time.monotonic() + _LOCK_SECONDS
    while not lock.acquire(blocking=False):
        if time.monotonic() > give_up:
            raise TimeoutError("another start of this conversation is being written down")
        await sleep(_LOCK_POLL)
    try:
        yield
    finally:
        lock.release()
