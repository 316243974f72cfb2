"""What a model said so far, as LlamaIndex's responses: what is new in ``delta``, all of it in the rest."""

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
    ToolCall,
)

__all__ = ["PARTIAL", "ChatResponseBuilder", "CompletionResponseBuilder", "file_block"]

PARTIAL: Final = "partial_object"
"""Where a response holds an object as far as it has come."""

R = TypeVar("R", ChatResponse, CompletionResponse)

# What was sent is in the start event already, and may hold whole files; `raw` holds all of it once more.
_IN_RAW: Final = tuple(one.name for one in fields(Prediction) if one.name not in {"input", "raw"})


class _ResponseBuilder(ReplyBuilder[R, R]):
    """One reply, growing: a response holds what is new in ``delta``, and all that was said in the rest.

    Attributes:
        text: The text so far. A call that cannot be read is text: nothing the model said is lost.
        thinking: The reasoning so far.
        calls: The calls so far.
        invalid: What was meant as a call and cannot be read.
    """

    text = thinking = ""
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()

    def chunks(self, parts: Sequence[ReplyPart]) -> Iterator[R]:
        """A response for each part."""
        for part in parts:
            yield self._response(*self._add(part))

    def last_chunk(self) -> R:
        """A response that adds no text but ``raw``, known only now. An empty answer is this one alone."""
        return self._response("", "", self._raw())

    def result(self) -> R:
        """The complete response."""
        for part in self.parts:
            self._add(part)
        return self._response(None, "", self._raw())

    def _response(self, delta: str | None, thinking: str, raw: dict[str, Any] | None = None) -> R:
        raise NotImplementedError

    def _add(self, part: ReplyPart) -> tuple[str, str]:
        """Take the next part; give the text and the reasoning that it adds."""
        if isinstance(part, (TextDelta, InvalidToolCall)):
            if isinstance(part, InvalidToolCall):
                self.invalid += (part,)
            self.text += part.text
            if isinstance(part, ReasoningEnd):  # all of it was reasoning, as the tag says that ends it
                self.thinking, self.text = self.text.removesuffix(part.tag) + self.thinking, ""
            return part.text, ""
        if isinstance(part, ReasoningDelta):
            self.thinking += part.text
            return "", part.text
        self.calls += (part,)
        return "", ""

    def _raw(self) -> dict[str, Any]:
        last = self.runs[-1]
        raw: dict[str, Any] = {"prediction": last and {name: getattr(last, name) for name in _IN_RAW}}
        raw.update(self.ending())
        if (usage := self.usage()) is not None:
            # Under the names core counts by (callbacks/token_counting.py:39); never made up.
            raw["usage"] = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.total_tokens,
            }
        return raw


class ChatResponseBuilder(_ResponseBuilder[ChatResponse]):
    """One reply as chat responses."""

    def partial_chunk(self, value: dict[str, Any]) -> ChatResponse:
        """A response that says nothing; `llama_index_rockai.structured` reads the object."""
        return ChatResponse(message=self._message(), delta="", additional_kwargs={PARTIAL: value})

    def _response(self, delta: str | None, thinking: str, raw: dict[str, Any] | None = None) -> ChatResponse:
        extra = _extra(_thinking_delta(thinking))
        return ChatResponse(message=self._message(), delta=delta, raw=raw, **extra)

    def _message(self) -> ChatMessage:
        """The message: reasoning first, then text (left out where there are only calls), files, calls."""
        blocks: list[Any] = [ThinkingBlock(content=self.thinking)] if self.thinking else []
        extra: dict[str, Any] = {}
        if self.text or not self.calls:
            blocks.append(TextBlock(text=self.text))
        if self.runs:
            blocks += filter(None, starmap(file_block, self.files()))
        if self.calls:
            blocks += map(call_block, self.calls)
            extra["tool_calls"] = [legacy_call(call) for call in self.calls]
        if self.invalid:
            extra["invalid_tool_calls"] = [asdict(call) for call in self.invalid]
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, **_extra(extra))


class CompletionResponseBuilder(_ResponseBuilder[CompletionResponse]):
    """One reply as completion responses."""

    def _response(
        self, delta: str | None, thinking: str, raw: dict[str, Any] | None = None
    ) -> CompletionResponse:
        extra = {"thinking": self.thinking, **_thinking_delta(thinking)} if self.thinking else {}
        return CompletionResponse(text=self.text, delta=delta, raw=raw, **_extra(extra))


def file_block(kind: str, address: str, media_type: str) -> ImageBlock | VideoBlock | AudioBlock | None:
    """Write a file as LlamaIndex's block, in whose words core finds the format of audio by itself.

    Args:
        kind: ``"image"``, ``"video"`` or ``"audio"``; there is no block for any other.
        address: Where the file is.
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
    """The argument for further values; none where there are none, since core checks what it is given."""
    return {"additional_kwargs": values} if values else {}


def _thinking_delta(thinking: str) -> dict[str, str]:
    # Agents hand it on as AgentStream.thinking_delta (agent/workflow/function_agent.py:93).
    return {"thinking_delta": thinking} if thinking else {}
