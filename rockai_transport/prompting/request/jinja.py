"""Renders a model's own ``chat_template`` as transformers would, in jinja2's sandbox.

The environment is that of transformers' ``chat_template_utils``: ``ImmutableSandboxedEnvironment`` with
``trim_blocks`` and ``lstrip_blocks``, loop controls, ``{% generation %}`` blocks, ``tojson`` without HTML
escaping, ``raise_exception`` and ``strftime_now``. jinja2 is an optional extra, imported on first rendering.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

from rockai_transport._version import install_command
from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.messages import Role, Turn

if TYPE_CHECKING:
    import jinja2

TOKENS: Final = read_table("request/jinja_tokens.json")
_SAMPLES: Final[tuple[tuple[Role, ...], ...]] = (("user", "assistant", "user"), ("user", "assistant", "tool"))
# A token is recognized by its angle or square brackets.
_SHAPES: Final = r"<[^<>{}'\"\s]{1,40}>|\[/?[A-Z_]{2,40}\]"
# These blocks mark the model's own text for training, and render as their contents.
_GENERATION: Final = (
    (r"(\{%[-+]?\s*)generation\b", r"\1if true"),
    (r"(\{%[-+]?\s*)endgeneration\b", r"\1endif"),
)


class _RaisedByTemplate(Exception):  # noqa: N818 - a signal between two functions here, not an error
    """The template called ``raise_exception``."""


@dataclass(frozen=True, slots=True)
class JinjaTemplate:
    """A chat template in Jinja, as in a model's ``tokenizer_config.json``.

    Attributes:
        source: The template's text. Its ``bos_token`` and ``eos_token`` are derived from it.
    """

    source: str

    # Many published templates raise unless roles alternate, and alternation suits all of them. A template's
    # tool role cannot be known, but every template has user turns. Its source shows no labels.
    alternating: bool = field(default=True, init=False)
    tool_role: Literal["user", "tool"] = field(default="user", init=False)
    turn_labels: tuple[str, ...] = field(default=(), init=False)

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Everything in the source or in a prompt that looks like a token."""
        return _control_tokens(self.source)

    @property
    def end_tokens(self) -> tuple[str, ...]:
        """The known end tokens in the source or in a prompt, and the one that ends a text, if it is used."""
        eos = _bos_and_eos(self.source)[1:] if "eos_token" in self.source else ()
        text, rows = _with_prompts(self.source), TOKENS["ends_no_turn"].items()
        parts = {token for token, others in rows if any(one in text for one in others)}
        found = (token for token in TOKENS["turn_tokens"] if token in text and token not in parts)
        return tuple(dict.fromkeys((*found, *eos)))

    def render(self, system: str, turns: Sequence[Turn]) -> str:
        """Render a conversation up to the model's turn, without the leading BOS.

        If a template refuses a system message, or ignores it, the system text goes into the first user turn.

        Args:
            system: The leading system text; may be empty.
            turns: The turns after it.

        Returns:
            The prompt.

        Raises:
            ConfigurationError: jinja2 is not installed, or the template does not compile, raises, or refuses
                the conversation.
        """
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        shape = _in_blocks if _reads_only_blocks(self.source) else list
        if system:
            rendered = _attempt(self.source, shape([{"role": "system", "content": system}, *messages]))
            is_ignored = rendered.split() == _attempt(self.source, shape(messages)).split()  # but for space
            if rendered.strip() and not is_ignored:
                return rendered
            messages[0] = {"role": "user", "content": f"{system}\n\n{turns[0].text}"}
        try:
            return _rendered(self.source, shape(messages))
        except _RaisedByTemplate as refusal:
            raise ConfigurationError(f"The chat template refuses this conversation: {refusal}") from refusal


def _attempt(source: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """Render, or return nothing if the template refuses the messages or fails."""
    try:
        return _rendered(source, messages)
    except (_RaisedByTemplate, ConfigurationError):
        return ""


def _rendered(source: str, messages: Sequence[Mapping[str, Any]]) -> str:
    bos, eos = _bos_and_eos(source)
    template = _compiled(source)
    values = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        rendered = template.render(values, bos_token=bos, eos_token=eos)
    except _RaisedByTemplate:
        raise
    except Exception as error:
        # A template is a program: it can raise any exception, and each is an error of its author.
        raise ConfigurationError(
            f"The chat template fails on this conversation: {type(error).__name__}: {error}"
        ) from error
    begins = (token for token in (bos, *TOKENS["begins"]) if token and rendered.startswith(token))
    return rendered.removeprefix(next(begins, ""))


@lru_cache(maxsize=32)
def _reads_only_blocks(source: str) -> bool:
    """Return whether a template renders no text unless it is in a block, as those of Idefics and LLaVA."""
    probe = "\ue000"  # of no language: no template contains it
    message = [{"role": "user", "content": probe}]
    return probe not in _attempt(source, message) and probe in _attempt(source, _in_blocks(message))


def _in_blocks(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]


def _bos_and_eos(source: str) -> tuple[str, str]:
    return next((bos, eos) for mark, bos, eos in TOKENS["ends_of_texts"] if mark in source)


@lru_cache(maxsize=32)
def _with_prompts(source: str) -> str:
    """Return the source and a few prompts: a token may be made of a role's name, as in Phi's templates."""
    texts, template = [source], JinjaTemplate(source)
    for system, roles in product(("", "x"), _SAMPLES):
        with suppress(ConfigurationError):
            texts.append(template.render(system, [Turn(role, "x") for role in roles]))
    return "\n".join(texts)


@lru_cache(maxsize=32)
def _control_tokens(source: str) -> tuple[str, ...]:
    own, shaped = TOKENS["own_markup"], re.findall(_SHAPES, _with_prompts(source))
    return tuple(dict.fromkeys(token for token in shaped if token.strip("</>") not in own))


@lru_cache(maxsize=32)
def _compiled(source: str) -> jinja2.Template:
    environment = _environment()
    import jinja2

    for block, own in _GENERATION:
        source = re.sub(block, own, source)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigurationError(
            f"The chat template is not valid Jinja: {error.message} (line {error.lineno})"
        ) from error


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        how = install_command("templates")
        raise ConfigurationError(f"A Jinja chat template needs jinja2: {how}") from error
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _raise_exception(message: str) -> None:
    raise _RaisedByTemplate(message)


def _strftime_now(form: str) -> str:
    """Return today's date, for templates that tell it to the model; the only clock access in this package."""
    from datetime import datetime

    return datetime.now().astimezone().strftime(form)
