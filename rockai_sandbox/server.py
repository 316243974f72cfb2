"""The HTTP side: Starlette apps for the API and for the files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from rockai_sandbox.engine import Engine, RefusalError
from rockai_sandbox.faults import Fault, Faults
from rockai_sandbox.files import FileStore
from rockai_sandbox.inputs import error
from rockai_sandbox.predictions import Job
from rockai_sandbox.protocol import Event, Protocol, RawAnswer
from rockai_sandbox.recorder import Recorder, RequestLog

OnDisconnect = Literal["continue", "stop"]
TRANSPORT = "rockai_sandbox.transport"
"""Where the ASGI scope's ``state`` holds the connection, for what HTTP has no words for."""

MAX_DEPTH = 100
"""How deep the JSON of a request may be nested."""

Handler = Callable[["HttpApi", Request], Awaitable[Response]]


class JsonResponse(JSONResponse):
    """Compact JSON, as FastAPI's. As in a stream, a lone surrogate, which UTF-8 cannot encode, is a ``?``."""

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(errors="replace")


class HttpApi:
    """The six calls of docs/http-api.md, over HTTP."""

    def __init__(
        self, engine: Engine, protocol: Protocol, api_token: str, on_disconnect: OnDisconnect, faults: Faults
    ) -> None:
        self.engine = engine
        self.protocol = protocol
        self.api_token = api_token
        self.stops_on_disconnect = on_disconnect == "stop"
        self.faults = faults

    def app(self, log: RequestLog) -> Recorder:
        """Return the ASGI app."""
        calls: tuple[tuple[str | None, str, Handler], ...] = (
            (self.protocol.stream_path, "GET", stream),  # before get, whose path may match too
            (self.protocol.create_path, "POST", create),
            (self.protocol.cancel_path, "POST", cancel),
            (self.protocol.get_path, "GET", get),
            (self.protocol.run_path, "POST", run),
            (self.protocol.run_sse_path, "POST", run_sse),
        )
        base = self.protocol.base_path.rstrip("/")
        routes = [
            Route(base + path, partial(self._serve, handler), methods=[method])
            for path, method, handler in calls
            if path is not None
        ]
        routes.append(Route("/", self._about, methods=["GET"]))
        handlers: dict[Any, Any] = {404: self._no_route, HTTPException: _http_error}
        service = Starlette(routes=routes, exception_handlers=handlers)

        async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
            fault = self.faults.take(scope["method"], scope["path"])
            await (service if fault is None else answer_fault(fault))(scope, receive, send)

        return Recorder(gateway, log)

    async def _serve(self, handler: Handler, request: Request) -> Response:
        try:
            if handler is not stream or self.protocol.stream_needs_token:
                self._authenticate(request)
            return await handler(self, request)
        except RefusalError as refusal:
            return JsonResponse({"detail": refusal.detail}, refusal.status)

    async def _about(self, _request: Request) -> Response:
        """Describe the sandbox and list its models; needs no token."""
        about = "a local RockAI: rule-based responses, for tests"
        return JsonResponse({"sandbox": about, "models": self.engine.registry.names})

    async def _no_route(self, _request: Request, _error: Exception) -> Response:
        return raw(self.protocol.no_route)

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get(self.protocol.auth_header, "")
        scheme, _, token = given.rpartition(" ")
        if not given or scheme.lower() != self.protocol.auth_scheme.lower():
            raise RefusalError(401, "not authenticated")
        if token != self.api_token:
            raise RefusalError(401, "invalid token")


def raw(answer: RawAnswer) -> Response:
    """Convert a `RawAnswer` to a response."""
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)


class DroppedConnection(Response):
    """No response: the connection is reset."""

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Reset the connection."""
        scope["state"][TRANSPORT].abort()
        await asyncio.sleep(0)  # lets uvicorn notice the reset


def answer_fault(fault: Fault) -> Response:
    """Return the response for a fault."""
    return DroppedConnection() if fault.answer is None else raw(fault.answer)


async def _http_error(_request: Request, raised: HTTPException) -> Response:
    # FastAPI's form, as the real server's errors have it; Starlette alone would send plain text.
    return JsonResponse({"detail": raised.detail}, raised.status_code, raised.headers)


async def read_json(request: Request) -> Any:
    """Return a request's body, read as JSON.

    Raises:
        RefusalError: 422 in FastAPI's form if it is no JSON, has a lone surrogate, NaN or an infinity, or is
            nested too deep.
    """
    try:
        body = json.loads(await request.body())
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as raised:
        at = raised.pos if isinstance(raised, json.JSONDecodeError) else 0
        reason = raised.msg if isinstance(raised, json.JSONDecodeError) else str(raised)
        detail = error("json_invalid", (at,), "JSON decode error", {}, error=reason)
        raise RefusalError(422, [detail]) from None
    if _is_deeper(body, MAX_DEPTH):
        raise RefusalError(422, f"nested deeper than {MAX_DEPTH}")
    return body


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether JSON is nested deeper than this."""
    level = [value]
    for _ in range(depth + 1):
        containers = [one for one in level if isinstance(one, dict | list)]
        level = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
    return bool(level)


async def create(api: HttpApi, request: Request) -> Response:
    """Create a prediction and respond at once."""
    job = api.engine.start(await read_json(request), "create")
    body = api.protocol.prediction_json(api.engine.to_json(job))
    return JsonResponse(body, api.protocol.create_status)


async def get(api: HttpApi, request: Request) -> Response:
    """Return a prediction in its current state."""
    job = api.engine.find(request.path_params["id"])
    flat = api.engine.to_json(job, with_id=api.protocol.get_carries_id)
    return JsonResponse(api.protocol.prediction_json(flat))


async def cancel(api: HttpApi, request: Request) -> Response:
    """Cancel a prediction and return it."""
    job = api.engine.find(request.path_params["id"])
    api.engine.cancel(job)
    return JsonResponse(api.protocol.prediction_json(api.engine.to_json(job)))


async def run(api: HttpApi, request: Request) -> Response:
    """Start a prediction, wait for its end, and return its output."""
    job = api.engine.start(await read_json(request), "run")
    stayed = await unless_left(request.receive, until(job, lambda: job.is_terminal))
    if not stayed and api.stops_on_disconnect:
        api.engine.cancel(job)
    if job.status != "succeeded" and not api.protocol.run_reports_failure:
        return PlainTextResponse("Internal Server Error", 500)  # recorded for a model that raises
    return JsonResponse(api.protocol.run_json(api.engine.to_json(job)))


async def run_sse(api: HttpApi, request: Request) -> Response:
    """Start a prediction and stream its output."""
    job = api.engine.start(await read_json(request), "run_sse")
    return EventStream(api, job, owns_job=True)


async def stream(api: HttpApi, request: Request) -> Response:
    """Stream the output of a prediction, always from its beginning."""
    return EventStream(api, api.engine.find(request.path_params["id"]), owns_job=False)


async def until(job: Job, holds: Callable[[], bool]) -> None:
    """Wait until a condition on a job holds."""
    with job.change_event() as change:
        while not holds():
            await change.wait()


async def unless_left(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Run ``work`` unless the client leaves first; return whether the client stayed to the end."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(listen())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stayed = tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]
    return stayed


class EventStream(Response):
    """A prediction's output as an event stream; each piece is sent as soon as the model yields it."""

    def __init__(self, api: HttpApi, job: Job, *, owns_job: bool) -> None:
        super().__init__()
        self._protocol = api.protocol
        self._engine = api.engine
        self._job = job
        self._stops_job = owns_job and api.stops_on_disconnect

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to the end. If it returns without a last chunk, uvicorn aborts the connection."""
        stayed = await unless_left(receive, self._speak(send))
        if not stayed and self._stops_job:
            self._engine.cancel(self._job)

    async def _speak(self, send: Send) -> None:
        await until(self._job, lambda: self._job.status != "starting")  # a cold model sends no byte
        headers = [
            (b"content-type", self._protocol.stream_content_type.encode()),
            (b"cache-control", b"no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send_pieces(send)
        last = self._last_event()
        if last is not None:
            await send(_chunk(last))
        if last is not None or self._job.status == "succeeded":
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_pieces(self, send: Send) -> None:
        pieces = logs = 0
        with self._job.change_event() as change:
            while True:
                ended = self._job.is_terminal  # checked first: nothing is added after the end
                if self._protocol.logs_event is not None:
                    for text in self._job.logs[logs:]:
                        await send(_chunk(Event(self._protocol.logs_event, text)))
                        logs += 1
                for piece in self._job.pieces[pieces:]:
                    await send(_chunk(Event(self._protocol.output_event, piece)))
                    await asyncio.sleep(0)  # lets uvicorn notice that the client has left
                    pieces += 1
                if ended:
                    break
                await change.wait()
        if not pieces:
            for piece in as_pieces(self._job.snapshot().output):
                await send(_chunk(Event(self._protocol.output_event, piece)))

    def _last_event(self) -> Event | None:
        if self._job.status == "succeeded":
            return self._protocol.done
        if self._job.status == "canceled":
            return self._protocol.canceled
        return None if self._protocol.error is None else self._protocol.error(self._job.error)


def as_pieces(output: Any) -> list[str]:
    """Return a finished output as the pieces of a stream; values other than text become JSON."""
    if output is None:
        return []
    pieces = output if isinstance(output, list) else [output]
    return [piece if isinstance(piece, str) else json.dumps(piece, ensure_ascii=False) for piece in pieces]


def _chunk(event: Event) -> Message:
    return {"type": "http.response.body", "body": event.frame(), "more_body": True}


def files_app(files: FileStore, log: RequestLog) -> Recorder:
    """Return the ASGI app of the file server: it needs no token, and does not use the API."""

    async def send_file(request: Request) -> Response:
        file = files.get(request.url.path)
        if file is None:
            return PlainTextResponse("no such file", 404)
        return Response(file.content, media_type=file.media_type)

    return Recorder(Starlette(routes=[Route("/{path:path}", send_file)]), log)
