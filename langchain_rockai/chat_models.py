"""`ChatRockAI`: any text model on RockAI as a LangChain chat model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import model_validator

from langchain_rockai.base import RockAIModel
from langchain_rockai.errors import translated
from langchain_rockai.messages import to_conversation
from langchain_rockai.profiles import profile_of
from langchain_rockai.replies import PROVIDER, ChatAnswer
from langchain_rockai.runs import AsyncChunks, Chunks, arun, run
from langchain_rockai.structured import StructuredOutput, structured_chain
from rockai_transport import ConfigurationError, __version__
from rockai_transport.prompting.request.build import ChatCall
from rockai_transport.prompting.request.templates import ChatTemplate
from rockai_transport.prompting.request.tool_choice import ToolSetup, ToolSpec, set_up_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams, ModelProfile
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool
    from pydantic import BaseModel

__all__ = ["ChatRockAI"]


class ChatRockAI(RockAIModel, BaseChatModel):
    """Any text model on RockAI as a chat model, with tools and structured output.

    The models themselves take a prompt and give text. Their chat templates, tool calls, stop sequences and
    reasoning are handled here, by the model's `Dialect`: chosen from its name, or given as ``dialect=``.

    Setup:
        ``pip install "rockai-integrations[langchain]"``, and a token in ``ROCKAI_API_TOKEN``
        (https://www.rockai.online/setting/token), or the local sandbox: ``python -m rockai_sandbox``.

    Instantiate:
        .. code-block:: python

            from langchain_rockai import ChatRockAI

            llm = ChatRockAI(model="meta/meta-llama-3-70b-instruct", temperature=0.7, max_tokens=256)

    Invoke:
        .. code-block:: python

            messages = [("system", "You are a poet."), ("human", "Write a poem about the sea.")]
            llm.invoke(messages).text

    Stream:
        Leaving early closes the connection at once, and cancels the run where its id is known.

        .. code-block:: python

            for chunk in llm.stream(messages):
                print(chunk.text, end="")

    Async:
        .. code-block:: python

            await llm.ainvoke(messages)

    Tool calling:
        The tools are described in the prompt, and calls read from the reply. Text streams on while tools are
        bound; ``tool_choice`` forces a call: a reply without one is asked for once more.

        .. code-block:: python

            from langchain_core.tools import tool

            @tool
            def get_weather(city: str) -> str:
                "Get the weather in a city."
                return f"It is sunny in {city}."

            llm.bind_tools([get_weather], tool_choice="any").invoke("How is the weather in Paris?").tool_calls

    Structured output:
        .. code-block:: python

            from pydantic import BaseModel, Field

            class Joke(BaseModel):
                "A joke to tell."
                setup: str = Field(description="the question")
                punchline: str = Field(description="the answer")

            llm.with_structured_output(Joke).invoke("Tell me a joke about cats.")

    What would be sent:
        .. code-block:: python

            llm.preview(messages, tools=[get_weather])

    Response metadata:
        ``model_name``, ``model_provider``, and the run's ``id``, ``status`` and ``metrics`` where the service
        tells them. ``usage_metadata`` is set where it reports token counts; it is not known to, and none are
        made up. `get_num_tokens` is an estimate.

        .. code-block:: python

            llm.invoke(messages).response_metadata

    Errors:
        Each is the transport's (`rockai_transport.RockAIError`) and core's (`ModelError`). Those in
        `RETRYABLE` are transient, and nothing was started: another try cannot pay twice.

        .. code-block:: python

            from langchain_rockai import RETRYABLE

            llm.with_retry(retry_if_exception_type=RETRYABLE).invoke(messages)
    """

    chat_template: str | ChatTemplate | None = None
    """The model's own chat template, a Jinja source; needs the extra ``templates``."""

    _own_call_settings: ClassVar[frozenset[str]] = frozenset(
        {"tools", "tool_choice", "parallel_tool_calls", "structured_output"}
    )

    @model_validator(mode="after")
    def _set_rockai_version(self) -> Self:
        self._add_version("langchain-rockai", __version__)
        return self

    @property
    def _llm_type(self) -> str:
        return "rockai-chat"

    def _resolve_model_profile(self) -> ModelProfile:
        return profile_of(self._model_settings(None, {}).resolved())

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": PROVIDER}

    def _chat_template(self) -> str | ChatTemplate | None:
        return self.chat_template

    def preview(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's own word
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Give the exact body that `invoke` would send, and send nothing.

        Args:
            input: As for `invoke`.
            stop: As for `invoke`.
            kwargs: As for `invoke`, and what `bind` and `bind_tools` bind: ``tools``, ``tool_choice``.

        Returns:
            The JSON body.

        Raises:
            ConfigurationError: The model cannot be sent this.

        Example:
            >>> llm.preview("Say: hello", max_tokens=50)
            {'model': 'meta/meta-llama-3-70b-instruct', 'input': {'prompt': 'Say: hello', 'max_tokens': 50}}
        """
        with translated():
            return self._body(self._call(self._convert_input(input).to_messages(), stop, kwargs).request())

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Give the model tools that it may, or must, call.

        Args:
            tools: Functions, tools, pydantic classes, or OpenAI's tool schemas.
            tool_choice: None or ``"auto"``: as the model likes; ``"any"`` or ``"required"``: some tool;
                ``"none"``: no tool; a tool's name, or OpenAI's form of it: that tool; True: the only tool.
            parallel_tool_calls: Whether one reply may hold several calls; it may by default.
            kwargs: Bound as they are.

        Returns:
            The model with its tools.

        Raises:
            ConfigurationError: ``tool_choice`` fits none of the tools.

        Example:
            >>> def get_weather(city: str) -> str:
            ...     "Get the weather in a city."
            ...     return f"It is sunny in {city}."
            >>> [call] = llm.bind_tools([get_weather]).invoke("How is the weather in Paris?").tool_calls
            >>> call["name"], call["args"]
            ('get_weather', {'city': 'Paris'})
        """
        options: dict[str, Any] = {"tools": [convert_to_openai_tool(tool) for tool in tools]}
        if tool_choice is not None:
            options["tool_choice"] = tool_choice
        if parallel_tool_calls is not None:
            options["parallel_tool_calls"] = parallel_tool_calls
        with translated():
            # Two tools of one name are refused by the call only: langchain-tests binds a class and its
            # schema (langchain_tests/unit_tests/chat_models.py, `test_bind_tool_pydantic`).
            by_name = {tool.name: tool for tool in _tool_specs(options)}
            set_up_tools(tuple(by_name.values()), tool_choice)
        return self.bind(**options, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,  # noqa: ARG002 - every answer is checked against the schema anyway
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Let the model answer in the form of a schema.

        An answer that is no JSON, or does not fit the schema, is shown to the model with its error once, a
        second paid run; if the next one is wrong too, that is the error. Until it is accepted, nothing of an
        answer is streamed.

        Args:
            schema: A pydantic class, a TypedDict class, or a JSON or OpenAI schema; ``json_mode`` needs none.
            method: ``"function_calling"``: the schema is a tool that must be called; ``"json_schema"``: the
                prompt shows it; ``"json_mode"``: the prompt asks for JSON, of the form that your words say.
            include_raw: Return ``raw``, ``parsed`` and ``parsing_error`` instead of raising.
            strict: Accepted for compatibility: every answer is checked.
            kwargs: Bound to the model.

        Returns:
            What gives an instance of the pydantic class, else a dict.

        Raises:
            ConfigurationError: There is no such method, or it needs a schema.

        Example:
            >>> from pydantic import BaseModel, Field
            >>> class Order(BaseModel):
            ...     "An order in a restaurant."
            ...     dish: str = Field(description="what is ordered")
            ...     quantity: int = Field(description="how many")
            >>> llm.with_structured_output(Order).invoke("An order for 3 'steamed hams'.")
            Order(dish='steamed hams', quantity=3)
        """
        with translated():
            output = StructuredOutput.of(schema, method)
        options = {**output.call_options(schema), **kwargs}
        if schema is not None and output.method.forces_tool:
            return structured_chain(self.bind_tools([schema], **options), output, include_raw=include_raw)
        return structured_chain(self.bind(**options), output, include_raw=include_raw)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - core fires for what it streams
        **kwargs: Any,
    ) -> ChatResult:
        with self._translated(kwargs):
            answer = self._begin(messages, stop, kwargs)
            run(self._sync_client(), answer, kwargs.get("timeout"))
            return answer.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - as in `_generate`
        **kwargs: Any,
    ) -> ChatResult:
        with self._translated(kwargs):
            answer = self._begin(messages, stop, kwargs)
            await arun(self._async_client(), answer, kwargs.get("timeout"))
            return answer.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with self._translated(kwargs) as dialect:
            answer = self._begin(messages, stop, kwargs)
            return Chunks(self._sync_client(), answer, dialect, kwargs.get("timeout"), run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with self._translated(kwargs) as dialect:
            answer = self._begin(messages, stop, kwargs)
            return AsyncChunks(self._async_client(), answer, dialect, kwargs.get("timeout"), run_manager)

    def _begin(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> ChatAnswer:
        output: StructuredOutput | None = kwargs.get("structured_output")
        return ChatAnswer(self._call(messages, stop, kwargs), output.complaint if output else None)

    def _call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> ChatCall:
        output: StructuredOutput | None = kwargs.get("structured_output")
        settings = self._model_settings(stop, kwargs)
        return ChatCall(
            settings,
            to_conversation(messages, model=settings.model),
            tools=_tool_setup(kwargs),
            response_format=output.response_format if output else None,
        )


def _tool_specs(options: Mapping[str, Any]) -> list[ToolSpec]:
    """The tools of a call, from the keywords that `bind_tools` bound, or a caller gave."""
    converted = [convert_to_openai_tool(tool) for tool in options.get("tools") or ()]
    other = next((tool for tool in converted if "function" not in tool), None)
    if other is not None:
        raise ConfigurationError(
            f"A tool of the type {other.get('type')!r} is run by another provider's service; only functions "
            "can be bound here."
        )
    functions = [tool["function"] for tool in converted]
    return [
        ToolSpec(function["name"], function.get("description") or "", function.get("parameters") or {})
        for function in functions
    ]


def _tool_setup(options: Mapping[str, Any]) -> ToolSetup:
    parallel = options.get("parallel_tool_calls")
    distinct = tuple(dict.fromkeys(_tool_specs(options)))  # the same tool bound twice is one tool
    return set_up_tools(distinct, options.get("tool_choice"), parallel=parallel is not False)
