"""Choosing among numbered summaries, tools to ask, or agents to hand over to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from rockai_sandbox.models.documents import words
from rockai_sandbox.models.parsed_prompt import ParsedPrompt

NUMBERED = re.compile(
    r"choices are given below.*?\n-{5,}\n(?P<list>.+)\n-{5,}.*?question: '(?P<question>.+?)'\s*(?:\n|\Z)",
    re.DOTALL,
)
CHOICE = re.compile(r"^\((\d+)\)\s+(.+?)(?=^\(\d+\)|\Z)", re.MULTILINE | re.DOTALL)
TOOLS = re.compile(
    r"<Tools>\s*```json\s*(?P<tools>\{.*?\})\s*```\s*"
    r"<User Question>\s*(?P<question>.*?)\s*<Output>",
    re.DOTALL,
)
AGENT = re.compile(r"'(\w+)': ['\"](.*?)['\"](?=[,}])")


def nearest(options: Mapping[str, str], asked: str) -> str:
    """Return the option that a text names, otherwise the one whose description shares most words with it."""
    return max(options, key=lambda name: (name in asked, len(words(options[name]) & words(asked))))


def choose_number(text: str) -> int | None:
    """Return the number of the summary closest to the question; `None` if none are listed."""
    found = NUMBERED.search(text)
    options = dict(CHOICE.findall(found["list"])) if found else {}
    return int(nearest(options, found["question"])) if found and options else None


def choose_agent(description: str, request: str) -> str | None:
    """Return the agent, of those in a function's description, that fits a request."""
    options = dict(AGENT.findall(description))
    return nearest(options, request) if options else None


def answer_choice(prompt: ParsedPrompt) -> str | None:
    """Answer a router that asks for a number and a reason as JSON."""
    number = choose_number(prompt.last)
    if number is None:
        return None
    return json.dumps([{"choice": number, "reason": "It shares most words with the question."}])


def ask_tools(prompt: ParsedPrompt) -> str | None:
    """Pass the whole question to each tool that shares a word with it, otherwise to all tools."""
    found = next(reversed(list(TOOLS.finditer(prompt.last))), None)
    if found is None:
        return None
    tools, question = json.loads(found["tools"]), found["question"]
    near = [name for name, about in tools.items() if words(about) & words(question)]
    items = [{"sub_question": question, "tool_name": name} for name in near or tools]
    return f"```json\n{json.dumps({'items': items}, ensure_ascii=False)}\n```"
