r"""Tools as text: their descriptions, calls and results in the prompt.

The format is that of Hermes and Qwen, which other models follow as well: one JSON schema per line,
``<tool_call>{"name": …, "arguments": {…}}</tool_call>`` for a call, ``<tool_response>`` for its result. The
JSON inside the tags is written so that it cannot contain a closing tag: ``</`` is written ``<\/``, which JSON
reads as the same text.
"""

from __future__ import annotations

import json
from typing import Any

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.request.tool_choice import ToolSetup

_INTRODUCTION = "You can call these functions. Each line is one function's JSON schema:"
_FORM = (
    "To call a function, answer with its name and arguments in exactly this form:\n"
    '<tool_call>{"name": "function name", "arguments": {"argument name": "value"}}</tool_call>'
)
_SEVERAL = "To call several functions, write one <tool_call> line for each."
_ONE_ONLY = "Make at most one function call in an answer."
_RESULTS = "The result of a call is given to you in <tool_response> tags."
_AUTO = "If no function is needed, answer in plain text without <tool_call>."
_REQUIRED = "You must call a function now: answer with <tool_call> and write nothing else."
_NAMED = "You must call the function {name} now: answer with <tool_call> and write nothing else."


def tool_instructions(setup: ToolSetup) -> str:
    """Tell a model which tools it has and how to call them.

    Args:
        setup: The tools, at least one, and which of them may or must be called.

    Returns:
        Text for the system part of the prompt.
    """
    schemas = [
        _json({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
        for tool in setup.tools
    ]
    required = _NAMED.format(name=setup.name) if setup.name else _REQUIRED
    when = required if setup.forced else _AUTO
    number = _SEVERAL if setup.parallel else _ONE_ONLY
    return "\n".join([_INTRODUCTION, *schemas, _FORM, number, _RESULTS, when])


def call_text(call: ToolCall | InvalidToolCall) -> str:
    """Write a call in the format that the model is told to use.

    Args:
        call: The call; an invalid one is written with the arguments of the model.

    Returns:
        The tagged line.
    """
    return f"<tool_call>{_json({'name': call.name, 'arguments': call.arguments})}</tool_call>"


def result_text(name: str, content: str, *, is_error: bool = False) -> str:
    """Write a tool's result in the format that the model is told to expect.

    Args:
        name: The tool's name; may be empty if it is not known.
        content: The result, or the error's text.
        is_error: Whether the call failed.

    Returns:
        The tagged line.
    """
    named = {"name": name} if name else {}
    payload = {**named, "error" if is_error else "content": content}
    return f"<tool_response>{_json(payload)}</tool_response>"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str).replace("</", "<\\/")
