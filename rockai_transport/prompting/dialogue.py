"""Asks a model, and asks again if its answer is not accepted; the decisions for sync and async."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from rockai_transport.errors import ConfigurationError, InvalidResponseError
from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reader import (
    ModelReply,
    ReplyPart,
    ReplyReader,
    announced,
    gather,
    read_reply,
    unmarked_calls,
)
from rockai_transport.prompting.reply.reasoning import TextDelta
from rockai_transport.prompting.request.build import ChatCall, ModelRequest
from rockai_transport.prompting.request.tool_choice import ToolSetup
from rockai_transport.prompting.usage import reported_length_end

_TIMES: Final = {1: "once", 2: "twice"}


class Dialogue:
    """One call, with all its runs: which request to run next, and which parts may be delivered.

    The dialogue decides; its driver does the I/O::

        dialogue = Dialogue(call)
        while dialogue.request is not None:
            with client.stream(dialogue.request.model, dialogue.request.input) as stream:
                for piece in stream:
                    hand_on(dialogue.feed(piece))
                    if dialogue.cut:
                        break
            hand_on(dialogue.end(stream.prediction))

    Parts of a reply that may still be refused are held back: with a forced choice until a call was found,
    with a ``check`` until the reply has ended, and otherwise from an invalid call on, unless text or a call
    was delivered before it. A reply is not accepted if it lacks a call that a forced choice requires, or if
    ``check`` finds an error; when the runs are used up, this raises an exception. A reply whose only call is
    invalid is asked for again too, but is accepted when the runs are used up. A chat template that refuses
    the further turns uses them up.

    Attributes:
        request: The next run; None once the reply was accepted.
        running: The same, or the last run once the reply was accepted.
        runs: Number of ended runs; each of them is paid for.
    """

    def __init__(
        self,
        first: ChatCall | ModelRequest,
        check: Callable[[ModelReply], str | None] | None = None,
        *,
        max_reasks: int = 1,
        streamed: bool = True,
    ) -> None:
        """Start a dialogue.

        Args:
            first: The call; or only a request, which is run once and whose reply is always accepted.
            check: Returns what is wrong with a reply, as feedback for the model, or None.
            max_reasks: Maximum number of further runs, for any reason; 0 for none.
            streamed: Whether parts are delivered as they arrive. If not, all are held until the reply has
                ended, and an invalid call is asked for again even if text came before it.

        Raises:
            ConfigurationError: The request cannot be sent to the model.
        """
        self._call = None if isinstance(first, ModelRequest) else first
        self._check = check
        self._max_reasks = max_reasks if self._call else 0
        self._streamed = streamed
        self.runs = 0
        self.request: ModelRequest | None
        self._begin(first if isinstance(first, ModelRequest) else first.request())

    @property
    def cut(self) -> bool:
        """Whether the answer has ended before the run: the run can be left."""
        return self._reader.cut

    @property
    def stop_token(self) -> str | None:
        """What ended the last answer: a token of the chat template or a stop sequence; else None."""
        return self._reader.stop_token

    def feed(self, pieces: str | Sequence[str]) -> list[ReplyPart]:
        """Take the next pieces of the run.

        Args:
            pieces: Any parts of the model's output; or only one.

        Returns:
            The parts that may be delivered, in order; parts of different pieces are not merged.
        """
        self._pieces += [pieces] if isinstance(pieces, str) else pieces
        parts = self._reader.feed(pieces)
        return parts if self._direct else self._released(parts)

    def end(self, prediction: Any = None) -> list[ReplyPart]:
        """End the run; afterwards :attr:`request` is the next one, or None.

        Args:
            prediction: The run's prediction, as far as it is known.

        Returns:
            The parts that were held back, if the reply is accepted.

        Raises:
            InvalidResponseError: The last possible reply was not accepted; ``body`` is its text.
        """
        metrics = prediction and prediction.metrics
        parts = self._reader.flush(cut_short=bool(metrics) and reported_length_end(metrics))
        self.runs += 1
        obstacle = None
        request, text = self.running, "".join(self._pieces)
        if not self._direct:
            parts = self._released(parts)
        if self._waits:
            unmarked = unmarked_calls(gather(self._held), self.running.reading.tools, self._accepts)
            if unmarked:
                self._held.clear()
                parts = self._released(unmarked)
        wrong, is_refused = (None, False) if self._direct else self._validation_error()
        if wrong and self._call is not None and self.runs <= self._max_reasks:
            try:
                again = self._call.retry_with_feedback(_own_words(text, request), wrong).request()
            except ConfigurationError as error:  # as of a chat template that accepts a single turn only
                obstacle = error
            else:
                self._begin(again)
                return []
        if not is_refused:
            self.request = None
            parts = [*self._held, *parts]
            return parts if self._committed or self._direct else announced(parts)
        times = _TIMES.get(self.runs, f"{self.runs} times")
        why = f"; it could not be asked again: {obstacle}" if obstacle else ""
        raise InvalidResponseError(
            f"{request.model} was asked {times} and did not return valid output: {wrong}{why}",
            body=text,
            by_model=True,
            may_have_started=True,
            prediction=prediction,
        ) from obstacle

    def _begin(self, request: ModelRequest) -> None:
        self.request = self.running = request
        self._reader = ReplyReader(request.reading, accepts=self._accepts)
        self._pieces: list[str] = []
        self._held: list[ReplyPart] = []
        self._holds = self._check is not None or not self._streamed  # whether parts wait for the reply's end
        self._waits = request.reading.tools.forced  # whether parts wait for the first call
        self._committed = False  # whether text or a call was delivered
        self._direct = self._check is None and not request.reading.tools.active  # nothing can be refused

    def _released(self, parts: list[ReplyPart]) -> list[ReplyPart]:
        """Hold back the parts that may still be refused."""
        if self._waits:
            self._held += parts
            if ToolCall not in map(type, parts):
                return []
            self._waits = False
            parts, self._held = announced(self._held), []
        for at, part in enumerate(parts):
            self._holds = self._holds or (isinstance(part, InvalidToolCall) and not self._committed)
            if self._holds:
                self._held += parts[at:]
                return parts[:at]
            self._committed = self._committed or isinstance(part, TextDelta | ToolCall)
        return parts

    def _validation_error(self) -> tuple[str | None, bool]:
        """Return what is wrong with the ended reply, if anything is, and whether it cannot be accepted."""
        reply = gather(self._held)
        tools = self.running.reading.tools
        errors = "; ".join(call.error for call in reply.invalid_tool_calls)
        if self._waits:
            if self._check and not errors and "{" in reply.text:  # an object without a call
                errors = self._check(reply) or ""
            function = f"the function {tools.name}" if tools.name else "a function"
            because = f" ({errors})" if errors else ""
            return f"{function} must be called, in a <tool_call> line{because}.", True
        if self._check and (refusal := self._check(reply)) is not None:
            return refusal, True
        if errors and not reply.tool_calls:  # and none of it was delivered
            form = "Write it in one <tool_call> line, as valid JSON."
            return f"the function call cannot be read: {errors}. {form}", False
        return None, False

    def _accepts(self, arguments: dict[str, Any]) -> bool:
        """Return whether an object is valid as the arguments of the one function that must be called."""
        reply = ModelReply(tool_calls=(ToolCall("", "", arguments),))
        checks_calls = self._call is not None and self._call.response_format is None  # not the text
        return checks_calls and self._check is not None and self._check(reply) is None


def _own_words(text: str, request: ModelRequest) -> str:
    """Return the model's answer, with its calls as it wrote them, and without its reasoning."""
    return read_reply(text, replace(request.reading, tools=ToolSetup())).text
