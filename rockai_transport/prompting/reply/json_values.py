"""JSON as models write it: where a value ends in a stream, and its content.

Besides valid JSON this reads Python literals (single and triple quotes, ``True``, ``None``, trailing commas),
comments and unquoted keys as in JSON5, or with ``=`` as Gemma 4 writes it, all of them mixed, typographic
quotes, Chinese colons and commas, doubled braces as in a template, strings with raw line breaks, and short
ones without Gemma 4's opening quote. An object with a repeated key is invalid, and so is a list of two
strings without a comma: something would be lost. So are NaN and infinities, which are no JSON. Reading raises
only ``ValueError``, and returns no text that could not be sent again.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from rockai_transport.prompting.reply.call_formats import QUOTES
from rockai_transport.prompting.reply.token_set import BYTE_ORDER_MARK

_TRIPLE: Final = 3
_BRACKETS: Final = {"{": "}", "[": "]", "(": ")"}
_BEGUN: Final = {one: "|".join(re.escape(one[:length]) for length in range(1, len(one))) for one in QUOTES}
_QUOTE: Final = {one: rf"{re.escape(one)}|(?:{begun})\Z" for one, begun in _BEGUN.items()}
_ANY_QUOTE: Final = "|".join(_QUOTE.values())
_ONE_QUOTE: Final = "|".join(map(re.escape, QUOTES))
# The scanner's stops, by state. No JSON contains a `<` or a backtick outside strings.
_STOPS: Final = {
    "": re.compile(rf"""{_ANY_QUOTE}|[{{}}\[\]<`]|"{{1,3}}|'{{1,3}}|/[/*]?"""),
    "(": re.compile(rf"""{_ANY_QUOTE}|[{{}}\[\]()<`]|"{{1,3}}|'{{1,3}}|/[/*]?"""),
    **{one: re.compile(pattern) for one, pattern in _QUOTE.items()},
    '"': re.compile(r'"|\\.?', re.DOTALL),
    "'": re.compile(r"'|\\.?", re.DOTALL),
    '"""': re.compile(r'"{1,3}|\\.?', re.DOTALL),
    "'''": re.compile(r"'{1,3}|\\.?", re.DOTALL),
    "//": re.compile(r"\n"),
    "/*": re.compile(r"\*/|\*\Z"),
}
_MOST_PASSES: Final = 10  # maximum number of times that a text is read again, after a bracket of prose
_MOST_NESTED: Final = 100
_BEFORE_VALUES: Final = frozenset("{[(:=,\uff1a\uff0c")
# White space of Unicode, and what has no width; neither JSON nor Python allows any of it outside strings.
_SPACES: Final = "\x85\xa0\xad\u2028\u202f\u2060\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200E)))
_PYTHON_FORMS: Final = {
    **dict.fromkeys(_SPACES, " "),
    "true": "True",
    "false": "False",
    "null": "None",
    "\uff1a": ":",
    "\uff0c": ",",
}
_STRAIGHT: Final = str.maketrans("“”„", '"""')
# A string (also without its opening quote), a comment, an unquoted key, one of JSON's words outside strings,
# or what is no number: 00, because Python would read 1,000 as two numbers, and 5in, of which it would warn.
_TOKENS: Final = re.compile(
    rf"""(?P<quote>{_ONE_QUOTE})(?P<quoted>.*?)(?P=quote)(?P<forgotten>\s{{0,9}}(?=[A-Za-z_][\w-]*:))?"""
    r"""|(?<=[:=])\s{0,9}+(?P<bare>(?:[^<"'{}\[\],]|,(?!\s{0,9}[A-Za-z_$][\w$-]*\s{0,9}[:=])){1,200}+)"""
    rf"""(?<![\s,:=])(?:{_ONE_QUOTE})(?=\s{{0,9}}[,}}])"""
    r"""|(?<![\w$])[rR](?:"[^"\n]*+"|'[^'\n]*+')"""
    r"""|(?P<triple>"{3}|'{3})(?:[^"'\\]|\\.|(?!(?P=triple)).)*+(?P=triple)"""
    r"""|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?|//[^\n]*|/\*.*?(?:\*/|\Z)"""
    r"""|(?<![\w$-])(?P<key>(?:[^\W\d]|\$)[\w$-]*)(?:(?=\s{0,99}:)|(?P<sign>\s{0,9}=(?![=>])))"""
    r"""|\b(?:true|false|null)\b|(?<![\w.])(?:00+|\d[\w.]*?(?:and|else|for|i[fns]|not|or)\b)"""
    rf"""|[\uff1a\uff0c{_SPACES}]""",
    re.DOTALL,
)
# The characters that make an escape with the backslash before them. Models mean a backslash by any other,
# also by Python's for the bell and the vertical tab, as in `\alpha` and `\vec`.
_PYTHON_ESCAPES: Final = frozenset("\\'\"bfnrtxuU/")
_HALVES: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
# Text that begins like JSON; its inner parts are not searched separately.
_LIKE_JSON: Final = re.compile(
    r"""\{\s*(?:["'}]|//|/\*|[A-Za-z_$][\w$-]*\s*:)|\[\s*(?:[{\["'\]\d-]|true|false|null)"""
)
_BEFORE: Final = re.compile(r"(?:```|~~~)\w*\s*\Z")
_BEHIND: Final = re.compile(r"\A\s*(?:```|~~~)[^\S\n]*\n?")


class ValueScanner:
    """Finds the end of a bracketed value, piece by piece, without reading its content.

    A ``<`` or a backtick outside strings ends a value even if brackets are open: JSON cannot contain it, but
    the closing tag or fence follows there if a model forgets a bracket.
    """

    kept = 0  # as in TaggedScanner

    def __init__(self, *, python: bool = False) -> None:
        """Create a scanner.

        Args:
            python: Whether round brackets count: the value is a Python call, or a list of them.
        """
        self._outside = "(" if python else ""
        self._mode = self._outside
        self._open: list[str] = []
        self._last = ""
        self._blank = False  # whether it ended at a `<` in the place of a value, as of `<function-name>`

    def scan(self, text: str, start: int = 0) -> int | None:
        """Read on.

        Args:
            text: The next piece, after the kept characters; in the first one the opening bracket is at
                ``start``, or after a name.
            start: Where to begin in it.

        Returns:
            The index after the value, or None if it does not end in this piece.
        """
        at, self.kept = start, 0
        while at < len(text):
            found = _STOPS[self._mode].search(text, at)
            if self._mode == self._outside:
                self._last = text[at : found.start() if found else len(text)].rstrip()[-1:] or self._last
            if found is None:
                break
            at, stop = found.end(), found[0]
            if at == len(text) and self._may_grow(stop):
                self.kept = len(stop)
            elif self._mode != self._outside:
                goes_on = stop[0] == "\\" or len(stop) < len(self._mode) == _TRIPLE
                self._mode = self._mode if goes_on else self._outside
                if not (goes_on or self._open):  # the value is a string
                    return at
            elif stop in ("<", "`"):
                self._blank = stop == "<" and self._last in (":", "=") and text[at].isalpha()
                return found.start()
            elif self._enter(stop):
                return at
        return None

    @property
    def missing(self) -> str:
        """The one bracket that a model forgot: only the outermost is open, right after another one closed.

        Anything else that is missing could contain arguments, so it is not added; the place of a template's
        placeholder is marked by an ellipsis.
        """
        if self._blank:
            return "…"
        forgotten = len(self._open) == 1 and self._mode == self._outside and self._last in ("}", "]", ")")
        return self._open[0] if forgotten else ""

    def _may_grow(self, stop: str) -> bool:
        """Return whether the end of a piece could become a longer stop with the next piece."""
        if stop[0] in "\"'":
            return len(stop) < _TRIPLE and (self._mode == self._outside or len(self._mode) == _TRIPLE)
        return stop in ("\\", "/", "*") or (stop[0] == "<" and stop not in QUOTES)

    def _enter(self, stop: str) -> bool:
        """Process a stop outside strings; return whether it ends the value."""
        before, self._last = self._last, self._last if stop[0] == "/" else stop
        if stop in QUOTES and before not in _BEFORE_VALUES:
            return False  # it closes a string that was not opened
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
        Its value, with half surrogate pairs replaced by U+FFFD.

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
        return _loads(text, strict=False, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        problem = error  # show this error: the model was asked to write JSON
    for form in dict.fromkeys((text, text.translate(_STRAIGHT))):
        try:
            return _literal(form, _json_token)
        except ValueError:
            continue
    raise ValueError(f"not valid JSON: {problem}") from problem


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same key twice")
    return made


def _finite(text: str) -> float:
    """Refuse NaN and infinities: Python reads them, but no JSON can contain them again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no JSON value")
    return number


_loads: Final = partial(json.loads, parse_constant=_finite, parse_float=_finite)


def well_formed(text: str) -> str:
    """Replace half surrogate pairs by U+FFFD and join complete ones, so that the text can be sent as UTF-8.

    Args:
        text: Any text.

    Returns:
        The text; the same object if it contains none.
    """
    if text.isascii() or not _HALVES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _reaches(value: Any, level: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return level == 0 or any(_reaches(one, level - 1) for one in inner)


def read_python(text: str) -> Any:
    """Read a Python literal, also with JSON's words; a string may go on in another one.

    Args:
        text: The literal. The keys of an object may be names, also with ``=`` as in a call.

    Returns:
        Its value, as :func:`read_value` returns it.

    Raises:
        ValueError: It is no literal that JSON can contain.
    """
    return read_value(json.dumps(_literal(text, _python_token)))


class _Undoubled(ast.NodeTransformer):
    """Removes the second pair of braces around an object: Python reads it as a set."""

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.generic_visit(node)
        return node.elts[0] if len(node.elts) == 1 and isinstance(node.elts[0], ast.Dict) else node


def _literal(text: str, token: Callable[[re.Match[str]], str]) -> Any:
    try:
        tree = _Undoubled().visit(ast.parse(_TOKENS.sub(token, text).strip(), mode="eval"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                _object([(getattr(key, "value", None), None) for key in node.keys])  # type: ignore[misc]
        # A literal can contain values that JSON cannot: sets, bytes, numbers as keys. Arguments must be JSON.
        return _loads(json.dumps(ast.literal_eval(tree)))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("no literal") from error


def _json_token(match: re.Match[str]) -> str:
    """Return the Python form, with strings in brackets, so that two without a comma are not joined."""
    token = _python_token(match)
    return f"({token})" if token[-1] in "\"'" else token


def _python_token(match: re.Match[str]) -> str:
    token = match[0]
    if match["quote"] or match["bare"]:
        comma = "" if match["forgotten"] is None else ","
        return json.dumps(match["bare"] or match["quoted"], ensure_ascii=False) + comma
    if key := match["key"]:
        return f'"{key}"' + (":" if match["sign"] else "")
    if token[0] == "/" or token[0].isdigit():
        return " " if token[0] == "/" else "?"
    if token in _PYTHON_FORMS:
        return _PYTHON_FORMS[token]
    if token[0] in "rR":
        return token
    token = token.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\x00")
    return re.sub(r"\\(.)", _known_escape, token, flags=re.DOTALL)


def _known_escape(match: re.Match[str]) -> str:
    if match[1] == "/":
        return "/"
    return match[0] if match[1] in _PYTHON_ESCAPES else "\\" + match[0]


def extract_json(text: str, accepts: Callable[[Any], bool] | None = None) -> Any:
    """Find the JSON value in a reply: bare, fenced, or with prose around it.

    Args:
        text: The reply's text.
        accepts: Returns whether a value is the requested one.

    Returns:
        The whole reply if it is JSON; else the accepted value in it; else the first valid object in it; else
        the first array. Values inside other values are never returned.

    Raises:
        ValueError: There is none, one does not end, or several different ones are accepted; the message is
            feedback for the model.
    """
    return find_json(text, accepts)[0]


def find_json(text: str, accepts: Callable[[Any], bool] | None = None) -> tuple[Any, str, str]:
    """Find the JSON value in a reply, and the text around it: see :func:`extract_json`.

    Args:
        text: The reply's text.
        accepts: Returns whether a value is the requested one.

    Returns:
        The value, and the text before and after it, without a code fence around the value.

    Raises:
        ValueError: As in :func:`extract_json`.
    """
    try:
        return read_value(text), "", ""
    except ValueError as error:
        problem = str(error)
    found: list[tuple[Any, int, int]] = []
    for candidate, start, end in _bracketed(text):
        try:
            found.append((read_value(candidate), start, end))
        except ValueError as error:
            problem = str(error)
    accepted = [one for one in found if accepts is not None and accepts(one[0])]
    accepted = [one for one in accepted if isinstance(one[0], dict)] or accepted
    if any(one[0] != accepted[0][0] for one in accepted):
        raise ValueError("several different JSON values fit, but only one was asked for")
    best = accepted or [one for one in found if isinstance(one[0], dict)] or found
    if not best:
        raise ValueError(problem)
    value, start, end = best[0]
    return value, _BEFORE.sub("", text[:start]), _BEHIND.sub("", text[end:])


def _bracketed(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield every complete bracketed part of a text that could be a value by itself, with its position."""
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
