"""What a report that is pasted into an issue must not hold: the token, addresses, local paths.

Law of this module: everything that leaves the doctor, be it printed, returned or logged, has been through one
`Redactor`, as whole texts: a cut could leave half a token that nothing recognises.
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
    from collections.abc import Iterable

__all__ = ["Redactor"]

T = TypeVar("T")

HIDDEN = "[token]"
_SHORT = 8  # a shorter token is hidden as a whole word only, else it would garble the report
_LEAST_PART = 6

_PRIVATE = (
    # A service may tell whose account it is, a gateway from which address it was asked.
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"(?:/(?:home|Users)/|[A-Za-z]:\\+Users\\+)[^\s/\\\"'<>]+(?:[/\\]+[^\s\"'<>:]*)?"), "[path]"),
    (re.compile(r"/root/[^\s\"'<>:]*"), "[path]"),
    # The query of a signed file address opens the file to everybody.
    (
        re.compile(r"(?i)([?&](?:[\w-]*(?:signature|token|key|credential|sig|expires))=)[^\s&\"'<>\\]+"),
        r"\1[hidden]",
    ),
)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")


class Redactor:
    """Hides what must not be told.

    Args:
        token: the token; in each spelling an echo may use, and its longer beginnings and ends, which some
            services show to tell tokens apart.
        keep: addresses that the report is about, such as the base URL's own host.
    """

    def __init__(self, token: str, keep: Iterable[str] = ()) -> None:
        self._token = _pattern(token)
        self._keep = frozenset(keep)

    def text(self, text: str) -> str:
        """A text without what must not be told."""
        text = self._token.sub(HIDDEN, text)
        for pattern, instead in _PRIVATE:
            text = pattern.sub(instead, text)
        return _IPV4.sub(self._address, text)

    def value(self, value: T) -> T:
        """The same for every text in a value: dataclasses, tuples, lists, dicts."""
        return self._value(value)  # type: ignore[no-any-return]

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self._value(key): self._value(item) for key, item in value.items()}
            case list() | tuple():
                return type(value)(self._value(item) for item in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            return dataclasses.replace(
                value,
                **{field.name: self._value(getattr(value, field.name)) for field in fields if field.init},
            )
        return value

    def _address(self, match: re.Match[str]) -> str:
        address = match.group()
        try:
            known = address in self._keep or ipaddress.ip_address(address).is_loopback
        except ValueError:
            return address
        return address if known else "[address]"


def _pattern(token: str) -> re.Pattern[str]:
    """What matches a token in any spelling; the longest first, since the first that fits is taken."""
    spellings = {
        token,
        quote(token, safe=""),
        html.escape(token),
        json.dumps(token)[1:-1],
        json.dumps(token)[1:-1].replace("/", "\\/"),
        base64.b64encode(token.encode()).decode(),
        base64.urlsafe_b64encode(token.encode()).decode().rstrip("="),
    }
    least = max(_LEAST_PART, len(token) // 2)
    for length in range(least, len(token)):
        spellings |= {token[:length], token[-length:]}
    ordered = sorted(spellings, key=len, reverse=True)
    pattern = "|".join(map(re.escape, ordered))
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)" if len(token) < _SHORT else pattern, re.IGNORECASE)
