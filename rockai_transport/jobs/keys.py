"""Which requests are equal, and which calls are the same.

Invariants of this module: the answer is the same in every process, and does not depend on how a value is
written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4


def digest(model: str, model_input: Mapping[str, Any]) -> str:
    """Return a hash of a model reference and its input, the same in every process.

    Inputs that are equal as JSON have the same hash, however they are written: 1 and 1.0, keys in any order,
    a character and its two halves.
    """
    written = json.dumps([model, model_input], ensure_ascii=False, default=_described)
    text = json.dumps(json.loads(written, parse_float=_number), sort_keys=True, ensure_ascii=False)
    sent = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    return hashlib.sha256(sent).hexdigest()[:32]


def record_key(scope: str, call: tuple[str, ...] | None, fingerprint: str) -> str:
    """Return the key under which one call's start is recorded.

    Args:
        scope: The scope of the start.
        call: Identifies the call: in LangGraph, the task's id and the tool call's. None: it has no identity,
            so every call is a new start.
        fingerprint: The `digest` of what is asked for. Models may repeat the id of a tool call with another
            input.
    """
    parts = [scope, fingerprint, *(call if call is not None else (uuid4().hex,))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _described(value: Any) -> Any:
    """Describe a value that JSON cannot hold, without its address in memory."""
    if isinstance(value, Mapping):
        return dict(value)
    return repr(bytes(value) if isinstance(value, bytearray | memoryview) else value)
