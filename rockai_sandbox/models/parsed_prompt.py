"""What a text model has before it, once its prompt was read as turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ParsedTurn:
    """One turn, as it stands between the control tokens."""

    role: Role
    text: str


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt read as turns.

    Attributes:
        turns: All of them, oldest first; the model's own opened turn at the end is not among them.
        fault: Why the prompt is no well-formed conversation; empty if it is one.
        is_bare: Whether the prompt held no control token at all and is therefore one text without turns.
    """

    turns: tuple[ParsedTurn, ...] = ()
    fault: str = ""
    is_bare: bool = False

    @property
    def system(self) -> str:
        """All system turns as one text."""
        return "\n\n".join(turn.text for turn in self.turns if turn.role == "system")

    @property
    def last(self) -> str:
        """What the user said last."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def earlier(self) -> tuple[ParsedTurn, ...]:
        """The turns before the user's last one, without the system's."""
        users = [index for index, turn in enumerate(self.turns) if turn.role == "user"]
        return tuple(turn for turn in self.turns[: users[-1]] if turn.role != "system") if users else ()
