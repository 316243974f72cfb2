"""Filling a function's arguments from the user's text, by type and by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from rockai_sandbox.models.arithmetic import SUM, with_signs
from rockai_sandbox.models.choices import choose_agent, choose_number
from rockai_sandbox.models.documents import words

Schema = Mapping[str, Any]

NUMBER = re.compile(r"(?<![A-Za-z_\d.])(?<![A-Za-z]-)-?\d+(?:\.\d+)?(?![A-Za-z_\d])")
QUOTED = re.compile(r"[\"“«`《「]([^\"”»`》」\n]+)[\"”»`》」]|(?<!\w)'([^'\n]+)'(?!\w)")
URL = re.compile(r"(?:https?://|data:)[^\s\"'<>)\]}]+")
IDENTIFIER = re.compile(r"\b(?=\w*\d)[a-z0-9]{20,}\b")
PROPER_NAME = re.compile(
    r"\b(?:in|of|for|at|from|to|near|named|called|with|is)\s+([A-Z](?:[\w&-]|\.(?=\w))*(?:,?\s+[A-Z](?:[\w&-]|\.(?=\w))*)*)"
)
ABOUT = re.compile(
    r"\b(?:about|of|for|titled|saying|showing)\s+(?:the (?:movie|film|book|song)\s+)?(.+?)(?:[.?!]\s|[.?!]?$)"
    r"|关于(.+?)的|(?:搜索|查找|检索|寻找)(?:一下|关于)?[：:]?\s*(.+?)[。？！?!]?$",
    re.IGNORECASE,
)
NEGATED = re.compile(r"\b(?:not|no|without|don't|never|false)\b", re.IGNORECASE)

PLACE = re.compile(
    r"\b(?:in|at|near|for)\s+([\w'-]+(?: [\w'-]+)?)\s*[?.!]?\s*$"
    r"|(?:请|问|帮我|我想|知道|告诉我|查询|查|看看|一下|搜索|今天|现在|明天|的)*(?!外面)(?P<chinese>[\u4e00-\u9fff]{2,6}?)"
    r"(?:今天|现在|明天|此刻)*的?(?:天气|气温|时间|几点|会?下雨|会?下雪|多少度|热|冷)"
)
PLACES = frozenset({"location", "city", "place", "town", "country", "timezone"})
_NAME = r"[A-Z][\w'-]*(?: [A-Z][\w'-]*)*"
PLACE_LIST = re.compile(
    rf"\b(?:in|for|at|of) ({_NAME}(?:, {_NAME})*,? (?:and|or|vs\.?) {_NAME})"
    r"|\b(?:in|for|at|of) ([\w'-]+ (?:and|or|vs\.?) [\w'-]+)\W*$"
    r"|([\u4e00-\u9fff]{2,3}(?:、[\u4e00-\u9fff]{2,3})*[、和与][\u4e00-\u9fff]{2,3})的?(?:天气|气温|时间)"
)
DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (r"e_?mail|^to$|recipient", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    (r"phone", re.compile(r"(?<![\w.])\+?\(?\d[\d ().-]{6,}\d")),
    (r"date|day", DATE),
    (r"symbol|ticker", re.compile(r"\b[A-Z]{2,5}\b")),
    (
        r"^(?:full_?)?name$",
        re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b|(?<=[：:叫])[\u4e00-\u9fff]{2,3}(?=[，,。])"),
    ),
    (r"(?:^|_)id$", re.compile(r"\b(?=[\w-]*\d)[A-Za-z\d_-]+\b")),
    (r"expression|equation|formula", SUM),
)
"""Patterns for arguments with these names."""
RESULTS = frozenset({"result", "answer", "product", "sum"})
"""Names of numbers that come last in a request."""
MESSAGE = re.compile(r"<message>(.*?)</message>", re.DOTALL)
"""The user's text in a conversation that arrives as one text."""
PICTURES = words("image picture photo")
ADDRESSES = PICTURES | words("url uri link video")


class Slot(NamedTuple):
    """An argument to fill."""

    name: str
    schema: Schema
    needed: bool


class Filler:
    """Fills arguments from a request; earlier results can replace «it».

    Args:
        request: The user's text.
        results: Earlier results, oldest first.
        root: The whole schema, for resolving references.
        about: The function's description.
    """

    def __init__(self, request: str, results: Sequence[str], root: Schema, about: str = "") -> None:
        request = "\n".join(MESSAGE.findall(request)) or request
        self._request = request
        self._about = about
        self._results = "\n".join(results)
        self._root = root
        self._numbers = iter(self._operands(NUMBER.findall(with_signs(DATE.sub(" ", request)))))
        self._quoted = quoted(request)

    def fill(self, schema: Schema) -> dict[str, Any]:
        """Return the arguments: all required ones, and the others that the request contains."""
        required = schema.get("required", ())
        properties = schema.get("properties", {}).items()
        slots = [Slot(name, self._resolved(raw), name in required) for name, raw in properties]
        filled = {slot.name: self._value(slot) for slot in slots}
        return {name: value for name, value in filled.items() if value is not None}

    def _operands(self, numbers: list[str]) -> list[str]:
        """Return the request's numbers; a missing first one comes from the last result: «then add 5»."""
        slots = (self._resolved(one).get("type") for one in self._root.get("properties", {}).values())
        missing = sum(kind in ("integer", "number") for kind in slots) - len(numbers)
        return [*NUMBER.findall(self._results)[-missing:], *numbers] if missing > 0 else numbers

    def _resolved(self, schema: Any) -> Schema:
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            return self._resolved(self._root.get("$defs", {}).get(name, {}))
        for key in ("anyOf", "oneOf", "allOf"):
            options = [option for option in schema.get(key, ()) if option.get("type") != "null"]
            if options:
                return {**schema, **self._resolved(options[0]), key: ()}
        return schema

    def _value(self, slot: Slot) -> Any:
        if "const" in slot.schema or "enum" in slot.schema:
            options = slot.schema.get("enum") or [slot.schema.get("const")]
            return next(filter(self._says, options), options[0] if slot.needed else None)
        kind = slot.schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "string")
        return self.FILLERS.get(str(kind), Filler._text)(self, slot)

    def _number(self, slot: Slot) -> int | float | None:
        if slot.name in ("index", "choice") and (chosen := choose_number(self._request)):
            return chosen
        number = r"(-?\d+(?:\.\d+)?)"
        noun = re.escape(slot.name.rpartition("_")[2])  # «16 frames» is max_frames
        by_name = rf"\b{_spoken(slot.name)}\b\W+(?:[^\W\d]+\W+)?{number}|{number} {noun}\b"
        if found := re.search(by_name, self._request, re.IGNORECASE):
            return as_number(found[1] or found[2])
        if slot.name in RESULTS and (numbers := NUMBER.findall(self._request)):
            return as_number(numbers[-1])
        if slot.needed and (operand := next(self._numbers, None)):
            return as_number(operand)
        return slot.schema.get("default", slot.schema.get("minimum", 1)) if slot.needed else None

    def _truth(self, slot: Slot) -> bool | None:
        said = re.search(rf"\b{_spoken(slot.name)}\b", self._request, re.IGNORECASE) is not None
        return not NEGATED.search(self._request) if slot.needed or said else None

    def _list(self, slot: Slot) -> list[Any] | None:
        items = self._resolved(slot.schema.get("items", {}))
        if items.get("type") in ("integer", "number"):
            return [as_number(one) for one in self._numbers] or ([] if slot.needed else None)
        if items.get("type") != "object" and self._quoted:
            return list(self._quoted)
        value = self._value(Slot(slot.name, items, slot.needed))
        return None if value is None else [value]

    def _object(self, slot: Slot) -> dict[str, Any] | None:
        return self.fill(slot.schema) if slot.needed else None

    def _text(self, slot: Slot) -> str | None:
        by_name = rf"\b{_spoken(slot.name)}\b\s*(?:is|=|:)?\s*[\"“«'`]([^\"”»'`\n]+)"
        if found := re.search(by_name, self._request, re.IGNORECASE):
            self._quoted = [one for one in self._quoted if one != found[1]]
            return found[1]
        if slot.name == "to_agent" and (agent := choose_agent(self._about, self._request)):
            return agent
        if (shown := self._text_by_shape(slot.name)) or not slot.needed:
            return shown
        if self._quoted:
            return self._quoted.pop(0)
        return slot.schema.get("default") or self._text_by_sense(slot.name)

    def _text_by_shape(self, name: str) -> str | None:
        shaped = URL if words(name.replace("_", " ")) & ADDRESSES else IDENTIFIER
        if (shaped is URL or re.fullmatch(r"(?:.*_)?id", name, re.IGNORECASE)) and (
            address := shaped.search(self._request) or shaped.search(self._results)
        ):
            return address[0]
        said = f"{self._request}\n{with_signs(self._request)}"
        shapes = (shape for names, shape in SHAPES if re.search(names, name, re.IGNORECASE))
        found = next((match for shape in shapes for match in shape.finditer(said)), None)
        return found[0].strip() if found else None

    def _text_by_sense(self, name: str) -> str:
        names = PROPER_NAME.findall(self._request)
        if name.lower() in PLACES and not names:
            place = PLACE.search(self._request)
            return str(place[1] or place["chinese"]) if place else self._results.rpartition("\n")[2] or "here"
        about = ABOUT.search(self._request)
        if names and (name.lower() in PLACES or not about):
            return str(names[-1])
        return (about[1] or about[2] or about[3]).strip() if about else self._request.strip()

    def _says(self, word: Any) -> bool:
        return re.search(rf"\b{re.escape(str(word))}\b", self._request, re.IGNORECASE) is not None

    FILLERS: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "integer": _number,
        "number": _number,
        "boolean": _truth,
        "array": _list,
        "object": _object,
    }


def lacks_place(tool_schema: Schema, step: str) -> bool:
    """Whether a function needs a place but the step names none."""
    needed = PLACES.intersection(tool_schema.get("required", ()))
    return bool(needed) and not PROPER_NAME.search(step) and not PLACE.search(step)


def needs_picture(tool_schema: Schema) -> bool:
    """Whether a function needs the address of a picture."""
    return any(PICTURES & words(name.replace("_", " ")) for name in tool_schema.get("required", ()))


def each_place(tool_schema: Schema, step: str) -> list[str]:
    """Return one step per named place if the function takes one place: «in Boston and Tokyo»."""
    found = PLACE_LIST.search(step) if PLACES & tool_schema.get("properties", {}).keys() else None
    if found is None:
        return [step]
    names = next(filter(None, found.groups()))
    return [step.replace(names, name) for name in re.split(r",? (?:and|or|vs\.?) |, |[、和与]", names)]


def quoted(text: str) -> list[str]:
    """Return the texts in quotation marks."""
    return [double or single for double, single in QUOTED.findall(text)]


def as_number(found: str) -> int | float:
    """Return a number as in JSON: whole numbers as integers."""
    value = float(found)
    return int(value) if value.is_integer() else value


def _spoken(name: str) -> str:
    return re.escape(name).replace("_", "[ _]")
