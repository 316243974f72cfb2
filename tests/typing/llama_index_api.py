"""What a type checker sees of llama_index_rockai in a user's code. Checked by mypy, never run.

Without the pydantic plugin: the contract's names are the constructor's, and its aliases but `model_name`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, SecretStr

import llama_index_rockai
from llama_index_rockai import GENERATE_IMAGE, Dialect, RockAI, RockAIToolSpec
from rockai_transport import AsyncClient, Client

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

model = "mistralai/mistral-7b-instruct-v0.1"
dialect = Dialect(name="mine", chat_template="chatml")

llm = RockAI(
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
    context_window=8192,
    additional_kwargs={"repetition_penalty": 1.1},
    dialect=dialect,
    chat_template="{{ messages }}",
    route="predictions",
    default_headers={"X-Team": "blue"},
    client=Client(),
    async_client=AsyncClient(),
    is_chat_model=True,
    is_function_calling_model=True,
    system_prompt="Be brief.",
    completion_to_prompt=lambda prompt: prompt,
)
RockAI(model=model, api_token=SecretStr("token"), dialect="llama-2", stop="END", top_k=None)
RockAI(model=model, api_key="token", api_base="https://api.rockai.online/v1")
RockAI(model=model, rockai_api_token=SecretStr("token"))

RockAI(model=model, api_key=1)  # type: ignore[arg-type]
RockAI(model=model, temprature=0.5)  # type: ignore[call-arg]
RockAI(model=model, temperature="hot")  # type: ignore[arg-type]
RockAI(model=model, route="fast")  # type: ignore[arg-type]
RockAI(temperature=0.5)  # type: ignore[call-arg]
RockAI(model_name=model)  # type: ignore[call-arg]

RockAIToolSpec([GENERATE_IMAGE], approval=True, max_starts=3, save_to="out", scope=lambda context: "mine")
RockAIToolSpec([GENERATE_IMAGE], max_start=3)  # type: ignore[call-arg]
RockAIToolSpec([GENERATE_IMAGE], approval="yes")  # type: ignore[arg-type]

messages = [ChatMessage(content="Hello")]
base: FunctionCallingLLM = llm

assert_type(llm.temperature, float | None)
assert_type(llm.metadata, LLMMetadata)
assert_type(llm.chat(messages, temperature=0.1), ChatResponse)
assert_type(llm.complete("Hello"), CompletionResponse)
assert_type(llm.stream_chat(messages), ChatResponseGen)
assert_type(llm.stream_complete("Hello"), CompletionResponseGen)
assert_type(llm.preview(messages), dict[str, Any])
llm.complete(1)  # type: ignore[arg-type]


async def talk() -> None:
    """The same with ``await``."""
    assert_type(await llm.achat(messages), ChatResponse)
    assert_type(await llm.acomplete("Hello"), CompletionResponse)
    assert_type(await llm.astream_chat(messages), ChatResponseAsyncGen)
    assert_type(await llm.astream_complete("Hello"), CompletionResponseAsyncGen)
    async for chunk in await llm.astream_chat(messages):
        assert_type(chunk.delta, str | None)


class Joke(BaseModel):
    """A joke."""

    setup: str


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


tool = FunctionTool.from_defaults(double)
response = llm.chat_with_tools([tool], "Double 2.", tool_required=True)
assert_type(llm.get_tool_calls_from_response(response), list[ToolSelection])
assert_type(llm.predict_and_call([tool], "Double 2."), AgentChatResponse)
assert_type(llm.structured_predict(Joke, PromptTemplate("Tell a joke.")), Joke)


def names() -> None:
    """A name that there is not is an error, as when the program runs."""
    _ = llama_index_rockai.RockIA  # type: ignore[attr-defined]
