"""A callback handler that cancels the predictions of an agent's run when the run is aborted."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from langchain_rockai.sleeping import interruptions
from rockai_transport.adapters.toolkits import AgentRun, Toolset


class CancelOnAbort(BaseCallbackHandler):
    """Cancels the predictions that a run has started or waited for, if the run fails or is canceled.

    Made by `RockAIToolkit.cancel_on_abort`. It distinguishes the runs that it is passed to. LangGraph reports
    a cancellation and Ctrl-C at a run's root, also while the model generates (langgraph/pregel/main.py).
    """

    def __init__(self, toolset: Toolset) -> None:
        self.toolset = toolset
        self._runs: dict[UUID, AgentRun] = {}
        """For each running chain and tool, the run of its root."""

    def run_of(self, run_id: UUID | None) -> AgentRun | None:
        """Return the run that a chain or tool belongs to."""
        return self._runs.get(run_id) if run_id else None

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Start a run for a root; chains and tools below it belong to it."""
        self._runs[run_id] = self.run_of(parent_run_id) or AgentRun()

    def on_chain_end(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Cancel nothing at a normal end, nor after a tool's failure, because the run may continue."""
        run = self._runs.pop(run_id, None)
        if parent_run_id is None:  # core does not report the end of a canceled tool
            for below in [one for one, its_run in list(self._runs.items()) if its_run is run]:
                self._runs.pop(below, None)

    on_tool_start = on_chain_start
    on_tool_end = on_tool_error = on_chain_end

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        """If a root fails or is canceled, cancel its run's predictions, within two seconds."""
        run = self.run_of(run_id)
        self.on_chain_end(run_id=run_id, parent_run_id=parent_run_id)
        if run is not None and parent_run_id is None and not isinstance(error, interruptions()):
            self.toolset.end(run)


def runs_around(config: RunnableConfig, toolset: Toolset) -> tuple[AgentRun, ...]:
    """Return the runs around a tool call that a handler of this toolset ends."""
    manager: Any = config.get("callbacks")
    runs: tuple[AgentRun, ...] = ()
    for one in getattr(manager, "handlers", None) or ():
        is_ours = isinstance(one, CancelOnAbort) and one.toolset is toolset
        if is_ours and (run := one.run_of(manager.parent_run_id)):
            runs += (run,)
    return runs
