"""The inputs that a model knows, and the errors for all others: the responses of a strict model server.

The errors have pydantic's form, as those of the real model server (docs/http-api.md, «Errors»).
The sandbox does not need pydantic: it builds them here, and the tests compare them with pydantic's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rockai_sandbox.options import FLAG, NUMBER, check_choice, or_none

Kind = Literal["string", "url", "integer", "number"]
Problem = tuple[str, str, dict[str, str]]
"""pydantic's ``type``, ``msg`` and ``ctx``."""


@dataclass(frozen=True)
class Input:
    """One input that a scripted model accepts; other values are refused with 422, as by the service.

    Attributes:
        kind: ``"string"``, ``"url"`` (http, https or data), ``"integer"`` or ``"number"``. Numbers
            may also be sent as text.
        required: Whether a request without it is refused.
        at_least: The smallest number accepted, for numbers only; `None` means no limit.
        at_most: The largest number accepted, for numbers only; `None` means no limit.

    Raises:
        ValueError: The kind is unknown, a text has limits, or a limit is not a number.

    Example:
        >>> from rockai_transport import APIStatusError
        >>> @sandbox.model("you/painter", inputs={"steps": Input("integer", at_least=1, at_most=50)})
        ... def paint(input):
        ...     return f"painted in {input['steps']} steps"
        >>> try:
        ...     client.run("you/painter", {"steps": 99})
        ... except APIStatusError as error:
        ...     print(error.status_code)
        422
    """

    kind: Kind
    required: bool = False
    at_least: int | None = None
    at_most: int | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, tuple(CHECKS))
        FLAG.check("required", self.required)
        or_none(NUMBER).check("at_least", self.at_least)
        or_none(NUMBER).check("at_most", self.at_most)
        if self.kind in ("string", "url") and (self.at_least, self.at_most) != (None, None):
            raise ValueError("at_least and at_most are for numbers, not for text")


Inputs = Mapping[str, Input]


def text(*, required: bool = False) -> Input:
    """Describe a text input."""
    return Input("string", required)


def url(*, required: bool = False) -> Input:
    """Describe an input that is the address of a file."""
    return Input("url", required)


def integer(at_least: int | None = None, at_most: int | None = None) -> Input:
    """Describe an integer input."""
    return Input("integer", at_least=at_least, at_most=at_most)


def number() -> Input:
    """Describe a number input."""
    return Input("number")


def error(kind: str, location: tuple[str | int, ...], message: str, value: Any, **ctx: Any) -> dict[str, Any]:
    """Return one entry for the ``detail`` of a 422 response."""
    entry: dict[str, Any] = {"type": kind, "loc": ["body", *location], "msg": message, "input": value}
    return entry | ({"ctx": ctx} if ctx else {})


def problems(inputs: Inputs | None, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the errors in an input, in pydantic's words; none if ``inputs`` is `None`."""
    if inputs is None:
        return []
    found: list[dict[str, Any]] = []
    for name, expected in inputs.items():
        if name in given:
            found += _wrong_value(name, expected, given[name])
        elif expected.required:
            found.append(error("missing", ("input", name), "Field required", dict(given)))
    found += [
        error("extra_forbidden", ("input", name), "Extra inputs are not permitted", value)
        for name, value in given.items()
        if name not in inputs
    ]
    return found


def _wrong_value(name: str, expected: Input, value: Any) -> list[dict[str, Any]]:
    location = ("input", name)
    problem = CHECKS[expected.kind](value)
    if problem is not None:
        return [error(problem[0], location, problem[1], value, **problem[2])]
    if expected.at_least is not None and _as_number(value) < expected.at_least:
        message = f"Input should be greater than or equal to {expected.at_least}"
        return [error("greater_than_equal", location, message, value, ge=expected.at_least)]
    if expected.at_most is not None and _as_number(value) > expected.at_most:
        message = f"Input should be less than or equal to {expected.at_most}"
        return [error("less_than_equal", location, message, value, le=expected.at_most)]
    return []


def _as_number(value: str | float) -> float:
    return float(value) if isinstance(value, str) else value  # a float cannot hold every integer


def _not_text(value: Any) -> Problem | None:
    return None if isinstance(value, str) else ("string_type", "Input should be a valid string", {})


def _not_url(value: Any) -> Problem | None:
    if not isinstance(value, str):
        return "url_type", "URL input should be a string or URL", {}
    found = re.fullmatch(r"([a-z][a-z\d+.-]*):(.*)", value.strip(), re.IGNORECASE | re.DOTALL)
    scheme, rest = found.groups() if found else ("", value.strip())
    if found and scheme.lower() not in ("http", "https", "data"):
        schemes = "'http', 'https' or 'data'"
        return "url_scheme", f"URL scheme should be {schemes}", {"expected_schemes": schemes}
    if scheme.lower() == "data" or (found and rest.strip("/")):
        return None
    wrong = "empty host" if found else "relative URL without a base" if rest else "input is empty"
    return "url_parsing", f"Input should be a valid URL, {wrong}", {"error": wrong}


def _not_integer(value: Any) -> Problem | None:
    message = "Input should be a valid integer"
    if isinstance(value, str) and not _parses(int, value):
        return "int_parsing", f"{message}, unable to parse string as an integer", {}
    if isinstance(value, float) and not value.is_integer():
        return "int_from_float", f"{message}, got a number with a fractional part", {}
    return None if isinstance(value, str | int | float) else ("int_type", message, {})


def _not_number(value: Any) -> Problem | None:
    message = "Input should be a valid number"
    if isinstance(value, str) and not _parses(float, value):
        return "float_parsing", f"{message}, unable to parse string as a number", {}
    return None if isinstance(value, str | int | float) else ("float_type", message, {})


def _parses(kind: Callable[[str], object], value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


CHECKS: Mapping[Kind, Callable[[Any], Problem | None]] = {
    "string": _not_text,
    "url": _not_url,
    "integer": _not_integer,
    "number": _not_number,
}
