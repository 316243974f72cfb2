"""Cuts a stream of text at stop sequences, across piece boundaries.

Invariants: no part of the stop sequence that cuts is ever returned. Only text that could begin one is held
back. The text before the cut is exact, however it was split into pieces. If there are several stop sequences,
the one that is complete first wins, as at a model's server; if several are complete at the same position, the
longest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.reply.token_set import Stage, unfinished


def stop_sequences(given: Any) -> tuple[str, ...]:
    """Read the user's ``stop`` argument.

    Args:
        given: A string, or a list of strings.

    Returns:
        The stop sequences.

    Raises:
        ConfigurationError: It is anything else.
    """
    sequences = [given] if isinstance(given, str) else given
    if not isinstance(sequences, list | tuple) or not all(isinstance(one, str) for one in sequences):
        raise ConfigurationError(f"stop={given!r} must be a text or a list of texts.")
    return tuple(sequences)


class StopCutter(Stage[str]):
    """Takes pieces and returns the text to deliver; leave the stream once :attr:`cut` is true.

    Attributes:
        cut: Whether a stop sequence was reached.
        stop: The stop sequence that was reached, or None.
    """

    def __init__(self, stop: Iterable[str] = ()) -> None:
        """Create a cutter.

        Args:
            stop: The stop sequences; empty ones are ignored.
        """
        self._stops = tuple(dict.fromkeys(sequence for sequence in stop if sequence))
        self.cut = False
        self.stop: str | None = None

    @property
    def settled(self) -> bool:
        """Whether a piece in which no stop sequence can begin would be returned unchanged."""
        return not (self._held or self.cut)

    def _read(self, text: str, *, final: bool) -> str:
        if self.cut or not self._stops:
            return "" if self.cut else text
        hits = [(at + len(s), at, s) for s in self._stops if (at := text.find(s)) >= 0]
        if hits:
            _, at, self.stop = min(hits)
            self.cut = True
            return text[:at]
        emit = len(text) if final else unfinished(text, self._stops)
        self._held = text[emit:]
        return text[:emit]
