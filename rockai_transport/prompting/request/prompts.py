"""A conversation as the inputs of one model, and which side applies the chat template.

* One user turn, with system text only if the model has a key for it: the model's server applies its own
  template, and the text is sent unchanged.
* Anything else is formatted here completely, and sent with ``prompt_template: "{prompt}"``.
* A model without that key, whose server adds known text, is sent the rendering without this text.
* A model with neither gets the rendering: there is nothing to switch off.
* A model whose template is not known accepts only single user turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Image, Message
from rockai_transport.prompting.request.chat import arrange, template_of
from rockai_transport.prompting.request.dialects import Dialect, ServerTemplate

AS_IT_IS: Final = "{prompt}"


def chat_inputs(dialect: Dialect, messages: Sequence[Message], *, model: str) -> dict[str, Any]:
    """Convert a conversation to a model's inputs.

    Args:
        dialect: The model's dialect.
        messages: The conversation, including instructions.
        model: The model, for errors.

    Returns:
        The inputs with the prompt.

    Raises:
        ConfigurationError: The model's template is not known and the conversation is more than one user turn.
    """
    template = template_of(dialect)
    system, turns = arrange(messages, template)
    first = turns[0]
    single = len(turns) == 1 and first.role == "user"
    if template is None and (system or not single):
        raise ConfigurationError(
            f"No chat template is known for {model}, so it takes single user messages only, without a system "
            "message, tools or further turns. Choose one with dialect= ('llama-2', 'llama-3', 'mistral', "
            "'chatml', 'plain' or a Dialect of your own), or give the model's own as chat_template=."
        )
    system_key = dialect.system_prompt_key
    if template is None or (single and not dialect.always_format and (system_key or not system)):
        inputs = {dialect.prompt_key: first.text}
        if system and system_key:
            inputs[system_key] = system
        return inputs
    rendering = template.render(system, turns)
    if dialect.prompt_template_key:
        return {dialect.prompt_key: rendering, dialect.prompt_template_key: AS_IT_IS}
    if dialect.server_template is None:
        return {dialect.prompt_key: rendering}
    prompt = _without_servers_pieces(rendering, system, dialect.server_template, dialect.name)
    # Without this key, the server would insert its own default system prompt.
    return {dialect.prompt_key: prompt, **({system_key: system} if system_key else {})}


def formatted_inputs(
    dialect: Dialect, prompt: object, *, model: str, system_prompt: str | None = None
) -> dict[str, Any]:
    """Return the inputs for a prompt that the caller formatted.

    Args:
        dialect: The model's dialect.
        prompt: The whole prompt, as the model must see it.
        model: The model, for errors.
        system_prompt: System text that is not in the prompt: it goes into the model's key for it, else before
            the prompt.

    Returns:
        The inputs with the prompt.

    Raises:
        ConfigurationError: It is not a string, or the model has no key that switches its server's template
            off.
    """
    if not isinstance(prompt, str):
        given = type(prompt).__name__
        raise ConfigurationError(
            f"messages_to_prompt and completion_to_prompt must return a text, not {given}."
        )
    if not dialect.prompt_template_key:
        raise ConfigurationError(
            f"A prompt formatted by messages_to_prompt or completion_to_prompt cannot be sent to {model}: "
            f"the dialect {dialect.name!r} has no prompt_template input that would keep its server from "
            f"applying its own template. Leave the formatting to the dialect, or choose another dialect=."
        )
    inputs = {dialect.prompt_key: prompt, dialect.prompt_template_key: AS_IT_IS}
    if system_prompt and dialect.system_prompt_key:
        inputs[dialect.system_prompt_key] = system_prompt
    elif system_prompt:
        inputs[dialect.prompt_key] = f"{system_prompt}\n\n{prompt}"
    return inputs


def image_inputs(dialect: Dialect, images: Sequence[Image], *, model: str) -> dict[str, Any]:
    """Return the inputs for images.

    Args:
        dialect: The model's dialect.
        images: URLs, data URIs, or files; at least one.
        model: The model, for errors.

    Returns:
        The inputs.

    Raises:
        ConfigurationError: The model accepts no images, or fewer.
    """
    if dialect.image_key is None:
        raise ConfigurationError(
            f"{model} takes no images, as far as is known. If it does, name the input: "
            f'dialect=Dialect.of({model!r}).replace(image_key="image").'
        )
    if len(images) > dialect.max_images:
        raise ConfigurationError(
            f"{model} takes {dialect.max_images} image(s) in {dialect.image_key!r}, but the messages hold "
            f"{len(images)}. If it takes more, as a list: dialect=….replace(max_images={len(images)})."
        )
    return {dialect.image_key: list(images) if dialect.max_images > 1 else images[0]}


def _without_servers_pieces(rendering: str, system: str, server: ServerTemplate, name: str) -> str:
    """Remove what the server adds, so that the model sees the rendering."""
    prefix = server.prefix + (server.system[0] + system + server.system[1] if system else "")
    if not rendering.startswith(prefix):
        prefix = prefix.rstrip()  # left by a template that trims if the first user turn is empty
    if not (rendering.startswith(prefix) and rendering.endswith(server.suffix)):
        raise ConfigurationError(
            f"The chat template of the dialect {name!r} does not begin and end with what its server_template "
            f"says the server adds, so a conversation cannot be sent without doubling it."
        )
    return rendering[len(prefix) : len(rendering) - len(server.suffix)]
