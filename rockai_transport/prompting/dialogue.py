"""Ask a model, and once more where its answer cannot be accepted: decided once, for sync and async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rockai_transport.errors import InvalidResponseError
from rockai_transport.prompting.reply.reader import ReplyPart, ReplyReader, gather, read_reply
from rockai_transport.prompting.reply.tool_reader import new_call_id
from rockai_transport.prompting.request.build import ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.prompting.reply.reader import ModelReply
    from rockai_transport.prompting.request.build import ChatCall


class Dialogue:
    """A call, run by run, its replies read piece by piece: what to run, what may be handed on.

    It decides, its driver does::

        exchange = Dialogue(call)
        while exchange.request is not None:
            with client.stream(exchange.request.model, exchange.request.input) as stream:
                for piece in stream:
                    hand_on(exchange.feed(piece))
                    if exchange.cut:
                        break
            hand_on(exchange.end(stream.prediction))

    Nothing is handed on of a reply that may still be refused: with a forced choice until a call was found,
    with a ``check`` until the reply has ended. Not accepted is a reply without the call that a forced choice
    requires, and one that ``check`` complains of. There are two runs at most, whatever the reasons.

    Attributes:
        request: The run to make now; None once the reply was accepted.
        running: The same, and after that the last one.
    """

    def __init__(
        self,
        first: ChatCall | ModelRequest,
        check: Callable[[ModelReply], str | None] | None = None,
        *,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        """Begin.

        Args:
            first: The call; or a request alone, which is run once and whose reply is always accepted.
            check: Says what is wrong with a reply, in words a model can act on, or returns None.
            new_id: Makes a tool call's id.

        Raises:
            ConfigurationError: The model cannot be sent this.
        """
        self._call = None if isinstance(first, ModelRequest) else first
        self._check = check
        self._new_id = new_id
        self._asked_again = False
        self.request: ModelRequest | None
        self._begin(first if isinstance(first, ModelRequest) else first.request())

    @property
    def cut(self) -> bool:
        """Whether a stop sequence was reached: the run can be left."""
        return self._reader.cut

    def feed(self, piece: str) -> list[ReplyPart]:
        """Take the next piece of the run.

        Args:
            piece: Any part of what the model wrote.

        Returns:
            The parts that may be handed on, in order.
        """
        self._pieces.append(piece)
        return self._released(self._reader.feed(piece))

    def end(self, prediction: Any = None) -> list[ReplyPart]:
        """End the run; afterwards :attr:`request` is the next one, or None.

        Args:
            prediction: What is known of the run, for the error.

        Returns:
            What was held back, where the reply is accepted.

        Raises:
            InvalidResponseError: The second reply was not accepted either; ``body`` is its text.
        """
        parts = self._released(self._reader.flush())
        complaint = self._complaint()
        if complaint is None:
            self.request = None
            return [*self._held, *parts]
        request, text = self.running, "".join(self._pieces)
        if self._asked_again or self._call is None:
            raise InvalidResponseError(
                f"{request.model} was asked twice and did not answer in the form it was told: {complaint}",
                body=text,
                by_model=True,
                may_have_started=True,
                prediction=prediction,
            )
        self._asked_again = True
        self._begin(self._call.asking_again(_own_words(text, request), complaint).request())
        return []

    def _begin(self, request: ModelRequest) -> None:
        self.request = self.running = request
        self._reader = request.reader(self._new_id)
        self._pieces: list[str] = []
        self._held: list[ReplyPart] = []

    def _released(self, parts: list[ReplyPart]) -> list[ReplyPart]:
        if self._check is None:
            return parts
        self._held += parts
        return []

    def _complaint(self) -> str | None:
        """What is wrong with the reply that has ended, if anything is."""
        if not self._reader.waiting:
            return self._check(gather(self._held)) if self._check else None
        tools = self.running.tools
        wanted = f"the function {tools.name}" if tools.name else "a function"
        errors = "; ".join(call.error for call in self._reader.unaccepted().invalid_tool_calls)
        return f"{wanted} must be called, in a <tool_call> line{f' ({errors})' if errors else ''}."


def _own_words(text: str, request: ModelRequest) -> str:
    """What the model answered, with its calls as it wrote them and without its reasoning."""
    reader = ReplyReader(stop=request.stop, inside_reasoning=request.inside_reasoning)
    return read_reply(text, reader).text
