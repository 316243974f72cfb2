"""The valid values of a sandbox's options.

Invariants: an invalid option is refused where it is set, with an error that names it and its valid values.
At the first request, it would look like a failure of the service.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

HOST = "127.0.0.1"
"""The only address that is served: this machine."""


class OptionRule(NamedTuple):
    """The valid values of an option.

    Attributes:
        what: The same in words, as they follow "is".
        fits: Whether a value is valid.
    """

    what: str
    fits: Callable[[Any], bool]

    def check(self, option: str, value: Any) -> None:
        """Check an option.

        Raises:
            ValueError: The value is invalid.
        """
        if not self.fits(value):
            raise ValueError(f"{option} is {self.what}, not {value!r}")


def check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check an option that takes one of several words.

    Raises:
        ValueError: The value is not one of them.
    """
    if value not in allowed:
        raise ValueError(f"{option} is one of {allowed}, not {value!r}")


def _is_number(value: Any, kind: type[int | float]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _whole(first: int, last: int) -> OptionRule:
    return OptionRule(
        f"a whole number from {first} to {last}",
        lambda value: _is_number(value, int) and first <= value <= last,
    )


def _is_seconds(value: Any) -> bool:
    return (_is_number(value, int) or _is_number(value, float)) and 0 <= value <= threading.TIMEOUT_MAX


def _is_text(value: Any, encoding: str) -> bool:
    try:
        return isinstance(value, str) and value.encode(encoding) is not None
    except UnicodeEncodeError:
        return False


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _are_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        HEADER_NAME.fits(name) and HEADER_VALUE.fits(text) for name, text in value.items()
    )


def or_none(rule: OptionRule, meaning: str = "") -> OptionRule:
    """Return a rule that also allows None, with the meaning of None in words."""
    return OptionRule(f"{rule.what}, or None{meaning}", lambda value: value is None or rule.fits(value))


def made_of(kind: type, what: str = "") -> OptionRule:
    """Return the rule of an option that is an object of a class."""
    return OptionRule(what or f"a {kind.__name__}", lambda value: isinstance(value, kind))


PATH = OptionRule("text that begins with '/'", _matches(r"/[^\s{}]*"))
ID_PATH = OptionRule("text that begins with '/' and holds '{id}'", _matches(r"/[^\s{}]*\{id\}[^\s{}]*"))
METHOD = OptionRule("the name of an HTTP method", _matches("[A-Za-z]+"))
TEXT = OptionRule("text", lambda value: _is_text(value, "utf-8"))
LINE = OptionRule(
    "text without line breaks", lambda value: TEXT.fits(value) and not re.search(r"[\r\n]", value)
)
HEADER_NAME = OptionRule("the name of a header", _matches(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"))
HEADER_VALUE = OptionRule("Latin-1 text without line breaks", _matches(r"[\t\x20-\x7e\x80-\xff]*"))
FUNCTION = OptionRule("a function", callable)
NUMBER = OptionRule(
    "a number", lambda value: _is_number(value, int) or (_is_number(value, float) and not math.isnan(value))
)
COUNT = OptionRule("a whole number, 0 or more", lambda value: _is_number(value, int) and value >= 0)
PORT = _whole(0, 65535)
FLAG = OptionRule("True or False", lambda value: isinstance(value, bool))
STATUS = _whole(200, 599)  # a status below 200 precedes the response
TIMES = OptionRule(
    "1 or more, or None for always", lambda value: value is None or (_is_number(value, int) and value >= 1)
)
SECONDS = OptionRule("a finite number of seconds, 0 or more", _is_seconds)
BODY = OptionRule(
    "text, or in answer_next a dict or a list too",
    lambda value: isinstance(value, bytes) or _is_text(value, "utf-8"),
)
TOKEN = OptionRule("ASCII text without blanks", _matches("[!-~]*"))
HEADERS = OptionRule("a mapping of Latin-1 text to Latin-1 text", _are_headers)
