"""Tagged arguments, one tag for each: the form of Qwen3-Coder, Claude, GLM and DeepSeek V3.2.

The tags are in ``call_formats.json``.

A value is any text, and may itself contain such tags. So a closing tag ends it only if another argument
follows, or what opens or closes a call, or nothing. A missing closing tag is assumed only at such a position,
or where the next argument starts a line. If the value itself has opened the tag, the closing tag is its own
if an argument follows that the schema does not know, or the end of a call and then a closing tag once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rockai_transport.prompting.reply import call_formats as formats
from rockai_transport.prompting.reply.json_values import read_value
from rockai_transport.prompting.reply.schema_values import is_null, known_properties, plain
from rockai_transport.prompting.reply.token_set import ANY_SUFFIX, MOST_SUFFIX, SUFFIX, TokenSet, skip_space


def _any_of(tokens: Iterable[str]) -> str:
    """Return a pattern of tokens; white space may stand between two tags."""
    pattern = "|".join(re.escape(token).replace("><", r">\s*<") for token in dict.fromkeys(tokens))
    return pattern.replace(SUFFIX, ANY_SUFFIX)


ARGUMENT: Final = TokenSet(*formats.TAGGED_ARGUMENTS)
_FOLLOWING: Final = TokenSet(*formats.TAGGED_ARGUMENTS, *formats.OPENING, *formats.CLOSING)
_CLOSING: Final = TokenSet(*formats.CLOSING)
_NAME: Final = re.compile(
    rf"""\s*(?:{_any_of(formats.TAGGED_ARGUMENTS)})["']?([^"'<>]{{1,200}})["']?"""
    rf"""(?P<kind>\s+string=["']?(?:true|(?P<json>false))["']?"""
    rf"""|(?:\s+type=["']?|{_any_of(formats.BEFORE_TYPES)})(?:string|(?P<type>[\w\[\]]+))["']?)?"""
    rf"""(?:{_any_of(formats.BEFORE_VALUES)})"""
)
# The tag that each closing tag closes, as far as all its forms have it.
_OPENS: Final = [re.split(r"[ =]|(?<!\|)>|>\Z", tag)[0] for tag in formats.TAGGED_ARGUMENTS]
_OPENED_BY: Final = dict(zip(formats.AFTER_VALUES, _OPENS, strict=True))
_END: Final = re.compile(
    rf"{_any_of(formats.AFTER_VALUES)}|(?P<call>{_any_of(formats.AFTER_CALLS)})"
    rf"|(?P<line>\n)(?={_any_of(formats.TAGGED_ARGUMENTS)})|(?P<opens>{_any_of(_OPENS)})(?=(?:[\s=][^<>]{{0,30}})?>)"
)
_MOST_IN_NAME: Final = 200
_NAME_ALONE: Final = re.compile(rf"""["']?+[^"'<>\n]{{0,{_MOST_IN_NAME - 2}}}(?=["'<>\n])""")
# Line breaks around a value: at both ends, or behind a single line. Others end its own last line.
_BREAKS: Final = re.compile(r"\r?\n(.*?)(?:\r?\n)?|([^\r\n]*)\r?\n", re.DOTALL)
_CDATA: Final = re.compile(r"\s*<!\[CDATA\[((?:(?!\]\]>).)*)\]\]>\s*", re.DOTALL)
# The last tag may be incomplete; what is no closing tag begins another argument.
_CLOSED: Final = re.compile(r"(?:\s*</[\w:|\uff5c ]+>)*\s*(?:</[\w:|\uff5c ]*)?\Z")


class TaggedScanner:
    """Finds the end of tagged arguments, piece by piece.

    Attributes:
        kept: Number of characters at the end of the last piece to pass again with the next one.
        missing: What closes the last value, if only the end of the call did.
    """

    kept = 0
    missing = ""
    _inside = False

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Create a scanner.

        Args:
            schema: The schema of the arguments.
        """
        known = () if schema.get("additionalProperties") else known_properties(schema)
        self._known = {plain(name) for name in known}
        self._opened: dict[str, int] = {}  # the number of each tag within the value

    def scan(self, text: str, start: int = 0) -> int | None:
        """Read on.

        Args:
            text: The next piece, after the kept characters.
            start: Where to begin in it.

        Returns:
            The index after the last argument, or None if another one may follow.
        """
        at = start
        while True:
            if self._inside:
                stop, end, undecided = self.value_end(text, at)
                if end < 0:
                    self.kept = len(text) - undecided
                    return None
                self.missing = formats.AFTER_CALLS[0] if stop == end else ""
            else:  # what follows is known: the opening of the call, or of the last value, has waited for it
                place = skip_space(text, at)
                end = ARGUMENT.end(text, place)
                if end <= place:
                    return at
            at = end
            self._inside, self._opened = not self._inside, {}

    def value_end(self, text: str, start: int, *, final: bool = False) -> tuple[int, int, int]:
        """Find the end of a value.

        Args:
            text: The text so far.
            start: Where to begin in it.
            final: Whether no more text follows.

        Returns:
            Where the value ends, and the index after its tag; -1 if neither is known yet. The third index is
            where to continue once there is more text.
        """
        at = start
        while found := _END.search(text, at):
            at = found.end()
            tag = found["opens"] or _OPENED_BY.get(found[0], "")
            self._opened.setdefault(tag, 0)
            if found["opens"]:
                self._opened[tag] += 1
                continue
            place = skip_space(text, at)
            end = _FOLLOWING.end(text, place) if place < len(text) else -1
            may_be_inner = self._opened[tag] > 0 or (found["call"] and len(self._opened) > 1)
            goes_on = self._goes_on(text, place) if may_be_inner or found["line"] else 0
            if min(end, goes_on) < 0 and not final:
                return -1, -1, found.start()
            if end != place and goes_on <= 0:
                return found.start(), found.start() if found["call"] else at, 0
            self._opened[tag] -= 1
        return -1, -1, max(at, len(text) - formats.LONGEST_TAG - MOST_SUFFIX)

    def _goes_on(self, text: str, at: int) -> int:
        """Return 1 if a value with inner tags goes on behind one, else 0; -1 if what follows decides."""
        if (end := ARGUMENT.end(text, at)) > at:
            name = _NAME_ALONE.match(text, end)
            undecided = name is None and len(text) - end < _MOST_IN_NAME
            is_known = not self._known or (name is not None and plain(name[0]) in self._known)
            going_on = 0 if is_known else 1
            return -1 if undecided else going_on
        for _ in range(9):
            at = skip_space(text, max(at, _CLOSING.end(text, at)))
        end = _FOLLOWING.end(text, at) if at < len(text) else -1
        return min(end, 1 if end == at else 0)


def read_tagged(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read tagged arguments.

    Args:
        text: All arguments.
        schema: Their schema: which of them may be null, if their tags do not say their types.

    Returns:
        Their names and values, without the line breaks that the templates put around a value, or the CDATA
        section that a value is. If its tag says that a value is not text, it is read as JSON.

    Raises:
        ValueError: An argument does not end, or is repeated, or is one of another call.
    """
    found: list[tuple[str, Any]] = []
    at = 0
    while at >= 0 and (name := _NAME.match(text, at)):
        stop, at, _ = TaggedScanner(schema).value_end(text, name.end(), final=True)
        key, value, tag = name[1].strip(), text[name.end() : stop], text[stop:at]
        if tag in ("", "\n"):  # without its closing tag
            value = _before_own_tag(value, key)
            # Nothing, or another call without its opening, or another argument on the same line.
            tags = formats.AFTER_VALUES + formats.TAGGED_ARGUMENTS
            if not value.strip() or any(one in value for one in tags):
                raise ValueError("the call does not end")
        elif (own := re.search(rf"{re.escape(_OPENED_BY.get(tag, tag))}[\s=>]", value)) and (
            -1 < value.find(tag) < own.start()
        ):
            raise ValueError("it has an argument without a name")
        value = without_wrapping(value)
        null = not name["kind"] and is_null(value, key, schema)
        found.append((key, None if null else _from_json(value) if name["json"] or name["type"] else value))
    if at < 0 or not _CLOSED.match(text, at):
        raise ValueError("the call does not end")
    if len(dict(found)) < len(found):
        raise ValueError("it has an argument twice")
    return dict(found)


def without_wrapping(value: str) -> str:
    """Return a value without the line breaks around it, or the CDATA section that it is.

    Args:
        value: The text between its tags.

    Returns:
        The value itself.
    """
    if around := _BREAKS.fullmatch(value):
        value = around[around.lastindex or 0]
    literal = _CDATA.fullmatch(value)
    return literal[1] if literal else value


def _before_own_tag(value: str, key: str) -> str:
    """Return a value without the tag of its name behind it, which models write by mistake.

    That is ``</city>`` or ``</parameter=city>``.
    """
    inner, _, tag = value.rpartition("</")
    own = tag.rstrip().removeprefix("parameter=") == f"{key}>"
    return inner if own and f"<{key}" not in value else value


def _from_json(text: str) -> Any:
    try:
        return read_value(text)
    except ValueError:  # the later validation reports it in more detail
        return text
