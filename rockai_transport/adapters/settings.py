"""The settings of a model class, as pydantic fields, and those of one call, in both frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUseDefault

from rockai_transport.adapters.arguments import ALIASES, PER_CALL, check_call, constructor_arguments
from rockai_transport.adapters.clients import LazyClients
from rockai_transport.adapters.replies import ReplyBuilder
from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.config import Route, check_timeout
from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.reply.stop import stop_sequences
from rockai_transport.prompting.request.build import ModelSettings
from rockai_transport.prompting.request.dialects import Dialect, dialect_from_json, dialect_to_json
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.parameters import SAMPLING
from rockai_transport.protocol.references import ModelReference

TEXT = WithJsonSchema({"type": "string"})
"""The JSON schema of a field whose value is not JSON, in the frameworks' own form."""

_OPTIONS: Final = ("max_reasks", "stream_usage", "timeout")
"""Fields that a `ReplyBuilder` receives."""


def _secret(value: Any) -> Any:
    return SecretStr(value) if isinstance(value, str) else value


def _dialect(value: Any) -> Any:
    return dialect_from_json(value) if isinstance(value, Mapping) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _not_given(value: Any) -> Any:
    """Treat a setting that is None as not given."""
    if value is None:
        raise PydanticUseDefault
    return value


_NONE_IS_DEFAULT: Final = BeforeValidator(_not_given)


def _aliases(field: FieldInfo) -> list[str]:
    """Return the other names that pydantic accepts for a field, as in a user's own subclass."""
    given = field.validation_alias  # it includes `alias`
    paths = [getattr(one, "path", [one]) for one in getattr(given, "choices", [given])]
    return [path[0] for path in paths if isinstance(path[0], str)]


@lru_cache(maxsize=128)
def _reader_of(owner: type[BaseModel], name: str) -> TypeAdapter[Any] | None:
    """Return the validator of a single field; None if the class has no such field."""
    if (info := owner.model_fields.get(name)) is None:
        return None
    kind: Any = Annotated[info.annotation, info]
    return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))


class ModelFields(BaseModel):
    """The fields of a model class of either framework, their checks, and the clients behind them.

    A framework's class inherits it before the framework's own base class, and sets the rest: the field for
    the model's own inputs (``_extra_name``), the framework's keywords of a call (``_call_keywords``), and the
    name in the User-Agent (``_package``).
    """

    model: str
    """``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits."""
    api_token: Annotated[SecretStr | str | None, BeforeValidator(_secret)] = Field(default=None, repr=False)
    """The token. Default: the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and
    ``ROCK_API_TOKEN``, read at the first call; this field then stays None."""
    base_url: str | None = None
    """The address of the service. Default: ``ROCKAI_BASE_URL``, else RockAI's own address."""
    temperature: float | None = None
    """The sampling temperature."""
    top_p: float | None = None
    """Nucleus sampling."""
    top_k: int | None = None
    """Top-k sampling, if the model supports it."""
    max_tokens: int | None = None
    """The maximum number of tokens to generate."""
    stop: Annotated[list[str] | str | None, BeforeValidator(_listed)] = None
    """Stop sequences. They work with every model; those of a call replace them."""
    timeout: float | None = None
    """Seconds for one whole run, also with your own client. None: no total; the client's limits for first
    byte and idle time still apply."""
    max_retries: Annotated[int, _NONE_IS_DEFAULT] = 2
    """Number of retries after the first attempt; they never pay twice."""
    max_reasks: Annotated[int, _NONE_IS_DEFAULT] = 1
    """Number of further runs for a chat reply that is not accepted: its tool call is invalid or missing, or
    its answer does not fit the schema. Each run is paid for. 0: none. Completions never use any."""
    stream_usage: Annotated[bool, _NONE_IS_DEFAULT] = True
    """Whether a stream's last chunk contains the token counts, if the service reports them and the prediction
    has an id (``route="predictions"``). This takes one more poll of the prediction."""
    dialect: Annotated[str | Dialect | None, BeforeValidator(_dialect), TEXT] = None
    """The model's input names and chat template, by name or as an object. Default: from the model's name."""
    route: Annotated[Route, _NONE_IS_DEFAULT] = "auto"
    """The route for runs; see `rockai_transport.Client`."""
    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Additional headers for every request; see `rockai_transport.Client`. Excluded from traces, because they
    may contain secrets."""
    client: Annotated[Client | None, TEXT] = Field(default=None, exclude=True, repr=False)
    """Your own client for blocking calls. Its settings replace those above, except ``timeout``, and apply to
    asynchronous calls too, unless there is an ``async_client``."""
    async_client: Annotated[AsyncClient | None, TEXT] = Field(default=None, exclude=True, repr=False)
    """The same for asynchronous calls."""

    if TYPE_CHECKING:  # other names of the fields above, for type checkers; `model_name` cannot be one
        api_key: InitVar[SecretStr | str | None] = None
        rockai_api_token: InitVar[SecretStr | str | None] = None
        api_base: InitVar[str | None] = None

    _clients: LazyClients = PrivateAttr(default_factory=LazyClients)

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,  # the input may contain the token
    )

    _extra_name: ClassVar[str] = ""
    _call_keywords: ClassVar[frozenset[str]] = frozenset()
    _package: ClassVar[str] = ""
    _written_by_dumps: ClassVar[frozenset[str]] = frozenset()
    """Names that a dump contains besides the fields."""

    @model_validator(mode="before")
    @classmethod
    def _check_arguments(cls, given: Any) -> Any:
        """Suggest the correct name for a wrong argument, and name missing ones, better than pydantic does."""
        if not isinstance(given, dict):
            return given
        given = {name: value for name, value in given.items() if name not in cls._written_by_dumps}
        known = {*cls.model_fields, *chain.from_iterable(map(_aliases, cls.model_fields.values()))}
        model = cls.model_fields["model"]
        default = None if model.is_required() else model.default
        return constructor_arguments(cls.__name__, given, known, cls._extra_name, default)

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Refuse settings that no call could use; the token is read at the first call."""
        ModelReference.parse(self.model)
        self._for_call({})
        if self.max_reasks < 0:
            raise ConfigurationError(f"max_reasks={self.max_reasks} must be 0 or more.")
        if self.timeout is not None:
            check_timeout(self.timeout, "timeout")
        if self.client is None and self.async_client is None:
            self._clients.checked(self)
        return self

    @field_serializer("dialect", "chat_template", check_fields=False)
    def _as_json(self, value: Any) -> Any:
        """Serialize to JSON: a Jinja template as its source; template objects of other types are omitted."""
        if isinstance(value, Dialect):
            written = dialect_to_json(value)
            return {**written, "chat_template": self._as_json(written["chat_template"])}
        return value if value is None or isinstance(value, str | dict) else getattr(value, "source", None)

    def model_post_init(self, context: Any, /) -> None:
        """Call the base class: the hook that pydantic creates for the private attribute would not do so."""
        super().model_post_init(context)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._clients = LazyClients()  # noqa: SLF001 - the copy's settings may be changed
        return copied

    def _for_call(
        self, call: Mapping[str, Any], stop: Any = None, keywords: frozenset[str] | None = None
    ) -> tuple[ModelSettings, dict[str, Any]]:
        """Combine the constructor's settings with those of a call.

        A setting that is None in a call counts as not given; a model parameter that is None is not sent. If a
        call has its own ``model``, that model's dialect applies, unless the call passes one: a dialect that
        was chosen for another model could silently format the prompt wrongly.

        Args:
            call: The call's arguments: settings (`PER_CALL`), ``_extra_name``, the framework's keywords, and
                parameters and inputs of the model.
            stop: The call's stop sequences, if the framework passes them separately.
            keywords: The framework's keywords, which are not the model's; None: ``_call_keywords``.

        Returns:
            The settings of the call, with the dialect resolved, so that nothing has to resolve it again; and
            the arguments for a `ReplyBuilder`; see `_OPTIONS`.

        Raises:
            ConfigurationError: An argument belongs to the constructor, or the settings cannot be applied.
        """
        extra_name = self._extra_name
        parameters: dict[str, Any] = {name: getattr(self, name) for name in SAMPLING}
        own: dict[str, Any] = {}
        if call:
            keywords = self._call_keywords if keywords is None else keywords
            check_call(type(self).__name__, call, type(self).model_fields, keywords, extra_name)
            settings_of_a_call = PER_CALL.difference(SAMPLING).union(keywords, {extra_name})
            for given, value in call.items():
                name = ALIASES.get(given, given)
                if name not in settings_of_a_call:
                    parameters[name] = value
                elif value is not None:
                    own[name] = self._as_field(name, value)
        model = own.get("model", self.model)
        default = self if model == self.model else None
        chosen = own.get("dialect", getattr(default, "dialect", None))
        template = own.get("chat_template", getattr(default, "chat_template", None))
        dialect = resolve_dialect(model, chosen, template)
        window, max_tokens = getattr(self, "context_window", None), parameters.get("max_tokens")
        window = window or dialect.context_window
        if window and isinstance(max_tokens, int) and max_tokens >= window:
            raise ConfigurationError(
                f"max_tokens={max_tokens} leaves no room for the prompt: prompt and answer together may have "
                f"{window} tokens (context_window)."
            )
        stop = own.get("stop", self.stop) if stop is None else stop
        settings = ModelSettings(
            model=model,
            dialect=dialect,
            parameters=parameters,
            stop=() if stop is None else stop_sequences(stop),
            extra={**(getattr(self, extra_name) or {}), **own.get(extra_name, {})},
            extra_name=extra_name,
        )
        options = {name: own.get(name, getattr(self, name)) for name in _OPTIONS}
        return settings, options

    def _as_field(self, name: str, value: Any) -> Any:
        """Validate a setting of a call like the constructor would; what is not a field is returned unchanged.

        A dialect is returned unchanged too, because its own error lists the existing ones.

        Raises:
            ConfigurationError: The constructor would refuse it.
        """
        if name == "dialect" or (reader := _reader_of(type(self), name)) is None:
            return value
        try:
            return reader.validate_python(value)
        except ValidationError as error:
            raise ConfigurationError(f"{name}: {error.errors()[0]['msg']}.") from None

    def _sync_client(self) -> Client:
        return self.client or self._clients.get(Client, self, self._package)

    def _async_client(self) -> AsyncClient:
        return self.async_client or self._clients.get(AsyncClient, self, self._package)

    def _body(self, builder: ReplyBuilder[Any, Any]) -> dict[str, Any]:
        """Return the body of a reply's first run."""
        return self._clients.preview(self, builder.dialogue.running)
