"""What an error shows: no token, and none of our inner frames."""

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

logger = logging.getLogger("rockai")

LEAST_SECRET = 8  # a shorter token is a placeholder, and hiding it would garble messages
HIDDEN = "[token]"
_INTERNAL_MODULES = frozenset(
    {"rockai_transport", "httpx", "httpcore", "httpx2", "httpcore2", "h11", "anyio", "socksio"}
    | {"asyncio", "contextlib", "json", "socket", "ssl", "threading", "langchain_rockai"}
)
"""The modules whose frames do not help the user."""


def sanitize(error: BaseException, token: str) -> None:
    """Remove the token from an error, and our inner frames from its traceback.

    The message and the attributes are more useful than twenty inner frames. At log level DEBUG they stay.
    """
    if isinstance(error, RockAIError):
        if len(token) >= LEAST_SECRET:
            _hide_token(error, _spellings(token))
        trim_traceback(error)


def _hide_token(error: RockAIError, token: re.Pattern[str]) -> None:
    """Remove the token from an exception, in case the service has sent it back."""
    hide = partial(token.sub, HIDDEN)
    error.args = with_texts(error.args, hide)
    # The user's input and the model's output stay unchanged.
    for name, value in vars(error).items():
        if name != "partial_text":
            vars(error)[name] = with_texts(value, hide, kept=("input", "output"))
    if isinstance(error.__cause__, RockAIError):
        _hide_token(error.__cause__, token)
    elif token.search(f"{error.__cause__} {error.__cause__!r}"):
        error.__cause__ = None


def trim_traceback(error: BaseException | None) -> None:
    """Remove those tracebacks of an error and its causes that contain only our own frames."""
    if logger.isEnabledFor(logging.DEBUG):
        return
    while error is not None:
        modules = {frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)}
        if {module.partition(".")[0] for module in modules} <= _INTERNAL_MODULES:
            error.__traceback__ = None
        error = error.__cause__


@functools.lru_cache(maxsize=16)
def _spellings(token: str) -> re.Pattern[str]:
    """Match a token as it is, as JSON, URLs, HTML or `repr` write it, and one that a message cuts off.

    The alternatives of a letter begin differently: otherwise half a token takes exponential time. All begin
    with a literal: so Python skips other text fast.
    """
    first, *letters = map(_spellings_of_letter, token)
    half = "".join(letters[: max(LEAST_SECRET, len(token) // 2) - 1])
    return re.compile(rf"{first}(?:{''.join(letters)}|{half}\S{{,{9 * len(token)}}}(?=…))")


def _spellings_of_letter(letter: str) -> str:
    plain, code = re.escape(letter), f"{ord(letter):02x}"
    in_html = f"|{re.escape(html.escape(letter))}" if letter in "&<>\"'" else ""
    return rf"(?:{plain}{in_html}|\\\\{{,3}}(?:{plain}|(?i:u00{code}))|%(?:25){{,2}}(?i:{code}))"


def with_texts(value: Any, change: Callable[[str], str], kept: Sequence[str] = ()) -> Any:
    """Return a value with all strings and bytes in it changed, at any depth.

    Args:
        value: A string, or a dict, list, tuple or dataclass that contains strings.
        change: Called with each string.
        kept: The fields of a dataclass that stay unchanged.
    """
    match value:
        case str():
            return change(value)
        case bytes():
            return change(value.decode("latin-1")).encode("latin-1")
        case dict():
            changed = partial(with_texts, change=change, kept=kept)
            return {changed(key): changed(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(with_texts(item, change, kept) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value) if one.init and one.name not in kept]
        fields = {name: with_texts(getattr(value, name), change, kept) for name in names}
        return dataclasses.replace(value, **fields)
    return value
