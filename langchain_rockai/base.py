"""The common part of `ChatRockAI` and `RockAILLM`: fields, traces, token counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Generic, Self

from langchain_core.language_models import BaseLanguageModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.base import LanguageModelOutputVar
from pydantic import ConfigDict, Field, model_validator

from langchain_rockai.errors import translate_errors
from langchain_rockai.replies import PROVIDER, LangChainBuilder
from rockai_transport import __version__
from rockai_transport.adapters import ALIASES, SAMPLING, ModelFields
from rockai_transport.prompting import approximate_token_count

CORE_KEYWORDS: Final = frozenset({"stream", "ls_structured_output_format"})
"""Core's keywords of a call. With the first one, a caller of `invoke` chooses streaming
(langchain_core/language_models/chat_models.py, `_should_stream`). The other one is for traces: core removes
it before a call, but a binding's keywords may be passed to `preview`."""

_IDENTIFYING: Final = ("model", "base_url", *SAMPLING, "stop", "model_kwargs", "dialect", "chat_template")


class RockAIModel(ModelFields, BaseLanguageModel[LanguageModelOutputVar], Generic[LanguageModelOutputVar]):
    """The settings of a model on RockAI, and how LangChain saves and traces them."""

    streaming: bool = False
    """True: `invoke` uses the event stream too, and callbacks receive each token. An explicit False turns
    streaming off even for `stream` (core's rule for chat models)."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Inputs of the model itself, sent unchecked; they override all others."""

    model_config = ConfigDict(protected_namespaces=())

    _extra_name: ClassVar[str] = "model_kwargs"
    _package: ClassVar[str] = "langchain-rockai"
    _call_keywords: ClassVar[frozenset[str]] = CORE_KEYWORDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A field's own name takes precedence over another name, as with pydantic's aliases: langchain-tests
        # passes `api_key` to every model (langchain_tests/unit_tests/chat_models.py).
        given = {name: value for name, value in kwargs.items() if ALIASES.get(name) not in kwargs}
        with translate_errors():
            super().__init__(*args, **given)

    @model_validator(mode="after")
    def _suit_core(self) -> Self:
        """Tell core the version, and let a configured copy stream.

        ``configurable_fields`` passes every field to the copy that it creates
        (langchain_core/runnables/configurable.py, `_prepare`), and core treats an explicit
        ``streaming=False`` as a request not to stream (langchain_core/language_models/chat_models.py,
        `_streaming_disabled`).
        """
        self._add_version("langchain-rockai", __version__)
        if not self.streaming and self.model_fields_set >= type(self).model_fields.keys():
            self.model_fields_set.discard("streaming")
        return self

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The environment variable that a trace or a saved copy names instead of the secret.

        Example:
            >>> llm.lc_secrets
            {'api_token': 'ROCKAI_API_TOKEN'}
        """
        return {"api_token": "ROCKAI_API_TOKEN"}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Values that a saved copy stores in another form: a `Dialect` as attributes, a template as source.

        Example:
            >>> llm.lc_attributes
            {}
        """
        return self.model_dump(include={"dialect", "chat_template"}, exclude_none=True)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether LangChain may dump a model. It may, so that traces and cache keys contain the settings.

        To load: ``load(dumped, allowed_objects=[ChatRockAI], valid_namespaces=["langchain_rockai"])``.

        Returns:
            True.

        Example:
            >>> from langchain_core.load import dumpd
            >>> llm.is_lc_serializable(), dumpd(llm)["kwargs"]["model"]
            (True, 'meta/meta-llama-3-70b-instruct')
        """
        return True

    def get_num_tokens(self, text: str) -> int:
        """Estimate the number of tokens of a text, without any tokenizer.

        The result is approximate, because RockAI does not publish the tokenizers of its models. If you pass
        ``custom_get_token_ids``, it is used and the result is exact.

        Args:
            text: Any text.

        Returns:
            The estimate; a third off in either direction is usual.

        Example:
            >>> llm.get_num_tokens("How many tokens is this?")
            6
        """
        return len(exact(text)) if (exact := self.custom_get_token_ids) else approximate_token_count(text)

    def preview(
        self, input: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the exact body that `invoke` would send, without sending it.

        Args:
            input: As for `invoke`.
            stop: As for `invoke`.
            kwargs: As for `invoke`, and the keywords of `bind` and `bind_tools`: ``tools``, ``tool_choice``.

        Returns:
            The JSON body.

        Raises:
            ConfigurationError: The request cannot be sent to the model.

        Example:
            >>> llm.preview("Say: hello", max_tokens=50)
            {'model': 'meta/meta-llama-3-70b-instruct', 'input': {'prompt': 'Say: hello', 'max_tokens': 50}}
        """
        with translate_errors():
            return self._body(self._builder(self._prompt(input), stop, kwargs))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        stop = self.stop if stop is None else stop  # type: ignore[assignment]  # a list, once it was checked
        kwargs.setdefault("model", kwargs.get("model_name"))
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": PROVIDER}

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All set values that change an answer, for traces and for cache keys."""
        values = {name: getattr(self, name, None) for name in _IDENTIFYING}
        return {name: value for name, value in values.items() if value not in (None, {}, [])}

    @property
    def _address(self) -> str:
        """The address of the service, for cache keys: it may be the environment's, or that of a client."""
        return (self.client or self.async_client or self._clients.checked(self)).base_url

    def _prompt(self, input: LanguageModelInput) -> Any:
        """Return an input in the form that core passes: messages, or a string."""
        raise NotImplementedError

    def _builder(
        self, prompt: Any, stop: Any, call: Mapping[str, Any], *, streamed: bool = True
    ) -> LangChainBuilder[Any, Any]:
        """Create the subclass's builder for messages or a string."""
        raise NotImplementedError


def listener(run_manager: Any) -> Callable[[Any], Any] | None:
    """Return the function that passes chunks to callbacks; None if there are none, or if core does it itself.

    In that case core passes no manager (langchain_core/language_models/chat_models.py, `stream`).
    """
    if run_manager is None or not run_manager.handlers:
        return None
    return lambda chunk: run_manager.on_llm_new_token(chunk.text, chunk=chunk)
