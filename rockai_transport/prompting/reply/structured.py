"""JSON answers: the instructions for the model, and the value in its reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rockai_transport.prompting.reply.call_values import is_schema
from rockai_transport.prompting.reply.json_values import extract_json
from rockai_transport.prompting.reply.reader import ModelReply
from rockai_transport.prompting.reply.schema_values import fits, structured_value

_OBJECT: Final = "Answer with one JSON object and nothing else: no prose, no code fence."
_SCHEMA: Final = "Answer with one JSON object that fits this JSON schema:"
_NOTHING_ELSE: Final = "Write the JSON object and nothing else: no prose, no code fence."


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The required format of a reply.

    Attributes:
        schema: The JSON schema; None for any JSON object.
    """

    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def name(self) -> str:
        """The name of the object, as the model sees it; empty if it sees none."""
        return str((self.schema or {}).get("title", ""))

    @property
    def instructions(self) -> str:
        """Text for the system part of the prompt."""
        if self.schema is None:
            return _OBJECT
        return "\n".join([_SCHEMA, json.dumps(self.schema, ensure_ascii=False, default=str), _NOTHING_ELSE])


def structured_reply(reply: ModelReply, schema: Mapping[str, Any] | None = None, name: str = "") -> Any:
    """Read a reply's value for a schema; the caller validates it.

    Args:
        reply: The reply: the arguments of its first call, else the JSON in its text.
        schema: The JSON schema; None for any JSON value.
        name: The name of the schema, as the model sees it.

    Returns:
        The value, as :func:`.schema_values.structured_value` reads it. If a text contains several, the one
        that fits the schema.

    Raises:
        ValueError: There is none, or it does not match this schema; the message is feedback for the model.
    """
    if schema is None:
        return reply.tool_calls[0].arguments if reply.tool_calls else extract_json(reply.text)

    def read(value: Any) -> Any:
        if is_schema(value, schema) or is_schema(result := structured_value(value, schema, name), schema):
            raise ValueError("this is the JSON schema itself, not an object that fits it")
        return result

    def accepts(value: Any) -> bool:
        try:
            return fits(read(value), schema)
        except ValueError:
            return False

    return read(reply.tool_calls[0].arguments if reply.tool_calls else extract_json(reply.text, accepts))
