"""A stack dump at the socket names the operation: debuggers and profilers can say which call it is."""

import contextlib
import json
import socket
import sys
import threading
import traceback

import httpx
import pytest
from support.drivers import Driven
from support.replies import MODEL, prediction
from support.wire_server import answer, frames

from rockai_transport import RockAIError

CALLS = {
    "run": lambda client: client.run(MODEL, {}),
    "create": lambda client: client.create(model=MODEL, input={}),
    "wait": lambda client: client.wait("p1"),
    "stream": lambda client: list(client.stream(MODEL, {})),
    "follow": lambda client: list(client.follow("p1")),
}
# The request, and the frames that stand above its connection, in this order.
SENDING = {
    "run": ("POST /v1/run", ["run", "exchange", "with_retries", "attempt", "open"]),
    "create": ("POST /v1/predictions", ["create", "exchange", "with_retries", "attempt", "open"]),
    "wait": ("GET /v1/predictions/p1", ["wait", "fetch", "exchange", "with_retries", "attempt", "open"]),
    "stream": ("POST /v1/run_sse", ["next_batch", "open_response", "with_retries", "attempt", "open"]),
    "follow": ("GET /s", ["next_batch", "open_response", "with_retries", "attempt", "open"]),
}
READING = {
    "run": ("POST /v1/run", ["run", "exchange", "with_retries", "attempt", "read_body", "read"]),
    "create": (
        "POST /v1/predictions",
        ["create", "exchange", "with_retries", "attempt", "read_body", "read"],
    ),
    "wait": ("GET /v1/predictions/p1", ["wait", "fetch", "exchange", "with_retries", "read_body", "read"]),
    "stream": ("POST /v1/run_sse", ["next_batch", "follow"]),
    "follow": ("GET /s", ["next_batch", "follow"]),
}


def names_on(stack):
    """The names of the frames of operations, and of what does their input and output."""
    inner = ("rockai_transport/protocol/", "rockai_transport/io/")
    return [frame.name for frame in stack if any(folder in frame.filename for folder in inner)]


def are_in_order(expected, names):
    """Whether all these names are among those of the frames, in this order."""
    left = iter(names)
    return all(name in left for name in expected)


class Watched(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that notes the stack of whoever reads it."""

    def __init__(self, line, content, stacks):
        self.line, self.content, self.stacks = line, content, stacks

    def __iter__(self):
        self.stacks[self.line] = names_on(traceback.extract_stack())
        yield self.content

    async def __aiter__(self):
        self.stacks[self.line] = names_on(traceback.extract_stack())
        yield self.content


class Service(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers in the place of sockets, and notes the stack of each request, and of each first read."""

    def __init__(self):
        self.sending, self.reading = {}, {}

    def handle_request(self, request):
        line = f"{request.method} {request.url.path}"
        self.sending[line] = names_on(traceback.extract_stack())
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        if request.headers["accept"] == "text/event-stream":
            return httpx.Response(200, headers=headers, stream=Watched(line, frames("a"), self.reading))
        status = "processing" if line.startswith("GET") and line not in self.reading else "succeeded"
        told = json.dumps(prediction(status, urls={"stream": "/s"})).encode()
        return httpx.Response(200, stream=Watched(line, told, self.reading))

    async def handle_async_request(self, request):
        return self.handle_request(request)


@pytest.mark.parametrize("call", CALLS)
def test_the_stack_at_the_transport_names_the_operation(kind, connect, call):
    """Sent or read, with await or without: the operation and its steps are on the stack, by their names."""
    service = Service()
    mine = httpx.AsyncClient(transport=service) if kind == "async" else httpx.Client(transport=service)
    client = connect("http://127.0.0.1:9/v1", http_client=mine)
    CALLS[call](client)
    line, expected = SENDING[call]
    assert are_in_order(expected, service.sending[line]), service.sending[line]
    line, expected = READING[call]
    assert are_in_order(expected, service.reading[line]), service.reading[line]
    client.do(mine.aclose()) if kind == "async" else mine.close()


@pytest.mark.parametrize("call", ["run", "create", "wait", "stream"])
def test_the_stack_at_the_socket_names_the_operation(connect, server, monkeypatch, call):
    """With our own transports below too, when the request leaves."""
    stacks = []
    send = socket.socket.send

    def noted(sock, *rest):
        stacks.append(names_on(traceback.extract_stack()))
        return send(sock, *rest)

    server.route("POST /v1/run", answer(200, "x"))
    server.route("POST /v1/predictions", answer(201, prediction("succeeded")))
    server.route("GET /v1/predictions/p1", answer(200, prediction("succeeded")))
    server.script = answer(200, "x")
    client = connect()
    monkeypatch.setattr(socket.socket, "send", noted, raising=False)
    CALLS[call](client)
    monkeypatch.undo()
    _, expected = SENDING[call]
    assert any(are_in_order(expected, names) for names in stacks), stacks


@pytest.mark.parametrize("call", ["run", "stream"])
def test_a_dump_of_a_waiting_thread_names_the_operation(server, call):
    """What another thread sees of one that waits for bytes, as `faulthandler` and py-spy do."""
    seen = threading.Event()

    def mute(exchange):
        seen.wait(10)
        exchange.close()

    server.script = mute
    line, expected = SENDING[call]

    def work():
        with contextlib.suppress(RockAIError):
            CALLS[call](driven)

    driven = Driven("sync", server.base_url, max_retries=0)
    thread = threading.Thread(target=work)
    thread.start()
    server.wait_for(line)
    names = []
    while names[-1:] != ["_receive"]:  # of the network's stream, which waits in C
        names = names_on(traceback.extract_stack(sys._current_frames()[thread.ident]))
    seen.set()
    thread.join(10)
    driven.end()
    assert are_in_order(expected, names), names
