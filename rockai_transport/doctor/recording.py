"""One recorded operation: what was sent and received, byte for byte, with times; and its redacted form.

Invariants of this module:

* It decides nothing. The operations are the clients' own; this `IO` only records what passes through it.
* A report pasted into an issue must not contain the token, addresses, or local paths. External text
  (responses, headers, errors that quote them, the model, its input, the base URL) goes through
  `Redactor.text` before it becomes part of one of the doctor's sentences. It goes alone, because the sentence
  contains our words too, and whole, because a cut could leave half a token that is not recognized. This hides
  the whole token, in every spelling below and either case, and each beginning and end of it of at least 8
  characters that does not consist of words. A shorter spelling is hidden where it is a separate word.
* Our own words (titles, names of checks, versions, settings) are not changed. They are the same for every
  token, so they reveal nothing, even if the token is one of them.
* Every text that may contain both goes through `Redactor.leaving` last. It hides the same, except spellings
  that are short or consist of words, because our own sentences may contain these. It is a safeguard if
  `Redactor.text` was forgotten.

A text consists of words if it has no digit, and only letters of one case or capitalized, at most 15 in a row:
for example ``rockai-sandbox``, or the beginning of ``live-token-x7Kd93``. A random secret does not.
"""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, filterfalse
from typing import Any
from urllib.parse import quote

import httpx

from rockai_transport import APIStatusError, InvalidResponseError, Prediction, RockAIError
from rockai_transport.config import Settings
from rockai_transport.doctor.checks import CHECK_BY_ID, TABLES, Finding, SuggestedSetting, Verdict
from rockai_transport.io.blocking import BlockingIO, Connections
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.protocol.io import EventBody, Notices, TransportFailure
from rockai_transport.protocol.messages import Request, Response, ResponseHead
from rockai_transport.sanitize import HIDDEN, LEAST_SECRET, with_texts

Say = Callable[[str], Any]
_SHOWN_TEXT = 160
_SHOWN_BYTES = 600
_MOST_BYTES = 16 * 1024 * 1024

_WORDLIKE = re.compile(r"[\W_]*(?:(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})(?![A-Za-z])[\W_]*)+", re.ASCII)


class Redactor:
    """Hides secrets.

    Args:
        token: The token.
        shown_hosts: Hosts that the report is about, such as the base URL's own host.
    """

    def __init__(self, token: str, shown_hosts: Iterable[str] = ()) -> None:
        spellings = _spellings(token)
        secrets = set(filterfalse(_WORDLIKE.fullmatch, chain.from_iterable(map(_parts, spellings))))
        hosts = "|".join(map(re.escape, shown_hosts))
        private = {shown: each.replace("SHOWN_HOSTS", hosts) for shown, each in TABLES["private"].items()}
        outside, ours = ({HIDDEN: _pattern(texts), **private} for texts in (spellings | secrets, secrets))
        self.text = partial(with_texts, change=partial(_without, outside))
        """Redacts external text, or a value that contains such text."""
        self.leaving = partial(with_texts, change=partial(_without, ours))
        """Redacts a value that also contains our own words: hides only what cannot be one of our words."""


@dataclass
class Exchange:
    """One request and its response, recorded as they happen.

    Attributes:
        request: The request.
        redactor: Creates `shown`.
        head: Status and headers of the response; status 0 if none arrived.
        body: The received bytes.
        failure: Why it is incomplete, redacted; empty if it is complete.
        started: The time of its start, from `time.monotonic`.
        first_byte: Seconds until the body's first byte.
        seconds: Seconds until the last byte that arrived.
    """

    request: Request
    redactor: Redactor = field(repr=False)
    head: ResponseHead = ResponseHead(0, {}, 0.0)  # noqa: RUF009 - frozen
    body: bytearray = field(default_factory=bytearray)
    failure: str = ""
    started: float = field(default_factory=time.monotonic)
    first_byte: float = 0.0
    seconds: float = 0.0

    def record(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks of the body, and record them."""
        for chunk in chunks:
            self.seconds = time.monotonic() - self.started
            self.first_byte = self.first_byte or self.seconds
            self.body += chunk
            if len(self.body) > _MOST_BYTES:
                raise httpx.ReadError("the body is longer than 16 MiB, and was left there")
            yield chunk

    @property
    def status(self) -> int:
        """The HTTP status; 0 if there was no response."""
        return self.head.status_code

    @property
    def response(self) -> Response:
        """The response, as far as it arrived."""
        return Response(self.status, dict(self.head.headers), self.head.received_at, bytes(self.body))

    @cached_property
    def shown(self) -> Response:
        """The redacted response. It is redacted before it is cut: half a token would not be recognized."""
        shown: Response = self.redactor.text(self.response)
        return shown

    @property
    def answer(self) -> str:
        """The response in one line: its status and the start of its content."""
        text = " ".join(f"{self.shown.headers.get('location', '')} {self.shown.text}".split())
        kind = f"{self.shown.media_type} ".removeprefix("application/json ").lstrip()
        cut = f"{text[:_SHOWN_TEXT]}{'…' * (len(text) > _SHOWN_TEXT)}"
        return f"{self.status} {kind}{cut}".rstrip() if self.status else self.failure

    def frame(self) -> str:
        """The exchange as transferred: the start of the body, with visible line ends."""
        headers, body = self.shown.headers, self.shown.body
        listed = [name for name in headers if re.fullmatch(TABLES["report"]["headers"], name)]
        others = ", ".join(sorted(headers.keys() - set(listed)))
        text = body[:_SHOWN_BYTES].decode("utf-8", "replace").replace("\r", "␍").replace("\n", "␊\n")
        lines = [
            f"> {self.request.method} {self.redactor.text(self.request.target)}",
            *([f"< {self.status}"] if self.status else []),
            *(f"< {name}: {headers[name]}" for name in listed),
            f"< (also: {others})" if others else "",
            f"{text}… ({len(body)} bytes in all)" if len(body) > _SHOWN_BYTES else text,
            f"! {self.failure}" if self.failure else "",
        ]
        return "\n".join(filter(None, lines))

    def finding(self, check: str, case: str, *suggestions: SuggestedSetting, **values: Any) -> Finding:
        """Return the finding that this exchange shows a case of a check.

        Args:
            check: The check's id.
            case: One of the cases in the check's row; a status also matches its class, ``4xx``. Anything
                else counts as the case ``other``.
            suggestions: The settings that fix a difference; omitted if there is none, or it is unfixed.
            values: Values for the case's sentence, besides the exchange; redacted.
        """
        row = CHECK_BY_ID[check]
        found = next(name for name in (case, f"{case[:1]}xx", "other") if name in row.cases)
        sign, _, sentence = row.cases[found].partition(" ")
        verdict, text = Verdict(sign), sentence.format(x=self, **values)
        fixes = suggestions if verdict is Verdict.DIFFERS and found not in row.unfixed else ()
        return Finding(*row[:4], verdict, text, fixes, self.frame())


class RecordingIO(BlockingIO):
    """A `BlockingIO` that records each exchange and the operation's result.

    Args:
        settings: The client's settings.
        connections: The connections.
        redactor: Hides secrets.
        say: Called with what is being waited for.
    """

    def __init__(self, settings: Settings, connections: Connections, redactor: Redactor, say: Say) -> None:
        super().__init__(Endpoint(settings, None, httpx.Client), connections)
        self.exchanges: list[Exchange] = []
        self.prediction = Prediction()
        """The prediction as last seen; without an id if there was none."""
        self.error: RockAIError | None = None
        """The operation's error."""
        self._redactor, self._say = redactor, say
        self._waiting = Notices(self.now(), "", self._say_waiting, every=10.0)

    @property
    def exchange(self) -> Exchange:
        """The first exchange: the operation's own request."""
        return self.exchanges[0]

    @property
    def refusal(self) -> APIStatusError | None:
        """The error if the service refused the operation's request."""
        return self.error if isinstance(self.error, APIStatusError) and len(self.exchanges) == 1 else None

    @property
    def may_run(self) -> bool:
        """Whether a run may have been started."""
        starts = any(each.request.starts for each in self.exchanges)
        return starts and (self.error is None or self.error.may_have_started)

    async def open(self, request: Request, until: float, notices: Notices | None = None) -> ResponseHead:  # noqa: ARG002 - said elsewhere
        """As `IO.open`."""
        self.exchanges.append(exchange := Exchange(request, self._redactor))
        self._waiting.subject = request
        exchange.head = await super().open(request, until, self._waiting)
        exchange.seconds = time.monotonic() - exchange.started
        self._chunks = exchange.record(self._chunks)
        return exchange.head

    async def follow(self, body: EventBody) -> list[str]:
        """As `IO.follow`."""
        body.notices = body.notices and self._waiting
        return await super().follow(body)

    async def sleep(self, seconds: float) -> None:
        """As `IO.sleep`."""
        self._waiting.tell(self.now())
        await super().sleep(seconds)

    def _say_waiting(self, subject: Request | str, seconds: float) -> None:
        text = TABLES["report"]["waiting"].format(subject=self._redactor.text(str(subject)), seconds=seconds)
        self._say(self._redactor.leaving(text))

    def _failure(self, error: Exception) -> BaseException:
        failure = super()._failure(error)
        if isinstance(failure, TransportFailure | InvalidResponseError):
            self.exchanges[-1].failure = self._redactor.text(str(failure))
        return failure


def _without(hidden: Mapping[str, str], text: str) -> str:
    """Replace what is hidden in a text."""
    for shown, pattern in hidden.items():
        text = re.sub(pattern, shown, text)
    return text


def _spellings(token: str) -> set[str]:
    """Return the token, and the ways in which a response may repeat it."""
    encoded, escaped = token.encode(), json.dumps(token)[1:-1]
    plain = {token, quote(token, safe=""), html.escape(token), escaped, escaped.replace("/", "\\/")}
    url_safe = base64.urlsafe_b64encode(encoded).decode().rstrip("=")
    return {*plain, base64.b64encode(encoded).decode(), url_safe}


def _parts(spelling: str) -> Iterator[str]:
    """Yield the beginnings and ends of a spelling, including itself, that are long enough to reveal it."""
    for length in range(LEAST_SECRET, len(spelling) + 1):
        yield from (spelling[:length], spelling[-length:])


def _pattern(texts: Iterable[str]) -> str:
    """Return a pattern for any of the texts, in either case; the longest first: the first match counts."""
    ordered = sorted(texts, key=len, reverse=True)
    words = (
        re.escape(each) if len(each) >= LEAST_SECRET else rf"(?<!\w){re.escape(each)}(?!\w)"
        for each in ordered
    )
    # Already hidden text is matched as itself: the token may be the word «token».
    return "|".join([f"(?i){re.escape(HIDDEN)}", *words])
