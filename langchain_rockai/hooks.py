"""A callback handler that ends what an agent's run has under way, when the run is aborted."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from langchain_rockai.sleeping import interruptions
from rockai_transport.adapters.toolkits import AgentRun, Toolset

__all__ = ["CancelOnAbort", "runs_around"]


class CancelOnAbort(BaseCallbackHandler):
    """Cancels what a run has started or waited for, if the run fails or is canceled.

    Made by `RockAIToolkit.cancel_on_abort`. It tells apart the runs that it is given to. LangGraph reports a
    cancellation and Ctrl-C at a run's root, while the model thinks too (langgraph/pregel/main.py).
    """

    def __init__(self, toolset: Toolset) -> None:
        self.toolset = toolset
        self._roots: dict[UUID, UUID] = {}
        """The root of each chain and tool that is running."""
        self._runs: dict[UUID, AgentRun] = {}

    def run_of(self, run_id: UUID | None) -> AgentRun | None:
        """The run that a chain or tool is part of."""
        root = self._roots.get(run_id) if run_id else None
        return self._runs.get(root) if root else None

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """A root begins a run; what is below belongs to it."""
        if parent_run_id is None:
            self._runs[run_id] = AgentRun()
        self._roots[run_id] = self._roots.get(parent_run_id, run_id) if parent_run_id else run_id

    def on_tool_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """A tool belongs to the run that calls it."""
        if parent_run_id is not None and parent_run_id in self._roots:
            self._roots[run_id] = self._roots[parent_run_id]

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """A normal end cancels nothing."""
        self._roots.pop(run_id, None)
        self._runs.pop(run_id, None)

    def on_tool_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """A tool's end ends no run."""
        self._roots.pop(run_id, None)

    def on_tool_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Nor does its failure: the run may go on."""
        self._roots.pop(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **__: Any) -> None:
        """A root that fails or is canceled ends what its run has under way, within two seconds."""
        self._roots.pop(run_id, None)
        run = self._runs.pop(run_id, None)
        if run is not None and not isinstance(error, interruptions()):
            self.toolset.end(run)


def runs_around(config: RunnableConfig, toolset: Toolset) -> tuple[AgentRun, ...]:
    """The runs around a tool call that end by a handler of its toolset's."""
    manager = config.get("callbacks")
    handlers = getattr(manager, "handlers", None) or []
    tool_run_id = getattr(manager, "parent_run_id", None)
    return tuple(
        run
        for one in handlers
        if isinstance(one, CancelOnAbort) and one.toolset is toolset and (run := one.run_of(tool_run_id))
    )
