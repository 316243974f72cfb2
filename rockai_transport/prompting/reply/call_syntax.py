"""Where a call begins in a model's text.

Only these begin one: a call marker (``<tool_call>``, ``[TOOL_CALLS]``, ``<|python_tag|>`` …) that is followed
by a JSON value, anywhere; a code fence whose contents begin like a call; and ``{`` or ``[{`` at the beginning
of a line whose first key is one that calls have. What begins like none of them is text at once, so that text
streams as text while tools are bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rockai_transport.prompting.reply.call_values import CALL_KEYS

Verdict = Literal["text", "undecided"]

# Each marker, and what may close it behind its values.
_MARKERS: Final = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<function_call>": "</function_call>",
    "<functioncall>": "</functioncall>",
    "[TOOL_CALLS]": "",
    "<|python_tag|>": "",
}
FENCE: Final = "```"
_CALL_FENCES: Final = frozenset({"tool_call", "tool_calls", "tool_code"})
_FENCE_INFOS: Final = frozenset({"", "json", "tool", "python", *_CALL_FENCES})
_LONGEST_INFO: Final = max(map(len, _FENCE_INFOS))
_LONGEST_KEY: Final = max(map(len, CALL_KEYS))
# White space between an opener's parts; more of it is text, so that what is held back stays small.
_MOST_SPACE: Final = 200
FIRST_CHARACTERS: Final = frozenset("<[{`")


@dataclass(frozen=True, slots=True)
class Opener:
    """The beginning of what may be a call.

    Attributes:
        body: The index of its first value's bracket.
        closer: What closes it behind its last value; empty where nothing does.
        meant: Whether it marks a call beyond doubt.
        bare: Whether there is nothing but the value itself.
    """

    body: int
    closer: str = ""
    meant: bool = False
    bare: bool = False


def match_opener(text: str, at: int, *, line_start: bool) -> Opener | Verdict:
    """Decide whether a call begins at a place.

    Args:
        text: Text, known so far.
        at: The place; one of ``FIRST_CHARACTERS`` stands there.
        line_start: Whether only white space stands before it on its line.

    Returns:
        The opener, ``"text"`` where none begins, ``"undecided"`` where it depends on what follows.
    """
    undecided = False
    for marker, closer in _MARKERS.items():
        if text.startswith(marker, at):
            body = skip_space(text, at + len(marker))
            return _marked(text, body, closer)
        undecided = undecided or _begins(text, at, marker)
    if text[at] == "`":
        return _fenced(text, at)
    if line_start and text[at] in "{[":
        verdict = _first_key(text, at)
        if verdict is True:
            return Opener(at, bare=True)
        undecided = undecided or verdict == "undecided"
    return "undecided" if undecided else "text"


def _begins(text: str, at: int, marker: str) -> bool:
    """Whether the text ends before it is clear that the marker does not stand here."""
    return len(text) - at < len(marker) and marker.startswith(text[at:])


def skip_space(text: str, at: int) -> int:
    """Find the next character that is no white space, a bounded way ahead.

    Args:
        text: Text, known so far.
        at: Where to begin.

    Returns:
        Its index; the text's length where only white space follows.
    """
    end = min(len(text), at + _MOST_SPACE)
    while at < end and text[at].isspace():
        at += 1
    return at


def _marked(text: str, body: int, closer: str) -> Opener | Verdict:
    if body == len(text):
        return "undecided"
    return Opener(body, closer, meant=True) if text[body] in "{[" else "text"


def _fenced(text: str, at: int) -> Opener | Verdict:
    if not text.startswith(FENCE, at):
        return "undecided" if _begins(text, at, FENCE) else "text"
    start = at + len(FENCE)
    end = start
    while end < min(len(text), start + _LONGEST_INFO + 1) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    info = text[start:end]
    if end == len(text) and any(known.startswith(info) for known in _FENCE_INFOS):
        return "undecided"
    return _fence_body(text, skip_space(text, end), info) if info in _FENCE_INFOS else "text"


def _fence_body(text: str, body: int, info: str) -> Opener | Verdict:
    if info in _CALL_FENCES:
        return _marked(text, body, FENCE)
    if body == len(text):
        return "undecided"
    verdict = _first_key(text, body) if text[body] in "{[" else "text"
    return Opener(body, FENCE) if verdict is True else verdict


def _first_key(text: str, at: int) -> Literal[True] | Verdict:
    """Whether the value here begins with a key that calls have: ``{"name"`` or ``[{"name"``."""
    if text[at] == "[":
        at = skip_space(text, at + 1)
        if at < len(text) and text[at] != "{":
            return "text"
    at = skip_space(text, at + 1)
    if at >= len(text):
        return "undecided"
    quote = text[at]
    if quote not in "\"'":
        return "text"
    key, closed, _ = text[at + 1 : at + 2 + _LONGEST_KEY].partition(quote)
    if closed:
        return True if key in CALL_KEYS else "text"
    return "undecided" if any(known.startswith(key) for known in CALL_KEYS) else "text"
