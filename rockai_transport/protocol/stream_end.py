"""What the end event of a stream reports about the prediction."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

_CANCELED = frozenset({"canceled", "cancelled", "aborted"})
_FAILED = frozenset({"error", "failed", "failure"})


class End(NamedTuple):
    """The end of a stream."""

    status: str = "succeeded"
    """``succeeded``, ``failed`` or ``canceled``."""
    message: str = ""

    @classmethod
    def read(cls, data: str) -> End:
        """Read an end event. ``{}`` is the end; ``{"reason": "canceled"}`` and errors were seen elsewhere."""
        fields = _json_object(data)
        reason = str(fields.get("reason") or fields.get("status")).lower()
        if reason in _CANCELED:
            return cls("canceled", _reason(data))
        if reason in _FAILED or fields.get("error"):
            return cls.of_error(data)
        return cls()

    @classmethod
    def of_error(cls, data: str) -> End:
        """Read an error event."""
        return cls("failed", _reason(data))


def _reason(data: str) -> str:
    """Return an error's message, from plain text or from JSON with ``detail``."""
    fields = _json_object(data)
    reason = next(
        (fields[key] for key in ("detail", "message", "error", "msg", "reason") if fields.get(key)), data
    )
    return reason if isinstance(reason, str) else json.dumps(reason, ensure_ascii=False)


def _json_object(data: str) -> dict[str, Any]:
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
