"""What a value says that a model wrote where a call is expected.

Understood, alone or in a list: ``{"name": …, "arguments": {…}}`` with ``tool``, ``function`` or ``tool_name``
for the name and ``parameters``, ``args`` or ``input`` for the arguments; OpenAI's nested form ``{"type":
"function", "function": {…}}`` and ``{"tool_calls": […]}``; arguments given as a string that holds JSON; no
arguments at all for a tool that is named alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rockai_transport.prompting.reply.json_values import read_value
from rockai_transport.prompting.request.nearest import unknown_name

if TYPE_CHECKING:
    from collections.abc import Collection

_NAME_KEYS: Final = ("name", "tool", "tool_name", "function", "function_name")
_ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input", "tool_input", "kwargs")
_EXTRA_KEYS: Final = ("id", "type", "tool_calls", "index", "tool_call_id")
CALL_KEYS: Final = frozenset((*_NAME_KEYS, *_ARGUMENT_KEYS, *_EXTRA_KEYS))


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A value read as a call.

    Attributes:
        name: The tool's name; None where the value names none.
        arguments: Its arguments; None where they cannot be read.
        raw: The arguments as the model wrote them, for a call that cannot be read.
        error: What is wrong; empty for a call that is right.
    """

    name: str | None
    arguments: dict[str, Any] | None
    raw: str = ""
    error: str = ""


def read_calls(raw: str, names: Collection[str], *, meant: bool) -> list[ReadCall] | None:
    """Read a value as calls.

    Args:
        raw: The value's text.
        names: The names of the tools that may be called.
        meant: Whether the text was marked as a call (tagged), so that whatever it is, it was meant as one.

    Returns:
        The calls, unreadable ones with their error; None where the text is no call, but text.
    """
    try:
        value = read_value(raw)
    except ValueError as error:
        name = named_tool(raw, names)
        return [ReadCall(name, None, raw, str(error))] if meant or name else None
    calls = [_read_call(item, raw) for item in _items(value)]
    if meant:
        return [_checked(call, names, raw) for call in calls] or [ReadCall(None, None, raw, "holds no call")]
    if not calls or any(call.name not in names or _is_data(call) for call in calls):
        return None
    return calls


def named_tool(raw: str, names: Collection[str]) -> str | None:
    """Tell from broken text which tool was meant: the first that stands behind a name's key.

    Args:
        raw: Text that cannot be read as a value.
        names: The names of the tools that may be called.

    Returns:
        The tool's name, or None when the text names none.
    """
    import re  # noqa: PLC0415 -- only broken calls need it

    keys = "|".join(_NAME_KEYS)
    found = re.findall(rf"""["'](?:{keys})["']\s{{0,99}}:\s{{0,99}}["']([^"']{{1,200}})["']""", raw)
    return next((name for name in found if name in names), None)


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    return value if isinstance(value, list) else [value]


def _read_call(value: Any, raw: str) -> ReadCall:
    if not isinstance(value, dict):
        return ReadCall(None, None, raw, "a call must be a JSON object with a name and arguments")
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = next((value[key].strip() for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    if name is None:
        return ReadCall(None, None, raw, "the call names no function")
    key = next((key for key in _ARGUMENT_KEYS if key in value), None)
    if key is None:
        others = value.keys() - {*_NAME_KEYS, *_EXTRA_KEYS}
        if others:
            return ReadCall(name, None, raw, 'the call has no "arguments"')
        return ReadCall(name, {})
    return _with_arguments(name, value[key])


def _with_arguments(name: str, given: Any) -> ReadCall:
    arguments = given
    if isinstance(given, str) and given.strip():
        try:
            arguments = read_value(given)
        except ValueError as error:
            return ReadCall(name, None, given, f"the arguments are {error}")
    elif given is None or isinstance(given, str):
        arguments = {}
    if isinstance(arguments, dict):
        return ReadCall(name, arguments)
    return ReadCall(name, None, str(given), "the arguments must be a JSON object")


def _checked(call: ReadCall, names: Collection[str], raw: str) -> ReadCall:
    if call.name is None or call.name in names:
        return call
    return ReadCall(call.name, None, raw, unknown_name("a function that can be called", call.name, names))


def _is_data(call: ReadCall) -> bool:
    """An object that has a tool's name and other fields but no arguments is data, not a call."""
    return call.arguments is None and call.error.startswith("the call has no")
