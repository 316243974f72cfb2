"""Reads calls from a model's text, while it streams.

Invariants of this module:

* It never raises and never loses text. What is not a call is returned as text, exactly; what was clearly
  meant as a call and is not valid is returned as an :class:`InvalidToolCall`. Only what follows a call as
  its made-up result is left out: the answer ends there.
* Text is held back only if it begins like a call (:mod:`.call_heads`), and only while it can still be one.
* The parts do not depend on how the text was split into pieces, and reading takes linear time.
* A reply that contains only calls, white space and the tokens around them has no text.

Text is clearly meant as a call if it follows a token that opens a call, or if it names a tool but is broken.
After such a token, a call counts as one whatever its name is, unless a call is required. Without such a
token, an object that names no tool is text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final
from uuid import uuid4

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.call_formats import ELEMENT_MARK, HINTS, MADE_UP, OPENING, RESULTS
from rockai_transport.prompting.reply.call_heads import CLOSING, BareWatch, Opener, match_next, match_opener
from rockai_transport.prompting.reply.call_values import read_calls, unreadable
from rockai_transport.prompting.reply.elements import ElementScanner
from rockai_transport.prompting.reply.json_values import ValueScanner
from rockai_transport.prompting.reply.reasoning import TextDelta
from rockai_transport.prompting.reply.tagged import TaggedScanner
from rockai_transport.prompting.reply.token_set import FENCES, TokenSet, is_blank, read_fence, skip_space
from rockai_transport.prompting.reply.tools import Tools

ToolPart = TextDelta | ToolCall | InvalidToolCall

NOTABLE: Final = "<[{`~\n\r"
_NOTABLE: Final = re.compile(f"[{re.escape(NOTABLE)}]")

_FENCE: Final = TokenSet(*FENCES)
_MARK: Final = TokenSet(ELEMENT_MARK)
_MADE_UP: Final = TokenSet(*MADE_UP, *RESULTS)
_END: Final = "</tool_call>"
_CUT_SHORT: Final = "the call does not end: the reply was cut off at its length limit"
_ONE_CALL: Final = "only the first call of a reply is made, since parallel calls are switched off"


Scanner = ValueScanner | TaggedScanner | ElementScanner


def new_call_id() -> str:
    """Create an id for a call."""
    return f"call_{uuid4().hex}"


def _scanner(opener: Opener, tools: Tools) -> Scanner:
    """Return what finds the end of the arguments."""
    if opener.kind in ("elements", "plain elements"):
        return ElementScanner(opener.name if opener.kind == "plain elements" else "")
    if opener.kind == "tagged":
        return TaggedScanner(tools.schemas.get(tools.resolve(opener.name) or "", {}))
    return ValueScanner(python=opener.kind == "python")


@lru_cache(maxsize=64)
def _closing(names: tuple[str, ...]) -> TokenSet:
    """Return what closes a call: also the end of an element with a tool's name."""
    return TokenSet(*CLOSING.tokens, *(f"</{name}>" for name in names))


@lru_cache(maxsize=64)
def _begins(names: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for where a call may begin at the start of a line: its first two characters decide."""
    second: dict[str, set[str]] = {}
    for token in (*OPENING, *HINTS, *names, "functions"):
        second.setdefault(token[:1], set()).add(re.escape(token[1:2]) or r"\s\S")
    first = re.escape(NOTABLE + "".join(sorted(second)))
    pairs = [rf"(?<={re.escape(one)})(?=[{''.join(sorted(two))}])" for one, two in sorted(second.items())]
    return re.compile(rf"[{first}](?:(?<={_NOTABLE.pattern})|\Z|{'|'.join(pairs)})")


class ToolCallReader:
    """Takes pieces of a reply; returns text and calls.

    It is in one of three states: in text; in the body of a possible call; or after a call, where a closing
    token or another call may follow.

    Attributes:
        ended: Whether the answer has ended: a made-up result follows a call.
    """

    def __init__(self, tools: Tools, *, parallel: bool = True) -> None:
        """Create a reader.

        Args:
            tools: The tools that may be called.
            parallel: Whether a reply may contain several calls; else all but the first are invalid.
        """
        self._tools = tools
        self._notable_at_start = _begins(tuple(tools.schemas))
        self._closing = _closing(tuple(tools.schemas))
        self.ended = False
        self._parallel = parallel
        self._parts: list[ToolPart] = []
        self._called = False
        self._has_text = False
        self._space: list[str] = []  # white space, which counts only if other text follows
        self._line_start = True
        self._fences: list[str] = []  # the open code fences that were returned as text
        self._in_code = False  # whether one of them started a line
        self._in_span = False  # whether a backtick and what could begin a call came before on the line
        self._pending = ""  # text that is not decided yet
        self._opener: Opener | None = None  # None once the body was returned as text
        self._scanner: Scanner | None = None
        self._watch: BareWatch | None = None
        self._fenced = ""  # the block's own code fence, if it is still open
        # The text since the block's last valid call: what opened the call, and the body.
        self._raw: list[str] = []
        self._invalid: list[InvalidToolCall] = []  # in the last body, until what closes it is known

    @property
    def in_text(self) -> bool:
        """Whether a piece without a notable character would be returned unchanged and change nothing."""
        waits = self._pending or self._line_start or self._opener or self._scanner
        return self._has_text and not waits

    @property
    def in_value(self) -> bool:
        """Whether the text so far ends in the body of a possible call."""
        return self._scanner is not None

    @property
    def answered(self) -> bool:
        """Whether there was any call, or text that is not only white space."""
        return self._called or self._has_text

    def feed(self, piece: str) -> list[ToolPart]:
        """Take the next piece.

        Args:
            piece: Any part of the reply.

        Returns:
            What is decided so far, in order.
        """
        text, self._pending = self._pending + piece, ""
        at = 0
        while at < len(text) and not self.ended:
            if self._scanner is not None:
                at = self._read_value(self._scanner, text, at)
            elif self._opener is not None:
                at = self._read_behind(self._opener, text, at)
            else:
                at = self._read_text(text, at)
        return self._take()

    def begin_answer(self) -> None:
        """Treat what follows as the beginning of the answer: what came before was reasoning."""
        self._has_text = self._in_code = self._in_span = False
        self._fences = []
        self._line_start = True

    def flush(self, *, cut_short: bool = False) -> list[ToolPart]:
        """End the reply.

        Args:
            cut_short: Whether the model would have written more: then a call that is not closed is invalid.

        Returns:
            What was held back: an incomplete call, or text.
        """
        pending, self._pending = self._pending, ""
        if self._scanner is None and pending:  # the reply's end closes a call that is only a name
            verdict = self._verdict(pending + _END, skip_space(pending, 0))
            if isinstance(verdict, Opener) and verdict.kind == "tagged":
                self._open_body(replace(verdict, meant=False), pending)
                pending = ""
        if self._scanner is not None:
            # In JSON and Python, a `<` outside strings ends the value, unless a quote begins with it.
            ends = pending.startswith("<") and isinstance(self._scanner, ValueScanner)
            if self._opener is not None and not ends:
                self._raw.append(pending)
                pending = ""
                if not isinstance(self._scanner, ValueScanner):  # nothing closed the call
                    self._opener = replace(self._opener, meant=False)
            self._end_value(self._scanner, cut_short=cut_short)
        if self._opener is not None:
            at = self._read_behind(self._opener, pending, 0, final=True)
            pending, self._pending = pending[at:], ""
        self._emit(pending)
        if any(self._space) and not self._called:
            self._parts.append(TextDelta("".join(self._space)))
        self._space = []
        return self._take()

    def _read_text(self, text: str, start: int) -> int:
        at = start
        behind_tick = False  # right after a backtick with text before it; another piece never begins there
        while found := (self._notable_at_start if self._line_start else _NOTABLE).search(text, at):
            place = found.start()
            self._line_start = found[0] in "\r\n" or (self._line_start and is_blank(text[at:place]))
            in_span = self._in_span or (behind_tick and place == at)
            self._in_span = in_span and text[place] not in "`\r\n"
            verdict = "text" if self._in_span else self._verdict(text, place)
            at = found.end()
            may_be_fence = verdict == "text" and (self._line_start or text[place] == "`")
            if may_be_fence and text.startswith(FENCES, place):
                at = read_fence(text, place, self._fences, final=False)
                verdict = "undecided" if at < 0 else verdict
            if verdict != "text":
                self._emit(text[start:place])
                if not isinstance(verdict, Opener):
                    self._pending = text[place:]
                    return len(text)
                self._fenced = verdict.fenced
                self._open_body(verdict, text[place : verdict.body])
                return verdict.body
            self._in_code = bool(self._fences) and (self._in_code or (at > place + 1 and self._line_start))
            behind_tick = text[place:at] == "`" and not self._line_start
            self._line_start = self._line_start and found[0] in "\r\n"
        self._line_start = self._line_start and is_blank(text[at:])
        self._emit(text[start:])
        return len(text)

    def _verdict(self, text: str, at: int) -> Opener | str:
        within_code = self._in_code and not self._line_start and text[at] != "`"
        is_inner = text.startswith(FENCES, at) and self._fences  # it closes a fence, or is in it
        if text[at] in "\r\n" or within_code or is_inner or (text[at] == "~" and not self._line_start):
            return "text"
        line_start = self._line_start and not self._in_code
        if not (line_start or text[at] in NOTABLE):
            return "text"
        return match_opener(text, at, self._tools, line_start=line_start)

    def _open_body(self, opener: Opener, before: str) -> None:
        self._emit_invalid()
        self._opener = opener
        self._raw = [before]
        bare = opener.kind == "json" and not (opener.meant or opener.name)
        self._watch = BareWatch(self._tools) if bare else None
        self._scanner = _scanner(opener, self._tools)

    def _read_value(self, scanner: Scanner, text: str, start: int) -> int:
        end = scanner.scan(text, start)
        until = len(text) - scanner.kept if end is None else end
        part = text[start:until]
        if self._opener is None:
            self._emit(part)
        else:
            self._raw.append(part)
            verdict = self._watch.feed(part) if self._watch else "undecided"
            if verdict != "undecided":
                self._watch = None
            if verdict == "text":
                self._opener = None
                self._emit("".join(self._raw))
        if end is not None:
            self._end_value(scanner)
            return end
        self._pending = text[until:]
        return len(text)

    def _end_value(self, scanner: Scanner, *, cut_short: bool = False) -> None:
        """Return the body as calls, or as text that ends the block."""
        opener, self._scanner = self._opener, None
        body = "".join(self._raw[1:]) + scanner.missing
        calls = read_calls(opener, body, self._tools) if opener else None
        if calls is None:
            raw = "".join(self._raw) if opener else ""
            self._close_block()
            self._line_start = False
            self._emit(raw)
            return
        for call in calls:
            self._emit_call(unreadable(call.name, call.arguments, _CUT_SHORT) if cut_short else call)
        self._raw = self._raw if self._invalid else []

    def _read_behind(self, opener: Opener, text: str, start: int, *, final: bool = False) -> int:
        """Read what may follow a call: closing tokens, which are not text, then another call or text."""
        at, place = self._skip_closing(text, start, final=final)
        self._raw.append(text[start:at])
        verdict: Opener | str = "undecided"
        made_up = _MADE_UP.end(text, place, final=final) if place >= 0 else -1
        if made_up > place:
            self.ended = True
            self._close_block()
            return len(text)
        if made_up == place >= 0:
            after = skip_space(text, place + 1) if text[place] in ",;" else place
            verdict = match_next(text, after, self._tools, opener) if after < len(text) else verdict
        if isinstance(verdict, Opener) and not final:
            self._fenced = self._fenced or verdict.fenced
            self._open_body(verdict, text[at : verdict.body])
            return verdict.body
        if verdict == "undecided" and not final:
            self._pending = text[at:]
            return len(text)
        self._close_block()
        return at

    def _skip_closing(self, text: str, start: int, *, final: bool) -> tuple[int, int]:
        """Skip the closing tokens of a call.

        Returns:
            The index after them, and the index of what follows; -1 if that is not known yet.
        """
        at = start
        while True:
            place = skip_space(text, at)
            rest = text[place:].rstrip() if final else ""
            end = self._closing.end(text, place) if place < len(text) else -1
            if end == place or rest == "]":
                end = self._stray_end(text, place, final=final)
            if rest in OPENING or (end < 0 and len(rest) > 1):  # an opening token here, or a cut one
                end = len(text)
            if end <= place:
                return at, end
            at = end

    def _stray_end(self, text: str, at: int, *, final: bool) -> int:
        """Return the end of a stray bracket, comma, or quote, or of a fence that closes a call or nothing."""
        if text[at] in "}]":
            mark = _MARK.end(text, at, final=final)
            return at + 1 if mark == at else min(mark, at)
        is_single = text[at] in ",;\"'"
        end = at + 1 if is_single else _FENCE.end(text, at, final=final)
        if end <= at or (self._fenced and not is_single):
            self._fenced = self._fenced if end <= at else ""
            return end
        after = skip_space(text, end)
        closing = self._closing.end(text, after) if after < len(text) else -1
        if closing < 0 and (not final or after == len(text)):
            return end if final else -1
        return end if closing > after else at

    def _close_block(self) -> None:
        self._emit_invalid()
        self._fences += [self._fenced] if self._fenced else []
        self._fenced = ""
        self._opener = None
        self._raw = []
        self._line_start = True

    def _emit_call(self, read: ToolCall | InvalidToolCall) -> None:
        call = replace(read, id=new_call_id())
        if self._called and not self._parallel:
            self._parts.append(unreadable(call.name, call.arguments, _ONE_CALL, call.id))
            return
        self._called = True
        if isinstance(call, InvalidToolCall):
            self._invalid.append(call)
        else:
            self._parts.append(call)

    def _emit_invalid(self) -> None:
        """Return the invalid calls; the first one has the text of all of them."""
        if self._invalid:
            first, *others = self._invalid
            self._parts += [replace(first, text="".join(self._raw)), *others]
            self._invalid = []

    def _emit(self, text: str) -> None:
        if not self._has_text and is_blank(text):
            self._space.append(text)
            return
        if self._space:
            text, self._space = "".join(self._space) + text, []
        self._has_text = True
        if text:
            self._parts.append(TextDelta(text))

    def _take(self) -> list[ToolPart]:
        parts, self._parts = self._parts, []
        return parts
