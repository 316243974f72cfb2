"""How to open the client of each peer, and handwritten code where a peer is only half of a client.

Each opener receives a place and returns a context manager of the client, possibly an asynchronous one.
Clients are opened once per wire, so that every measured client is warm.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx_sse
import openai
import sseclient
from langchain_core.messages import convert_to_messages
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI
from pydantic import SecretStr
from replicate.client import Client as ReplicateClient

from benchmarks.floors import FakeChat, FakeLLM
from benchmarks.wires import LAST_CHUNK, pieces
from langchain_rockai import ChatRockAI
from llama_index_rockai import RockAI
from rockai_transport import AsyncClient, Client

TOKEN = "benchmarks"  # noqa: S105 - the server asks for none
MODEL = "meta/meta-llama-3-70b-instruct"
VERSION = "0" * 64
OPENAI_MODEL = "gpt-4o-mini"
INPUT = {"prompt": "Hi"}
BODY = {"model": MODEL, "input": INPUT}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
OUTPUT = re.compile(rb"event: output\ndata: (.*)\n\n")
SECONDS = 120.0
"""Seconds after which a peer may give up, and a stream of a crowd has failed."""


class Place(NamedTuple):
    """The address for a client: a server that uses its protocol, on one wire."""

    url: str
    wire: str


# --- openers ------------------------------------------------------------------------------------------------


def rockai_client(place: Place) -> Client:
    """Ours, blocking."""
    return Client(TOKEN, f"{place.url}/v1")


def rockai_async_client(place: Place) -> AsyncClient:
    """Ours, asynchronous."""
    return AsyncClient(TOKEN, f"{place.url}/v1")


@contextlib.asynccontextmanager
async def rockai_model(build: Callable[..., Any], place: Place) -> AsyncIterator[Any]:
    """Ours in a framework, on clients that can be closed."""
    async with rockai_async_client(place) as async_client:
        with rockai_client(place) as client:
            yield build(model=MODEL, client=client, async_client=async_client)


def httpx_client(place: Place) -> httpx.Client:
    """The library below ours, and below most others."""
    return httpx.Client(base_url=f"{place.url}/v1", headers=HEADERS, timeout=SECONDS)


def httpx_async_client(place: Place) -> httpx.AsyncClient:
    """The same with ``await``, for any number of streams; its other limits are the default."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(base_url=f"{place.url}/v1", headers=HEADERS, timeout=SECONDS, limits=limits)


def aiohttp_session(place: Place) -> aiohttp.ClientSession:
    """Aiohttp, for any number of streams."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(f"{place.url}/v1/", headers=HEADERS, connector=connector)


@contextlib.contextmanager
def raw_socket(place: Place) -> Iterator[Callable[[], Iterator[str]]]:
    """The limit: a socket, and the shortest parser."""
    address = urlsplit(place.url)
    request = f"POST {address.path}/v1/run_sse HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    with socket.create_connection((address.hostname, address.port)) as sock:

        def read() -> Iterator[str]:
            sock.sendall(request)
            held = b""
            while not held.endswith(LAST_CHUNK):
                found, held = shortest_parser(held + sock.recv(65536))
                yield from found

        yield read


@contextlib.contextmanager
def replicate_client(place: Place) -> Iterator[ReplicateClient]:
    """Replicate's client, whose API is similar to RockAI's; it closes nothing itself."""
    with httpx.HTTPTransport() as transport:
        yield ReplicateClient(api_token=TOKEN, base_url=place.url, transport=transport)


@contextlib.asynccontextmanager
async def chat_ollama(place: Place) -> AsyncIterator[ChatOllama]:
    """LangChain's client for Ollama, on transports that can be closed."""
    async with httpx.AsyncHTTPTransport() as later:
        with httpx.HTTPTransport() as now:
            kwargs: dict[str, Any] = {
                "sync_client_kwargs": {"transport": now},
                "async_client_kwargs": {"transport": later},
            }
            yield ChatOllama(model=MODEL, base_url=place.url, **kwargs)


@contextlib.asynccontextmanager
async def openai_model(build: Callable[..., Any], place: Place) -> AsyncIterator[Any]:
    """A framework's client for OpenAI, on clients like OpenAI's own that can be closed."""
    async with openai.DefaultAsyncHttpxClient() as later:
        with openai.DefaultHttpxClient() as now:
            yield build(f"{place.url}/v1", now, later)


def chat_openai(place: Place) -> Any:
    """LangChain's client for OpenAI."""

    def build(url: str, now: httpx.Client, later: httpx.AsyncClient) -> ChatOpenAI:
        clients: dict[str, Any] = {"http_client": now, "http_async_client": later}
        return ChatOpenAI(
            model=OPENAI_MODEL, api_key=SecretStr(TOKEN), base_url=url, timeout=SECONDS, **clients
        )

    return openai_model(build, place)


def llama_index_openai(place: Place) -> Any:
    """LlamaIndex's client for OpenAI."""

    def build(url: str, now: httpx.Client, later: httpx.AsyncClient) -> OpenAI:
        clients: dict[str, Any] = {"http_client": now, "async_http_client": later}
        return OpenAI(model=OPENAI_MODEL, api_key=TOKEN, api_base=url, timeout=SECONDS, **clients)

    return openai_model(build, place)


def fake_chat(place: Place) -> Any:
    """The cost of langchain-core itself."""
    return contextlib.nullcontext(FakeChat(pieces=pieces(place.wire)))


def fake_llm(place: Place) -> Any:
    """The cost of LlamaIndex itself."""
    return contextlib.nullcontext(FakeLLM(pieces=pieces(place.wire)))


def transcript(place: Place) -> Any:
    """A conversation to render, with a tenth as many turns as the wire has tokens."""
    count = len(pieces(place.wire)) // 10
    turns = [("ai" if number % 2 else "user", f"Turn {number}.") for number in range(count)]
    llm = ChatRockAI(model=MODEL, api_token=TOKEN, base_url=place.url)
    return contextlib.nullcontext(partial(llm.preview, convert_to_messages([*turns, ("user", "And now?")])))


def rockai_chat(place: Place) -> Any:
    """Ours in LangChain."""
    return rockai_model(ChatRockAI, place)


def rockai_llm(place: Place) -> Any:
    """Ours in LlamaIndex."""
    return rockai_model(RockAI, place)


# --- by hand ------------------------------------------------------------------------------------------------


def iter_raw(client: httpx.Client) -> Iterator[bytes]:
    """Httpx, without parsing its output."""
    with client.stream("POST", "run_sse", json=BODY) as response:
        yield from response.iter_raw()


async def aiter_raw(client: httpx.AsyncClient) -> AsyncIterator[bytes]:
    """The same with ``await``."""
    async with client.stream("POST", "run_sse", json=BODY) as response:
        async for data in response.aiter_raw():
            yield data


def iter_sse(client: httpx.Client) -> Iterator[httpx_sse.ServerSentEvent]:
    """The obvious first attempt: httpx, and a decoder that follows the standard."""
    with httpx_sse.connect_sse(client, "POST", "run_sse", json=BODY) as source:
        yield from source.iter_sse()


async def aiter_sse(client: httpx.AsyncClient) -> AsyncIterator[httpx_sse.ServerSentEvent]:
    """The same with ``await``."""
    async with httpx_sse.aconnect_sse(client, "POST", "run_sse", json=BODY) as source:
        async for event in source.aiter_sse():
            yield event


def sseclient_events(client: httpx.Client) -> Iterator[sseclient.Event]:
    """The same as `iter_sse` with sseclient-py."""
    with client.stream("POST", "run_sse", json=BODY) as response:
        yield from sseclient.SSEClient(response.iter_bytes()).events()


def shortest_parser(data: bytes) -> tuple[list[str], bytes]:
    """Find the pieces in the model server's bytes, without any error handling; return the rest."""
    end = data.rfind(b"\n\n") + 2
    return [piece.decode() for piece in OUTPUT.findall(data, 0, end)], data[end:] if end > 1 else data


async def aiohttp_sse(session: aiohttp.ClientSession) -> AsyncIterator[str]:
    """Aiohttp, and the shortest parser."""
    async with session.post("run_sse", json=BODY) as response:
        held = b""
        async for data in response.content.iter_any():
            found, held = shortest_parser(held + data)
            for piece in found:
                yield piece


def replicate_stream(client: ReplicateClient) -> Iterator[Any]:
    """Create and stream, because there is no other way."""
    yield from client.predictions.create(version=VERSION, input=INPUT, stream=True).stream()


async def apost(client: httpx.AsyncClient) -> Any:
    """A call with only httpx."""
    return (await client.post("run", json=BODY)).raise_for_status().json()


def post(client: httpx.Client) -> Any:
    """The same without ``await``."""
    return client.post("run", json=BODY).raise_for_status().json()
