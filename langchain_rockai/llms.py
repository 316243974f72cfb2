"""`RockAILLM`: any model on RockAI as a LangChain text model, also image and video models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.globals import get_llm_cache
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_rockai.base import RockAIModel, listener
from langchain_rockai.errors import as_model_error, translate_errors
from langchain_rockai.messages import to_conversation
from langchain_rockai.replies import LangChainBuilder
from rockai_transport import ConfigurationError
from rockai_transport.adapters import AsyncChunks, Chunks, arun, run
from rockai_transport.prompting import ReplyPart, TextDelta, completion_request

_MOST_THREADS: Final = 32  # the default of concurrent.futures on a large machine
_TRACE: Final = frozenset({"callbacks", "tags", "metadata", "run_name", "run_id"})  # arguments of `generate`


class RockAILLM(RockAIModel[str], BaseLLM):
    """Any model on RockAI: text in, text out. For an image or video model, the text is the output's address.

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
        max_reasks: Without effect: a completion is never asked for twice.
        stream_usage: Whether a stream's last chunk contains the token counts, if the service reports them and
            the prediction has an id. This takes one more poll of the prediction. Default: True.
        streaming: True: `invoke` uses the event stream too, and callbacks receive each token. Default: False.
        model_kwargs: Inputs of the model itself, sent unchecked; they override all others.
        dialect: The model's input names and chat template, by name (``"llama-2"``, ``"llama-3"``,
            ``"mistral"``, ``"chatml"``, ``"plain"``) or a `Dialect`. Default: from ``model``.
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

            from langchain_rockai import RockAILLM

            llm = RockAILLM(model="mistralai/mistral-7b-instruct-v0.1", temperature=0.7, max_tokens=256)

    Invoke:
        The model's server applies its own template to the prompt; nothing is added here.

        .. code-block:: python

            llm.invoke("Write a poem about the sea.")

    Stream:
        .. code-block:: python

            for text in llm.stream("Write a poem about the sea."):
                print(text, end="")

    Several at once:
        Each prompt is a separate call; ``max_concurrency`` in the config limits how many run at once. With
        ``return_exceptions``, a failure is returned in place of its result; without it, the other texts are
        lost.

        .. code-block:: python

            llm.batch(["Say one.", "Say two."], return_exceptions=True)

    Images and videos:
        .. code-block:: python

            RockAILLM(model="incomingflyingbrick/flux-1-schnell").invoke("A lighthouse at dusk")

    Metadata:
        ``generation_info`` contains ``model_name``, ``model_provider``, and the run's ``id``, ``status`` and
        ``metrics`` if the service returns them; ``reasoning`` and ``usage_metadata`` if there are any.

        .. code-block:: python

            llm.generate(["Say one."]).generations[0][0].generation_info

    Parameters, stop sequences, per-call ``model=``, `preview` and errors are as in `ChatRockAI`.
    """

    @property
    def _llm_type(self) -> str:
        return "rockai"

    def _prompt(self, input: LanguageModelInput) -> str:
        return self._convert_input(input).to_string()

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        prompt = super()._convert_input(model_input)
        if isinstance(prompt, ChatPromptValue):
            with translate_errors():
                _check_text_only(prompt.messages, self.model)
        return prompt

    # `BaseLLM.batch` returns the first failure for every input, and loses the paid results of the others
    # (langchain_core/language_models/llms.py); a Runnable's does not.
    batch = Runnable[LanguageModelInput, str].batch
    abatch = Runnable[LanguageModelInput, str].abatch

    def generate(self, prompts: list[str], stop: Any = None, *args: Any, **call: Any) -> LLMResult:
        """Complete several prompts at once, like every LLM of LangChain.

        Args:
            prompts: The prompts; each is a separate run.
            stop: Stop sequences, which replace the model's.
            args: The callbacks.
            call: Tags and the like for traces, and the arguments of `invoke`.

        Returns:
            A list with one generation per prompt.

        Raises:
            RockAIError: One of them failed; the others' texts are lost.

        Example:
            >>> llm.generate(["Say: hello"]).generations[0][0].text
            'hello'
        """
        _check_texts(prompts)
        return super().generate(prompts, self._keyed_stop(stop, call), *args, **call)

    async def agenerate(self, prompts: list[str], stop: Any = None, *args: Any, **call: Any) -> LLMResult:
        """As `generate`, with ``await``.

        Example:
            >>> (await llm.agenerate(["Say: hello"])).generations[0][0].text
            'hello'
        """
        _check_texts(prompts)
        return await super().agenerate(prompts, self._keyed_stop(stop, call), *args, **call)

    def _keyed_stop(self, stop: Any, call: Mapping[str, Any]) -> Any:
        """Return the call's stop sequences, with its other parameters and the address, for core's cache."""
        stop = self.stop if stop is None else stop
        own = sorted((name, value) for name, value in call.items() if name not in _TRACE)
        if self.cache is not None or get_llm_cache() is not None:  # one may be false while it is empty
            own.append(("base_url", self._address))
        return _Stop(own, stop) if own else stop

    def _generate(
        self, prompts: list[str], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        if len(prompts) == 1:  # in this thread, which Ctrl-C interrupts
            return _result([self._complete(prompts[0], stop, run_manager, kwargs)])
        with ContextThreadPoolExecutor(max_workers=_MOST_THREADS) as pool:
            # The manager belongs to the first prompt only, so it receives no tokens.
            return _result(list(pool.map(lambda prompt: self._complete(prompt, stop, None, kwargs), prompts)))

    async def _agenerate(
        self, prompts: list[str], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        manager = run_manager if len(prompts) == 1 else None  # as in `_generate`
        calls = (self._acomplete(prompt, stop, manager, kwargs) for prompt in prompts)
        made = await asyncio.gather(*calls, return_exceptions=True)  # wait for all calls, even after an error
        if (error := next((one for one in made if isinstance(one, BaseException)), None)) is not None:
            raise error
        return _result(cast("list[Generation]", made))

    def _complete(self, prompt: str, stop: Any, run_manager: Any, kwargs: Mapping[str, Any]) -> Generation:
        with translate_errors():
            if not self.streaming:
                return run(self._builder(prompt, stop, kwargs, streamed=False), self._sync_client())
            whole = GenerationChunk(text="")
            for chunk in self._stream(prompt, stop, run_manager, **kwargs):  # which may be a subclass's
                whole += chunk
            return Generation(text=whole.text, generation_info=whole.generation_info)

    async def _acomplete(
        self, prompt: str, stop: Any, run_manager: Any, kwargs: Mapping[str, Any]
    ) -> Generation:
        with translate_errors():
            if not self.streaming:
                return await arun(self._builder(prompt, stop, kwargs, streamed=False), self._async_client())
            whole = GenerationChunk(text="")
            async for chunk in self._astream(prompt, stop, run_manager, **kwargs):
                whole += chunk
            return Generation(text=whole.text, generation_info=whole.generation_info)

    def _stream(
        self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        with translate_errors():
            builder = self._builder(prompt, stop, kwargs)
            return Chunks(builder, self._sync_client(), listener(run_manager))

    def _astream(
        self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        with translate_errors():
            builder = self._builder(prompt, stop, kwargs)
            return AsyncChunks(builder, self._async_client(), listener(run_manager))

    def _builder(
        self, prompt: Any, stop: Any, call: Mapping[str, Any], *, streamed: bool = True
    ) -> CompletionBuilder:
        settings, options = self._for_call(call, stop)
        return CompletionBuilder(completion_request(settings, prompt), streamed=streamed, **options)


def _check_texts(prompts: Any) -> None:
    """Refuse a prompt that is no text before another one is sent; core refuses what is no list."""
    for prompt in prompts if isinstance(prompts, list) else ():
        if not isinstance(prompt, str):
            raise as_model_error(ConfigurationError(f"A prompt must be a text, not {type(prompt).__name__}."))


def _check_text_only(messages: Sequence[BaseMessage], model: str) -> None:
    """Refuse a file in an input, which core leaves out of the text that it makes of messages."""
    asked = [one for one in messages if isinstance(one, HumanMessage) and not isinstance(one.content, str)]
    if any(message.images for message in to_conversation(asked, model=model)):
        raise ConfigurationError(
            "RockAILLM takes text only, and LangChain would leave out the image of this input. Use "
            "ChatRockAI, or pass the model's own input in model_kwargs."
        )


class _Stop(list[Any]):
    """A call's stop sequences; as text, they include its other parameters and the service's address.

    Core makes a cache key from the constructor's settings and this text, and ignores everything else in the
    call (langchain_core/language_models/llms.py, `get_prompts`).
    """

    def __init__(self, call: list[tuple[str, Any]], stop: Any) -> None:
        if not isinstance(stop, list | tuple):
            stop = [] if stop is None else [stop]
        super().__init__(stop)
        self._call = call

    def __repr__(self) -> str:
        return f"{super().__repr__()}, {self._call}"


def _result(generations: list[Generation]) -> LLMResult:
    return LLMResult(generations=[[generation] for generation in generations])


class CompletionBuilder(LangChainBuilder[GenerationChunk, Generation]):
    """One completion, from its run to its last chunk.

    Reasoning is not part of the text: it is in ``generation_info["reasoning"]``.
    """

    def chunks(self, parts: Sequence[ReplyPart]) -> Iterator[GenerationChunk]:
        """Yield a chunk for each part of the text."""
        return (GenerationChunk(text=part.text) for part in parts if isinstance(part, TextDelta))

    def last_chunk(self) -> GenerationChunk:
        """Return an empty chunk with the metadata."""
        return GenerationChunk(text="", generation_info=self._info())

    def result(self) -> Generation:
        """Return the complete completion."""
        return Generation(text=self.reply().text, generation_info=self._info())

    def _info(self) -> dict[str, Any]:
        metadata = self.metadata()
        more = {"usage_metadata": metadata["usage_metadata"], "reasoning": self.reply().reasoning}
        return {**metadata["response_metadata"], **{name: value for name, value in more.items() if value}}
