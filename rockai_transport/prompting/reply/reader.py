"""What a model writes, read while it streams: one object for text, reasoning, calls, and where it stops.

The order is the order in which a service would do it: stop sequences, then the tokens that end a turn, cut
the text the model writes, whatever it is (a stop sequence inside reasoning or a call cuts there); then
reasoning is told from the answer; then calls are read out of the answer, and out of the end of reasoning that
was never closed.

With a forced choice nothing comes out before a call was found: a reply without one is not accepted, and what
was shown of it could not be taken back. What was held comes out right before the call.

Most pieces are plain text in which nothing has to be looked for. Each stage says whether it is *settled*, and
which characters are *notable* to it: where all are settled, a piece without a notable character is handed on
as it is. A reply that begins with such a piece is read so from the beginning: the stages are made, and told
what they have missed, at the first piece that needs them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply import reasoning, tool_reader
from rockai_transport.prompting.reply.call_heads import Opener
from rockai_transport.prompting.reply.call_values import as_arguments, read_calls
from rockai_transport.prompting.reply.json_values import find_json, well_formed
from rockai_transport.prompting.reply.reasoning import CLOSE_TAG, ReasoningDelta, ReasoningEnd, TextDelta
from rockai_transport.prompting.reply.stop import StopCutter
from rockai_transport.prompting.reply.tool_reader import ToolCallReader, new_call_id, one_too_many
from rockai_transport.prompting.reply.tools import Tools
from rockai_transport.prompting.reply.turn_end import TurnEnd, turn_tokens
from rockai_transport.prompting.request.tool_choice import ToolSetup

_KINDS: Final = (TextDelta, ReasoningEnd, ReasoningDelta, ToolCall, InvalidToolCall)
ReplyPart = TextDelta | ReasoningDelta | ToolCall | InvalidToolCall


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A whole reply.

    Attributes:
        text: The answer's text, without calls.
        reasoning: The reasoning that preceded it.
        tool_calls: The calls, in order.
        invalid_tool_calls: What was meant as a call and cannot be read.
        end_token: The token of the chat template that ended the answer, where one did.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    invalid_tool_calls: tuple[InvalidToolCall, ...] = ()
    end_token: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a reply is read.

    Attributes:
        stop: The stop sequences, to be cut here.
        tools: The tools of the request, to be read from the answer.
        inside_reasoning: Whether the prompt ended with an open ``<think>``, so far as is known.
        turn_ends: What ends the answer although the model goes on; none for a completion.
        cues: What the model may open its own turn with once more; it is passed over.
        exact: Whether the reply is a completion's, of which nothing is cut but at stop sequences: a
            ``</think>`` that nothing opened is text.
    """

    stop: tuple[str, ...] = ()
    tools: ToolSetup = field(default_factory=ToolSetup)
    inside_reasoning: bool = False
    turn_ends: tuple[str, ...] = ()
    cues: tuple[str, ...] = ()
    exact: bool = False


class ReplyReader:
    """Feed it the pieces of a reply; it returns the parts that may be handed on.

    Attributes:
        cut: Whether the answer has ended: the stream can be left, :meth:`flush` ends the reply.
        end_token: The token of the chat template that ended the answer, or None.
        waiting: Whether a call is required and none was found yet.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        new_id: Callable[[], str] = new_call_id,
        accepts: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """Make a reader for one reply.

        Args:
            reading: How it is read.
            new_id: Makes a call's id.
            accepts: Whether an object is right as the arguments of the one function that must be called,
                although its schema does not say so: a class may take more than its schema shows.
        """
        self.cut = False
        self.end_token: str | None = None
        self.waiting = reading.tools.forced
        self._reading = reading
        self._new_id = new_id
        self._accepts = accepts or (lambda _: False)
        self._has_tools = reading.tools.active
        self._reasoning: list[str] = []  # where tools are bound
        self._held: list[ReplyPart] = []
        self._half = ""  # half a surrogate pair
        self._made = False  # whether there are stages
        self._may_skip = not (self._has_tools or reading.inside_reasoning)
        self._passed: list[str] = []  # pieces that came out as they are, since the stages were last fed
        self._settled = self._flushed = False
        self._notable = _search(
            reading.stop, reading.turn_ends, reading.cues, exact=reading.exact, tools=self._has_tools
        )

    @property
    def stop_token(self) -> str | None:
        """What ended the answer: a token of the chat template or a stop sequence; None where neither did."""
        return self.end_token or (self._cutter.stop if self._made else None)

    def rejected(self) -> ModelReply:
        """What came although a call was required, once the reply has ended.

        Returns:
            The parts that were held and never handed on.
        """
        return gather(self._held, self.end_token)

    def feed(self, piece: str) -> list[ReplyPart]:
        """Take the next piece.

        Args:
            piece: Any part of what the model wrote.

        Returns:
            The parts that may be handed on, in order; none of them is empty.
        """
        if self._settled and piece and not self._notable(piece):
            self._passed.append(piece)
            return [TextDelta(piece)]
        return self._feed(piece)

    def feed_batch(self, pieces: Sequence[str]) -> list[ReplyPart]:
        """Take the next pieces: as :meth:`feed` for each, in one call.

        Args:
            pieces: Any parts of what the model wrote.

        Returns:
            The parts that may be handed on, in order; those of different pieces are not put together.
        """
        if self._settled and not self._notable("".join(pieces)):
            self._passed += pieces
            return list(map(TextDelta, filter(None, pieces)))
        return [part for piece in pieces for part in self.feed(piece)]

    def flush(self) -> list[ReplyPart]:
        """End the reply; doing it twice adds nothing.

        Returns:
            What was held back. Where a call was required and none came, that is nothing: the reply is not
            accepted.
        """
        if self._flushed or not (self._made or self.waiting):
            return []
        self._catch_up()
        self._flushed, self._settled = True, False
        text = self._turn.feed(self._cutter.feed(well_formed(self._half)) + self._cutter.flush())
        parts = self._read(text + self._turn.flush())
        for part in self._splitter.flush():
            parts += self._read_calls(part)
        if self._calls is not None:
            parts += self._calls.flush()
            parts += self._last_calls() if self._splitter.inside else ()
        return self._released(parts) or (self._unmarked_call() if self.waiting else [])

    def _feed(self, piece: str) -> list[ReplyPart]:
        if self._may_skip:  # the first piece, which may be text of the answer at once
            self._may_skip = False
            self._settled = piece.lstrip()[:1] not in reasoning.FIRST and not self._notable(piece)
            if self._settled:
                return self.feed(piece)
        self._catch_up()
        parts = self._released(self._read(self._turn.feed(self._cutter.feed(self._whole(piece)))))
        settled = self._cutter.settled and self._turn.settled and self._splitter.settled
        in_text = self._calls is None or self._calls.in_text
        self._settled = settled and in_text and not (self.waiting or self._half)
        return parts

    def _catch_up(self) -> None:
        """Make the stages, when they are first needed, and have them note what came out without them."""
        passed, self._passed = "".join(self._passed), []
        if not self._made:
            self._made = True
            given = self._reading
            self._cutter = StopCutter(given.stop)
            self._turn = TurnEnd(given.turn_ends, given.cues)
            self._splitter = reasoning.ReasoningSplitter(
                inside=given.inside_reasoning, unannounced=not given.exact, begun=bool(passed)
            )
            self._calls = self._call_reader() if self._has_tools else None
        self._turn.pass_over(passed)
        self._splitter.pass_over(passed)

    def _whole(self, piece: str) -> str:
        """The piece, as text that can be sent again: pairs of surrogates joined, halves replaced."""
        text, self._half = self._half + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return well_formed(text)

    def _read(self, text: str) -> list[ReplyPart]:
        parts: list[ReplyPart] = []
        for part in self._splitter.feed(text) if text else ():
            parts += self._read_calls(part)
        self.cut, self.end_token = self._cutter.cut or self._turn.token is not None, self._turn.token
        return parts

    def _call_reader(self) -> ToolCallReader:
        setup = self._reading.tools
        return ToolCallReader(
            setup.callable_tools,
            parallel=setup.parallel,
            demanded=setup.forced,
            accepts=self._accepts,
            new_id=self._new_id,
        )

    def _last_calls(self) -> list[ReplyPart]:
        """The calls that reasoning which was never closed ends with: the model went over to them."""
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
            parts[-1] = ReasoningEnd(parts[-1].text)
            self._calls.begin_answer()
        return parts

    def _released(self, parts: list[ReplyPart]) -> list[ReplyPart]:
        if not self.waiting:
            return parts
        self._held += parts
        if not any(isinstance(part, ToolCall) for part in parts):
            return []
        self.waiting = False
        held, self._held = self._held, []
        return announced(held)

    def _unmarked_call(self) -> list[ReplyPart]:
        """The call that is required, where nothing marked it: bare arguments, or a Python call."""
        reply = gather(self._held)
        if reply.invalid_tool_calls:
            return []
        found = self._bare_arguments(reply.text) or self._python_calls(reply.text)
        if found:
            self.waiting, self._held = False, []
            found = [*([ReasoningDelta(reply.reasoning)] if reply.reasoning else []), *found]
        return found

    def _bare_arguments(self, text: str) -> list[ReplyPart]:
        """The arguments of the one function that must be called, alone."""
        if (sole := self._reading.tools.sole) is None:
            return []

        def read(value: Any) -> dict[str, Any] | None:
            arguments = as_arguments(value, sole.name, sole.parameters)
            accepted = arguments is None and isinstance(value, dict) and self._accepts(value)
            return value if accepted else arguments

        try:
            value, *around = find_json(text, lambda one: read(one) is not None)
        except ValueError:
            return []
        if (arguments := read(value)) is None:
            return []
        texts: list[ReplyPart] = [TextDelta(one) for one in around if one and not one.isspace()]
        return [*texts, ToolCall(self._new_id(), sole.name, arguments)]

    def _python_calls(self, text: str) -> list[ReplyPart]:
        """The calls of a reply that is nothing but ``name(key="value")``."""
        calls = read_calls(Opener(0, "python"), text.strip(), Tools(self._reading.tools.callable_tools)) or []
        if any(isinstance(call, InvalidToolCall) for call in calls):
            return []
        made = [replace(call, id=self._new_id()) for call in calls]
        first = len(made) if self._reading.tools.parallel else 1
        return [*made[:first], *map(one_too_many, made[first:])]


def gather(parts: Iterable[ReplyPart], end_token: str | None = None) -> ModelReply:
    """Put the parts of a reply together.

    Args:
        parts: The parts, in order.
        end_token: The token that ended the answer.

    Returns:
        The reply.
    """
    parts = list(parts)
    found: dict[type, list[Any]] = {kind: [] for kind in _KINDS}
    for part in parts:
        found[type(part)].append(part)
    if found[ReasoningEnd]:
        return gather(announced(parts), end_token)
    text = "".join([part.text for part in found[TextDelta]])
    thought = "".join([part.text for part in found[ReasoningDelta]])
    return ModelReply(text, thought, tuple(found[ToolCall]), tuple(found[InvalidToolCall]), end_token)


def announced(parts: list[ReplyPart]) -> list[ReplyPart]:
    """Tell reasoning as reasoning, of parts of which none was handed on.

    Args:
        parts: The parts of a reply, from its beginning.

    Returns:
        The same; what a `ReasoningEnd` turned out to be reasoning, as `ReasoningDelta`.
    """
    end = next((at for at, part in enumerate(parts, 1) if isinstance(part, ReasoningEnd)), 0)
    begin = parts[:end]
    thought = "".join(part.text for part in begin if isinstance(part, TextDelta)).removesuffix(CLOSE_TAG)
    thought += "".join(part.text for part in begin if isinstance(part, ReasoningDelta))
    calls = [part for part in begin if isinstance(part, ToolCall | InvalidToolCall)]
    return [*([ReasoningDelta(thought)] if thought else []), *calls, *parts[end:]]


def read_reply(text: str, reading: Reading) -> ModelReply:
    """Read a reply that came in one piece.

    Args:
        text: What the model wrote.
        reading: How it is read.

    Returns:
        The reply.
    """
    reader = ReplyReader(reading)
    parts = [*reader.feed(text), *reader.flush()]
    return gather(parts, reader.end_token)


@lru_cache(maxsize=64)
def _search(
    stop: tuple[str, ...], turn_ends: tuple[str, ...], cues: tuple[str, ...], *, exact: bool, tools: bool
) -> Callable[[str], object]:
    """Look for a character that matters to one of the stages; half a surrogate pair matters to all."""
    first = "".join(sequence[:1] for sequence in stop) + turn_tokens(turn_ends, cues)[2]
    others = ("" if exact else reasoning.NOTABLE) + (tool_reader.NOTABLE if tools else "")
    return re.compile(f"[\ud800-\udfff{re.escape(first + others)}]").search
