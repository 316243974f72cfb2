"""`RockAIToolkit`: the prediction lifecycle as LangChain tools."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from typing import Any, Unpack

from langchain_core.messages import ToolCall
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, BaseToolkit
from pydantic import PrivateAttr

from langchain_rockai.hooks import CancelOnAbort
from langchain_rockai.tools import RockAITool, thread_scope
from rockai_transport import ConfigurationError, HostedModel
from rockai_transport.adapters.toolkits import ToolkitAdmin, ToolkitSettings, Toolset, make_toolset


class RockAIToolkit(ToolkitAdmin, BaseToolkit):
    """The tools with which an agent runs hosted models: one per model, and five for the lifecycle.

    A tool returns a short text for the agent, and the `Prediction` as its ``artifact``. (After a checkpointer
    has saved it, the artifact is a dict of the same fields: ``Prediction(**artifact)``.) Errors are answers
    too: no call raises, so that nothing that may have been paid for is retried.

    Progress goes to ``on_custom_event`` and ``astream_events`` as ``rockai_progress``, and in LangGraph to
    ``stream_mode="custom"`` as ``{"type": "rockai_progress", "prediction_id": …, "model": …, "status": …,
    "progress": …, "elapsed": …}``.

    In async runs, an abort during a tool call cancels, within two seconds, the predictions that the run has
    started or waited for. For an abort while the model generates, and in a web server's streamed response,
    use `cancel_on_abort`. In a sync graph, tools run in threads that Ctrl-C cannot interrupt: such a tool
    ends after ``max_wait``, and the prediction's id remains known. Prefer async.

    Nothing is paid for twice: a start is recorded in the graph's store (``create_agent(…, store=…)``) before
    it is sent, so a resumed run finds it. To survive a crash, this needs ``durability="sync"``: by default
    LangGraph may lose the model's turn, and the next turn calls the tool anew. A start whose response was
    lost is reported as "unknown"; an equal request is not sent again until you `resolve` it.

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
        on_cancel (str): What happens to its predictions when an async run is canceled: ``"cancel"``, the
            default, or ``"leave"`` to let them continue; the log and a note on the exception then contain
            their ids.
        duplicates (str): What happens if a later turn of the agent repeats a request (model and input) before
            it has read the first one's result: ``"join"``, the default, returns this prediction; ``"allow"``
            starts another.
        save_to (str | Path | None): The folder for finished outputs, saved as by `Client.download`; the
            answer names the file. None: nothing is saved.
        scope (str | Callable | None): The conversation, for limits and ownership: a name, or a function of
            the `RunnableConfig`. None: LangGraph's thread id, else this toolkit.
        allowed_ids (Collection[str] | Callable): Ids of predictions that were started elsewhere, and that the
            agent may get, wait for and cancel; or a function that decides for an id. Default: none.
        store (Any): Where starts are recorded: a mapping of strings, a LangGraph ``BaseStore``, or the path
            of an SQLite file. None: the graph's own store, else this toolkit; others do not know them.
        webhook_url (str | None): The https address of a `WebhookReceiver`, or http on this machine. A tool
            that has waited for five seconds then interrupts the graph, if it has a checkpointer, a thread and
            a store; the webhook resumes it. The address is sent with a secret for each start; see
            docs/how-to/sleeping-agents.md. None: the tools wait themselves.
        rich_content: Also add a content block for each file to the answer. Not every chat model accepts one.
        settings: The arguments from ``timeout`` to ``webhook_url``; `ToolkitSettings` lists them for type
            checkers.

    Raises:
        ConfigurationError: A setting is invalid, or there is no token.
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
        given = {"api_token": api_token, "base_url": base_url, **settings}
        switches = {"rich_content": rich_content}
        owner = type(self).__name__
        self._toolset = make_toolset(owner, "langchain-rockai", models, given, "api_token", **switches)
        names = self._toolset.descriptions
        self._tools = [RockAITool(self._toolset, name, rich_content=rich_content) for name in names]

    def __iter__(self) -> Any:
        # Pydantic would iterate over the fields. There are none: an agent would run without any tool.
        raise ConfigurationError("A toolkit is no list of tools: give tools=toolkit.get_tools().")

    def cancel_on_abort(self) -> CancelOnAbort:
        """A callback handler that cancels the predictions of a run, started or waited for, if it is aborted.

        A canceled tool cancels them itself. The handler covers the time between tool calls, while the agent's
        model generates; in sync graphs too. A normal end cancels nothing.

        Returns:
            The handler; pass it in ``callbacks`` to any number of runs.

        Example:
            >>> from langchain.agents import create_agent
            >>> agent = create_agent(ChatRockAI(model="meta/meta-llama-3-70b-instruct"), toolkit.get_tools())
            >>> task = {"messages": [("user", "Generate an image with the prompt 'a lighthouse'.")]}
            >>> answer = await agent.ainvoke(task, {"callbacks": [toolkit.cancel_on_abort()]})
        """
        return CancelOnAbort(self._toolset)

    def approval_question(self, tool_call: ToolCall, state: Any, runtime: Any) -> str:  # noqa: ARG002
        """The ``description`` of a tool for ``HumanInTheLoopMiddleware``: cost, remaining limits, and input.

        Args:
            tool_call: The call that a person must approve.
            state: The agent's state; not used.
            runtime: LangGraph's runtime. If its store has only async methods, it is not read here; only the
                starts of this process then count.

        Returns:
            The question.

        Example:
            >>> from langchain.agents.middleware import HumanInTheLoopMiddleware
            >>> ask = {"allowed_decisions": ["approve", "reject"], "description": toolkit.approval_question}
            >>> middleware = [HumanInTheLoopMiddleware({"generate_image": ask})]
        """
        config = ensure_config()
        scope = self._toolset.scope_of(config, thread_scope(config))
        store = getattr(runtime, "store", None)
        return self._toolset.question(tool_call["name"], tool_call["args"], scope, store)

    def get_tools(self) -> list[BaseTool]:
        """Return one tool per model, named after it, and the five lifecycle tools.

        Returns:
            The tools, for `create_agent`, for `bind_tools`, or to call yourself.

        Example:
            >>> draw, animate, *lifecycle = toolkit.get_tools()
            >>> print(draw.invoke({"prompt": "a lighthouse"}))
            Prediction ... (generate_image) succeeded after ... s.
            Output: http...png
        """
        return list(self._tools)


_constructor = signature(RockAIToolkit.__init__)
RockAIToolkit.__signature__ = _constructor.replace(  # pydantic's, which `help` shows, has no settings
    parameters=list(_constructor.parameters.values())[1:]
)
