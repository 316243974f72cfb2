"""Chat templates from the model's side: text with control tokens in, turns out, or the reason why not.

Law of this module: it reads strictly. A conversation in the wrong template, in a doubled one, or with a token
missing is not repaired, so that a client's mistake shows in the model's answer. White space around a turn's
text is stripped, as the reference templates do.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from rockai_sandbox.models.conversation import Conversation, Role, Turn

FOREIGN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("[INST] … [/INST]", re.compile(r"\[INST\].*?\[/INST\]", re.DOTALL)),
    ("<<SYS>> … <</SYS>>", re.compile(r"<<SYS>>.*?<</SYS>>", re.DOTALL)),
    ("<|im_start|>", re.compile(r"<\|im_start\|>(?:system|user|assistant)\n")),
    ("<|start_header_id|>", re.compile(r"<\|start_header_id\|>(?:system|user|assistant)<\|end_header_id\|>")),
)
"""The marks of each template inside a turn where it does not belong. A single token is only text."""


class Template(Interface):
    """How a model was taught to tell turns apart."""

    def read(self, text: str) -> Conversation:
        """Read a text as turns."""


class _MalformedError(Exception):
    """The text breaks the template's rules; the message says where."""


@dataclass(frozen=True)
class InstTemplate:
    """``[INST] user [/INST] assistant</s>…``: Llama 2 and Mistral.

    Attributes:
        has_system: whether the first turn may open with a ``<<SYS>>`` block.
        bos_between: whether ``<s>`` stands between the turns: in Llama 2's reference it does, in Mistral's
            not.
    """

    has_system: bool
    bos_between: bool

    def read(self, text: str) -> Conversation:
        """Read a text as turns."""
        parts = re.split(r"(</?s>|\[/?INST\]|<</?SYS>>)" if self.has_system else r"(</?s>|\[/?INST\])", text)
        if len(parts) == 1:
            return _bare(text)
        try:
            return _checked(self._turns(_Scanner(parts)))
        except _MalformedError as reason:
            return Conversation(fault=str(reason))

    def _turns(self, scanner: "_Scanner") -> list[Turn]:
        turns: list[Turn] = []
        scanner.skip("<s>")  # a tokenizer adds it where the text does not have it
        while True:
            scanner.expect("[INST]")
            if not turns and self.has_system and scanner.next_is("<<SYS>>"):
                turns.append(self._system(scanner))
            turns.append(Turn("user", scanner.text().strip()))
            scanner.expect("[/INST]")
            answer = scanner.text().strip()
            if scanner.at_end:
                return turns + ([Turn("assistant", answer)] if answer else [])
            turns.append(Turn("assistant", answer))
            scanner.expect("</s>")
            if self.bos_between:
                scanner.expect("<s>")

    @staticmethod
    def _system(scanner: "_Scanner") -> Turn:
        scanner.expect("<<SYS>>")
        text = scanner.text()
        scanner.expect("<</SYS>>")
        after = scanner.peek_text()
        if not (text.startswith("\n") and text.endswith("\n") and after.startswith("\n\n")):
            raise _MalformedError("the <<SYS>> block lacks its line breaks")
        return Turn("system", text.strip())


class _Scanner:
    """Texts and control tokens by turns, from `re.split`."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = parts
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._parts)

    def peek_text(self) -> str:
        return self._parts[self._at] if self._at % 2 == 0 else ""

    def text(self) -> str:
        text = self._parts[self._at]
        self._at += 1
        return text

    def next_is(self, token: str) -> bool:
        return not self._blank_before() and self._token() == token

    def skip(self, token: str) -> None:
        if self.next_is(token):
            self.expect(token)

    def expect(self, token: str) -> None:
        stray = self._blank_before()
        if stray:
            raise _MalformedError(f"{_short(stray)!r} stands where {token} should")
        if self._token() != token:
            raise _MalformedError(f"{self._token() or 'the end'} stands where {token} should")
        self._at += 1 if self._at % 2 else 2

    def _blank_before(self) -> str:
        return self.peek_text().strip() if not self.at_end else ""

    def _token(self) -> str:
        at = self._at if self._at % 2 else self._at + 1
        return self._parts[at] if at < len(self._parts) else ""


@dataclass(frozen=True)
class RoleTemplate:
    """Each turn opens with its role's name: Llama 3 and ChatML.

    Attributes:
        bos: may stand before everything, once.
        before: stands before the role's name.
        after: stands behind it.
        end: closes the turn.
        tokens: all control tokens; none of them may stand inside a turn.
    """

    bos: str
    before: str
    after: str
    end: str
    tokens: tuple[str, ...]
    roles: dict[str, Role] = field(
        default_factory=lambda: {
            "system": "system",
            "user": "user",
            "assistant": "assistant",
            "ipython": "tool",
            "tool": "tool",
        }
    )

    def read(self, text: str) -> Conversation:
        """Read a text as turns."""
        if not any(token in text for token in self.tokens):
            return _bare(text)
        try:
            return _checked(self._turns(text.removeprefix(self.bos)))
        except _MalformedError as reason:
            return Conversation(fault=str(reason))

    def _turns(self, text: str) -> list[Turn]:
        turns: list[Turn] = []
        opening = re.compile(re.escape(self.before) + r"(\w+)" + re.escape(self.after))
        while True:
            opened = opening.match(text)
            if opened is None:
                raise _MalformedError(f"{_short(text) or 'the end'!r} stands where {self.before} should")
            role = self.roles.get(opened[1])
            if role is None:
                raise _MalformedError(f"there is no role {opened[1]!r}")
            content, closed, text = text[opened.end() :].partition(self.end)
            stray = next((token for token in self.tokens if token in content), None)
            if stray is not None:
                raise _MalformedError(f"{stray} stands inside a turn")
            if not closed:
                if role != "assistant":
                    raise _MalformedError(f"the last turn is not the assistant's but the {opened[1]}'s")
                return turns + ([Turn(role, content.strip())] if content.strip() else [])
            turns.append(Turn(role, content.strip()))


def _bare(text: str) -> Conversation:
    return _checked([Turn("user", text.strip())], is_bare=True)


def _checked(turns: list[Turn], *, is_bare: bool = False) -> Conversation:
    for turn in turns:
        for mark, pattern in FOREIGN:
            if pattern.search(turn.text):
                return Conversation(fault=f"{mark} of another model's template stands inside a turn")
    if turns and turns[-1].role == "assistant":
        return Conversation(tuple(turns[:-1]), is_bare=is_bare)  # words put into the model's mouth
    return Conversation(tuple(turns), is_bare=is_bare)


def _short(text: str) -> str:
    return textwrap.shorten(text, 40, placeholder="…")


LLAMA_2: Template = InstTemplate(has_system=True, bos_between=True)
MISTRAL: Template = InstTemplate(has_system=False, bos_between=False)
LLAMA_3: Template = RoleTemplate(
    bos="<|begin_of_text|>",
    before="<|start_header_id|>",
    after="<|end_header_id|>\n\n",
    end="<|eot_id|>",
    tokens=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
CHATML: Template = RoleTemplate(
    bos="",
    before="<|im_start|>",
    after="\n",
    end="<|im_end|>\n",
    tokens=("<|im_start|>", "<|im_end|>"),
)
