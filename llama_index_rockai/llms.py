"""`RockAI`: every text model of rockai.online as an LLM of LlamaIndex."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Self

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
from llama_index.core.bridge.pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from llama_index_rockai.calls import ALIASES, chat_call, completion_call, model_settings, refuse_settings
from llama_index_rockai.function_calling import PromptedFunctionCallingLLM
from llama_index_rockai.observed import observed
from llama_index_rockai.responses import Answer
from llama_index_rockai.runs import AsyncChunks, arun, run, stream
from rockai_transport import AsyncClient, Client, ConfigurationError
from rockai_transport.arguments import check_model, check_token, wrong_argument
from rockai_transport.config import Route
from rockai_transport.lazy_clients import LazyClients
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.templates import ChatTemplate
from rockai_transport.protocol.references import ModelReference

_TEXT = WithJsonSchema(
    {"type": "string"}
)  # in a JSON schema objects are text, as core's own (llms/llm.py:152)
_CLIENT_SETTINGS = ("api_token", "base_url", "timeout", "max_retries", "route", "default_headers")


class RockAI(PromptedFunctionCallingLLM):
    """A text model of rockai.online.

    Chat, completion, streaming and tools, with blocking calls and with ``await``. Models without function
    calling are told of tools in the prompt. A stream is left by closing its generator, by dropping it, and by
    cancelling its task; a ``break`` while the generator is still referenced cannot be seen, so close it then.

    Args:
        model: ``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits.
        api_token: The token; else the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and
            ``ROCK_API_TOKEN``, read at the first call. Never in ``to_dict()``, events or ``repr``.
            ``api_key`` and ``rockai_api_token`` are other names for it.
        base_url: Where the service is; else ``ROCKAI_BASE_URL``, else ``https://api.rockai.online/v1``. Also
            called ``api_base``.
        temperature: Sent only if set, as the next three; each goes to the model's own key for it.
        top_p: Nucleus sampling, 0 to 1.
        top_k: How many tokens to choose from.
        max_tokens: How many tokens to generate at most.
        stop: Where to cut the answer; holds for every model, and is not part of the answer.
        timeout: Seconds for one run; None: no total.
        max_retries: Further tries after the first, where another one cannot pay twice.
        context_window: Tokens that prompt and answer may have together; else the dialect's, else 3900.
        additional_kwargs: Further inputs of the model, sent unchecked.
        dialect: How the model spells its inputs, by name (``"llama-2"``, ``"llama-3"``, ``"mistral"``,
            ``"chatml"``, ``"plain"``) or a `Dialect`; else told from ``model``.
        chat_template: The model's own chat template, in Jinja.
        route: ``"auto"``, ``"run"`` or ``"predictions"``, see `Client`.
        default_headers: Headers for every call.
        client: A `Client` of your own, for the blocking calls, in place of one made from these settings.
        async_client: An `AsyncClient` of your own, for the others.
        is_chat_model: Whether core hands over messages; else text.
        is_function_calling_model: Whether core's agents choose function calling; else ReAct.

    What core's ``LLM`` takes is taken too: ``system_prompt`` reaches the model exactly once; a
    ``messages_to_prompt`` or ``completion_to_prompt`` beats the dialect.

    Raises:
        ConfigurationError: An argument is unknown or cannot be right.

    Example:
        >>> llm = RockAI(model="meta/llama-2-7b-chat", temperature=0.7, max_tokens=200, stop=["!"])
        >>> print(llm.complete("Say: good morning!"))
        good morning
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # the input may hold the token

    model: str
    api_token: SecretStr | str | None = Field(default=None, exclude=True, repr=False)
    base_url: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    timeout: float | None = None
    max_retries: int = 2
    context_window: int | None = None
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    dialect: Annotated[str | Dialect | None, _TEXT] = None
    chat_template: Annotated[str | ChatTemplate | None, _TEXT] = None
    route: Route = "auto"
    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    client: Annotated[Client | None, _TEXT] = Field(default=None, exclude=True, repr=False)
    async_client: Annotated[AsyncClient | None, _TEXT] = Field(default=None, exclude=True, repr=False)
    is_chat_model: bool = True
    is_function_calling_model: bool = True

    _clients: LazyClients = PrivateAttr(default_factory=LazyClients)
    _warned: bool = PrivateAttr(default=False)

    @classmethod
    def class_name(cls) -> str:
        """The name in serialized forms.

        Returns:
            The name; core's ``to_dict()`` writes it down.

        Example:
            >>> llm.to_dict()["class_name"] == RockAI.class_name()
            True
        """
        return "RockAI"

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: Any) -> Any:
        """Bring other names to ours, and refuse unknown ones: pydantic would drop them without a word."""
        if not isinstance(given, dict):
            return given
        named: dict[str, Any] = {}
        for name, value in given.items():
            own = ALIASES.get(name, name)
            if own not in cls.model_fields:
                names = [field for field in cls.model_fields if field != "class_name"]
                raise wrong_argument(cls.__name__, name, names, "additional_kwargs")
            if own in named:
                other = next(one for one in given if one != own and ALIASES.get(one) == own)
                raise ConfigurationError(f"{other!r} is another name for {own!r}: give one of the two.")
            named[own] = value
        check_model(cls.__name__, named.get("model"))
        check_token(named.get("api_token"))
        return named

    @field_validator("api_token")
    @classmethod
    def _hide_token(cls, token: SecretStr | str | None) -> SecretStr | None:
        return SecretStr(token) if isinstance(token, str) else token

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Refuse at once what no call could use; a token may still come from the environment."""
        ModelReference.parse(self.model)
        self._clients.checked(self._client_settings())
        model_settings(self).resolved()
        return self

    @field_serializer("dialect", "chat_template")
    def _as_text(self, value: Any) -> Any:
        return _serializable(value)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._clients = LazyClients()  # noqa: SLF001 - its settings may be changed
        return copied

    @property
    def metadata(self) -> LLMMetadata:
        """What core wants to know of the model; nothing is asked over the network.

        A context window that is not known counts as 3900 tokens, with a warning.

        Example:
            >>> llm.metadata.model_name, llm.metadata.context_window
            ('meta/meta-llama-3-70b-instruct', 8192)
        """
        settings = model_settings(self)
        key = settings.resolved().max_tokens_key or ""
        return LLMMetadata(
            context_window=self._context_window(settings.resolved()),
            num_output=self.max_tokens or self.additional_kwargs.get(key) or DEFAULT_NUM_OUTPUTS,
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
                class that the answer must fit; and any input of the model by its own name.

        Returns:
            The answer. ``raw`` holds the prediction, and ``usage`` where the service reports it.

        Raises:
            ConfigurationError: Nothing was sent.
            InvalidResponseError: The model was asked twice, and did not answer in the form it was told.
            RockAIError: Anything else; `may_have_started` says whether a prediction may be running.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> history = [ChatMessage("My name is Ada."), ChatMessage("What is my name?")]
            >>> response = llm.chat(history, max_tokens=50)
            >>> response.message.content, response.raw["prediction"]["status"]
            ('Your name is Ada.', 'succeeded')
        """
        return run(self._client(), chat_call(self, messages, kwargs)).chat()

    @observed(llm_completion_callback)
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002 - core's signature
        """Answer a prompt; the model's server puts its own template around it.

        Args:
            prompt: The prompt.
            formatted: Whether ``completion_to_prompt`` was applied already.
            kwargs: For this call, as in `chat`, without tools.

        Returns:
            The answer, as in `chat`.

        Raises:
            RockAIError: As in `chat`.

        Example:
            >>> llm.complete("What is 19 + 23?", temperature=0.1).text
            '19 + 23 = 42'
        """
        return run(self._client(), completion_call(self, prompt, kwargs, formatted=formatted)).completion()

    @observed(llm_chat_callback)
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, chunk by chunk: ``delta`` is new, ``message`` is all so far; the last chunk has ``raw``.

        A stream that must contain a call is silent until the call was found.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> for chunk in llm.stream_chat([ChatMessage("Say: one two")]):
            ...     print(repr(chunk.delta), repr(chunk.message.content))
            'one' 'one'
            ' two' 'one two'
            '' 'one two'
        """
        return stream(self._client(), chat_call(self, messages, kwargs), Answer.chat)

    @observed(llm_completion_callback)
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002 - core's signature
        """As `complete`, chunk by chunk: ``delta`` is new, ``text`` is all so far; the last has ``raw``.

        Example:
            >>> from contextlib import closing
            >>> with closing(llm.stream_complete("Say: one two three")) as chunks:
            ...     print(next(chunks).delta)  # and the stream is left
            one
        """
        call = completion_call(self, prompt, kwargs, formatted=formatted)
        return stream(self._client(), call, Answer.completion)

    @observed(llm_chat_callback)
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`, with ``await``. Cancelling the task leaves the run.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> print(await llm.achat([ChatMessage("Say: good morning")]))
            assistant: good morning
        """
        return (await arun(self._async_client(), chat_call(self, messages, kwargs))).chat()

    @observed(llm_completion_callback)
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002 - core's signature
        """As `complete`, with ``await``. Cancelling the task leaves the run.

        Example:
            >>> import asyncio
            >>> questions = ["What is 1 + 1?", "What is 2 + 2?"]
            >>> [answer.text for answer in await asyncio.gather(*map(llm.acomplete, questions))]
            ['1 + 1 = 2', '2 + 2 = 4']
        """
        call = completion_call(self, prompt, kwargs, formatted=formatted)
        return (await arun(self._async_client(), call)).completion()

    @observed(llm_chat_callback)
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`, with ``await``, which gives an async generator.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> async for chunk in await llm.astream_chat([ChatMessage("Say: one two")]):
            ...     print(repr(chunk.delta))
            'one'
            ' two'
            ''
        """
        return AsyncChunks(self._async_client(), chat_call(self, messages, kwargs), Answer.chat)

    @observed(llm_completion_callback)
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: FBT001, FBT002 - core's signature
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """As `stream_complete`, with ``await``, which gives an async generator.

        Example:
            >>> async for chunk in await llm.astream_complete("Say: one two"):
            ...     print(repr(chunk.text))
            'one'
            'one two'
            'one two'
        """
        call = completion_call(self, prompt, kwargs, formatted=formatted)
        return AsyncChunks(self._async_client(), call, Answer.completion)

    def preview(self, messages: Sequence[ChatMessage] | str, **kwargs: Any) -> dict[str, Any]:
        """Show what `chat`, or for a text `complete`, would send; nothing is sent.

        Args:
            messages: A conversation, or a prompt.
            kwargs: As in `chat`.

        Returns:
            ``model`` and ``input``, exactly.

        Raises:
            ConfigurationError: It could not be sent.

        Example:
            >>> llm.preview("Hello", max_tokens=200)
            {'model': 'meta/meta-llama-3-70b-instruct', 'input': {'prompt': 'Hello', 'max_tokens': 200}}
        """
        refuse_settings(type(self), kwargs)
        if isinstance(messages, str):
            call = completion_call(self, messages, kwargs, formatted=False)
        else:
            call = chat_call(self, messages, kwargs)
        request = call.exchange().running
        return self._clients.preview(self.client or self.async_client, self._client_settings(), request)

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        """Add nothing: the request builder adds the system prompt, to every call alike (core: llm.py:295)."""
        return messages

    def _extend_prompt(self, formatted_prompt: str) -> str:
        """Add the query wrapper only, likewise (core: llm.py:278)."""
        if self.query_wrapper_prompt:
            return self.query_wrapper_prompt.format(query_str=formatted_prompt)
        return formatted_prompt

    def _client_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CLIENT_SETTINGS}

    def _client(self) -> Client:
        return self.client or self._clients.get(Client, self._client_settings())

    def _async_client(self) -> AsyncClient:
        return self.async_client or self._clients.get(AsyncClient, self._client_settings())

    def _context_window(self, dialect: Dialect) -> int:
        known = self.context_window or dialect.context_window
        if known is None and not self._warned:
            self._warned = True
            warnings.warn(
                f"The context window of {self.model} is not known, so {DEFAULT_CONTEXT_WINDOW} tokens are "
                f"assumed, and longer histories are cut. Give it as context_window=.",
                stacklevel=3,
            )
        return known or DEFAULT_CONTEXT_WINDOW


def _serializable(value: Any) -> Any:
    """A dialect or chat template as JSON holds it: Jinja as its source, another object not at all."""
    if isinstance(value, Dialect):
        return asdict(value.replace(chat_template=_serializable(value.chat_template)))
    return value if value is None or isinstance(value, str) else getattr(value, "source", None)
