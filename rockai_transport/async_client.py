"""`AsyncClient`: RockAI with ``await``. Mirrors `rockai_transport.client`, name for name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from rockai_transport.base_client import DEFAULT_SERVICE, DEFAULT_TIMEOUTS, BaseClient
from rockai_transport.io.asynchronous import AsyncStream, drive
from rockai_transport.io.connections import LoopConnections
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.streams import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from rockai_transport.config import Route, Timeouts
    from rockai_transport.protocol.effects import Flow
    from rockai_transport.protocol.prediction import Prediction, Update
    from rockai_transport.protocol.requests import Request
    from rockai_transport.service import Service

__all__ = ["AsyncClient", "AsyncPredictions", "AsyncStream"]

T = TypeVar("T")


class AsyncClient(BaseClient):
    """RockAI with ``await``. Never blocks the event loop; one client serves several loops, one after another.

    Args:
        api_token: As in `Client`.
        base_url: As in `Client`.
        timeout: As in `Client`.
        max_retries: As in `Client`.
        route: As in `Client`.
        service: As in `Client`.
        default_headers: As in `Client`.
        http_client: An `httpx.AsyncClient` of your own. It is not closed here, and it fetches no files.
        timeouts: As in `Client`.
        allow_http: As in `Client`.

    Raises:
        ConfigurationError: A setting cannot be right, or there is no token.

    Example:
        >>> async with AsyncClient(timeout=60) as client:
        ...     prediction = await client.run("meta/llama-2-7b-chat", {"prompt": "Say: good morning"})
        ...     print(prediction.text)
        good morning
    """

    def __init__(
        self,
        api_token: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        max_retries: int = 2,
        route: Route = "auto",
        service: Service = DEFAULT_SERVICE,
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx.AsyncClient | None = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        allow_http: bool = False,
    ) -> None:
        given = {
            "api_token": api_token,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "route": route,
            "service": service,
            "default_headers": default_headers,
            "timeouts": timeouts,
            "allow_http": allow_http,
        }
        super().__init__(given, http_client, expected=httpx.AsyncClient)
        self._connections = LoopConnections()

    @property
    def predictions(self) -> AsyncPredictions:
        """As `Client.predictions`.

        Example:
            >>> started = await client.predictions.create(model="meta/musicgen", input={"prompt": "rain"})
            >>> started.status
            'starting'
        """
        return AsyncPredictions(self)

    async def run(
        self,
        model: str,
        input: Mapping[str, Any],  # noqa: A002 - the service's own word
        *,
        on_text: Callable[[str], Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a total, kept by the flow
    ) -> Prediction:
        """As `Client.run`; ``on_text`` may be a coroutine function. Cancelling the task cancels the run.

        Example:
            >>> prediction = await client.run("meta/llama-2-7b-chat", {"prompt": "Say: hello"}, on_text=print)
            hello
            >>> prediction.text
            'hello'
        """
        self._check_callback(on_text, "on_text", may_await=True)
        order = self._flows.order(ModelReference.parse(model), input)
        if on_text is None:
            return await self._drive(self._flows.run(order, timeout))
        return await self._drive(self._flows.run_with_text(order, timeout, on_text))

    def stream(
        self,
        model: str,
        input: Mapping[str, Any],  # noqa: A002 - the service's own word
        *,
        timeout: float | None = None,
    ) -> AsyncStream:
        """As `Client.stream`, with ``async with`` and ``async for``. Needs no ``await`` itself.

        Example:
            >>> async with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     async for piece in stream:
            ...         print(repr(piece))
            'one'
            ' two'
        """
        order = self._flows.order(ModelReference.parse(model), input)
        transcript = Transcript()
        return AsyncStream(self, transcript, self._flows.stream(order, timeout, transcript))

    async def download(
        self,
        prediction: Prediction,
        folder: str | Path,
        *,
        max_bytes: int = 1024**3,
        allow_private: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - a total, kept by the flow
    ) -> list[Path]:
        """As `Client.download`; what is written to the disk is written in a thread.

        Example:
            >>> made = await client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> [path.suffix for path in await client.download(made, "out")]
            ['.png']
        """
        flow = self._flows.download(
            prediction, folder, timeout, max_bytes=max_bytes, allow_private=allow_private
        )
        return await self._drive(flow)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The client can be used again.

        Example:
            >>> await client.aclose()
        """
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _drive(self, flow: Flow[T]) -> T:
        return await drive(self, flow)

    async def _http(self, url: httpx.URL, call: Request) -> httpx.AsyncClient:
        if self._http_client is not None and not call.download:
            client: httpx.AsyncClient = self._http_client
            return client
        return await self._connections.to(url, public_only=call.public_only)


class AsyncPredictions:
    """The prediction lifecycle of an `AsyncClient`: create, get, cancel, wait, stream.

    Made by `AsyncClient.predictions`.

    Example:
        >>> started = await client.predictions.create(model="meta/musicgen", input={"prompt": "rain"})
        >>> (await client.predictions.wait(started)).status
        'succeeded'
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._flows = client._flows  # noqa: SLF001 - one object in two parts

    async def create(
        self,
        *,
        model: str | None = None,
        version: str | None = None,
        input: Mapping[str, Any],  # noqa: A002 - the service's own word
        stream: bool = False,
        webhook: str | None = None,
        webhook_events_filter: Sequence[str] | None = None,
    ) -> Prediction:
        """As `Predictions.create`.

        Example:
            >>> started = await client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: hello"}
            ... )
            >>> started.status
            'starting'
        """
        reference = ModelReference.combine(model, version)
        order = self._flows.order(
            reference,
            input,
            stream=stream,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
        )
        return await self._client._drive(self._flows.create(order))  # noqa: SLF001

    async def get(self, prediction_id: str) -> Prediction:
        """As `Predictions.get`.

        Example:
            >>> started = await client.predictions.create(model="sandbox/stays-cold", input={})
            >>> (await client.predictions.get(started.id)).status
            'starting'
        """
        return await self._client._drive(self._flows.get(prediction_id))  # noqa: SLF001

    async def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """As `Predictions.cancel`.

        Example:
            >>> started = await client.predictions.create(model="sandbox/never-ends", input={})
            >>> (await client.predictions.cancel(started)).status
            'canceled'
        """
        return await self._client._drive(self._flows.cancel(prediction_id))  # noqa: SLF001

    async def wait(
        self,
        prediction_or_id: Prediction | str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a total, kept by the flow
        on_update: Callable[[Update], Any] | None = None,
    ) -> Prediction:
        """As `Predictions.wait`; ``on_update`` may be a coroutine function.

        Example:
            >>> started = await client.predictions.create(
            ...     model="incomingflyingbrick/flux-1-schnell", input={"prompt": "a lighthouse"}
            ... )
            >>> (await client.predictions.wait(started, timeout=600)).output
            ['http...png']
        """
        self._client._check_callback(on_update, "on_update", may_await=True)  # noqa: SLF001
        return await self._client._drive(self._flows.wait(prediction_or_id, timeout, on_update))  # noqa: SLF001

    def stream(self, prediction: Prediction | str) -> AsyncStream:
        """As `Predictions.stream`. Needs no ``await`` itself.

        Example:
            >>> started = await client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: one two"}, stream=True
            ... )
            >>> [piece async for piece in client.predictions.stream(started)]
            ['one', ' two']
        """
        self._flows.known(prediction)
        transcript = Transcript()
        return AsyncStream(self._client, transcript, self._flows.stream_prediction(prediction, transcript))
