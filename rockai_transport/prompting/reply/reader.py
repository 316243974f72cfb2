"""What a model writes, read while it streams: one object for text, reasoning, calls and stop sequences.

The order is the order in which a service would do it: stop sequences cut the text the model writes, whatever
it is (a stop sequence inside reasoning or a call cuts there); then reasoning is told from the answer; then
calls are read out of the answer.

With a forced choice nothing comes out before a call was found: a reply without one is not accepted, and what
was shown of it could not be taken back. What was held comes out right before the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reasoning import ReasoningDelta, ReasoningSplitter, TextDelta
from rockai_transport.prompting.reply.stop import StopCutter
from rockai_transport.prompting.reply.tool_reader import ToolCallReader, new_call_id
from rockai_transport.prompting.request.tool_choice import ToolSetup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "InvalidToolCall",
    "ModelReply",
    "ReasoningDelta",
    "ReplyPart",
    "ReplyReader",
    "TextDelta",
    "ToolCall",
    "gather",
    "read_reply",
]

ReplyPart = TextDelta | ReasoningDelta | ToolCall | InvalidToolCall
_P = TypeVar("_P")


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A whole reply.

    Attributes:
        text: The answer's text, without calls.
        reasoning: The reasoning that preceded it.
        tool_calls: The calls, in order.
        invalid_tool_calls: What was meant as a call and cannot be read.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    invalid_tool_calls: tuple[InvalidToolCall, ...] = ()


class ReplyReader:
    """Feed it the pieces of a reply; it returns the parts that may be handed on."""

    def __init__(
        self,
        *,
        stop: Iterable[str] = (),
        tools: ToolSetup | None = None,
        inside_reasoning: bool = False,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        """Make a reader for one reply.

        Args:
            stop: The stop sequences.
            tools: The tools of the request.
            inside_reasoning: Whether the prompt ended with an open ``<think>``.
            new_id: Makes a call's id.
        """
        setup = tools or ToolSetup()
        self._cutter = StopCutter(stop)
        self._splitter = ReasoningSplitter(inside=inside_reasoning)
        self._calls = (
            ToolCallReader(setup.callable_names, parallel=setup.parallel, new_id=new_id)
            if setup.active
            else None
        )
        self._waiting = setup.forced
        self._held: list[ReplyPart] = []
        self._flushed = False

    @property
    def cut(self) -> bool:
        """Whether a stop sequence was reached: the stream can be left, :meth:`flush` ends the reply."""
        return self._cutter.cut

    @property
    def waiting(self) -> bool:
        """Whether a call is required and none was found yet."""
        return self._waiting

    def unaccepted(self) -> ModelReply:
        """What came although a call was required: the reply to complain of, once it has ended.

        Returns:
            The parts that were held and never handed on.
        """
        return gather(self._held)

    def feed(self, piece: str) -> list[ReplyPart]:
        """Take the next piece.

        Args:
            piece: Any part of what the model wrote.

        Returns:
            The parts that may be handed on, in order; none of them is empty.
        """
        return self._released(self._read(self._cutter.feed(piece)))

    def flush(self) -> list[ReplyPart]:
        """End the reply; doing it twice adds nothing.

        Returns:
            What was held back. Where a call was required and none came, that is nothing: the reply is not
            accepted.
        """
        if self._flushed:
            return []
        self._flushed = True
        parts = self._read(self._cutter.flush())
        for part in self._splitter.flush():
            parts += self._read_calls(part)
        if self._calls is not None:
            parts += self._calls.flush()
        return self._released(parts)

    def _read(self, text: str) -> list[ReplyPart]:
        parts: list[ReplyPart] = []
        for part in self._splitter.feed(text) if text else ():
            parts += self._read_calls(part)
        return parts

    def _read_calls(self, part: TextDelta | ReasoningDelta) -> Sequence[ReplyPart]:
        if self._calls is None or isinstance(part, ReasoningDelta):
            return [part]
        return self._calls.feed(part.text)

    def _released(self, parts: list[ReplyPart]) -> list[ReplyPart]:
        if not self._waiting:
            return parts
        self._held += parts
        if not any(isinstance(part, ToolCall) for part in parts):
            return []
        self._waiting = False
        held, self._held = self._held, []
        return held


def gather(parts: Iterable[ReplyPart]) -> ModelReply:
    """Put the parts of a reply together.

    Args:
        parts: The parts, in order.

    Returns:
        The reply.
    """
    gathered = list(parts)
    return ModelReply(
        text="".join(part.text for part in _only(TextDelta, gathered)),
        reasoning="".join(part.text for part in _only(ReasoningDelta, gathered)),
        tool_calls=tuple(_only(ToolCall, gathered)),
        invalid_tool_calls=tuple(_only(InvalidToolCall, gathered)),
    )


def read_reply(text: str, reader: ReplyReader) -> ModelReply:
    """Read a reply that came in one piece.

    Args:
        text: What the model wrote.
        reader: A fresh reader.

    Returns:
        The reply.
    """
    return gather([*reader.feed(text), *reader.flush()])


def _only(kind: type[_P], parts: Sequence[ReplyPart]) -> list[_P]:
    return [part for part in parts if isinstance(part, kind)]
