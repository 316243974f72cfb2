"""Answering in JSON if the prompt asks for it, by a schema or by named keys."""

from __future__ import annotations

import json
import re

from rockai_sandbox.models.arguments import QUOTED, Filler, quoted
from rockai_sandbox.models.instructions import json_values
from rockai_sandbox.models.parsed_prompt import ParsedPrompt

DEMANDS = re.compile(
    r"\b(?:answer|reply|respond|return|output|write)\b[^\n]{0,60}\bjson\b|\bjson (?:schema|object)\b",
    re.IGNORECASE,
)


def with_single_braces(text: str) -> str:
    """Undo the doubled braces that some templates leave in a schema: no JSON begins with two braces."""
    return text.replace("{{", "{").replace("}}", "}") if '{{"' in text else text


def answer_in_json(prompt: ParsedPrompt) -> str | None:
    """Answer with a JSON object if the prompt asks for one; fill its schema from the user's text."""
    texts = tuple(map(with_single_braces, (prompt.system, prompt.last)))
    if not any(DEMANDS.search(text) for text in texts):
        return None
    found = [(text[start:end], value) for text in texts for start, end, value in json_values(text)]
    schemas = {
        written: value for written, value in found if isinstance(value, dict) and "properties" in value
    }
    request = texts[-1]
    for written in schemas:
        request = request.replace(written, "")
    for parts in (request.splitlines(), re.split(r"(?<=[.!?:])\s+|\n", request)):
        if rest := " ".join(part for part in parts if part and "json" not in part.lower()):
            request = rest
            break
    schema = next(iter(schemas.values()), None)
    if schema is None:
        keys = [key for key in quoted(prompt.last) if re.fullmatch(r"\w+", key)] or ["answer"]
        request = QUOTED.sub("", request)
        schema = {"properties": {key: {"type": "string"} for key in keys}, "required": keys}
    return json.dumps(Filler(request, [], schema).fill(schema), ensure_ascii=False)
