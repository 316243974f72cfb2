"""The sync shell: drives flows with blocking calls. `rockai_transport.io.asynchronous` mirrors it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from rockai_transport.base_client import head_of
from rockai_transport.io.network import (
    Lever,
    Trail,
    Watch,
    environment_proxy,
    is_pool_exhausted,
    proxy_of,
    translate,
    watching,
)
from rockai_transport.protocol import effects
from rockai_transport.protocol.effects import Effect, Emit, Flow, LeftError
from rockai_transport.protocol.streams import closed_elsewhere, read_already

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from rockai_transport.client import Client
    from rockai_transport.protocol.prediction import Prediction
    from rockai_transport.protocol.requests import ResponseHead
    from rockai_transport.protocol.streams import Transcript

__all__ = ["Connections", "Driver", "Stream", "drive"]

logger = logging.getLogger("rockai")

T = TypeVar("T")


def drive(client: Client, flow: Flow[T]) -> T:
    """Do what a flow asks for until it returns."""
    try:
        Driver(client, flow).advance()
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("only a stream emits")


class Stream:
    """The text of one run, piece by piece. An iterator, and a context manager that leaves properly.

    Made by `Client.stream` and `Predictions.stream`. Any thread may close it: one that waits for its next
    piece is told with a `StreamInterruptedError`.

    Example:
        >>> with client.stream("sandbox/never-ends", {"prompt": "Count."}) as stream:
        ...     for piece in stream:
        ...         print(piece)
        ...         break  # leaving closes the connection at once
        line 1
    """

    def __init__(self, client: Client, transcript: Transcript, flow: Flow[None]) -> None:
        self._transcript = transcript
        self._driver = Driver(client, flow)

    @property
    def prediction(self) -> Prediction | None:
        """What is known of the prediction so far; at the stream's good end, the whole.

        Example:
            >>> with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     text = "".join(stream)
            >>> stream.prediction.status, stream.prediction.output
            ('succeeded', ['one', ' two'])
        """
        return self._transcript.prediction

    @property
    def text(self) -> str:
        """Exactly what has been handed on so far.

        Example:
            >>> with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     for piece in stream:
            ...         print(stream.text)
            one
            one two
        """
        return self._transcript.text

    def __iter__(self) -> Iterator[str]:
        if self._driver.finished:
            raise read_already(self._transcript)
        return self

    def __next__(self) -> str:
        try:
            return self._driver.advance()
        except StopIteration:
            raise StopIteration from None
        except LeftError:
            raise closed_elsewhere(self._transcript) from None

    def close(self) -> None:
        """Leave: close the connection at once; cancel the prediction where its id is known.

        Example:
            >>> stream = client.stream("sandbox/never-ends", {"prompt": "Count."})
            >>> next(stream)
            'line 1'
            >>> stream.close()
            >>> stream.text
            'line 1'
        """
        self._driver.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A `break` out of a loop that held the only reference ends up here.
        if not sys.is_finalizing() and hasattr(self, "_driver"):
            with contextlib.suppress(Exception):
                self.close()


class Driver:
    """Drives one flow: does what it asks for, and tells it what came of it."""

    def __init__(self, client: Client, flow: Flow[Any]) -> None:
        self._client = client
        self._flow = flow
        self._turn = threading.Lock()  # held by the thread that drives the flow
        self._lever = Lever()
        self._started = False
        self.finished = False
        self._is_told = False
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def advance(self) -> str:
        """Go on to the next piece that the flow emits.

        Raises:
            StopIteration: The flow has returned; its ``value`` is the flow's.
            LeftError: Another thread has closed the stream meanwhile.
        """
        with self._turn:
            if self._must_tell():
                return self._go(self._tell_left)
            if self.finished:
                raise StopIteration
            self._started = True
            piece = self._go(lambda: self._flow.send(None))
        if self._must_tell():  # closed in the very moment in which the piece came
            with contextlib.suppress(StopIteration, LeftError), self._turn:
                self._go(self._tell_left)
            self._is_told = False
        return piece

    def leave(self) -> None:
        """Tell the flow that its reader has left, and do what it asks for then."""
        if not self._turn.acquire(blocking=False):
            self._lever.pull()  # a thread is waiting for something: it is woken, and does what is left to do
            return
        try:
            if self._started and not self.finished:
                with contextlib.suppress(StopIteration, LeftError):
                    self._go(self._tell_left)
            self.finished = True
        finally:
            self._turn.release()

    def _must_tell(self) -> bool:
        """Whether another thread has closed the stream, and the flow does not know it yet."""
        return self._lever.pulled and not self._is_told

    def _tell_left(self) -> Effect:
        self._is_told = True
        return self._flow.throw(LeftError())

    def _go(self, step: Callable[[], Effect]) -> str:
        try:
            while not isinstance(effect := step(), Emit):
                step = self._answer(effect)
        except BaseException as error:
            self.finished = True
            self._close()
            self._client._tidy(error)  # noqa: SLF001 - one object in two parts, here and below
            raise
        return effect.piece

    def _answer(self, effect: Effect) -> Callable[[], Effect]:
        """Do what a flow asks for; give the step that tells it the result."""
        try:
            result = self._perform(effect)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too is for the flow to decide on
            failure = error
            if isinstance(failure, Exception) and self._must_tell():
                return self._tell_left
            return lambda: self._flow.throw(failure)
        return self._tell_left if self._must_tell() else lambda: self._flow.send(result)

    def _perform(self, effect: Effect) -> Any:  # noqa: C901, PLR0911 - one line for each effect
        match effect:
            case effects.Read():
                return self._read(effect)
            case effects.Now():
                return time.monotonic()
            case effects.Open():
                return self._open(effect)
            case effects.Close():
                return self._close()
            case effects.Tell():
                return effect.callback(effect.value)
            case effects.Sleep():
                return self._lever.sleep(effect.seconds)
            case effects.Chance():
                return random.random()  # noqa: S311 - jitter
            case effects.Work():
                return effect.function()
            case effects.Farewell():
                return self._bid_farewell(effect.begin())
            case effects.Emit():
                raise AssertionError("a piece is handed on, not performed")

    def _open(self, effect: effects.Open) -> ResponseHead:
        client, call = self._client, effect.call
        url = client._url(call)  # noqa: SLF001
        http = client._http(url, call)  # noqa: SLF001
        trail = Trail(public_only=call.public_only and environment_proxy(url) is None)
        request = http.build_request(
            call.method,
            str(url),  # httpx's successor has a class of its own
            content=call.body,
            headers=client._headers(call, url),  # noqa: SLF001
            extensions={"trace": trail.follow, "timeout": client._limits(effect)},  # noqa: SLF001
        )
        logger.debug("%s", call)
        with self._translated(), watching(Watch(effect.until, self._lever, notices=effect.notices)):
            self._response = http.send(request, stream=True, follow_redirects=False)
        self._chunks = self._response.iter_bytes()
        return head_of(self._response)

    def _read(self, effect: effects.Read) -> bytes:
        watch = Watch(effect.until, self._lever, effect.within, effect.notices)
        with self._translated(), watching(watch):
            return next((chunk for chunk in self._chunks if chunk), b"")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The one mapping of foreign errors."""
        try:
            yield
        except Exception as error:
            if is_pool_exhausted(error):
                self._client._connections.renew()  # noqa: SLF001
            if (failure := translate(error)) is None:
                raise
            raise failure from error

    def _close(self) -> None:
        response, self._response, self._chunks = self._response, None, iter(())
        if response is not None:
            with contextlib.suppress(Exception):
                response.close()

    def _bid_farewell(self, flow: Flow[Any]) -> Any:
        try:
            return drive(self._client, flow)
        except Exception as error:  # noqa: BLE001 - best effort: what is raised is why we leave
            logger.debug("The cancel that was sent on leaving failed: %s", error)
            return None


class Connections:
    """The HTTP clients of one `Client`, made when needed; one set for each process.

    One for each proxy, and others for files from addresses that have to be public: a connection that is
    used again is not looked at again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._clients: dict[tuple[str | None, bool], httpx.Client] = {}
        self._made: list[httpx.Client] = []
        # A client that nobody closed leaves no open sockets behind, at the program's end neither.
        weakref.finalize(self, _close_all, self._made, self._process)

    def to(self, url: httpx.URL, *, public_only: bool) -> httpx.Client:
        """The client for an address."""
        proxy = environment_proxy(url)
        with self._lock:
            if self._process != os.getpid():
                # A forked child must not write into its parent's connections.
                self._process, self._clients, self._made = os.getpid(), {}, []
            if (proxy, public_only) not in self._clients:
                from rockai_transport.io.sockets import SyncTransport  # noqa: PLC0415 - see its docstring

                transport = SyncTransport(proxy_of(proxy) if proxy else None)
                client = httpx.Client(transport=transport, trust_env=False)
                self._clients[proxy, public_only] = client
                self._made.append(client)
            return self._clients[proxy, public_only]

    def renew(self) -> None:
        """Begin with new pools; what runs in the old ones runs on."""
        with self._lock:
            self._clients = {}

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            self._clients = {}
            _close_all(self._made, self._process)


def _close_all(clients: list[httpx.Client], process: int) -> None:
    while clients and process == os.getpid():
        clients.pop().close()
