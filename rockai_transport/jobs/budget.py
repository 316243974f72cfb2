"""What predictions may cost: prices, what is reserved for a start, and what is left of an agreed sum.

Invariants of this module: sums are exact. A start counts with all that it may cost, from before it is sent
until the service has said how long it took; one that was refused or cleared counts nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from functools import reduce
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from rockai_transport.errors import ConfigurationError

__all__ = ["Money", "Price", "amount", "scope_lock", "shown", "shown_left", "total"]

Money = Decimal | float | str
"""What a developer may give: a float counts as the decimal number that it is written as."""

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_MOST = Decimal(10) ** 15
_DIGITS = 30


class Price(NamedTuple):
    """What one run costs, as a record holds it: decimal numbers, written as text."""

    per_run: str = "0"
    per_second: str = "0"
    longest_seconds: str = "0"

    @property
    def reserved(self) -> Decimal:
        """What a run may cost in all."""
        return self.after(Decimal(self.longest_seconds))

    def after(self, seconds: Decimal) -> Decimal:
        """What a run has cost that took so long."""
        return _EXACT.add(Decimal(self.per_run), _EXACT.multiply(Decimal(self.per_second), seconds))

    def settled(self, seconds: float | None) -> Decimal:
        """What a run of so many seconds costs; all that it may, where the service has not said them."""
        if seconds is None or not math.isfinite(seconds) or seconds < 0:
            return self.reserved
        return self.after(Decimal(str(seconds)))


def amount(value: Any, name: str) -> Decimal:
    """Read a sum, or a number of seconds.

    Raises:
        ConfigurationError: It is no such number.
    """
    try:
        given = Decimal(str(value) if isinstance(value, float) else value)
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
    """Add up."""
    return reduce(_EXACT.add, amounts, Decimal(0))


def shown(value: Decimal) -> str:
    """An amount as people write it, without zeros at its end."""
    return f"{_EXACT.normalize(value):f}"


def shown_left(max_cost: Decimal, left: Decimal) -> str:
    """What is left of a sum, as people say it."""
    return f"{shown(max(left, Decimal(0)))} of {shown(max_cost)} left"


_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_guard = threading.Lock()


def scope_lock(scope: str) -> threading.Lock:
    """Held from the look at what is left until the record is written, by all threads and event loops."""
    with _guard:
        return _locks.setdefault(scope, threading.Lock())
