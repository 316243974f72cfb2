"""Models that answer from memory, to measure the frameworks themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM


class FakeChat(BaseChatModel):
    """A LangChain chat model that returns its pieces."""

    pieces: list[str]

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.pieces)))])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        return self._generate()

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for piece in self.pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self.pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


class FakeLLM(CustomLLM):
    """A LlamaIndex LLM that returns its pieces."""

    pieces: list[str]

    @property
    def metadata(self) -> LLMMetadata:
        """The metadata that the framework requests."""
        return LLMMetadata(is_chat_model=True)

    @llm_completion_callback()
    def complete(self, *_: Any, **__: Any) -> CompletionResponse:
        """Return all at once."""
        return CompletionResponse(text="".join(self.pieces))

    @llm_completion_callback()
    def stream_complete(self, *_: Any, **__: Any) -> CompletionResponseGen:
        """Return it piece by piece."""

        def chunks() -> CompletionResponseGen:
            text = ""
            for piece in self.pieces:
                text += piece
                yield CompletionResponse(text=text, delta=piece)

        return chunks()

    def _chunks(self) -> ChatResponseGen:
        text = ""
        for piece in self.pieces:
            text += piece
            yield ChatResponse(message=ChatMessage(text, role=MessageRole.ASSISTANT), delta=piece)

    @llm_chat_callback()
    def stream_chat(self, *_: Any, **__: Any) -> ChatResponseGen:
        """Return it piece by piece, as a message that grows."""
        return self._chunks()

    @llm_chat_callback()
    async def astream_chat(self, *_: Any, **__: Any) -> ChatResponseAsyncGen:
        """The same with ``await``."""

        async def chunks() -> ChatResponseAsyncGen:
            for chunk in self._chunks():
                yield chunk

        return chunks()
