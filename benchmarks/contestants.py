"""The peers, and a table each of their ways to stream a model's text and to call a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool

from benchmarks import peers
from benchmarks.peers import INPUT, MODEL, Place
from benchmarks.sdk import sdk_process


def texts(found: Iterable[Any]) -> str:
    """Join strings, or the texts of objects."""
    return "".join(getattr(one, "text", one) for one in found)


def deltas(found: Iterable[Any]) -> str:
    """Join the deltas of LlamaIndex's chunks, which also contain all text so far; an answer has none."""
    return "".join(one.text if one.delta is None else one.delta for one in found)


def outputs(found: Iterable[Any]) -> str:
    """Join the data of the output events."""
    return "".join(event.data for event in found if event.event == "output")


def strings(found: Iterable[Any]) -> str:
    """Join objects, converted to strings."""
    return "".join(map(str, found))


def frames(found: Iterable[bytes]) -> str:
    """Find the text in the bytes of a body."""
    return b"".join(re.findall(rb"^event: output\ndata: (.*)$", b"".join(found), re.MULTILINE)).decode()


def answers(found: Iterable[Any]) -> str:
    """Return the output of a prediction as JSON."""
    return "".join(prediction["output"] for prediction in found)


class Peer(NamedTuple):
    """A client."""

    package: str
    """Its distribution; "" for the standard library, and for the SDK, which has its own environment."""
    protocol: str
    """The protocol in which the server sends; "" if it asks no server."""
    open: Callable[[Place], Any]
    """Returns a context manager of the client."""
    text: Callable[[list[Any]], str]
    """Joins its results."""


class Contestant(NamedTuple):
    """One way of a peer to stream or to call."""

    name: str
    peer: Peer
    start: Callable[[Any], Any]
    """Called with the client: returns an iterator of pieces, a whole answer, or an awaitable of either."""


def remember(city: str) -> str:
    """Remember a city."""
    return city


HI = [ChatMessage("Hi")]
STOP = ["Observation:"]
TOOLS = {"tools": [FunctionTool.from_defaults(remember)], "stop": STOP}
OURS = "rockai-integrations"

CLIENT = Peer(OURS, "rockai", peers.rockai_client, texts)
ASYNC_CLIENT = Peer(OURS, "rockai", peers.rockai_async_client, texts)
CHAT = Peer(OURS, "rockai", peers.rockai_chat, texts)
LLM = Peer(OURS, "rockai", peers.rockai_llm, deltas)
TRANSCRIPT = Peer(OURS, "", peers.transcript, strings)
SOCKET = Peer("", "rockai", peers.raw_socket, texts)
HTTPX = Peer("httpx", "rockai", peers.httpx_client, frames)
ASYNC_HTTPX = Peer("httpx", "rockai", peers.httpx_async_client, frames)
HTTPX_SSE = Peer("httpx-sse", "rockai", peers.httpx_client, outputs)
ASYNC_HTTPX_SSE = Peer("httpx-sse", "rockai", peers.httpx_async_client, outputs)
SSECLIENT = Peer("sseclient-py", "rockai", peers.httpx_client, outputs)
AIOHTTP = Peer("aiohttp", "rockai", peers.aiohttp_session, texts)
SDK = Peer("", "sdk", sdk_process, texts)
REPLICATE = Peer("replicate", "replicate", peers.replicate_client, strings)
OLLAMA = Peer("langchain-ollama", "ollama", peers.chat_ollama, texts)
OPENAI = Peer("langchain-openai", "openai", peers.chat_openai, texts)
LLAMA_INDEX_OPENAI = Peer("llama-index-llms-openai", "openai", peers.llama_index_openai, deltas)
LANGCHAIN_CORE = Peer("langchain-core", "", peers.fake_chat, texts)
LLAMA_INDEX_CORE = Peer("llama-index-core", "", peers.fake_llm, deltas)


def _named(*contestants: Contestant) -> dict[str, Contestant]:
    return {one.name: one for one in contestants}


STREAMS = _named(
    Contestant("Client.stream", CLIENT, lambda client: client.stream(MODEL, INPUT)),
    Contestant("AsyncClient.stream", ASYNC_CLIENT, lambda client: client.stream(MODEL, INPUT)),
    Contestant("ChatRockAI.stream", CHAT, lambda llm: llm.stream("Hi")),
    Contestant("ChatRockAI.astream", CHAT, lambda llm: llm.astream("Hi")),
    Contestant("RockAI.stream_complete", LLM, lambda llm: llm.stream_complete("Hi")),
    Contestant("RockAI.stream_chat", LLM, lambda llm: llm.stream_chat(HI)),
    Contestant("RockAI.astream_chat", LLM, lambda llm: llm.astream_chat(HI)),
    Contestant("raw socket", SOCKET, lambda read: read()),
    Contestant("httpx iter_raw", HTTPX, peers.iter_raw),
    Contestant("httpx aiter_raw", ASYNC_HTTPX, peers.aiter_raw),
    Contestant("httpx-sse", HTTPX_SSE, peers.iter_sse),
    Contestant("httpx-sse async", ASYNC_HTTPX_SSE, peers.aiter_sse),
    Contestant("sseclient-py", SSECLIENT, peers.sseclient_events),
    Contestant("aiohttp", AIOHTTP, peers.aiohttp_sse),
    Contestant("rockai SDK", SDK, lambda read: read()),
    Contestant("replicate", REPLICATE, peers.replicate_stream),
    Contestant("ChatOllama.stream", OLLAMA, lambda llm: llm.stream("Hi")),
    Contestant("ChatOllama.astream", OLLAMA, lambda llm: llm.astream("Hi")),
    Contestant("ChatOpenAI.stream", OPENAI, lambda llm: llm.stream("Hi")),
    Contestant("ChatOpenAI.astream", OPENAI, lambda llm: llm.astream("Hi")),
    Contestant("LlamaIndex OpenAI.stream_chat", LLAMA_INDEX_OPENAI, lambda llm: llm.stream_chat(HI)),
    Contestant("LlamaIndex OpenAI.astream_chat", LLAMA_INDEX_OPENAI, lambda llm: llm.astream_chat(HI)),
    Contestant("langchain-core stream", LANGCHAIN_CORE, lambda llm: llm.stream("Hi")),
    Contestant("langchain-core astream", LANGCHAIN_CORE, lambda llm: llm.astream("Hi")),
    Contestant("LlamaIndex stream_complete", LLAMA_INDEX_CORE, lambda llm: llm.stream_complete("Hi")),
    Contestant("LlamaIndex stream_chat", LLAMA_INDEX_CORE, lambda llm: llm.stream_chat(HI)),
    Contestant("LlamaIndex astream_chat", LLAMA_INDEX_CORE, lambda llm: llm.astream_chat(HI)),
)
CALLS = _named(
    Contestant("Client.run", CLIENT, lambda client: client.run(MODEL, INPUT)),
    Contestant("AsyncClient.run", ASYNC_CLIENT, lambda client: client.run(MODEL, INPUT)),
    Contestant("ChatRockAI.invoke", CHAT, lambda llm: llm.invoke("Hi")),
    Contestant("ChatRockAI.ainvoke", CHAT, lambda llm: llm.ainvoke("Hi")),
    Contestant("RockAI.complete", LLM, lambda llm: llm.complete("Hi")),
    Contestant("httpx post", HTTPX._replace(text=answers), peers.post),
    Contestant("httpx async post", ASYNC_HTTPX._replace(text=answers), peers.apost),
    Contestant("ChatOpenAI.invoke", OPENAI, lambda llm: llm.invoke("Hi")),
    Contestant("ChatOpenAI.ainvoke", OPENAI, lambda llm: llm.ainvoke("Hi")),
    Contestant("LlamaIndex OpenAI.complete", LLAMA_INDEX_OPENAI, lambda llm: llm.complete("Hi")),
    Contestant("langchain-core invoke", LANGCHAIN_CORE, lambda llm: llm.invoke("Hi")),
    Contestant("langchain-core ainvoke", LANGCHAIN_CORE, lambda llm: llm.ainvoke("Hi")),
    Contestant("LlamaIndex complete", LLAMA_INDEX_CORE, lambda llm: llm.complete("Hi")),
)
GROWING = _named(
    STREAMS["Client.stream"],
    STREAMS["AsyncClient.stream"],
    Contestant("ChatRockAI.stream", CHAT, lambda llm: llm.bind_tools([remember], stop=STOP).stream("Hi")),
    Contestant("RockAI.stream_chat", LLM, lambda llm: llm.stream_chat(HI, **TOOLS)),
    Contestant("ChatRockAI.preview", TRANSCRIPT, lambda preview: preview()),
)
"""Contestants whose cost must be linear in what they read or render: tools, stop sequence, reasoning."""
