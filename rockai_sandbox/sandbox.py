"""The sandbox itself: a RockAI on this machine, to develop and test against."""

import contextlib
import secrets
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, get_args, overload

from rockai_sandbox.engine import Engine
from rockai_sandbox.faults import Fault, Faults
from rockai_sandbox.files import FileStore
from rockai_sandbox.hosting import HOST, Hosting, listen
from rockai_sandbox.inputs import Inputs
from rockai_sandbox.models import builtin_models
from rockai_sandbox.predictions import Prediction
from rockai_sandbox.protocol import (
    GENERATIONS,
    SHAPES,
    Generation,
    Protocol,
    RawAnswer,
    RunAnswer,
    Shape,
    token_counts,
)
from rockai_sandbox.recorder import RequestLog, SeenRequest
from rockai_sandbox.registry import Model, Registry, made_up_version, split
from rockai_sandbox.runs import Hold, ModelFunction
from rockai_sandbox.server import OnDisconnect, Service, files_app

Function = TypeVar("Function", bound=ModelFunction)
Found = TypeVar("Found")
Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option} is one of {choices}, not {value!r}")


class Sandbox:
    """A local RockAI: a real HTTP server on 127.0.0.1 with the service's API, that never leaves the machine.

    Use it in a ``with`` block, or call `start` and `stop`. Several can run at once.

    Args:
        api_token: the token it accepts; made up if `None`.
        generation: which routes there are: ``"old"`` (the quick start's), ``"new"`` (without ``/run`` and
            ``/run_sse``) or ``"both"``.
        shape: ``"flat"`` predictions, or ``"enveloped"`` ones (``{"data": …, "msg": …, "code": 200}``).
        cold_start: seconds that every prediction spends in ``starting``, or a `Hold` to wait at.
        on_disconnect: what becomes of a prediction whose ``/run`` or ``/run_sse`` the client left: it goes on
            (``"continue"``) or is canceled (``"stop"``).
        run_answer: what ``/run`` answers: the bare ``"output"``, or the finished ``"prediction"``.
        port: the API's port; 0 takes any free one. Files are served from another port.
        protocol: every other belief about the wire; ``generation``, ``shape`` and ``run_answer`` are applied
            on top.
        seconds_per_piece: how long a model takes for each piece of text.
        video_seconds: how long a video of any length takes.
        reports_usage: whether ``metrics`` holds token counts; the live service is not known to report any.

    Raises:
        ValueError: an option that is none of its choices.
    """

    def __init__(
        self,
        api_token: str | None = None,
        *,
        generation: Generation = "both",
        shape: Shape = "flat",
        cold_start: float | Hold = 0.0,
        on_disconnect: OnDisconnect = "continue",
        run_answer: RunAnswer = "output",
        port: int = 0,
        protocol: Protocol | None = None,
        seconds_per_piece: float = 0.0,
        video_seconds: float = 3.0,
        reports_usage: bool = False,
    ) -> None:
        _check_choice("generation", generation, get_args(Generation))
        _check_choice("shape", shape, get_args(Shape))
        _check_choice("run_answer", run_answer, get_args(RunAnswer))
        _check_choice("on_disconnect", on_disconnect, get_args(OnDisconnect))
        changes = {**GENERATIONS[generation], **SHAPES[shape, run_answer]}
        if reports_usage:
            changes["metrics"] = token_counts
        self.api_token = api_token or f"sandbox-{secrets.token_hex(8)}"
        self.protocol = (protocol or Protocol()).replace(**changes)
        self._port = port
        self._on_disconnect = on_disconnect
        self._changed = threading.Condition()
        self._faults = Faults()
        self._files = FileStore()
        self._requests = RequestLog(self._changed)
        self._file_requests = RequestLog(self._changed)
        self._registry = Registry(builtin_models(video_seconds=video_seconds))
        self._engine = Engine(
            self.protocol,
            self._registry,
            self._files,
            self._changed,
            cold_start=cold_start,
            seconds_per_piece=seconds_per_piece,
        )
        self._hosting: Hosting | None = None

    def start(self) -> Self:
        """Start serving and return itself.

        Raises:
            RuntimeError: it is running already.
            OSError: the port is taken.
        """
        if self._hosting is not None:
            raise RuntimeError("the sandbox is running already")
        with contextlib.ExitStack() as stack:
            api = stack.enter_context(contextlib.closing(listen(self._port)))
            files = stack.enter_context(contextlib.closing(listen(0)))
            self._engine.base_url = f"http://{HOST}:{api.getsockname()[1]}{self.protocol.base_path}"
            self._files.origin = f"http://{HOST}:{files.getsockname()[1]}"
            service = Service(self._engine, self.protocol, self.api_token, self._on_disconnect, self._faults)
            served = (
                (service.app(self._requests), api),
                (files_app(self._files, self._file_requests), files),
            )
            hosting = Hosting(served, self._engine.close)
            hosting.start()
            stack.pop_all()  # the servers close the sockets from here on
        self._hosting = hosting
        return self

    def stop(self) -> None:
        """Cancel what is under way, close every connection, and end the threads. Twice does no harm."""
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
            RuntimeError: the sandbox has never been started.
        """
        if not self._engine.base_url:
            raise RuntimeError("the sandbox has no address before it is started")
        return self._engine.base_url

    @property
    def files_url(self) -> str:
        """The origin that files are served from: another one than the API's, as a CDN would be."""
        return self._files.origin

    def environ(self) -> dict[str, str]:
        """Return the environment variables that lead a client here."""
        return {"ROCKAI_BASE_URL": self.base_url, "ROCKAI_API_TOKEN": self.api_token}

    @property
    def predictions(self) -> list[Prediction]:
        """Everything it was asked to start, oldest first, as it stands now."""
        return [job.snapshot() for job in self._engine.ledger.jobs()]

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request that the API saw, oldest first, those it refused included."""
        return self._requests.snapshot()

    @property
    def file_requests(self) -> list[SeenRequest]:
        """Every request that the file server saw, oldest first."""
        return self._file_requests.snapshot()

    def model(
        self, reference: str, *, inputs: Inputs | None = None, cold_start: float | Hold | None = None
    ) -> Callable[[Function], Function]:
        """Script a model; to be used as a decorator.

        The function gets the prediction's input, and its `Run` if it takes a second parameter. It yields text
        pieces, or returns an output, in which bytes become files, or raises, which is the prediction's
        failure. It may be a plain function or generator, which gets a thread of its own, or a coroutine
        function or an asynchronous generator.

        Args:
            reference: ``owner/name``, which answers under every version, or one with a version, or a bare
                version.
            inputs: the inputs it accepts; anything by default.
            cold_start: its own seconds in ``starting``, or a `Hold`; the sandbox's by default.

        Raises:
            ValueError: the reference has none of these forms.
        """
        name, version = split(reference)

        def add(function: Function) -> Function:
            self._registry.add(
                Model(
                    name=name or "sandbox/unnamed",
                    version=version or made_up_version(name),
                    function=function,
                    inputs=inputs,
                    any_version=not version,
                    cold_start=cold_start,
                )
            )
            return function

        return add

    def hold(self) -> Hold:
        """Return a new gate for a scripted model to wait at, or for a ``cold_start``."""
        return Hold(self._changed)

    def add_file(self, content: bytes, media_type: str = "application/octet-stream") -> str:
        """Put a file on the file server and return its URL."""
        return self._files.add(content, media_type)

    def answer_next(
        self,
        status: int,
        body: str = "",
        *,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
        times: int | None = 1,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        """Let the next requests be answered by something else than the service, as by a busy gateway.

        Args:
            status: the HTTP status.
            body: the body, as it is.
            headers: further headers.
            content_type: the body's type.
            times: how often; `None` for always.
            method: only for requests of this method.
            path: only for requests whose path ends so.
        """
        answer = RawAnswer(status, body, content_type, headers or {})
        self._faults.add(Fault(answer, times, method, path))

    def drop_next(self, *, times: int | None = 1, method: str | None = None, path: str | None = None) -> None:
        """Let the connections of the next requests be reset after the request was read, without an answer.

        Args:
            times: how often; `None` for always.
            method: only for requests of this method.
            path: only for requests whose path ends so.
        """
        self._faults.add(Fault(None, times, method, path))

    @overload
    def wait_for(self, what: Literal["disconnect"], timeout: float = 10.0) -> SeenRequest: ...
    @overload
    def wait_for(self, what: Status, timeout: float = 10.0) -> Prediction: ...
    @overload
    def wait_for(self, what: "Callable[[Sandbox], Found | None]", timeout: float = 10.0) -> Found: ...
    def wait_for(self, what: "str | Callable[[Sandbox], Any]", timeout: float = 10.0) -> Any:
        """Wait until something is so; it is looked at after every change and never by the clock.

        Args:
            what: a status, for the first prediction that has it; ``"disconnect"``, for the first request that
                its client left; or a function of the sandbox, for the first true value it returns.
            timeout: seconds.

        Returns:
            The prediction, the request, or the function's value.

        Raises:
            TimeoutError: it did not become so; the message says how things stand.
        """
        look = self._look_for(what) if isinstance(what, str) else lambda: what(self)
        with self._changed:
            found = self._changed.wait_for(look, timeout)
        if not found:
            raise TimeoutError(f"waited {timeout} s for {what!r}; {self._describe()}")
        return found

    def _look_for(self, what: str) -> Callable[[], Any]:
        def left() -> SeenRequest | None:
            return next((request for request in self.requests if request.disconnected), None)

        def standing() -> Prediction | None:
            jobs = self._engine.ledger.jobs()
            return next((job.snapshot() for job in jobs if job.status == what), None)

        return left if what == "disconnect" else standing

    def _describe(self) -> str:
        predictions = [
            (prediction.id, prediction.model, prediction.status) for prediction in self.predictions
        ]
        requests = [
            (request.method, request.path, request.status, request.outcome) for request in self.requests
        ]
        return f"predictions: {predictions}; requests: {requests}"
