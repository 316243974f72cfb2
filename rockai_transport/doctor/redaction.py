"""What a report that is pasted into an issue must not hold: the token, addresses, local paths.

Invariants of this module:

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
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from rockai_transport.doctor.checks import TABLES
from rockai_transport.sanitize import with_texts

HIDDEN = "[token]"
_LEAST = 8
_AS_WORD = r"(?<!\w)%s(?!\w)"
_WORDLIKE = re.compile(r"[\W_]*(?:(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})(?![A-Za-z])[\W_]*)+", re.ASCII)


class Redactor:
    """Hides what must not be told.

    Args:
        token: The token.
        shown_hosts: Addresses that the report is about, such as the base URL's own host.
    """

    def __init__(self, token: str, shown_hosts: Iterable[str] = ()) -> None:
        spellings = _spellings(token)
        secrets = {part for spelling in spellings for part in _parts(spelling) if _is_secret(part)}
        hosts = "|".join(map(re.escape, shown_hosts))
        private = {shown: each.replace("SHOWN_HOSTS", hosts) for shown, each in TABLES["private"].items()}
        self._outside = {HIDDEN: _pattern(spellings | secrets), **private}
        self._ours = {HIDDEN: _pattern(secrets), **private}

    def text(self, value: Any) -> Any:
        """What came from outside, a text or a value that holds some, without what must not be told."""
        return with_texts(value, partial(_without, self._outside))

    def leaving(self, value: Any) -> Any:
        """A value whose texts hold our own words too, without what no words of ours can be."""
        return with_texts(value, partial(_without, self._ours))


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
    """The beginnings and the ends of a spelling, itself among them."""
    for length in range(_LEAST, len(spelling) + 1):
        yield from (spelling[:length], spelling[-length:])


def _is_secret(text: str) -> bool:
    """Whether it can be nothing but the token, or a part of it."""
    return len(text) >= _LEAST and not _WORDLIKE.fullmatch(text)


def _pattern(texts: Iterable[str]) -> str:
    """What matches any of them in either case; the longest first, since the first that fits is taken."""
    ordered = sorted(texts, key=len, reverse=True)
    words = (re.escape(each) if len(each) >= _LEAST else _AS_WORD % re.escape(each) for each in ordered)
    # What is hidden already is matched as itself: the token may be the word «token».
    return "|".join([f"(?i){re.escape(HIDDEN)}", *words])
