"""A text model's prompt, parsed into turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ParsedTurn:
    """One turn: the text between the control tokens."""

    role: Role
    text: str


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt parsed into turns.

    Attributes:
        turns: All turns, oldest first, without the model's own open turn at the end.
        fault: Why the prompt is not a well-formed conversation; empty if it is one.
        is_bare: Whether the prompt has no control tokens, and is therefore one text without turns.
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
        """The user's last turn."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def earlier(self) -> tuple[ParsedTurn, ...]:
        """The turns before the user's last one, without system turns."""
        users = [index for index, turn in enumerate(self.turns) if turn.role == "user"]
        return tuple(turn for turn in self.turns[: users[-1]] if turn.role != "system") if users else ()
