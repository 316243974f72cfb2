"""The common part of both frameworks' toolkits: their settings, their toolset, and the names from `jobs`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from rockai_transport.adapters.arguments import wrong_argument
from rockai_transport.adapters.clients import user_agent
from rockai_transport.adapters.files import media_files
from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.config import check_flag
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.admin import ToolkitAdmin
from rockai_transport.jobs.agent_messages import ToolAnswer, refusal
from rockai_transport.jobs.budget import Money
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.policy import CallContext, Duplicates, OnCancel, Progress
from rockai_transport.jobs.records import Record
from rockai_transport.jobs.running import AgentRun
from rockai_transport.jobs.schemas import argument_class, published
from rockai_transport.jobs.toolset import Toolset

__all__ = [
    "AgentRun",
    "CallContext",
    "Progress",
    "Record",
    "ToolAnswer",
    "ToolkitAdmin",
    "ToolkitSettings",
    "Toolset",
    "argument_class",
    "make_toolset",
    "media_files",
    "published",
    "refusal",
]


class ToolkitSettings(TypedDict, total=False):
    """The settings of a toolkit in either framework, documented in the docstrings of the toolkits."""

    timeout: float | None
    max_retries: int
    default_headers: Mapping[str, str] | None
    client: Client | None
    async_client: AsyncClient | None
    max_wait: float
    max_running: int
    max_starts: int
    max_cost: Money | None
    on_cancel: OnCancel
    duplicates: Duplicates
    save_to: str | Path | None
    scope: str | Callable[[Any], str] | None
    allowed_ids: Collection[str] | Callable[[str], bool]
    store: Any
    webhook_url: str | None


def make_toolset(
    owner: str,
    package: str,
    models: Iterable[HostedModel],
    settings: Mapping[str, Any],
    *own: str,
    **switches: bool,
) -> Toolset:
    """Create the common part of a toolkit's tools.

    Args:
        owner: The toolkit's class, for errors.
        package: The framework package, for the User-Agent.
        models: The models that the agent may run.
        settings: ``base_url``, and the `ToolkitSettings` that were passed.
        own: The names of other arguments that may be in the settings, such as ``api_token``.
        switches: The toolkit's own arguments that are True or False.

    Raises:
        ConfigurationError: A setting is unknown or invalid, or there is no token.
        ImportError: ``jsonschema`` is not installed.
    """
    known = [*ToolkitSettings.__annotations__, "base_url", "models", *own, *switches]
    if (unknown := next((name for name in settings if name not in known), None)) is not None:
        raise wrong_argument(owner, unknown, known)
    for name, switch in switches.items():
        check_flag(switch, name)
    for name, kind in (("client", Client), ("async_client", AsyncClient)):
        if not isinstance(given := settings.get(name), kind | None):
            raise ConfigurationError(
                f"{name} must be of the class {kind.__name__}, not {type(given).__name__}."
            )
    headers = user_agent(package, settings.get("default_headers"))
    return Toolset(models, **{**settings, "default_headers": headers})
