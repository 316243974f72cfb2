"""The two shells: run or stream what an `Dialogue` asks for, with blocking calls and with ``await``.

What is decided, is decided in `rockai_transport.prompting.dialogue`; here is what cannot be shared.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

from llama_index_rockai.responses import LAST, Answer, Delta
from rockai_transport.prompting.dialogue import Dialogue

if TYPE_CHECKING:
    from rockai_transport import AsyncClient, AsyncStream, Client
    from rockai_transport.prompting.reply.reader import ModelReply
    from rockai_transport.prompting.request.build import ChatCall, ModelRequest

R = TypeVar("R")
Shape = Callable[[Answer, Delta], R]


class Call(NamedTuple):
    """One call of a user's, read and checked.

    Attributes:
        first: What to ask; a bare request is asked once.
        check: What is wrong with a reply; None for nothing.
        timeout: Seconds for each run; None for the client's.
    """

    first: ChatCall | ModelRequest
    check: Callable[[ModelReply], str | None] | None = None
    timeout: float | None = None

    def exchange(self) -> Dialogue:
        """Begin.

        Raises:
            ConfigurationError: The model cannot be sent this.
        """
        return Dialogue(self.first, self.check)


def run(client: Client, call: Call) -> Answer:
    """Get the whole answer."""
    exchange, answer = call.exchange(), Answer()
    while (request := exchange.request) is not None:
        prediction = client.run(request.model, request.input, timeout=call.timeout)
        answer.runs.append(prediction)
        answer.add([*exchange.feed(prediction.text), *exchange.end(prediction)])
    return answer


async def arun(client: AsyncClient, call: Call) -> Answer:
    """Get the whole answer."""
    exchange, answer = call.exchange(), Answer()
    while (request := exchange.request) is not None:
        prediction = await client.run(request.model, request.input, timeout=call.timeout)
        answer.runs.append(prediction)
        answer.add([*exchange.feed(prediction.text), *exchange.end(prediction)])
    return answer


def stream(client: Client, call: Call, shape: Shape[R]) -> Generator[R, None, None]:
    """Get the answer chunk by chunk, the metadata in the last one. Nothing is sent before the first.

    Args:
        client: The client.
        call: The call.
        shape: Makes a chunk of the answer so far and what is new in it.

    Returns:
        The chunks; closing the generator leaves the stream.

    Raises:
        ConfigurationError: The model cannot be sent this.
    """
    return _stream(client, call, call.exchange(), shape)


def _stream(client: Client, call: Call, exchange: Dialogue, shape: Shape[R]) -> Generator[R, None, None]:
    answer = Answer()
    while (request := exchange.request) is not None:
        with client.stream(request.model, request.input, timeout=call.timeout) as pieces:
            for piece in pieces:
                if delta := answer.add(exchange.feed(piece)):
                    yield shape(answer, delta)
                if exchange.cut:
                    break
        answer.runs.append(pieces.prediction)
        if delta := answer.add(exchange.end(pieces.prediction)):
            yield shape(answer, delta)
    yield shape(answer, LAST)


class AsyncChunks(AsyncGenerator[R, None], Generic[R]):
    """`stream` with ``await``.

    An object, not a generator function: when `asyncio.run` ends, it closes all open async generators at
    once, and of two that are nested one would raise «already running».
    """

    def __init__(self, client: AsyncClient, call: Call, shape: Shape[R]) -> None:
        self._client = client
        self._timeout = call.timeout
        self._exchange = call.exchange()
        self._shape = shape
        self._answer = Answer()
        self._pieces: AsyncStream | None = None
        self._ended = False

    async def asend(self, value: None = None, /) -> R:  # noqa: ARG002 - the protocol's
        """Give the next chunk."""
        while not self._ended:
            try:
                delta = await self._advance()
            except BaseException:
                self._ended = True
                raise
            if delta:
                return self._shape(self._answer, delta)
        raise StopAsyncIteration

    async def _advance(self) -> Delta | None:
        exchange = self._exchange
        if exchange.request is None:
            self._ended = True
            return LAST
        if self._pieces is None:
            request = exchange.request
            self._pieces = self._client.stream(request.model, request.input, timeout=self._timeout)
        if not exchange.cut:
            async for piece in self._pieces:
                return self._answer.add(exchange.feed(piece))
        pieces, self._pieces = self._pieces, None
        await pieces.aclose()
        self._answer.runs.append(pieces.prediction)
        return self._answer.add(exchange.end(pieces.prediction))

    async def athrow(self, error: Any, /, *_: Any) -> NoReturn:
        """Leave the stream, and raise."""
        await self.aclose()
        raise error

    async def aclose(self) -> None:
        """Leave the stream."""
        self._ended = True
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()
