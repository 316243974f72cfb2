"""Reading tool instructions: which functions a prompt describes, and in which form it wants them called.

Law of this module: nothing about the form is known beforehand. Tags, keys and the tag of results are read
from the instructions, so that other instructions give other calls and instructions that show no form give
none.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rockai_sandbox.models.conversation import Conversation, Turn

SCHEMA_KEYS = ("parameters", "input_schema", "schema", "args")
FORM = re.compile(
    r"""
    (?P<open><(?P<tag>\w+)>)?\s*
    \{\s* "(?P<name>\w+)" \s*:\s* (?:"[^"\n]*"|<[^>\n]*>|[\w.…]+) \s*,
    \s* "(?P<arguments>\w+)" \s*:\s* (?:\{[^{}\n]*\}|<[^>\n]*>|"[^"\n]*"|[\w.…]+) \s*\}
    \s*(?P<close></(?P=tag)>)?
    """,
    re.VERBOSE,
)
RESULT_TAG = re.compile(r"<(\w*(?:result|response|observation|output)\w*)>", re.IGNORECASE)
MUST = re.compile(
    r"[^.\n]*\b(?:must|have to|required to)\b[^\n]*?\b(?:call|use|tool|function)\b[^\n]*", re.IGNORECASE
)
MISSES = 500
"""After how many brackets that open no JSON the search is given up: a text full of them is no manual."""


@dataclass(frozen=True)
class Tool:
    """A function that the prompt describes."""

    name: str
    description: str
    schema: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The schemas of its arguments, by name."""
        found = self.schema.get("properties", {})
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Manual:
    """What the instructions say.

    Attributes:
        tools: the functions.
        opening: what stands before a call.
        closing: what stands behind it.
        name_key: the key of the function's name.
        arguments_key: the key of its arguments.
        result_tag: the tag around results; empty where the instructions name none.
        forced: the functions one of which must be called now; empty where a call is a choice.
        text: the instructions themselves.
    """

    tools: tuple[Tool, ...]
    opening: str
    closing: str
    name_key: str
    arguments_key: str
    result_tag: str
    forced: tuple[Tool, ...]
    text: str

    def call(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        """Write a call in the form that was asked for."""
        call = json.dumps({self.name_key: tool.name, self.arguments_key: arguments}, ensure_ascii=False)
        return f"{self.opening}{call}{self.closing}"

    def results(self, turn: Turn) -> tuple[list[str], str]:
        """Return the results that a turn reports, and what else it says."""
        if turn.role == "tool" and not self.result_tag:
            return [turn.text], ""
        if not self.result_tag:
            return [], turn.text
        pattern = re.compile(rf"<{self.result_tag}>(.*?)</{self.result_tag}>", re.DOTALL)
        return [_content(found) for found in pattern.findall(turn.text)], pattern.sub("", turn.text).strip()

    def report(self, results: tuple[str, ...]) -> str:
        """Answer with the tools' results."""
        return "\n".join(["Here is what the tools say:", *results])


def read_manual(conversation: Conversation) -> Manual | None:
    """Read the tool instructions in a conversation; `None` without any, or if they show no form of a call."""
    for text in (conversation.system, *(turn.text for turn in conversation.turns if turn.role == "user")):
        manual = _read(text)
        if manual is not None:
            return manual
    return None


def _read(text: str) -> Manual | None:
    found = [(start, end, tool) for start, end, value in json_values(text) for tool in _tools(value)]
    if not found:
        return None
    schemas = {(start, end) for start, end, _ in found}
    prose = "".join(" " * len(part) if blank else part for part, blank in _cut(text, schemas))
    form = FORM.search(prose)
    if form is None or (form["open"] and not form["close"]):
        return None
    tools = tuple({tool.name: tool for _, _, tool in found}.values())
    fence = "```" if _is_fenced(prose, form.start()) else ""
    tag = RESULT_TAG.search(prose.replace(form["open"] or "\0", ""))
    marks = [form.end(), max(end for _, end in schemas), tag.end() if tag else 0]
    marks += [found.end() for found in re.finditer(re.escape(form["open"]), prose)] if form["open"] else []
    return Manual(
        tools=tools,
        opening=form["open"] or (f"{fence}json\n" if fence else ""),
        closing=form["close"] or (f"\n{fence}" if fence else ""),
        name_key=form["name"],
        arguments_key=form["arguments"],
        result_tag=tag[1] if tag else "",
        forced=_forced(prose, tools),
        text=text[: _paragraph_end(text, max(marks))],
    )


def _forced(prose: str, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    orders = [match[0] for match in MUST.finditer(prose)]
    named = tuple(
        tool for tool in tools for order in orders if re.search(rf"\b{re.escape(tool.name)}\b", order)
    )
    return named or (tools if orders else ())


def _tools(value: Any) -> Iterator[Tool]:
    if isinstance(value, list):
        for item in value:
            yield from _tools(item)
    elif isinstance(value, dict) and isinstance(value.get("function"), dict):
        yield from _tools(value["function"])
    elif isinstance(value, dict) and isinstance(value.get("name"), str):
        schema = next((value[key] for key in SCHEMA_KEYS if isinstance(value.get(key), dict)), None)
        if schema is not None:
            yield Tool(value["name"], str(value.get("description") or ""), schema)


def json_values(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the JSON objects and arrays that stand in a text, outermost ones only, with start and end."""
    decoder = json.JSONDecoder()
    at = misses = 0
    for found in re.finditer(r"[{\[]", text):
        if found.start() < at or misses > MISSES:
            continue
        try:
            value, at = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):  # no JSON, or brackets without end
            misses += 1
            continue
        yield found.start(), at, value


def _cut(text: str, spans: set[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    at = 0
    for start, end in sorted(spans):
        yield text[at:start], False
        yield text[start:end], True
        at = end
    yield text[at:], False


def _is_fenced(prose: str, at: int) -> bool:
    return prose.count("```", 0, at) % 2 == 1


def _paragraph_end(text: str, at: int) -> int:
    end = text.find("\n\n", at)
    return len(text) if end < 0 else end


def _content(result: str) -> str:
    """Take the text out of a result that is wrapped in JSON beside the tool's name."""
    try:
        value = json.loads(result)
    except ValueError:
        return result.strip()
    if isinstance(value, dict):
        inner = [item for key, item in value.items() if key not in ("name", "id", "tool", "tool_call_id")]
        if len(inner) == 1:
            value = inner[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
