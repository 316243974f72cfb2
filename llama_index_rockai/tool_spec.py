"""`RockAIToolSpec`: the prediction lifecycle as LlamaIndex tools."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.tool_spec.base import BaseToolSpec
from llama_index.core.workflow import Context
from workflows.handler import WorkflowHandler

from llama_index_rockai.sleeping import name_of, run_id_of
from llama_index_rockai.tools import RockAIFunctionTool
from rockai_transport import ConfigurationError, HostedModel
from rockai_transport.adapters import unknown_name
from rockai_transport.adapters.toolkits import ToolkitAdmin, ToolkitSettings, make_toolset


class RockAIToolSpec(ToolkitAdmin, BaseToolSpec):
    """The tools with which an agent runs hosted models: one per model, and five for the lifecycle.

    A tool returns a short text for the agent, and the `Prediction` as its ``raw_output``. Errors are answers
    too, with ``is_error`` set: no call raises.

    Progress goes to the run's stream as `PredictionProgressEvent`. If the run is canceled during a tool call
    (``cancel_run``, a timeout, the task that awaits the handler, Ctrl-C), the predictions that it has started
    or waited for are canceled within two seconds. For an abort while the LLM generates, use
    `cancel_on_abort`. Canceling a task that only reads ``stream_events`` does not cancel the run: LlamaIndex
    continues it. There, ``await handler.cancel_run()`` in a ``finally``.

    A start is recorded in the ``Context``'s store before it is sent. This protects a Context that is saved
    and restored, and steps that run again after ``wait_for_event``, but not against a crash before the
    Context is saved. The same tool call (the model's id for it, and its input) gets the prediction that it
    started before. A start whose response was lost is reported as "unknown"; an equal request is not sent
    again until you `aresolve` it. A Context with a typed state cannot hold records: pass ``store=`` and
    ``scope=``, or each run is a scope. Blocking calls, such as those of a `CodeActAgent`'s code, do not use
    the Context: without ``scope=``, they all share one scope.

    Args:
        models: The only models that the agent may run.
        api_token: As in `Client`.
        base_url: As in `Client`.
        timeout (float | None): Seconds for a single call to the service: to start, get or cancel, or to save
            the files. Default: 120. None: no total.
        max_retries (int): As in `Client`, default 2. A start is never sent twice.
        default_headers (Mapping[str, str] | None): As in `Client`.
        client (Client | None): Your own `Client`, instead of the settings above; its settings then apply to
            async calls too.
        async_client (AsyncClient | None): Your own `AsyncClient`.
        max_wait (float): Maximum seconds that a tool call takes, whatever the agent asks for (but at least
            one). Default: 60. The prediction continues; a file that is not saved by then is saved at the next
            poll.
        max_running (int): Maximum number of running predictions per conversation. Default: 2.
        max_starts (int): Maximum number of predictions that a conversation may start. Default: 10.
        max_cost (Decimal | float | str | None): Maximum cost of a conversation's predictions, in the
            unit of the models' prices. The cost of a start is reserved before it is sent. None: no limit.
        on_cancel (str): What happens to its predictions when a run is canceled: ``"cancel"``, the default, or
            ``"leave"`` to let them continue; the log and a note on the exception then contain their ids.
        duplicates (str): What happens if a later turn of the agent repeats a request (model and input) before
            it has read the first one's result: ``"join"``, the default, returns this prediction; ``"allow"``
            starts another.
        save_to (str | Path | None): The folder for finished outputs, saved as by `Client.download`; the
            answer names the file. None: nothing is saved.
        scope (str | Callable | None): The conversation, for limits and ownership: a name, or a function of
            the ``Context`` (None outside a run). None: the Context, else these tools.
        allowed_ids (Collection[str] | Callable): Ids of predictions that were started elsewhere, and that the
            agent may get, wait for and cancel; or a function that decides for an id. Default: none.
        store (Any): Where starts are recorded: a mapping of strings, another Context, or the path of an
            SQLite file. None: the run's Context, else these tools; others do not know them.
        webhook_url (str | None): The https address of a `WebhookReceiver`, or http on this machine. A tool
            that has waited for five seconds in a step then suspends its run, if there is a ``store``; the
            webhook resumes it: see `run_until_asleep`. The address is sent with a secret for each start.
            None: the tools wait themselves.
        approval: Ask a person before each start, with an `ApprovalRequiredEvent` on the run's stream. Outside
            a run nobody can be asked, so nothing is started.
        rich_content: Also add a content block for each file to the answer. Most LLMs refuse a video block.
        settings: The arguments from ``timeout`` to ``webhook_url``; `ToolkitSettings` lists them for type
            checkers.

    Raises:
        ConfigurationError: A setting is invalid, or there is no token.
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
        given = {"api_token": api_token, "base_url": base_url, **settings}
        switches = {"rich_content": rich_content, "approval": approval}
        owner = type(self).__name__
        self._toolset = make_toolset(owner, "llama-index-rockai", models, given, "api_token", **switches)
        self._watching: set[asyncio.Task[None]] = set()
        self.spec_functions = list(self._toolset.descriptions)
        names = self._toolset.descriptions
        self._tools = {name: RockAIFunctionTool(self._toolset, name, **switches) for name in names}

    def __iter__(self) -> Any:
        raise ConfigurationError("A tool spec is no list of tools: give tools=toolkit.to_tool_list().")

    __name__: str = property(__iter__)  # type: ignore[assignment]  # core asks for it in a list of tools

    def cancel_on_abort(self, handler: WorkflowHandler) -> WorkflowHandler:
        """Cancel the predictions that a run has started or waited for, if it fails or is canceled.

        A canceled tool cancels them itself. This covers the time between tool calls, while the agent's LLM
        generates. A normal end cancels nothing.

        Args:
            handler: The return value of ``agent.run(...)``.

        Returns:
            The same handler.

        Raises:
            ConfigurationError: It is not a handler.

        Example:
            >>> from llama_index.core.agent.workflow import FunctionAgent
            >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
            >>> answer = await toolkit.cancel_on_abort(agent.run("Generate an image of a lighthouse."))
        """
        watching = asyncio.create_task(self._cancel_on_abort(handler, run_id_of(handler)))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return handler

    async def _cancel_on_abort(self, handler: WorkflowHandler, run_id: str) -> None:
        try:
            await handler
        except BaseException as error:
            await handler.cancel_run()  # it goes on if its awaiting task was canceled before it began
            await self._toolset.aend(self._toolset.runs.find(run_id))
            if isinstance(error, asyncio.CancelledError):
                raise

    async def scope_of(self, context: Context) -> str:
        """Return the name of a Context's conversation, the ``scope`` of its records.

        Args:
            context: The Context of a run.

        Returns:
            The name from ``scope=``, else the Context's own name, which stays the same when it is restored.

        Example:
            >>> from llama_index.core.agent.workflow import FunctionAgent
            >>> from llama_index.core.workflow import Context
            >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
            >>> await toolkit.scope_of(Context(agent))
            'context:...'
        """
        return self._toolset.scope_of(context, (await name_of(context))[0])

    def let_go_on(self, handler: WorkflowHandler) -> None:
        """Let a run's predictions continue, however the run ends from now on.

        Args:
            handler: The return value of ``agent.run(...)``.

        Raises:
            ConfigurationError: It is not a handler.

        Example:
            >>> from llama_index.core.agent.workflow import FunctionAgent
            >>> agent = FunctionAgent(tools=toolkit.to_tool_list(), llm=llm)
            >>> handler = agent.run("Generate an image of a lighthouse.")
            >>> toolkit.let_go_on(handler)
            >>> answer = await handler
        """
        self._toolset.runs.find(run_id_of(handler)).take()

    def to_tool_list(
        self,
        spec_functions: Sequence[str | tuple[str, str]] | None = None,
        func_to_metadata_mapping: Mapping[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """Return the tools, for an agent or to call yourself.

        Args:
            spec_functions: The names of the tools to return. None: all.
            func_to_metadata_mapping: None. A tool's description comes from its `HostedModel`.

        Returns:
            One tool per model, named after it, then the five lifecycle tools: ``start_prediction``,
            ``get_prediction``, ``wait_for_prediction``, ``cancel_prediction`` and ``list_predictions``. Each
            call returns the same tools.

        Raises:
            ConfigurationError: There is no tool with such a name, or other metadata is passed.

        Example:
            >>> draw, *others = toolkit.to_tool_list()
            >>> draw.metadata.name, len(others)
            ('generate_image', 6)
            >>> draw.call(prompt="a lighthouse").raw_output.status
            'succeeded'
        """
        if func_to_metadata_mapping:
            raise ConfigurationError(
                "func_to_metadata_mapping: set a tool's name and description at its HostedModel."
            )
        if spec_functions is None:
            return list(self._tools.values())
        # Core also accepts a pair, of a function and its async variant; here one tool is both.
        given = [spec_functions] if isinstance(spec_functions, str) else spec_functions
        names = [name if isinstance(name, str) else name[0] for name in given]
        if wrong := next((name for name in names if name not in self._tools), None):
            raise ConfigurationError(unknown_name("one of these tools", wrong, self._tools))
        return [self._tools[name] for name in names]
