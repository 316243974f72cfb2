"""What of an error its reader sees: no token, and none of our own inner frames."""

from __future__ import annotations

import dataclasses
import functools
import html
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from traceback import walk_tb
from typing import Any

from rockai_transport.errors import RockAIError

__all__ = ["sanitize", "trim_traceback", "with_texts"]

logger = logging.getLogger("rockai")

_LEAST_SECRET = 8  # a shorter token is a placeholder, and hiding it would garble messages
_HIDDEN = "[token]"
_INTERNAL_MODULES = frozenset(
    {"rockai_transport", "httpx", "httpcore", "httpx2", "httpcore2", "httpx_sse", "h11", "anyio", "socksio"}
    | {"asyncio", "contextlib", "json", "socket", "ssl", "threading", "langchain_rockai"}
)
"""The modules whose frames tell a reader nothing."""


def sanitize(error: BaseException, token: str) -> None:
    """Make an error fit for its reader: without the token, and without our inner frames in its traceback.

    What it says and holds tells more than twenty frames of ours. At log level DEBUG they stay.
    """
    if isinstance(error, RockAIError):
        if len(token) >= _LEAST_SECRET:
            _hide_token(error, _spellings(token))
        trim_traceback(error)


def _hide_token(error: RockAIError, token: re.Pattern[str]) -> None:
    """Take the token out of an exception, should the service have sent it back."""
    hide = partial(token.sub, _HIDDEN)
    error.args = with_texts(error.args, hide)
    # What the user gave and what the model said stay as they are.
    for name, value in vars(error).items():
        if name != "partial_text":
            vars(error)[name] = with_texts(value, hide, kept=("input", "output"))
    if isinstance(error.__cause__, RockAIError):
        _hide_token(error.__cause__, token)
    elif token.search(f"{error.__cause__} {error.__cause__!r}"):
        error.__cause__ = None


def trim_traceback(error: BaseException | None) -> None:
    """Take our own inner frames off an error and its causes, but nothing that holds a frame of a user's."""
    if logger.isEnabledFor(logging.DEBUG):
        return
    while error is not None:
        modules = {frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)}
        if {module.partition(".")[0] for module in modules} <= _INTERNAL_MODULES:
            error.__traceback__ = None
        error = error.__cause__


@functools.lru_cache(maxsize=16)
def _spellings(token: str) -> re.Pattern[str]:
    """A token as it is, and as JSON, an address, HTML or `repr` write it; also one that a message cuts."""
    letters = [
        rf"(?:\\{{,4}}{re.escape(letter)}|{re.escape(html.escape(letter))}"
        rf"|(?i:%(?:25){{,2}}{ord(letter):02x}|\\{{1,4}}u00{ord(letter):02x}))"
        for letter in token
    ]
    half = "".join(letters[: max(_LEAST_SECRET, len(letters) // 2)])
    return re.compile(rf"{''.join(letters)}|{half}\S*(?=…)")


def with_texts(value: Any, change: Callable[[str], str], kept: Sequence[str] = ()) -> Any:
    """A value whose texts, and bytes, are changed, wherever they stand in it.

    Args:
        value: A text, or what holds some: a dict, a list, a tuple, a dataclass.
        change: What is done to each text.
        kept: The fields of a dataclass that stay as they are.
    """
    match value:
        case str():
            return change(value)
        case bytes():
            return change(value.decode("latin-1")).encode("latin-1")
        case dict():
            changed = [[with_texts(part, change, kept) for part in pair] for pair in value.items()]
            return dict(changed)
    if type(value) in (list, tuple):
        return type(value)(with_texts(item, change, kept) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value) if one.init and one.name not in kept]
        fields = {name: with_texts(getattr(value, name), change, kept) for name in names}
        return dataclasses.replace(value, **fields)
    return value
