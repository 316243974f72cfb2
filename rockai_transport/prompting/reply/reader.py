"""Reads a model's output while it streams: text, reasoning, calls, and where it stops.

The order is that of a service. First, stop sequences and then the tokens that end a turn cut the model's
text, whatever it is (a stop sequence inside reasoning or a call cuts there). Then reasoning is separated from
the answer. Then calls are read from the answer, and from the end of reasoning if there is no answer.

Most pieces are plain text without anything to find. Each stage says whether it is *settled*, and which
characters are *notable* to it: if all stages are settled, a piece without a notable character is delivered
unchanged. If a reply begins with such a piece, this applies from the start: the stages are created at the
first piece that needs them, and then receive the text that they missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply import reasoning, tool_reader
from rockai_transport.prompting.reply.call_values import as_arguments
from rockai_transport.prompting.reply.json_values import find_json, well_formed
from rockai_transport.prompting.reply.reasoning import ReasoningDelta, ReasoningEnd, TextDelta
from rockai_transport.prompting.reply.stop import StopCutter
from rockai_transport.prompting.reply.tool_reader import ToolCallReader, new_call_id
from rockai_transport.prompting.reply.tools import Tools
from rockai_transport.prompting.reply.turn_end import TurnEnd, turn_tokens
from rockai_transport.prompting.request.tool_choice import ToolSetup

_AROUND_CALLS: Final = " \t\r\n`\"'*-•"
ReplyPart = TextDelta | ReasoningDelta | ToolCall | InvalidToolCall
Accepts = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A whole reply.

    Attributes:
        text: The answer's text, without calls.
        reasoning: The reasoning before it.
        tool_calls: The calls, in order.
        invalid_tool_calls: Text that was meant as a call, but is not a valid one.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    invalid_tool_calls: tuple[InvalidToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a reply.

    Attributes:
        stop: The stop sequences at which to cut.
        tools: The tools of the request, whose calls are read from the answer.
        inside_reasoning: What closes the reasoning in which the prompt ended, as far as is known; else empty.
        turn_ends: What ends the answer although the model continues; none for a completion.
        cues: Openings of the model's own turn that it may repeat; they are skipped.
        template: The name of the model's chat template, if it is a built-in one; none for a completion.
        exact: Whether it is the reply of a completion, which is cut only at stop sequences: a ``</think>``
            without an opening is text.
    """

    stop: tuple[str, ...] = ()
    tools: ToolSetup = field(default_factory=ToolSetup)
    inside_reasoning: str = ""
    turn_ends: tuple[str, ...] = ()
    cues: tuple[str, ...] = ()
    template: str = ""
    exact: bool = False


class ReplyReader:
    """Takes the pieces of a reply, and returns the parts that may be delivered.

    Attributes:
        cut: Whether the answer has ended: the stream can be left, and :meth:`flush` ends the reply.
    """

    def __init__(self, reading: Reading, *, accepts: Accepts = lambda _: False) -> None:
        """Create a reader for one reply.

        Args:
            reading: How to read it.
            accepts: Returns whether an object is valid as the arguments of the one function that must be
                called, even if its schema does not match: a class may accept more than its schema shows.
        """
        self.cut = False
        self._reading = reading
        self._accepts = accepts
        self._has_tools = reading.tools.active
        self._reasoning: list[str] = []  # if tools are bound
        self._half = ""  # half a surrogate pair
        self._made = False  # whether the stages were created
        words = reading.template in reasoning.WORDS
        self._may_skip = not (self._has_tools or reading.inside_reasoning or words)
        self._passed: list[str] = []  # pieces delivered unchanged since the stages last got text
        self._settled = False
        self._notable = _search(reading.stop, reading.turn_ends, reading.cues, tools=self._has_tools)

    @property
    def stop_token(self) -> str | None:
        """What ended the answer: a token of the chat template or a stop sequence; None if neither did."""
        by_either = self._made and not (self._calls and self._calls.ended)
        return (self._turn.token or self._cutter.stop) if by_either else None

    def feed(self, pieces: str | Sequence[str]) -> list[ReplyPart]:
        """Take the next pieces.

        Args:
            pieces: Any parts of the model's output; or only one.

        Returns:
            The parts that may be delivered, in order. None of them is empty, and parts of different pieces
            are not merged.
        """
        if isinstance(pieces, str):
            pieces = [pieces]
        if self._settled and not self._notable("".join(pieces)):
            self._passed += pieces
            return list(map(TextDelta, filter(None, pieces)))
        parts: list[ReplyPart] = []
        for piece in pieces:
            parts += self._feed(piece)
        return parts

    def flush(self, *, cut_short: bool = False) -> list[ReplyPart]:
        """End the reply.

        Args:
            cut_short: Whether the service reports that it ended at its length limit.

        Returns:
            The parts that were held back.
        """
        if not self._made:
            return []
        self._catch_up()
        text = self._turn.feed(self._cutter.feed(well_formed(self._half)) + self._cutter.flush())
        parts = self._read(text + self._turn.flush())
        for part in self._splitter.flush():
            parts += self._read_calls(part)
        if self._calls is not None:
            parts += self._calls.flush(cut_short=cut_short)
            parts += () if self._calls.answered else self._last_calls()
        return parts

    def _feed(self, piece: str) -> list[ReplyPart]:
        if self._may_skip:  # the first piece, which may be plain text of the answer
            self._may_skip = False
            self._settled = piece.lstrip()[:1] not in reasoning.FIRST
        self._settled = self._settled and not self._notable(piece)
        if self._settled:
            self._passed.append(piece)
            return [TextDelta(piece)] if piece else []
        self._catch_up()
        parts = self._read(self._turn.feed(self._cutter.feed(self._whole(piece))))
        settled = self._cutter.settled and self._turn.settled and self._splitter.settled
        in_text = self._calls is None or self._calls.in_text
        self._settled = settled and in_text and not self._half
        return parts

    def _catch_up(self) -> None:
        """Create the stages on first use, and pass them the text that was delivered without them."""
        passed, self._passed = "".join(self._passed), []
        if not self._made:
            self._made = True
            given = self._reading
            self._cutter = StopCutter(given.stop)
            self._turn = TurnEnd(given.turn_ends, given.cues)
            self._splitter = reasoning.ReasoningSplitter(
                inside=given.inside_reasoning,
                unannounced=not given.exact,
                begun=bool(passed),
                template=given.template,
            )
            self._calls = self._call_reader() if self._has_tools else None
        self._turn.pass_over(passed)
        self._splitter.pass_over(passed)

    def _whole(self, piece: str) -> str:
        """Return the piece as text that can be sent again: surrogate pairs joined, halves replaced."""
        text, self._half = self._half + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return well_formed(text)

    def _read(self, text: str) -> list[ReplyPart]:
        parts: list[ReplyPart] = []
        self.cut = self._cutter.cut or self._turn.token is not None
        found = self._splitter.feed(text)
        while found:
            for part in found:
                parts += self._read_calls(part)
            found = self._splitter.feed("") if isinstance(found[-1], ReasoningEnd) else []
        for part in self._splitter.flush() if self.cut else []:
            parts += self._read_calls(part)
        self.cut = self.cut or (self._calls is not None and self._calls.ended)
        return parts

    def _call_reader(self) -> ToolCallReader:
        setup = self._reading.tools
        tools = Tools(setup.callable_tools, setup.forced, self._accepts, setup.answer)
        return ToolCallReader(tools, parallel=setup.parallel)

    def _last_calls(self) -> list[ReplyPart]:
        """Return the calls at the end of reasoning that no answer follows: the model moved on."""
        reader = self._call_reader()
        parts = [*reader.feed("".join(self._reasoning)), *reader.flush()]
        text = (at for at, part in enumerate(parts, 1) if isinstance(part, TextDelta) and part.text.strip())
        return [part for part in parts[max(text, default=0) :] if isinstance(part, ToolCall)]

    def _read_calls(self, part: TextDelta | ReasoningDelta) -> Sequence[ReplyPart]:
        if self._calls is None:
            return [part]
        if isinstance(part, ReasoningDelta):
            self._reasoning.append(part.text)
            return [part]
        parts = self._calls.feed(part.text)
        if isinstance(part, ReasoningEnd) and parts and isinstance(parts[-1], TextDelta):
            parts[-1] = ReasoningEnd(parts[-1].text, part.tag)
            self._calls.begin_answer()
        elif isinstance(part, ReasoningEnd) and self._calls.in_value:
            self._splitter.go_on()
        return parts


def unmarked_calls(reply: ModelReply, setup: ToolSetup, accepts: Accepts) -> list[ReplyPart]:
    """Read a required call without an opening token: bare arguments, or all of the reply.

    Args:
        reply: The reply; no call was found in it.
        setup: The tools.
        accepts: As for :class:`ReplyReader`.

    Returns:
        The calls, and the reasoning and text around them; nothing if there is no call.
    """
    if reply.invalid_tool_calls:
        return []
    found = _bare_arguments(reply.text, setup, accepts) or _only_calls(reply.text, setup)
    return [ReasoningDelta(reply.reasoning), *found] if found and reply.reasoning else found


def _bare_arguments(text: str, setup: ToolSetup, accepts: Accepts) -> list[ReplyPart]:
    """Return the call if the text is only the arguments of the one function that must be called."""
    if len(setup.callable_tools) != 1:
        return []
    [(name, schema)] = setup.callable_tools.items()

    def read(value: Any) -> dict[str, Any] | None:
        arguments = as_arguments(value, name, schema)
        return value if arguments is None and isinstance(value, dict) and accepts(value) else arguments

    try:
        value, *around = find_json(text, lambda one: read(one) is not None)
    except ValueError:
        return []
    if (arguments := read(value)) is None:
        return []
    texts: list[ReplyPart] = [TextDelta(one) for one in around if one and not one.isspace()]
    return [*texts, ToolCall(new_call_id(), name, arguments)]


def _only_calls(text: str, setup: ToolSetup) -> list[ReplyPart]:
    """Return the calls of a reply that is only ``name(key="value")``, or JSON in backticks or quotes."""
    body = text.strip(_AROUND_CALLS)
    reader = ToolCallReader(Tools(setup.callable_tools), parallel=setup.parallel)
    parts: list[ReplyPart] = [*reader.feed(body if body.startswith("[") else f"[{body}]"), *reader.flush()]
    kinds = {*map(type, parts)}
    return parts if ToolCall in kinds and TextDelta not in kinds else []


def gather(parts: Iterable[ReplyPart]) -> ModelReply:
    """Combine the parts of a reply.

    Args:
        parts: The parts, in order.

    Returns:
        The reply.
    """
    parts = list(parts)
    if ReasoningEnd in map(type, parts):
        parts = announced(parts)
    return ModelReply(
        "".join([part.text for part in parts if isinstance(part, TextDelta)]),
        "".join([part.text for part in parts if isinstance(part, ReasoningDelta)]),
        tuple([part for part in parts if isinstance(part, ToolCall)]),
        tuple([part for part in parts if isinstance(part, InvalidToolCall)]),
    )


def announced(parts: list[ReplyPart]) -> list[ReplyPart]:
    """Mark reasoning as reasoning, in parts that were not delivered yet.

    Args:
        parts: The parts of a reply, from its beginning.

    Returns:
        The same parts; text that a `ReasoningEnd` identifies as reasoning becomes `ReasoningDelta`.
    """
    ends = [(at, part.tag) for at, part in enumerate(parts, 1) if isinstance(part, ReasoningEnd)]
    end, tag = ends[0] if ends else (0, "")
    begin = parts[:end]
    thought = "".join(part.text for part in begin if isinstance(part, TextDelta)).removesuffix(tag)
    calls = [part for part in begin if isinstance(part, ToolCall | InvalidToolCall)]
    return [*([ReasoningDelta(thought)] if thought else []), *calls, *parts[end:]]


def read_reply(text: str, reading: Reading) -> ModelReply:
    """Read a reply that came in one piece.

    Args:
        text: The model's output.
        reading: How to read it.

    Returns:
        The reply.
    """
    reader = ReplyReader(reading)
    return gather([*reader.feed(text), *reader.flush()])


@lru_cache(maxsize=64)
def _search(
    stop: tuple[str, ...], turn_ends: tuple[str, ...], cues: tuple[str, ...], *, tools: bool
) -> Callable[[str], object]:
    """Search for a character that matters to a stage; half a surrogate pair matters to all of them."""
    first = "".join(sequence[:1] for sequence in stop) + turn_tokens(turn_ends, cues)[2]
    others = reasoning.NOTABLE + (tool_reader.NOTABLE if tools else "")
    return re.compile(f"[\ud800-\udfff{re.escape(first + others)}]").search
