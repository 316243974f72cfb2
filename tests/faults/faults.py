"""What may go wrong, and with which operations: the rows and the columns of the table in `matrix.py`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from faults.matrix import Cell
from support.drivers import AsyncVirtualClient, Driven, InMemory
from support.virtual_io import SILENCE, ScriptedAnswer, VirtualIO, events, reply
from support.wire_server import Exchange, Script, WireServer, answer, hang_up, reset, stream

from rockai_transport import Prediction, RockAIError
from rockai_transport.protocol.io import BrokenError, NotSentError

MODEL = "you/model"
DONE = {"id": "p1", "status": "succeeded", "output": "Hello", "urls": {}}
HELLO = b"event: output\ndata: Hel\n\nevent: output\ndata: lo\n\n"
END = b"event: done\ndata: {}\n\n"
JSON = "application/json"
ORIGIN = "https://api.rockai.example"
SECONDS = 30.0  # for waiting, which goes on through an outage

# --- operations --------------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """One thing that a user asks for.

    Attributes:
        line: The request that the fault befalls.
        call: What is called, with a client, the origin of its service, and a list for the text handed on.
        right: What is right in the fault's place: a prediction, or the bytes of a stream or of a file.
        route: The client's.
    """

    line: str
    call: Callable[[Any, str, list[str]], Any]
    right: Any = DONE
    route: str = "auto"


def _read(stream: Any, heard: list[str]) -> None:
    with stream:
        heard.extend(stream)


def _follow(client: Any, origin: str, heard: list[str]) -> None:
    known = Prediction(id="p1", status="starting", urls={"stream": f"{origin}/v1/stream/p1"}, raw={})
    _read(client.follow(known), heard)


def _download(client: Any, origin: str, _: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = Prediction(id="p1", status="succeeded", output=f"{origin}/v1/a.png")
        client.download(known, folder, allow_private=True)


OPERATIONS = {
    "run": Operation("POST /run", lambda client, *_: client.run(MODEL, {})),
    "run on_text": Operation(
        "POST /run_sse",
        lambda client, _, heard: client.run(MODEL, {}, on_text=heard.append),
        HELLO + END,
    ),
    "stream": Operation(
        "POST /run_sse", lambda client, _, heard: _read(client.stream(MODEL, {}), heard), HELLO + END
    ),
    "run by id": Operation(
        "POST /predictions", lambda client, *_: client.run(MODEL, {}), route="predictions"
    ),
    "stream by id": Operation(
        "POST /predictions",
        lambda client, _, heard: _read(client.stream(MODEL, {}), heard),
        route="predictions",
    ),
    "follow": Operation("GET /stream/p1", _follow, HELLO + END),
    "create": Operation("POST /predictions", lambda client, *_: client.create(model=MODEL, input={})),
    "get": Operation("GET /predictions/p1", lambda client, *_: client.get("p1")),
    "cancel": Operation("POST /predictions/p1/cancel", lambda client, *_: client.cancel("p1")),
    "wait": Operation("GET /predictions/p1", lambda client, *_: client.wait("p1", timeout=SECONDS)),
    "download": Operation("GET /a.png", _download, b"\x89PNG"),
}

# --- faults ------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """What happens in place of the right answer: in memory, and where it can be made there, on a socket."""

    virtual: Any
    wire: Script | None = None


def _status(status: int, body: Any = {"detail": "no"}, **headers: str) -> Fault:  # noqa: B006 - not changed
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(reply(status, body, **headers), answer(status, body, named))


def _text(status: int, text: str | bytes, media_type: str) -> Fault:
    content = text.encode() if isinstance(text, str) else text
    return Fault(
        reply(status, content, media_type=media_type), answer(status, content, media_type=media_type)
    )


def _json(body: Any) -> Fault:
    return _status(200, body)


def _events(*chunks: bytes, framing: str = "chunked", finish: bool = True) -> Fault:
    broken = () if finish else (BrokenError("the connection broke"),)
    return Fault(events(*chunks, *broken, framing=framing), stream(*chunks, framing=framing, finish=finish))


def _prediction(**fields: Any) -> Fault:
    return _json({**DONE, **fields})


def _half(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Type": JSON, "Content-Length": "100"})
    exchange.send(HALF)
    exchange.close()


HALF = b'{"id": "p1",'
DEEP = b'{"id": "p1", "status": "succeeded", "output": ' + b"[" * 600 + b"]" * 600 + b"}"
FAULTS = {
    # There is no answer.
    "no connection": Fault(NotSentError("connection refused")),
    "no connection in time": Fault(NotSentError("no connection in time", timed_out=True)),
    "reset": Fault(BrokenError("connection reset"), reset),
    "closed without a word": Fault(BrokenError("closed"), hang_up),
    "silence": Fault(SILENCE),
    # The answer says no.
    "400": _status(400),
    "401": _status(401),
    "402": _status(402),
    "403": _status(403),
    "404 of the model": _status(404, {"detail": "model not found"}),
    "404 of the route": _text(404, "404 page not found", "text/plain"),
    "405": _status(405),
    "408": _status(408),
    "409": _status(409),
    "410": _status(410),
    "413 as HTML": _text(413, "<html>too large</html>", "text/html"),
    "418": _status(418),
    "422": _status(422, {"detail": [{"loc": ["body", "input", "x"], "msg": "no such input"}]}),
    "422 of odd form": _status(422, {"detail": [{"loc": True}]}),
    "429": _status(429),
    "429, in 1 s": _status(429, retry_after="1"),
    "429, in an hour": _status(429, retry_after="3600"),
    "500": _status(500),
    "500 nested too deep": _text(500, DEEP, JSON),
    "502 as HTML": _text(502, "<html>bad gateway</html>", "text/html"),
    "503": _status(503),
    "503, in 1 s": _status(503, retry_after="1"),
    "504": _status(504),
    "204": _text(204, b"", JSON),
    "206": _text(206, b"{", JSON),
    "a redirect elsewhere": _status(307, location="https://elsewhere.example/v1/x")._replace(wire=None),
    "a redirect to nowhere": _status(302, location="http://["),
    # The answer is none.
    "empty": _text(200, b"", JSON),
    "a login page": _text(200, "<html>log in</html>", "text/html"),
    "half a JSON": _text(200, b'{"id": "p1", "sta', JSON),
    "nested too deep": _text(200, DEEP, JSON),
    "no UTF-8": _text(200, b'{"id": "\xff\xfe"', JSON),
    "null": _json(None),
    "a number": _json(5),
    "a list": _json([1]),
    "an error in an envelope": _json({"code": 402, "msg": "no balance", "data": None}),
    "an unknown code in an envelope": _json({"code": 0, "msg": "no", "data": None}),
    "a 429 in an envelope": _json({"code": 429, "msg": "later", "data": None}),
    "cut in the body": Fault(
        ScriptedAnswer(200, [HALF, BrokenError("the connection broke")], {"content-type": JSON}, 0.0), _half
    ),
    # The prediction is not what was hoped for.
    "failed": _prediction(status="failed", error="out of memory", output=None),
    "canceled": _prediction(status="canceled", output=None),
    "a status of its own": _prediction(status="paused", output=None)._replace(
        wire=None
    ),  # it takes half an hour
    "no status": _json({"id": "p1"}),
    "no output": _prediction(output=None),
    # The stream ends before its end.
    "no event": _events(),
    "no end event": _events(HELLO),
    "no end event, by length": _events(HELLO, framing="length"),
    "no end event, by closing": _events(HELLO, framing="close"),
    "broken between events": _events(HELLO, finish=False),
    "broken within an event": _events(HELLO, b"event: output\ndata: wor", finish=False),
    "ended within an event": _events(HELLO + b"event: output\ndata: wor"),
    "silence within the stream": Fault(events(HELLO, 1e9)),
    "an error event": _events(HELLO + b"event: error\ndata: out of memory\n\n"),
    "an unknown event": _events(b"event: tick\ndata: 1\n\n" + HELLO + END),
    "no UTF-8 in an event": _events(b"event: output\ndata: \xff\n\n" + END),
    "text behind the end": _events(HELLO + END + HELLO),
}


# --- trying ------------------------------------------------------------------------------------------------


class AsyncInMemory(Driven):
    """As `InMemory`, with the asynchronous client."""

    def __init__(self, io: VirtualIO, **settings: Any) -> None:
        self.kind = "async"
        self.runner = asyncio.Runner()
        self.client = AsyncVirtualClient(io, **settings)


def right_answer(operation: Operation) -> Any:
    """The right answer, in memory."""
    if operation.right == HELLO + END:
        return events(operation.right)
    return reply(200, operation.right, media_type="image/png" if operation.line.endswith("png") else JSON)


def right_text(operation: Operation) -> str:
    """The text that a right answer hands on."""
    return "Hello" if operation.right == HELLO + END or operation is OPERATIONS["stream by id"] else ""


def outcome(client: Any, origin: str, operation: Operation, requests: Callable[[], int]) -> Cell:
    """Do it, and say what came of it. What an error knows of the text is what was handed on."""
    heard: list[str] = []
    name, started = "ok", False
    error: RockAIError | None = None
    try:
        operation.call(client, origin, heard)
    except RockAIError as caught:
        error = caught
    if error is not None:
        name, started = type(error).__name__.removesuffix("Error"), error.may_have_started
        assert error.partial_text == "".join(heard)
        assert str(error)
    return Cell(name, started, False, requests(), "".join(heard))  # noqa: FBT003 - a row


def in_memory(kind: str, operation: Operation, fault: Fault, *, once: bool) -> Cell:
    """Try it through the fake of the seam."""
    io = VirtualIO()
    method, path = operation.line.split()
    for line in (
        operation.line,
        f"{method} /v1{path}",
        f"{method} {ORIGIN}/v1{path}",
    ):  # as a request shows it
        io.route(line, *([fault.virtual, right_answer(operation)] if once else [fault.virtual]))
    client = (AsyncInMemory if kind == "async" else InMemory)(io, route=operation.route)
    try:
        return outcome(client, ORIGIN, operation, lambda: len(io.requests))
    finally:
        client.end()


def over_sockets(kind: str, operation: Operation, fault: Fault) -> Cell:
    """Try it over a real connection, without retries."""
    assert fault.wire is not None
    with WireServer() as server:
        method, path = operation.line.split()
        server.route(f"{method} /v1{path}", fault.wire)
        server.script = answer(599, {"detail": "no script"})
        client = Driven(kind, server.base_url, max_retries=0, route=operation.route)
        try:
            return outcome(client, server.origin, operation, lambda: len(server.requests))
        finally:
            client.end()
