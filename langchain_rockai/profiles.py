"""What a model can do, as core's `ModelProfile` says it: read off the model's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.language_models import ModelProfile

if TYPE_CHECKING:
    from rockai_transport.prompting.request.dialects import Dialect

__all__ = ["profile_of"]


def profile_of(dialect: Dialect) -> ModelProfile:
    """Say what a model of a dialect can do.

    ``structured_output`` is not claimed: `create_agent` would then bind ``response_format``
    (langchain/agents/factory.py) where `with_structured_output` and forced tools do more.

    Args:
        dialect: The model's dialect.

    Returns:
        The profile; what is not known is left out.
    """
    has_turns = dialect.chat_template is not None
    profile = ModelProfile(
        text_inputs=True,
        text_outputs=True,
        image_inputs=dialect.image_key is not None,
        image_url_inputs=dialect.image_key is not None,
        tool_calling=has_turns,
        tool_choice=has_turns,
        tool_call_streaming=has_turns,
        temperature=dialect.temperature_key is not None,
    )
    if dialect.context_window is not None:
        profile["max_input_tokens"] = dialect.context_window
    return profile
