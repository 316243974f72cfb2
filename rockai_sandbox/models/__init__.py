"""The models that every sandbox has."""

from __future__ import annotations

from rockai_sandbox.models.media import media_models
from rockai_sandbox.models.misc import MISC_MODELS
from rockai_sandbox.models.text import TEXT_MODELS, any_text_model
from rockai_sandbox.registry import Model

__all__ = ["any_text_model", "builtin_models"]


def builtin_models(*, video_seconds: float) -> tuple[Model, ...]:
    """Return the built-in models.

    Args:
        video_seconds: Seconds that it takes to make a video of any length.
    """
    texts = (model.model() for model in TEXT_MODELS)
    return (*texts, *media_models(video_seconds=video_seconds), *MISC_MODELS)
