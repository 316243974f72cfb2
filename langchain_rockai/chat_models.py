"""`ChatRockAI`: any model on RockAI as a LangChain chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from langchain_rockai.base import CORE_KEYWORDS, RockAIModel, listener
from langchain_rockai.errors import translate_errors
from langchain_rockai.messages import to_conversation
from langchain_rockai.replies import ChatBuilder
from langchain_rockai.schemas import openai_tools
from langchain_rockai.structured import StructuredOutput, structured_chain
from rockai_transport import ConfigurationError
from rockai_transport.adapters import AsyncChunks, Chunks, arun, run, tool_setup, tool_specs
from rockai_transport.prompting import ChatCall, ChatTemplate, set_up_tools


class ChatRockAI(RockAIModel[AIMessage], BaseChatModel):
    """Any model on RockAI as a chat model, with tools and structured output.

    The models themselves take a prompt and return text. This class handles their chat templates, tool calls,
    stop sequences and reasoning, according to the model's `Dialect`: derived from its name, or passed as
    ``dialect=``.

    Args:
        model: ``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits. Also called
            ``model_name``.
        api_token: The token. Default: the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and
            ``ROCK_API_TOKEN``, read at the first call. Also called ``api_key`` or ``rockai_api_token``.
        base_url: The address of the service. Default: ``ROCKAI_BASE_URL``, else
            ``https://api.rockai.online/v1``. Also called ``api_base``.
        temperature: The sampling temperature. It is sent only if set, like the next three, under the model's
            own key.
        top_p: Nucleus sampling, 0 to 1.
        top_k: Number of tokens to choose from.
        max_tokens: Maximum number of tokens to generate.
        stop: Stop sequences, one or a list. They work with every model; those of a call replace them.
        timeout: Seconds for one whole run, also with your own client. None: no total; the client's limits for
            first byte and idle time still apply.
        max_retries: Number of retries after the first attempt; they never pay twice. Default: 2.
        max_reasks: Number of further runs for a chat reply that is not accepted: its tool call is invalid or
            missing, or its answer does not fit the schema. Each run is paid for. Default: 1.
        stream_usage: Whether a stream's last chunk contains the token counts, if the service reports them and
            the prediction has an id. This takes one more poll of the prediction. Default: True.
        streaming: True: `invoke` uses the event stream too, and callbacks receive each token. An explicit
            False turns streaming off even for `stream`. Default: `stream` streams, `invoke` does not.
        model_kwargs: Inputs of the model itself, sent unchecked; they override all others.
        dialect: The model's input names and chat template, by name (``"llama-2"``, ``"llama-3"``,
            ``"mistral"``, ``"chatml"``, ``"plain"``) or a `Dialect`. Default: from ``model``.
        chat_template: The model's own chat template, a Jinja source; needs the extra ``templates``.
        route: ``"auto"``, the default, ``"run"`` or ``"predictions"``, see `rockai_transport.Client`.
        default_headers: Additional headers for every request, as in `rockai_transport.Client`. Left out of
            traces, because they may contain secrets.
        client: Your own `rockai_transport.Client`, instead of one with these settings; its settings then
            apply to asynchronous calls too, unless there is an ``async_client``.
        async_client: The same for asynchronous calls.

    Setup:
        ``pip install ".[langchain]"``, and a token in ``ROCKAI_API_TOKEN``
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
        Leaving early closes the connection at once, and cancels the run if its id is known.

        .. code-block:: python

            for chunk in llm.stream(messages):
                print(chunk.text, end="")

    Async:
        .. code-block:: python

            await llm.ainvoke(messages)

    Tool calling:
        The prompt describes the tools, and calls are read from the reply. Text still streams while tools are
        bound. ``tool_choice`` forces a call: if a reply has none, the model is asked once more.

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

    Files:
        A model that makes images, videos or audio returns addresses: they are the text, and there is an
        image, video or audio block for each. In a stream, the last chunk has the blocks.

        .. code-block:: python

            painter = ChatRockAI(model="incomingflyingbrick/flux-1-schnell")
            [text, image] = painter.invoke("A red boat").content_blocks
            image["url"]

    Inspecting the request:
        .. code-block:: python

            llm.preview(messages, tools=[get_weather])

    Response metadata:
        ``model_name``, ``model_provider``, and the run's ``id``, ``status`` and ``metrics`` if the service
        returns them; ``runs``, if there were several; ``finish_reason``: ``tool_calls``, ``length`` if the
        service says so, else ``stop``; ``stop_token``, if an end token of the model's template or a stop
        sequence ended the answer. ``usage_metadata`` is set if token counts are reported. RockAI is not known
        to report them, and none are made up. `get_num_tokens` is an estimate.

        .. code-block:: python

            llm.invoke(messages).response_metadata

    Errors:
        Each error is both the transport's (`rockai_transport.RockAIError`) and core's (`ModelError`). Those
        in `RETRYABLE` are transient, and nothing was started, so a retry cannot pay twice. A constructor
        argument of the wrong type is pydantic's ``ValidationError``, and an input that is no message is
        core's own error.

        .. code-block:: python

            from langchain_rockai import RETRYABLE

            llm.with_retry(retry_if_exception_type=RETRYABLE).invoke(messages)
    """

    chat_template: str | ChatTemplate | None = None
    """The model's own chat template, a Jinja source; needs the extra ``templates``."""

    _call_keywords: ClassVar[frozenset[str]] = frozenset(
        {*CORE_KEYWORDS, "tools", "tool_choice", "parallel_tool_calls"}
        | {"structured_output", "response_format", "strict"}  # the last is for services that check schemas
    )

    @property
    def _llm_type(self) -> str:
        return "rockai-chat"

    def _resolve_model_profile(self) -> ModelProfile:
        """Return the model's capabilities, as far as its dialect shows them.

        ``structured_output`` is not claimed: `create_agent` would then bind ``response_format``
        (langchain/agents/factory.py), although `with_structured_output` and forced tools do more.
        """
        dialect = self._for_call({})[0].resolved()
        has_turns, has_images = dialect.chat_template is not None, dialect.image_key is not None
        profile = ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=has_images,
            image_url_inputs=has_images,
            tool_calling=has_turns,
            tool_choice=has_turns,
            tool_call_streaming=has_turns,
            temperature=dialect.temperature_key is not None,
        )
        if dialect.context_window is not None:
            profile["max_input_tokens"] = dialect.context_window
        return profile

    def _prompt(self, input: LanguageModelInput) -> list[BaseMessage]:
        return self._convert_input(input).to_messages()

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        strict: bool | None = None,  # noqa: ARG002 - no service here checks schemas
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools that the model may, or must, call.

        Args:
            tools: Functions, tools, pydantic classes, or OpenAI's tool schemas.
            tool_choice: None or ``"auto"``: the model decides; ``"any"`` or ``"required"``: any tool;
                ``"none"``: no tool; a tool's name, or OpenAI's form of it: that tool; True: the only tool.
            parallel_tool_calls: Whether one reply may contain several calls. Default: it may.
            strict: Accepted for compatibility.
            kwargs: Bound unchanged. With OpenAI's ``response_format``, the text of an answer without tool
                calls is JSON in that format.

        Returns:
            The model with its tools.

        Raises:
            ConfigurationError: One of the tools is none, or ``tool_choice`` matches none of them.

        Example:
            >>> def get_weather(city: str) -> str:
            ...     "Get the weather in a city."
            ...     return f"It is sunny in {city}."
            >>> [call] = llm.bind_tools([get_weather]).invoke("How is the weather in Paris?").tool_calls
            >>> call["name"], call["args"]
            ('get_weather', {'city': 'Paris'})
        """
        options: dict[str, Any] = {"tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls}
        options = {name: value for name, value in options.items() if value is not None}
        with translate_errors():
            options["tools"] = openai_tools(tools)
            # Only the call refuses two tools with one name: langchain-tests binds a class and its schema
            # (langchain_tests/unit_tests/chat_models.py, `test_bind_tool_pydantic`).
            by_name = {tool.name: tool for tool in tool_specs(options["tools"])}
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
        """Make the model answer in the format of a schema.

        If an answer is not JSON, or does not fit the schema, the model sees it with its error once, in a
        second paid run. If the next answer is wrong too, an error is raised.

        A stream returns the partial object, each time a prefix of the next one. It is not validated; missing
        fields are None, and a dict lacks them. Only the last object is validated. The longer an answer is,
        the more text comes between two objects. If the model is asked again, an empty object is returned, and
        the next answer begins; so it is if the object so far turns out not to be the answer. With
        ``include_raw`` there is one result.

        Args:
            schema: A pydantic class, a TypedDict class, or a JSON or OpenAI schema; ``json_mode`` needs none.
            method: ``"function_calling"``: the schema is a tool that must be called; ``"json_schema"``: the
                prompt contains it; ``"json_mode"``: the prompt asks for JSON, in the format that your text
                describes.
            include_raw: Return ``raw``, ``parsed`` and ``parsing_error`` instead of raising.
            strict: Accepted for compatibility: every answer is checked.
            kwargs: Bound to the model. With ``tools``, which ``"function_calling"`` does not accept, the
                value of an answer that calls them is None; ``include_raw`` shows the calls.

        Returns:
            A runnable that returns an instance of the pydantic class, else a dict.

        Raises:
            ConfigurationError: There is no such method, it needs a schema, or it accepts no ``tools``.

        Example:
            >>> from pydantic import BaseModel, Field
            >>> class Order(BaseModel):
            ...     "An order in a restaurant."
            ...     dish: str = Field(description="what is ordered")
            ...     quantity: int = Field(description="how many")
            >>> llm.with_structured_output(Order).invoke("An order for 3 'steamed hams'.")
            Order(dish='steamed hams', quantity=3)
        """
        with translate_errors():
            output = StructuredOutput.of(schema, method)
            if output.by_call and "tools" in kwargs:
                raise ConfigurationError(
                    "with_structured_output(tools=…) needs method='json_schema' or 'json_mode': with "
                    f"{method!r}, the schema is the only tool."
                )
        options = {**output.call_options(), **kwargs}
        llm = self.bind_tools(**options) if output.by_call else self.bind(**options)
        return structured_chain(llm, output, include_raw=include_raw)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the cache key of the settings as they are now, and of what a dump lacks.

        Core's is made of the settings at the first call, also for a copy that has others.
        """
        vars(self).pop("_serialized", None)
        template = self._for_call({})[0].resolved().chat_template
        key = super()._get_llm_string(stop, **kwargs)
        return f"{key}---{self._address}---{template}"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,  # noqa: ARG002 - core notifies callbacks of streamed chunks
        **kwargs: Any,
    ) -> ChatResult:
        with translate_errors():
            return run(self._builder(messages, stop, kwargs, streamed=False), self._sync_client())

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,  # noqa: ARG002 - as in `_generate`
        **kwargs: Any,
    ) -> ChatResult:
        with translate_errors():
            return await arun(self._builder(messages, stop, kwargs, streamed=False), self._async_client())

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with translate_errors():
            builder = self._builder(messages, stop, kwargs)
            return Chunks(builder, self._sync_client(), listener(run_manager))

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with translate_errors():
            builder = self._builder(messages, stop, kwargs)
            return AsyncChunks(builder, self._async_client(), listener(run_manager))

    def _builder(
        self, prompt: Any, stop: Any, call: Mapping[str, Any], *, streamed: bool = True
    ) -> ChatBuilder:
        """Create the reply to messages, with the keywords that `bind_tools` bound or the caller passed."""
        settings, options = self._for_call(call, stop)
        output: StructuredOutput | None = call.get("structured_output")
        given = None if output else call.get("response_format")
        written = None if given is None else StructuredOutput.of_response_format(given)
        output = output or written
        schemas = openai_tools(call["tools"]) if call.get("tools") else []
        chat_call = ChatCall(
            settings,
            to_conversation(prompt, model=settings.model),
            tools=tool_setup(schemas, call),
            response_format=output.response_format if output else None,
        )
        return ChatBuilder(chat_call, output, streamed=streamed, written=written, **options)
