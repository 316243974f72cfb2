"""The sandbox: a local RockAI for development and tests."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, get_args

from rockai_sandbox.engine import Engine
from rockai_sandbox.faults import Gateway
from rockai_sandbox.files import FileStore
from rockai_sandbox.functions import ModelFunction
from rockai_sandbox.hosting import Hosting, listen
from rockai_sandbox.inputs import Inputs
from rockai_sandbox.models import any_text_model, builtin_models
from rockai_sandbox.options import FLAG, HOST, PORT, SECONDS, TOKEN, check_choice, made_of, or_none
from rockai_sandbox.predictions import Changes, SandboxPrediction
from rockai_sandbox.protocol import Generation, Protocol, RunAnswer, Shape, choices
from rockai_sandbox.recorder import RequestLog, SeenRequest
from rockai_sandbox.registry import COLD_START, Registry, scripted
from rockai_sandbox.runs import Gate
from rockai_sandbox.server import HttpApi, OnDisconnect, files_app
from rockai_sandbox.watched import Watched
from rockai_sandbox.webhooks import Delivery, Webhooks

Function = TypeVar("Function", bound=ModelFunction)


class Sandbox(Gateway, Watched):
    """A local RockAI: a real HTTP server on 127.0.0.1 with the service's API. It calls no other machine.

    Use it in a ``with`` block, or call `start` and `stop`. Several sandboxes can run at once.

    Args:
        api_token: The token it accepts; `None` or an empty text generates one.
        generation: The routes it has: ``"old"`` (those of the quick start), ``"new"`` (without ``/run`` and
            ``/run_sse``) or ``"both"``.
        shape: ``"flat"`` predictions, or ``"enveloped"`` ones (``{"data": …, "msg": …, "code": 200}``).
        cold_start: Seconds that every prediction spends in ``starting``, or a `Gate` to wait at.
        on_disconnect: What happens to a prediction if the client leaves its ``/run`` or ``/run_sse``: it
            continues (``"continue"``) or is canceled (``"stop"``).
        run_answer: The response of ``/run``: the bare ``"output"``, or the finished ``"prediction"``.
        port: The API's port; 0 takes any free port. Files are served from another port.
        protocol: All other assumptions about the HTTP API; ``generation``, ``shape`` and ``run_answer``
            override it.
        seconds_per_piece: Seconds that a model takes for each piece of text.
        video_seconds: Seconds that it takes to make a video of any length.
        reports_usage: Whether ``metrics`` contains token counts; the live service is not known to report any.
        any_model: Whether unknown model names work too, as text models.
        webhooks: How it calls webhooks on this machine: ``"in order"``, ``"late"`` (by a second),
            ``"twice"``, ``"out of order"``, ``"forged"`` (a wrong secret first), or ``"never"``.

    Attributes:
        api_token: The token it accepts.
        protocol: All assumptions about the HTTP API, with the options applied.

    Raises:
        ValueError: An option has an invalid value.

    Example:
        >>> from rockai_transport import Client
        >>> with Sandbox() as local, Client(local.api_token, local.base_url) as client:
        ...     print(client.run(ECHO, {"prompt": "Hello"}).text)
        Hello
    """

    def __init__(
        self,
        api_token: str | None = None,
        *,
        generation: Generation = "both",
        shape: Shape = "flat",
        cold_start: float | Gate = 0.0,
        on_disconnect: OnDisconnect = "continue",
        run_answer: RunAnswer = "output",
        port: int = 0,
        protocol: Protocol | None = None,
        seconds_per_piece: float = 0.0,
        video_seconds: float = 3.0,
        reports_usage: bool = False,
        any_model: bool = False,
        webhooks: Webhooks = "in order",
    ) -> None:
        super().__init__()
        changes = choices(generation, shape, run_answer, reports_usage=reports_usage)
        check_choice("on_disconnect", on_disconnect, get_args(OnDisconnect))
        check_choice("webhooks", webhooks, get_args(Webhooks))
        COLD_START.check("cold_start", cold_start)
        PORT.check("port", port)
        or_none(TOKEN).check("api_token", api_token)
        SECONDS.check("seconds_per_piece", seconds_per_piece)
        SECONDS.check("video_seconds", video_seconds)
        FLAG.check("reports_usage", reports_usage)
        FLAG.check("any_model", any_model)
        or_none(made_of(Protocol)).check("protocol", protocol)
        self.api_token = api_token or f"sandbox-{secrets.token_hex(8)}"
        self.protocol = (protocol or Protocol()).replace(**changes)
        self._port = port
        self._on_disconnect: OnDisconnect = on_disconnect
        self._changed = Changes()
        self._files = FileStore()
        self._requests = RequestLog(self._changed)
        self._file_requests = RequestLog(self._changed)
        self._registry = Registry(
            builtin_models(video_seconds=video_seconds), any_text_model if any_model else None
        )
        self._engine = Engine(
            self.protocol,
            self._registry,
            self._files,
            self._changed,
            cold_start=cold_start,
            seconds_per_piece=seconds_per_piece,
            webhooks=webhooks,
        )
        self._hosting: Hosting | None = None

    def start(self) -> Self:
        """Start serving.

        Returns:
            The sandbox itself, once it accepts connections.

        Raises:
            RuntimeError: It is already running, or the servers do not start.
            OSError: The port is in use.

        Example:
            >>> local = Sandbox().start()
            >>> local.base_url
            'http://127.0.0.1:.../v1'
            >>> local.stop()
        """
        if self._hosting is not None:
            raise RuntimeError("the sandbox is running already")
        with contextlib.ExitStack() as stack:
            api = stack.enter_context(contextlib.closing(listen(self._port)))
            files = stack.enter_context(contextlib.closing(listen(0)))
            self._engine.base_url = (
                f"http://{HOST}:{api.getsockname()[1]}{self.protocol.base_path.rstrip('/')}"
            )
            self._files.origin = f"http://{HOST}:{files.getsockname()[1]}"
            http_api = HttpApi(self._engine, self.protocol, self.api_token, self._on_disconnect, self._faults)
            served = (
                (http_api.app(self._requests), api),
                (files_app(self._files, self._file_requests), files),
            )
            hosting = Hosting(served, self._engine.close)
            hosting.start()
            stack.pop_all()  # the servers close the sockets from here on
        self._hosting = hosting
        return self

    def stop(self) -> None:
        """Cancel running predictions, close all connections, end the threads. A second call does nothing.

        You can still read `predictions` and `requests` afterwards.

        Example:
            >>> from rockai_transport import Client
            >>> local = Sandbox().start()
            >>> with Client(local.api_token, local.base_url) as client:
            ...     started = client.predictions.create(model=NEVER_ENDS, input={})
            >>> local.stop()
            >>> local.predictions[0].status
            'canceled'
        """
        if self._hosting is not None:
            self._hosting.stop()
            self._hosting = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The API's address, such as ``http://127.0.0.1:8100/v1``.

        Raises:
            RuntimeError: The sandbox has never been started.

        Example:
            >>> from rockai_transport import Client
            >>> with Client(api_token=sandbox.api_token, base_url=sandbox.base_url) as client:
            ...     print(client.run(ECHO, {"prompt": "Hello"}).text)
            Hello
        """
        return self._started(self._engine.base_url)

    @property
    def files_url(self) -> str:
        """The origin of the file server. It differs from the API's origin, as with a CDN.

        Raises:
            RuntimeError: The sandbox has never been started.

        Example:
            >>> made = client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> made.output[0].startswith(sandbox.files_url)
            True
        """
        return self._started(self._files.origin)

    def environ(self) -> dict[str, str]:
        """Return the environment variables that connect a client to this sandbox.

        Returns:
            ``ROCKAI_BASE_URL`` and ``ROCKAI_API_TOKEN`` with their values.

        Raises:
            RuntimeError: The sandbox has never been started.

        Example:
            An app that is a separate program:

            >>> import os, subprocess, sys
            >>> app = [sys.executable, "-c", "import os; print('uses', os.environ['ROCKAI_BASE_URL'])"]
            >>> subprocess.check_output(app, env=os.environ | sandbox.environ(), text=True).strip()
            'uses http://127.0.0.1:.../v1'
        """
        return {"ROCKAI_BASE_URL": self.base_url, "ROCKAI_API_TOKEN": self.api_token}

    @property
    def predictions(self) -> list[SandboxPrediction]:
        """The last 10,000 predictions, oldest first, in their current state.

        Example:
            >>> reply = client.run(ECHO, {"prompt": "Hello"})
            >>> [(prediction.model, prediction.status) for prediction in sandbox.predictions]
            [('sandbox/echo', 'succeeded')]
        """
        return [job.snapshot() for job in self._engine.ledger.jobs()]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook call, oldest first, with the response.

        Example:
            >>> hook = "https://example.com/"  # not this machine: it is never called
            >>> started = client.predictions.create(model=ECHO, input={"prompt": "x"}, webhook=hook)
            >>> sandbox.deliveries
            []
        """
        with self._changed:
            return list(self._engine.webhooks.deliveries)

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request that the API received, oldest first, including those it refused.

        It keeps the last 10,000 requests, and up to 256 MiB of their bodies.

        Example:
            >>> started = client.predictions.create(model=ECHO, input={"prompt": "Hello"})
            >>> [(request.method, request.path, request.status) for request in sandbox.requests]
            [('POST', '/v1/predictions', 201)]
        """
        return self._requests.snapshot()

    @property
    def file_requests(self) -> list[SeenRequest]:
        """Every request that the file server received, oldest first; the same limits as for `requests`.

        Example:
            >>> made = client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> paths = client.download(made, "out")
            >>> ["authorization" in request.headers for request in sandbox.file_requests]  # no token
            [False]
        """
        return self._file_requests.snapshot()

    def model(
        self, reference: str, *, inputs: Inputs | None = None, cold_start: float | Gate | None = None
    ) -> Callable[[Function], Function]:
        """Script a model. Use it as a decorator.

        The function receives the prediction's input, and its `Run` if it has a second parameter without a
        default, or a parameter named ``run``. It yields text pieces, returns an output (bytes in it become
        files), or raises, and then the prediction fails. A plain function or generator runs in its own
        thread; it may also be a coroutine function or an asynchronous generator.

        Args:
            reference: ``owner/name``, which matches every version; ``owner/name:version``; or a bare
                version.
            inputs: The inputs it accepts; by default, anything.
            cold_start: This model's seconds in ``starting``, or a `Gate`; by default, the sandbox's setting.

        Returns:
            A decorator that returns the function unchanged.

        Raises:
            ValueError: The reference has none of these forms, ``inputs`` is no mapping to `Input`, or
                ``cold_start`` is negative or not a number.
            TypeError: The parentheses are missing; or, from the decorator, the function takes no input.

        Example:
            >>> @sandbox.model("you/poet")
            ... def poet(input):
            ...     yield "Roses"
            ...     yield f" are {input['colour']}"
            >>> list(client.stream("you/poet", {"colour": "red"}))
            ['Roses', ' are red']
        """
        make = scripted(reference, inputs, cold_start)

        def add(function: Function) -> Function:
            self._registry.add(make(function))
            return function

        return add

    @property
    def models(self) -> list[str]:
        """The names of all models, sorted.

        Example:
            >>> ECHO in sandbox.models
            True
        """
        return self._registry.names

    def hold(self) -> Gate:
        """Create a gate where a scripted model waits, or for a ``cold_start``.

        Returns:
            A new, closed gate.

        Example:
            >>> gate = sandbox.hold()
            >>> @sandbox.model("you/cold", cold_start=gate)
            ... def answer(input):
            ...     return "warm"
            >>> started = client.predictions.create(model="you/cold", input={})
            >>> gate.wait_until_reached()
            >>> gate.set()
            >>> client.predictions.wait(started).text
            'warm'
        """
        return Gate(self._changed)

    def add_file(self, content: bytes, media_type: str = "application/octet-stream") -> str:
        """Put a file on the file server.

        Args:
            content: The file's content.
            media_type: Its type.

        Returns:
            The file's URL.

        Raises:
            TypeError: The content is not bytes.
            ValueError: The media type is not text that a header can hold.
            RuntimeError: The sandbox has never been started, so the file would have no address.

        Example:
            >>> report = sandbox.add_file(b"all is well", "text/plain")
            >>> @sandbox.model("you/reporter")
            ... def tell(input):
            ...     return report
            >>> [path.read_text() for path in client.download(client.run("you/reporter", {}), "out")]
            ['all is well']
        """
        self._started(self._files.origin)
        return self._files.add(content, media_type)

    def _started(self, address: str) -> str:
        if not address:
            raise RuntimeError("the sandbox has no address before it is started")
        return address
