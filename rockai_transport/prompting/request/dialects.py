"""The models' input names and chat templates: dialects, as data (``dialects.json``).

Per-model knowledge is never code. A :class:`Dialect` contains a model's input keys, its chat template, and
what its server adds to a prompt. The table in :mod:`rockai_transport.prompting.request.models` assigns
dialects to models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from types import NoneType
from typing import Any, Final, Literal

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.request.jinja import JinjaTemplate
from rockai_transport.prompting.request.templates import ChatTemplate, TurnTemplate

Evidence = Literal["seen", "assumed"]


@dataclass(frozen=True, slots=True)
class InputKey:
    """One key of a model's ``input``, and how reliable it is.

    Attributes:
        name: The key.
        evidence: ``"seen"`` in a source, or ``"assumed"`` from a related model or service.
        source: Where it was seen, or the basis of the assumption.
    """

    name: str
    evidence: Evidence
    source: str


@dataclass(frozen=True, slots=True)
class ServerTemplate:
    """What a model's server always adds to the prompt.

    Attributes:
        prefix: The text at the very beginning.
        system: The texts before and after the system text, between prefix and prompt.
        suffix: The text after the prompt.
        source: Why this is assumed.
    """

    prefix: str
    system: tuple[str, str]
    suffix: str
    source: str


_KINDS: Final[Mapping[str, Any]] = {
    "str": str,
    "str | None": (str, NoneType),
    "int": int,
    "int | None": (int, NoneType),
    "bool": bool,
    "Mapping[str, Any]": Mapping,
    "ServerTemplate | None": (ServerTemplate, NoneType),
    "tuple[InputKey, ...]": tuple,
}
"""The types of a dialect's attributes, by their annotations; a chat template is checked when it is read."""


@dataclass(frozen=True)
class Dialect:
    """A model's input names and chat template.

    A key that is None does not exist for the model. Change one with :meth:`replace`:
    ``Dialect.of(model).replace(image_key="image")``.

    Attributes:
        name: Its name in errors and in ``dialect=``.
        chat_template: The name of a built-in template (``llama-2``, ``llama-3``, ``llama-3.1``, ``llama-4``,
            ``mistral``, ``mistral-v3``, ``mistral-v3-tekken``, ``mistral-v7``, ``mistral-v7-tekken``,
            ``chatml``, ``gemma``, ``phi-3``, ``phi-4``, ``phi-4-mini``, ``granite``, ``deepseek``,
            ``deepseek-r1``, ``deepseek-v3.1``, ``kimi-k2``, ``kimi-k2-thinking``, ``command-r``,
            ``openchat``, ``zephyr``, ``gemma-4``, ``gemma-4-edge``, ``seed-oss``, ``qwen``,
            ``qwen3-thinking``, ``qwen3.5``, ``nemotron-3``, ``glm-4.5``, ``glm-4.7``, ``glm-5.2``,
            ``minimax-m2``, ``kimi-k2.5``, ``gpt-oss``, ``vicuna``, ``plain``), a Jinja source, a template
            object, or None for a model whose template is not known: it accepts only single user turns.
        prompt_key: The key of the prompt.
        system_prompt_key: The key of a single turn's system text.
        prompt_template_key: The key that switches the server's own template off if it is ``"{prompt}"``.
        max_tokens_key: The key of the maximum number of tokens to generate.
        min_tokens_key: The key of the minimum number.
        temperature_key: The key of the sampling temperature.
        top_p_key: The key of nucleus sampling.
        top_k_key: The key of top-k sampling.
        stop_key: The key of the stop sequences, a list. The text is cut at them in any case.
        image_key: The key of an image, as a URL or data URI.
        max_images: How many images the key accepts; several are sent as a list.
        fixed_inputs: Inputs of every request.
        context_window: The maximum number of tokens of prompt and answer together, if known.
        server_template: What the server adds, if it cannot be switched off.
        always_format: Format single turns here too, instead of leaving them to the server's template.
        stop_at_turn_end: Whether a chat answer ends at a token of the chat template that ends or opens a
            turn, if the model's server did not stop there; the token is removed, and the run is left.
        opens_reasoning: Whether the server's template ends the prompt with an open ``<think>``, so that every
            reply begins with reasoning.
        keys: The model's keys, each with its evidence. If there are any and all of them are seen, other
            parameters are refused before anything is sent.

    Raises:
        ConfigurationError: An attribute has the wrong type, or two uses have the same key.

    Example:
        >>> dialect = Dialect("mine", chat_template="chatml", max_tokens_key="max_new_tokens")
        >>> from langchain_rockai import ChatRockAI
        >>> ChatRockAI(model="me/mine", dialect=dialect, max_tokens=9).preview("Hello")["input"]
        {'prompt': 'Hello', 'max_new_tokens': 9}
    """

    name: str
    chat_template: str | ChatTemplate | None = None
    prompt_key: str = "prompt"
    system_prompt_key: str | None = None
    prompt_template_key: str | None = None
    max_tokens_key: str | None = "max_tokens"
    min_tokens_key: str | None = None
    temperature_key: str | None = "temperature"
    top_p_key: str | None = "top_p"
    top_k_key: str | None = "top_k"
    stop_key: str | None = None
    image_key: str | None = None
    max_images: int = 1
    fixed_inputs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    context_window: int | None = None
    server_template: ServerTemplate | None = None
    always_format: bool = False
    stop_at_turn_end: bool = True
    opens_reasoning: bool = False
    keys: tuple[InputKey, ...] = ()

    def __post_init__(self) -> None:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for one in fields(self):
            if not isinstance(values[one.name], _KINDS.get(str(one.type), object)):
                raise ConfigurationError(f"Dialect({one.name}={values[one.name]!r}) must be {one.type}.")
        if not all(isinstance(key, InputKey) for key in self.keys):
            raise ConfigurationError(f"Dialect(keys={self.keys!r}) must be a tuple of InputKey objects.")
        for name, least in (("max_images", 0), ("context_window", 1)):
            number = values[name]
            if number is not None and (isinstance(number, bool) or number < least):
                allowed = f"a whole number, {least} or more"
                raise ConfigurationError(f"Dialect({name}={number!r}) must be {allowed}.")
        names = [value for name, value in values.items() if name.endswith("_key") and value is not None]
        if not all(map(str.strip, names)):
            raise ConfigurationError(
                f"Dialect {self.name!r} has an empty key. None: the model has no such input."
            )
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigurationError(f"Dialect {self.name!r} has two uses for the key {min(twice)!r}.")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Return pydantic's schema, as data: pydantic cannot make one for the interface `ChatTemplate`."""
        read = {"type": "no-info", "function": dialect_from_json}
        from_json = {"type": "function-after", "function": read, "schema": {"type": "dict"}}
        unchanged = {"type": "is-instance", "cls": cls}
        return {
            "type": "json-or-python",
            "json_schema": from_json,
            "python_schema": {"type": "union", "choices": [unchanged, from_json]},
            "serialization": {"type": "function-plain", "function": dialect_to_json},
        }

    @classmethod
    def of(cls, model: str) -> Dialect:
        """Return the dialect of a model, by its name.

        Args:
            model: ``owner/name``, ``owner/name:version`` or a version.

        Returns:
            The known dialect, else an assumed one: for an unknown model, it sends a ``prompt``.

        Raises:
            ConfigurationError: The model is no text.

        Example:
            >>> Dialect.of("meta/llama-2-7b-chat").max_tokens_key
            'max_new_tokens'
        """
        from rockai_transport.prompting.request.models import resolve_dialect

        return resolve_dialect(model)

    @cached_property
    def is_strict(self) -> bool:
        """Whether all keys of the model were seen, so that any other is an error.

        Example:
            >>> Dialect("mine").is_strict
            False
        """
        return bool(self.keys) and all(key.evidence == "seen" for key in self.keys)

    def replace(self, **changes: Any) -> Dialect:
        """Return a copy with the given attributes changed.

        New key names (``image_key="image"``) count as keys of the model.

        Args:
            changes: Attributes and their new values.

        Returns:
            The new dialect.

        Raises:
            ConfigurationError: A value has the wrong type, or two uses have the same key.
            TypeError: An attribute does not exist.

        Example:
            >>> Dialect("mine", chat_template="chatml").replace(image_key="image").image_key
            'image'
        """
        changed = replace(self, **changes)
        if not self.is_strict or "keys" in changes:
            return changed
        known = {key.name for key in changed.keys}
        new = [value for attribute, value in changes.items() if attribute.endswith("_key") and value]
        added = tuple(InputKey(name, "seen", "given by the user") for name in new if name not in known)
        return replace(changed, keys=changed.keys + added)

    __replace__ = replace
    """The same for `copy.replace`, which Python 3.13 and later have."""


def dialect_to_json(dialect: Dialect) -> dict[str, Any]:
    """Convert a dialect to JSON-compatible data, for a saved model.

    Args:
        dialect: The dialect.

    Returns:
        Its attributes. A Jinja template becomes its source; other template objects of a user stay.
    """
    template = dialect.chat_template
    written: Any = asdict(template) if isinstance(template, TurnTemplate) else template
    if isinstance(template, JinjaTemplate):
        written = template.source
    plain = asdict(dialect.replace(chat_template=None, fixed_inputs={}))
    return {**plain, "chat_template": written, "fixed_inputs": dict(dialect.fixed_inputs)}


def dialect_from_json(written: Mapping[str, Any]) -> Dialect:
    """Read the result of `dialect_to_json`.

    Args:
        written: The attributes.

    Returns:
        The dialect.

    Raises:
        ConfigurationError: It is not a dialect.
    """
    read = dict(written)
    try:
        read["keys"] = tuple(InputKey(**key) for key in read.get("keys") or ())
        if isinstance(server := read.get("server_template"), Mapping):
            read["server_template"] = ServerTemplate(**{**server, "system": tuple(server["system"])})
        if isinstance(template := read.get("chat_template"), Mapping):
            read["chat_template"] = TurnTemplate.read(template)
        return Dialect(**read)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"This dict is no dialect: {error}.") from None


def keys_of(names: str, source: str, evidence: Evidence = "seen") -> tuple[InputKey, ...]:
    """Create the keys of a model.

    Args:
        names: Their names, separated by spaces.
        source: As :attr:`InputKey.source`, for all of them.
        evidence: As :attr:`InputKey.evidence`, for all of them.

    Returns:
        The keys.
    """
    return tuple(InputKey(name, evidence, source) for name in names.split())


def _assumed(keys: str, source: str, **row: Any) -> Dialect:
    """Create a dialect of the table: it was seen for one model, and is assumed for others of its family."""
    return replace(dialect_from_json(row), keys=keys_of(keys, source, "assumed"))


DIALECTS: Final = {row["name"]: _assumed(**row) for row in read_table("request/dialects.json")}
LLAMA_2, LLAMA_3, MISTRAL, CHATML, PLAIN = DIALECTS.values()
UNKNOWN: Final = PLAIN.replace(name="unknown", chat_template=None)
