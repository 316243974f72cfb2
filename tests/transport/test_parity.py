"""What is decided in memory is what both clients do over a socket: one table, every row asked three times."""

import dataclasses
import json

import pytest
from support.drivers import InMemory
from support.replies import MODEL, VERSION, enveloped, prediction
from support.virtual_io import VirtualIO, events, reply
from support.wire_server import frames

from rockai_transport import APIStatusError, Prediction, RockAIError, Service

RUN, SSE, CREATE, GET = "POST /run", "POST /run_sse", "POST /predictions", "GET /predictions/p1"
CANCEL = "POST /predictions/p1/cancel"
STREAM = "GET /s"
MADE = reply(201, prediction("processing", urls={"stream": "https://cdn.example/s"}, logs="one\n"))
GOING = reply(200, prediction("processing"))
DONE = reply(200, prediction("succeeded", output=["a", "b"], metrics={"predict_time": 1.5}))
FAILED = reply(200, prediction("failed", error="out of memory"))
CANCELED = reply(200, prediction("canceled"))
PIECES = events(frames("a", end=False), b": ping\n\nevent: logs\ndata: x\n\n", frames("b\nc", ""))


def run(client, **options):
    return client.run(MODEL, {"prompt": "你"}, **options)


def run_with_text(client):
    told = []
    return [run(client, on_text=told.append), told]


def read(client, model=MODEL):
    return pieces_of(client.stream(model, {"prompt": "你"}))


def follow(client):
    return pieces_of(client.follow("p1"))


def pieces_of(reading):
    return [list(reading), reading.text, reading.prediction]


def leave_after_one(client):
    with client.stream(VERSION, {}) as reading:
        pieces = [next(reading)]
    return [pieces, reading.text, next(reading, None)]


def updates(client):
    told = []
    client.wait("p1", on_update=lambda update: told.append((update.prediction.status, update.new_logs)))
    return told


PREDICTIONS = {"route": "predictions"}
NO_RETRY = {"max_retries": 0}
ROWS = {
    # what is called: (the call, the client's settings, what is answered)
    "run, bare": (run, {}, {RUN: [reply(200, ["a", "b"])]}),
    "run, enveloped": (run, {}, {RUN: [reply(200, enveloped("x"))]}),
    "run, a prediction that goes on": (run, {}, {RUN: [GOING], GET: [GOING, DONE]}),
    "run, failed": (run, {}, {RUN: [FAILED]}),
    "run, canceled": (run, {}, {RUN: [CANCELED]}),
    "run, no JSON": (run, {}, {RUN: [reply(200, "<html>", media_type="text/html")]}),
    "run, missing route": (run, {}, {RUN: [reply(405, {})], CREATE: [MADE], GET: [DONE]}),
    "run, missing route, no fall-back": (run, {"route": "run"}, {RUN: [reply(410, {})]}),
    "run, refused, then done": (run, {}, {RUN: [reply(429, {}, retry_after="0"), DONE]}),
    "run, no wallet": (run, {}, {RUN: [reply(402, {"detail": "no wallet"}, x_request_id="r1")]}),
    "run, an envelope that refuses": (run, {}, {RUN: [reply(200, {"code": 403, "msg": "no"})]}),
    "run, gateway": (run, {}, {RUN: [reply(504, "<html>", media_type="text/html")]}),
    "run, validation": (run, {}, {RUN: [reply(422, {"detail": [{"loc": ["body"], "msg": "bad"}]})]}),
    "run by predictions": (run, PREDICTIONS, {CREATE: [MADE], GET: [GOING, DONE]}),
    "run by predictions, refused look": (run, PREDICTIONS, {CREATE: [MADE], GET: [reply(403, {})]}),
    "run with on_text": (run_with_text, {}, {SSE: [PIECES]}),
    "run with on_text by predictions": (
        run_with_text, PREDICTIONS, {CREATE: [MADE], STREAM: [PIECES], GET: [DONE]},
    ),
    "run with on_text, late failure": (
        run_with_text, PREDICTIONS, {CREATE: [MADE], STREAM: [PIECES], GET: [FAILED]},
    ),
    "create": (lambda client: client.create(model=MODEL, input={}), {}, {CREATE: [MADE]}),
    "create, no id": (lambda client: client.create(model=MODEL, input={}), {}, {CREATE: [reply(201, {})]}),
    "create with options": (
        lambda client: client.create(
            version=VERSION, input={}, stream=True, webhook="https://x.example/", webhook_events_filter=["a"]
        ),
        {}, {CREATE: [MADE]},
    ),
    "get": (lambda client: client.get("p1"), {}, {GET: [DONE]}),
    "get, 304": (lambda client: client.get("p1"), NO_RETRY, {GET: [reply(304, b"")]}),
    "get, gone": (lambda client: client.get("p1"), {}, {GET: [reply(404, {"detail": "gone"})]}),
    "get, busy": (lambda client: client.get("p1"), NO_RETRY, {GET: [reply(429, {}, retry_after="7.5")]}),
    "get, a hook that fails": (
        lambda client: client.get("p1"), {"service": Service(read_prediction=lambda told: told["x"])},
        {GET: [DONE]},
    ),
    "cancel": (lambda client: client.cancel("p1"), {}, {CANCEL: [CANCELED]}),
    "cancel, no content": (lambda client: client.cancel("p1"), {}, {CANCEL: [reply(204, b"")]}),
    "wait": (lambda client: client.wait("p1"), {}, {GET: [GOING, DONE]}),
    "wait, failed": (lambda client: client.wait("p1"), {}, {GET: [GOING, FAILED]}),
    "wait with on_update": (
        updates, {}, {GET: [GOING, reply(200, prediction("processing", logs="1\n")), DONE]},
    ),
    "stream": (read, {}, {SSE: [PIECES]}),
    "stream, with a length": (read, {}, {SSE: [events(b"data: a\n\n", framing="length")]}),
    "stream, cut": (read, {}, {SSE: [events(frames("a", end=False))]}),
    "stream, unnamed and cut": (read, {}, {SSE: [events(b"data: a\n\n", framing="close")]}),
    "stream, failed": (
        read, {}, {SSE: [events(frames("a", end=False), b"event: error\ndata: boom\n\n")]},
    ),
    "stream, canceled": (read, {}, {SSE: [events(b'event: done\ndata: {"reason": "canceled"}\n\n')]}),
    "stream, JSON in its place": (read, {}, {SSE: [reply(200, ["a", "b"])]}),
    "stream, refused": (read, {}, {SSE: [reply(401, {"detail": "no"})]}),
    "stream, missing route": (read, {}, {SSE: [reply(404, b"")], CREATE: [MADE], STREAM: [PIECES]}),
    "stream by predictions": (read, PREDICTIONS, {CREATE: [MADE], STREAM: [PIECES]}),
    "stream by predictions, cut": (
        read, PREDICTIONS, {CREATE: [MADE], STREAM: [events(frames("a", end=False))]},
    ),
    "stream without its address": (read, PREDICTIONS, {CREATE: [GOING], GET: [GOING, DONE]}),
    "stream of an id": (follow, {}, {GET: [MADE], STREAM: [PIECES]}),
    "stream of what is done": (follow, {}, {GET: [DONE]}),
    "stream, left": (
        leave_after_one, {}, {CREATE: [MADE], STREAM: [events(frames("a", end=False))], CANCEL: [CANCELED]},
    ),
}  # fmt: skip


def outcome(call, client):
    """All that a caller can see of a call."""
    try:
        return seen(call(client))
    except RockAIError as error:
        attributes = [
            type(error),
            str(error),
            error.partial_text,
            error.may_have_started,
            seen(error.prediction),
        ]
        if isinstance(error, APIStatusError):
            attributes += [error.status_code, error.body, error.request_id, error.retry_after]
        return attributes


def seen(value):
    if isinstance(value, list):
        return [seen(item) for item in value]
    return dataclasses.asdict(value) if isinstance(value, Prediction) else value


def on_wire(scripted):
    """The bytes of an answer."""

    def script(exchange):
        headers = {**scripted.headers}
        content = b"".join(scripted.chunks)
        if headers["content-type"] != "text/event-stream" or "content-length" in headers:
            headers["content-length"] = str(len(content))
        if scripted.status in {204, 304}:
            del headers["content-length"]
        exchange.head(scripted.status, headers)
        if "transfer-encoding" in headers:
            for chunk in scripted.chunks:
                exchange.chunk(chunk)
            exchange.send(b"0\r\n\r\n")
            return
        exchange.send(content)
        exchange.keep_alive = "content-length" in headers or not content

    return script


@pytest.mark.parametrize("row", ROWS)
def test_a_socket_gives_what_memory_gives(connect, server, row):
    """The same value or error, down to its words and attributes, after the same requests."""
    call, settings, answers = ROWS[row]
    io = VirtualIO()
    for line, scripted in answers.items():
        method, _, path = line.partition(" ")
        io.route(line, *scripted)
        server.route(f"{method} {path if line == STREAM else '/v1' + path}", *map(on_wire, scripted))
    in_memory = outcome(call, InMemory(io, **settings))
    over_a_socket = outcome(call, connect(**settings))
    assert over_a_socket == in_memory
    assert [line.replace("/v1", "") for line in server.lines] == io.lines
    assert [(request.body and json.loads(request.body)) or None for request in server.requests] == io.bodies
