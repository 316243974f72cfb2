"""`RockAI`: any text model of rockai.online as an LLM of LlamaIndex."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr, SecretStr
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import default_completion_to_prompt

from llama_index_rockai.function_calling import PromptedFunctionCallingLLM
from llama_index_rockai.messages import from_messages, to_messages
from llama_index_rockai.observed import CALL_KEYWORDS, observed
from llama_index_rockai.responses import ChatResponseBuilder, CompletionResponseBuilder
from llama_index_rockai.tool_calls import function_schemas
from rockai_transport import ConfigurationError, Dialect
from rockai_transport.adapters import (
    TEXT,
    AsyncChunks,
    Chunks,
    ModelFields,
    OutputParser,
    arun,
    run,
    tool_setup,
)
from rockai_transport.prompting import ChatCall, ChatTemplate, Message, completion_request

_COMPLETION_KEYWORDS = frozenset({"system_prompt"})


class RockAI(ModelFields, PromptedFunctionCallingLLM):
    """A text model of rockai.online.

    Chat, completion, streaming and tools, blocking and with ``await``. For models without function calling,
    the prompt describes the tools. To leave a stream, close its generator, drop it, or cancel its task. A
    ``break`` while the generator is still referenced cannot be detected, so close it then.

    Args:
        model (str): ``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits.
        api_token: The token. Default: the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and
            ``ROCK_API_TOKEN``, read at the first call. It is never in ``to_dict()``, events or ``repr``.
            ``api_key`` and ``rockai_api_token`` are other names for it.
        base_url (str | None): The address of the service. Default: ``ROCKAI_BASE_URL``, else
            ``https://api.rockai.online/v1``. Also called ``api_base``.
        temperature (float | None): The sampling temperature. It is sent only if set, like the next three,
            under the model's own key.
        top_p (float | None): Nucleus sampling, 0 to 1.
        top_k (int | None): Number of tokens to choose from.
        max_tokens (int | None): Maximum number of tokens to generate.
        stop (str | list[str] | None): Stop sequences, at which the answer is cut; they work with every model.
        timeout (float | None): Seconds for one run, also with your own client. None: no total.
        max_retries (int): Number of retries after the first attempt; they never pay twice. Default: 2.
        max_reasks (int): Number of further runs for a chat reply that is not accepted: its tool call is
            invalid or missing, or its object does not fit its class. Each run is paid for. Default: 1.
        stream_usage (bool): Whether a stream's last chunk contains the token counts, if the service reports
            them and the prediction has an id. This takes one more poll of the prediction. Default: True.
        context_window: Maximum tokens of prompt and answer together. Default: the dialect's, else 3900.
        additional_kwargs: Further inputs of the model, sent unchecked.
        dialect (str | Dialect | None): The model's input names and chat template, by name (``"llama-2"``,
            ``"llama-3"``, ``"mistral"``, ``"chatml"``, ``"plain"``) or a `Dialect`. Default: from ``model``.
        chat_template: The model's own chat template, in Jinja.
        route (str): ``"auto"``, the default, ``"run"`` or ``"predictions"``, see `Client`.
        default_headers (Mapping[str, str] | None): Headers for every call, as in `Client`.
        client (Client | None): Your own `Client`, instead of one with these settings; its settings then apply
            to asynchronous calls too, unless there is an ``async_client``.
        async_client (AsyncClient | None): The same for asynchronous calls.
        is_chat_model: Whether core passes messages, the default; else text.
        is_function_calling_model: Whether core's agents choose function calling, the default; else ReAct.

    The arguments of core's ``LLM`` work too: ``system_prompt`` reaches the model exactly once; a
    ``messages_to_prompt`` or ``completion_to_prompt`` overrides the dialect.

    Raises:
        ConfigurationError: An argument is unknown or invalid.
        ValidationError: An argument has the wrong type; pydantic's error.

    Example:
        >>> llm = RockAI(model="meta/llama-2-7b-chat", temperature=0.7, max_tokens=200, stop=["!"])
        >>> print(llm.complete("Say: good morning!"))
        good morning
    """

    api_token: SecretStr | str | None = Field(default=None, exclude=True, repr=False)
    context_window: int | None = Field(default=None, gt=0)
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    chat_template: Annotated[str | ChatTemplate | None, TEXT] = None
    is_chat_model: bool = True
    is_function_calling_model: bool = True

    _warned: bool = PrivateAttr(default=False)

    _extra_name: ClassVar[str] = "additional_kwargs"
    _package: ClassVar[str] = "llama-index-rockai"
    _call_keywords: ClassVar[frozenset[str]] = CALL_KEYWORDS
    _written_by_dumps: ClassVar[frozenset[str]] = frozenset({"class_name"})

    def __getstate__(self) -> dict[str, Any]:
        """Return a copy's state: core removes from the object what cannot be pickled (schema.py:124)."""
        return super(RockAI, copy(self)).__getstate__()

    @classmethod
    def class_name(cls) -> str:
        """Return the class name for serialized forms.

        Returns:
            The name, which core's ``to_dict()`` contains.

        Example:
            >>> llm.to_dict()["class_name"] == RockAI.class_name()
            True
        """
        return "RockAI"

    @property
    def metadata(self) -> LLMMetadata:
        """The model's metadata for core, without any request.

        An unknown context window counts as 3900 tokens, with a warning if the model writes text.

        Example:
            >>> llm.metadata.model_name, llm.metadata.context_window
            ('meta/meta-llama-3-70b-instruct', 8192)
        """
        dialect = self._for_call({})[0].resolved()
        asked = self.max_tokens or self.additional_kwargs.get(dialect.max_tokens_key or "")
        return LLMMetadata(
            context_window=self._context_window(dialect),
            num_output=asked or DEFAULT_NUM_OUTPUTS,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    @observed(llm_chat_callback)
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation.

        Args:
            messages: The conversation; it is not changed.
            kwargs: For this call: the sampling parameters, ``stop``, ``timeout``, ``model``, ``dialect``,
                ``chat_template``, ``system_prompt``, ``additional_kwargs``; ``tools`` (LlamaIndex's, or
                function schemas), ``tool_choice`` and ``parallel_tool_calls``; ``output_cls``, a pydantic
                class that an answer without calls must fit; and any input of the model by its own name.

        Returns:
            The answer. ``raw`` contains the prediction; ``usage`` if the service reports it; ``runs`` if
            there were several; ``finish_reason`` (``tool_calls``, ``length`` if the service says so, else
            ``stop``); ``stop_token`` if an end token of the model's template or a stop sequence ended the
            answer. A model that makes images, videos or audio returns addresses: they are the message's text,
            and there is an image, video or audio block for each.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            InvalidResponseError: The model did not return valid output, even when it was asked again.
            RockAIError: Any other failure; `may_have_started` says whether a prediction may be running.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> history = [ChatMessage("My name is Ada."), ChatMessage("What is my name?")]
            >>> response = llm.chat(history, max_tokens=50)
            >>> response.message.content, response.raw["prediction"]["status"]
            ('Your name is Ada.', 'succeeded')
        """
        return run(self._chat(messages, kwargs, streamed=False), self._sync_client())

    @observed(llm_completion_callback)
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt; the model's server adds its own template.

        Args:
            prompt: The prompt.
            formatted: Whether ``completion_to_prompt`` has already been applied.
            kwargs: For this call, as in `chat`, without tools.

        Returns:
            The answer, as in `chat`; each of several file addresses is on its own line.

        Raises:
            RockAIError: As in `chat`.

        Example:
            >>> llm.complete("What is 19 + 23?", temperature=0.1).text
            '19 + 23 = 42'
        """
        return run(self._completion(prompt, kwargs, formatted=formatted), self._sync_client())

    @observed(llm_chat_callback)
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, chunk by chunk: ``delta`` is new, ``message`` is all so far; the last chunk has ``raw``.

        A stream that must contain a call returns nothing until the call was found. With ``output_cls``,
        chunks without text contain the partial object in ``additional_kwargs["partial_object"]``.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> for chunk in llm.stream_chat([ChatMessage("Say: one two")]):
            ...     print(repr(chunk.delta), repr(chunk.message.content))
            'one' 'one'
            ' two' 'one two'
            '' 'one two'
        """
        return Chunks(self._chat(messages, kwargs), self._sync_client())

    @observed(llm_completion_callback)
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, chunk by chunk: ``delta`` is new, ``text`` is all so far; the last has ``raw``.

        Example:
            >>> from contextlib import closing
            >>> with closing(llm.stream_complete("Say: one two three")) as chunks:
            ...     print(next(chunks).delta)  # and the stream is left
            one
        """
        return Chunks(self._completion(prompt, kwargs, formatted=formatted), self._sync_client())

    @observed(llm_chat_callback)
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`, with ``await``. Canceling the task leaves the run.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> print(await llm.achat([ChatMessage("Say: good morning")]))
            assistant: good morning
        """
        return await arun(self._chat(messages, kwargs, streamed=False), self._async_client())

    @observed(llm_completion_callback)
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`, with ``await``. Canceling the task leaves the run.

        Example:
            >>> import asyncio
            >>> questions = ["What is 1 + 1?", "What is 2 + 2?"]
            >>> [answer.text for answer in await asyncio.gather(*map(llm.acomplete, questions))]
            ['1 + 1 = 2', '2 + 2 = 4']
        """
        builder = self._completion(prompt, kwargs, formatted=formatted)
        return await arun(builder, self._async_client())

    @observed(llm_chat_callback)
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`, with ``await``, which returns an async generator.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> async for chunk in await llm.astream_chat([ChatMessage("Say: one two")]):
            ...     print(repr(chunk.delta))
            'one'
            ' two'
            ''
        """
        return AsyncChunks(self._chat(messages, kwargs), self._async_client())

    @observed(llm_completion_callback)
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """As `stream_complete`, with ``await``, which returns an async generator.

        Example:
            >>> async for chunk in await llm.astream_complete("Say: one two"):
            ...     print(repr(chunk.text))
            'one'
            'one two'
            'one two'
        """
        builder = self._completion(prompt, kwargs, formatted=formatted)
        return AsyncChunks(builder, self._async_client())

    def preview(self, messages: Sequence[ChatMessage] | str, **kwargs: Any) -> dict[str, Any]:
        """Show what `chat`, or for a string `complete`, would send, without sending it.

        Args:
            messages: A conversation, or a prompt.
            kwargs: As in `chat`.

        Returns:
            ``model`` and ``input``, exactly.

        Raises:
            ConfigurationError: The request cannot be sent.

        Example:
            >>> llm.preview("Hello", max_tokens=200)
            {'model': 'meta/meta-llama-3-70b-instruct', 'input': {'prompt': 'Hello', 'max_tokens': 200}}
        """
        if isinstance(messages, str):
            return self._body(self._completion(messages, kwargs, formatted=False))
        return self._body(self._chat(messages, kwargs))

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        """Add nothing: the request builder adds the system prompt to every call (core: llm.py:295)."""
        return messages

    def _extend_prompt(self, formatted_prompt: str) -> str:
        """Add only the query wrapper, for the same reason (core: llm.py:278)."""
        wrapper = self.query_wrapper_prompt
        return wrapper.format(query_str=formatted_prompt) if wrapper else formatted_prompt

    def _chat(
        self, messages: Sequence[ChatMessage], given: Mapping[str, Any], *, streamed: bool = True
    ) -> ChatResponseBuilder:
        """Read a call of ``chat``; its messages are not changed."""
        settings, options = self._for_call(given)
        tools = tool_setup(function_schemas(given.get("tools")), given)
        output_cls = given.get("output_cls")
        parser = OutputParser.of_class(output_cls, by_call=False) if output_cls else None
        if parser and parser.name in tools.callable_tools:  # a structured call: the class is a tool
            parser = replace(parser, by_call=True)
        call = ChatCall(
            settings,
            to_messages(messages, model=settings.model),
            tools=tools,
            system_prompt=self._system_prompt(given),
            response_format=parser.response_format if parser else None,
            format_messages=self._formatter(),
        )
        return ChatResponseBuilder(call, parser, streamed=streamed, **options)

    def _completion(
        self, prompt: str, given: Mapping[str, Any], *, formatted: bool
    ) -> CompletionResponseBuilder:
        """Read a call of ``complete``; ``formatted``: ``completion_to_prompt`` has already been applied."""
        if not isinstance(prompt, str):
            raise ConfigurationError(f"A prompt must be a text, not {type(prompt).__name__}.")
        own = self.completion_to_prompt
        own = None if own is default_completion_to_prompt else own
        if own is not None and not formatted:
            prompt = own(prompt)
        settings, options = self._for_call(given, keywords=_COMPLETION_KEYWORDS)
        system_prompt = self._system_prompt(given)
        request = completion_request(settings, prompt, system_prompt=system_prompt, formatted=own is not None)
        return CompletionResponseBuilder(request, **options)

    def _system_prompt(self, given: Mapping[str, Any]) -> str | None:
        asked: str | None = given.get("system_prompt")
        return self.system_prompt if asked is None else asked

    def _formatter(self) -> Callable[[Sequence[Message]], str] | None:
        """Return the user's own ``messages_to_prompt``; without one, core sets its default (llm.py:219)."""
        own = self.messages_to_prompt
        if own is None or own is default_messages_to_prompt:
            return None
        return lambda messages: own(from_messages(messages))

    def _context_window(self, dialect: Dialect) -> int:
        known = self.context_window or dialect.context_window
        if known is None and dialect.max_tokens_key and not self._warned:  # image models cut no histories
            self._warned = True
            warnings.warn(
                f"The context window of {self.model} is not known, so {DEFAULT_CONTEXT_WINDOW} tokens are "
                f"assumed, and longer histories are cut. Give it as context_window=.",
                stacklevel=3,
            )
        return known or DEFAULT_CONTEXT_WINDOW
