"""What an agent may do, where a call of its tools happens, and how progress is reported."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from rockai_transport.config import check_timeout
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.budget import amount
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.runs import AgentRun
from rockai_transport.protocol.webhooks import check_webhook_url

__all__ = [
    "NO_CALL",
    "SETTINGS",
    "CallContext",
    "Duplicates",
    "OnCancel",
    "Policy",
    "Progress",
    "checked_policy",
]

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


def checked_policy(settings: Mapping[str, Any], models: Iterable[HostedModel]) -> Policy:
    """Check what the developer has given, by the names of `SETTINGS`; None for an optional one is nothing.

    Raises:
        ConfigurationError: One cannot be right, or a model has no price under a budget.
    """
    optional = [name for name, default in Policy._field_defaults.items() if default is None]
    given = {name: one for name, one in settings.items() if one is not None or name not in optional}
    checked = {name: SETTINGS[name](one, name) for name, one in given.items()}
    for model in models:
        if "max_cost" in given and model.price is None:
            raise ConfigurationError(
                f"max_cost needs a price for each model: give HostedModel {model.name} cost_per_run, or "
                "cost_per_second and longest_seconds."
            )
    return Policy(is_allowed=checked.pop("allowed_ids", _ids((), "")), **checked)


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name}={value!r} must be a whole number, 1 or more.")
    return value


def _choice(kind: Any) -> Callable[[Any, str], Any]:
    def check(value: Any, name: str) -> Any:
        if value not in get_args(kind):
            raise ConfigurationError(f"{name}={value!r} is none of {', '.join(map(repr, get_args(kind)))}.")
        return value

    return check


def _folder(value: Any, name: str) -> Path:
    """Where outputs go; looked at now, since an agent would meet it after it has paid."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigurationError(f"{name}={value!r} must be the path of a folder.")
    try:
        folder = Path(value).expanduser()
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except (OSError, RuntimeError, ValueError) as error:  # not to be searched, nobody's home, no path at all
        raise ConfigurationError(f"{name}={str(value)!r}: {error}") from error
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return folder
    why = "cannot be written to" if existing.is_dir() else "is no folder"
    raise ConfigurationError(f"{name}={str(value)!r}: {existing} {why}.")


def _ids(value: Any, name: str) -> Callable[[str], bool]:
    if callable(value):
        is_allowed: Callable[[str], bool] = value
        return is_allowed
    if isinstance(value, str) or not isinstance(value, Collection):  # a string would be a list of letters
        raise ConfigurationError(f"{name}={value!r} must be a list of prediction ids, or a function.")
    return frozenset(value).__contains__


SETTINGS: Mapping[str, Callable[[Any, str], Any]] = {
    "max_wait": check_timeout,
    "max_running": _count,
    "max_starts": _count,
    "max_cost": amount,
    "on_cancel": _choice(OnCancel),
    "duplicates": _choice(Duplicates),
    "save_to": _folder,
    "webhook_url": lambda value, _: check_webhook_url(value),
    "allowed_ids": _ids,
}
"""What a developer may agree with an agent, and how each is checked."""
