"""What a model replied, as LangChain's messages and chunks."""

from __future__ import annotations

import json
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from langchain_rockai.messages import UNREADABLE
from rockai_transport import InvalidResponseError
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reader import ReasoningDelta, ReplyPart, TextDelta, gather, read_reply
from rockai_transport.prompting.usage import reported_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rockai_transport import Prediction
    from rockai_transport.prompting.reply.reader import ModelReply
    from rockai_transport.prompting.request.build import ChatCall, ModelRequest

__all__ = ["PROVIDER", "ChatAnswer", "run_metadata", "usage_metadata"]

PROVIDER: Final = "rockai"
# Core reads reasoning out of this key into a content block of its own, and `content` stays a plain string
# (langchain_core/messages/base.py, `_extract_reasoning_from_additional_kwargs`).
_REASONING_KEY: Final = "reasoning_content"

# Core merges streamed blocks by their index. With output_version="v1" it numbers texts and reasoning itself,
# from 0 (langchain_core/language_models/chat_models.py, `stream`), and would merge a call of the same number
# into one of them; v3 events would merge calls without a number into each other (`_iter_protocol_blocks`).
_FIRST_CALL: Final = 1000


def run_metadata(model: str, prediction: Prediction | None) -> dict[str, Any]:
    """Say which model answered, and what is known of its run.

    Args:
        model: The model that was asked.
        prediction: The run; None where nothing is known of it.

    Returns:
        ``model_name``, ``model_provider``, and ``id``, ``status`` and ``metrics`` where they are known.
    """
    known = {
        "id": prediction.id if prediction else None,
        "status": prediction.status if prediction else None,
        "metrics": dict(prediction.metrics) if prediction and prediction.metrics else None,
    }
    return {
        "model_name": model,
        "model_provider": PROVIDER,
        **{key: value for key, value in known.items() if value},
    }


def usage_metadata(predictions: Sequence[Prediction | None]) -> UsageMetadata | None:
    """Give the tokens of all runs that a reply took; None where the service does not report them."""
    usage = reported_usage([prediction.metrics if prediction else None for prediction in predictions])
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens
    )


class ChatAnswer:
    """One answer of a chat model, from its first request to its last chunk: an `Answer` (see `.runs`)."""

    def __init__(self, call: ChatCall, check: Callable[[ModelReply], str | None] | None = None) -> None:
        self._exchange = Dialogue(call, check)
        self._model = call.settings.model
        self._predictions: list[Prediction | None] = []
        self._parts: list[ReplyPart] = []
        self._calls = 0

    @property
    def request(self) -> ModelRequest | None:
        """What is to be run now; None once the answer is complete."""
        return self._exchange.request

    @property
    def cut(self) -> bool:
        """Whether a stop sequence was reached: the stream can be left."""
        return self._exchange.cut

    def feed(self, piece: str) -> list[ChatGenerationChunk]:
        """Take what the model wrote next, and give the chunks that may be handed on."""
        return self._chunks(self._exchange.feed(piece))

    def end(self, prediction: Prediction | None) -> list[ChatGenerationChunk]:
        """End a run, and give the chunks that were held; after the last run, one with the metadata too."""
        self._predictions.append(prediction)
        try:
            chunks = self._chunks(self._exchange.end(prediction))
        except InvalidResponseError as error:
            # What `include_raw` gives as `raw`; an error without it is not about the model's answer.
            vars(error)["answer"] = self._refused(str(error.body))
            raise
        if self.request is None:
            chunks.append(self._last_chunk())
        return chunks

    def take(self, prediction: Prediction) -> None:
        """Take a run that was not streamed."""
        self.feed(prediction.text)
        self.end(prediction)

    def result(self) -> ChatResult:
        """The complete answer, for those who did not stream it."""
        return ChatResult(generations=[ChatGeneration(message=self._message(gather(self._parts)))])

    def _message(self, reply: ModelReply) -> AIMessage:
        return AIMessage(
            content=reply.text,
            additional_kwargs={_REASONING_KEY: reply.reasoning} if reply.reasoning else {},
            tool_calls=[
                tool_call(name=call.name, args=call.arguments, id=call.id) for call in reply.tool_calls
            ],
            invalid_tool_calls=[
                invalid_tool_call(
                    name=call.name, args=_unreadable(call.arguments), id=call.id, error=call.error
                )
                for call in reply.invalid_tool_calls
            ],
            response_metadata=self._metadata(),
            usage_metadata=usage_metadata(self._predictions),
        )

    def _refused(self, text: str) -> AIMessage:
        """An answer that was not accepted, read as far as it can be."""
        if self.request is None:
            return AIMessage(text)
        reader = self.request.reader()
        reply = read_reply(text, reader)
        return self._message(reader.rejected() if reader.waiting else reply)

    def _metadata(self) -> dict[str, Any]:
        return run_metadata(self._model, self._predictions[-1])

    def _chunks(self, parts: Sequence[ReplyPart]) -> list[ChatGenerationChunk]:
        self._parts += parts
        return [ChatGenerationChunk(message=self._chunk(part)) for part in parts]

    def _last_chunk(self) -> ChatGenerationChunk:
        message = AIMessageChunk(
            content="",
            response_metadata=self._metadata(),
            usage_metadata=usage_metadata(self._predictions),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)

    @singledispatchmethod
    def _chunk(self, part: ReplyPart) -> AIMessageChunk:
        raise TypeError(f"no part of a reply: {part!r}")

    @_chunk.register
    def _(self, part: TextDelta) -> AIMessageChunk:
        return AIMessageChunk(content=part.text)

    @_chunk.register
    def _(self, part: ReasoningDelta) -> AIMessageChunk:
        return AIMessageChunk(content="", additional_kwargs={_REASONING_KEY: part.text})

    @_chunk.register
    def _(self, part: ToolCall) -> AIMessageChunk:
        return self._call_chunk(part.id, part.name, json.dumps(part.arguments, ensure_ascii=False))

    @_chunk.register
    def _(self, part: InvalidToolCall) -> AIMessageChunk:
        return self._call_chunk(part.id, part.name, _unreadable(part.arguments))

    def _call_chunk(self, id_: str, name: str | None, arguments: str) -> AIMessageChunk:
        chunk = tool_call_chunk(name=name, args=arguments, id=id_, index=_FIRST_CALL + self._calls)
        self._calls += 1
        return AIMessageChunk(content="", tool_call_chunks=[chunk])


def _unreadable(arguments: str) -> str:
    """Arguments that core does not read.

    Core repairs the arguments of a streamed call (langchain_core/messages/ai.py, `init_tool_calls`): of one
    that the model broke off it would make a valid call, with half its arguments.
    """
    try:
        readable = isinstance(parse_partial_json(arguments or "{}"), dict)
    except ValueError:
        readable = False
    return f"{UNREADABLE}{arguments}" if readable else arguments
