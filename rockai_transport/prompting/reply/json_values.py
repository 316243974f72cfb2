"""JSON as models write it: where a value ends in a stream, and what it says.

Beside JSON proper this reads Python literals (single quotes, ``True``, ``None``, trailing commas), the two
mixed, and strings with raw line breaks. Reading never raises anything but ``ValueError``.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_BRACKETS: Final = {"{": "}", "[": "]"}
_CLOSING: Final = frozenset("}]")
_QUOTES: Final = frozenset("\"'")
_NEVER_IN_JSON: Final = frozenset("<`")
_MOST_ATTEMPTS: Final = 100  # brackets of prose to look behind; keeps a reply full of them linear
_CONSTANTS: Final = {"true": "True", "false": "False", "null": "None"}
# A string, or one of JSON's words outside of any.
_WORDS: Final = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\b(?:true|false|null)\b"""
# What may stand behind a backslash in a Python string; anything else would be a SyntaxWarning.
_PYTHON_ESCAPES: Final = frozenset("\\'\"abfnrtvxuU/")


class ValueScanner:
    """Find where a bracketed value ends, piece by piece; what it says is not looked at.

    A ``<`` or a backtick outside of strings ends a value before its brackets do: no JSON holds one there, but
    the closing tag or fence stands there when a model forgets a bracket.
    """

    def __init__(self) -> None:
        self._open: list[str] = []
        self._quote = ""
        self._escaped = False
        self._last = ""

    def scan(self, text: str, start: int = 0) -> int | None:
        """Read on.

        Args:
            text: The next piece; in the first one the opening bracket stands at ``start``.
            start: Where to begin in it.

        Returns:
            The index behind the value, or None when it does not end in this piece.
        """
        for at in range(start, len(text)):
            character = text[at]
            if self._quote:
                self._in_string(character)
            elif character in _NEVER_IN_JSON:
                return at
            elif character in _BRACKETS:
                self._open.append(_BRACKETS[character])
            elif character in _CLOSING:
                self._open.pop()
                if not self._open:
                    return at + 1
            elif character in _QUOTES:
                self._quote = character
            if not character.isspace():
                self._last = character
        return None

    @property
    def missing(self) -> str:
        """The one bracket that a model forgot: where only the outermost is open, behind another one's end.

        Anything else that is missing could hold arguments and is not made up.
        """
        forgotten = len(self._open) == 1 and not self._quote and self._last in _CLOSING
        return self._open[0] if forgotten else ""

    def _in_string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == self._quote:
            self._quote = ""


def read_value(text: str) -> Any:
    """Read one value.

    Args:
        text: JSON, or a Python literal.

    Returns:
        What it says.

    Raises:
        ValueError: It is neither.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        try:
            return _read_literal(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            # The JSON error is the one to show: JSON is what the model was told to write.
            raise ValueError(f"not valid JSON: {error}") from error


def _read_literal(text: str) -> Any:
    import re  # noqa: PLC0415 -- only for what is not JSON

    value = ast.literal_eval(re.sub(_WORDS, _as_python, text, flags=re.DOTALL).strip())
    # A literal can hold what JSON cannot: sets, bytes, numbers as keys. Arguments must be JSON.
    return json.loads(json.dumps(value))


def _as_python(match: re.Match[str]) -> str:
    import re  # noqa: PLC0415

    token = match[0]
    if token in _CONSTANTS:
        return _CONSTANTS[token]
    token = token.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n")
    return re.sub(r"\\(.)", _known_escape, token, flags=re.DOTALL)


def _known_escape(match: re.Match[str]) -> str:
    character = match[1]
    if character == "/":
        return "/"
    return match[0] if character in _PYTHON_ESCAPES else "\\" + match[0]


def extract_json(text: str) -> Any:
    """Find the JSON value in a reply: bare, fenced, or with prose around it.

    Args:
        text: The reply's text.

    Returns:
        The whole reply where it is JSON; else the first object in it that can be read; else the first array.

    Raises:
        ValueError: There is none; the message says what is wrong, in words a model can act on.
    """
    try:
        return read_value(text)
    except ValueError as error:
        complaint = str(error)
    arrays: list[Any] = []
    for candidate in _bracketed(text):
        try:
            value = read_value(candidate)
        except ValueError as error:
            complaint = str(error)
            continue
        if isinstance(value, dict):
            return value
        arrays.append(value)
    if arrays:
        return arrays[0]
    raise ValueError(complaint)


def _bracketed(text: str) -> Iterator[str]:
    """Every bracketed part of a text that could be a value, the outer ones first."""
    end = 0
    attempts = 0
    for start, character in enumerate(text):
        if character not in _BRACKETS or (start < end and character == "["):
            continue
        attempts += 1
        if attempts > _MOST_ATTEMPTS:
            return
        found = ValueScanner().scan(text, start)
        if found is not None:
            end = found
            yield text[start:found]
