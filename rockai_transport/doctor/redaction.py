"""What a report that is pasted into an issue must not hold: the token, addresses, local paths.

Laws of this module:

* What came from outside (answers, headers, errors that quote them, the model, its input, the base URL) goes
  through `Redactor.text` before it enters a sentence of the doctor's: by itself, since the sentence holds our
  words too, and whole, since a cut could leave half a token that nothing recognises. In it are hidden the
  whole token, in every spelling below and either case, and each beginning and end of it from 8 characters on
  that is not made of words. A spelling shorter than that is hidden where it stands as a word.
* Our own words, be they titles, names of checks, versions or settings, are not touched. They are the same
  whatever the token is, so they tell nothing of it, not even where the token is one of them.
* Every text that may mix the two goes through `Redactor.leaving` last. It hides the same, but for spellings
  that are short or made of words, which our own sentences may hold: where the first law was forgotten,
  nothing of a secret is told all the same.

Made of words is what has no digit, and letters of one case or capitalised, at most 15 in a row: such as
``rockai-sandbox``, or how ``live-token-x7Kd93`` begins. A secret that was drawn at random is not.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Redactor"]

T = TypeVar("T")

HIDDEN = "[token]"
_LEAST = 8
_WORDS = re.compile(r"[\W_]*(?:(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})(?![A-Za-z])[\W_]*)+", re.ASCII)
_NOTHING = re.compile(r"(?!)")

_PRIVATE = (
    # A service may tell whose account it is, a gateway from which address it was asked.
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"(?:/(?:home|Users)/|[A-Za-z]:\\+Users\\+)[^\s/\\\"'<>]+(?:[/\\]+[^\s\"'<>:]*)?"), "[path]"),
    (re.compile(r"/root/[^\s\"'<>:]*"), "[path]"),
    # The query of a signed file address opens the file to everybody.
    (
        # A key that the token is equal to reads [token] by now.
        re.compile(r"(?i)([?&](?:[\w\[-]*(?:signature|token\]?|key|credential|sig|expires))=)[^\s&\"'<>\\]+"),
        r"\1[hidden]",
    ),
)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")


class Redactor:
    """Hides what must not be told.

    Args:
        token: the token.
        keep: addresses that the report is about, such as the base URL's own host.
    """

    def __init__(self, token: str, keep: Iterable[str] = ()) -> None:
        spellings = _spellings(token)
        self._token = token
        self._any = _pattern(spellings)
        self._secret = _pattern(spelling for spelling in spellings if _is_secret(spelling))
        self._keep = frozenset(keep)

    def text(self, text: str) -> str:
        """A text from outside, without what must not be told."""
        return self._rest(self._any.sub(HIDDEN, text))

    def value(self, value: T) -> T:
        """The same for every text in a value: dataclasses, tuples, lists, dicts."""
        shown: T = _each(self.text, value)
        return shown

    def leaving(self, value: T) -> T:
        """A value whose texts hold our own words too, without what no words of ours can be."""
        shown: T = _each(lambda text: self._rest(self._secret.sub(HIDDEN, text)), value)
        return shown

    def _rest(self, text: str) -> str:
        """A text without parts of the token, addresses and paths."""
        text = _without_beginnings(text, self._token, HIDDEN)
        # An end is a beginning, read backwards.
        text = _without_beginnings(text[::-1], self._token[::-1], HIDDEN[::-1])[::-1]
        for pattern, instead in _PRIVATE:
            text = pattern.sub(instead, text)
        return _IPV4.sub(self._address, text)

    def _address(self, match: re.Match[str]) -> str:
        address = match.group()
        try:
            known = address in self._keep or ipaddress.ip_address(address).is_loopback
        except ValueError:
            return address
        return address if known else "[address]"


def _each(redact: Callable[[str], str], value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case dict():
            return {_each(redact, key): _each(redact, item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_each(redact, item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: _each(redact, getattr(value, name)) for name in fields})
    return value


def _spellings(token: str) -> set[str]:
    """The token, and how an echo may write it."""
    return {
        token,
        quote(token, safe=""),
        html.escape(token),
        json.dumps(token)[1:-1],
        json.dumps(token)[1:-1].replace("/", "\\/"),
        base64.b64encode(token.encode()).decode(),
        base64.urlsafe_b64encode(token.encode()).decode().rstrip("="),
    }


def _is_secret(text: str) -> bool:
    """Whether it can be nothing but the token, or a part of it."""
    return len(text) >= _LEAST and not _WORDS.fullmatch(text)


def _pattern(spellings: Iterable[str]) -> re.Pattern[str]:
    """What matches any of them; the longest first, since the first that fits is taken."""
    ordered = sorted(spellings, key=len, reverse=True)
    if not ordered:
        return _NOTHING
    written = [
        re.escape(spelling) if len(spelling) >= _LEAST else rf"(?<!\w){re.escape(spelling)}(?!\w)"
        for spelling in ordered
    ]
    # What is hidden already is matched as itself: the token may be the word «token».
    return re.compile("|".join([re.escape(HIDDEN), *written]), re.IGNORECASE)


def _without_beginnings(text: str, token: str, hidden: str) -> str:
    """A text without the token's beginnings, each as long as it goes on."""
    parts, done, small = [], 0, token.lower()
    for match in re.finditer(re.escape(token[:_LEAST]), text, re.IGNORECASE):
        start, end = match.span()
        while end - start < len(token) and text[end : end + 1].lower() == small[end - start]:
            end += 1
        if start >= done and _is_secret(text[start:end]):
            parts += [text[done:start], hidden]
            done = end
    return "".join([*parts, text[done:]])
