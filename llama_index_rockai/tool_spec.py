"""`RockAIToolSpec`: the prediction lifecycle as LlamaIndex tools."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.tool_spec.base import BaseToolSpec
from llama_index.core.workflow import Context
from workflows.handler import WorkflowHandler

from llama_index_rockai.sleeping import name_of
from llama_index_rockai.tools import RockAIFunctionTool
from rockai_transport import ConfigurationError, HostedModel
from rockai_transport.adapters import unknown_name
from rockai_transport.adapters.toolkits import ToolkitAdmin, ToolkitSettings, argument_class, make_toolset

__all__ = ["RockAIToolSpec"]


class RockAIToolSpec(ToolkitAdmin, BaseToolSpec):
    """Tools by which an agent runs hosted models: one for each model, and five for the lifecycle.

    A tool answers in short words, which an agent reads, and carries the `Prediction` as its ``raw_output``.
    Whatever goes wrong is an answer too, with ``is_error`` set: no call raises.

    Progress goes to the run's stream as `PredictionProgressEvent`. Canceling the run (``cancel_run``, a
    timeout, a task that awaits the handler, Ctrl-C) while a tool is active cancels at the service, within two
    seconds, what the run has started or waited for; while the LLM thinks that needs `cancel_on_abort`. A task
    that only listens to ``stream_events`` is not the run, which LlamaIndex lets go on without it: there
    ``await handler.cancel_run()`` in a ``finally``.

    A start is written to the ``Context``'s store before it is sent. That protects a Context that is saved and
    restored, and steps that run again after ``wait_for_event``; not a crash before the Context was saved. The
    same tool call, by the id that the model gave it and its input, gets what it had started; one of which the
    answer was lost is told as "unknown"; the same order is not sent again until you `aresolve` it. A Context
    with a typed state has no room for records: pass ``store=``, and ``scope=``, or each run is a scope.

    Args:
        models: What the agent may run, and nothing else.
        api_token: As in `Client`.
        base_url: As in `Client`.
        timeout (float | None): Seconds for a single call to the service: a start, a look, a cancel, saving
            the files. 120 by default; None: no total.
        max_retries (int): As in `Client`. A start is never sent twice.
        default_headers (Mapping[str, str] | None): As in `Client`.
        client (Client | None): A `Client` of your own, in place of the settings before; they then hold for
            async too.
        async_client (AsyncClient | None): An `AsyncClient` of your own.
        max_wait (float): Seconds that a tool takes at most, whatever the agent asks for, a second if that is
            more. The prediction goes on; a file that is not saved by then is saved at the next look.
        max_running (int): Predictions that one conversation may have under way at once.
        max_starts (int): Predictions that one conversation may start in all.
        max_cost (Decimal | float | str | None): What one conversation's predictions may cost in all, in the
            unit of the models' prices. What a start may cost is reserved before it is sent. None: no limit.
        on_cancel (str): What becomes of its predictions when a run is canceled: ``"cancel"``, or ``"leave"``
            to let them run; the log and a note on the exception then say their ids.
        duplicates (str): What becomes of the same order (model and input) in a later turn of the agent, while
            the first still runs: ``"join"`` gives it that prediction, ``"allow"`` starts another.
        save_to (str | Path | None): A folder where finished outputs are saved, by `Client.download`'s rules;
            the answer names the file. None: nothing is saved.
        scope (str | Callable | None): What one conversation is, for limits and ownership: a name, or a
            function of the ``Context`` (None outside of a run). None: the Context, else these tools.
        allowed_ids (Collection[str] | Callable): Ids of predictions that were not started here and may yet be
            looked at, waited for and canceled; or a function that tells.
        store (Any): Where starts are remembered: a mapping of strings, another Context, or the path of an
            SQLite file. None: the run's Context, else this process.
        webhook_url (str | None): An https address where a `WebhookReceiver` is. A tool that waits for
            longer than five seconds in a step then suspends its run, if there is a ``store``, and the
            service's call resumes it: see `run_until_asleep`. The address is sent with a secret for each
            start. None: the tools wait themselves.
        approval: Ask a person before each start, by an `ApprovalRequiredEvent` on the run's stream. Outside
            of a run nobody can be asked, and nothing is started.
        rich_content: Also put a content block for each file into the answer. Most LLMs refuse a video block.
        settings: The arguments from ``timeout`` to ``webhook_url``, as `ToolkitSettings` has them for type
            checkers.

    Raises:
        ConfigurationError: A setting cannot be right, or there is no token.
        ImportError: ``jsonschema`` is not installed.

    Example:
        >>> from llama_index.core.agent.workflow import FunctionAgent
        >>> toolkit = RockAIToolSpec([GENERATE_IMAGE, ANIMATE_IMAGE], save_to="out", max_starts=4)
        >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
        >>> print(await agent.run("Generate an image of a lighthouse."))
        Here is what the tools say:
        Prediction ... (generate_image) succeeded after ... s.
        Output: http...output.png
        Saved as: ...png
        >>> await toolkit.aclose()
    """

    def __init__(
        self,
        models: Iterable[HostedModel],
        api_token: str | None = None,
        base_url: str | None = None,
        *,
        approval: bool = False,
        rich_content: bool = False,
        **settings: Unpack[ToolkitSettings],
    ) -> None:
        self._toolset = make_toolset(
            type(self).__name__, "llama-index-rockai", models, api_token, base_url, settings
        )
        self._watching: set[asyncio.Task[None]] = set()
        self.spec_functions = list(self._toolset.descriptions)
        self._tools = {
            name: RockAIFunctionTool(
                self._toolset,
                ToolMetadata(text, name, argument_class(name, self._toolset.schemas[name])),
                approval=approval,
                rich_content=rich_content,
            )
            for name, text in self._toolset.descriptions.items()
        }

    def __iter__(self) -> Any:
        raise ConfigurationError("A tool spec is no list of tools: give tools=toolkit.to_tool_list().")

    __name__: str = property(__iter__)  # type: ignore[assignment]  # core asks for it in a list of tools

    def cancel_on_abort(self, handler: WorkflowHandler) -> WorkflowHandler:
        """Cancel what a run has started or waited for, if it fails or is canceled.

        A tool that is canceled does this by itself. This does it for the moments in between, while the
        agent's LLM thinks. A normal end cancels nothing.

        Args:
            handler: What ``agent.run(...)`` gives.

        Returns:
            The same handler.

        Example:
            >>> from llama_index.core.agent.workflow import FunctionAgent
            >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
            >>> answer = await toolkit.cancel_on_abort(agent.run("Generate an image of a lighthouse."))
        """
        watching = asyncio.create_task(self._cancel_on_abort(handler))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return handler

    async def _cancel_on_abort(self, handler: WorkflowHandler) -> None:
        try:
            await handler
        except BaseException as error:
            await self._toolset.aend(self._toolset.runs.find(handler.run_id))
            if isinstance(error, asyncio.CancelledError):
                raise

    async def scope_of(self, context: Context) -> str:
        """The name of the conversation that a Context is: what its records go by.

        Args:
            context: The Context of a run.

        Returns:
            What ``scope=`` names, else the Context's own name, which it keeps when it is saved and restored.

        Example:
            >>> from llama_index.core.agent.workflow import FunctionAgent
            >>> from llama_index.core.workflow import Context
            >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
            >>> await toolkit.scope_of(Context(agent))
            'context:...'
        """
        return self._toolset.scope_of(context, (await name_of(context))[0])

    def let_go_on(self, handler: WorkflowHandler) -> None:
        """Let what a run has started go on, however the run ends from now on.

        Args:
            handler: What ``agent.run(...)`` gives.

        Example:
            >>> from llama_index.core.agent.workflow import FunctionAgent
            >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
            >>> handler = agent.run("Generate an image of a lighthouse.")
            >>> toolkit.let_go_on(handler)
            >>> answer = await handler
        """
        self._toolset.runs.find(handler.run_id).take()

    def to_tool_list(
        self,
        spec_functions: Sequence[str | tuple[str, str]] | None = None,
        func_to_metadata_mapping: Mapping[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """Give the tools, for an agent or to be called by hand.

        Args:
            spec_functions: The names of those to give; None: all.
            func_to_metadata_mapping: None. What an agent reads of a tool is its `HostedModel`'s to say.

        Returns:
            One tool for each model, named after it, then the five of the lifecycle: ``start_prediction``,
            ``get_prediction``, ``wait_for_prediction``, ``cancel_prediction`` and ``list_predictions``. The
            same tools each time.

        Raises:
            ConfigurationError: There is no tool of such a name, or other metadata is given.

        Example:
            >>> draw, *others = toolkit.to_tool_list()
            >>> draw.metadata.name, len(others)
            ('generate_image', 6)
            >>> draw.call(prompt="a lighthouse").raw_output.status
            'succeeded'
        """
        if func_to_metadata_mapping:
            raise ConfigurationError(
                "func_to_metadata_mapping: a tool's name and description are its HostedModel's."
            )
        if spec_functions is None:
            return list(self._tools.values())
        # Core's form of a name may be a pair, of a function and its async twin; here both are one tool.
        names = [name if isinstance(name, str) else name[0] for name in spec_functions]
        if wrong := next((name for name in names if name not in self._tools), None):
            raise ConfigurationError(unknown_name("one of these tools", wrong, self._tools))
        return [self._tools[name] for name in names]
