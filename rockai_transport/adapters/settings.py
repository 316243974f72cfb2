"""The settings of a model class, as pydantic fields, and those of one call: the same in both frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NamedTuple, Self

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
from rockai_transport.protocol.references import ModelReference

__all__ = ["TEXT", "CallSettings", "ModelFields"]

TEXT = WithJsonSchema({"type": "string"})
"""How an object that is no JSON stands in a JSON schema, as the frameworks write their own."""

_SAMPLING: Final = ("temperature", "top_p", "top_k", "max_tokens")
"""Fields that are parameters of the model."""

_OPTIONS: Final = ("max_reasks", "stream_usage", "timeout")
"""Fields that a `ReplyBuilder` is told of."""

_sampling_of = attrgetter(*_SAMPLING)


class CallSettings(NamedTuple):
    """What holds for one call."""

    settings: ModelSettings
    dialect: Dialect
    """The call's dialect, resolved: ``settings`` holds the same, so that nobody has to look for it again."""
    options: dict[str, Any]
    """What a `ReplyBuilder` is told of it; see `_OPTIONS`."""


def _secret(value: Any) -> Any:
    return SecretStr(value) if isinstance(value, str) else value


def _dialect(value: Any) -> Any:
    try:
        return dialect_from_json(value) if isinstance(value, Mapping) else value
    except TypeError as error:
        raise ConfigurationError(f"This dict is no dialect: {error}.") from None


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _not_given(value: Any) -> Any:
    """A setting that is given as None was not given."""
    if value is None:
        raise PydanticUseDefault
    return value


_NONE_IS_DEFAULT: Final = BeforeValidator(_not_given)


def _aliases(field: FieldInfo) -> list[str]:
    """The other names under which pydantic takes a field, of a subclass of a user's own."""
    given = field.validation_alias  # `alias` is in it
    paths = [getattr(one, "path", [one]) for one in getattr(given, "choices", [given])]
    return [path[0] for path in paths if isinstance(path[0], str)]


@lru_cache(maxsize=128)
def _reader_of(owner: type[BaseModel], name: str) -> TypeAdapter[Any] | None:
    """What reads a field alone; None where the class has none of this name."""
    if (info := owner.model_fields.get(name)) is None:
        return None
    kind: Any = Annotated[info.annotation, info]
    return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))


class ModelFields(BaseModel):
    """The fields of a model class of either framework, their checks, and the clients behind them.

    A framework's class inherits it before the framework's own base, and says the rest: what takes the model's
    own inputs (``_extra_name``), which keywords of a call are the framework's (``_call_keywords``), and what
    the User-Agent calls it (``_package``).
    """

    model: str
    """``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits."""
    api_token: Annotated[SecretStr | str | None, BeforeValidator(_secret)] = Field(default=None, repr=False)
    """The token; else the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and ``ROCK_API_TOKEN``,
    read at the first call: this field then stays None."""
    base_url: str | None = None
    """Where the service is; else ``ROCKAI_BASE_URL``, else RockAI's own address."""
    temperature: float | None = None
    """The sampling temperature."""
    top_p: float | None = None
    """Nucleus sampling."""
    top_k: int | None = None
    """Top-k sampling, where the model has it."""
    max_tokens: int | None = None
    """How many tokens to generate at most."""
    stop: Annotated[list[str] | str | None, BeforeValidator(_listed)] = None
    """Stop sequences. They hold for every model; a call's own replace them."""
    timeout: float | None = None
    """Seconds for one whole run, with a client that is handed in too. None: no total, only the client's
    limits for first byte and idleness."""
    max_retries: Annotated[int, _NONE_IS_DEFAULT] = 2
    """Further tries after the first, where another one cannot pay twice."""
    max_reasks: Annotated[int, _NONE_IS_DEFAULT] = 1
    """How many further runs a chat reply may take that cannot be accepted: a call that cannot be read or is
    missing, an answer that does not fit its schema. Each is paid for; 0: none. Completions never take any."""
    stream_usage: Annotated[bool, _NONE_IS_DEFAULT] = True
    """Whether a stream's last chunk tells the token counts, where the service reports them and the prediction
    has an id (``route="predictions"``): that takes one look at the prediction more."""
    dialect: Annotated[str | Dialect | None, BeforeValidator(_dialect), TEXT] = None
    """How the model spells its inputs, by name or whole; chosen from the model's name by default."""
    route: Annotated[Route, _NONE_IS_DEFAULT] = "auto"
    """Which way runs are started; see `rockai_transport.Client`."""
    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Further headers for every request. In no trace: they may hold secrets."""
    client: Annotated[Client | None, TEXT] = Field(default=None, exclude=True, repr=False)
    """A client of your own for blocking calls; its settings then hold, and of those above ``timeout``."""
    async_client: Annotated[AsyncClient | None, TEXT] = Field(default=None, exclude=True, repr=False)
    """The same for asynchronous calls."""

    if TYPE_CHECKING:  # other names of the above, which a type checker then knows; `model_name` cannot be one
        api_key: InitVar[SecretStr | str | None] = None
        rockai_api_token: InitVar[SecretStr | str | None] = None
        api_base: InitVar[str | None] = None

    _clients: LazyClients = PrivateAttr(default_factory=LazyClients)

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,  # the input may hold the token
    )

    _extra_name: ClassVar[str] = ""
    _call_keywords: ClassVar[frozenset[str]] = frozenset()
    _package: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _check_arguments(cls, given: Any) -> Any:
        """Name the nearest right argument for a wrong one, and a missing one; pydantic would not so well."""
        if not isinstance(given, dict):
            return given
        given = {**given}
        given.pop("class_name", None)  # LlamaIndex writes it into every dump
        known = {*cls.model_fields, *chain.from_iterable(map(_aliases, cls.model_fields.values()))}
        model = cls.model_fields["model"]
        default = None if model.is_required() else model.default
        return constructor_arguments(cls.__name__, given, known, cls._extra_name, default)

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Refuse at once what no call could use; the token is read at the first call."""
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
        """As JSON holds it: Jinja as its source, a template that is another object not at all."""
        if isinstance(value, Dialect):
            written = dialect_to_json(value)
            return {**written, "chat_template": self._as_json(written["chat_template"])}
        return value if value is None or isinstance(value, str | dict) else getattr(value, "source", None)

    def model_post_init(self, context: Any, /) -> None:
        """Pass on: the hook that pydantic makes for the private attribute would end the chain here."""
        super().model_post_init(context)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._clients = LazyClients()  # noqa: SLF001 - its settings may be changed
        return copied

    def _for_call(
        self, call: Mapping[str, Any], stop: Any = None, keywords: frozenset[str] | None = None
    ) -> CallSettings:
        """Put together what the constructor set and what a call sets.

        A setting that a call gives as None is as good as not given; a parameter of the model that it gives as
        None is not sent. A ``model`` of the call's own speaks its own dialect, unless the call gives one:
        what was chosen for another model could format its prompt wrongly, and nobody would see.

        Args:
            call: The call's arguments: settings (`PER_CALL`), ``_extra_name``, the framework's own, and for
                the rest parameters and inputs of the model.
            stop: The call's stop sequences, where the framework hands them over apart.
            keywords: The framework's own, which are none of the model's; None: ``_call_keywords``.

        Returns:
            What holds for the call, its dialect resolved.

        Raises:
            ConfigurationError: An argument belongs to the constructor, or the settings cannot be followed.
        """
        extra_name = self._extra_name
        parameters: dict[str, Any] = dict(zip(_SAMPLING, _sampling_of(self), strict=True))
        own: dict[str, Any] = {}
        if call:
            keywords = self._call_keywords if keywords is None else keywords
            check_call(type(self).__name__, call, type(self).model_fields, keywords, extra_name)
            settings_of_a_call = PER_CALL.difference(_SAMPLING).union(keywords, {extra_name})
            for given, value in call.items():
                name = ALIASES.get(given, given)
                if name not in settings_of_a_call:
                    parameters[name] = value
                elif value is not None:
                    own[name] = self._as_field(name, value)
        model = own.get("model", self.model)
        if not isinstance(model, str):
            raise ConfigurationError(f"model={model!r} must be a text.")
        default = self if model == self.model else None
        chosen = own.get("dialect", getattr(default, "dialect", None))
        template = own.get("chat_template", getattr(default, "chat_template", None))
        dialect = resolve_dialect(model, chosen, template)
        self._check_window(dialect, parameters.get("max_tokens"))
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
        return CallSettings(settings, dialect, options)

    def _as_field(self, name: str, value: Any) -> Any:
        """A setting of a call, as the constructor would take it; what is no field stays as it is.

        So does a dialect, whose error names those that there are.

        Raises:
            ConfigurationError: The constructor would not take it.
        """
        if name == "dialect" or (reader := _reader_of(type(self), name)) is None:
            return value
        try:
            return reader.validate_python(value)
        except ValidationError as error:
            raise ConfigurationError(f"{name}: {error.errors()[0]['msg']}.") from None

    def _check_window(self, dialect: Dialect, max_tokens: Any) -> None:
        """Refuse an answer that leaves no room for the prompt.

        Raises:
            ConfigurationError: It does.
        """
        window = getattr(self, "context_window", None) or dialect.context_window
        if window and isinstance(max_tokens, int) and max_tokens >= window:
            raise ConfigurationError(
                f"max_tokens={max_tokens} leaves no room for the prompt: prompt and answer together may have "
                f"{window} tokens (context_window)."
            )

    def _sync_client(self) -> Client:
        return self.client or self._clients.get(Client, self, self._package)

    def _async_client(self) -> AsyncClient:
        return self.async_client or self._clients.get(AsyncClient, self, self._package)

    def _body(self, builder: ReplyBuilder[Any, Any]) -> dict[str, Any]:
        """The body that is sent for a reply's first run."""
        return self._clients.preview(self, builder.request) if builder.request else {}
