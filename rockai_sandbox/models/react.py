"""Reading ReAct instructions: tools in prose, a thought, an action and its input, then an observation.

As in `tool_manual`, the labels are read from the instructions: other labels there give other labels here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rockai_sandbox.models.conversation import Conversation, Turn
from rockai_sandbox.models.tool_manual import Tool

TOOL = re.compile(
    r"> Tool Name: (?P<name>\S+)\s+Tool Description: (?P<about>.*?)\s+Tool Args: (?=\{)", re.DOTALL
)
FORM = re.compile(
    r"^(?P<thought>\w[\w ]*):[^\n]*\n"
    r"(?P<action>\w[\w ]*):[^\n]*\btool\b[^\n]*\n"
    r"(?P<input>\w[\w ]*):[^\n]*JSON",
    re.MULTILINE,
)
OBSERVATION = re.compile(r"\btool will respond\b[^\n]*\n+(?:```\n)?(\w+):")
ANSWER = re.compile(r"^(\w+): \[your answer", re.MULTILINE)
END = re.compile(r"^Below is the current conversation[^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class ReActManual:
    """What ReAct instructions say: the tools, the labels, and the text of the instructions themselves."""

    tools: tuple[Tool, ...]
    thought: str
    action: str
    input: str
    observation: str
    answer: str
    text: str

    @property
    def forced(self) -> tuple[Tool, ...]:
        """ReAct never forces a call."""
        return ()

    def call(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        """Write a call in the form that was asked for."""
        written = json.dumps(arguments, ensure_ascii=False)
        return f"{self.thought}: I need a tool.\n{self.action}: {tool.name}\n{self.input}: {written}"

    def results(self, turn: Turn) -> tuple[list[str], str]:
        """Return the results that a turn reports, and what else it says."""
        head, label, result = turn.text.partition(f"{self.observation}:")
        return ([result.strip()], head.strip()) if label else ([], turn.text)

    def report(self, results: tuple[str, ...]) -> str:
        """Answer with the tools' results."""
        told = "\n".join(results)
        return f"{self.thought}: I can answer without using any more tools.\n{self.answer}: {told}"


def read_react(conversation: Conversation) -> ReActManual | None:
    """Read ReAct instructions in a conversation; `None` if it has none, or none that show all labels."""
    for turn in conversation.turns:
        form, observation, answer = (
            FORM.search(turn.text),
            OBSERVATION.search(turn.text),
            ANSWER.search(turn.text),
        )
        tools = tuple(_tools(turn.text))
        if form and observation and answer and tools:
            end = END.search(turn.text)
            return ReActManual(
                tools=tools,
                thought=form["thought"],
                action=form["action"],
                input=form["input"],
                observation=observation[1],
                answer=answer[1],
                text=turn.text[: end.end() if end else answer.end()],
            )
    return None


def _tools(text: str) -> list[Tool]:
    decoder = json.JSONDecoder()
    found = []
    for match in TOOL.finditer(text):
        try:
            schema, _ = decoder.raw_decode(text, match.end())
        except ValueError:
            continue
        found.append(Tool(match["name"], match["about"], schema))
    return found
