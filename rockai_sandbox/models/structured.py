"""Answering in JSON where the prompt demands it: by a schema, or by keys that it names."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rockai_sandbox.models.arguments import QUOTED, Filler, quoted
from rockai_sandbox.models.conversation import Conversation
from rockai_sandbox.models.tool_manual import json_values

DEMANDS = re.compile(
    r"\b(?:answer|reply|respond|return|output|write)\b[^\n]{0,60}\bjson\b|\bjson (?:schema|object)\b",
    re.IGNORECASE,
)


def answer_in_json(conversation: Conversation) -> str | None:
    """Answer with a JSON object if the prompt asks for one: its schema is filled from what the user said."""
    texts = (conversation.system, conversation.last)
    if not any(DEMANDS.search(text) for text in texts):
        return None
    schema = next((schema for text in texts for schema in _schemas(text)), None)
    request = _request(conversation.last)
    if schema is None:
        keys = [key for key in quoted(conversation.last) if re.fullmatch(r"\w+", key)] or ["answer"]
        request = QUOTED.sub("", request)
        schema = {"properties": {key: {"type": "string"} for key in keys}, "required": keys}
    return json.dumps(Filler(request, [], schema).fill(schema), ensure_ascii=False)


def _schemas(text: str) -> Iterator[Mapping[str, Any]]:
    for _, _, value in json_values(text):
        if isinstance(value, dict) and isinstance(value.get("properties"), dict):
            yield value


def _request(text: str) -> str:
    for start, end, value in reversed(list(json_values(text))):
        if isinstance(value, dict) and "properties" in value:
            text = text[:start] + text[end:]
    sentences = re.split(r"(?<=[.!?:])\s+|\n", text)
    kept = [
        sentence
        for sentence in sentences
        if sentence.strip() and not re.search(r"\bjson\b", sentence, re.IGNORECASE)
    ]
    return " ".join(kept) or text
