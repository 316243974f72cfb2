"""`RockAIToolkit`: the prediction lifecycle as LangChain tools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

from langchain_core.messages import ToolCall
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, BaseToolkit
from pydantic import PrivateAttr

from langchain_rockai.hooks import CancelOnAbort
from langchain_rockai.tools import RockAITool, thread_scope
from rockai_transport import ConfigurationError, HostedModel
from rockai_transport.adapters.toolkits import ToolkitAdmin, ToolkitSettings, Toolset, make_toolset

__all__ = ["RockAIToolkit"]


class RockAIToolkit(ToolkitAdmin, BaseToolkit):
    """Tools by which an agent runs hosted models: one for each model, and five for the lifecycle.

    A tool answers in short words, which an agent reads, and carries the `Prediction` as its ``artifact``
    (after a checkpointer has saved it: a dict of the same fields, ``Prediction(**artifact)``). Whatever goes
    wrong is an answer too: no call raises, so that nothing is tried again that may have been paid for.

    Progress goes to ``on_custom_event`` and ``astream_events`` as ``rockai_progress``, and in LangGraph to
    ``stream_mode="custom"`` as ``{"type": "rockai_progress", "prediction_id": …, "model": …, "status": …,
    "progress": …, "elapsed": …}``.

    In async runs, an abort while a tool is active cancels at the service, within two seconds, what the run
    has started or waited for; while the model thinks that needs `cancel_on_abort`. In a sync graph tools run
    in threads that Ctrl-C cannot reach: there a tool ends at ``max_wait``, and the prediction's id remains.
    Prefer async.

    Nothing is paid for twice: a start is written to the graph's store (``create_agent(…, store=…)``) before
    it is sent, so a run that is resumed finds it. In a crash this holds only with ``durability="sync"``: by
    default LangGraph may lose the model's turn, and the next one asks anew. A start of which the answer was
    lost is told as "unknown"; the same order is not sent again until you `resolve` it.

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
        on_cancel (str): What becomes of its predictions when an async run is canceled: ``"cancel"``, or
            ``"leave"`` to let them run; the log and a note on the exception then say their ids.
        duplicates (str): What becomes of the same order (model and input) in a later turn of the agent, while
            the first still runs: ``"join"`` gives it that prediction, ``"allow"`` starts another.
        save_to (str | Path | None): A folder where finished outputs are saved, by `Client.download`'s rules;
            the answer names the file. None: nothing is saved.
        scope (str | Callable | None): What one conversation is, for limits and ownership: a name, or a
            function of the `RunnableConfig`. None: LangGraph's thread id, else this toolkit.
        allowed_ids (Collection[str] | Callable): Ids of predictions that were not started here and may yet be
            looked at, waited for and canceled; or a function that tells.
        store (Any): Where starts are remembered: a mapping of strings, a LangGraph ``BaseStore``, or the path
            of an SQLite file. None: the graph's own store, else this process.
        webhook_url (str | None): An https address where a `WebhookReceiver` is. A tool that waits for
            longer than five seconds then interrupts the graph, if that has a checkpointer, a thread and a
            store, and the service's call resumes it. The address is sent with a secret for each start.
            docs/how-to/sleeping-agents.md shows it. None: the tools wait themselves.
        rich_content: Also put a content block for each file into the answer. Not every chat model takes one.
        settings: The arguments from ``timeout`` to ``webhook_url``, as `ToolkitSettings` has them for type
            checkers.

    Raises:
        ConfigurationError: A setting cannot be right, or there is no token.
        ImportError: ``jsonschema`` is not installed.

    Example:
        >>> from langchain.agents import create_agent
        >>> toolkit = RockAIToolkit([GENERATE_IMAGE, ANIMATE_IMAGE], save_to="out")
        >>> agent = create_agent(ChatRockAI(model="meta/meta-llama-3-70b-instruct"), toolkit.get_tools())
        >>> task = "Generate an image with the prompt 'a porcelain statue'."
        >>> answer = await agent.ainvoke({"messages": [("user", task)]})
        >>> print(toolkit.receipt())
        generate_image       succeeded   ... s  out/...png
        1 started, ... s of prediction
        >>> await toolkit.aclose()
    """

    _toolset: Toolset = PrivateAttr()
    _tools: list[BaseTool] = PrivateAttr()

    def __init__(
        self,
        models: Iterable[HostedModel],
        api_token: str | None = None,
        base_url: str | None = None,
        *,
        rich_content: bool = False,
        **settings: Unpack[ToolkitSettings],
    ) -> None:
        super().__init__()
        self._toolset = make_toolset(
            type(self).__name__, "langchain-rockai", models, api_token, base_url, settings
        )
        self._tools = [
            RockAITool(
                self._toolset,
                name=name,
                description=text,
                args_schema=self._toolset.schemas[name],
                rich_content=rich_content,
            )
            for name, text in self._toolset.descriptions.items()
        ]

    def __iter__(self) -> Any:
        # Pydantic would iterate over fields, of which there are none: an agent would run without any tool.
        raise ConfigurationError("A toolkit is no list of tools: give tools=toolkit.get_tools().")

    def cancel_on_abort(self) -> CancelOnAbort:
        """A callback handler that cancels what a run has started or waited for, if the run is aborted.

        A tool that is canceled does this by itself. The handler does it for the moments in between, while the
        agent's model thinks; in sync graphs too. A normal end cancels nothing.

        Returns:
            The handler, for the ``callbacks`` of any number of runs.

        Example:
            >>> from langchain.agents import create_agent
            >>> agent = create_agent(ChatRockAI(model="meta/meta-llama-3-70b-instruct"), toolkit.get_tools())
            >>> task = {"messages": [("user", "Generate an image with the prompt 'a lighthouse'.")]}
            >>> answer = await agent.ainvoke(task, {"callbacks": [toolkit.cancel_on_abort()]})
        """
        return CancelOnAbort(self._toolset)

    def approval_question(self, tool_call: ToolCall, state: Any, runtime: Any) -> str:  # noqa: ARG002
        """The ``description`` of a tool for ``HumanInTheLoopMiddleware``: cost, what is left, and the input.

        Args:
            tool_call: The call that a person is asked about.
            state: The agent's state; not looked at.
            runtime: LangGraph's runtime. A store of its that can only be awaited is not read here: what this
                process has started is counted then.

        Returns:
            The question.

        Example:
            >>> from langchain.agents.middleware import HumanInTheLoopMiddleware
            >>> ask = {"allowed_decisions": ["approve", "reject"], "description": toolkit.approval_question}
            >>> middleware = [HumanInTheLoopMiddleware({"generate_image": ask})]
        """
        config = ensure_config()
        scope = self._toolset.scope_of(config, thread_scope(config))
        return self._toolset.question(
            tool_call["name"], tool_call["args"], scope, getattr(runtime, "store", None)
        )

    def get_tools(self) -> list[BaseTool]:
        """One tool for each model, named after it, and the five of the lifecycle.

        Returns:
            The tools, for `create_agent`, `bind_tools`, or calls of your own.

        Example:
            >>> draw, animate, *lifecycle = toolkit.get_tools()
            >>> print(draw.invoke({"prompt": "a lighthouse"}))
            Prediction ... (generate_image) succeeded after ... s.
            Output: http...png
        """
        return list(self._tools)
