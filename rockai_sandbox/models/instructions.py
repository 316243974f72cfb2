"""Reading tool instructions: the functions that a prompt describes, and the format of their calls.

Two formats are known: the tagged JSON that `rockai_transport` writes, which Hermes and Qwen were trained on,
and the steps of LlamaIndex's ReAct agent.

Invariants: instructions in neither format give no call, and a result in another format is ignored, so
that a client's mistake is visible in the model's answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rockai_sandbox.models.parsed_prompt import ParsedPrompt, ParsedTurn

FORCED = re.compile(r"You must call (?:a function|the function (?P<name>\S+)) now")
MISSES = 500
"""The search stops after this many brackets that open no JSON: such a text contains no schema."""


@dataclass(frozen=True)
class Tool:
    """A function that the prompt describes."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """One format of function calls in text.

    Attributes:
        example: The example in instructions of this format.
        end: The end of the instructions, after the example.
        tool: The text before each function's JSON schema; None if the JSON itself names the function.
        call: The format of a call, in the example's own tag.
        result: The format of a result.
        report: The format of an answer with results.
    """

    example: re.Pattern[str]
    end: re.Pattern[str]
    tool: re.Pattern[str] | None
    call: str
    result: re.Pattern[str]
    report: str

    def tools(self, text: str) -> Iterator[Tool]:
        """Yield the functions that the instructions describe."""
        for start, _, value in json_values(text):
            if not isinstance(value, dict):
                continue
            if self.tool is None and isinstance(value.get("parameters"), dict):
                yield Tool(str(value.get("name")), str(value.get("description")), value["parameters"])
            elif self.tool and (head := self.tool.search(text, 0, start)):
                yield Tool(head["name"], head["description"], value)


FORMS = (
    Form(
        example=re.compile(r'<(?P<tag>\w+)>\{"name": "[^"\n]*", "arguments": \{[^\n]*\}\}</(?P=tag)>'),
        end=re.compile(r"\n\n|\Z"),
        tool=None,
        call='<{tag}>{{"name": {quoted}, "arguments": {arguments}}}</{tag}>',
        result=re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL),
        report="Here is what the tools say:\n{results}",
    ),
    Form(
        example=re.compile(r"^Action: tool name[^\n]*\nAction Input: ", re.MULTILINE),
        end=re.compile(r"^Below is the current conversation[^\n]*|\Z", re.MULTILINE),
        tool=re.compile(
            r"Tool Name: (?P<name>\S+)\s+Tool Description: (?P<description>(?:(?!Tool Name: ).)*?)"
            r"\s+Tool Args: \Z",
            re.DOTALL,
        ),
        call="Thought: I need a tool.\nAction: {name}\nAction Input: {arguments}",
        result=re.compile(r"Observation:(.*)", re.DOTALL),
        report="Thought: I can answer without using any more tools.\nAnswer: {results}",
    ),
)


@dataclass(frozen=True)
class Instructions:
    """The parsed instructions.

    Attributes:
        form: The format of calls.
        names: The names in the example: its tag.
        tools: The functions.
        forced: The functions of which one must be called now; empty if a call is optional.
        text: The instructions themselves.
    """

    form: Form
    names: Mapping[str, str]
    tools: tuple[Tool, ...]
    forced: tuple[Tool, ...]
    text: str

    def call(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        """Return a call in the requested format."""
        written = json.dumps(arguments, ensure_ascii=False)
        return self.form.call.format(
            **self.names, name=tool.name, quoted=json.dumps(tool.name), arguments=written
        )

    def results(self, turn: ParsedTurn) -> tuple[list[str], str]:
        """Return the results in a turn, and its other text."""
        found = [_content(result) for result in self.form.result.findall(turn.text)]
        return found, self.form.result.sub("", turn.text).strip()

    def report(self, results: Sequence[str]) -> str:
        """Answer with the tools' results."""
        return self.form.report.format(results="\n".join(results))


def read_instructions(prompt: ParsedPrompt) -> Instructions | None:
    """Parse the tool instructions in a prompt; `None` without any, or if they show no call format."""
    for text in (prompt.system, *(turn.text for turn in prompt.turns if turn.role == "user")):
        for form in FORMS:
            example = form.example.search(text)
            tools = {tool.name: tool for tool in form.tools(text)} if example else {}
            if example is None or not tools:
                continue
            end = form.end.search(text, example.end())
            instructions = text[: end.end()] if end else text
            forced = FORCED.search(instructions)
            must = [tool for tool in tools.values() if forced and forced["name"] in (None, tool.name)]
            return Instructions(form, example.groupdict(), tuple(tools.values()), tuple(must), instructions)
    return None


def json_values(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the outermost JSON objects and arrays in a text, with start and end."""
    decoder = json.JSONDecoder()
    at = misses = 0
    for found in re.finditer(r"[{\[]", text):
        if found.start() < at or misses > MISSES:
            continue
        try:
            value, at = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):  # not JSON, or unclosed brackets
            misses += 1
            continue
        yield found.start(), at, value


def _content(result: str) -> str:
    """Extract the text from a result that is wrapped in JSON with the tool's name."""
    try:
        value = json.loads(result)
    except ValueError:
        return result.strip()
    if isinstance(value, dict) and value.keys() & {"content", "error"}:
        value = value.get("content", value.get("error"))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
