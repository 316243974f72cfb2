"""`RockAILLM`: any model on RockAI as a LangChain text model, image and video models too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import ContextThreadPoolExecutor
from pydantic import model_validator

from langchain_rockai.base import RockAIModel
from langchain_rockai.completions import Completion, joined
from langchain_rockai.errors import translated
from langchain_rockai.replies import PROVIDER
from langchain_rockai.runs import AsyncChunks, Chunks, arun, run
from rockai_transport import __version__
from rockai_transport.prompting.request.build import completion_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams, LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from rockai_transport.prompting.request.build import ModelRequest

__all__ = ["RockAILLM"]

_MOST_THREADS: Final = 32  # as concurrent.futures takes by default on a large machine


class RockAILLM(RockAIModel, BaseLLM):
    """Any model on RockAI: text in, text out. Of an image or video model, the text is the output's address.

    Setup:
        ``pip install "rockai-integrations[langchain]"``, and a token in ``ROCKAI_API_TOKEN``
        (https://www.rockai.online/setting/token), or the local sandbox: ``python -m rockai_sandbox``.

    Instantiate:
        .. code-block:: python

            from langchain_rockai import RockAILLM

            llm = RockAILLM(model="mistralai/mistral-7b-instruct-v0.1", temperature=0.7, max_tokens=256)

    Invoke:
        The model's server applies its own template to the prompt; nothing is put around it here.

        .. code-block:: python

            llm.invoke("Write a poem about the sea.")

    Stream:
        .. code-block:: python

            for text in llm.stream("Write a poem about the sea."):
                print(text, end="")

    Several at once:
        Each prompt is a call of its own; with ``return_exceptions`` a failure is that prompt's alone.

        .. code-block:: python

            llm.batch(["Say one.", "Say two."], return_exceptions=True)

    Images and videos:
        .. code-block:: python

            RockAILLM(model="incomingflyingbrick/flux-1-schnell").invoke("A lighthouse at dusk")

    Metadata:
        ``generation_info`` holds ``model_name``, ``model_provider`` and the run's ``id``, ``status`` and
        ``metrics`` where the service tells them; ``reasoning`` and ``usage_metadata`` where there are any.

        .. code-block:: python

            llm.generate(["Say one."]).generations[0][0].generation_info

    Parameters, stop sequences, per-call ``model=``, `preview` and errors are as in `ChatRockAI`.
    """

    @model_validator(mode="after")
    def _set_rockai_llm_version(self) -> Self:
        self._add_version("langchain-rockai", __version__)
        return self

    @property
    def _llm_type(self) -> str:
        return "rockai"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": PROVIDER}

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
            kwargs: As for `invoke`.

        Returns:
            The JSON body.

        Raises:
            ConfigurationError: The model cannot be sent this.

        Example:
            >>> llm.preview("Say: hello", max_tokens=50)
            {'model': 'meta/meta-llama-3-70b-instruct', 'input': {'prompt': 'Say: hello', 'max_tokens': 50}}
        """
        with translated():
            return self._body(self._request(self._convert_input(input).to_string(), stop, kwargs))

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Run several prompts at once, each a call of its own.

        Args:
            inputs: The prompts, each as for `invoke`.
            config: For all of them, or one for each; ``max_concurrency`` in it bounds how many run at once.
            return_exceptions: Return a failure in its prompt's place instead of raising it.
            kwargs: As for `invoke`, for every prompt.

        Returns:
            The texts, in the order of the prompts.

        Raises:
            RockAIError: A prompt failed, and ``return_exceptions`` is not set; the others' texts are lost.

        Example:
            >>> llm.batch(["Say: one", "Say: two"])
            ['one', 'two']
        """
        # `BaseLLM.batch` gives every input the first failure, and loses what the others paid for
        # (langchain_core/language_models/llms.py); a Runnable's does not.
        return Runnable.batch(self, inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """As `batch`, with ``await``.

        Example:
            >>> await llm.abatch(["What is 2 + 3?", "Say: hello"])
            ['2 + 3 = 5', 'hello']
        """
        return await Runnable.abatch(self, inputs, config, return_exceptions=return_exceptions, **kwargs)

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if len(prompts) == 1:  # in this thread, which Ctrl-C reaches
            return _result([self._complete(prompts[0], stop, run_manager, kwargs)])
        with ContextThreadPoolExecutor(max_workers=_MOST_THREADS) as pool:
            # The manager is the first prompt's only, so nobody is told of tokens.
            return _result(list(pool.map(lambda prompt: self._complete(prompt, stop, None, kwargs), prompts)))

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        teller = run_manager if len(prompts) == 1 else None  # as in `_generate`
        calls = (self._acomplete(prompt, stop, teller, kwargs) for prompt in prompts)
        return _result(await asyncio.gather(*calls))

    def _complete(
        self,
        prompt: str,
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
    ) -> Generation:
        if self.streaming:
            return joined(self._stream(prompt, stop, run_manager, **kwargs))
        with self._translated(kwargs):
            completion = self._begin(prompt, stop, kwargs)
            run(self._sync_client(), completion, kwargs.get("timeout"))
            return completion.result()

    async def _acomplete(
        self,
        prompt: str,
        stop: list[str] | None,
        run_manager: AsyncCallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
    ) -> Generation:
        if self.streaming:
            return joined([chunk async for chunk in self._astream(prompt, stop, run_manager, **kwargs)])
        with self._translated(kwargs):
            completion = self._begin(prompt, stop, kwargs)
            await arun(self._async_client(), completion, kwargs.get("timeout"))
            return completion.result()

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        with self._translated(kwargs) as dialect:
            completion = self._begin(prompt, stop, kwargs)
            return Chunks(self._sync_client(), completion, dialect, kwargs.get("timeout"), run_manager)

    def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        with self._translated(kwargs) as dialect:
            completion = self._begin(prompt, stop, kwargs)
            return AsyncChunks(self._async_client(), completion, dialect, kwargs.get("timeout"), run_manager)

    def _begin(self, prompt: str, stop: list[str] | None, kwargs: Mapping[str, Any]) -> Completion:
        return Completion(self._request(prompt, stop, kwargs))

    def _request(self, prompt: str, stop: list[str] | None, kwargs: Mapping[str, Any]) -> ModelRequest:
        return completion_request(self._model_settings(stop, kwargs), prompt)


def _result(generations: list[Generation]) -> LLMResult:
    return LLMResult(generations=[[generation] for generation in generations])
