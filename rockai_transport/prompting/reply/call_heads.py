"""Where a call begins in a model's text, and how long a text can still be one.

A call begins only with one of these: a token that opens a call (:mod:`.call_formats`) and what may follow it;
a code fence whose content begins like a call; and, at the start of a line, ``{`` or ``[{`` with a first key
that calls have, ``[name(`` or ``name {`` with a tool's name, or a hint followed by one of these. Everything
else is text at once, so text still streams while tools are bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from rockai_transport.prompting.reply import call_formats as formats
from rockai_transport.prompting.reply.schema_values import known_properties
from rockai_transport.prompting.reply.tagged import ARGUMENT
from rockai_transport.prompting.reply.token_set import FENCES, MOST_SPACE, TokenSet, is_blank, skip_space
from rockai_transport.prompting.reply.tools import Tools

Verdict = Literal["text", "undecided"]
Kind = Literal["json", "python", "tagged", "elements", "plain elements"]

_MOST_UNDECIDED: Final = 400
_MOST_TOKENS: Final = 12  # maximum in a row: a model that repeats one endlessly writes no call
_NAME: Final = re.compile(r"""["']?(\w[\w.:/-]{0,127})["']?""")
_JOINT: Final = re.compile(r"\s?[=,]")  # Llama's, of a name and its arguments
_STARTS: Final = ("{", "[{", '"{')  # of arguments, also in a list, or in quotes
_PRINT: Final = "print("  # around each call of Gemma 3's
_NAME_TAG, _NAME_END = "<function>", "</function>"  # around a name, behind an opening token
_COMMENT: Final = r"//[^\n]*+\n|/\*[^*]*+(?:\*(?!/)[^*]*+)*+\*/"
_FIRST_KEY: Final = re.compile(
    rf"""\{{?(?:\s|{_COMMENT}){{0,{MOST_SPACE}}}+(?P<quote>["'“”„]?)(?P<key>[\w$-]{{0,60}})"""
)
_KEY: Final = re.compile(
    rf"""(?:[\s{{\[,]|{_COMMENT})*+(?:["'“”„](?P<quoted>[^"'“”\\]{{1,60}})["'“”]|(?P<plain>[\w$-]{{1,60}}))"""
    r"""\s{0,50}:\s{0,50}"""
)
_VALUE: Final = re.compile(
    r""""(?P<double>[^"\\]{0,200})"|'(?P<single>[^'\\]{0,200})'|[“”„](?P<curly>[^“”\\]{0,200})[“”]"""
    r"""|(?P<atom>[\w.+-]{1,60})(?=[\s,}\]])|(?P<open>[{\[])"""
)
_CLOSING_QUOTES: Final = str.maketrans("“„", "”“")
_OBJECT_END: Final = re.compile(r"\s*}")
_CALL_ID: Final = re.compile("|".join(rf"(?<={re.escape(token)})[\"\w-]{{0,100}}" for token in formats.IDS))
_FENCE: Final = re.compile(rf"(?:{'|'.join(FENCES)})[^\S\n]{{0,9}}[\w+-]{{0,30}}")
_OPENING: Final = TokenSet(*formats.OPENING)
_BETWEEN: Final = TokenSet(*formats.BETWEEN)
CLOSING: Final = TokenSet(*formats.CLOSING)
_ELEMENT: Final = TokenSet(f"{formats.ELEMENT_MARK}<")


@dataclass(frozen=True, slots=True)
class Opener:
    """The beginning of a possible call.

    Attributes:
        body: The index of its body: a bracket, a Python name, the first tagged argument, or the closing token
            of a call without arguments.
        kind: How to read the body.
        name: The tool's name, if it comes before the body.
        meant: Whether it is certainly a call.
        hinted: Whether there is a hint, and the name follows it at once, or a word between the name and the
            body says that arguments follow.
        fenced: The code fence that opened it.
    """

    body: int
    kind: Kind
    name: str = ""
    meant: bool = False
    hinted: bool = False
    fenced: str = ""


def _skip(tokens: TokenSet, text: str, at: int) -> int:
    """Skip tokens and white space; -1 if it depends on what follows."""
    for _ in range(_MOST_TOKENS):
        found = _CALL_ID.match(text, at)
        at = skip_space(text, found.end() if found else at)
        end = tokens.end(text, at) if at < len(text) else -1
        end = _fence_end(text, at) if end == at else end
        if end <= at:
            return end
        at = end
    return at if at < len(text) else -1


def match_opener(text: str, at: int, tools: Tools, *, line_start: bool) -> Opener | Verdict:
    """Decide whether a call begins at a position.

    Args:
        text: The text so far.
        at: The position.
        tools: The tools that may be called.
        line_start: Whether only white space comes before it on its line.

    Returns:
        The opener; ``"text"`` if no call begins; ``"undecided"`` if it depends on what follows.
    """
    verdict = _direct(text, at, tools, line_start=line_start)
    return _hinted(text, at, tools) if line_start and verdict == "text" else verdict


def _direct(text: str, at: int, tools: Tools, *, line_start: bool) -> Opener | Verdict:
    """As `match_opener`, without a hint before the call."""
    if text[at] in "`~":
        return _fenced(text, at, tools)
    end = _OPENING.end(text, at)
    if end > at:
        return _marked(text, end, tools)
    verdict: Opener | Verdict = "text"
    if line_start and text[at] == "{":
        verdict = _first_key(text, at, tools, at)
    elif line_start and text[at] == "[":
        verdict = _listed(text, at, tools, marked=False)
    return "undecided" if end < 0 and verdict == "text" else verdict


def _hinted(text: str, at: int, tools: Tools) -> Opener | Verdict:
    """Decide what follows a hint: a call by itself, or a tool's name and the arguments in JSON."""
    end = tools.hints.end(text, at)
    if end <= at:
        return "undecided" if end < 0 else "text"
    place = skip_space(text, end) if text[at:end] in formats.HINTS else at
    if place == len(text):
        return "undecided"
    if place > at and text[place] in "`~{[<":
        return _direct(text, place, tools, line_start=True)
    # In a list, only objects and tokens are calls, so that it still streams.
    found = "text" if text[end - 1] == " " else _named(text, place, tools, marked=False)
    if not isinstance(found, Opener):
        return found
    return replace(found, hinted=place > at and (found.hinted or place == end))


def _fence_end(text: str, at: int) -> int:
    """Return the end of a code fence's opening, including its language; as `TokenSet.end`."""
    found = _FENCE.match(text, at)
    if found is None:
        return -1 if any(one.startswith(text[at : at + 3]) for one in FENCES) else at
    return found.end() if found.end() < len(text) else -1


def _fenced(text: str, at: int, tools: Tools) -> Opener | Verdict:
    end = _fence_end(text, at)
    if end <= at:
        return "text" if end == at else "undecided"
    info = text[at + 3 : end].strip().lower()
    if info in formats.CALL_FENCES:
        found = _marked(text, end, tools)
    else:
        body = skip_space(text, end)
        if body == len(text):
            return "undecided"
        reads = info in formats.FENCES and text[body] in "<{["
        found = _direct(text, body, tools, line_start=True) if reads else "text"
    return replace(found, fenced=text[at : at + 3]) if isinstance(found, Opener) else found


def _marked(text: str, at: int, tools: Tools, *, inner: bool = False) -> Opener | Verdict:
    """Decide what follows an opening token: JSON, a Python call or a list of them, or a name with a body."""
    at = _skip(_OPENING, text, at)
    if at < 0:
        return "undecided"
    if text[at] == "{":
        return Opener(at, "json", meant=True)
    if text[at] == "[":
        return _listed(text, at, tools, marked=True)
    return _named(text, at, tools, marked=True, inner=inner)


def _named(text: str, at: int, tools: Tools, *, marked: bool, inner: bool = False) -> Opener | Verdict:
    """Match a name and the arguments after it; without an opening token, only a tool's, and no empty call.

    What opens a call right after the name, or after another token: the name was the recipient (Inkling, Muse
    Glimmer). A recipient of a recipient is none: a model may repeat one endlessly.
    """
    own = _tags(frozenset(tools.schemas)).end(text, at)
    found = _NAME.match(text, at + 1 if own > at else at)
    if found is None:
        return "undecided" if own < 0 or text[at : at + 2] in ("'", '"') else "text"
    name, end = found[1], max(own, found.end())
    if text.endswith(_NAME_TAG, 0, at) and text.startswith(_NAME_END, end):
        end += len(_NAME_END)
    if text.startswith("(", end) and marked:
        return Opener(at, "python", meant=True)
    joint = _JOINT.match(text, end) if marked else None
    body = _skip(_BETWEEN, text, joint.end() if joint else end)
    if marked and body == len(text) - 1 and text[body] in '["':
        return "undecided"
    if body >= 0 and text.startswith(_STARTS if marked else "{", body) and (marked or tools.resolve(name)):
        return Opener(body, "json", name, meant=marked, hinted=not is_blank(text[end:body]))
    verdict = "undecided" if body < 0 else _with_tags(text, body, name, tools)
    behind_name = body == end or not is_blank(text[end:body])
    to_tool = verdict == "text" and behind_name and not inner
    if to_tool and (begin := _OPENING.end(text, body)) != body:
        return "undecided" if begin < 0 else _marked(text, begin, tools, inner=True)
    argument = ARGUMENT.end(text, body) > body or (own > at and not text.startswith("</", body))
    return verdict if marked or verdict == "undecided" or (argument and tools.resolve(name)) else "text"


@lru_cache(maxsize=256)
def _tags(names: frozenset[str]) -> TokenSet:
    return TokenSet(*(f"<{name}>" for name in names))


def _with_tags(text: str, at: int, name: str, tools: Tools) -> Opener | Verdict:
    """Match arguments in tags after a name, or the end of a call without arguments."""
    argument, closing, element = (tokens.end(text, at) for tokens in (ARGUMENT, CLOSING, _ELEMENT))
    known = tools.resolve(name)
    plain = _tags(known_properties(tools.schemas[known]) | {f"/{name}"}).end(text, at) if known else at
    if min(argument, closing, element, plain) < 0:
        return "undecided"
    if argument > at or (closing > at and known):
        return Opener(at, "tagged", name, meant=True)
    if plain > at:
        return Opener(at, "plain elements", name, meant=True)
    return Opener(at, "elements", name, meant=True) if element > at and closing == at else "text"


def _listed(text: str, at: int, tools: Tools, *, marked: bool) -> Opener | Verdict:
    """Match a list of objects or of Python calls."""
    first = skip_space(text, at + 1)
    if first == len(text):
        return "undecided"
    if text[first] == "{" and not marked:
        return _first_key(text, first, tools, at)
    found = _NAME.match(text, first) if text[first] not in "\"'" else None
    if found and found.end() == len(text):
        return "undecided"
    if found and text[found.end()] == "(" and (marked or tools.resolve(found[1])):
        return Opener(at, "python", meant=marked)
    return Opener(at, "json", meant=True) if marked and not text[first].isidentifier() else "text"


def _first_key(text: str, at: int, tools: Tools, body: int) -> Opener | Verdict:
    """Decide whether the object here begins with a key that calls have."""
    found = _FIRST_KEY.match(text, at + 1)
    end = found.end() if found else at
    key = found["key"] if found else ""
    if end == len(text):
        begun = any(one.startswith(key) for one in tools.first_keys)
        return "undecided" if begun else "text"
    if text[end] == "/" and not key:  # an incomplete comment
        return "undecided" if len(text) - end < _MOST_UNDECIDED else "text"
    closing = found["quote"].translate(_CLOSING_QUOTES) if found else ""
    if not closing:
        end, closing = skip_space(text, end), ":"
    if end == len(text):
        return "undecided" if key in tools.first_keys else "text"
    return Opener(body, "json") if text[end] == closing and key in tools.first_keys else "text"


def match_next(text: str, at: int, tools: Tools, opener: Opener) -> Opener | Verdict:
    """Decide whether another call of the same block begins at a position.

    Args:
        text: The text so far.
        at: The position, after a call.
        tools: The tools that may be called.
        opener: What opened the block.

    Returns:
        As :func:`match_opener`.
    """
    verdict = match_opener(text, at, tools, line_start=True)
    if verdict != "text" or opener.kind != "python":
        return verdict
    start = at + len(_PRINT) if text.startswith(_PRINT, at) else at
    found = _NAME.match(text, start)
    if (found.end() if found else start) == len(text):
        return "undecided"
    if found is None:
        return "text"
    return replace(opener, body=at) if text[found.end()] == "(" and tools.resolve(found[1]) else "text"


class BareWatch:
    """Watches an object without an opening token, until it is clear whether it can be a call."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._text = ""

    def feed(self, part: str) -> Literal["call"] | Verdict:
        """Take the next part of the value.

        Args:
            part: Any part of it; nothing after its end.

        Returns:
            ``"text"`` if it cannot be a call of these tools, whatever follows; ``"call"`` if only its end can
            decide.
        """
        self._text += part
        at = 0
        while key := _KEY.match(self._text, at):
            value = _VALUE.match(self._text, key.end())
            verdict = self._judge(key["quoted"] or key["plain"], value)
            if verdict != "undecided":
                return verdict
            if value is None:
                break
            at = value.end()
        self._text = self._text[at:]
        if key is None and _OBJECT_END.match(self._text):
            return "text"  # the object has ended without a tool's name
        return "undecided" if len(self._text) < _MOST_UNDECIDED else "call"

    def _judge(self, key: str, value: re.Match[str] | None) -> Literal["call"] | Verdict:
        if key not in self._tools.keys:
            return "text"
        if value is None or (value["open"] and key in (*formats.INNER_KEYS, *formats.LIST_KEYS)):
            return "undecided"
        if value["open"]:
            return "text" if key in formats.NAME_KEYS else "call"
        text = value["double"] or value["single"] or value["curly"] or value["atom"] or ""
        if key in formats.NAME_KEYS:
            return "call" if self._tools.resolve(text) else "text"
        return "undecided" if text in formats.FIXED_KEYS.get(key, (text,)) else "text"
