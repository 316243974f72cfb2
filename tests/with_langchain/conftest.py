from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from langchain_rockai import ChatRockAI, RockAILLM
from rockai_sandbox import Protocol, Sandbox

MODEL = "my/hermes"  # by its name it speaks ChatML, and nothing it is sent is refused


@pytest.fixture
def sandbox(monkeypatch) -> Iterator[Sandbox]:
    """A sandbox that the environment leads to."""
    with Sandbox(protocol=Protocol(stream_needs_token=True)) as running:
        for name, value in running.environ().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def vcr():
    """What a test of langchain-tests asks for before it skips itself: pytest-recording is off."""


@pytest.fixture
def scripted(sandbox):
    """Script what the model says, one answer for each run; `scripted.inputs` is what it was asked."""

    def script(*answers: Any, model: str = MODEL) -> SimpleNamespace:
        asked: list[dict[str, Any]] = []
        left = iter(answers)

        @sandbox.model(model)
        def say(input):
            asked.append(input)
            answer = next(left)
            yield from [answer] if isinstance(answer, str) else answer

        return SimpleNamespace(inputs=asked)

    return script


@pytest.fixture
def llm(sandbox) -> ChatRockAI:
    return ChatRockAI(model=MODEL)


@pytest.fixture
def text_llm(sandbox) -> RockAILLM:
    return RockAILLM(model=MODEL)


class Tokens(BaseCallbackHandler):
    """Notes what callbacks are told of tokens, and what is reported as an error."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.chunks: list[Any] = []
        self.errors: list[BaseException] = []
        self.error_responses: list[Any] = []
        self.started: list[dict[str, Any]] = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.started.append({"serialized": serialized, **kwargs})

    def on_llm_start(self, serialized, prompts, **kwargs):
        self.started.append({"serialized": serialized, **kwargs})

    def on_llm_new_token(self, token, *, chunk=None, **kwargs):
        self.tokens.append(token)
        self.chunks.append(chunk)

    def on_llm_error(self, error, *, response=None, **kwargs):
        self.errors.append(error)
        self.error_responses.append(response)


class AsyncTokens(AsyncCallbackHandler):
    """As `Tokens`, for async calls."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []

    async def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(token)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def async_tokens() -> AsyncTokens:
    return AsyncTokens()
