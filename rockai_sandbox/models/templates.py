"""Chat templates from the model's side: text with control tokens in, turns out, or the reason why not.

Invariants: a template is read strictly. A conversation in the wrong template, in a doubled one, or with a
token missing is not repaired, so that a client's mistake shows in the model's answer. White space around a
turn's text is stripped, as the reference templates do.
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
"""The marks of each template inside a turn where it does not belong. A single token is only text."""

BEGINNING = 16
"""How many characters of a malformed turn are shown: its control token, but hardly what it says."""


@dataclass(frozen=True)
class Template:
    """How a model was taught to tell turns apart.

    Attributes:
        bos: May stand before everything, once: a tokenizer adds it where the text does not have it.
        token: Any control token; text without one is no conversation.
        step: The next turns, one group for each, named by its role. The model's own turn, which is still
            open, ends with the text.
    """

    bos: str
    token: re.Pattern[str]
    step: re.Pattern[str]

    def read(self, text: str) -> ParsedPrompt:
        """Read a text as turns."""
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
        turns = turns[:-1]  # nothing yet, or words put into the model's mouth
    return ParsedPrompt(tuple(turns), is_bare=is_bare)


def _inst(token: str, between: str, system: str = r"(?!)") -> Template:
    """``[INST] user [/INST] assistant</s>…``: Llama 2 and Mistral.

    Args:
        token: Any control token.
        between: What stands between the model's turn and the user's next one.
        system: The system text inside the first user turn; by default there is no place for one.
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
        bos: May stand before everything, once.
        before: Stands before the role's name.
        after: Stands behind it.
        end: Closes the turn.
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
