"""A model's replies as LangChain's messages and chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from langchain_rockai.errors import as_model_error
from langchain_rockai.messages import UNREADABLE
from rockai_transport import InvalidResponseError, RockAIError
from rockai_transport.adapters import OutputFile, OutputParser, ReplyBuilder
from rockai_transport.prompting import (
    InvalidToolCall,
    ModelReply,
    ReasoningDelta,
    ReplyPart,
    TextDelta,
    ToolCall,
    gather,
)

C = TypeVar("C")
R = TypeVar("R")

PROVIDER: Final = "rockai"
PARTIAL: Final = "partial_object"
"""The field of a chunk with the partial object; core allows additional fields in messages."""
# Core converts reasoning under this key to a content block, and `content` stays a plain string
# (langchain_core/messages/base.py, `_extract_reasoning_from_additional_kwargs`).
_REASONING_KEY: Final = "reasoning_content"
# The key of an answer's files; `_with_files` makes content blocks of them, and `content` stays the address.
_FILES_KEY: Final = "files"

# Core merges streamed blocks by their index. With output_version="v1" it numbers texts and reasoning itself,
# from 0 (langchain_core/language_models/chat_models.py, `stream`), and would merge a call with the same
# number into one of them; v3 events would merge calls without a number (`_iter_protocol_blocks`).
_FIRST_CALL: Final = 1000
_FIRST_FILE: Final = 2000
_MOST_REPAIRED: Final = 2000  # characters of invalid arguments that core may try to repair

_json = partial(json.dumps, ensure_ascii=False)


class LangChainBuilder(ReplyBuilder[C, R]):
    """The common part of messages and completions: metadata, tokens, core's errors."""

    def metadata(self) -> dict[str, Any]:
        """Return a message's metadata.

        Returns:
            ``response_metadata``: the model, and what is known of its last run: ``id``, ``status``,
            ``metrics``; the result of `ReplyBuilder.ending`; ``usage_metadata``: the tokens of all runs, None
            if not reported.
        """
        known: dict[str, Any] = {"model_name": self.dialogue.running.model, "model_provider": PROVIDER}
        for name in ("id", "status", "metrics"):
            if value := getattr(self.runs[-1], name, None):
                known[name] = dict(value) if name == "metrics" else value
        known.update(self.ending())
        usage = self.usage()
        tokens = {**usage._asdict(), "total_tokens": usage.total_tokens} if usage else None
        return {"response_metadata": known, "usage_metadata": tokens}

    def error(self, error: RockAIError) -> RockAIError:
        """As for every reply, but also core's error."""
        return as_model_error(super().error(error))


class ChatBuilder(LangChainBuilder[ChatGenerationChunk, ChatResult]):
    """One answer of a chat model, from its first run to its last chunk."""

    def __init__(self, *given: Any, written: OutputParser | None = None, **settings: Any) -> None:
        """Create a builder.

        Args:
            given: As for `ReplyBuilder`.
            written: Parser for an answer without tool calls: its text is then the value, as JSON only.
            settings: As for `ReplyBuilder`.
        """
        super().__init__(*given, partials=written is None, **settings)
        self._written = written
        self._indexes = count(_FIRST_CALL)

    def chunks(self, parts: Sequence[ReplyPart]) -> Iterator[ChatGenerationChunk]:
        """Yield a chunk for each part."""
        for part in parts if self._written is None else self._as_written(parts, self._written):
            if isinstance(part, TextDelta):  # almost all are
                message = AIMessageChunk(content=part.text)
            elif isinstance(part, ReasoningDelta):
                message = AIMessageChunk(content="", additional_kwargs={_REASONING_KEY: part.text})
            else:
                if isinstance(part, InvalidToolCall):  # core's v3 events drop the call of a chunk with text
                    yield ChatGenerationChunk(message=AIMessageChunk(content=part.text))
                message = AIMessageChunk(content="", tool_call_chunks=[self._call_chunk(part)])
            yield ChatGenerationChunk(message=message)

    def partial_chunk(self, value: dict[str, Any]) -> ChatGenerationChunk:
        """Return a chunk without text; `langchain_rockai.structured` reads its object, adding drops it."""
        beside: dict[str, Any] = {PARTIAL: value}
        return ChatGenerationChunk(message=AIMessageChunk(content="", **beside))

    def last_chunk(self) -> ChatGenerationChunk:
        """Return an empty chunk with the metadata."""
        message = AIMessageChunk(
            content="", additional_kwargs=self._files(), chunk_position="last", **self.metadata()
        )
        return ChatGenerationChunk(message=message, generation_info=message.response_metadata)

    def result(self) -> ChatResult:
        """Return the complete answer."""
        if self._written is not None:
            self.parts = list(self._as_written(self.parts, self._written))
        message = self._message(self.reply())  # tracers read the reason of its end from `generation_info`
        generation = ChatGeneration(message=message, generation_info=message.response_metadata)
        return ChatResult(generations=[generation])

    def error(self, error: RockAIError) -> RockAIError:
        """As for every reply; an error about the model's answer contains it, for ``include_raw``."""
        if isinstance(error, InvalidResponseError) and error.by_model:
            vars(error)["answer"] = self._message(self.refused(str(error.body)))
        return super().error(error)

    @staticmethod
    def _as_written(parts: Sequence[ReplyPart], output: OutputParser) -> Sequence[ReplyPart]:
        """Return the same parts, but a value without the text around it, which core's agents cannot parse."""
        if not parts:
            return parts
        reply = gather(parts)
        if reply.tool_calls or reply.invalid_tool_calls:
            return parts
        thought: list[ReplyPart] = [ReasoningDelta(reply.reasoning)] if reply.reasoning else []
        return [*thought, TextDelta(_json(output.read(reply)))]

    def _message(self, reply: ModelReply) -> AIMessage:
        thought = {_REASONING_KEY: reply.reasoning} if reply.reasoning else {}
        return AIMessage(
            content=reply.text,
            additional_kwargs={**thought, **self._files()},
            tool_calls=[tool_call(name=one.name, args=one.arguments, id=one.id) for one in reply.tool_calls],
            invalid_tool_calls=[
                invalid_tool_call(name=one.name, args=one.arguments, id=one.id, error=one.error)
                for one in reply.invalid_tool_calls
            ],
            **self.metadata(),
        )

    def _files(self) -> dict[str, Any]:
        blocks = list(map(_file_block, self.files()))
        return {_FILES_KEY: blocks} if blocks else {}

    def _call_chunk(self, call: ToolCall | InvalidToolCall) -> ToolCallChunk:
        arguments = _unreadable(call) if isinstance(call, InvalidToolCall) else _json(call.arguments)
        return tool_call_chunk(name=call.name, args=arguments, id=call.id, index=next(self._indexes))


def _file_block(file: OutputFile) -> dict[str, str]:
    """Return the standard content block of a file."""
    base64 = file.address.partition(";base64,")[2] if file.address[:5].lower() == "data:" else ""
    content = {"base64": base64} if base64 else {"url": file.address}
    return {"type": file.kind, **content, "mime_type": file.media_type}


def _with_files(message: AIMessage) -> list[Any]:
    """Return the content blocks of a message; for one without files, core's own.

    Only in a last chunk, which has no text, the blocks are numbered, so that core keeps them separate.
    """
    files = message.additional_kwargs.get(_FILES_KEY)
    if not files or not isinstance(message.content, str):
        raise NotImplementedError
    if not message.content:
        return [{**block, "index": index} for index, block in enumerate(files, _FIRST_FILE)]
    return [{"type": "text", "text": message.content}, *files]


register_translator(PROVIDER, _with_files, _with_files)


def _unreadable(call: InvalidToolCall) -> str:
    """Return the model's arguments in a form that core does not parse.

    Core repairs the arguments of a streamed call (langchain_core/messages/ai.py, `init_tool_calls`): an
    incomplete call would become a valid one, with half its arguments. After its opening bracket, the same
    text is not an object to core. A whole message is not repaired, and has the arguments unchanged. Core's
    repair takes quadratic time, so of long arguments it gets the beginning; the message's content has them.
    """
    limit = _MOST_REPAIRED if call.text else None
    for written in (call.arguments[:limit], call.text[:limit]):
        if not _is_repaired(written):
            return written
        if behind := written.lstrip("{ \t\r\n"):
            return behind
    return UNREADABLE


def _is_repaired(arguments: str) -> bool:
    try:
        return isinstance(parse_partial_json(arguments or "{}"), dict)
    except ValueError:
        return False
