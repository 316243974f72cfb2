"""`Prediction`: one run of a model, as last reported by the service; and how to read it from JSON.

Invariants of this module: only this module handles both shapes of a prediction, and missing fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rockai_transport.service import TERMINAL_STATUSES, Service

UNKNOWN = "unknown"

_TEXTS = ("id", "model", "version", "logs", "created_at", "started_at", "completed_at")
_PERCENT = r"(\d{1,3}(?:\.\d+)?)%\|"


@dataclass(frozen=True)
class Prediction:
    """One run of a model, as last reported by the service. It is a value: it does not update itself.

    Every field may be missing from a response; then it keeps its known value, or is None.

    Attributes:
        id: The prediction's id; None if the service returned none, as ``/run`` may.
        status: ``starting``, ``processing``, ``succeeded``, ``failed``, ``canceled``, or a status that only
            the service knows.
        model: ``owner/name``.
        version: 64 hex digits.
        input: The model's input.
        output: The model's output: a string, a list of strings, an object, or None.
        error: The model's error message.
        logs: The model's logs so far.
        metrics: ``{"predict_time": seconds}`` and other measurements of the service.
        created_at: ISO 8601 without a time zone, as the service writes it.
        started_at: When the model started, in the same format.
        completed_at: When the prediction ended, in the same format.
        urls: ``get`` and ``stream``, as the service returns them. The token is never sent to another origin.
        raw: The decoded JSON that this was read from.

    Example:
        >>> Prediction(id="p1", status="succeeded", output=["Hello", " world"]).text
        'Hello world'
    """

    id: str | None = None
    status: str = UNKNOWN
    model: str | None = None
    version: str | None = None
    input: Mapping[str, Any] | None = field(default=None, hash=False)
    output: Any = field(default=None, hash=False)
    error: str | None = None
    logs: str = ""
    metrics: Mapping[str, Any] | None = field(default=None, hash=False)
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    urls: Mapping[str, str] = field(default_factory=dict, hash=False)
    raw: Any = field(default=None, repr=False, compare=False)

    @property
    def is_terminal(self) -> bool:
        """Whether the prediction has ended: succeeded, failed or canceled.

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
        r"""The progress, 0 to 1, from the last tqdm-style bar in the logs; None if there is none.

        Example:
            >>> Prediction(logs="\r 45%|████▌     | 9/20 [00:01<00:01,  9.80it/s]").progress
            0.45
        """
        bars = re.findall(_PERCENT, self.logs)
        return min(float(bars[-1]) / 100, 1.0) if bars else None


class Update(NamedTuple):
    """The argument of ``on_update``: a change of status, or new log lines.

    Attributes:
        prediction: The prediction's current state.
        new_logs: The log text since the last update.
        progress: As `Prediction.progress`: 0 to 1; None if the logs do not show it.

    Example:
        >>> started = client.predictions.create(model="sandbox/echo", input={"prompt": "Hello"})
        >>> updates = []
        >>> ended = client.predictions.wait(started, on_update=updates.append)
        >>> updates[-1].prediction.status, updates[-1].progress
        ('succeeded', None)
    """

    prediction: Prediction
    new_logs: str
    progress: float | None

    @classmethod
    def between(cls, before: Prediction | None, after: Prediction) -> Update | None:
        r"""Compare a prediction with its previous state.

        Args:
            before: The previous state; None at the first poll.
            after: The current state.

        Returns:
            The update; None if there is nothing new to report.

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
    """Return whether it was never fetched: only its id or its record is known, without output and error."""
    return prediction.status == UNKNOWN or (
        prediction.raw is None and prediction.output is None and prediction.error is None
    )


def must_be_fetched(prediction: Prediction) -> bool:
    """Return whether its status is unknown, or that of a record, which does not contain the outcome."""
    return prediction.status == UNKNOWN or (prediction.is_terminal and is_unfetched(prediction))


def is_prediction(data: Any, *, asked_by_id: bool = False) -> bool:
    """Return whether JSON is a prediction: a string ``status``, and an ``id``, ``urls`` or ``output``.

    Args:
        data: Decoded JSON, without its envelope.
        asked_by_id: The call named the prediction by its id, so a ``status`` is enough.
    """
    if not isinstance(data, dict) or not isinstance(data.get("status"), str):
        return False
    return asked_by_id or "id" in data or "urls" in data or "output" in data


def read_prediction(service: Service, data: Mapping[str, Any], known: Prediction) -> Prediction:
    """Read a prediction from the flat shape; missing fields keep their known values.

    A sample response to GET has no ``id``; ``error`` is ``""`` or null if there is none; a model server's own
    response has ``inference_time`` instead of ``metrics`` (docs/http-api.md, «A prediction»).
    """
    texts = {name: data[name] for name in _TEXTS if isinstance(data.get(name), str) and data[name]}
    if known.id is None and type(data.get("id")) is int:  # which True is not
        texts["id"] = str(data["id"])
    metrics = data.get("metrics")
    if not isinstance(metrics, dict):
        metrics = {"inference_time": data["inference_time"]} if "inference_time" in data else known.metrics
    urls = data.get("urls")
    if isinstance(urls, dict) and urls:
        urls = {name: address for name, address in urls.items() if isinstance(address, str)}
    else:
        urls = known.urls
    error = data.get("error", known.error) or None
    if error is not None and not isinstance(error, str):
        error = json.dumps(error, ensure_ascii=False)
    return replace(
        known,
        **texts,
        status=service.statuses.get(data["status"], data["status"]),
        input=data["input"] if isinstance(data.get("input"), dict) else known.input,
        output=data.get("output", known.output),
        error=error,
        metrics=metrics,
        urls=urls,
        raw=data,
    )
