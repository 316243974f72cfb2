"""What `ChatRockAI` and `RockAILLM` have in common: fields, their checks, clients, parameters, preview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self

from langchain_core.load.serializable import Serializable
from pydantic import (
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from langchain_rockai.errors import translated
from rockai_transport import AsyncClient, Client, __version__
from rockai_transport.arguments import check_model, check_token, wrong_argument
from rockai_transport.config import Route
from rockai_transport.lazy_clients import LazyClients
from rockai_transport.prompting.reply.stop import stop_sequences
from rockai_transport.prompting.request.build import ModelRequest, ModelSettings
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.templates import ChatTemplate
from rockai_transport.prompting.tokens import approximate_token_count
from rockai_transport.protocol.references import ModelReference

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RockAIModel"]

USER_AGENT: Final = f"langchain-rockai/{__version__} rockai-integrations/{__version__}"

_COMMON_PARAMETERS: Final = ("temperature", "top_p", "top_k", "max_tokens")
# Per-call keywords that are settings, not parameters of the model. The last two are core's own: `stream` lets
# a caller of `invoke` choose streaming (langchain_core/language_models/chat_models.py, `_should_stream`); the
# other is for traces, and core takes it off before a call, but `preview` may be given a binding's keywords.
_CALL_SETTINGS: Final = frozenset(
    {"model", "dialect", "chat_template", "model_kwargs", "timeout", "stream", "ls_structured_output_format"}
)


def _secret(value: Any) -> Any:
    with translated():
        check_token(value)
    return SecretStr(value) if isinstance(value, str) else value


def _sequence(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class RockAIModel(Serializable):
    """The settings of a model on RockAI, and how a call's own settings change them."""

    model: str = Field(validation_alias=AliasChoices("model", "model_name"))
    """``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits."""
    api_token: Annotated[SecretStr | str | None, BeforeValidator(_secret)] = Field(
        default=None, repr=False, validation_alias=AliasChoices("api_token", "api_key", "rockai_api_token")
    )
    """The token; else the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and ``ROCK_API_TOKEN``,
    read at the first call: this field then stays None."""
    base_url: str | None = Field(default=None, validation_alias=AliasChoices("base_url", "api_base"))
    """Where the service is; else ``ROCKAI_BASE_URL``, else RockAI's own address."""
    temperature: float | None = None
    """The sampling temperature."""
    top_p: float | None = None
    """Nucleus sampling."""
    top_k: int | None = None
    """Top-k sampling, where the model has it."""
    max_tokens: int | None = None
    """How many tokens to generate at most."""
    stop: Annotated[list[str] | str | None, BeforeValidator(_sequence)] = None
    """Stop sequences. They hold for every model; a call's own replace them."""
    timeout: float | None = None
    """Seconds for one whole call. None: no total, only the client's limits for first byte and idleness."""
    max_retries: int = 2
    """Further tries after the first, where another one cannot pay twice."""
    streaming: bool = False
    """True: `invoke` goes through the event stream too, and callbacks see each token. False, where it is
    given: not even `stream` does (core's rule for chat models)."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Inputs of the model itself, sent unchecked and over all others."""
    dialect: str | Dialect | None = None
    """How the model spells its inputs, by name or whole; chosen from the model's name by default."""
    route: Route = "auto"
    """Which way runs are started; see `rockai_transport.Client`."""
    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Further headers for every request. In no trace: they may hold secrets."""
    client: Client | None = Field(default=None, exclude=True, repr=False)
    """A client of your own for blocking calls; its settings then hold, not those above."""
    async_client: AsyncClient | None = Field(default=None, exclude=True, repr=False)
    """The same for asynchronous calls."""

    _clients: LazyClients = PrivateAttr(default_factory=LazyClients)

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # the input may hold the token
    )

    _own_call_settings: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _refuse_wrong_arguments(cls, values: Any) -> Any:
        """Name the nearest right argument for a wrong one, and a missing one; pydantic would not so well."""
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        choices = [field.validation_alias for field in fields.values()]
        aliases = {
            str(name) for choice in choices if isinstance(choice, AliasChoices) for name in choice.choices
        }
        unknown = next((name for name in values if name not in fields and name not in aliases), None)
        with translated():
            if unknown is not None:
                raise wrong_argument(cls.__name__, unknown, fields, "model_kwargs")
            check_model(cls.__name__, values.get("model", values.get("model_name")))
        return values

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Refuse at once what no call could use; the token is read at the first call."""
        with translated():
            ModelReference.parse(self.model)
            self._model_settings(None, {}).resolved()
            if self.client is None and self.async_client is None:
                self._clients.checked(self._client_settings())
        return self

    @model_validator(mode="after")
    def _tell_a_copy_from_a_wish(self) -> Self:
        """Let a configured copy stream.

        ``configurable_fields`` names every field of the copy it makes
        (langchain_core/runnables/configurable.py, `_prepare`), and core takes a named ``streaming=False`` for
        the wish not to stream (langchain_core/language_models/chat_models.py, `_streaming_disabled`).
        """
        if not self.streaming and self.model_fields_set >= type(self).model_fields.keys():
            self.model_fields_set.discard("streaming")
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Pass on: the hook that pydantic makes for the private attribute would end the chain here."""
        super().model_post_init(context)

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Where a trace or a saved copy names the secret instead of holding it.

        Example:
            >>> llm.lc_secrets
            {'api_token': 'ROCKAI_API_TOKEN'}
        """
        return {"api_token": "ROCKAI_API_TOKEN"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether LangChain may dump a model. It may: traces and cache keys show the settings then.

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
        """Estimate a text's number of tokens, without any tokenizer.

        Approximate: RockAI does not tell how its models tokenize. ``custom_get_token_ids`` is used where it
        was given, and makes it exact.

        Args:
            text: Any text.

        Returns:
            The estimate; a third off either way is usual.

        Example:
            >>> llm.get_num_tokens("How many tokens is this?")
            6
        """
        exact = getattr(self, "custom_get_token_ids", None)
        return len(exact(text)) if exact is not None else approximate_token_count(text)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All that changes an answer, as far as it was set: for traces, and for the keys of a cache."""
        names = ("base_url", *_COMMON_PARAMETERS, "stop", "model_kwargs", "dialect", "chat_template")
        values = {name: getattr(self, name, None) for name in names}
        return {
            "model": self.model,
            **{k: value for k, value in values.items() if value not in (None, {}, [])},
        }

    def _client_settings(self) -> dict[str, Any]:
        return {
            "api_token": self.api_token,
            "base_url": self.base_url,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "route": self.route,
            "default_headers": {"User-Agent": USER_AGENT, **(self.default_headers or {})},
        }

    def _sync_client(self) -> Client:
        return self.client or self._clients.get(Client, self._client_settings())

    def _async_client(self) -> AsyncClient:
        return self.async_client or self._clients.get(AsyncClient, self._client_settings())

    def _chat_template(self) -> str | ChatTemplate | None:
        return None

    def _model_settings(self, stop: list[str] | str | None, kwargs: Mapping[str, Any]) -> ModelSettings:
        """The settings of one call.

        A ``model`` of the call's own speaks its own dialect: the one that was chosen for another model could
        format its prompt wrongly, and nobody would see.
        """
        model = kwargs.get("model") or self.model
        other = model != self.model
        parameters = {name: getattr(self, name) for name in _COMMON_PARAMETERS}
        settings = _CALL_SETTINGS | self._own_call_settings
        parameters.update({name: value for name, value in kwargs.items() if name not in settings})
        return ModelSettings(
            model=model,
            dialect=kwargs.get("dialect", None if other else self.dialect),
            chat_template=kwargs.get("chat_template", None if other else self._chat_template()),
            parameters=parameters,
            stop=stop_sequences(self.stop if stop is None else stop),
            extra={**self.model_kwargs, **(kwargs.get("model_kwargs") or {})},
        )

    def _translated(self, kwargs: Mapping[str, Any]) -> translated:
        """As `translated`, with the call's dialect, in whose words a rejected key is explained."""
        with translated():
            return translated(self._model_settings(None, kwargs).resolved())

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """The body that is sent for a request."""
        return self._clients.preview(self.client or self.async_client, self._client_settings(), request)
