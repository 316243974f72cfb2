"""Runs a reply over a client: at once or chunk by chunk, blocking or with ``await``.

`Dialogue` makes the decisions, and the framework's `ReplyBuilder` makes the chunks.

Streams are objects with ``__next__`` and ``__anext__``, not generator functions. LangChain's core does not
close the inner generator when its own is closed (langchain_core/language_models/chat_models.py, `astream`):
an inner asynchronous generator would be left to the event loop, and if the loop ended at once, the prediction
would never be canceled. When `asyncio.run` ends, it closes all open async generators at once, and one of two
nested ones would raise «already running». If an object is dropped, the transport's stream is dropped with it,
and leaves by itself.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Generic, NoReturn, TypeVar

from rockai_transport.adapters.files import AddressLines, OutputFile, output_files
from rockai_transport.adapters.partial import PartialObjects
from rockai_transport.adapters.structured import OutputParser
from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.errors import BadRequestError, RockAIError
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reader import ModelReply, ReplyPart, ReplyReader, gather
from rockai_transport.prompting.reply.reasoning import TextDelta
from rockai_transport.prompting.request.build import ChatCall, ModelRequest
from rockai_transport.prompting.request.parameters import rejected_inputs
from rockai_transport.prompting.usage import Usage, reported_length_end, reported_usage
from rockai_transport.protocol.prediction import Prediction

_PARTIALS_OF_A_READ = 32
"""Maximum number of times that an object is parsed per read, because each time starts at its beginning."""
_NOTHING: Iterator[Any] = iter(())

C = TypeVar("C")
R = TypeVar("R")


class ReplyBuilder(ABC, Generic[C, R]):
    """One reply, from its first run to its last chunk. It does no I/O: `run` and `Chunks` do.

    Attributes:
        dialogue: What the reply consists of: its ``request`` is the next one to run, and None once the reply
            is complete; if it is ``cut``, the stream can be left.
        timeout: Seconds for each run; None: the client's timeout.
        runs: The predictions of the reply: one, plus one for each time that the model was asked again.
        parts: The content that may be delivered so far.
    """

    def __init__(
        self,
        first: ChatCall | ModelRequest,
        parser: OutputParser | None = None,
        *,
        timeout: float | None = None,
        max_reasks: int = 1,
        streamed: bool = True,
        stream_usage: bool = True,
        partials: bool = True,
    ) -> None:
        """Create a builder.

        Args:
            first: As for `Dialogue`.
            parser: Checks the reply, if it must contain an object.
            timeout: Seconds for each run.
            max_reasks: As for `Dialogue`.
            streamed: Whether chunks are delivered as they arrive. If not, an invalid call is asked for again
                even if text came before it.
            stream_usage: Whether to get the prediction for its token counts after its stream has ended.
            partials: Whether a stream may deliver the requested object while it arrives. It does not if the
                value is the text, and the model may call tools instead.

        Raises:
            ConfigurationError: The request cannot be sent to the model.
        """
        self._stream_usage = stream_usage
        self._lines = AddressLines() if isinstance(first, ModelRequest) else None
        check = parser.validation_error if parser else None
        self.dialogue = Dialogue(first, check, max_reasks=max_reasks, streamed=streamed)
        reading = self.dialogue.running.reading
        self._partials: PartialObjects | None = None
        if parser and streamed and partials and (parser.by_call or not reading.tools.active):
            self._partials = PartialObjects(parser, reading)
        self.timeout = timeout
        self.runs: list[Prediction | None] = []
        self.parts: list[ReplyPart] = []

    def feed(self, pieces: list[str], stream: Any = None) -> Iterator[C]:
        """Take the pieces of one read of a stream, and yield the chunks that may be delivered.

        Chunks are created lazily, because one may contain the whole content so far.
        """
        if self._lines is not None:
            pieces = self._lines.apart(pieces, stream.prediction)
        if self._partials:
            return chain.from_iterable([*map(self._read, _slices(pieces, _PARTIALS_OF_A_READ))])
        return self._read(pieces)

    def _read(self, pieces: Sequence[str]) -> Iterator[C]:
        parts = self.dialogue.feed(pieces)
        self.parts += parts
        value = self._partials.feed(pieces) if self._partials else None
        return self._made(parts, value)

    def end(self, prediction: Prediction | None) -> Iterator[C]:
        """End a run, and yield the chunks held back; after the last run, also one with the metadata."""
        self.runs.append(prediction)
        parts = self.dialogue.end(prediction)
        self.parts += parts
        is_last = self.dialogue.request is None
        partials, reading = self._partials, self.dialogue.running.reading
        anew = partials and (partials.is_taken_back(self.reply()) if is_last else partials.restart(reading))
        return self._made(parts, {} if anew else None, last=is_last)

    def take(self, prediction: Prediction) -> None:
        """Take a run that was not streamed; it yields no chunks."""
        self.runs.append(prediction)
        text = prediction.text
        self.parts += self.dialogue.feed(self._lines.apart([text], prediction) if self._lines else text)
        self.parts += self.dialogue.end(prediction)

    def reply(self) -> ModelReply:
        """Return the whole reply. An invalid call is also text, so that nothing the model wrote is lost."""
        return gather(_with_unreadable_text(self.parts))

    def refused(self, text: str) -> ModelReply:
        """Read a reply that was not accepted, as far as possible.

        Args:
            text: The model's text.
        """
        reading = self.dialogue.running.reading
        if reading.tools.forced:
            reading = replace(reading, tools=replace(reading.tools, choice="auto"))
        reader = ReplyReader(reading)
        parts = [*reader.feed(text), *reader.flush()]
        return gather(_with_unreadable_text(parts))

    def ending(self) -> dict[str, Any]:
        """Return how the reply ended, for the framework's metadata, as far as it is known.

        Returns:
            ``finish_reason``: ``"tool_calls"``; ``"length"`` if the service says so; else ``"stop"``, also if
            there is no reason. ``stop_token``, if an end token or a stop sequence ended the answer. ``runs``,
            the number of runs, if there were several.
        """
        known: dict[str, Any] = {"runs": len(self.runs)} if len(self.runs) > 1 else {}
        last, cut = self.runs[-1], self.dialogue.cut
        cut_short = not cut and last is not None and last.metrics and reported_length_end(last.metrics)
        known["finish_reason"] = "length" if cut_short else "stop"
        if ToolCall in map(type, self.parts):
            known["finish_reason"] = "tool_calls"
        if cut:
            known["stop_token"] = self.dialogue.stop_token
        return known

    def files(self) -> list[OutputFile]:
        """Return the images, videos and audio files of a reply that consists only of them; else none."""
        last = self.runs[-1]
        files = output_files(last.output) if last is not None else []
        return files if files and last is not None and self.reply().text == last.text else []

    def lacks_usage(self, prediction: Prediction | None) -> bool:
        """Return whether the token counts of an ended stream are missing and can be fetched."""
        known = prediction is not None and prediction.id is not None and not prediction.metrics
        return self._stream_usage and known and not self.dialogue.cut

    def usage(self) -> Usage | None:
        """Return the tokens of all runs; None if the service does not report them."""
        metrics = [run.metrics for run in self.runs if run is not None and run.metrics]
        return reported_usage(metrics) if len(metrics) == len(self.runs) else None

    def error(self, error: RockAIError) -> RockAIError:
        """Return the error of a failed run for the framework's user: the same error, with advice.

        Args:
            error: The transport's error.
        """
        if self.runs and not error.may_have_started:  # asked again: a run before this one was paid for
            error.may_have_started, error.prediction = True, error.prediction or self.runs[-1]
            error.args = (f"{error.message} The answer before, in `prediction`, was paid, but not accepted.",)
        if isinstance(error, BadRequestError):
            hints = rejected_inputs(error.body, self.dialogue.running.dialect)
            error.args = (" ".join([error.message, *map(str, hints)]),)
        return error

    def _made(
        self, parts: Sequence[ReplyPart], value: dict[str, Any] | None, *, last: bool = False
    ) -> Iterator[C]:
        yield from self.chunks(parts)
        if value is not None:
            yield self.partial_chunk(value)
        if last:
            yield self.last_chunk()

    @abstractmethod
    def chunks(self, parts: Sequence[ReplyPart]) -> Iterator[C]:
        """Yield the framework's chunks for the next parts, each created when it is requested."""

    def partial_chunk(self, value: dict[str, Any]) -> C:
        """Return the framework's chunk for a partial object; an empty object means that it starts again.

        Not called without a ``parser``, nor with ``partials=False``.
        """
        raise NotImplementedError

    @abstractmethod
    def last_chunk(self) -> C:
        """Return the framework's last chunk: without content, with the metadata."""

    @abstractmethod
    def result(self) -> R:
        """Return the framework's complete reply, for a reply that was not streamed."""


def _slices(pieces: list[str], most: int) -> Iterator[list[str]]:
    """Split the pieces, in order, into at most this number of slices."""
    size = -(-len(pieces) // most) or 1
    return (pieces[at : at + size] for at in range(0, len(pieces), size))


def _with_unreadable_text(parts: Iterable[ReplyPart]) -> Iterator[ReplyPart]:
    for part in parts:
        if isinstance(part, InvalidToolCall):
            yield TextDelta(part.text)
        yield part


def run(builder: ReplyBuilder[Any, R], client: Client) -> R:
    """Run a reply without streaming.

    Args:
        builder: The reply.
        client: The client.

    Raises:
        RockAIError: A run failed.
    """
    try:
        while (request := builder.dialogue.request) is not None:
            builder.take(client.run(request.model, request.input, timeout=builder.timeout))
    except RockAIError as error:
        raise builder.error(error) from error.__cause__
    return builder.result()


async def arun(builder: ReplyBuilder[Any, R], client: AsyncClient) -> R:
    """As `run`, with ``await``.

    Args:
        builder: The reply.
        client: The client.

    Raises:
        RockAIError: A run failed.
    """
    try:
        while (request := builder.dialogue.request) is not None:
            builder.take(await client.run(request.model, request.input, timeout=builder.timeout))
    except RockAIError as error:
        raise builder.error(error) from error.__cause__
    return builder.result()


@dataclass(eq=False)
class _ReplyStream(Generic[C]):
    """The common part of both streams; after the last chunk, ``builder`` has the whole reply."""

    builder: ReplyBuilder[C, Any]
    _client: Any
    _on_chunk: Callable[[C], Any] | None = None
    """Called with each chunk before it is delivered; an exception from it ends the stream."""
    _stream: Any = None
    _ready: Iterator[C] = _NOTHING
    _left: bool = False


class Chunks(_ReplyStream[C], Generator[C, None, None]):
    """The chunks of a reply, as they arrive. Nothing is sent before the first one is requested."""

    def __next__(self) -> C:
        try:
            while (chunk := next(self._ready, None)) is None:
                self._advance()
            if self._on_chunk is not None:
                self._on_chunk(chunk)
        except GeneratorExit:  # as of a coroutine whose event loop is gone: nothing can be awaited any more
            raise
        except BaseException as error:
            self.close()
            if isinstance(error, RockAIError):
                raise self.builder.error(error) from error.__cause__
            raise
        return chunk

    def send(self, _: None, /) -> C:
        """Return the next chunk."""
        return next(self)

    def throw(self, error: Any, /, *_: Any) -> NoReturn:
        """Leave the stream, if there is one, and raise the error. The inherited `close` does so too."""
        self._left = True
        self._ready = _NOTHING
        if self._stream is not None:
            self._stream.close()
        raise error

    def _advance(self) -> None:
        """Read the next pieces; at the end of a run, continue with the next run."""
        request = self.builder.dialogue.request
        if self._left or request is None:
            raise StopIteration
        if self._stream is None:
            self._stream = self._client.stream(request.model, request.input, timeout=self.builder.timeout)
        piece = next(self._stream, None)
        if piece is not None:
            self._ready = self.builder.feed([piece, *self._stream.take_ready()], self._stream)
        if piece is None or self.builder.dialogue.cut:
            self._stream.close()
            prediction = self._stream.prediction
            if self.builder.lacks_usage(prediction):
                with contextlib.suppress(RockAIError):
                    fetched = self._client.predictions.get(prediction)
                    prediction = fetched if fetched.is_terminal else prediction
            self._ready = chain(self._ready, self.builder.end(prediction))
            self._stream = None


class AsyncChunks(_ReplyStream[C], AsyncGenerator[C, None]):
    """As `Chunks`, with ``await``."""

    async def __anext__(self) -> C:
        try:
            while (chunk := next(self._ready, None)) is None:
                await self._advance()
            if self._on_chunk is not None:
                await self._on_chunk(chunk)
        except GeneratorExit:
            raise
        except BaseException as error:
            await self.aclose()
            if isinstance(error, RockAIError):
                raise self.builder.error(error) from error.__cause__
            raise
        return chunk

    async def asend(self, _: None, /) -> C:
        """Return the next chunk."""
        return await anext(self)

    async def athrow(self, error: Any, /, *_: Any) -> NoReturn:
        """Leave the stream, if there is one, and raise the error. The inherited `aclose` does so too."""
        self._left = True
        self._ready = _NOTHING
        if self._stream is not None:
            await self._stream.aclose()
        raise error

    async def _advance(self) -> None:
        """Read the next pieces; at the end of a run, continue with the next run."""
        request = self.builder.dialogue.request
        if self._left or request is None:
            raise StopAsyncIteration
        if self._stream is None:
            self._stream = self._client.stream(request.model, request.input, timeout=self.builder.timeout)
        piece = await anext(self._stream, None)
        if piece is not None:
            self._ready = self.builder.feed([piece, *self._stream.take_ready()], self._stream)
        if piece is None or self.builder.dialogue.cut:
            await self._stream.aclose()
            prediction = self._stream.prediction
            if self.builder.lacks_usage(prediction):
                with contextlib.suppress(RockAIError):
                    fetched = await self._client.predictions.get(prediction)
                    prediction = fetched if fetched.is_terminal else prediction
            self._ready = chain(self._ready, self.builder.end(prediction))
            self._stream = None
