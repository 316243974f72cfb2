"""`Prediction`: one run of a model, as the service last told of it; and how to read one from JSON.

Invariants of this module: both shapes of a prediction, and what the service leaves out, are dealt with here
and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rockai_transport.service import Service

__all__ = [
    "TERMINAL_STATUSES",
    "UNKNOWN",
    "Prediction",
    "Update",
    "is_prediction",
    "is_unfetched",
    "read_prediction",
]

TERMINAL_STATUSES = frozenset({"succeeded", "failed", "canceled"})
UNKNOWN = "unknown"

_TEXTS = ("id", "model", "version", "logs", "created_at", "started_at", "completed_at")
_PERCENT = r"(\d{1,3}(?:\.\d+)?)%\|"


@dataclass(frozen=True)
class Prediction:
    """One run of a model, as the service last told of it. A value: it does not change by itself.

    Every field may be missing from an answer; then it is what the call already knew, or None.

    Example:
        >>> Prediction(id="p1", status="succeeded", output=["Hello", " world"]).text
        'Hello world'
    """

    id: str | None = None
    """The service's name for it; None where the service gave none, as ``/run`` may."""
    status: str = UNKNOWN
    """``starting``, ``processing``, ``succeeded``, ``failed``, ``canceled``, or a word that only the
    service knows."""
    model: str | None = None
    """``owner/name``."""
    version: str | None = None
    """64 hex digits."""
    input: Mapping[str, Any] | None = None
    """What the model was given."""
    output: Any = None
    """What the model gave: a string, a list of strings, an object, or None."""
    error: str | None = None
    """The model's own words about its failure."""
    logs: str = ""
    """What the model has logged so far."""
    metrics: Mapping[str, Any] | None = None
    """``{"predict_time": seconds}`` and what else the service measured."""
    created_at: str | None = None
    """ISO 8601 without a zone, as the service writes it."""
    started_at: str | None = None
    """When the model began, in the same form."""
    completed_at: str | None = None
    """When it came to its end, in the same form."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """``get`` and ``stream``, as the service names them. Never asked with the token at another origin."""
    raw: Any = field(default=None, repr=False, compare=False)
    """The decoded JSON this was read from."""

    @property
    def is_terminal(self) -> bool:
        """Whether it has come to its end: succeeded, failed or canceled.

        Example:
            >>> Prediction(status="processing").is_terminal, Prediction(status="failed").is_terminal
            (False, True)
        """
        return self.status in TERMINAL_STATUSES

    @property
    def text(self) -> str:
        r"""The output as one string: a list of strings is concatenated, an object becomes JSON.

        Example:
            >>> Prediction(output=["One\n", "two"]).text
            'One\ntwo'
        """
        if self.output is None:
            return ""
        if isinstance(self.output, str):
            return self.output
        if isinstance(self.output, list) and all(isinstance(piece, str) for piece in self.output):
            return "".join(self.output)
        return json.dumps(self.output, ensure_ascii=False, default=str)

    @property
    def progress(self) -> float | None:
        r"""How far it is, 0 to 1, by the last tqdm-style bar in its logs; None where there is none.

        Example:
            >>> Prediction(logs="\r 45%|████▌     | 9/20 [00:01<00:01,  9.80it/s]").progress
            0.45
        """
        bars = re.findall(_PERCENT, self.logs)
        return min(float(bars[-1]) / 100, 1.0) if bars else None


class Update(NamedTuple):
    """What ``on_update`` is given: a change of status, or new log lines.

    Example:
        >>> started = client.predictions.create(model="sandbox/echo", input={"prompt": "Hello"})
        >>> updates = []
        >>> ended = client.predictions.wait(started, on_update=updates.append)
        >>> updates[-1].prediction.status, updates[-1].progress
        ('succeeded', None)
    """

    prediction: Prediction
    """How it stands now."""
    new_logs: str
    """What was logged since the last update."""
    progress: float | None
    """As `Prediction.progress`: 0 to 1; None where the logs do not tell."""

    @classmethod
    def between(cls, before: Prediction | None, after: Prediction) -> Update | None:
        r"""What changed from one look to the next.

        Args:
            before: The prediction as it was; None at the first look.
            after: The prediction as it is.

        Returns:
            The update; None where nothing changed that would be told.

        Example:
            >>> before = Prediction(status="processing", logs="loaded\n")
            >>> after = Prediction(status="processing", logs="loaded\n 50%|█████     | 1/2")
            >>> Update.between(before, after).progress
            0.5
        """
        old = before.logs if before else ""
        new_logs = after.logs.removeprefix(old)
        if before is not None and before.status == after.status and not new_logs:
            return None
        return cls(after, new_logs, after.progress)


def is_unfetched(prediction: Prediction) -> bool:
    """Whether the service has not told of it: known by its id, or by a record, which tells of no output."""
    return prediction.status == UNKNOWN or (prediction.raw is None and prediction.output is None)


def is_prediction(data: Any, *, asked_by_id: bool = False) -> bool:
    """Whether decoded JSON is a prediction: a string ``status``, and an ``id``, ``urls`` or ``output``.

    Args:
        data: Decoded JSON, without its envelope.
        asked_by_id: The answer is to a call that named the prediction: a ``status`` is enough.
    """
    if not isinstance(data, dict) or not isinstance(data.get("status"), str):
        return False
    return asked_by_id or "id" in data or "urls" in data or "output" in data


def read_prediction(service: Service, data: Mapping[str, Any], known: Prediction) -> Prediction:
    """Read a prediction from the flat shape; what the answer leaves out is kept as it was known.

    A sample answer of GET carries no ``id``; ``error`` is ``""`` or null when there is none; a model
    server's own answer has ``inference_time`` in place of ``metrics`` (docs/http-api.md, «A prediction»).
    """
    texts = {name: data[name] for name in _TEXTS if isinstance(data.get(name), str) and data[name]}
    metrics = data.get("metrics")
    if not isinstance(metrics, dict):
        metrics = {"inference_time": data["inference_time"]} if "inference_time" in data else known.metrics
    urls = data.get("urls")
    if isinstance(urls, dict) and urls:
        urls = {name: address for name, address in urls.items() if isinstance(address, str)}
    else:
        urls = known.urls
    error = data.get("error", known.error)
    return replace(
        known,
        **texts,
        status=service.statuses.get(data["status"], data["status"]),
        input=data["input"] if isinstance(data.get("input"), dict) else known.input,
        output=data.get("output", known.output),
        error=(error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)) if error else None,
        metrics=metrics,
        urls=urls,
        raw=data,
    )
