"""A model's reply so far as LlamaIndex's responses: new text in ``delta``, everything in the other fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from itertools import starmap
from typing import Any, Final, TypeVar

from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from llama_index_rockai.tool_calls import call_block, legacy_call
from rockai_transport import Prediction
from rockai_transport.adapters import ReplyBuilder
from rockai_transport.prompting import (
    InvalidToolCall,
    ReasoningDelta,
    ReasoningEnd,
    ReplyPart,
    TextDelta,
)

PARTIAL: Final = "partial_object"
"""The key of the partial object in a response."""

R = TypeVar("R", ChatResponse, CompletionResponse)

# The start event already contains the input, which may hold whole files; `raw` repeats everything.
_IN_RAW: Final = tuple(one.name for one in fields(Prediction) if one.name not in {"input", "raw"})


class _ResponseBuilder(ReplyBuilder[R, R]):
    """One reply, growing: a response has new text in ``delta``, and all so far in the other fields.

    Attributes:
        text: The text so far. An invalid call is also text, so that nothing the model wrote is lost.
        thinking: The reasoning so far.
        calls: The calls so far, each as a block and in OpenAI's format. Every response repeats them, so they
            are converted once.
        invalid: What was meant as a call, but is not a valid one.
    """

    text = thinking = ""
    calls: tuple[tuple[ToolCallBlock, dict[str, Any]], ...] = ()
    invalid: tuple[dict[str, Any], ...] = ()

    def chunks(self, parts: Sequence[ReplyPart]) -> Iterator[R]:
        """Yield a response for each part."""
        for part in parts:
            yield self._response(*self._add(part))

    def last_chunk(self) -> R:
        """Return a response that adds only ``raw``, known only now. An empty answer consists of this one."""
        return self._response("", "", self._raw())

    def result(self) -> R:
        """Return the complete response."""
        for part in self.parts:
            self._add(part)
        return self._response(None, "", self._raw())

    def _response(self, delta: str | None, thinking: str, raw: dict[str, Any] | None = None) -> R:
        raise NotImplementedError

    def _add(self, part: ReplyPart) -> tuple[str, str]:
        """Take the next part; return the text and the reasoning that it adds."""
        if isinstance(part, (TextDelta, InvalidToolCall)):
            if isinstance(part, InvalidToolCall):
                self.invalid += (asdict(part),)
            self.text += part.text
            if isinstance(part, ReasoningEnd):  # all of it was reasoning, according to the closing tag
                self.thinking, self.text = self.text.removesuffix(part.tag) + self.thinking, ""
            return part.text, ""
        if isinstance(part, ReasoningDelta):
            self.thinking += part.text
            return "", part.text
        self.calls += ((call_block(part), legacy_call(part)),)
        return "", ""

    def _raw(self) -> dict[str, Any]:
        last = self.runs[-1]
        raw: dict[str, Any] = {"prediction": last and {name: getattr(last, name) for name in _IN_RAW}}
        raw.update(self.ending())
        if (usage := self.usage()) is not None:
            # Under the names that core counts by (callbacks/token_counting.py:39); never made up.
            raw["usage"] = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.total_tokens,
            }
        return raw


class ChatResponseBuilder(_ResponseBuilder[ChatResponse]):
    """One reply as chat responses."""

    def partial_chunk(self, value: dict[str, Any]) -> ChatResponse:
        """Return a response without text; `llama_index_rockai.structured` reads its object."""
        return ChatResponse(message=self._message(), delta="", additional_kwargs={PARTIAL: value})

    def _response(self, delta: str | None, thinking: str, raw: dict[str, Any] | None = None) -> ChatResponse:
        extra = _extra(_thinking_delta(thinking))
        return ChatResponse(message=self._message(), delta=delta, raw=raw, **extra)

    def _message(self) -> ChatMessage:
        """Return the message: reasoning, then text (omitted if there are only calls), files, calls."""
        blocks: list[Any] = [ThinkingBlock(content=self.thinking)] if self.thinking else []
        extra: dict[str, Any] = {}
        if self.text or not self.calls:
            blocks.append(TextBlock(text=self.text))
        if self.runs:
            blocks += filter(None, starmap(file_block, self.files()))
        if self.calls:
            blocks += [block for block, _ in self.calls]
            extra["tool_calls"] = [legacy for _, legacy in self.calls]
        if self.invalid:
            extra["invalid_tool_calls"] = [*self.invalid]
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, **_extra(extra))


class CompletionResponseBuilder(_ResponseBuilder[CompletionResponse]):
    """One reply as completion responses."""

    def _response(
        self, delta: str | None, thinking: str, raw: dict[str, Any] | None = None
    ) -> CompletionResponse:
        extra = {"thinking": self.thinking, **_thinking_delta(thinking)} if self.thinking else {}
        return CompletionResponse(text=self.text, delta=delta, raw=raw, **_extra(extra))


def file_block(kind: str, address: str, media_type: str) -> ImageBlock | VideoBlock | AudioBlock | None:
    """Return a file as LlamaIndex's block; core then detects an audio format itself.

    Args:
        kind: ``"image"``, ``"video"`` or ``"audio"``; there is no block for anything else.
        address: The file's address.
        media_type: Its media type.
    """
    match kind:
        case "image":
            return ImageBlock(url=address, image_mimetype=media_type)
        case "video":
            return VideoBlock(url=address, video_mimetype=media_type)
        case "audio":
            return AudioBlock(url=address)
    return None


def _extra(values: dict[str, Any]) -> dict[str, Any]:
    """Return the argument for additional values; nothing if there are none, because core checks arguments."""
    return {"additional_kwargs": values} if values else {}


def _thinking_delta(thinking: str) -> dict[str, str]:
    # Agents pass it on as AgentStream.thinking_delta (agent/workflow/function_agent.py:93).
    return {"thinking_delta": thinking} if thinking else {}
