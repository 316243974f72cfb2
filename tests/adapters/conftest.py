"""One harness for both frameworks: a test asks each of them the same question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.utils.function_calling import convert_to_openai_tool
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from langchain_rockai import ChatRockAI, RockAIToolkit
from llama_index_rockai import RockAI, RockAIToolSpec
from rockai_sandbox import Protocol, Sandbox

MODEL = "my/hermes"  # by its name it speaks ChatML, and nothing it is sent is refused


class LangChain:
    """How LangChain's users say it."""

    package = "langchain-rockai"
    model_class = ChatRockAI
    toolkit_class = RockAIToolkit
    extra = "model_kwargs"

    def make(self, model: str = MODEL, **settings: Any) -> Any:
        return self.model_class(model=model, **settings)

    def ask(self, llm: Any, text: str, **call: Any) -> str:
        return llm.invoke(text, **call).text

    def stream(self, llm: Any, text: str, **call: Any) -> Iterator[str]:
        return (chunk.text for chunk in llm.stream(text, **call))

    async def aask(self, llm: Any, text: str, **call: Any) -> str:
        return (await llm.ainvoke(text, **call)).text

    def metadata(self, llm: Any, text: str, **call: Any) -> dict[str, Any]:
        return llm.invoke(text, **call).response_metadata

    def streamed_metadata(self, llm: Any, text: str, **call: Any) -> dict[str, Any]:
        return list(llm.stream(text, **call))[-1].response_metadata

    def input(self, llm: Any, *turns: tuple[str, str], **call: Any) -> dict[str, Any]:
        return llm.preview(list(turns), **call)["input"]

    def calls(self, llm: Any, text: str, tools: list[Any], **call: Any) -> list[str]:
        return [made["name"] for made in llm.invoke(text, tools=tools, **call).tool_calls]

    def answer(self, llm: Any, text: str) -> Any:
        return llm.invoke(text)

    def last(self, llm: Any, text: str, kind: str) -> Any:
        """The last chunk of a stream."""
        if kind == "sync":
            return list(llm.stream(text))[-1]

        async def read() -> Any:
            return [chunk async for chunk in llm.astream(text)][-1]

        return asyncio.run(read())

    def chunks(self, llm: Any, text: str) -> Any:
        return llm.stream(text)

    def said(self, chunk: Any) -> str:
        """What a chunk adds."""
        return chunk.text

    def pieces(self, llm: Any, text: str, kind: str) -> list[str]:
        """What each chunk of a stream adds."""
        if kind == "sync":
            return [self.said(chunk) for chunk in llm.stream(text)]

        async def read() -> list[str]:
            return [self.said(chunk) async for chunk in llm.astream(text)]

        return asyncio.run(read())

    def usage(self, answer: Any) -> tuple[int, int] | None:
        """Tokens in and out."""
        found = answer.usage_metadata
        return found and (found["input_tokens"], found["output_tokens"])

    def blocks(self, answer: Any) -> list[tuple[str, str]]:
        """What an answer consists of: each block's kind, and its text or address."""
        return [
            (
                one["type"],
                one.get("text") or one.get("url") or f"data:{one['mime_type']};base64,{one['base64']}",
            )
            for one in answer.content_blocks
        ]

    def whole(self, llm: Any, text: str, kind: str) -> Any:
        """The whole answer, streamed."""
        if kind == "sync":
            chunks = list(llm.stream(text))
        else:

            async def read() -> list[Any]:
                return [chunk async for chunk in llm.astream(text)]

            chunks = asyncio.run(read())
        return sum(chunks[1:], chunks[0])

    def next_input(self, llm: Any, answer: Any) -> dict[str, Any]:
        """What is sent after an answer."""
        return llm.preview([("user", "Draw."), answer, ("user", "Go on.")])["input"]

    def images_input(self, llm: Any, *messages: list[str]) -> dict[str, Any]:
        """What is sent for messages that hold images."""
        blocks = [
            [{"type": "text", "text": "x"}, *({"type": "image", "url": url} for url in urls)]
            for urls in messages
        ]
        return llm.preview([{"role": "user", "content": content} for content in blocks])["input"]

    def run_agent(self, llm: Any, toolkit: Any) -> str:
        """Let an agent that has a toolkit's tools answer."""
        agent = create_agent(llm, toolkit.get_tools())
        return agent.invoke({"messages": [("user", "Draw.")]})["messages"][-1].text

    def object(self, llm: Any, kind: type[Any]) -> Any:
        """An object of a class, as a function that must be called."""
        return llm.with_structured_output(kind, method="function_calling").invoke("x")

    def objects(self, llm: Any, kind: type[Any]) -> Any:
        """A stream of such an object, as it fills in."""
        return llm.with_structured_output(kind).stream("x")

    async def aobjects(self, llm: Any, kind: type[Any]) -> Any:
        """The same, with ``await``."""
        return llm.with_structured_output(kind).astream("x")

    def tool(self, function: Any) -> Any:
        return convert_to_openai_tool(function)

    def use(self, toolkit: Any, **arguments: Any) -> None:
        """Call its first tool."""
        toolkit.get_tools()[0].invoke(arguments)


class LlamaIndex:
    """How LlamaIndex's users say it."""

    package = "llama-index-rockai"
    model_class = RockAI
    toolkit_class = RockAIToolSpec
    extra = "additional_kwargs"

    def make(self, model: str = MODEL, **settings: Any) -> Any:
        return self.model_class(model=model, context_window=4096, **settings)

    def ask(self, llm: Any, text: str, **call: Any) -> str:
        return llm.chat([ChatMessage(text)], **call).message.content

    def stream(self, llm: Any, text: str, **call: Any) -> Iterator[str]:
        return (chunk.delta for chunk in llm.stream_chat([ChatMessage(text)], **call))

    async def aask(self, llm: Any, text: str, **call: Any) -> str:
        return (await llm.achat([ChatMessage(text)], **call)).message.content

    def metadata(self, llm: Any, text: str, **call: Any) -> dict[str, Any]:
        return llm.chat([ChatMessage(text)], **call).raw

    def streamed_metadata(self, llm: Any, text: str, **call: Any) -> dict[str, Any]:
        return list(llm.stream_chat([ChatMessage(text)], **call))[-1].raw

    def input(self, llm: Any, *turns: tuple[str, str], **call: Any) -> dict[str, Any]:
        return llm.preview([ChatMessage(text, role=role) for role, text in turns], **call)["input"]

    def calls(self, llm: Any, text: str, tools: list[Any], **call: Any) -> list[str]:
        response = llm.chat([ChatMessage(text)], tools=tools, **call)
        made = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        return [one.tool_name for one in made]

    def answer(self, llm: Any, text: str) -> Any:
        return llm.chat([ChatMessage(text)])

    def last(self, llm: Any, text: str, kind: str) -> Any:
        if kind == "sync":
            return list(llm.stream_chat([ChatMessage(text)]))[-1]

        async def read() -> Any:
            return [chunk async for chunk in await llm.astream_chat([ChatMessage(text)])][-1]

        return asyncio.run(read())

    def chunks(self, llm: Any, text: str) -> Any:
        return llm.stream_chat([ChatMessage(text)])

    def said(self, chunk: Any) -> str:
        return chunk.delta or ""

    def pieces(self, llm: Any, text: str, kind: str) -> list[str]:
        if kind == "sync":
            return [self.said(chunk) for chunk in self.chunks(llm, text)]

        async def read() -> list[str]:
            return [self.said(chunk) async for chunk in await llm.astream_chat([ChatMessage(text)])]

        return asyncio.run(read())

    def usage(self, answer: Any) -> tuple[int, int] | None:
        found = answer.raw.get("usage")
        return found and (found["prompt_tokens"], found["completion_tokens"])

    def blocks(self, answer: Any) -> list[tuple[str, str]]:
        blocks = answer.message.blocks
        return [(one.block_type, one.text if one.block_type == "text" else str(one.url)) for one in blocks]

    def whole(self, llm: Any, text: str, kind: str) -> Any:
        return self.last(llm, text, kind)

    def next_input(self, llm: Any, answer: Any) -> dict[str, Any]:
        return llm.preview([ChatMessage("Draw."), answer.message, ChatMessage("Go on.")])["input"]

    def images_input(self, llm: Any, *messages: list[str]) -> dict[str, Any]:
        blocks = [[TextBlock(text="x"), *(ImageBlock(url=url) for url in urls)] for urls in messages]
        return llm.preview([ChatMessage(role="user", blocks=one) for one in blocks])["input"]

    def run_agent(self, llm: Any, toolkit: Any) -> str:
        async def ask() -> str:
            return str(await FunctionAgent(tools=toolkit.to_tool_list(), llm=llm).run("Draw."))

        return asyncio.run(ask())

    def object(self, llm: Any, kind: type[Any]) -> Any:
        return llm.structured_predict(kind, PromptTemplate("x"))

    def objects(self, llm: Any, kind: type[Any]) -> Any:
        return llm.stream_structured_predict(kind, PromptTemplate("x"))

    async def aobjects(self, llm: Any, kind: type[Any]) -> Any:
        return await llm.astream_structured_predict(kind, PromptTemplate("x"))

    def tool(self, function: Any) -> Any:
        return FunctionTool.from_defaults(function)

    def use(self, toolkit: Any, **arguments: Any) -> None:
        """Call its first tool."""
        toolkit.to_tool_list()[0].call(**arguments)


@pytest.fixture(params=[LangChain, LlamaIndex], ids=lambda framework: framework.__name__)
def framework(request) -> LangChain | LlamaIndex:
    return request.param()


@pytest.fixture
def sandbox(monkeypatch) -> Iterator[Sandbox]:
    """A sandbox that the environment leads to."""
    with Sandbox(video_seconds=0.2, protocol=Protocol(stream_needs_token=True)) as running:
        for name, value in running.environ().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def says(sandbox):
    """Script what the model says, one answer for each run; gives the list of what it was asked."""

    def script(*answers: str) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []
        left = iter(answers)

        @sandbox.model(MODEL)
        def talk(input):
            asked.append(input)
            yield next(left)

        return asked

    return script
