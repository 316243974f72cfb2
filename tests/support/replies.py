"""The service's responses, for tests."""

from __future__ import annotations

from typing import Any

MODEL = "owner/name"
VERSION = "5fe0" * 16


def prediction(status: str = "starting", **fields: Any) -> dict[str, Any]:
    """A prediction in the flat shape."""
    return {"id": "p1", "status": status, "output": None, "urls": {}, "logs": "", "error": "", **fields}


def enveloped(data: Any, code: int = 200) -> dict[str, Any]:
    """The older shape."""
    return {"data": data, "msg": "success", "code": code}
