"""A scriptable HTTP server of raw bytes on 127.0.0.1, for faults that no well-behaved server can make.

Invariants: no library parses or writes HTTP here, so client and server cannot be wrong in the same way; and
nothing sleeps where an event would do.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl

PATIENCE = 10.0
"""Seconds that a test waits for an event before it fails."""


@dataclass
class Request:
    """One received request, and whether its sender has left."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the client has closed the connection."""

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    def wait_left(self, seconds: float = PATIENCE) -> None:
        """Wait until the client has closed the connection."""
        assert self.left.wait(seconds), f"{self.method} {self.path}: the client did not close its connection"


class Exchange:
    """One request, and the socket for its response."""

    def __init__(self, request: Request, sock: socket.socket, stopping: threading.Event) -> None:
        self.request = request
        self._sock = sock
        self._stopping = stopping
        self.keep_alive = True

    def send(self, data: bytes) -> None:
        """Send raw bytes; record if the client has left."""
        try:
            self._sock.sendall(data)
        except OSError:
            self.request.left.set()
            self.keep_alive = False

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body."""
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def head(
        self, status: int = 200, headers: dict[str, str] | None = None, *, version: str = "HTTP/1.1"
    ) -> None:
        """Send a status line and headers."""
        lines = [
            f"{version} {status} Reason",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def wait_left(self) -> None:
        """Send nothing until the client has closed the connection, or the server stops."""
        self._sock.settimeout(0.05)
        while not self._stopping.is_set():
            try:
                if self._sock.recv(65536):
                    continue
            except TimeoutError:
                continue
            except OSError:
                pass
            self.request.left.set()
            break
        self.keep_alive = False

    def close(self) -> None:
        """Close the connection cleanly."""
        self.keep_alive = False

    def reset(self) -> None:
        """Close the connection with a RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keep_alive = False


Script = Callable[[Exchange], None]


class WireServer:
    """Serves scripts by route. Use it in a ``with`` block.

    Args:
        tls: The TLS context; None: plain http.

    Example:
        ``server.route("POST /v1/run", answer(200, {"output": "hi"}))``
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._lock = threading.Condition()
        self._routes: dict[str, list[Script]] = {}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[Request] = []
        self.connections = 0
        """The number of connections so far."""
        self.script: Script | None = None
        """Answers requests without a route; None: a 599."""

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def route(self, route: str, *scripts: Script) -> None:
        """Answer a route with these scripts, one after another; the last one is repeated."""
        self._routes[route] = list(scripts)

    def seen(self, route: str = "") -> list[Request]:
        """Return the requests of a route so far, or all."""
        return [request for request in list(self.requests) if route in f"{request.method} {request.path}"]

    def wait_for(self, route: str, count: int = 1) -> Request:
        """Wait until a route was requested this number of times; return the last of these requests."""
        with self._lock:
            found = self._lock.wait_for(lambda: len(self.seen(route)) >= count, PATIENCE)
        assert found, f"{route} was not asked {count} times: {self.lines}"
        return self.seen(route)[count - 1]

    @property
    def lines(self) -> list[str]:
        """Method and path of every request so far."""
        return [f"{request.method} {request.path}" for request in list(self.requests)]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _start(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._sockets.append(sock)
            self._start(self._greet, sock, self.connections)

    def _greet(self, sock: socket.socket, number: int) -> None:
        if self._tls is None:
            self._serve(sock, number)
            return
        with contextlib.suppress(OSError):  # the client does not trust us, or has left
            self._serve(self._tls.wrap_socket(sock, server_side=True), number)
        sock.close()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock, sock.makefile("rb") as file:
            last: Request | None = None
            try:
                while (request := _read_request(file, number)) is not None:
                    last = request
                    exchange = Exchange(request, sock, self._stopping)
                    with self._lock:
                        self.requests.append(request)
                        script = self._next(request)
                        self._lock.notify_all()
                    script(exchange)
                    if not exchange.keep_alive:
                        return
            except OSError:
                pass
            finally:
                if last is not None and not self._stopping.is_set() and (not last.left.is_set()):
                    # The client's close, or our own, ended the loop.
                    last.left.set()

    def _next(self, request: Request) -> Script:
        scripts = self._routes.get(f"{request.method} {request.path}")
        if not scripts:
            return self.script or answer(599, {"detail": f"no script for {request.method} {request.path}"})
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


def _read_request(file: Any, number: int) -> Request | None:
    start = file.readline().decode("latin-1").split()
    if len(start) != 3:
        return None
    headers: dict[str, str] = {}
    while (line := file.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = file.read(int(headers.get("content-length", "0")))
    return Request(start[0], start[1], headers, body, number)


def answer(
    status: int = 200,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    media_type: str = "application/json",
) -> Script:
    """A complete response: JSON, unless the body is bytes, or text of another type."""
    if isinstance(body, str) and media_type != "application/json":
        content = body.encode()
    elif isinstance(body, bytes):
        content = body
    else:
        content = json.dumps(body).encode()

    def script(exchange: Exchange) -> None:
        every = {"Content-Type": media_type, "Content-Length": str(len(content)), **(headers or {})}
        exchange.head(status, every)
        exchange.send(content)

    return script


def frames(*pieces: str, end: bool = True) -> bytes:
    """Pieces as the model server writes them."""
    text = "".join(f"event: output\ndata: {piece}\n\n" for piece in pieces)
    return (text + ("event: done\ndata: {}\n\n" if end else "")).encode()


def stream(*parts: bytes | threading.Event, framing: str = "chunked", finish: bool = True) -> Script:
    """An event stream, in parts; if a part is an event, wait for it before sending the next part.

    Args:
        parts: What to send, one write each.
        framing: ``chunked``, ``length`` (only for complete bodies) or ``close``.
        finish: Whether the body ends as its framing says; else the connection just closes.
    """

    def script(exchange: Exchange) -> None:
        headers = {"Content-Type": "text/event-stream"}
        if framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        elif framing == "length":
            headers["Content-Length"] = str(sum(len(part) for part in parts if isinstance(part, bytes)))
        else:
            headers["Connection"] = "close"
        exchange.head(200, headers)
        for part in parts:
            if isinstance(part, threading.Event):
                assert part.wait(PATIENCE), "the test never let the stream go on"
            elif framing == "chunked":
                exchange.chunk(part)
            else:
                exchange.send(part)
        if framing == "chunked" and finish:
            exchange.send(b"0\r\n\r\n")
        if framing == "close" or not finish:
            exchange.close()

    return script


def silence(first: bytes = b"") -> Script:
    """Send these bytes, then nothing until the client leaves."""

    def script(exchange: Exchange) -> None:
        exchange.send(first)
        exchange.wait_left()

    return script


def trickle(first: bytes, rest: bytes, every: float) -> Script:
    """Send these bytes, then others repeatedly, until the client leaves. Only for tests of time."""

    def script(exchange: Exchange) -> None:
        exchange.send(first)
        while exchange.keep_alive and not exchange._stopping.wait(every):
            exchange.send(rest)

    return script


def reset(exchange: Exchange) -> None:
    """Answer with a RST."""
    exchange.reset()


def hang_up(exchange: Exchange) -> None:
    """Close the connection without a response."""
    exchange.close()
