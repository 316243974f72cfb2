"""What an agent may do, where a call of its tools happens, and how progress is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.runs import AgentRun

__all__ = ["NO_CALL", "CallContext", "Duplicates", "OnCancel", "Policy", "Progress"]

OnCancel = Literal["cancel", "leave"]
"""What becomes of the predictions of an agent that is canceled."""
Duplicates = Literal["join", "allow"]
"""What becomes of an order that a later turn repeats while the first still runs."""


class Policy(NamedTuple):
    """What an agent may do, and for how long. Times are in seconds."""

    max_wait: float = 60.0
    max_running: int = 2
    max_starts: int = 10
    max_cost: Decimal | None = None
    on_cancel: OnCancel = "cancel"
    duplicates: Duplicates = "join"
    save_to: Path | None = None
    webhook_url: str | None = None
    is_allowed: Callable[[str], bool] = lambda _: False


class Progress(NamedTuple):
    """How far a prediction is, for the program to show."""

    prediction_id: str | None
    model: str
    """The name of the `HostedModel`; empty where it is not known."""
    status: str
    progress: float | None
    """0 to 1; None where the model's logs do not tell."""
    elapsed: float
    """Seconds since the start."""


class CallContext(NamedTuple):
    """Where one tool call happens."""

    scope: str
    call: tuple[str, ...] | None = None
    """What tells this call from every other; see `record_key`."""
    report: Callable[[Progress], Any] | None = None
    """Told of progress; with await it may be a coroutine function."""
    approve: Callable[[HostedModel, Mapping[str, Any], str, str], Any] | None = None
    """Asked before a start, with the model, its input, the record's key and the question; likewise."""
    turn: str = ""
    """The model's turn that makes this call, the same for the calls of one message; empty: not known."""
    run: Any = None
    """What the framework knows the agent's run by: an object of its own, or an id; None: not known."""
    runs: tuple[AgentRun, ...] = ()
    """The runs that this call is part of; what they have under way ends with them."""
    is_shared: bool = False
    """Whether others than one conversation use the scope."""
    thread: str = ""
    """What can be resumed later, see `Record`; empty: nothing, so the call waits here."""
    store: Any = None
    """The conversation's own store, as a framework gives it; then the `Store` of this call's records."""
    interruptions: tuple[type[Exception], ...] = ()
    """What a framework raises to interrupt a tool; it is no failure of the call."""


NO_CALL = CallContext("")
"""What the developer does, outside of any call."""
