"""What a model said so far, as LlamaIndex's responses: what is new in ``delta``, all of it in the rest."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
)

from llama_index_rockai.tool_calls import call_block, legacy_call
from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reasoning import ReasoningDelta
from rockai_transport.prompting.usage import reported_usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rockai_transport.prompting.reply.reader import ReplyPart
    from rockai_transport.protocol.prediction import Prediction

# What was sent is in the start event already, and may hold whole files; `raw` holds all of it once more.
_NOT_IN_RAW: Final = {"input", "raw"}


class Delta(NamedTuple):
    """What one chunk of a stream adds."""

    text: str = ""
    thinking: str = ""
    last: bool = False


LAST: Final = Delta(last=True)
"""The last chunk adds no text but the metadata, known only then. An empty answer is this one alone."""


@dataclass
class Answer:
    """One answer, growing.

    Attributes:
        text: The text so far. A call that cannot be read is text: nothing the model said is lost.
        thinking: The reasoning so far.
        calls: The calls so far.
        invalid: What was meant as a call and cannot be read.
        runs: The predictions it took: one, or two where the model had to be asked again.
    """

    text: str = ""
    thinking: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    invalid: list[InvalidToolCall] = field(default_factory=list)
    runs: list[Prediction | None] = field(default_factory=list)

    def add(self, parts: Iterable[ReplyPart]) -> Delta | None:
        """Take the next parts.

        Returns:
            What they add; None where there are none.
        """
        text = thinking = ""
        empty = True
        for part in parts:
            empty = False
            if isinstance(part, ToolCall):
                self.calls.append(part)
            elif isinstance(part, ReasoningDelta):
                thinking += part.text
            elif isinstance(part, InvalidToolCall):
                self.invalid.append(part)
                text += part.text
            else:
                text += part.text
        self.text += text
        self.thinking += thinking
        return None if empty else Delta(text, thinking)

    def chat(self, delta: Delta | None = None) -> ChatResponse:
        """Make a chat response of what was said so far.

        Args:
            delta: What is new, in a stream.
        """
        return ChatResponse(
            message=self._message(),
            delta=None if delta is None else delta.text,
            raw=self._raw() if delta is None or delta.last else None,
            additional_kwargs=_thinking_delta(delta),
        )

    def completion(self, delta: Delta | None = None) -> CompletionResponse:
        """Make a completion response of what was said so far.

        Args:
            delta: What is new, in a stream.
        """
        thinking = {"thinking": self.thinking} if self.thinking else {}
        return CompletionResponse(
            text=self.text,
            delta=None if delta is None else delta.text,
            raw=self._raw() if delta is None or delta.last else None,
            additional_kwargs={**thinking, **_thinking_delta(delta)},
        )

    def _message(self) -> ChatMessage:
        """The message: reasoning first, then text (left out where there are only calls), then calls."""
        thinking = [ThinkingBlock(content=self.thinking)] if self.thinking else []
        text = [TextBlock(text=self.text)] if self.text or not self.calls else []
        extra: dict[str, Any] = {}
        if self.calls:
            extra["tool_calls"] = [legacy_call(call) for call in self.calls]
        if self.invalid:
            names = [attribute.name for attribute in fields(InvalidToolCall)]
            extra["invalid_tool_calls"] = [
                {name: getattr(call, name) for name in names} for call in self.invalid
            ]
        return ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=[*thinking, *text, *map(call_block, self.calls)],
            additional_kwargs=extra,
        )

    def _raw(self) -> dict[str, Any]:
        last = self.runs[-1] if self.runs else None
        return {"prediction": None if last is None else _as_dict(last), **_usage(self.runs)}


def _thinking_delta(delta: Delta | None) -> dict[str, str]:
    # Agents hand it on as AgentStream.thinking_delta (agent/workflow/function_agent.py:93).
    return {"thinking_delta": delta.thinking} if delta and delta.thinking else {}


def _as_dict(prediction: Prediction) -> dict[str, Any]:
    names = [attribute.name for attribute in fields(prediction) if attribute.name not in _NOT_IN_RAW]
    return {name: getattr(prediction, name) for name in names}


def _usage(runs: Sequence[Prediction | None]) -> dict[str, Any]:
    """What all runs took, under the names core counts by (callbacks/token_counting.py:39); never made up."""
    usage = reported_usage([run.metrics if run else None for run in runs])
    if usage is None:
        return {}
    return {
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        }
    }
