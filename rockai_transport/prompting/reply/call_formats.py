"""The call formats of model families, as data: tokens that open, separate and close a call.

A call has one of these forms, and all of them are read: a JSON value with name and arguments; a name and the
arguments in JSON; a name and tagged arguments; a Python call. The families differ in the tokens around and
between them; ``call_formats.json`` lists these, with sources. No form is specific to one family: models mix
what they were trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rockai_transport.prompting.data import read_table

_DATA: Final[dict[str, Any]] = read_table("reply/call_formats.json")


def _names(key: str) -> tuple[str, ...]:
    return tuple(_DATA[key])


def _tokens(place: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(token for row in _DATA["formats"] for token in row.get(place, ())))


OPENING: Final = _tokens("opening")
HINTS: Final = _tokens("hint")
BETWEEN: Final = _tokens("between")
CLOSING: Final = _tokens("closing")
RESULTS: Final = _tokens("result")
MADE_UP: Final = _tokens("made_up")
IDS: Final = _names("ids")
QUOTES: Final = _names("quotes")
TAGGED_ARGUMENTS, BEFORE_VALUES, AFTER_VALUES, AFTER_CALLS = zip(*_DATA["tagged_arguments"], strict=True)
"""The tags of Qwen3-Coder, MiniMax M2, MiniCPM 5, DeepSeek V3.2, V4.1, GigaChat 3.5, K2 Horizon, Muse
Glimmer, Step 3, Kimi K3, GLM 4.5, Hunyuan 3 and 4, TeleChat 4, and LongCat."""
LONGEST_TAG: Final = max(len(tag) for row in _DATA["tagged_arguments"] for tag in row)
BEFORE_TYPES: Final = _names("before_types")

ELEMENT_MARK: Final[str] = _DATA["element_mark"]
"""What stands before each tag of MiniMax M3's arguments."""

CALL_FENCES: Final = _names("call_fences")
"""Info strings of code fences that contain only calls (Gemma 3's guide; Command R's)."""
FENCES: Final = _names("fences")

PLACEHOLDERS: Final = _names("placeholders")
NAME_KEYS: Final = _names("name_keys")
PLAIN_INPUT_KEYS: Final = _names("plain_input_keys")
ARGUMENT_KEYS: Final = _names("argument_keys")
LIST_KEYS: Final = _names("list_keys")
INNER_KEYS: Final = _names("inner_keys")
MARGINAL_KEYS: Final = frozenset(_names("marginal_keys"))
WRAPPER_KEYS: Final = _names("wrapper_keys")
BESIDE_WRAPPERS: Final = frozenset(_names("beside_wrappers"))
FIXED_KEYS: Final[Mapping[str, list[str]]] = _DATA["fixed_keys"]
CALL_KEYS: Final = frozenset(
    (*NAME_KEYS, *ARGUMENT_KEYS, *LIST_KEYS, *INNER_KEYS, *MARGINAL_KEYS, *FIXED_KEYS)
)
