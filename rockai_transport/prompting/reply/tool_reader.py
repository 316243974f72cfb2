"""Read calls out of a model's text, while it streams.

Invariants of this module:

* Never an exception, never lost text: what is no call comes out as text, exactly; what was clearly meant as a
  call and cannot be read comes out as an :class:`InvalidToolCall`.
* Text is held back only where it begins like a call (:mod:`.call_heads`), while it can still be one.
* The parts do not depend on how the text was split into pieces, and reading takes time linear in the text.
* A reply that is nothing but calls, white space and the tokens around them has no text.

Clearly meant is what stands behind a token that opens a call, and what names a tool but is broken. A call so
marked is one whatever its name, unless a call is demanded. An object that names no tool is text where no
token marks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.call_formats import HINTS, OPENING
from rockai_transport.prompting.reply.call_heads import (
    CLOSING,
    BareWatch,
    Opener,
    match_next,
    match_opener,
)
from rockai_transport.prompting.reply.call_values import read_calls, unreadable
from rockai_transport.prompting.reply.json_values import ValueScanner
from rockai_transport.prompting.reply.reasoning import TextDelta
from rockai_transport.prompting.reply.tagged import TaggedScanner
from rockai_transport.prompting.reply.token_set import FENCE, TICK, TokenSet, is_blank, skip_space
from rockai_transport.prompting.reply.tools import Tools

ToolPart = TextDelta | ToolCall | InvalidToolCall

NOTABLE: Final = "<[{`\n\r"
_NOTABLE: Final = re.compile(f"[{re.escape(NOTABLE)}]")

_FENCE: Final = TokenSet(FENCE)
_END: Final = "</tool_call>"
_ONE_CALL: Final = "only the first call of a reply is made, since parallel calls are switched off"


def new_call_id() -> str:
    """Make up an id for a call."""
    return f"call_{uuid4().hex}"


def one_too_many(call: ToolCall | InvalidToolCall) -> InvalidToolCall:
    """What becomes of a call behind another one, where a reply may hold one only."""
    return unreadable(call.name, call.arguments, _ONE_CALL, call.id)


class ToolCallReader:
    """Feed it pieces of a reply; it returns text and calls.

    Inside, it is in one of three places: in text; in a body that may be a call; or behind a call, where what
    closes it may follow, and another call.
    """

    def __init__(
        self,
        tools: Mapping[str, Mapping[str, Any]],
        *,
        parallel: bool = True,
        demanded: bool = False,
        accepts: Callable[[dict[str, Any]], bool] | None = None,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        """Make a reader.

        Args:
            tools: The tools that may be called: the JSON schema of each one's arguments, by its name.
            parallel: Whether a reply may hold several calls; else all but the first are invalid.
            demanded: Whether one of these tools must be called, so that a call of another is invalid, and one
                with none of a tool's arguments.
            accepts: As for `Tools`.
            new_id: Makes a call's id.
        """
        self._tools = Tools(tools, demanded=demanded, accepts=accepts)
        # At the beginning of a line a call may begin with a letter.
        first = {NOTABLE, *(token[:1] for token in (*OPENING, *HINTS, *tools, "functions"))}
        self._notable_at_start = re.compile(f"[{re.escape(''.join(sorted(first)))}]")
        self._parallel = parallel
        self._new_id = new_id
        self._parts: list[ToolPart] = []
        self._called = False
        self._has_text = False
        self._space: list[str] = []  # white space that only counts once there is other text
        self._line_start = True
        self._in_fence = False  # inside a code fence that came out as text
        self._in_code = False  # likewise, and it began a line
        self._behind_tick = False  # right behind a backtick with text before it
        self._pending = ""  # what is not decided yet
        self._opener: Opener | None = None  # of a body that came out as text, none any more
        self._scanner: ValueScanner | TaggedScanner | None = None
        self._watch: BareWatch | None = None
        self._fenced = False  # whether the block's own code fence is still open
        # The text since the block's last call, of one that cannot be read as well: what opened it, the body.
        self._raw: list[str] = []
        self._invalid: list[InvalidToolCall] = []  # of the last body, until what closes it is known

    @property
    def in_text(self) -> bool:
        """Whether a piece without a notable character would come out as it is, and change nothing."""
        waits = self._pending or self._line_start or self._opener or self._scanner or self._behind_tick
        return self._has_text and not waits

    def feed(self, piece: str) -> list[ToolPart]:
        """Take the next piece.

        Args:
            piece: Any part of the reply.

        Returns:
            What is decided by now, in order.
        """
        text, self._pending = self._pending + piece, ""
        at = 0
        while at < len(text) and not self._pending:
            if self._scanner is not None:
                at = self._read_value(self._scanner, text, at)
            elif self._opener is not None:
                at = self._read_behind(self._opener, text, at)
            else:
                at = self._read_text(text, at)
        return self._take()

    def begin_answer(self) -> None:
        """Take what follows for the beginning of the answer: what came before was reasoning."""
        self._has_text = self._in_fence = self._in_code = self._behind_tick = False
        self._line_start = True

    def flush(self) -> list[ToolPart]:
        """End the reply.

        Returns:
            What was held back: a call that was not completed, or text.
        """
        pending, self._pending = self._pending, ""
        if self._scanner is None and self._opener is None and pending:
            verdict = self._verdict(pending + _END, 0)  # the reply's end closes what holds a name alone
            if isinstance(verdict, Opener) and verdict.kind == "tagged":
                self._open_body(replace(verdict, meant=False), pending)
                pending = ""
        if self._scanner is not None:
            self._raw.append(pending)
            pending = ""
            self._end_value(self._scanner)
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
        while found := (self._notable_at_start if self._line_start else _NOTABLE).search(text, at):
            place = found.start()
            self._line_start = found[0] in "\r\n" or (self._line_start and is_blank(text[at:place]))
            self._behind_tick = self._behind_tick and place == at
            verdict = self._verdict(text, place)
            if verdict != "text":
                self._emit(text[start:place])
                if not isinstance(verdict, Opener):
                    self._pending = text[place:]
                    return len(text)
                self._fenced = verdict.fenced
                self._open_body(verdict, text[place : verdict.body])
                return verdict.body
            at = found.end()
            if text.startswith(FENCE, place):
                self._in_fence = not self._in_fence
                self._in_code = self._in_fence and self._line_start
                at = place + len(FENCE)
            self._behind_tick = text[place:at] == TICK and not self._line_start
            self._line_start = self._line_start and found[0] in "\r\n"
        self._behind_tick = self._behind_tick and at == len(text)
        self._line_start = self._line_start and is_blank(text[at:])
        self._emit(text[start:])
        return len(text)

    def _verdict(self, text: str, at: int) -> Opener | str:
        if text[at] in "\r\n" or self._behind_tick or (self._in_fence and text.startswith(FENCE, at)):
            return "text"  # a fence here closes what came out as text, whatever follows
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
        tagged = opener.kind == "tagged"
        self._scanner = TaggedScanner() if tagged else ValueScanner(python=opener.kind == "python")

    def _read_value(self, scanner: ValueScanner | TaggedScanner, text: str, start: int) -> int:
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

    def _end_value(self, scanner: ValueScanner | TaggedScanner) -> None:
        """Take the body for what it is: calls, or text that ends the block."""
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
            self._emit_call(call)
        self._raw = self._raw if self._invalid else []

    def _read_behind(self, opener: Opener, text: str, start: int, *, final: bool = False) -> int:
        """Read what may follow a call: what closes it, which is no text, then another call or text."""
        at, place = self._skip_closing(text, start, final=final)
        self._raw.append(text[start:at])
        verdict: Opener | str = "undecided"
        if place >= 0:
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
        """Pass over what closes a call.

        Returns:
            The index behind it, and that of what follows; -1 where that is not known yet.
        """
        at = start
        while True:
            place = skip_space(text, at)
            end = CLOSING.end(text, place) if place < len(text) else -1
            if end == place:
                end = self._stray_end(text, place, final=final)
            rest = text[place:].rstrip() if final else ""
            if rest in OPENING or (end < 0 and len(rest) > 1):  # one in place of a closing one; one cut off
                end = len(text)
            if end <= place:
                return at, end
            at = end

    def _stray_end(self, text: str, at: int, *, final: bool) -> int:
        """The end of a bracket or comma too many, or of a fence that closes the call or nothing at all."""
        if text[at] in "}]":
            return at + 1
        comma = text[at] in ",;"
        end = at + 1 if comma else _FENCE.end(text, at, final=final)
        if end <= at or (self._fenced and not comma):
            self._fenced = self._fenced and end <= at
            return end
        after = skip_space(text, end)
        closing = CLOSING.end(text, after) if after < len(text) else -1
        if closing < 0 and (not final or after == len(text)):
            return end if final else -1
        return end if closing > after else at

    def _close_block(self) -> None:
        self._emit_invalid()
        self._in_fence = self._in_fence or self._fenced
        self._fenced = False
        self._opener = None
        self._raw = []
        self._line_start = True

    def _emit_call(self, read: ToolCall | InvalidToolCall) -> None:
        call = replace(read, id=self._new_id())
        if self._called and not self._parallel:
            self._parts.append(one_too_many(call))
            return
        self._called = True
        if isinstance(call, InvalidToolCall):
            self._invalid.append(call)
        else:
            self._parts.append(call)

    def _emit_invalid(self) -> None:
        """Hand on the calls that cannot be read, the first with the text of them all."""
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
