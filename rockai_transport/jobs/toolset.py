"""`Toolset`: all that the tools of both frameworks have in common.

An adapter adds how its framework calls a tool, and what it is told.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from uuid import uuid4

from rockai_transport.client import Client
from rockai_transport.config import check_timeout
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs import agent_messages
from rockai_transport.jobs.lifecycle import Lifecycle
from rockai_transport.jobs.policy import CallContext, Policy
from rockai_transport.jobs.schemas import check_models
from rockai_transport.jobs.shells import drive, drive_async
from rockai_transport.jobs.stores import MappingRecords, MirroredRecords, Records, as_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rockai_transport.async_client import AsyncClient
    from rockai_transport.jobs.agent_messages import ToolAnswer
    from rockai_transport.jobs.hosted_models import HostedModel

__all__ = ["DEFAULT_TIMEOUT", "DESCRIPTIONS", "Backends", "OnCancel", "Toolset"]

logger = logging.getLogger("rockai")

OnCancel = Literal["cancel", "leave"]
DEFAULT_TIMEOUT = 120.0
_KEPT_STORES = 16

DESCRIPTIONS = {
    "start_prediction": (
        "Start a hosted model and return at once with a prediction id, while it works. Costs money: start "
        "only what the user asked for, once. Afterwards call wait_for_prediction."
    ),
    "get_prediction": (
        "Look once at a prediction: status, progress, and the output when it is done. Do not call it again "
        "and again in a loop: wait_for_prediction waits."
    ),
    "wait_for_prediction": (
        "Wait until a prediction is done, or the time is up, and say how it stands. If it is still "
        "processing, tell the user or call this again: never start it anew. A cold model takes minutes to "
        "start."
    ),
    "cancel_prediction": "Stop a prediction that is starting or processing, so that it costs nothing more.",
    "list_predictions": "List the predictions that this conversation has started, and how they stand.",
}
"""What an agent reads of the five tools, each below LlamaIndex's limit of 1024 characters."""


class Backends(NamedTuple):
    """What a flow may ask for."""

    client: Any
    records: Records
    site: CallContext


class Toolset:
    """The models, the limits and the clients behind one agent's tools.

    Its settings are documented at `RockAIToolkit` and `RockAIToolSpec`, which pass them on.
    """

    def __init__(
        self,
        models: Iterable[HostedModel],
        *,
        api_token: str | None = None,
        base_url: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_retries: int = 2,
        default_headers: Mapping[str, str] | None = None,
        client: Client | None = None,
        async_client: AsyncClient | None = None,
        max_wait: float = 60.0,
        max_running: int = 2,
        max_starts: int = 10,
        on_cancel: OnCancel = "cancel",
        save_to: str | Path | None = None,
        scope: Any = None,
        allowed_ids: Collection[str] | Callable[[str], bool] = (),
        store: Any = None,
    ) -> None:
        self.models = check_models(models, DESCRIPTIONS)
        policy = Policy(
            max_wait=check_timeout(max_wait, "max_wait"),
            max_running=_count(max_running, "max_running"),
            max_starts=_count(max_starts, "max_starts"),
            on_cancel=_one_of(on_cancel, "on_cancel", ("cancel", "leave")),
            save_to=None if save_to is None else _folder(save_to),
            is_allowed=allowed_ids if callable(allowed_ids) else _ids(allowed_ids).__contains__,
        )
        self.lifecycle = Lifecycle(self.models, policy, lambda created: time.time() - created)
        settings: dict[str, Any] = {
            "api_token": api_token,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "default_headers": default_headers,
        }
        self._client = client
        self._async_client = async_client
        if client is None and async_client is None:
            self._client = Client(**settings)
        self.scope = _scope(scope)
        """What the developer calls one conversation: a name, a function that gives one, or None."""
        self.own_scope = f"toolkit:{uuid4().hex}"
        """The scope of calls that belong to no conversation."""
        self._store = None if store is None else as_records(store)
        self._memory = MappingRecords()
        self._seen: list[Records] = []
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A copy of a tool shares the limits with the others: it is no second purse.
        return self

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """The arguments of every tool, as JSON schema, by the tool's name."""
        return self.lifecycle.schemas

    @property
    def descriptions(self) -> dict[str, str]:
        """What an agent reads of every tool, by the tool's name."""
        max_wait = self.lifecycle.policy.max_wait
        return {**{model.name: _describe(model, max_wait) for model in self.models}, **DESCRIPTIONS}

    # One tool call. Whatever happens, there is an answer.

    def call(
        self, tool: str, arguments: Mapping[str, Any], site: CallContext, store: Any = None
    ) -> ToolAnswer:
        """Carry out a tool call."""
        try:
            hands = self._hands(self.client, site, store)
            return drive(self.lifecycle.answer(tool, arguments, site), hands)
        except Exception as error:  # noqa: BLE001 - no tool call may crash an agent
            return self._excuse(tool, error, ())

    async def acall(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        site: CallContext,
        store: Any = None,
        *,
        lets_through: tuple[type[Exception], ...] = (),
    ) -> ToolAnswer:
        """As `call`, with ``await``. Cancelling it ends the prediction, unless ``on_cancel`` is ``"leave"``.

        Args:
            tool: The tool's name.
            arguments: What the agent gave.
            site: Where this happens.
            store: The conversation's own store.
            lets_through: Exceptions by which a framework interrupts a tool.
        """
        try:
            hands = self._hands(self.async_client, site, store)
            return await drive_async(self.lifecycle.answer(tool, arguments, site), hands)
        except Exception as error:  # noqa: BLE001 - no tool call may crash an agent
            return self._excuse(tool, error, lets_through)

    def _excuse(self, tool: str, error: Exception, lets_through: tuple[type[Exception], ...]) -> ToolAnswer:
        if isinstance(error, lets_through):
            raise error
        logger.error("The tool %s failed.", tool, exc_info=error)
        return agent_messages.refusal(
            f"{tool} failed inside ({type(error).__name__}). Do not repeat it blindly: list_predictions "
            "shows what was started. Tell the user."
        )

    def _hands(self, client: Any, site: CallContext, store: Any) -> Backends:
        """A call's records go to the developer's store, else the conversation's own, else the process."""
        if self._store is not None:
            return Backends(client, self._store, site)
        if store is None:
            return Backends(client, self._memory, site)
        records = as_records(store)
        with self._lock:
            # The newest few, so that a record can be resolved without naming its store.
            self._seen = [*self._seen[1 - _KEPT_STORES :], records]
        return Backends(client, MirroredRecords(records, self._memory), site)

    # The clients.

    @property
    def client(self) -> Client:
        """The client of blocking calls."""
        if self._client is None:
            self._client = Client(**self._async_client._given)  # type: ignore[union-attr]  # noqa: SLF001
        return self._client

    @property
    def async_client(self) -> AsyncClient:
        """The client of awaited calls, with the same settings."""
        if self._async_client is None:
            from rockai_transport.async_client import AsyncClient  # noqa: PLC0415 - a sync program needs none

            self._async_client = AsyncClient(**self.client._given)  # noqa: SLF001 - likewise
        return self._async_client

    def close(self) -> None:
        """Close the blocking connections."""
        if self._client is not None:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and the blocking ones."""
        if self._async_client is not None:
            await self._async_client.aclose()
        self.close()

    # For the developer, by `rockai_transport.jobs.admin`.

    def kept(self, store: Any) -> list[Records]:
        """Where all that this process has started is told of, and one more store that the developer names."""
        return [self._store or self._memory, *([] if store is None else [as_records(store)])]

    def unresolved(self, store: Any) -> list[Records]:
        """Where a record may have to be changed: the same, and the stores that were used of late."""
        with self._lock:
            seen = [MirroredRecords(records, self._memory) for records in reversed(self._seen)]
        return [*seen, *self.kept(store)]


def _describe(model: HostedModel, max_wait: float) -> str:
    """What an agent reads of a model's own tool."""
    return (
        f"{model.description} Waits up to {max_wait:g} s for the {model.output}; past that it answers with "
        "the prediction id and goes on: then call wait_for_prediction, do not call this again."
    )


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name}={value!r} must be a whole number, 1 or more.")
    return value


def _folder(value: Any) -> Path:
    """Where outputs go; looked at now, since an agent would meet it after it has paid."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigurationError(f"save_to={value!r} must be the path of a folder.")
    try:
        folder = Path(value).expanduser()
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except (OSError, RuntimeError, ValueError) as error:  # not to be searched, nobody's home, no path at all
        raise ConfigurationError(f"save_to={str(value)!r}: {error}") from error
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return folder
    why = "cannot be written to" if existing.is_dir() else "is no folder"
    raise ConfigurationError(f"save_to={str(value)!r}: {existing} {why}.")


def _ids(value: Any) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, Collection):  # a string would be a list of letters
        raise ConfigurationError(f"allowed_ids={value!r} must be a list of prediction ids, or a function.")
    return frozenset(value)


def _scope(value: Any) -> Any:
    if not (value is None or callable(value) or (isinstance(value, str) and value)):
        raise ConfigurationError(f"scope={value!r} must be a name, or a function that gives one.")
    return value


def _one_of(value: Any, name: str, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ConfigurationError(f"{name}={value!r} is none of {', '.join(map(repr, choices))}.")
    return value
