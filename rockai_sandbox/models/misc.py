"""Models that each fail in one way, to test how an app handles it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from rockai_sandbox.registry import Model, made_up_version
from rockai_sandbox.runs import Run

FAILS_HALF_WAY = "sandbox/fails-half-way"
"""A model that streams a line and a half and then fails.

Example:
    >>> try:
    ...     "".join(client.stream(FAILS_HALF_WAY, {}))
    ... except Exception as error:
    ...     print(repr(error.partial_text))
    'This answer breaks off,\\nhalf'
"""
STAYS_COLD = "sandbox/stays-cold"
"""A model that stays ``starting`` until its prediction is canceled.

Example:
    >>> started = client.predictions.create(model=STAYS_COLD, input={})
    >>> client.predictions.get(started.id).status
    'starting'
"""
NEVER_ENDS = "sandbox/never-ends"
"""A model that streams numbered lines, about twenty a second, until its prediction is canceled.

Example:
    >>> with client.stream(NEVER_ENDS, {}) as stream:
    ...     next(stream)
    'line 1'
"""
ECHO = "sandbox/echo"
"""A model that returns its ``prompt``, in one piece.

Example:
    >>> client.run(ECHO, {"prompt": "Hello"}).text
    'Hello'
"""

FOREVER = 10 * 365 * 24 * 3600.0
SECONDS_PER_LINE = 0.05


def _fail_half_way(_input: dict[str, Any]) -> Iterator[str]:
    yield "This answer"
    yield " breaks off,\n"
    yield "half"
    raise RuntimeError("the model failed half-way")


def _never_end(_input: dict[str, Any], run: Run) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"line {number}\n"
        run.pause(SECONDS_PER_LINE)


async def _echo(given: dict[str, Any]) -> AsyncIterator[str]:
    yield str(given.get("prompt", ""))


def _entry(name: str, function: Any, cold_start: float | None = None) -> Model:
    return Model(name, made_up_version(name), function, any_version=True, cold_start=cold_start)


MISC_MODELS = (
    _entry(FAILS_HALF_WAY, _fail_half_way),
    _entry(STAYS_COLD, _echo, FOREVER),
    _entry(NEVER_ENDS, _never_end),
    _entry(ECHO, _echo),
)
