"""What a text model has before it, once the text was read as turns."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Turn:
    """One turn, as it stands between the control tokens."""

    role: Role
    text: str


@dataclass(frozen=True)
class Conversation:
    """A text read as turns.

    Attributes:
        turns: all of them, oldest first; the model's own opened turn at the end is not among them.
        fault: why the text is no well-formed conversation; empty if it is one.
        is_bare: whether the text held no control token at all and is therefore one text without turns.
    """

    turns: tuple[Turn, ...] = ()
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
    def earlier(self) -> tuple[Turn, ...]:
        """The turns before the user's last one, without the system's."""
        users = [index for index, turn in enumerate(self.turns) if turn.role == "user"]
        return tuple(turn for turn in self.turns[: users[-1]] if turn.role != "system") if users else ()
