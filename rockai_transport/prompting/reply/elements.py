"""Arguments as elements that may contain others: the form of MiniMax M3.

The same mark stands before each of their tags, so a value may contain any other tag. The mark is in
``call_formats.json``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from rockai_transport.prompting.reply.call_formats import ELEMENT_MARK

_MOST_NESTED: Final = 100
_ENDS: Final = (f"{ELEMENT_MARK}</invoke>", f"{ELEMENT_MARK}</tool_call>")
_END: Final = re.compile("|".join(map(re.escape, _ENDS)))
_LONGEST_END: Final = max(map(len, _ENDS))
_TAG: Final = re.compile(rf"{re.escape(ELEMENT_MARK)}<(?P<closes>/?)(?P<name>[^<>/][^<>]{{0,199}})>")
_ITEM: Final = "item"


class ElementScanner:
    """Finds the end of elements, piece by piece: what closes the call.

    Attributes:
        kept: Number of characters at the end of the last piece to pass again with the next one.
    """

    kept = 0
    missing = ""  # as in TaggedScanner

    def scan(self, text: str, start: int = 0) -> int | None:
        """Read on.

        Args:
            text: The next piece, after the kept characters.
            start: Where to begin in it.

        Returns:
            The index after the last element, or None if another one may follow.
        """
        found = _END.search(text, start)
        self.kept = 0 if found else min(len(text) - start, _LONGEST_END - 1)
        return found.start() if found else None


def read_elements(text: str, is_null: Callable[[str, str], bool]) -> dict[str, Any]:
    """Read arguments that are elements.

    Args:
        text: All arguments.
        is_null: Returns, for the name and the text of an argument, whether it is null.

    Returns:
        Their names and values: text, or what they contain, as an object, or a list if these are items.

    Raises:
        ValueError: An element does not end.
    """
    around: list[tuple[str, list[tuple[str, Any]]]] = [("", [])]
    at = 0
    for tag in _TAG.finditer(text):
        before, at = text[at : tag.start()], tag.end()
        if not tag["closes"]:
            around.append((tag["name"], []))
            continue
        name, inner = around.pop()
        if name != tag["name"] or len(around) > _MOST_NESTED:
            raise ValueError("its elements do not fit together")
        around[-1][1].append((name, _value(inner) if inner else before))
    if len(around) > 1 or text[at:].strip():
        raise ValueError("the call does not end")
    values = _object(around[0][1])
    return {key: None if isinstance(one, str) and is_null(key, one) else one for key, one in values.items()}


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
