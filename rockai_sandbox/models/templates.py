"""Chat templates from the model's side: parse text with control tokens into turns, or say why it fails.

Invariants: a template is parsed strictly. A conversation in the wrong template, in a doubled template, or
without a required token is not repaired, so a client's mistake is visible in the model's answer. White space
around a turn's text is stripped, as in the reference templates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from rockai_sandbox.models.parsed_prompt import ParsedPrompt, ParsedTurn, Role

FOREIGN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("[INST] … [/INST]", re.compile(r"\[INST\].*?\[/INST\]", re.DOTALL)),
    ("<<SYS>> … <</SYS>>", re.compile(r"<<SYS>>.*?<</SYS>>", re.DOTALL)),
    ("<|im_start|>", re.compile(r"<\|im_start\|>(?:system|user|assistant)\n")),
    ("<|start_header_id|>", re.compile(r"<\|start_header_id\|>(?:system|user|assistant)<\|end_header_id\|>")),
)
"""The tokens of each template that show a wrong template inside a turn. A single token is only text."""

BEGINNING = 16
"""The characters of a malformed turn to show: its control token, but little of its text."""


@dataclass(frozen=True)
class Template:
    """A model's format for turns.

    Attributes:
        bos: Optional at the beginning, once: a tokenizer adds it if the text does not have it.
        token: Matches any control token; a text without one is not a conversation.
        step: Matches the next turns, with one group for each, named by its role. The model's own open turn
            ends with the text.
    """

    bos: str
    token: re.Pattern[str]
    step: re.Pattern[str]

    def read(self, text: str) -> ParsedPrompt:
        """Parse a text into turns."""
        if not self.token.search(text):
            return _checked([ParsedTurn("user", text.strip())], is_bare=True)
        text = text.removeprefix(self.bos)
        turns: list[ParsedTurn] = []
        at = 0
        while at < len(text) or not turns:
            step = self.step.match(text, at)
            if step is None:
                begins = text[at : at + BEGINNING] or "the end"
                return ParsedPrompt(fault=f"{begins!r} begins no turn of this model's chat template")
            found = cast("dict[Role, str | None]", step.groupdict())
            turns += [ParsedTurn(role, said.strip()) for role, said in found.items() if said is not None]
            at = step.end()
        return _checked(turns)


def _checked(turns: list[ParsedTurn], *, is_bare: bool = False) -> ParsedPrompt:
    for turn in turns:
        for mark, pattern in FOREIGN:
            if pattern.search(turn.text):
                return ParsedPrompt(fault=f"{mark} of another model's template stands inside a turn")
    if turns[-1].role == "assistant":
        turns = turns[:-1]  # empty, or text that is already in the model's turn
    return ParsedPrompt(tuple(turns), is_bare=is_bare)


def _inst(token: str, between: str, system: str = r"(?!)") -> Template:
    """``[INST] user [/INST] assistant</s>…``: Llama 2 and Mistral.

    Args:
        token: Any control token.
        between: The separator between the model's turn and the user's next one.
        system: Matches the system text inside the first user turn; by default, there is none.
    """
    text = rf"(?:(?!{token}).)*"
    step = (
        rf"(?:\A\s*\[INST\]\s*{system}|\s*\[INST\])(?P<user>{text})\[/INST\]"
        rf"(?P<assistant>{text})(?:{between}(?=\[INST\])|\Z)"
    )
    return Template("<s>", re.compile(token), re.compile(step, re.DOTALL))


def _headed(bos: str, before: str, after: str, end: str) -> Template:
    """Each turn opens with its role's name: Llama 3 and ChatML.

    Args:
        bos: Optional at the beginning, once.
        before: The text before the role's name.
        after: The text after it.
        end: The end of the turn.
    """
    token = "|".join(re.escape(one.strip()) for one in (bos, before, after, end) if one.strip())
    before, after, end = map(re.escape, (before, after, end))
    names = {"system": "system", "user": "user", "tool": "tool|ipython", "assistant": "assistant"}
    step = "|".join(
        rf"{before}(?:{name}){after}(?P<{role}>(?:(?!{token}).)*)(?:{end}(?={before})|{last})"
        for role, name in names.items()
        for last in [r"\Z" if role == "assistant" else "(?!)"]
    )
    return Template(bos, re.compile(token), re.compile(step, re.DOTALL))


LLAMA_2 = _inst(
    r"</?s>|\[/?INST\]|<</?SYS>>",
    between=r"</s>\s*<s>\s*",
    system=r"<<SYS>>\n(?P<system>(?:(?!<</?SYS>>|\[/?INST\]|</?s>).)*)\n<</SYS>>\n\n",
)
MISTRAL = _inst(r"</?s>|\[/?INST\]", between=r"</s>\s*")
LLAMA_3 = _headed("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>")
CHATML = _headed("", "<|im_start|>", "\n", "<|im_end|>\n")
