"""One HTTP exchange with the service, recorded: what was sent, what came back, byte for byte, and when.

Law of this module: whatever the service does, `Wire.send` returns an `Exchange`: a refusal, a cut and a
time-out are evidence, not exceptions. Nothing is ever sent a second time.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from rockai_transport.base_client import BaseClient, head_of
from rockai_transport.doctor.redaction import Redactor
from rockai_transport.io.blocking import Connections
from rockai_transport.io.network import Lever, Watch, translate, watching
from rockai_transport.protocol.effects import NotSentError
from rockai_transport.protocol.requests import Request, Response

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from rockai_transport.config import Settings
    from rockai_transport.protocol.effects import Notices, TransportFailure
    from rockai_transport.protocol.requests import ResponseHead
    from rockai_transport.service import Service

__all__ = ["Credentials", "Exchange", "Wire"]

_SHOWN_BYTES = 600
_MOST_BYTES = 16 * 1024 * 1024
_AFTER_THE_END = 2.0
"""Seconds a body may go on after its stream's end event: long enough to see how it is framed."""

_SHOWN_HEADERS = frozenset(
    {
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "location",
        "proxy-authenticate",
        "request-id",
        "retry-after",
        "server",
        "transfer-encoding",
        "via",
        "www-authenticate",
        "x-accel-buffering",
        "x-request-id",
        "x-trace-id",
    }
)
"""Of these the values are shown, of all others the names only: a cookie is nobody's business."""
_SHOWN_PREFIXES = ("x-ratelimit", "ratelimit", "x-prediction", "prediction")


class Credentials(NamedTuple):
    """The header that carries a token, the word before it, and the token itself."""

    header: str
    scheme: str
    token: str


@dataclass(frozen=True)
class Exchange:
    """What came of one call.

    Attributes:
        call: what was sent.
        reply: what came back, as far as it came; `None` if not even its head did.
        failure: why it is not whole, as others may see it; empty where it is.
        sent: whether the service may have seen the call.
        timed_out: whether the failure is a time limit.
        first_byte: seconds until the body's first byte.
        seconds: seconds until its end.
        redactor: makes `shown`, and what is `told`.
    """

    call: Request
    reply: Response | None
    failure: str = ""
    sent: bool = True
    timed_out: bool = False
    first_byte: float = 0.0
    seconds: float = 0.0
    redactor: Redactor | None = field(default=None, repr=False)

    @property
    def status(self) -> int:
        """The HTTP status; 0 where there was no answer."""
        return self.reply.status_code if self.reply else 0

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return self.reply is not None and self.reply.is_success

    @property
    def body(self) -> bytes:
        """The bytes of the body, as far as they came."""
        return self.reply.body if self.reply else b""

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to the end that its own framing gives it."""
        return self.reply is not None and not self.failure

    @cached_property
    def shown(self) -> Response | None:
        """The reply as others may see it. Made before anything is cut: half a token is not known as one."""
        if self.reply is None or self.redactor is None:
            return self.reply
        return dataclasses.replace(
            self.reply,
            headers=self.redactor.value(dict(self.reply.headers)),
            body=self.redactor.text(self.reply.text).encode(),
        )

    def told(self, text: str) -> str:
        """A text that came with it, as others may see it. Before it is cut, for the same reason."""
        return self.redactor.text(text) if self.redactor else text

    @property
    def answer(self) -> str:
        """The answer in one line: its status and the beginning of what it says."""
        if self.shown is None:
            return self.failure
        said = " ".join(self.shown.text.split())
        kind = f"{self.shown.media_type} " if self.shown.media_type not in ("", "application/json") else ""
        return f"{self.status} {kind}{said[:160]}{'…' if len(said) > 160 else ''}".rstrip()  # noqa: PLR2004

    def frame(self) -> str:
        """The exchange as it went over the wire: the start of the body with its line ends made visible."""
        lines = [f"> {self.call.method} {self.told(self.call.target)}"]
        if self.shown is not None:
            headers = self.shown.headers
            others = ", ".join(sorted(name for name in headers if not _is_shown(name)))
            lines.append(f"< {self.status}")
            lines += [f"< {name}: {value}" for name, value in headers.items() if _is_shown(name)]
            lines += [f"< (also: {others})"] if others else []
            lines += [_visible(self.shown.body)] if self.shown.body else []
        if self.failure:
            lines.append(f"! {self.failure}")
        return "\n".join(lines)


class Wire(BaseClient):
    """A third shell beside the two clients: it sends one call at a time, once, and records the answer.

    It is a `BaseClient` so that addresses, headers, and who gets the token are decided where they are for the
    two clients; it uses their connections too, so that proxies and time limits are theirs.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given, None, expected=httpx.Client)
        self._connections = Connections()
        self.redactor = Redactor(self._settings.api_token, keep=(self._base.host,))

    @property
    def settings(self) -> Settings:
        """What the calls go by."""
        return self._settings

    def url_of(self, call: Request) -> httpx.URL:
        """Where a call goes."""
        return self._url(call)

    def bend(self, service: Service) -> None:
        """Go by another `Service` from now on."""
        self._settings = dataclasses.replace(self._settings, service=service)

    def send(
        self,
        call: Request,
        *,
        within: float,
        credentials: Credentials | None = None,
        anonymous: bool = False,
        is_over: Callable[[bytes], bool] | None = None,
        notices: Notices | None = None,
    ) -> Exchange:
        """Send a call, once, and record its answer to the end.

        Args:
            call: what to send; never a download, so it goes to the base URL's own origin.
            within: seconds for all of it.
            credentials: what to show instead of the settings' own token.
            anonymous: whether to show no token at all.
            is_over: told each part of the body; once it says yes, the rest has two seconds.
            notices: says something while nothing comes.
        """
        url = self._url(call)
        headers = self._headers(call, url)
        if anonymous or credentials is not None:
            headers.pop(self._settings.service.auth_header, None)
        if credentials is not None:
            headers[credentials.header] = f"{credentials.scheme} {credentials.token}".lstrip()
        recorder = _Recorder(call, time.monotonic(), within, is_over)
        http = self._connections.to(url, public_only=False)
        request = http.build_request(
            call.method,
            str(url),
            content=call.body,
            headers=headers,
            # Of the connection only: reads and writes are held to the recorder's watch.
            timeout=httpx.Timeout(min(within, self._settings.timeouts.connect)),
        )
        try:
            recorder.record(http, request, notices)
        except Exception as error:
            failure = translate(error)
            if failure is None:
                raise
            recorder.failed(failure)
        return recorder.exchange(self.redactor)

    def close(self) -> None:
        """Close the connections. The wire can be used again."""
        self._connections.close()


class _Recorder:
    """Writes down one exchange while it happens."""

    def __init__(
        self, call: Request, started: float, within: float, is_over: Callable[[bytes], bool] | None
    ) -> None:
        self._call = call
        self._started = started
        self._is_over = is_over
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._first_byte = 0.0
        self._reads = 0
        self._failure: TransportFailure | None = None
        self._ended = started
        self.until = started + within

    def record(self, http: httpx.Client, request: httpx.Request, notices: Notices | None) -> None:
        """Send, and read to the end of the body."""
        with self._watched(notices):
            response = http.send(request, stream=True, follow_redirects=False)
        try:
            self._head = head_of(response)
            chunks = response.iter_bytes()
            while True:
                with self._watched(notices):
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                self._take(chunk)
        finally:
            self._ended = time.monotonic()
            response.close()

    def failed(self, failure: TransportFailure) -> None:
        """Note how it broke."""
        self._failure = failure
        self._ended = time.monotonic()

    def exchange(self, redactor: Redactor) -> Exchange:
        """What was written down."""
        failure = self._failure
        reply = Response(**vars(self._head), body=bytes(self._body)) if self._head else None
        return Exchange(
            self._call,
            reply,
            failure=redactor.text(str(failure)) if failure else "",
            sent=not isinstance(failure, NotSentError),
            timed_out=failure is not None and failure.timed_out,
            first_byte=self._first_byte,
            seconds=self._ended - self._started,
            redactor=redactor,
        )

    def _watched(self, notices: Notices | None) -> contextlib.AbstractContextManager[None]:
        return watching(Watch(self.until, Lever(), notices=None if self._reads else notices))

    def _take(self, chunk: bytes) -> None:
        moment = time.monotonic()
        if chunk and not self._reads:
            self._first_byte = moment - self._started
        self._reads += 1
        self._body += chunk
        if self._is_over is not None and self._is_over(chunk):
            self.until = min(self.until, moment + _AFTER_THE_END)
        if len(self._body) > _MOST_BYTES:
            raise httpx.ReadError(f"the body is longer than {_MOST_BYTES // 1024**2} MiB, and was left there")


def _is_shown(name: str) -> bool:
    return name in _SHOWN_HEADERS or name.startswith(_SHOWN_PREFIXES)


def _visible(body: bytes) -> str:
    """The start of a body, each line end told apart: what the newlines of a stream are is the question."""
    text = body[:_SHOWN_BYTES].decode("utf-8", "replace").replace("\r", "␍").replace("\n", "␊\n")
    more = f"… ({len(body)} bytes in all)" if len(body) > _SHOWN_BYTES else ""
    return text + more
