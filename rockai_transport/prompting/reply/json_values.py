"""JSON as models write it: where a value ends in a stream, and what it says.

Beside JSON proper this reads Python literals (single and triple quotes, ``True``, ``None``, trailing commas),
comments and unquoted keys as in JSON5, all of them mixed, typographic quotes, colons and commas of Chinese,
and strings with raw line breaks. An object in which a key stands twice is none, nor is a list of two texts
without a comma: something would be lost. Reading never raises anything but ``ValueError``, and gives no text
that could not be sent again.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from rockai_transport.prompting.reply.token_set import BYTE_ORDER_MARK

_TRIPLE: Final = 3
_BRACKETS: Final = {"{": "}", "[": "]", "(": ")"}
# Where the scanner stops, by what it is in. A `<` or a backtick outside of strings is in no JSON.
_STOPS: Final = {
    "": re.compile(r"""[{}\[\]<`]|"{1,3}|'{1,3}|/[/*]?"""),
    "(": re.compile(r"""[{}\[\]()<`]|"{1,3}|'{1,3}|/[/*]?"""),
    '"': re.compile(r'"|\\.?', re.DOTALL),
    "'": re.compile(r"'|\\.?", re.DOTALL),
    '"""': re.compile(r'"{1,3}|\\.?', re.DOTALL),
    "'''": re.compile(r"'{1,3}|\\.?", re.DOTALL),
    "//": re.compile(r"\n"),
    "/*": re.compile(r"\*/|\*\Z"),
}
_MOST_PASSES: Final = 10  # how often a text is read, at most, to look behind brackets of prose
_MOST_NESTED: Final = 100
_WORDS: Final = {"true": "True", "false": "False", "null": "None", "\uff1a": ":", "\uff0c": ",", "\xa0": " "}
_STRAIGHT: Final = str.maketrans("“”„", '"""')
# A string, a comment, a key without quotes, one of JSON's words outside of any, or zeros that are no number:
# to Python they are one, which makes 1,000 two of them.
_TOKENS: Final = re.compile(
    r"""(?<![\w$])[rR](?:"[^"\n]*+"|'[^'\n]*+')|(?P<triple>"{3}|'{3})(?:[^"'\\]|\\.|(?!(?P=triple)).)*+(?P=triple)"""
    r"""|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?|//[^\n]*|/\*.*?(?:\*/|\Z)"""
    r"""|(?<![\w$])(?P<key>[A-Za-z_$][\w$-]*)(?=\s{0,99}:)|\b(?:true|false|null)\b"""
    r"""|(?<![\w.])00+|[\uff1a\uff0c\xa0]""",
    re.DOTALL,
)
# What may stand behind a backslash in a Python string; anything else would be a SyntaxWarning.
_PYTHON_ESCAPES: Final = frozenset("\\'\"abfnrtvxuU/")
_HALVES: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
# What begins like JSON: nothing inside of it is looked at by itself.
_LIKE_JSON: Final = re.compile(
    r"""\{\s*(?:["'}]|//|/\*|[A-Za-z_$][\w$-]*\s*:)|\[\s*(?:[{\["'\]\d-]|true|false|null)"""
)
_BEFORE: Final = re.compile(r"```\w*\s*\Z")
_BEHIND: Final = re.compile(r"\A\s*```[^\S\n]*\n?")


class ValueScanner:
    """Find where a bracketed value ends, piece by piece; what it says is not looked at.

    A ``<`` or a backtick outside of strings ends a value before its brackets do: no JSON holds one there, but
    the closing tag or fence stands there when a model forgets a bracket.
    """

    kept = 0  # as TaggedScanner's: nothing ever

    def __init__(self, *, python: bool = False) -> None:
        """Make a scanner.

        Args:
            python: Whether round brackets count: the value is a Python call, or a list of them.
        """
        self._outside = "(" if python else ""
        self._mode = self._outside
        self._open: list[str] = []
        self._carried = ""  # what ended the piece before, where it depends on what follows
        self._last = ""

    def scan(self, text: str, start: int = 0) -> int | None:
        """Read on.

        Args:
            text: The next piece; in the first one the opening bracket stands at ``start``, or behind a name.
            start: Where to begin in it.

        Returns:
            The index behind the value, or None when it does not end in this piece.
        """
        at, offset = start, 0
        if self._carried:
            at, offset = 0, start - len(self._carried)
            text, self._carried = self._carried + text[start:], ""
        while at < len(text):
            found = _STOPS[self._mode].search(text, at)
            if self._mode == self._outside:
                self._last = text[at : found.start() if found else len(text)].rstrip()[-1:] or self._last
            if found is None:
                break
            at, stop = found.end(), found[0]
            if at == len(text) and self._may_grow(stop):
                self._carried = stop
            elif self._mode != self._outside:
                goes_on = stop[0] == "\\" or len(stop) < len(self._mode) == _TRIPLE
                self._mode = self._mode if goes_on else self._outside
            elif stop in ("<", "`"):
                return found.start() + offset
            elif self._enter(stop):
                return at + offset
        return None

    @property
    def missing(self) -> str:
        """The one bracket that a model forgot: where only the outermost is open, behind another one's end.

        Anything else that is missing could hold arguments and is not made up.
        """
        forgotten = len(self._open) == 1 and self._mode == self._outside and self._last in ("}", "]", ")")
        return self._open[0] if forgotten else ""

    def _may_grow(self, stop: str) -> bool:
        """Whether what stands at the end of a piece can become a longer stop with the next one."""
        if stop[0] in "\"'":
            return len(stop) < _TRIPLE and (self._mode == self._outside or len(self._mode) == _TRIPLE)
        return stop in ("\\", "/", "*")

    def _enter(self, stop: str) -> bool:
        """Take what stands outside of strings; whether it ends the value."""
        self._last = self._last if stop[0] == "/" else stop
        if stop in _BRACKETS:
            self._open.append(_BRACKETS[stop])
        elif stop in _STOPS:
            self._mode = stop
        elif stop in ("}", "]", ")"):
            del self._open[-1:]
            return not self._open
        return False


def read_value(text: str) -> Any:
    """Read one value.

    Args:
        text: JSON, or a Python literal.

    Returns:
        What it says; half a surrogate pair in it is U+FFFD.

    Raises:
        ValueError: It is neither.
    """
    text = text.strip().removeprefix(BYTE_ORDER_MARK)
    value = _read(text)
    if text.count("{") + text.count("[") > _MOST_NESTED and _reaches(value, _MOST_NESTED):
        raise ValueError("nested too deeply")
    return json.loads(well_formed(json.dumps(value, ensure_ascii=False))) if _HALVES.search(text) else value


def _read(text: str) -> Any:
    try:
        return json.loads(text, strict=False, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        problem = error  # the one to show: JSON is what the model was told to write
    for form in dict.fromkeys((text, text.translate(_STRAIGHT))):
        try:
            return _literal(_TOKENS.sub(_json_token, form))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ValueError(f"not valid JSON: {problem}") from problem


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same key twice")
    return made


def well_formed(text: str) -> str:
    """Replace half surrogate pairs by U+FFFD and join whole ones: what is left can be sent as UTF-8.

    Args:
        text: Any text.

    Returns:
        The text; the same where it holds none.
    """
    if text.isascii() or not _HALVES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _reaches(value: Any, level: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return level == 0 or any(_reaches(one, level - 1) for one in inner)


def as_python(text: str) -> str:
    """Write what is JSON in a text as Python does: its words, its keys, its strings' escapes; comments go.

    Args:
        text: A value, or a call.

    Returns:
        Python, where it was one of the two.
    """
    return _TOKENS.sub(_python_token, text)


def _literal(text: str) -> Any:
    # A literal can hold what JSON cannot: sets, bytes, numbers as keys. Arguments must be JSON.
    tree = ast.parse(text.strip(), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            _object([(getattr(key, "value", None), None) for key in node.keys])  # type: ignore[misc]
    return json.loads(json.dumps(ast.literal_eval(tree)))


def _json_token(match: re.Match[str]) -> str:
    """As Python writes it; strings in brackets, so that two without a comma are not taken for one."""
    token = _python_token(match)
    return f"({token})" if token[-1] in "\"'" else token


def _python_token(match: re.Match[str]) -> str:
    token = match[0]
    if match["key"]:
        return f'"{token}"'
    if token[0] in "/0":
        return " " if token[0] == "/" else "?"
    if token in _WORDS:
        return _WORDS[token]
    if token[0] in "rR":
        return token
    token = token.replace("\n", "\\n").replace("\r", "\\r")
    return re.sub(r"\\(.)", _known_escape, token, flags=re.DOTALL)


def _known_escape(match: re.Match[str]) -> str:
    known = match[1] in _PYTHON_ESCAPES
    return "/" if match[1] == "/" else match[0] if known else "\\" + match[0]


def extract_json(text: str, accepts: Callable[[Any], bool] | None = None) -> Any:
    """Find the JSON value in a reply: bare, fenced, or with prose around it.

    Args:
        text: The reply's text.
        accepts: Whether a value is one that is looked for.

    Returns:
        The whole reply where it is JSON; else the value in it that is accepted; else the first object in it
        that can be read; else the first array. What stands inside of another value is never taken for it.

    Raises:
        ValueError: There is none, one does not end, or several different ones are accepted; the message says
            what is wrong, in words a model can act on.
    """
    return find_json(text, accepts)[0]


def find_json(text: str, accepts: Callable[[Any], bool] | None = None) -> tuple[Any, str, str]:
    """Find the JSON value in a reply, and what stands around it: see :func:`extract_json`.

    Args:
        text: The reply's text.
        accepts: Whether a value is one that is looked for.

    Returns:
        The value, and the text before and behind it, without a code fence around the value.

    Raises:
        ValueError: As there.
    """
    try:
        return read_value(text), "", ""
    except ValueError as error:
        problem = str(error)
    found: list[tuple[Any, str, str]] = []
    for candidate, start, end in _bracketed(text):
        try:
            value = read_value(candidate)
        except ValueError as error:
            problem = str(error)
            continue
        found.append((value, _BEFORE.sub("", text[:start]), _BEHIND.sub("", text[end:])))
    accepted = [one for one in found if accepts is not None and accepts(one[0])]
    if any(one[0] != accepted[0][0] for one in accepted):
        raise ValueError("several different JSON values fit, where one was asked for")
    best = accepted or [one for one in found if isinstance(one[0], dict)] or found
    if not best:
        raise ValueError(problem)
    return best[0]


def _bracketed(text: str) -> Iterator[tuple[str, int, int]]:
    """Every bracketed part of a text that could be a value by itself, closed, and where it stands."""
    behind = read = 0
    for found in re.finditer(r"[{\[]", text):
        start = found.start()
        if start < behind:
            continue
        scanner = ValueScanner()
        end = scanner.scan(text, start)
        stop = len(text) if end is None else end
        read += stop - start
        if read > _MOST_PASSES * len(text):
            return
        yield text[start:stop] + scanner.missing, start, stop
        if _LIKE_JSON.match(text, start) or (end is not None and found[0] == "["):
            behind = stop
