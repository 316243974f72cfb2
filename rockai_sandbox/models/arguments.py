"""Filling a function's arguments from what the user said, by type and by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rockai_sandbox.models.documents import words

Schema = Mapping[str, Any]

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
QUOTED = re.compile(r"[\"“«`]([^\"”»`\n]+)[\"”»`]|(?<!\w)'([^'\n]+)'(?!\w)")
URL = re.compile(r"(?:https?://|data:)[^\s\"'<>)\]}]+")
IDENTIFIER = re.compile(r"\b(?=\w*\d)[a-z0-9]{20,}\b")
PROPER_NAME = re.compile(
    r"\b(?:in|of|for|at|from|to|near|named|called|with|is)\s+((?:[A-Z][\w.&-]*)(?:,?\s+[A-Z][\w.&-]*)*)"
)
ABOUT = re.compile(r"\b(?:about|of|for|titled|saying|showing)\s+(.+?)(?:[.?!]\s|[.?!]?$)", re.IGNORECASE)
SUM = re.compile(r"[\d(][\d\s.+\-*/()^%]*[\d)]")
NEGATED = re.compile(r"\b(?:not|no|without|don't|never|false)\b", re.IGNORECASE)

PLACES = frozenset({"location", "city", "place", "town", "country", "destination", "region"})
PEOPLE = frozenset({"name", "person", "customer", "customer_name", "who", "recipient"})
ADDRESSES = words("image picture photo url uri link video")
SUMS = words("expression formula calculation")


@dataclass(frozen=True)
class Slot:
    """An argument to be filled."""

    name: str
    schema: Schema
    needed: bool


class Filler:
    """Fills arguments from a request; what earlier results said may stand in for «it».

    Args:
        request: the user's words.
        results: earlier results, oldest first.
        root: the whole schema, in which references are looked up.
    """

    def __init__(self, request: str, results: Sequence[str], root: Schema) -> None:
        self._request = request
        self._results = "\n".join(results)
        self._root = root
        self._numbers = iter(NUMBER.findall(request) or NUMBER.findall(self._results))
        self._quoted = quoted(request)

    def fill(self, schema: Schema) -> dict[str, Any]:
        """Return the arguments: all required ones, and the others where the request tells them."""
        required = schema.get("required", ())
        slots = [
            Slot(name, self._resolved(raw), name in required)
            for name, raw in schema.get("properties", {}).items()
        ]
        filled = ((slot.name, self._value(slot)) for slot in slots)
        return {name: value for name, value in filled if value is not None}

    def _resolved(self, schema: Any) -> Schema:
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            definitions = self._root.get("$defs") or self._root.get("definitions") or {}
            return self._resolved(definitions.get(name, {}))
        for key in ("anyOf", "oneOf", "allOf"):
            choices = [choice for choice in schema.get(key, ()) if choice.get("type") != "null"]
            if choices:
                return {**schema, **self._resolved(choices[0]), key: ()}
        return schema

    def _value(self, slot: Slot) -> Any:
        if "const" in slot.schema or "enum" in slot.schema:
            return self._choice(slot)
        kind = slot.schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "string")
        return self.FILLERS.get(str(kind), Filler._text)(self, slot)

    def _choice(self, slot: Slot) -> Any:
        choices = slot.schema.get("enum") or [slot.schema.get("const")]
        told = (choice for choice in choices if self._says(str(choice)))
        return next(told, choices[0] if slot.needed else None)

    def _number(self, slot: Slot) -> int | float | None:
        found = self._number_by_name(slot.name)
        if found is None and slot.needed:
            found = next(self._numbers, None)
        if found is None:
            default = slot.schema.get("default", slot.schema.get("minimum", 1))
            return default if slot.needed and isinstance(default, int | float) else None
        return as_number(found)

    def _number_by_name(self, name: str) -> str | None:
        number = r"(-?\d+(?:\.\d+)?)"
        noun = re.escape(name.rpartition("_")[2])  # «16 frames» tells max_frames
        told = rf"\b{_spoken(name)}\b\W+(?:\w+\W+)?{number}|{number} {noun}\b"
        found = re.search(told, self._request, re.IGNORECASE)
        return None if found is None else found[1] or found[2]

    def _truth(self, slot: Slot) -> bool | None:
        told = re.search(rf"\b{_spoken(slot.name)}\b", self._request, re.IGNORECASE) is not None
        return not NEGATED.search(self._request) if slot.needed or told else None

    def _list(self, slot: Slot) -> list[Any] | None:
        items = self._resolved(slot.schema.get("items", {}))
        if items.get("type") in ("integer", "number"):
            found = [as_number(one) for one in self._numbers]
            return found or ([] if slot.needed else None)
        if items.get("type") == "object":
            return [self.fill(items)] if slot.needed else None
        if self._quoted:
            return list(self._quoted)
        value = self._value(Slot(slot.name, items, slot.needed))
        return None if value is None else [value]

    def _object(self, slot: Slot) -> dict[str, Any] | None:
        return self.fill(slot.schema) if slot.needed else None

    def _text(self, slot: Slot) -> str | None:
        told = re.search(
            rf"\b{_spoken(slot.name)}\b\s*(?:is|=|:)?\s*[\"“«'`]([^\"”»'`\n]+)", self._request, re.IGNORECASE
        )
        if told:
            self._quoted = [one for one in self._quoted if one != told[1]]
            return told[1]
        by_name = self._text_by_name(slot.name)
        if by_name is not None or not slot.needed:
            return by_name
        if self._quoted:
            return self._quoted.pop(0)
        default = slot.schema.get("default")
        return default if isinstance(default, str) else self._text_by_sense(slot.name)

    def _text_by_name(self, name: str) -> str | None:
        meaning = words(name.replace("_", " "))
        if meaning & ADDRESSES:
            return _first(URL, self._request, self._results)
        if name.lower() == "id" or name.lower().endswith("_id"):
            return _first(IDENTIFIER, self._request, self._results)
        return _first(SUM, self._request) if meaning & SUMS else None

    def _text_by_sense(self, name: str) -> str:
        names = PROPER_NAME.findall(self._request)
        if names and name.lower() in PLACES:
            return str(names[-1])
        if names and name.lower() in PEOPLE:
            return str(names[0])
        about = ABOUT.search(self._request)
        if about:
            return about[1].strip()
        return str(names[-1]) if names else self._request.strip()

    def _says(self, word: str) -> bool:
        return re.search(rf"\b{re.escape(word)}\b", self._request, re.IGNORECASE) is not None

    FILLERS: ClassVar[Mapping[str, Callable[["Filler", Slot], Any]]] = {
        "integer": _number,
        "number": _number,
        "boolean": _truth,
        "array": _list,
        "object": _object,
    }


def quoted(text: str) -> list[str]:
    """Return what stands in quotation marks."""
    return [double or single for double, single in QUOTED.findall(text)]


def as_number(found: str) -> int | float:
    """Return a number as JSON would have it: whole ones as integers."""
    value = float(found)
    return int(value) if value.is_integer() else value


def _first(pattern: re.Pattern[str], *texts: str) -> str | None:
    found = (match for text in texts if (match := pattern.search(text)))
    return next((match[0].strip() for match in found), None)


def _spoken(name: str) -> str:
    return re.escape(name).replace("_", "[ _]")
