"""The dialects of models: a table of known models, and patterns for related ones.

For a model in the table every key was seen, so a parameter that it does not list is an error before anything
is sent. A model that only matches a pattern is assumed to be like its relatives: its keys are assumed, and
nothing is refused. Any other model is sent ``prompt``, and set parameters under their usual names.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.request.dialects import DIALECTS, UNKNOWN, Dialect, keys_of
from rockai_transport.prompting.request.nearest import unknown_name
from rockai_transport.prompting.request.templates import TEMPLATES

# A model whose prompt describes an image, a video or a sound: no turns, no sampling.
_MEDIA: Final = Dialect("media", max_tokens_key=None, temperature_key=None, top_p_key=None, top_k_key=None)
_TABLE: Final = read_table("request/models.json")


def _dialect(like: str, source: str = "", keys: str = "", **changes: Any) -> Dialect:
    """Create a row of the table; with a source, all its keys were seen."""
    known = DIALECTS.get(like, _MEDIA)
    if source:
        names = keys or " ".join(key.name for key in known.keys)
        changes["keys"] = keys_of(names, source)
    return known.replace(**changes)


MODELS: Final = {name: _dialect(**row) for name, row in _TABLE["models"].items()}
PATTERNS: Final = {pattern: _dialect(**row) for pattern, row in _TABLE["patterns"].items()}


def resolve_dialect(
    model: str, dialect: str | Dialect | None = None, chat_template: str | Any | None = None
) -> Dialect:
    """Return a model's dialect.

    Args:
        model: ``owner/name``, ``owner/name:version`` or a bare version.
        dialect: The user's own choice, a name or a `Dialect`, which is used unchanged.
        chat_template: The user's own template: a Jinja source or a template object. It replaces the dialect's
            template, and then formats single turns too.

    Returns:
        The dialect; for an unknown model, one without a chat template.

    Raises:
        ConfigurationError: The model is no text, no dialect has that name, or a ``chat_template`` was passed
            for a model whose server always applies its own.
    """
    if not isinstance(model, str):
        raise ConfigurationError(f"model={model!r} must be a text.")
    if dialect is None:
        found = _by_name(model)
    elif isinstance(dialect, Dialect):
        found = dialect
    elif isinstance(dialect, str) and dialect in DIALECTS:
        found = DIALECTS[dialect]
    else:
        chosen = f" For the template {dialect!r}, pass dialect=Dialect('mine', chat_template={dialect!r})."
        hint = chosen if str(dialect) in TEMPLATES else ""
        raise ConfigurationError(unknown_name("a dialect", str(dialect), DIALECTS) + hint)
    if chat_template is None:
        return found
    if found is UNKNOWN:
        # An unknown model. If it does not have this key, its server reports that; without the key, the server
        # could silently put a second template around ours.
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
    whole = name if "/" in name else f"/{name}"  # a server of one's own may need no owner
    fitting = (dialect for pattern, dialect in PATTERNS.items() if fnmatchcase(whole, pattern))
    return next(fitting, UNKNOWN)
