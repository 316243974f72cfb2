"""Ask a model, and again where its answer cannot be accepted: decided once, for sync and async."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from rockai_transport.errors import InvalidResponseError
from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reader import (
    ModelReply,
    ReplyPart,
    ReplyReader,
    announced,
    gather,
    read_reply,
)
from rockai_transport.prompting.reply.reasoning import TextDelta
from rockai_transport.prompting.reply.tool_reader import new_call_id
from rockai_transport.prompting.request.build import ChatCall, ModelRequest
from rockai_transport.prompting.request.tool_choice import ToolSetup

_TIMES: Final = {1: "once", 2: "twice"}


class Dialogue:
    """A call, run by run, its replies read piece by piece: what to run, what may be handed on.

    It decides, its driver does::

        dialogue = Dialogue(call)
        while dialogue.request is not None:
            with client.stream(dialogue.request.model, dialogue.request.input) as stream:
                for piece in stream:
                    hand_on(dialogue.feed(piece))
                    if dialogue.cut:
                        break
            hand_on(dialogue.end(stream.prediction))

    Nothing is handed on of a reply that may still be refused: with a forced choice until a call was found,
    with a ``check`` until the reply has ended, and without either from a call that cannot be read on, unless
    text or a call was handed on before it. Not accepted is a reply without the call that a forced choice
    requires, and one in which ``check`` finds an error; both end in an exception when the runs are used up. A
    reply whose only call cannot be read is asked for again as well, and accepted as it is then.

    Attributes:
        request: The run to make now; None once the reply was accepted.
        running: The same, and after that the last one.
        runs: How many runs have ended; each of them is paid for.
        predictions: What is known of each, in order.
        reasons: Why the model was asked again, each time.
    """

    def __init__(
        self,
        first: ChatCall | ModelRequest,
        check: Callable[[ModelReply], str | None] | None = None,
        *,
        max_reasks: int = 1,
        streamed: bool = True,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        """Begin.

        Args:
            first: The call; or a request alone, which is run once and whose reply is always accepted.
            check: Says what is wrong with a reply, in words a model can act on, or returns None.
            max_reasks: How many further runs there may be, whatever the reasons; 0 for none.
            streamed: Whether parts are handed on as they come. If not, all are held until the reply has
                ended, and text before a call that cannot be read does not keep it from being asked for again.
            new_id: Makes a tool call's id.

        Raises:
            ConfigurationError: The model cannot be sent this.
        """
        self._call = None if isinstance(first, ModelRequest) else first
        self._check = check
        self._max_reasks = max_reasks if self._call else 0
        self._streamed = streamed
        self._new_id = new_id
        self.runs = 0
        self.predictions: list[Any] = []
        self.reasons: list[str] = []
        self.request: ModelRequest | None
        self._begin(first if isinstance(first, ModelRequest) else first.request())

    @property
    def cut(self) -> bool:
        """Whether the answer has ended before the run: the run can be left."""
        return self._reader.cut

    @property
    def end_token(self) -> str | None:
        """The token of the chat template that ended the last answer, where one did."""
        return self._reader.end_token

    @property
    def stop_token(self) -> str | None:
        """What ended the last answer: such a token, or a stop sequence; None where neither did."""
        return self._reader.stop_token

    def feed(self, piece: str) -> list[ReplyPart]:
        """Take the next piece of the run.

        Args:
            piece: Any part of what the model wrote.

        Returns:
            The parts that may be handed on, in order.
        """
        self._pieces.append(piece)
        parts = self._reader.feed(piece)
        return parts if self._direct else self._released(parts)

    def feed_batch(self, pieces: Sequence[str]) -> list[ReplyPart]:
        """Take the next pieces of the run: as :meth:`feed` for each, in one call.

        Args:
            pieces: Any parts of what the model wrote.

        Returns:
            The parts that may be handed on, in order; those of different pieces are not put together.
        """
        self._pieces += pieces
        parts = self._reader.feed_batch(pieces)
        return parts if self._direct else self._released(parts)

    def running_text(self) -> str:
        """What the run that is under way has said so far, without its reasoning; it may still be refused."""
        return _own_words("".join(self._pieces), self.running)

    def end(self, prediction: Any = None) -> list[ReplyPart]:
        """End the run; afterwards :attr:`request` is the next one, or None.

        Args:
            prediction: What is known of the run.

        Returns:
            What was held back, where the reply is accepted.

        Raises:
            InvalidResponseError: The last reply there may be was not accepted; ``body`` is its text.
        """
        parts = self._reader.flush()
        self.runs += 1
        self.predictions.append(prediction)
        last = self.runs > self._max_reasks
        reason = None
        if not self._direct:
            parts = self._released(parts)
            reason = self._validation_error() or (None if last else self._unreadable())
        if reason is None:
            self.request = None
            parts = [*self._held, *parts]
            return parts if self._committed or self._direct else announced(parts)
        request, text = self.running, "".join(self._pieces)
        if self._call is None or last:
            times = _TIMES.get(self.runs, f"{self.runs} times")
            raise InvalidResponseError(
                f"{request.model} was asked {times} and did not return valid output: {reason}",
                body=text,
                by_model=True,
                may_have_started=True,
                prediction=prediction,
            )
        self.reasons.append(reason)
        self._begin(self._call.retry_with_feedback(_own_words(text, request), reason).request())
        return []

    def _begin(self, request: ModelRequest) -> None:
        self.request = self.running = request
        self._reader = ReplyReader(request.reading, new_id=self._new_id, accepts=self._accepts)
        self._pieces: list[str] = []
        self._held: list[ReplyPart] = []
        self._holds = self._check is not None or not self._streamed
        self._committed = False  # whether text or a call was handed on
        self._direct = not (self._holds or request.reading.tools.active)  # whether nothing can be refused

    def _released(self, parts: list[ReplyPart]) -> list[ReplyPart]:
        """Hold back what may still be refused."""
        for at, part in enumerate(parts):
            self._holds = self._holds or (isinstance(part, InvalidToolCall) and not self._committed)
            if self._holds:
                self._held += parts[at:]
                return parts[:at]
            self._committed = self._committed or isinstance(part, TextDelta | ToolCall)
        return parts

    def _validation_error(self) -> str | None:
        """What keeps the reply that has ended from being accepted, if anything does."""
        if not self._reader.waiting:
            return self._check(gather(self._held, self.end_token)) if self._check else None
        tools = self.running.reading.tools
        function = f"the function {tools.name}" if tools.name else "a function"
        errors = "; ".join(call.error for call in self._reader.rejected().invalid_tool_calls)
        return f"{function} must be called, in a <tool_call> line{f' ({errors})' if errors else ''}."

    def _accepts(self, arguments: dict[str, Any]) -> bool:
        """Whether an object would be right as the arguments of the one function that must be called."""
        reply = ModelReply(tool_calls=(ToolCall("", "", arguments),))
        return self._check is not None and self._check(reply) is None

    def _unreadable(self) -> str | None:
        """Why the reply's only call cannot be read, where nothing of it was handed on."""
        invalid = [part for part in self._held if isinstance(part, InvalidToolCall)]
        if not invalid or any(isinstance(part, ToolCall) for part in self._held):
            return None
        errors = "; ".join(call.error for call in invalid)
        return f"the function call cannot be read, {errors}. Write it in one <tool_call> line, as valid JSON."


def _own_words(text: str, request: ModelRequest) -> str:
    """What the model answered, with its calls as it wrote them and without its reasoning."""
    return read_reply(text, replace(request.reading, tools=ToolSetup())).text
