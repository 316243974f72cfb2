"""A call in the frameworks' terms → the exact ``input`` of one run.

Only this module adds to the user's text: the system prompt, the tool instructions and the response format are
at the beginning of the conversation, in this order, once. System text that is given as the model's own input
stands before them: it does not replace them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Image, Message
from rockai_transport.prompting.reply.call_formats import RESULTS
from rockai_transport.prompting.reply.json_values import well_formed
from rockai_transport.prompting.reply.reader import Reading
from rockai_transport.prompting.reply.reasoning import CLOSE_TAG, closing_tag
from rockai_transport.prompting.reply.structured import ResponseFormat
from rockai_transport.prompting.request.chat import JOINT, template_of, turn_ends
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.parameters import map_parameters
from rockai_transport.prompting.request.prompts import AS_IT_IS, chat_inputs, formatted_inputs, image_inputs
from rockai_transport.prompting.request.templates import ChatTemplate
from rockai_transport.prompting.request.tool_choice import ToolSetup
from rockai_transport.prompting.request.tool_prompt import tool_instructions

_AGAIN: Final = (
    "Your answer was not accepted: {validation_error}\n"
    "Answer once more, exactly in the form you were told, and write nothing else."
)
_QUOTED: Final = "You answered before:\n{answer}"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The request of one run, and how to read its answer.

    Attributes:
        model: The model to run.
        input: Its exact input.
        dialect: The dialect of the input.
        reading: How to read the answer.
    """

    model: str
    input: dict[str, Any]
    dialect: Dialect
    reading: Reading


@dataclass(frozen=True)
class ModelSettings:
    """The settings of a call, besides the conversation.

    Attributes:
        model: The model to run.
        dialect: The user's own choice, by name or as an object.
        chat_template: The user's own chat template.
        parameters: Parameters under their common names (``max_tokens``) or the model's own; None means not
            set.
        stop: The stop sequences.
        extra: Inputs sent unchecked; they override all others, except system text, which they precede.
        extra_name: The framework's name for ``extra``, for errors.
    """

    model: str
    dialect: str | Dialect | None = None
    chat_template: str | ChatTemplate | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    stop: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    extra_name: str = "model_kwargs"

    def resolved(self) -> Dialect:
        """Resolve the dialect.

        Returns:
            The dialect, including the user's choices.

        Raises:
            ConfigurationError: The choices cannot be applied.
        """
        return resolve_dialect(self.model, self.dialect, self.chat_template)


@dataclass(frozen=True)
class ChatCall:
    """A chat model's call.

    Attributes:
        settings: The model and its parameters.
        messages: The conversation.
        tools: The tools, normalized by :func:`.tool_choice.set_up_tools`.
        system_prompt: System text before the conversation's own. If the conversation already begins with it,
            it is not repeated.
        response_format: The required format of the reply.
        format_messages: The user's own ``messages_to_prompt``. It receives the conversation with all
            instructions in a first system message, and returns the whole prompt.
    """

    settings: ModelSettings
    messages: Sequence[Message]
    tools: ToolSetup = field(default_factory=ToolSetup)
    system_prompt: str | None = None
    response_format: ResponseFormat | None = None
    format_messages: Callable[[Sequence[Message]], str] | None = None

    def instructed_messages(self) -> tuple[Message, ...]:
        """Add all instructions to the conversation.

        Returns:
            The conversation, with all system text, if any, in one first system message.
        """
        own = list(takewhile(lambda message: message.role == "system", self.messages))
        texts = [message.text for message in own]
        images = tuple([image for message in own for image in message.images])
        if self.system_prompt and self.system_prompt not in texts[:1]:
            texts.insert(0, self.system_prompt)
        if self.tools.active:
            texts.append(tool_instructions(self.tools))
        if self.response_format:
            texts.append(self.response_format.instructions)
        system = JOINT.join(filter(None, texts))
        first = [Message("system", system, images)] if system or images else []
        return (*first, *self.messages[len(own) :])

    def request(self) -> ModelRequest:
        """Build the request.

        Returns:
            The exact input, and how to read the answer.

        Raises:
            ConfigurationError: The request cannot be sent to the model.
        """
        dialect = self.settings.resolved()
        messages = self.instructed_messages()
        model = self.settings.model
        if self.format_messages is not None:
            prompt = formatted_inputs(dialect, self.format_messages(messages), model=model)
        else:
            prompt = chat_inputs(dialect, messages, model=model)
        images = [image for message in messages for image in message.images]
        ends: tuple[str, ...] = ()
        cues: tuple[str, ...] = ()
        if dialect.stop_at_turn_end:
            ends, cues = turn_ends(dialect, str(prompt[dialect.prompt_key]), messages[-1].text)
            ends += RESULTS if self.tools.active else ()
        tools = replace(self.tools, answer=self.response_format.name) if self.response_format else self.tools
        template = dialect.chat_template if isinstance(dialect.chat_template, str) else ""
        reading = {"tools": tools, "turn_ends": ends, "cues": cues, "template": template}
        return _request(self.settings, dialect, prompt, images, **reading)

    def retry_with_feedback(self, answer: str, validation_error: str) -> ChatCall:
        """Show the model an answer that was not accepted, and ask once more.

        Args:
            answer: The model's answer.
            validation_error: What is wrong with it.

        Returns:
            The next call. If the model accepts only single turns, this turn contains everything.
        """
        again = _AGAIN.format(validation_error=validation_error)
        messages = list(self.messages)
        if self.format_messages is None and template_of(self.settings.resolved()) is None:
            last = messages[-1]
            quoted = _QUOTED.format(answer=answer)
            messages[-1] = replace(last, text=JOINT.join((last.text, quoted, again)))
        else:
            messages += [Message("assistant", answer)] if answer else []
            messages.append(Message("user", again))
        return replace(self, messages=tuple(messages))


def completion_request(
    settings: ModelSettings, prompt: str, *, system_prompt: str | None = None, formatted: bool = False
) -> ModelRequest:
    """Build the request of a completion: text in, text out.

    The prompt is sent unchanged; the model's server applies its template to it. Only if something must be
    added here (a system prompt for a model without a key for it, or the user's chat template), the prompt
    becomes the only user turn of a conversation.

    Args:
        settings: The model and its parameters.
        prompt: The prompt.
        system_prompt: System text.
        formatted: Whether the user's own ``completion_to_prompt`` made the prompt, so that no template must
            be applied any more.

    Returns:
        The exact input, and how to read the answer.

    Raises:
        ConfigurationError: The request cannot be sent to the model.
    """
    dialect = settings.resolved()
    if formatted:
        inputs = formatted_inputs(dialect, prompt, model=settings.model, system_prompt=system_prompt)
    elif dialect.always_format or (system_prompt and not dialect.system_prompt_key):
        request = ChatCall(settings, [Message("user", prompt)], system_prompt=system_prompt).request()
        reading = replace(request.reading, turn_ends=(), cues=(), template="", exact=True)
        return replace(request, reading=reading)
    else:
        inputs = {dialect.prompt_key: prompt}
        if system_prompt and dialect.system_prompt_key:
            inputs[dialect.system_prompt_key] = system_prompt
    return _request(settings, dialect, inputs, exact=True)


def _request(
    settings: ModelSettings,
    dialect: Dialect,
    prompt: Mapping[str, Any],
    images: Sequence[Image] = (),
    **reading: Any,
) -> ModelRequest:
    model = settings.model
    inputs = dict(dialect.fixed_inputs)
    for key, text in prompt.items():
        inputs[key] = well_formed(text) if isinstance(text, str) else text
    given = map_parameters(dialect, settings.parameters, model=model, extra_name=settings.extra_name)
    if images:
        inputs |= image_inputs(dialect, images, model=model)
        if dialect.image_key in given:
            raise ConfigurationError(f"{dialect.image_key!r} would replace the messages' image: give one.")
    if dialect.stop_key and settings.stop:
        given[dialect.stop_key] = list(settings.stop)
    given.update(settings.extra)
    key = dialect.system_prompt_key or ""
    if key in given and prompt.get(key) and isinstance(own := given[key] or "", str):
        given[key] = JOINT.join(filter(None, (own, inputs[key])))
    inputs |= given
    # Only a template may end the prompt with an open <think>; a user's text does not count.
    rendered = prompt.get(dialect.prompt_template_key or "") == AS_IT_IS
    opened = closing_tag(str(prompt[dialect.prompt_key])) if rendered else ""
    inside = opened or (CLOSE_TAG if dialect.opens_reasoning else "")
    how_to_read = Reading(tuple(settings.stop), inside_reasoning=inside, **reading)
    return ModelRequest(model, inputs, dialect, how_to_read)
