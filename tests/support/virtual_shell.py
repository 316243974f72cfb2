"""A third shell, whose clock jumps: waits of hours take no time, and every one of them is on record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rockai_transport import Service, Timeouts
from rockai_transport.config import Settings
from rockai_transport.protocol import effects
from rockai_transport.protocol.operations import Flows
from rockai_transport.protocol.requests import Request, ResponseHead

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VirtualShell", "flows", "reply"]


class Answer:
    """A scripted answer: how long it takes, its head, its body."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str], after: float) -> None:
        self.status, self.body, self.headers, self.after = status, body, headers, after


def reply(status: int = 200, body: Any = None, *, after: float = 0.0, **headers: str) -> Answer:
    """An answer that comes after so many seconds."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json", **names}, after)


class VirtualShell:
    """Drives a flow against scripted answers.

    Args:
        answers: One for each call, the last one for all that follow; an exception is thrown into the flow.
        chance: The random number.
    """

    def __init__(self, *answers: Any, chance: float = 0.0) -> None:
        self._answers = list(answers)
        self._body = b""
        self._chance = chance
        self.moment = 1000.0
        self.sleeps: list[float] = []
        self.calls: list[Request] = []
        self.told: list[Any] = []
        self.farewells = 0

    def drive(self, flow: Any) -> Any:
        """Run a flow to its end and give its value."""
        step: Callable[[], Any] = lambda: flow.send(None)  # noqa: E731
        try:
            while True:
                effect = step()
                try:
                    result = self._perform(effect)
                except BaseException as error:  # noqa: BLE001 - as the real shells
                    failure = error
                    step = lambda: flow.throw(failure)  # noqa: B023, E731 - used before it changes
                else:
                    step = lambda: flow.send(result)  # noqa: B023, E731 - used before it changes
        except StopIteration as end:
            return end.value

    def _perform(self, effect: Any) -> Any:  # noqa: PLR0911 - one line for each effect
        match effect:
            case effects.Now():
                return self.moment
            case effects.Chance():
                return self._chance
            case effects.Sleep():
                assert effect.seconds >= 0
                self.sleeps.append(effect.seconds)
                self.moment += effect.seconds
            case effects.Open():
                return self._open(effect)
            case effects.Read():
                body, self._body = self._body, b""
                return body
            case effects.Tell():
                self.told.append(effect.value)
                return effect.callback(effect.value)
            case effects.Work():
                return effect.function()
            case effects.Farewell():
                self.farewells += 1
        return None

    def _open(self, effect: effects.Open) -> ResponseHead:
        self.calls.append(effect.call)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if self.moment + answer.after > effect.until:
            self.moment = effect.until
            raise effects.ExpiredError("no answer in time")
        self.moment += answer.after
        self._body = answer.body
        return ResponseHead(answer.status, answer.headers, 1_700_000_000.0)


def flows(**changes: Any) -> Flows:
    """The flows of a client with these settings."""
    given = {
        "api_token": "t",
        "base_url": "https://x.example/v1",
        "timeout": None,
        "max_retries": 2,
        "route": "auto",
        "service": Service(),
        "default_headers": None,
        "timeouts": Timeouts(),
        "allow_http": False,
    }
    return Flows(Settings.resolve(**{**given, **changes}))
