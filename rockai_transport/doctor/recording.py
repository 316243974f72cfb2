"""One operation, recorded: what was sent, what came back, byte for byte, and when; and how others may see it.

Invariants of this module:

* Nothing is decided here. The operations are the clients' own; this `IO` only writes down what passes through
  it.
* A report that is pasted into an issue must not hold the token, addresses, or local paths. What came from
  outside (answers, headers, errors that quote them, the model, its input, the base URL) goes through
  `Redactor.text` before it enters a sentence of the doctor's: by itself, since the sentence holds our words
  too, and whole, since a cut could leave half a token that nothing recognises. It hides the whole token, in
  every spelling below and either case, and each beginning and end of it from 8 characters on that is not made
  of words. A spelling shorter than that is hidden where it stands as a word.
* Our own words, be they titles, names of checks, versions or settings, are not touched. They are the same
  whatever the token is, so they tell nothing of it, not even where the token is one of them.
* Every text that may mix the two goes through `Redactor.leaving` last. It hides the same, except for
  spellings that are short or made of words, which our own sentences may hold. It helps where `Redactor.text`
  was forgotten.

Made of words is what has no digit, and letters of one case or capitalised, at most 15 in a row: such as
``rockai-sandbox``, or how ``live-token-x7Kd93`` begins. A secret that was drawn at random is not.
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

from rockai_transport import APIStatusError, Prediction, RockAIError
from rockai_transport.config import Settings
from rockai_transport.doctor.checks import CHECK_BY_ID, TABLES, Finding, SuggestedSetting, Verdict
from rockai_transport.io.blocking import BlockingIO
from rockai_transport.io.connections import Connections
from rockai_transport.io.endpoint import Endpoint
from rockai_transport.protocol.io import EventBody, Notices, TransportFailure
from rockai_transport.protocol.messages import Request, Response, ResponseHead
from rockai_transport.sanitize import with_texts

Say = Callable[[str], Any]
_SHOWN_TEXT = 160
_SHOWN_BYTES = 600
_MOST_BYTES = 16 * 1024 * 1024

HIDDEN = "[token]"
_LEAST = 8
_WORDLIKE = re.compile(r"[\W_]*(?:(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})(?![A-Za-z])[\W_]*)+", re.ASCII)


class Redactor:
    """Hides what must not be told.

    Args:
        token: The token.
        shown_hosts: Addresses that the report is about, such as the base URL's own host.
    """

    def __init__(self, token: str, shown_hosts: Iterable[str] = ()) -> None:
        spellings = _spellings(token)
        secrets = set(filterfalse(_WORDLIKE.fullmatch, chain.from_iterable(map(_parts, spellings))))
        hosts = "|".join(map(re.escape, shown_hosts))
        private = {shown: each.replace("SHOWN_HOSTS", hosts) for shown, each in TABLES["private"].items()}
        outside, ours = ({HIDDEN: _pattern(texts), **private} for texts in (spellings | secrets, secrets))
        self.text = partial(with_texts, change=partial(_without, outside))
        """Gives what came from outside, a text or a value that holds some, without what must not be told."""
        self.leaving = partial(with_texts, change=partial(_without, ours))
        """Gives a value whose texts hold our own words too, without what no words of ours can be."""


@dataclass
class Exchange:
    """One request and what came of it, written down while it happens.

    Attributes:
        request: What was sent.
        redactor: Makes `shown`.
        head: Status and headers of the response; status 0 if they did not come.
        body: Its bytes, as far as they came.
        failure: Why it is not whole, redacted; empty where it is.
        started: When it began, by the clock of `time.monotonic`.
        first_byte: Seconds until the body's first byte.
        seconds: Seconds until the last thing that came.
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
        """Hand on the chunks of the body, and keep them."""
        for chunk in chunks:
            self.seconds = time.monotonic() - self.started
            self.first_byte = self.first_byte or self.seconds
            self.body += chunk
            if len(self.body) > _MOST_BYTES:
                raise httpx.ReadError("the body is longer than 16 MiB, and was left there")
            yield chunk

    @property
    def status(self) -> int:
        """The HTTP status; 0 where there was no answer."""
        return self.head.status_code

    @property
    def response(self) -> Response:
        """What came, as far as it came."""
        return Response(self.status, dict(self.head.headers), self.head.received_at, bytes(self.body))

    @cached_property
    def shown(self) -> Response:
        """The response as others may see it.

        It is redacted before it is cut: half a token would not be recognised.
        """
        shown: Response = self.redactor.text(self.response)
        return shown

    @property
    def answer(self) -> str:
        """The answer in one line: its status and the beginning of what it says."""
        text = " ".join(self.shown.text.split())
        kind = f"{self.shown.media_type} ".removeprefix("application/json ").lstrip()
        cut = f"{text[:_SHOWN_TEXT]}{'…' * (len(text) > _SHOWN_TEXT)}"
        return f"{self.status} {kind}{cut}".rstrip() if self.status else self.failure

    def frame(self) -> str:
        """The exchange as it went over the wire: the start of the body with its line ends made visible."""
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
        """It shows a case of a check.

        Args:
            check: The check's id.
            case: One of the cases that its row holds; a status also fits its class, ``4xx``. What it
                does not hold is its case ``other``.
            suggestions: The settings that fix a difference; left out where the case is none, or unfixed.
            values: What the case's sentence is filled with, besides the exchange; redacted.
        """
        row = CHECK_BY_ID[check]
        found = next(name for name in (case, f"{case[:1]}xx", "other") if name in row.cases)
        sign, _, sentence = row.cases[found].partition(" ")
        verdict, text = Verdict(sign), sentence.format(x=self, **values)
        fixes = suggestions if verdict is Verdict.DIFFERS and found not in row.unfixed else ()
        return Finding(*row[:4], verdict, text, fixes, self.frame())


class RecordingIO(BlockingIO):
    """`BlockingIO` that writes down each exchange, and what came of the operation.

    Args:
        settings: Where requests go, and with what.
        connections: What they go through.
        redactor: Hides what must not be told.
        say: Is told what is being waited for.
    """

    def __init__(self, settings: Settings, connections: Connections, redactor: Redactor, say: Say) -> None:
        super().__init__(Endpoint(settings, None, httpx.Client), connections)
        self.exchanges: list[Exchange] = []
        self.prediction = Prediction()
        """The prediction as last seen; one without an id where none was."""
        self.error: RockAIError | None = None
        """What the operation raised."""
        self._redactor, self._say = redactor, say
        self._waiting = Notices(self.now(), "", self._say_waiting, every=10.0)

    @property
    def exchange(self) -> Exchange:
        """The first exchange: what the operation asked for."""
        return self.exchanges[0]

    @property
    def refusal(self) -> APIStatusError | None:
        """The error that says that the service refused what the operation asked for."""
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
        if isinstance(failure, TransportFailure):
            self.exchanges[-1].failure = self._redactor.text(str(failure))
        return failure


def _without(hidden: Mapping[str, str], text: str) -> str:
    """A text that shows something else in place of what is hidden."""
    for shown, pattern in hidden.items():
        text = re.sub(pattern, shown, text)
    return text


def _spellings(token: str) -> set[str]:
    """The token, and how an echo may write it."""
    encoded, escaped = token.encode(), json.dumps(token)[1:-1]
    plain = {token, quote(token, safe=""), html.escape(token), escaped, escaped.replace("/", "\\/")}
    url_safe = base64.urlsafe_b64encode(encoded).decode().rstrip("=")
    return {*plain, base64.b64encode(encoded).decode(), url_safe}


def _parts(spelling: str) -> Iterator[str]:
    """The beginnings and the ends of a spelling, itself among them, that are not too short to tell of it."""
    for length in range(_LEAST, len(spelling) + 1):
        yield from (spelling[:length], spelling[-length:])


def _pattern(texts: Iterable[str]) -> str:
    """What matches any of them in either case; the longest first, since the first that fits is taken."""
    ordered = sorted(texts, key=len, reverse=True)
    words = (
        re.escape(each) if len(each) >= _LEAST else rf"(?<!\w){re.escape(each)}(?!\w)" for each in ordered
    )
    # What is hidden already is matched as itself: the token may be the word «token».
    return "|".join([f"(?i){re.escape(HIDDEN)}", *words])
