"""An answer's runs, driven: the only module of the models that waits for the service.

Streams are objects with ``__next__`` and ``__anext__``, not generators. Core does not close the generator it
reads from when its own is closed (langchain_core/language_models/chat_models.py, `astream`): an inner
asynchronous generator would be left to the event loop, and where the loop ends at once, the prediction would
never be canceled. An object that is dropped drops the transport's stream with it, which leaves by itself.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from langchain_rockai.errors import translated

if TYPE_CHECKING:
    from rockai_transport import AsyncClient, AsyncStream, Client, Prediction, Stream
    from rockai_transport.prompting.request.build import ModelRequest
    from rockai_transport.prompting.request.dialects import Dialect

__all__ = ["Answer", "AsyncChunks", "Chunks", "arun", "run"]


class Chunk(Protocol):
    """A piece of an answer, in LangChain's words."""

    text: Any


C = TypeVar("C", bound=Chunk)


class Answer(Protocol[C]):
    """What decides: which run to make now, and what of it is handed on. Does no I/O."""

    @property
    def request(self) -> ModelRequest | None:
        """What is to be run now; None once the answer is complete."""

    @property
    def cut(self) -> bool:
        """Whether a stop sequence was reached: the stream can be left."""

    def feed(self, piece: str) -> list[C]:
        """Take what the model wrote next, and give the chunks that may be handed on."""

    def end(self, prediction: Prediction | None) -> list[C]:
        """End a run, and give the chunks that were held; after the last run, one with the metadata too."""

    def take(self, prediction: Prediction) -> None:
        """Take a run that was not streamed."""


def run(client: Client, answer: Answer[Any], timeout: float | None) -> None:
    """Make an answer's runs, without streaming them."""
    while (request := answer.request) is not None:
        answer.take(client.run(request.model, request.input, timeout=timeout))


async def arun(client: AsyncClient, answer: Answer[Any], timeout: float | None) -> None:  # noqa: ASYNC109
    """As `run`."""
    while (request := answer.request) is not None:
        answer.take(await client.run(request.model, request.input, timeout=timeout))


class Chunks(Generic[C]):
    """The chunks of an answer, as they come."""

    def __init__(
        self,
        client: Client,
        answer: Answer[C],
        dialect: Dialect | None,
        timeout: float | None,
        run_manager: Any,
    ) -> None:
        self._client = client
        self._answer = answer
        self._dialect = dialect
        self._timeout = timeout
        self._run_manager = run_manager
        self._stream: Stream | None = None
        self._ready: deque[C] = deque()
        self._left = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> C:
        try:
            with translated(self._dialect):
                while not self._ready:
                    self._advance()
            chunk = self._ready.popleft()
            if self._run_manager is not None:
                self._run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        except BaseException:
            self.close()
            raise
        return chunk

    def close(self) -> None:
        """Leave the stream, if there is one; nothing comes any more."""
        self._left = True
        if self._stream is not None:
            self._stream.close()

    def _advance(self) -> None:
        """Read on to the next piece; at the end of a run, go on to the next one."""
        request = self._answer.request
        if request is None or self._left:
            raise StopIteration
        if self._stream is None:
            self._stream = self._client.stream(request.model, request.input, timeout=self._timeout)
        piece = next(self._stream, None)
        if piece is not None:
            self._ready += self._answer.feed(piece)
        if piece is None or self._answer.cut:
            self._stream.close()
            self._ready += self._answer.end(self._stream.prediction)
            self._stream = None


class AsyncChunks(Generic[C]):
    """The chunks of an answer, as they come."""

    def __init__(
        self,
        client: AsyncClient,
        answer: Answer[C],
        dialect: Dialect | None,
        timeout: float | None,
        run_manager: Any,
    ) -> None:
        self._client = client
        self._answer = answer
        self._dialect = dialect
        self._timeout = timeout
        self._run_manager = run_manager
        self._stream: AsyncStream | None = None
        self._ready: deque[C] = deque()
        self._left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> C:
        try:
            with translated(self._dialect):
                while not self._ready:
                    await self._advance()
            chunk = self._ready.popleft()
            if self._run_manager is not None:
                await self._run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        except BaseException:
            await self.aclose()
            raise
        return chunk

    async def aclose(self) -> None:
        """Leave the stream, if there is one; nothing comes any more."""
        self._left = True
        if self._stream is not None:
            await self._stream.aclose()

    async def _advance(self) -> None:
        """Read on to the next piece; at the end of a run, go on to the next one."""
        request = self._answer.request
        if request is None or self._left:
            raise StopAsyncIteration
        if self._stream is None:
            self._stream = self._client.stream(request.model, request.input, timeout=self._timeout)
        piece = await anext(self._stream, None)
        if piece is not None:
            self._ready += self._answer.feed(piece)
        if piece is None or self._answer.cut:
            await self._stream.aclose()
            self._ready += self._answer.end(self._stream.prediction)
            self._stream = None
