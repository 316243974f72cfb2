"""The chat templates of the common model families, as data and one renderer.

Each is what the family's published ``chat_template`` renders, without the leading BOS: a tokenizer adds it,
and two of them make a different prompt. BOS tokens *between* turns, as Llama 2 wants them, are part of the
template and are sent. They are in ``templates.json``; the sources stand beside the reference renderings in
``tests/samples/renderings/``.

From 3.1 on Llama has a role for what a tool says, ``ipython``. The last control token of Llama 3 is the
beginning of 250, told apart by their numbers only. From the fifth on, Mistral's are tokens since v0.3, and
text to earlier tokenizers: breaking them costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

from rockai_transport.prompting.data import read_table
from rockai_transport.prompting.messages import Turn

Wrap = tuple[str, str]


@runtime_checkable
class ChatTemplate(Protocol):
    """What the request builder needs of a template; :class:`TurnTemplate` and ``JinjaTemplate`` are two.

    Attributes:
        alternating: Whether user and model must take turns, the user first, system text inside his turn.
        tool_role: The role that a tool's result is told in.
        control_tokens: What must not stand in a message's text, beside the tokens known here.
        turn_labels: Words that must not begin a line of a message's text.

    It may have ``end_tokens`` as well, the tokens that end or open a turn, and ``cue``, what the prompt ends
    with: an answer ends at the ones, and may begin with the other.
    """

    @property
    def alternating(self) -> bool: ...  # noqa: D102 - told above
    @property
    def tool_role(self) -> Literal["user", "tool"]: ...  # noqa: D102
    @property
    def control_tokens(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def turn_labels(self) -> tuple[str, ...]: ...  # noqa: D102

    def render(self, system: str, turns: Sequence[Turn]) -> str:
        """Render a conversation up to where the model speaks, without the leading BOS.

        Args:
            system: The leading system text; empty for none.
            turns: The turns behind it.

        Returns:
            The prompt.
        """
        ...


@dataclass(frozen=True, slots=True)
class TurnTemplate:
    """A chat template that puts fixed text around each turn.

    Attributes:
        name: How a dialect refers to it.
        user: What stands before and behind a user's text.
        assistant: Likewise for the model's.
        tool: Likewise for a tool's result, where the template has a role for it; else it is a user's turn.
        system: Likewise for system text, where it has a turn of its own; else it opens the first user turn.
        system_in_user: What stands around system text inside the first user turn.
        cue: What stands at the end, where the model goes on.
        trim: Whether the template strips white space around each text.
        bos: The token that opens the rendering, which is not sent.
        control_tokens: Its own control tokens, or beginnings of them.
        turn_labels: As in :class:`ChatTemplate`.
        end_tokens: Those of its tokens that end the model's turn, or open another.
    """

    name: str
    user: Wrap
    assistant: Wrap
    tool: Wrap | None = None
    system: Wrap | None = None
    system_in_user: Wrap = ("", "\n\n")
    cue: str = ""
    trim: bool = False
    bos: str = ""
    control_tokens: tuple[str, ...] = ()
    turn_labels: tuple[str, ...] = ()
    end_tokens: tuple[str, ...] = ()

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> TurnTemplate:
        """Read a template from JSON.

        Args:
            row: Its attributes.

        Returns:
            The template.
        """
        known: dict[str, Any] = {
            key: tuple(one) if isinstance(one, list) else one for key, one in row.items()
        }
        return cls(**known)

    @property
    def alternating(self) -> bool:
        """Templates without a system turn are the ones that demand strict alternation."""
        return self.system is None

    @property
    def tool_role(self) -> Literal["user", "tool"]:
        """Where there is no turn for tools, the user tells their results."""
        return "tool" if self.tool else "user"

    def render(self, system: str, turns: Sequence[Turn]) -> str:
        """Render a conversation up to where the model speaks, without the leading BOS.

        Args:
            system: The leading system text; empty for none.
            turns: The turns behind it.

        Returns:
            The prompt.
        """
        texts = [(getattr(self, turn.role) or self.user, turn.text) for turn in turns]
        if system and self.system:
            texts.insert(0, (self.system, system))
        elif system:
            wrap, first = texts[0]
            texts[0] = (wrap, _wrapped(self.system_in_user, system) + first)
        rendered = "".join(_wrapped(wrap, text.strip() if self.trim else text) for wrap, text in texts)
        return rendered.removeprefix(self.bos) + self.cue


def _wrapped(wrap: Wrap, text: str) -> str:
    return f"{wrap[0]}{text}{wrap[1]}"


TEMPLATES: Final = {row["name"]: TurnTemplate.read(row) for row in read_table("request/templates.json")}
ALL_CONTROL_TOKENS: Final = tuple(
    dict.fromkeys(token for template in TEMPLATES.values() for token in template.control_tokens)
)
