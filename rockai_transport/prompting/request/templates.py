"""The chat templates of the common model families, as data, with one renderer.

Each renders what the family's published ``chat_template`` renders, without the leading BOS: the tokenizer
adds it, and two of them would change the prompt. BOS tokens *between* turns, as in Llama 2, are part of the
template and are sent. The templates are in ``templates.json``; their sources are next to the reference
renderings in ``tests/samples/renderings/``.

Nothing is added to a conversation that its author did not write: not the dates that Llama 3.1's template
tells (one of them is July 2024 forever), and not the default system texts of Qwen 2.5, Granite 3.1 to 3.3,
Kimi K2, MiniMax M2, Vicuna and Mistral Small 3. To send these, write them as system text, or pass the
published template as ``chat_template=``.

From 3.1 on, Llama has a role for tool results, ``ipython``. The last control token listed for Llama 3 is the
beginning of 250 tokens that differ only in their numbers. MiniMax's tokens are given by their beginnings,
since the bracket that begins ``[e~[`` could end one of them. Of Mistral's, the fifth and later ones are
tokens since v0.3, and text to earlier tokenizers; breaking them does no harm.

``mistral`` is the first one that Mistral published, for 7B v0.1; those of v0.2 and Mixtral 8x7B differ from
it by single spaces, in which their own revisions differ too. From ``mistral-v3`` on, ``[INST]`` is a token,
and system text stands before the last user turn, or has tokens of its own (v7). Where a template strips some
of the texts (Mistral v3, Gemma 3, Llama 4, Command R, Seed OSS, GLM, Nemotron 3), the white space of all or
of none is stripped. DeepSeek V3.1 and Gemma 4 are asked to answer without thinking, as their templates do by
default; for the larger Gemma 4 models, that is an empty thought in the cue. Others think by default: their
cue opens the reasoning, or leaves it to the model. The reasoning of earlier answers is not sent, as in the
templates; GLM, Kimi and Nemotron have an empty one in its place.

The system message of gpt-oss, which names the channels and the effort, belongs to its format, as the effort
of GLM-5.2 does; its line with the date is left out. System text is gpt-oss's developer message.
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
    """The interface of a template: :class:`TurnTemplate` and ``JinjaTemplate`` implement it.

    Attributes:
        alternating: Whether user and model must take turns, the user first, with system text in the user's
            turn.
        tool_role: The role of a tool's result.
        control_tokens: What a message's text must not contain, besides the tokens known here.
        turn_labels: Words that must not begin a line of a message's text.

    It may also have ``end_tokens``, the tokens that end or open a turn, and ``cue``, the end of the prompt:
    an answer ends at the former, and may begin with the latter.
    """

    @property
    def alternating(self) -> bool: ...  # noqa: D102 - documented above
    @property
    def tool_role(self) -> Literal["user", "tool"]: ...  # noqa: D102
    @property
    def control_tokens(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def turn_labels(self) -> tuple[str, ...]: ...  # noqa: D102

    def render(self, system: str, turns: Sequence[Turn]) -> str:
        """Render a conversation up to the model's turn, without the leading BOS.

        Args:
            system: The leading system text; may be empty.
            turns: The turns after it.

        Returns:
            The prompt.
        """
        ...


@dataclass(frozen=True, slots=True)
class TurnTemplate:
    """A chat template that puts fixed text around each turn.

    Attributes:
        name: Its name in a dialect.
        user: The texts before and after a user's text.
        assistant: The same for the model's text.
        tool: The same for a tool's result, if the template has a role for it; else it is a user's turn.
        results_together: Whether consecutive results are in one such turn.
        system: The same for system text, if it has its own turn; else it opens the first user turn.
        always_system: Whether its turn is there without system text too.
        system_in_user: The texts around system text inside the first user turn.
        system_in_last: Whether system text opens the last user turn instead of the first.
        merged: Whether roles must alternate although there is a system turn.
        prefix: The text before all turns. A BOS is in it only if the tokenizer does not add it.
        cue: The text at the end, after which the model continues.
        trim: Whether the template strips white space around each text.
        bos: The token that opens the rendering, which is not sent.
        control_tokens: Its own control tokens, or beginnings of them.
        turn_labels: As in :class:`ChatTemplate`.
        end_tokens: The tokens that end the model's turn, or open another.
    """

    name: str
    user: Wrap
    assistant: Wrap
    tool: Wrap | None = None
    results_together: bool = False
    system: Wrap | None = None
    always_system: bool = False
    system_in_user: Wrap = ("", "\n\n")
    system_in_last: bool = False
    merged: bool = False
    prefix: str = ""
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
        read: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in row.items()}
        return cls(**read)

    @property
    def alternating(self) -> bool:
        """Whether roles must alternate: the templates without a system turn require it, and some others."""
        return self.merged or self.system is None

    @property
    def tool_role(self) -> Literal["user", "tool"]:
        """The role of tool results: the user's if there is no turn for tools."""
        return "tool" if self.tool else "user"

    def render(self, system: str, turns: Sequence[Turn]) -> str:
        """Render a conversation up to the model's turn, without the leading BOS.

        Args:
            system: The leading system text; may be empty.
            turns: The turns after it.

        Returns:
            The prompt.
        """
        texts = [(getattr(self, turn.role) or self.user, turn.text) for turn in turns]
        if self.system and (system or self.always_system):
            texts.insert(0, (self.system, system))
        elif system:
            at = -1 if self.system_in_last else 0
            wrap, text = texts[at]
            texts[at] = (wrap, _wrapped(self.system_in_user, system) + text)
        rendered = "".join(_wrapped(wrap, text.strip() if self.trim else text) for wrap, text in texts)
        return self.prefix + rendered.removeprefix(self.bos) + self.cue


def _wrapped(wrap: Wrap, text: str) -> str:
    return f"{wrap[0]}{text}{wrap[1]}"


TEMPLATES: Final = {row["name"]: TurnTemplate.read(row) for row in read_table("request/templates.json")}
ALL_CONTROL_TOKENS: Final = tuple(
    dict.fromkeys(token for template in TEMPLATES.values() for token in template.control_tokens)
)
