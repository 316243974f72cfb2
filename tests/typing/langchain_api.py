"""What a type checker sees of langchain_rockai in a user's code. Checked by mypy, never run.

Without the pydantic plugin: the contract's names are the constructor's, and its aliases but `model_name`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import ModelError
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

import langchain_rockai
import rockai_sandbox
import rockai_transport
from langchain_rockai import (
    GENERATE_IMAGE,
    RETRYABLE,
    ChatRockAI,
    Dialect,
    RetryableModelError,
    RockAILLM,
    RockAIToolkit,
)
from rockai_transport import AsyncClient, Client, RateLimitError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

model = "mistralai/mistral-7b-instruct-v0.1"
dialect = Dialect(name="mine", chat_template="chatml")

chat = ChatRockAI(
    model=model,
    api_token="token",  # noqa: S106 - an example
    base_url="https://api.rockai.online/v1",
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    max_tokens=100,
    stop=["END"],
    timeout=60,
    max_retries=2,
    streaming=False,
    model_kwargs={"repetition_penalty": 1.1},
    dialect=dialect,
    chat_template="{{ messages }}",
    route="predictions",
    default_headers={"X-Team": "blue"},
    client=Client(),
    async_client=AsyncClient(),
)
text = RockAILLM(model=model, api_token=SecretStr("token"), dialect="llama-2", stop="END", top_k=None)
ChatRockAI(model=model, api_key="token", api_base="https://api.rockai.online/v1")
RockAILLM(model=model, rockai_api_token=SecretStr("token"))

ChatRockAI(model=model, api_key=1)  # type: ignore[arg-type]
ChatRockAI(model=model, temprature=0.5)  # type: ignore[call-arg]
ChatRockAI(model=model, temperature="hot")  # type: ignore[arg-type]
ChatRockAI(model=model, route="fast")  # type: ignore[arg-type]
ChatRockAI(temperature=0.5)  # type: ignore[call-arg]
ChatRockAI(model_name=model)  # type: ignore[call-arg]
RockAILLM(model=model, chat_template="x")  # type: ignore[call-arg]

toolkit = RockAIToolkit([GENERATE_IMAGE], max_wait=30, on_cancel="leave", allowed_ids={"a"}, store={})
RockAIToolkit([GENERATE_IMAGE], max_weight=30)  # type: ignore[call-arg]
RockAIToolkit([GENERATE_IMAGE], max_wait="long")  # type: ignore[arg-type]
RockAIToolkit([GENERATE_IMAGE], on_cancel="run on")  # type: ignore[arg-type]


class Joke(BaseModel):
    """A joke."""

    setup: str


@tool
def now() -> str:
    """Tell the time."""
    return "noon"


def calls() -> Iterator[str]:
    """What comes out of a call."""
    assert_type(chat.invoke("Hi"), AIMessage)
    for chunk in chat.stream([("human", "Hi")]):
        assert_type(chunk, AIMessageChunk)
        yield chunk.text
    assert_type(text.invoke("Hi"), str)
    yield from text.stream("Hi")
    assert_type(text.batch(["Hi"]), list[str])
    assert_type(chat.preview("Hi", tools=[now]), dict[str, Any])


async def async_calls() -> None:
    """The same with await."""
    assert_type(await chat.ainvoke("Hi"), AIMessage)
    async for chunk in chat.astream("Hi"):
        assert_type(chunk, AIMessageChunk)
    assert_type(await text.ainvoke("Hi"), str)


def runnables() -> None:
    """Whatever core makes of a model has the model's output too."""
    assert_type(chat.batch(["Hi"]), list[AIMessage])
    assert_type(chat.with_config(tags=["a"]), Runnable[LanguageModelInput, AIMessage])
    assert_type(chat.with_retry(), Runnable[LanguageModelInput, AIMessage])
    assert_type(chat.with_fallbacks([chat]).invoke("Hi"), AIMessage)
    assert_type(text.with_config(tags=["a"]), Runnable[LanguageModelInput, str])
    assert_type(text.with_fallbacks([text]).invoke("Hi"), str)


class Mine(ChatRockAI):
    """A model of a user's own, as core's pages show it."""

    team: str = "blue"

    @property
    def _llm_type(self) -> str:
        return "mine"

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from super()._stream(messages, stop, run_manager, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
            yield chunk


def bindings() -> None:
    """Tools and structured output."""
    bound = chat.bind_tools([now, Joke], tool_choice="any", parallel_tool_calls=False)
    assert_type(bound, Runnable[LanguageModelInput, AIMessage])
    assert_type(bound.invoke("Hi").tool_calls[0]["name"], str)
    chat.bind_tools([now], tool_choice=True)
    chat.bind_tools([now], tool_choice={"type": "function", "function": {"name": "now"}})
    structured = chat.with_structured_output(Joke, method="json_schema", include_raw=True)
    assert_type(structured.invoke("Hi"), dict[str, Any] | BaseModel)
    chat.with_structured_output(Joke, method="xml")  # type: ignore[arg-type]


def errors() -> None:
    """Both classes can be caught, and lead to the same attributes."""
    assert_type(RETRYABLE, tuple[type[RetryableModelError], ...])
    patient = chat.with_retry(retry_if_exception_type=RETRYABLE)
    try:
        patient.invoke("Hi")
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except ModelError as error:
        assert_type(error.is_retryable, bool)


def settings() -> None:
    """Fields can be read."""
    assert_type(chat.model, str)
    assert_type(chat.temperature, float | None)
    assert_type(chat.max_retries, int)
    assert_type(chat.model_kwargs, dict[str, Any])


def names() -> None:
    """A name that there is not is an error, as when the program runs."""
    _ = langchain_rockai.ChatRockIA  # type: ignore[attr-defined]
    _ = rockai_transport.AsyncCleint  # type: ignore[attr-defined]
    _ = rockai_sandbox.SandBox  # type: ignore[attr-defined]
