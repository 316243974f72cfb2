"""Following tool instructions by reading them: choose a function, fill its arguments, report its result."""

import re
from dataclasses import dataclass, replace

from rockai_sandbox.models.arguments import Filler
from rockai_sandbox.models.conversation import Conversation
from rockai_sandbox.models.documents import words
from rockai_sandbox.models.react import ReActManual, read_react
from rockai_sandbox.models.tool_manual import Manual, Tool, read_manual

Instructions = Manual | ReActManual

STEPS = re.compile(
    r"(?:[,;.]\s*|\s+)(?:and\s+then|then|after that|afterwards|and after that)[,\s]+", re.IGNORECASE
)
NAMED = 10.0
"""What it counts when the request says a function's very name; a shared word counts 1, one of its name 2."""


@dataclass(frozen=True)
class Task:
    """What is asked for, and what tools have said to it so far.

    Attributes:
        request: the user's own words.
        results: the results, oldest first.
    """

    request: str
    results: tuple[str, ...]


def use_tools(conversation: Conversation) -> str | None:
    """Call the functions that a request needs, one for each of its steps, then report their results."""
    manual = read_instructions(conversation)
    if manual is None:
        return None
    task = read_task(conversation, manual)
    steps = [step for step in STEPS.split(task.request) if step.strip()]
    remaining = steps[len(task.results) :]
    if remaining and (tool := choose(remaining[0], manual)) is not None:
        arguments = Filler(remaining[0], list(task.results), tool.schema).fill(tool.schema)
        return manual.call(tool, arguments)
    if manual.forced:
        tool = manual.forced[0]
        return manual.call(tool, Filler(task.request, list(task.results), tool.schema).fill(tool.schema))
    if not task.results:
        return None
    return manual.report(task.results)


def read_instructions(conversation: Conversation) -> Instructions | None:
    """Read the tool instructions in a conversation, in whichever form they are given."""
    return read_manual(conversation) or read_react(conversation)


def without_instructions(conversation: Conversation) -> Conversation:
    """Take the tool instructions out of the turns, so that they are not mistaken for what somebody said."""
    manual = read_instructions(conversation)
    if manual is None:
        return conversation
    turns = (replace(turn, text=turn.text.replace(manual.text, "").strip()) for turn in conversation.turns)
    return replace(conversation, turns=tuple(turns))


def read_task(conversation: Conversation, manual: Instructions) -> Task:
    """Find the last request that is no tool's result, and the results that follow it."""
    results: list[str] = []
    for turn in reversed(conversation.turns):
        if turn.role not in ("user", "tool"):
            continue
        said, rest = manual.results(replace(turn, text=turn.text.replace(manual.text, "").strip()))
        if turn.role == "user" and rest:
            return Task(rest, tuple(results))
        results = [*said, *results]
    return Task("", tuple(results))


def choose(step: str, manual: Instructions) -> Tool | None:
    """Return the function whose name and description share most with a step, `None` if none has any."""
    tools = manual.forced or manual.tools
    scores = [score(step, tool) for tool in tools]
    best = max(scores)
    return tools[scores.index(best)] if best > 0 else None


def score(step: str, tool: Tool) -> float:
    """Say how much a step has in common with a function."""
    asked = words(step)
    name = words(re.sub(r"[_\-]|(?<=[a-z])(?=[A-Z])", " ", tool.name))
    about = words(tool.description) | {
        word for key in tool.properties for word in words(key.replace("_", " "))
    }
    very_name = re.search(rf"\b{re.escape(tool.name)}\b", step, re.IGNORECASE) is not None
    return NAMED * very_name + 2.0 * len(asked & name) + 1.0 * len((asked & about) - name)
