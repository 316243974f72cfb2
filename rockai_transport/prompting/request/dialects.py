"""How models spell their inputs: dialects, as data (``dialects.json``).

Per-model knowledge is never code. A :class:`Dialect` says which input keys a model takes, which chat template
it was trained with, what its server adds to a prompt. Which model speaks which dialect is the table in
:mod:`rockai_transport.prompting.request.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final, Literal

from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.request.templates import ChatTemplate, TurnTemplate

Evidence = Literal["seen", "assumed"]


@dataclass(frozen=True, slots=True)
class InputKey:
    """One key of a model's ``input``, and how far it can be relied on.

    Attributes:
        name: The key.
        evidence: ``"seen"`` in a source, or ``"assumed"`` from a sibling or a peer.
        source: Where it was seen, or what the assumption rests on.
    """

    name: str
    evidence: Evidence
    source: str


@dataclass(frozen=True, slots=True)
class ServerTemplate:
    """What a model's server puts around the prompt and cannot be told not to.

    Attributes:
        prefix: What stands before everything.
        system: What stands around the system text, behind the prefix and before the prompt.
        suffix: What stands behind the prompt.
        source: Why this is assumed.
    """

    prefix: str
    system: tuple[str, str]
    suffix: str
    source: str


@dataclass(frozen=True)
class Dialect:
    """How a model spells its inputs.

    A key that is None is one the model does not have. Change one with :meth:`replace`:
    ``Dialect.of(model).replace(image_key="image")``.

    Attributes:
        name: What errors and ``dialect=`` call it.
        chat_template: The name of a built-in template (``llama-2``, ``llama-3``, ``llama-3.1``, ``mistral``,
            ``chatml``, ``plain``), a Jinja source, a template object, or None for a model whose template
            nobody knows: it is sent single user turns only.
        prompt_key: Where the prompt goes.
        system_prompt_key: Where the system text of a single turn goes.
        prompt_template_key: The key that switches the server's own template off when it is ``"{prompt}"``.
        max_tokens_key: How many tokens to generate at most.
        min_tokens_key: How many at least.
        temperature_key: The sampling temperature.
        top_p_key: Nucleus sampling.
        top_k_key: Top-k sampling.
        stop_key: Stop sequences, as a list. They are cut here in any case.
        image_key: Where an image goes, as a URL or data URI.
        max_images: How many images the key takes; more than one are sent as a list.
        fixed_inputs: Inputs that every request carries.
        context_window: How many tokens prompt and answer may have together, where known.
        server_template: What the server adds, where it cannot be switched off.
        always_format: Format single turns here too, instead of leaving them to the server's template.
        stop_at_turn_end: Whether a chat answer ends at a token of the chat template that ends or opens a
            turn, where the model's server did not stop; the token is cut, and the run is left.
        opens_reasoning: Whether the server's template ends the prompt with an open ``<think>``, so that every
            reply begins with reasoning.
        keys: The keys the model takes, each with its evidence. When there are some and all of them are seen,
            other parameters are refused before anything is sent.

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

    @classmethod
    def of(cls, model: str) -> Dialect:
        """Find the dialect of a model, by its name.

        Args:
            model: ``owner/name``, ``owner/name:version`` or a version.

        Returns:
            What is known of it, else what is assumed: a model that nobody knows is sent a ``prompt``.

        Example:
            >>> Dialect.of("meta/llama-2-7b-chat").max_tokens_key
            'max_new_tokens'
        """
        from rockai_transport.prompting.request.models import resolve_dialect

        return resolve_dialect(model)

    @cached_property
    def is_strict(self) -> bool:
        """Whether every key the model takes was seen, so that any other is an error.

        Example:
            >>> Dialect("mine").is_strict
            False
        """
        return bool(self.keys) and all(key.evidence == "seen" for key in self.keys)

    def replace(self, **changes: Any) -> Dialect:
        """Return a copy with the given attributes changed.

        Keys that are named anew (``image_key="image"``) count as keys the model takes.

        Args:
            changes: Attributes and their new values.

        Returns:
            The new dialect.

        Raises:
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


def dialect_to_json(dialect: Dialect) -> dict[str, Any]:
    """Write a dialect as JSON can hold it, for a model that is saved.

    Args:
        dialect: The dialect.

    Returns:
        Its attributes. A template object of the user's own stays what it is.
    """
    written = {one.name: getattr(dialect, one.name) for one in fields(dialect)}
    written["keys"] = [asdict(key) for key in dialect.keys]
    written["server_template"] = dialect.server_template and asdict(dialect.server_template)
    template: Any = dialect.chat_template
    if isinstance(template, TurnTemplate):
        written["chat_template"] = asdict(template)
    return {**written, "fixed_inputs": dict(dialect.fixed_inputs)}


def dialect_from_json(written: Mapping[str, Any]) -> Dialect:
    """Read what `dialect_to_json` has written.

    Args:
        written: The attributes.

    Returns:
        The dialect.

    Raises:
        TypeError: It is none.
    """
    read = dict(written)
    read["keys"] = tuple(InputKey(**key) for key in read.get("keys") or ())
    if isinstance(server := read.get("server_template"), Mapping):
        read["server_template"] = ServerTemplate(**{**server, "system": tuple(server["system"])})
    if isinstance(template := read.get("chat_template"), Mapping):
        read["chat_template"] = TurnTemplate.read(template)
    return Dialect(**read)


def keys_of(names: str, source: str, evidence: Evidence = "seen") -> tuple[InputKey, ...]:
    """List the keys of a model.

    Args:
        names: Their names, a space between two.
        source: As :attr:`InputKey.source`, for all of them.
        evidence: Likewise.

    Returns:
        The keys.
    """
    return tuple(InputKey(name, evidence, source) for name in names.split())


def _assumed(keys: str, source: str, **row: Any) -> Dialect:
    """A dialect of the table: it was seen of one model, and is assumed of the others of its family."""
    return replace(dialect_from_json(row), keys=keys_of(keys, source, "assumed"))


DIALECTS: Final = {row["name"]: _assumed(**row) for row in read_table("request/dialects.json")}
LLAMA_2, LLAMA_3, MISTRAL, CHATML, PLAIN = DIALECTS.values()
UNKNOWN: Final = PLAIN.replace(name="unknown", chat_template=None)
