"""Who is compared: each a way to stream a model's text from a service that speaks RockAI's API."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import httpx
import httpx_sse

from langchain_rockai import ChatRockAI
from llama_index_rockai import RockAI
from rockai_transport import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["CONTESTANTS", "Contestant", "Place"]


class Place(NamedTuple):
    """A service, and the token that it takes."""

    base_url: str
    api_token: str

    @property
    def headers(self) -> dict[str, str]:
        """What every request of a hand-made client carries."""
        return {"Authorization": f"Bearer {self.api_token}"}


class Contestant(NamedTuple):
    """One way to stream."""

    name: str
    stream: Callable[[Place, str], Generator[str, None, None]]
    """Streams a model's text, piece by piece; the model takes any input."""
    needs: str = "httpx"
    """The package without which it is left out."""


def ours(place: Place, model: str) -> Generator[str, None, None]:
    """The transport layer."""
    with Client(place.api_token, place.base_url) as client, client.stream(model, {"prompt": ""}) as pieces:
        yield from pieces


def ours_in_langchain(place: Place, model: str) -> Generator[str, None, None]:
    """The chat model, with all that LangChain does around it."""
    llm = ChatRockAI(model=model, api_token=place.api_token, base_url=place.base_url)
    for chunk in llm.stream("Go."):
        yield chunk.text


def ours_in_llama_index(place: Place, model: str) -> Generator[str, None, None]:
    """The LLM, with all that LlamaIndex does around it."""
    llm = RockAI(model=model, api_token=place.api_token, base_url=place.base_url, context_window=4096)
    for chunk in llm.stream_complete("Go."):
        yield chunk.delta or ""


def httpx_sse_by_hand(place: Place, model: str) -> Generator[str, None, None]:
    """What one writes first: httpx, and a decoder that follows the standard."""
    body = {"model": model, "input": {"prompt": ""}}
    with (
        httpx.Client(headers=place.headers, timeout=60) as client,
        httpx_sse.connect_sse(client, "POST", f"{place.base_url}/run_sse", json=body) as source,
    ):
        for event in source.iter_sse():
            if event.event == "output":
                yield event.data


def sseclient_by_hand(place: Place, model: str) -> Generator[str, None, None]:
    """The same with sseclient-py."""
    import sseclient  # noqa: PLC0415 - a peer that need not be there

    body = {"model": model, "input": {"prompt": ""}}
    with (
        httpx.Client(headers=place.headers, timeout=60) as client,
        client.stream("POST", f"{place.base_url}/run_sse", json=body) as response,
    ):
        for event in sseclient.SSEClient(response.iter_bytes()).events():
            if event.event == "output":
                yield event.data


def replicate_client(place: Place, model: str) -> Generator[str, None, None]:
    """Replicate's own client, whose API RockAI's is shaped like, pointed here."""
    from replicate.client import Client as ReplicateClient  # noqa: PLC0415 - likewise

    version = httpx.post(
        f"{place.base_url}/predictions", headers=place.headers, json={"model": model, "input": {}}
    ).json()["version"]
    origin = place.base_url.removesuffix("/v1")  # its paths begin with /v1 themselves
    with httpx.HTTPTransport() as transport:  # it has no close of its own
        client = ReplicateClient(api_token=place.api_token, base_url=origin, transport=transport)
        prediction = client.predictions.create(version=version, input={"prompt": ""}, stream=True)
        for event in prediction.stream():
            yield str(event)


CONTESTANTS = [
    one
    for one in (
        Contestant("rockai_transport", ours),
        Contestant("langchain_rockai", ours_in_langchain),
        Contestant("llama_index_rockai", ours_in_llama_index),
        Contestant("httpx + httpx-sse", httpx_sse_by_hand),
        Contestant("httpx + sseclient-py", sseclient_by_hand, "sseclient"),
        Contestant("replicate", replicate_client, "replicate"),
    )
    if find_spec(one.needs)
]
"""Those whose packages are installed: ``pip install "rockai-integrations[bench]"`` brings all."""
