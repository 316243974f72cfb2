"""The server: a separate process that sends precomputed bytes, and does as little else as possible.

An address is ``http://127.0.0.1:PORT/PROTOCOL/WIRE`` and a path of the protocol; see `benchmarks.wires`. On
the wire ``ends-SECONDS``, predictions end this many seconds after their creation; their text is the end time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.wires import FORMATS, LAST_CHUNK, Delivery, chunk, delivery, said

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Request(NamedTuple):
    """One request."""

    method: str
    path: str
    body: bytes

    @property
    def streamed(self) -> bool:
        """Whether the body of a protocol without a path for it asks for a stream."""
        return json.loads(self.body).get("stream", True) is True


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.held = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Record when the client left."""
        for task in self.tasks:
            task.cancel()
        self.service.left.append(time.time())
        for waiting in self.service.waiting.values():
            if self.transport in waiting:
                waiting.remove(self.transport)

    def data_received(self, data: bytes) -> None:
        """Process complete requests."""
        self.held += data
        while (request := self._take()) is not None:
            task = asyncio.ensure_future(self.service.answer(request, self.transport))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _take(self) -> Request | None:
        head, blank, rest = self.held.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if not blank or len(rest) < length:
            return None
        self.held = rest[length:]
        method, path, _ = head.decode().split(" ", 2)
        return Request(method, path, rest[:length])


class Service:
    """The responses."""

    def __init__(self) -> None:
        self.origin = ""
        self.left: list[float] = []
        """The times when clients left."""
        self.ends: dict[str, float] = {}
        """The end time of each prediction, by its id."""
        self.waiting: dict[str, list[asyncio.Transport]] = {}
        """Streams that wait for others to start with, by wire."""

    async def answer(self, request: Request, transport: asyncio.Transport) -> None:
        """Answer one request."""
        _, protocol, wire, *rest = request.path.split("/", 3)
        path = "/".join(rest).removeprefix("v1/")
        if protocol == "left":
            _send_json(transport, self.left)
        elif path == "run_sse" or path.startswith("predictions/stream/"):
            await self.stream(transport, protocol, wire, path.rpartition("/")[2])
        elif path.startswith("predictions"):
            _send_json(transport, self.prediction(protocol, wire, path.split("/")[1:]), 201)
        elif path != "run" and request.streamed:
            await self.stream(transport, protocol, wire, "")
        else:
            _send_json(transport, FORMATS[protocol].answer(said(wire)))

    def prediction(self, protocol: str, wire: str, known: list[str]) -> Any:
        """Create a prediction, or get one."""
        number = known[0] if known else str(len(self.ends))
        if not known:
            self.ends[number] = time.time() + (float(wire[5:]) if wire.startswith("ends-") else 0)
        ended = time.time() >= self.ends[number]
        base = f"{self.origin}/{protocol}/{wire}/v1/predictions"
        found = {
            "id": number,
            "model": "meta/talk",
            "version": "0" * 64,
            "status": "succeeded" if ended and known else "processing",
            "input": {},
            "output": str(self.ends[number]) if ended else None,
            "error": None,
            "logs": "",
            "urls": {
                "get": f"{base}/{number}",
                "stream": f"{base}/stream/{number}",
                "cancel": f"{base}/{number}/cancel",
            },
        }
        return {"data": found, "code": 200, "msg": "success"} if protocol == "sdk" else found

    async def stream(self, transport: asyncio.Transport, protocol: str, wire: str, number: str) -> None:
        """Send a stream."""
        form = FORMATS[protocol]
        transport.write(_head(200, form.content_type, "Transfer-Encoding: chunked"))
        if wire.startswith("ends-"):
            await asyncio.sleep(self.ends[number] - time.time())
            text = form.frame(0, str(self.ends[number])) + form.end
            transport.write(chunk(text.encode()) + LAST_CHUNK)
            return
        what = delivery(protocol, wire)
        together = self.waiting.setdefault(f"{protocol}/{wire}", [])
        together.append(transport)
        if len(together) == what.at_once:
            del self.waiting[f"{protocol}/{wire}"]
            await _send(together, what)


async def _send(transports: list[asyncio.Transport], what: Delivery) -> None:
    for part in what.parts:
        for transport in transports:
            transport.write(part)
        await asyncio.sleep(what.pause)
    if what.breaks:
        for transport in transports:
            transport.close()


def _head(status: int, content_type: str, framing: str) -> bytes:
    return f"HTTP/1.1 {status} OK\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()


def _send_json(transport: asyncio.Transport, value: Any, status: int = 200) -> None:
    body = json.dumps(value).encode()
    transport.write(_head(status, "application/json", f"Content-Length: {len(body)}") + body)


class Origin(NamedTuple):
    """A running server."""

    url: str
    pid: int

    def at(self, protocol: str, wire: str) -> str:
        """Return the address of a wire, without the protocol's own path."""
        return f"{self.url}/{protocol}/{wire}"


@contextlib.contextmanager
def serving() -> Iterator[Origin]:
    """Run the server in its own process."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for the type checker
        yield Origin(process.stdout.readline().strip(), process.pid)
        process.stdin.close()  # the server ends with it


async def main() -> None:
    """Serve until its input is closed."""
    service = Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=4096)
    service.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sys.stdout.write(f"{service.origin}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
