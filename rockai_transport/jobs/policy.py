"""An agent's policy, the context of a tool call, and progress reports."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rockai_transport.config import check_choice, check_timeout, check_whole
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.budget import amount
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.running import AgentRun
from rockai_transport.protocol.webhooks import check_webhook_url

OnCancel = Literal["cancel", "leave"]
"""What happens to the predictions of a canceled agent."""
Duplicates = Literal["join", "allow"]
"""What happens to a request that a later turn repeats before it has read the first one's result."""


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
    """The progress of a prediction, for the program to show."""

    prediction_id: str | None
    model: str
    """The name of the `HostedModel`; empty if it is not known."""
    status: str
    progress: float | None
    """0 to 1; None if the model's logs do not show it."""
    elapsed: float
    """Seconds since the start."""


class CallContext(NamedTuple):
    """The context of one tool call."""

    scope: str
    call: tuple[str, ...] | None = None
    """Identifies this call; see `record_key`. The last part is the tool call's id; empty: it has none."""
    report: Callable[[Progress], Any] | None = None
    """Called with progress; with await it may be a coroutine function."""
    approve: Callable[[HostedModel, Mapping[str, Any], str, str], Any] | None = None
    """Called before a start with the model, its input, the record's key and the question; likewise."""
    turn: str = ""
    """The model's turn with this call, the same for all calls of one message; empty: not known."""
    run: Any = None
    """Identifies the agent's run: an object of the framework, or an id; None: not known."""
    runs: tuple[AgentRun, ...] = ()
    """The runs that this call is part of; their running predictions are canceled with them."""
    is_shared: bool = False
    """Whether more than one conversation uses the scope."""
    thread: str = ""
    """What can be resumed later, see `Record`; empty: nothing, so the call waits in the process."""
    store: Any = None
    """The conversation's own store, as a framework gives it; then the `Store` of this call's records."""


def checked_policy(settings: Mapping[str, Any], models: Iterable[HostedModel]) -> Policy:
    """Check the developer's settings, by the names in `SETTINGS`; None for an optional one means not set.

    Raises:
        ConfigurationError: One is invalid, or a model has no price although there is a budget.
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


def _folder(value: Any, name: str) -> Path:
    """Return the folder for outputs; checked now, because an agent would notice a fault only after paying."""
    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise ConfigurationError(f"{name}={value!r} must be the path of a folder.")
    try:
        folder = Path(value).expanduser()
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except (OSError, RuntimeError, ValueError) as error:  # no permission, no such home, an invalid path
        raise ConfigurationError(f"{name}={str(value)!r}: {error}") from error
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return folder
    why = "cannot be written to" if existing.is_dir() else "is no folder"
    raise ConfigurationError(f"{name}={str(value)!r}: {existing} {why}.")


def refuse_awaitable(value: Any, name: str) -> Any:
    """Refuse a coroutine as the answer of a developer's function: it would count as true, or as a name.

    Raises:
        ConfigurationError: It must be awaited.
    """
    if inspect.isawaitable(value):
        raise ConfigurationError(f"{name}= must be a function that needs no await.")
    return value


def _ids(value: Any, name: str) -> Callable[[str], bool]:
    is_list = isinstance(value, Collection) and not isinstance(value, str)  # a string is no list of letters
    if is_list and all(isinstance(one, str) for one in value):
        return frozenset(value).__contains__
    if callable(value) and not inspect.iscoroutinefunction(value):
        return lambda one: refuse_awaitable(value(one), name)
    raise ConfigurationError(
        f"{name}={value!r} must be a list of prediction ids, or a function that needs no await."
    )


SETTINGS: Mapping[str, Callable[[Any, str], Any]] = {
    "max_wait": check_timeout,
    "max_running": partial(check_whole, least=1),
    "max_starts": partial(check_whole, least=1),
    "max_cost": amount,
    "on_cancel": partial(check_choice, kind=OnCancel),
    "duplicates": partial(check_choice, kind=Duplicates),
    "save_to": _folder,
    "webhook_url": lambda value, _: check_webhook_url(value),
    "allowed_ids": _ids,
}
"""The developer's settings for an agent, and how each is checked."""
