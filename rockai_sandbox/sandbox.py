"""The sandbox itself: a RockAI on this machine, to develop and test against."""

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
from rockai_sandbox.options import HOST, PORT, SECONDS, TOKEN, check_choice
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
    """A local RockAI: a real HTTP server on 127.0.0.1 with the service's API, that never leaves the machine.

    Use it in a ``with`` block, or call `start` and `stop`. Several can run at once.

    Args:
        api_token: The token it accepts; made up if `None`.
        generation: Which routes there are: ``"old"`` (the quick start's), ``"new"`` (without ``/run`` and
            ``/run_sse``) or ``"both"``.
        shape: ``"flat"`` predictions, or ``"enveloped"`` ones (``{"data": …, "msg": …, "code": 200}``).
        cold_start: Seconds that every prediction spends in ``starting``, or a `Gate` to wait at.
        on_disconnect: What becomes of a prediction whose ``/run`` or ``/run_sse`` the client left: it goes on
            (``"continue"``) or is canceled (``"stop"``).
        run_answer: What ``/run`` answers: the bare ``"output"``, or the finished ``"prediction"``.
        port: The API's port; 0 takes any free one. Files are served from another port.
        protocol: Every other assumption about the HTTP API; ``generation``, ``shape`` and ``run_answer`` are
            applied on top.
        seconds_per_piece: How long a model takes for each piece of text.
        video_seconds: How long a video of any length takes.
        reports_usage: Whether ``metrics`` holds token counts; the live service is not known to report any.
        any_model: Whether a name that no model has is answered too, as by a text model.
        webhooks: How it calls webhooks on this machine: ``"in order"``, ``"late"`` (by a second),
            ``"twice"``, ``"out of order"``, ``"forged"`` (a wrong secret first), or ``"never"``.

    Attributes:
        api_token: The token it accepts.
        protocol: Every assumption about the HTTP API, as the options made it.

    Raises:
        ValueError: An option that is none of its choices, or a number that it cannot be.

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
        TOKEN.check("api_token", api_token or "")
        SECONDS.check("seconds_per_piece", seconds_per_piece)
        SECONDS.check("video_seconds", video_seconds)
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
            RuntimeError: It is running already, or the servers do not start.
            OSError: The port is taken.

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
            self._engine.base_url = f"http://{HOST}:{api.getsockname()[1]}{self.protocol.base_path}"
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
        """Cancel what is under way, close every connection, and end the threads. Twice does no harm.

        What it saw can still be looked at.

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
        """The API's address, as in ``http://127.0.0.1:8100/v1``.

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
        """The origin that files are served from: another one than the API's, as a CDN would be.

        Raises:
            RuntimeError: The sandbox has never been started.

        Example:
            >>> made = client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> made.output[0].startswith(sandbox.files_url)
            True
        """
        return self._started(self._files.origin)

    def environ(self) -> dict[str, str]:
        """Tell which environment variables lead a client here.

        Returns:
            ``ROCKAI_BASE_URL`` and ``ROCKAI_API_TOKEN`` with their values.

        Raises:
            RuntimeError: The sandbox has never been started.

        Example:
            An app that is a program of its own:

            >>> import os, subprocess, sys
            >>> app = [sys.executable, "-c", "import os; print('uses', os.environ['ROCKAI_BASE_URL'])"]
            >>> subprocess.check_output(app, env=os.environ | sandbox.environ(), text=True).strip()
            'uses http://127.0.0.1:.../v1'
        """
        return {"ROCKAI_BASE_URL": self.base_url, "ROCKAI_API_TOKEN": self.api_token}

    @property
    def predictions(self) -> list[SandboxPrediction]:
        """Everything it was asked to start, oldest first, as it stands now; the last 10,000.

        Example:
            >>> reply = client.run(ECHO, {"prompt": "Hello"})
            >>> [(prediction.model, prediction.status) for prediction in sandbox.predictions]
            [('sandbox/echo', 'succeeded')]
        """
        return [job.snapshot() for job in self._engine.ledger.jobs()]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every call of a webhook, oldest first, with what was answered.

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
        """Every request that the API saw, oldest first, those it refused included.

        The last 10,000 are kept, and of their bodies 256 MiB.

        Example:
            >>> started = client.predictions.create(model=ECHO, input={"prompt": "Hello"})
            >>> [(request.method, request.path, request.status) for request in sandbox.requests]
            [('POST', '/v1/predictions', 201)]
        """
        return self._requests.snapshot()

    @property
    def file_requests(self) -> list[SeenRequest]:
        """Every request that the file server saw, oldest first: as many as of the API.

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
        """Script a model; to be used as a decorator.

        The function gets the prediction's input, and its `Run` if it takes a second parameter without a
        default, or one named ``run``. It yields text pieces, or returns an output, in which bytes become
        files, or raises, which is the prediction's failure. It may be a plain function or generator, which
        gets a thread of its own, or a coroutine function or an asynchronous generator.

        Args:
            reference: ``owner/name``, which answers under every version, or one with a version, or a bare
                version.
            inputs: The inputs it accepts; anything by default.
            cold_start: Its own seconds in ``starting``, or a `Gate`; the sandbox's by default.

        Returns:
            A decorator, which returns the function as it is.

        Raises:
            ValueError: The reference has none of these forms, or ``cold_start`` is negative or no number.
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
        """The names of the models that it has, sorted.

        Example:
            >>> ECHO in sandbox.models
            True
        """
        return self._registry.names

    def hold(self) -> Gate:
        """Make a gate for a scripted model to wait at, or for a ``cold_start``.

        Returns:
            A new gate, which is closed.

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
            content: The file.
            media_type: Its type.

        Returns:
            The file's URL.

        Example:
            >>> report = sandbox.add_file(b"all is well", "text/plain")
            >>> @sandbox.model("you/reporter")
            ... def tell(input):
            ...     return report
            >>> [path.read_text() for path in client.download(client.run("you/reporter", {}), "out")]
            ['all is well']
        """
        return self._files.add(content, media_type)

    def _started(self, address: str) -> str:
        if not address:
            raise RuntimeError("the sandbox has no address before it is started")
        return address
