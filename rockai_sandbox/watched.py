"""Waiting for events in a sandbox."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

from rockai_sandbox.options import check_choice
from rockai_sandbox.predictions import Changes, SandboxPrediction
from rockai_sandbox.recorder import SeenRequest

Found = TypeVar("Found")
Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]


class Watched:
    """A base class with `wait_for`: it waits for predictions and requests."""

    if TYPE_CHECKING:  # the sandbox has them
        _changed: Changes

        @property
        def predictions(self) -> list[SandboxPrediction]: ...  # noqa: D102 - documented there
        @property
        def requests(self) -> list[SeenRequest]: ...  # noqa: D102

    @overload
    def wait_for(self, what: Literal["disconnect"], timeout: float = 10.0) -> SeenRequest: ...
    @overload
    def wait_for(self, what: Status, timeout: float = 10.0) -> SandboxPrediction: ...
    @overload
    def wait_for(self, what: Callable[[Any], Found | None], timeout: float = 10.0) -> Found: ...
    def wait_for(self, what: str | Callable[[Any], Any], timeout: float = 10.0) -> Any:
        """Wait until a condition holds. It is checked after every change, without polling.

        Args:
            what: A status, for the first prediction with it; ``"disconnect"``, for the first request whose
                client left; or a function of the sandbox, for the first true value it returns.
            timeout: Seconds.

        Returns:
            The prediction, the request, or the function's value.

        Raises:
            TimeoutError: The condition did not become true; the message describes the current state.
            ValueError: There is no such status, or the timeout is not a number of seconds.

        Example:
            >>> started = client.predictions.create(model=ECHO, input={"prompt": "Hello"})
            >>> sandbox.wait_for("succeeded").output
            ['Hello']
            >>> sandbox.wait_for(lambda local: local.requests[0].outcome == "complete")
            True
        """
        look = partial(what, self) if callable(what) else self._look_for(what)
        found = self._changed.wait_until(look, timeout)
        if not found:
            raise TimeoutError(f"waited {timeout} s for {what!r}; {self._describe()}")
        return found

    def _look_for(self, what: str) -> Callable[[], Any]:
        check_choice("what", what, ("disconnect", *get_args(Status)))

        if what == "disconnect":
            return lambda: next((one for one in self.requests if one.disconnected), None)
        return lambda: next((one for one in self.predictions if one.status == what), None)

    def _describe(self) -> str:
        predictions = [(one.id, one.model, one.status) for one in self.predictions]
        requests = [(one.method, one.path, one.status, one.outcome) for one in self.requests]
        return f"predictions: {predictions}; requests: {requests}"
