"""Which model speaks which dialect: a table of the models that were seen, and patterns for their kin.

For a model of the table every key was seen, so that a parameter it does not list is an error before anything
is sent. A model that only matches a pattern is taken to be like its relative: its keys are assumed, and
nothing is refused. Any other model is sent ``prompt``, and parameters that were set, under their usual names.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request import dialects
from rockai_transport.prompting.request.dialects import DIALECTS, Dialect, keys_of
from rockai_transport.prompting.request.nearest import unknown_name

_QUICK_START: Final = "quick start"
_API_PAGE: Final = "API page of August 2024"
_ANIMATE_VERSION: Final = "5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4"


def _seen(dialect: Dialect, source: str, keys: str = "", **changes: Any) -> Dialect:
    """A model all of whose keys were seen: those given, else those its family is taken to have."""
    names = keys or " ".join(key.name for key in dialect.keys)
    return dialect.replace(keys=keys_of(names, source), **changes)


# A model whose prompt describes a picture, a clip or a sound: no turns, no sampling.
_MEDIA: Final = Dialect("media", max_tokens_key=None, temperature_key=None, top_p_key=None, top_k_key=None)
_MUSIC_KEYS: Final = "prompt model_version output_format normalization_strategy"
_VIDEO_KEYS: Final = "image prompt max_frames guidance_scale num_inference_steps"

MODELS: Final[dict[str, Dialect]] = {
    "mistralai/mistral-7b-instruct-v0.1": _seen(dialects.MISTRAL, _QUICK_START),
    "meta/llama-2-7b-chat": _seen(dialects.LLAMA_2, _QUICK_START),
    "meta/meta-llama-3-70b-instruct": _seen(dialects.LLAMA_3, _API_PAGE),
    "incomingflyingbrick/flux-1-schnell": _seen(_MEDIA, _API_PAGE, "prompt", name="text-to-image"),
    "meta/musicgen": _seen(_MEDIA, _API_PAGE, _MUSIC_KEYS, name="text-to-music"),
    _ANIMATE_VERSION: _seen(_MEDIA, _QUICK_START, _VIDEO_KEYS, name="image-to-video", image_key="image"),
}


@dataclass(frozen=True, slots=True)
class ModelPattern:
    """A family of models, told by name.

    Attributes:
        patterns: Shell patterns of ``owner/name``, in lower case.
        dialect: What they are taken to speak.
    """

    patterns: tuple[str, ...]
    dialect: Dialect


# The first that fits counts.
PATTERNS: Final = (
    ModelPattern(("*llama-2*chat*", "*llama2*chat*", "*codellama*instruct*"), dialects.LLAMA_2),
    ModelPattern(
        ("*llama-3.[123]*instruct*", "*llama-3-[123]-*instruct*", "*llama3.[123]*instruct*"),
        dialects.LLAMA_3.replace(chat_template="llama-3.1", context_window=131_072),
    ),
    ModelPattern(("*llama-3-*instruct*", "*llama3-*instruct*"), dialects.LLAMA_3),
    ModelPattern(
        ("*hermes*", "*qwen*chat*", "*qwen*instruct*", "*chatml*", "*dolphin*", "*smollm*instruct*"),
        dialects.CHATML,
    ),
    ModelPattern(("*mistral*instruct*", "*mixtral*instruct*"), dialects.MISTRAL),
)


def resolve_dialect(
    model: str, dialect: str | Dialect | None = None, chat_template: str | Any | None = None
) -> Dialect:
    """Find how a model spells its inputs.

    Args:
        model: ``owner/name``, ``owner/name:version`` or a bare version.
        dialect: The user's own choice: a name or a `Dialect`; it is taken as it is.
        chat_template: The user's own template: a Jinja source or a template object. It replaces the dialect's
            template, and single turns are then formatted with it too.

    Returns:
        The dialect; for an unknown model one that has no chat template.

    Raises:
        ConfigurationError: No dialect has that name, or a ``chat_template`` was given for a model whose
            server applies its own in any case.
    """
    if dialect is None:
        found = _by_name(model)
    elif isinstance(dialect, Dialect):
        found = dialect
    elif dialect in DIALECTS:
        found = DIALECTS[dialect]
    else:
        raise ConfigurationError(unknown_name("a dialect", dialect, DIALECTS))
    if chat_template is None:
        return found
    if found is dialects.UNKNOWN:
        # Nothing is known of this model. If it has no such key it says so; leaving the key out could have
        # its server put a second template around ours, and nobody would see.
        found = found.replace(prompt_template_key="prompt_template")
    if found.server_template is not None or (found.is_strict and not found.prompt_template_key):
        raise ConfigurationError(
            f"chat_template= cannot be used with {model}: it has no prompt_template input, so its server "
            f"applies its own template in any case. Leave chat_template out, or choose another dialect=."
        )
    return found.replace(chat_template=chat_template, always_format=True)


@lru_cache(maxsize=256)
def _by_name(model: str) -> Dialect:
    name, _, version = model.lower().partition(":")
    for reference in (name, version):
        if reference in MODELS:
            return MODELS[reference]
    for family in PATTERNS:
        if any(fnmatchcase(name, pattern) for pattern in family.patterns):
            return family.dialect
    return dialects.UNKNOWN
