"""Messages → turns, and turns → a prompt in the model's own template.

Templates have requirements that a conversation may not meet. They are met here, for all templates:

* System messages at the beginning are the conversation's system text, joined by a blank line. A later one
  stays in its place: as a system turn if the template has such turns, else as part of the user's.
* If the template requires alternating roles, consecutive texts of one role are joined by a blank line, and a
  conversation that the model opens gets an empty user turn before it.
* A conversation that ends with the model's own turn, or has no turn, gets an empty user turn.
* A tool's result goes into the template's tool turn, or into the user's if it has none. The results of one
  answer's calls are in the order of the calls, which the prompt has no ids for, and in one turn if the
  template has them so (``results_together``), a line for each.
* Control tokens in the texts are neutralized last, see :mod:`.control_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Message, Role, Turn
from rockai_transport.prompting.request.control_tokens import neutralise
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.jinja import TOKENS, JinjaTemplate
from rockai_transport.prompting.request.nearest import unknown_name
from rockai_transport.prompting.request.templates import ALL_CONTROL_TOKENS, TEMPLATES, ChatTemplate
from rockai_transport.prompting.request.tool_prompt import call_text, result_text

# Those of published templates too: a dialect derived from a model's name may be wrong.
_TOKENS: Final = (*ALL_CONTROL_TOKENS, *TOKENS["begins"], *TOKENS["turn_tokens"], *TOKENS["role_tokens"])
JOINT: Final = "\n\n"
_LONGEST_CUE: Final = 60


def template_of(dialect: Dialect) -> ChatTemplate | None:
    """Find a dialect's chat template.

    Args:
        dialect: The dialect.

    Returns:
        The template, or None if it is not known.

    Raises:
        ConfigurationError: It is no template, nor the name or source of one.
    """
    template = dialect.chat_template
    if not isinstance(template, str):
        if template is None or hasattr(template, "render"):
            return template
        raise ConfigurationError(
            "A chat template must be a built-in one's name, a Jinja source or a template object, not "
            f"{type(template).__name__}."
        )
    if template in TEMPLATES:
        return TEMPLATES[template]
    if "{{" in template or "{%" in template:
        return JinjaTemplate(template)
    raise ConfigurationError(unknown_name("a chat template, nor Jinja", template, TEMPLATES))


def arrange(messages: Sequence[Message], template: ChatTemplate | None) -> tuple[str, tuple[Turn, ...]]:
    """Convert messages to the turns that a template requires, with their control tokens neutralized.

    Args:
        messages: The conversation.
        template: The template; None if the model's template is not known.

    Returns:
        The leading system text, or an empty string; and the turns after it: at least one, and the last one is
        not the model's.

    Raises:
        ConfigurationError: There are no messages.
    """
    if not messages:
        raise ConfigurationError("There are no messages to send: at least one is needed.")
    alternating = template is None or template.alternating
    tokens = _TOKENS + (template.control_tokens if template else ())
    labels = template.turn_labels if template else ()
    system: list[str] = []
    turns: list[tuple[Role, list[str]]] = []
    for message, text in as_text(messages):
        if message.role == "system" and not turns:
            system.append(text)
            continue
        role = _role_in(template, message.role)
        goes_on = bool(turns) and turns[-1][0] == role
        if goes_on and alternating:
            turns[-1][1].append(text)
        elif goes_on and role == "tool" and getattr(template, "results_together", False):
            turns[-1][1][-1] += f"\n{text}"
        else:
            turns.append((role, [text]))
    if alternating and turns and turns[0][0] == "assistant":
        turns.insert(0, ("user", [""]))
    if not turns or turns[-1][0] in ("assistant", "system"):
        turns.append(("user", [""]))
    arranged = [Turn(role, neutralise(JOINT.join(texts), tokens, labels)) for role, texts in turns]
    return neutralise(JOINT.join(filter(None, system)), tokens, labels), tuple(arranged)


def _role_in(template: ChatTemplate | None, role: Role) -> Role:
    """Return the role that a template has for a message after the leading system text."""
    if role == "tool":
        return template.tool_role if template else "user"
    return "user" if role == "system" and (template is None or template.alternating) else role


def turn_ends(dialect: Dialect, prompt: str, last: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what ends a model's turn although the model continues.

    Args:
        dialect: The model's dialect.
        prompt: The prompt that is sent.
        last: The text of the last message.

    Returns:
        The template's tokens, and the labels at the start of a line that occur in the prompt but not in the
        last message; and the openings of its own turn that the model may repeat.
    """
    template = template_of(dialect)
    if template is None:
        return (), ()
    tokens: tuple[str, ...] = getattr(template, "end_tokens", ())
    labels: tuple[str, ...] = ()
    for label in template.turn_labels:
        if label not in last and (f"\n{label}" in prompt or prompt.startswith(label)):
            labels += (f"\n{label}",)
    cue = getattr(template, "cue", None)
    if cue is None:  # a Jinja template does not show how it ends the prompt
        begin = max((prompt.rfind(token) for token in tokens), default=-1)
        cue = prompt[begin:] if 0 <= begin < len(prompt) - 1 and len(prompt) - begin < _LONGEST_CUE else ""
    if cue and tokens:
        cue = cue.rstrip()
        bos = getattr(template, "bos", None)
        return tokens, (*((bos,) if bos in tokens else ()), cue, f"{cue}\n", f"{cue}\n\n")
    return tokens + labels, (f"\n{cue}",) if cue and labels else ()


def as_text(messages: Sequence[Message]) -> Iterator[tuple[Message, str]]:
    """Convert each message to text, with its calls and tool results in the format that the model is told.

    Args:
        messages: The conversation.

    Yields:
        Each message with its text.
    """
    names: dict[str, list[str]] = {}  # several if a message's calls have the same id, or none
    order: dict[str, int] = {}  # of the last calls: an agent may pass on their results as they came
    for role, alike in groupby(messages, attrgetter("role")):
        group = list(alike)
        if role == "tool":
            group.sort(key=lambda result: order.get(result.tool_call_id or "", len(order)))
        for message in group:
            text = message.text
            if role == "tool":
                called = names.get(message.tool_call_id or "", [""])
                name = called.pop(0) if len(called) > 1 else called[0]
                text = result_text(message.name or name, message.text, is_error=message.is_error)
            elif message.tool_calls:
                order = {call.id: at for at, call in enumerate(message.tool_calls)}
                names |= {call.id: [] for call in message.tool_calls}
                for call in message.tool_calls:
                    names[call.id].append(call.name or "")
                calls = [call_text(call) for call in message.tool_calls]
                text = "\n".join([message.text, *calls] if message.text else calls)
            yield message, text
