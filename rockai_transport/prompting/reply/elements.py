"""Arguments as elements that may contain others: the form of MiniMax M3.

The same mark stands before each of their tags, so a value may contain any other tag. The mark is in
``call_formats.json``. If the server leaves it out, and as other models write elements, there is no mark: then
the tags within an argument that is text are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from rockai_transport.prompting.reply.call_formats import ELEMENT_MARK
from rockai_transport.prompting.reply.schema_values import fits, is_null, properties_of
from rockai_transport.prompting.reply.tagged import without_wrapping

_MOST_NESTED: Final = 100
_MARKED_ENDS: Final = (f"{ELEMENT_MARK}</invoke>", f"{ELEMENT_MARK}</tool_call>")
_ENDS: Final = ("</invoke>", "</function>", "</tool_call>", "</arguments>", "</parameters>")
_TAG: Final = re.compile(r"<(?P<closes>/?)(?P<name>[^<>/][^<>]{0,199})>")
_MARKED_TAG: Final = re.compile(re.escape(ELEMENT_MARK) + _TAG.pattern)
_ITEM: Final = "item"


class ElementScanner:
    """Finds the end of elements, piece by piece: what closes the call.

    Attributes:
        kept: Number of characters at the end of the last piece to pass again with the next one.
    """

    kept = 0
    missing = ""  # as in TaggedScanner

    def __init__(self, name: str = "") -> None:
        """Create a scanner.

        Args:
            name: The tool's name, also that of an element around its arguments; none if they have a mark.
        """
        ends = (*_ENDS, f"</{name}>") if name else _MARKED_ENDS
        self._end = re.compile("|".join(map(re.escape, ends)))
        self._longest = max(map(len, ends))

    def scan(self, text: str, start: int = 0) -> int | None:
        """Read on.

        Args:
            text: The next piece, after the kept characters.
            start: Where to begin in it.

        Returns:
            The index after the last element, or None if another one may follow.
        """
        found = self._end.search(text, start)
        self.kept = 0 if found else min(len(text) - start, self._longest - 1)
        return found.start() if found else None


def read_elements(text: str, schema: Mapping[str, Any], *, plain: bool = False) -> dict[str, Any]:
    """Read arguments that are elements.

    Args:
        text: All arguments.
        schema: The schema of the arguments: which of them may be null, or text.
        plain: Whether their tags have no mark.

    Returns:
        Their names and values: text, or what they contain, as an object, or a list if these are items.

    Raises:
        ValueError: An element does not end.
    """
    around: list[tuple[str, list[tuple[str, Any]]]] = [("", [])]
    at = 0
    until = ""  # what closes an argument that is text
    for tag in (_TAG if plain else _MARKED_TAG).finditer(text):
        if until not in ("", tag[0]):
            continue
        before, at, until = text[at : tag.start()], tag.end(), ""
        if not tag["closes"]:
            if plain and len(around) == 1 and fits("", properties_of(schema).get(tag["name"]), schema):
                until = f"</{tag['name']}>"
            around.append((tag["name"], []))
            continue
        before = without_wrapping(before) if plain else before
        name, inner = around.pop()
        if name != tag["name"] or len(around) > _MOST_NESTED:
            raise ValueError("its elements do not fit together")
        around[-1][1].append((name, _value(inner) if inner else before))
    if len(around) > 1 or text[at:].strip():
        raise ValueError("the call does not end")
    return {
        key: _typed(one, key, schema) if isinstance(one, str) else one
        for key, one in _object(around[0][1]).items()
    }


def _typed(text: str, key: str, schema: Mapping[str, Any]) -> Any:
    """Return the value of an element without others in it: null, or an empty list that has no items."""
    declared = properties_of(schema).get(key)
    is_list = not (text or fits("", declared, schema)) and fits([], declared, schema)
    return None if is_null(text, key, schema) else [] if is_list else text


def _value(inner: list[tuple[str, Any]]) -> Any:
    if all(name == _ITEM for name, _ in inner):
        return [value for _, value in inner]
    return _object(inner)


def _object(inner: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; a name that is repeated has the list of its values."""
    found: dict[str, list[Any]] = {}
    for name, value in inner:
        found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}
