"""Following tool instructions: choosing a function, filling its arguments, reporting its result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rockai_sandbox.models.arguments import URL, Filler, each_place, lacks_place, needs_picture
from rockai_sandbox.models.arithmetic import operations, with_signs
from rockai_sandbox.models.choices import choose_number
from rockai_sandbox.models.documents import words
from rockai_sandbox.models.instructions import Instructions, Tool, read_instructions
from rockai_sandbox.models.parsed_prompt import ParsedPrompt

STEPS = re.compile(
    r"(?:[,;.?!]\s*|\s+)(?:and\s+then|then|after that|afterwards|and after that|also)[,\s]+"
    r"|\s+and\s+(?=animate\b)"
    r"|(?<=[.?!;])\s+(?=(?:finally,? |now )?(?:add|subtract|multiply|divide)\b|what(?:'s| is) \(?-?\d)"
    r"|[，。；,;?？]\s*(?:然后|接着|再|最后|之后|另外|此外|还有)+[，,]?",
    re.IGNORECASE,
)
MEANT: Mapping[str, str] = {
    r"\d\s*\*\s*\(?\d|\*\s*\d|相乘|乘积": "multiply product",
    r"\d\s*\+\s*\(?\d|\+\s*\d|相加|求和|之和": "add sum",
    r"\d\s*-\s*\(?\d|减|\bminus\b|相减": "subtract minus",
    r"\d\s*/\s*\(?\d|相除|除以": "divide",
    r"天气|气温|下雨|下雪|\brain|\bsnow|\bumbrella\b|\bhow (?:hot|cold|warm)\b": "weather",
    "时间|几点": "time",
    r"图片|图像|画|\bdraw\b|\bpicture\b": "image picture",
    r"视频|动起来|\bvideo\b": "video animate",
    r"搜索|查找|检索|\bfind\b|\blook up\b|\bnews\b|\bknow about\b|\bwho (?:is|was|won)\b": "search find",
    "计算": "calculate",
    r"(?m)^\W*(?:what|who|when|where|why|how)\b(?!.*\b(?:my|your?|i)\b)|[？?]\s*$": "answer question",
    "股价|股票": "stock price",
    "报告": "report write",
    "邮件": "email mail send",
}
"""Patterns for requests that lack the English word → that word."""
HANDED_OVER = re.compile(r"Agent \S+ is now handling the request")
NAMED = 10.0
"""The score if the request contains a function's full name. A shared word scores 1, a word of the name 2."""


def answer_with_tools(prompt: ParsedPrompt) -> tuple[str | None, ParsedPrompt]:
    """Call the functions that a request needs, one for each of its steps, then report their results.

    Returns:
        The answer, `None` if no tool is needed; and the prompt without the tool instructions, so that
        they are not mistaken for the user's text.
    """
    instructions = read_instructions(prompt)
    if instructions is None:
        return None, prompt
    turns = (replace(turn, text=turn.text.replace(instructions.text, "").strip()) for turn in prompt.turns)
    prompt = replace(prompt, turns=tuple(turns))
    request, results = read_task(prompt, instructions)
    said = "".join(turn.text for turn in prompt.turns if turn.role == "assistant")
    where = next((one for one in instructions.tools if tells_place(one)), None)
    handed_over = [result for result in results if HANDED_OVER.match(result)]
    if handed_over and not instructions.forced:  # only once: otherwise agents could hand over forever
        kept = tuple(
            tool for tool in instructions.tools if "to_agent" not in tool.schema.get("properties", {})
        )
        instructions = replace(instructions, tools=kept)
    done = len(results) - len(handed_over) - (where is not None and where.name in said)
    split = [request] if choose_number(request) else STEPS.split(request)
    steps = [(step, choose(step, instructions)) for step in split if step.strip()]
    steps = [part for step, tool in steps for part in parts(step, tool, instructions)]
    steps = with_picture(steps, instructions)
    step, tool = steps[done] if done < len(steps) else (request, None)
    if tool and where and where.name not in said and lacks_place(tool.schema, step):
        tool = where
    if tool is None and instructions.forced:
        # The only step left is to answer in the requested form, through the last function.
        uncalled = [one for one in instructions.forced if one.name not in said] or instructions.forced
        tool, step = uncalled[-1 if results else 0], "\n".join(results) or request
    if tool is not None:
        arguments = Filler(step, results, tool.schema, tool.description).fill(tool.schema)
        return instructions.call(tool, arguments), prompt
    return instructions.report(results) if results else None, prompt


def parts(step: str, tool: Tool | None, instructions: Instructions) -> list[tuple[str, Tool | None]]:
    """Split a step if its function takes one place or two numbers, and the step names more."""
    kinds = {str(one.get("type")) for one in tool.schema.get("properties", {}).values()} if tool else set()
    if kinds and kinds <= {"integer", "number"}:
        each = [(one, choose(one, instructions)) for one in operations(step)]
        if len(each) > 1 and all(tool for _, tool in each):
            return each
    return [(part, tool) for part in (each_place(tool.schema, step) if tool else [step])]


def with_picture(
    steps: list[tuple[str, Tool | None]], instructions: Instructions
) -> list[tuple[str, Tool | None]]:
    """Make a picture before the first step that needs one, if the request has none: «make a video of …»."""
    at = next((index for index, (_, tool) in enumerate(steps) if tool and needs_picture(tool.schema)), None)
    makers = (one for one in instructions.tools if re.search("image|picture", one.name, re.IGNORECASE))
    maker = next((one for one in makers if not needs_picture(one.schema)), None)
    if (
        at is None
        or maker is None
        or any(tool is maker or URL.search(step) for step, tool in steps[: at + 1])
    ):
        return steps
    return [*steps[:at], (steps[at][0], maker), *steps[at:]]


def tells_place(tool: Tool) -> bool:
    """Whether a function returns the user's location."""
    return "location" in tool.name and not tool.schema.get("required")


def read_task(prompt: ParsedPrompt, instructions: Instructions) -> tuple[str, Sequence[str]]:
    """Find the user's last request that is not a tool result, and the results that follow it."""
    results: list[str] = []
    for turn in reversed(prompt.turns):
        if turn.role not in ("user", "tool"):
            continue
        found, rest = instructions.results(turn)
        if turn.role == "user" and rest:
            return rest, results
        results = [*found, *results]
    return "", results


def choose(step: str, instructions: Instructions) -> Tool | None:
    """Return the function whose name and description share most words with a step, or `None`."""
    best = max(instructions.forced or instructions.tools, key=lambda tool: score(step, tool), default=None)
    return best if best and score(step, best) > 0 else None


def score(step: str, tool: Tool) -> float:
    """Return how well a step matches a function."""
    signs = f"{step}\n{with_signs(step)}"
    asked = words(
        " ".join([step, *(word for sign, word in MEANT.items() if re.search(sign, signs, re.IGNORECASE))])
    )
    name = words(re.sub(r"[_\-]|(?<=[a-z])(?=[A-Z])", " ", tool.name))
    about = words(" ".join([tool.description, *tool.schema.get("properties", {})]).replace("_", " "))
    case = re.IGNORECASE if tool.name.islower() else 0  # «the weather» does not name the class Weather
    very_name = re.search(rf"\b{re.escape(tool.name)}\b", step, case) is not None
    return NAMED * very_name + 2.0 * len(asked & name) + 1.0 * len((asked & about) - name)
