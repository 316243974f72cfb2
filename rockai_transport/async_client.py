"""`AsyncClient`: RockAI with ``await``. Mirrors `rockai_transport.client`, name for name."""

# Annotations are objects here, not strings: LlamaIndex makes a tool from a method with `inspect.signature`
# alone (llama_index/core/tools/utils.py, `create_schema_from_function`).

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx

from rockai_transport.base_client import BaseClient, OnText, OnUpdate, check_callback
from rockai_transport.io.async_streams import AsyncStream
from rockai_transport.io.asynchronous import AsyncSession
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.streams import StreamState


class AsyncClient(BaseClient[httpx.AsyncClient]):
    """RockAI with ``await``. It never blocks the event loop. Several loops can use it, one after another.

    Args:
        api_token: As in `Client`.
        base_url: As in `Client`.
        timeout: As in `Client`.
        max_retries: As in `Client`.
        route: As in `Client`.
        service: As in `Client`.
        default_headers: As in `Client`.
        http_client: Your own `httpx.AsyncClient`. This client neither closes it nor downloads files with it.
        timeouts: As in `Client`.
        allow_http: As in `Client`.

    Raises:
        ConfigurationError: A setting is invalid, or there is no token.

    Example:
        >>> async with AsyncClient(timeout=60) as client:
        ...     prediction = await client.run("meta/llama-2-7b-chat", {"prompt": "Say: good morning"})
        ...     print(prediction.text)
        good morning
    """

    _session_type = AsyncSession
    _http_client_type = httpx.AsyncClient
    _session: AsyncSession

    @cached_property
    def predictions(self) -> "AsyncPredictions":
        """As `Client.predictions`.

        Example:
            >>> started = await client.predictions.create(model="meta/musicgen", input={"prompt": "rain"})
            >>> started.status
            'starting'
        """
        return AsyncPredictions(self._session)

    async def run(
        self,
        model: str,
        input: Mapping[str, Any],
        *,
        on_text: OnText | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """As `Client.run`; ``on_text`` may be a coroutine function. Canceling the task cancels the run.

        Example:
            >>> prediction = await client.run("meta/llama-2-7b-chat", {"prompt": "Say: hello"}, on_text=print)
            hello
            >>> prediction.text
            'hello'
        """
        check_callback(on_text, "on_text", may_await=True)
        run = self._session.operations.run_request(ModelReference.parse(model), input)
        return await self._session.do(self._session.operations.run, run, timeout, on_text)

    def stream(self, model: str, input: Mapping[str, Any], *, timeout: float | None = None) -> "AsyncStream":
        """As `Client.stream`, with ``async with`` and ``async for``. Needs no ``await`` itself.

        Example:
            >>> async with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     async for piece in stream:
            ...         print(repr(piece))
            'one'
            ' two'
        """
        run = self._session.operations.run_request(ModelReference.parse(model), input)
        io, state = self._session.io(), StreamState()
        return AsyncStream(io, state, self._session.operations.stream(io, run, timeout, state))

    async def download(
        self,
        prediction: Prediction,
        folder: str | Path,
        *,
        max_bytes: int = 1024**3,
        allow_private: bool = False,
        timeout: float | None = None,
    ) -> list[Path]:
        """As `Client.download`; a thread writes the files.

        Example:
            >>> made = await client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> [path.suffix for path in await client.download(made, "out")]
            ['.png']
        """
        download = self._session.operations.download
        return await self._session.do(
            download, prediction, folder, timeout, max_bytes=max_bytes, allow_private=allow_private
        )

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The client can be used again.

        Example:
            >>> await client.aclose()
        """
        await self._session.connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AsyncPredictions:
    """The prediction lifecycle of an `AsyncClient`: create, get, cancel, wait, stream.

    Made by `AsyncClient.predictions`.

    Example:
        >>> started = await client.predictions.create(model="meta/musicgen", input={"prompt": "rain"})
        >>> (await client.predictions.wait(started)).status
        'succeeded'
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(
        self,
        *,
        model: str | None = None,
        version: str | None = None,
        input: Mapping[str, Any],
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
        run = self._session.operations.run_request(
            reference, input, stream=stream, webhook=webhook, webhook_events_filter=webhook_events_filter
        )
        return await self._session.do(self._session.operations.create, run)

    async def get(self, prediction_id: str) -> Prediction:
        """As `Predictions.get`.

        Example:
            >>> started = await client.predictions.create(model="sandbox/stays-cold", input={})
            >>> (await client.predictions.get(started.id)).status
            'starting'
        """
        return await self._session.do(self._session.operations.get, prediction_id)

    async def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """As `Predictions.cancel`.

        Example:
            >>> started = await client.predictions.create(model="sandbox/never-ends", input={})
            >>> (await client.predictions.cancel(started)).status
            'canceled'
        """
        return await self._session.do(self._session.operations.cancel, prediction_id)

    async def wait(
        self,
        prediction_or_id: Prediction | str,
        *,
        timeout: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> Prediction:
        """As `Predictions.wait`; ``on_update`` may be a coroutine function.

        Example:
            >>> started = await client.predictions.create(
            ...     model="incomingflyingbrick/flux-1-schnell", input={"prompt": "a lighthouse"}
            ... )
            >>> (await client.predictions.wait(started, timeout=600)).output
            ['http...png']
        """
        check_callback(on_update, "on_update", may_await=True)
        return await self._session.do(self._session.operations.wait, prediction_or_id, timeout, on_update)

    def stream(self, prediction: Prediction | str) -> "AsyncStream":
        """As `Predictions.stream`. Needs no ``await`` itself.

        Example:
            >>> started = await client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: one two"}, stream=True
            ... )
            >>> [piece async for piece in client.predictions.stream(started)]
            ['one', ' two']
        """
        io, state = self._session.io(), StreamState()
        return AsyncStream(io, state, self._session.operations.stream_prediction(io, prediction, state))
