"""Function calling for an LLM whose prompt describes the tools, without core's mistakes for such LLMs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool, FunctionTool, ToolOutput
from llama_index.core.tools.calling import acall_tool_with_selection, call_tool_with_selection

from llama_index_rockai.structured import StructuredOutputLLM
from llama_index_rockai.tool_calls import function_schemas, selections_of
from rockai_transport.adapters import unknown_name


class PromptedFunctionCallingLLM(StructuredOutputLLM):
    """A `FunctionCallingLLM` whose ``chat`` takes ``tools``, ``tool_choice`` and ``parallel_tool_calls``.

    ``is_function_calling_model=False`` only changes which agent core chooses: tools and structured output
    work in either case.
    """

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002 - core's signature
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Prepare the arguments of ``chat``; the caller's history is copied, never changed.

        An explicit ``tool_choice`` (``"auto"``, ``"required"``, ``"none"``, a tool's name) takes precedence
        over ``tool_required``.
        """
        asked = [] if user_msg is None else [ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg]
        default = "required" if tool_required and tools else None
        return {
            "messages": [*(chat_history or []), *asked],
            "tools": function_schemas(tools),
            "tool_choice": default if tool_choice is None else tool_choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any
    ) -> list[ToolSelection]:
        """Read the calls of a response; while it is still streaming, the arguments may be incomplete.

        Args:
            response: A response of this LLM, or of any other.
            error_on_no_tool_call: Whether a missing call is an error.

        Returns:
            The calls, in order.

        Raises:
            ValueError: There is no call, and this is an error.

        Example:
            >>> from llama_index.core.tools import FunctionTool
            >>> def add(a: int, b: int) -> int:
            ...     return a + b
            >>> response = llm.chat_with_tools([FunctionTool.from_defaults(add)], "Add 19 and 23.")
            >>> [(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(response)]
            [('add', {'a': 19, 'b': 23})]
        """
        calls = selections_of(response.message)
        if error_on_no_tool_call and not calls:
            raise ValueError(f"Expected at least one tool call, but got: {response.message.content!r:.200}.")
        return calls

    def predict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        error_on_no_tool_call: bool = True,
        error_on_tool_error: bool = False,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model choose a tool, and call it.

        Overridden because core (function_calling.py:202) passes an LLM that is not a function calling model
        to `LLM.predict_and_call`, which cannot work: it creates a `ReActAgent` with ``formatter=None``
        (llm.py:814).

        Args:
            tools: The tools.
            user_msg: The user's message.
            chat_history: The conversation before it.
            verbose: Whether to print each call and its result.
            allow_parallel_tool_calls: Whether the model may call several at once.
            error_on_no_tool_call: Whether an answer without a call is an error.
            error_on_tool_error: Whether a tool's failure is raised; else it is in the response.
            kwargs: ``tool_required``, ``tool_choice``, and the arguments of ``chat``.

        Returns:
            The tools' results, or the model's text if it called none.

        Raises:
            ValueError: There was no call, or a tool failed, and this is an error.
            RockAIError: The model could not be run, or did not make a required call.

        Example:
            >>> from llama_index.core.tools import FunctionTool
            >>> def add(a: int, b: int) -> int:
            ...     return a + b
            >>> llm.predict_and_call([FunctionTool.from_defaults(add)], "Add 19 and 23.").response
            '42'
        """
        response = self.chat_with_tools(
            tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, **kwargs
        )
        calls = self.get_tool_calls_from_response(response, error_on_no_tool_call)
        tools = _with_missing(tools, calls)
        outputs = [call_tool_with_selection(call, tools, verbose) for call in calls]
        return _results(response, outputs, raise_errors=error_on_tool_error)

    async def apredict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        error_on_no_tool_call: bool = True,
        error_on_tool_error: bool = False,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """As `predict_and_call`, with ``await``; several tools run at once.

        Example:
            >>> from llama_index.core.tools import FunctionTool
            >>> async def double(number: int) -> int:
            ...     return 2 * number
            >>> tools = [FunctionTool.from_defaults(async_fn=double)]
            >>> print(await llm.apredict_and_call(tools, "Double the number 21."))
            42
        """
        response = await self.achat_with_tools(
            tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, **kwargs
        )
        calls = self.get_tool_calls_from_response(response, error_on_no_tool_call)
        tools = _with_missing(tools, calls)
        outputs = await asyncio.gather(*(acall_tool_with_selection(call, tools, verbose) for call in calls))
        return _results(response, outputs, raise_errors=error_on_tool_error)


def _with_missing(tools: Sequence[BaseTool], calls: Sequence[ToolSelection]) -> list[BaseTool]:
    """Return the tools, plus one with an error message for each unknown tool called (core: a KeyError)."""
    known = {tool.metadata.get_name() for tool in tools}
    return [*tools, *(_refusing(call.tool_name, known) for call in calls if call.tool_name not in known)]


def _refusing(name: str, known: set[str]) -> BaseTool:
    def refuse(**_: Any) -> None:
        raise ValueError(unknown_name("a tool", name, known))

    return FunctionTool.from_defaults(refuse, name=name)


def _results(
    response: ChatResponse, outputs: Sequence[ToolOutput], *, raise_errors: bool
) -> AgentChatResponse:
    text = "\n\n".join(output.content for output in outputs)
    if raise_errors and any(output.is_error for output in outputs):
        raise ValueError(text)
    answer = text if outputs else response.message.content or ""
    return AgentChatResponse(response=answer, sources=list(outputs))
