"""One interface for both clients, so that each behavior is tested once for both."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any, Self

from support.virtual_io import TOKEN, VirtualIO

from rockai_transport import AsyncClient, Client
from rockai_transport.io.asynchronous import AsyncSession
from rockai_transport.io.blocking import Session
from rockai_transport.io.endpoint import Endpoint

__all__ = ["KINDS", "TOKEN", "AsyncVirtualClient", "Driven", "DrivenStream", "InMemory", "VirtualClient"]

KINDS = ("sync", "async")
BASE_URL = "https://api.rockai.example/v1"


class VirtualSession(Session):
    """A session whose service is in memory."""

    def __init__(self, endpoint: Endpoint, virtual: VirtualIO) -> None:
        super().__init__(endpoint)
        self._virtual: Any = virtual

    def io(self) -> Any:
        return self._virtual


class AsyncVirtualSession(AsyncSession):
    """The same with ``await``."""

    def __init__(self, endpoint: Endpoint, virtual: VirtualIO) -> None:
        super().__init__(endpoint)
        self._virtual: Any = virtual
        virtual.connections = self.connections

    def io(self) -> Any:
        return self._virtual


class VirtualClient(Client):
    """A `Client` whose service is a `VirtualIO`: all decisions, but no socket."""

    def __init__(self, io: VirtualIO, **settings: Any) -> None:
        super().__init__(**{"api_token": TOKEN, "base_url": BASE_URL, **settings})
        self._session = VirtualSession(self._session._endpoint, io)


class AsyncVirtualClient(AsyncClient):
    """The same with ``await``."""

    def __init__(self, io: VirtualIO, **settings: Any) -> None:
        super().__init__(**{"api_token": TOKEN, "base_url": BASE_URL, **settings})
        self._session = AsyncVirtualSession(self._session._endpoint, io)


class Driven:
    """A client with blocking calls, for either of the two clients."""

    def __init__(self, kind: str, base_url: str, **settings: Any) -> None:
        self.kind = kind
        settings = {"api_token": TOKEN, "base_url": base_url, **settings}
        self.runner = asyncio.Runner() if kind == "async" else None
        self.client: Any = AsyncClient(**settings) if kind == "async" else Client(**settings)

    def do(self, value: Any) -> Any:
        """Finish a call; await it if necessary."""
        if self.runner is None or not inspect.isawaitable(value):
            return value

        async def wait() -> Any:
            return await value

        return self.runner.run(wait())

    def run(self, *args: Any, **options: Any) -> Any:
        return self.do(self.client.run(*args, **options))

    def create(self, **options: Any) -> Any:
        return self.do(self.client.predictions.create(**options))

    def get(self, prediction_id: Any) -> Any:
        return self.do(self.client.predictions.get(prediction_id))

    def cancel(self, prediction_id: Any) -> Any:
        return self.do(self.client.predictions.cancel(prediction_id))

    def wait(self, *args: Any, **options: Any) -> Any:
        return self.do(self.client.predictions.wait(*args, **options))

    def download(self, *args: Any, **options: Any) -> Any:
        return self.do(self.client.download(*args, **options))

    def stream(self, *args: Any, **options: Any) -> DrivenStream:
        return DrivenStream(self, self.client.stream(*args, **options))

    def follow(self, prediction: Any) -> DrivenStream:
        return DrivenStream(self, self.client.predictions.stream(prediction))

    def close(self) -> None:
        if self.runner is None:
            self.client.close()
        elif self.runner.get_loop() is not None:
            self.do(self.client.aclose())

    def end(self) -> None:
        """Close the client, and its event loop if it has one."""
        self.close()
        if self.runner is not None:
            self.runner.close()


class InMemory(Driven):
    """A client in memory with the same interface."""

    def __init__(self, io: VirtualIO, **settings: Any) -> None:
        self.kind = "sync"
        self.runner = None
        self.client = VirtualClient(io, **settings)


class DrivenStream:
    """A stream of either client, as a blocking iterator."""

    def __init__(self, driven: Driven, stream: Any) -> None:
        self.driven = driven
        self.stream = stream

    @property
    def prediction(self) -> Any:
        return self.stream.prediction

    @property
    def text(self) -> str:
        text: str = self.stream.text
        return text

    def __iter__(self) -> DrivenStream:
        # Raises here what the stream itself raises when it is iterated over.
        if self.driven.kind == "async":
            aiter(self.stream)
        else:
            iter(self.stream)
        return self

    def __next__(self) -> str:
        with contextlib.suppress(StopAsyncIteration):
            piece: str = (
                self.driven.do(self.stream.__anext__()) if self.driven.kind == "async" else next(self.stream)
            )
            return piece
        raise StopIteration

    def close(self) -> None:
        self.driven.do(self.stream.aclose() if self.driven.kind == "async" else self.stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
