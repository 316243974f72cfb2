"""Following tool instructions: choose a function, fill its arguments, report its result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rockai_sandbox.models.arguments import Filler, each_place, lacks_place
from rockai_sandbox.models.arithmetic import with_signs
from rockai_sandbox.models.documents import words
from rockai_sandbox.models.instructions import Instructions, Tool, read_instructions
from rockai_sandbox.models.parsed_prompt import ParsedPrompt

STEPS = re.compile(
    r"(?:[,;.?!]\s*|\s+)(?:and\s+then|then|after that|afterwards|and after that|also)[,\s]+"
    r"|(?<=[.?!;])\s+(?=(?:finally,? |now )?(?:add|subtract|multiply|divide)\b|what(?:'s| is) \(?-?\d)"
    r"|[，。；,;?？]\s*(?:然后|接着|再|最后|之后)+",
    re.IGNORECASE,
)
MEANT: Mapping[str, str] = {
    r"\d\s*\*\s*\(?\d|\*\s*\d|相乘|乘积": "multiply product",
    r"\d\s*\+\s*\(?\d|\+\s*\d|相加|求和|之和": "add sum",
    r"\d\s*-\s*\(?\d|减|\bminus\b|相减": "subtract minus",
    r"\d\s*/\s*\(?\d|相除|除以": "divide",
    "天气|气温": "weather",
    "时间|几点": "time",
    "图片|图像|画": "image picture",
    "视频": "video animate",
    "搜索|查找|检索": "search find",
    "股价|股票": "stock price",
    "邮件": "email mail send",
}
"""What stands in a request without its English word → that word."""
NAMED = 10.0
"""What it counts when the request says a function's very name; a shared word counts 1, one of its name 2."""


def answer_with_tools(prompt: ParsedPrompt) -> tuple[str | None, ParsedPrompt]:
    """Call the functions that a request needs, one for each of its steps, then report their results.

    Returns:
        The answer, `None` where no tool is called for; and the prompt without the tool instructions, so that
        they are not mistaken for what somebody said.
    """
    instructions = read_instructions(prompt)
    if instructions is None:
        return None, prompt
    turns = (replace(turn, text=turn.text.replace(instructions.text, "").strip()) for turn in prompt.turns)
    prompt = replace(prompt, turns=tuple(turns))
    request, results = read_task(prompt, instructions)
    said = "".join(turn.text for turn in prompt.turns if turn.role == "assistant")
    where = next((one for one in instructions.tools if tells_place(one)), None)
    done = len(results) - (where is not None and where.name in said)
    steps = [(step, choose(step, instructions)) for step in STEPS.split(request) if step.strip()]
    steps = [(part, tool) for step, tool in steps for part in each_place(tool.schema if tool else {}, step)]
    step, tool = steps[done] if done < len(steps) else (request, None)
    if tool and where and where.name not in said and lacks_place(tool.schema, step):
        tool = where
    if tool is None and instructions.forced:
        # Nothing is left to do but to answer in the form that was asked for, the last function.
        uncalled = [one for one in instructions.forced if one.name not in said] or instructions.forced
        tool, step = uncalled[-1 if results else 0], "\n".join(results) or request
    if tool is not None:
        arguments = Filler(step, results, tool.schema).fill(tool.schema)
        return instructions.call(tool, arguments), prompt
    return instructions.report(results) if results else None, prompt


def tells_place(tool: Tool) -> bool:
    """Whether a function tells where the user is."""
    return "location" in tool.name and not tool.schema.get("required")


def read_task(prompt: ParsedPrompt, instructions: Instructions) -> tuple[str, Sequence[str]]:
    """Find the user's last request that is no tool's result, and the results that follow it."""
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
    """Return the function whose name and description share most with a step, `None` if none has any."""
    best = max(instructions.forced or instructions.tools, key=lambda tool: score(step, tool))
    return best if score(step, best) > 0 else None


def score(step: str, tool: Tool) -> float:
    """Say how much a step has in common with a function."""
    signs = with_signs(step)
    asked = words(" ".join([step, *(word for sign, word in MEANT.items() if re.search(sign, signs))]))
    name = words(re.sub(r"[_\-]|(?<=[a-z])(?=[A-Z])", " ", tool.name))
    about = words(" ".join([tool.description, *tool.schema.get("properties", {})]).replace("_", " "))
    very_name = re.search(rf"\b{re.escape(tool.name)}\b", step, re.IGNORECASE) is not None
    return NAMED * very_name + 2.0 * len(asked & name) + 1.0 * len((asked & about) - name)
