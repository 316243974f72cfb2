"""What is remembered of a start: before it is sent, and after.

Laws of this module: a record is written before its start is sent, and says "unknown" until the service has
answered; only a developer clears it then. It holds no input, which may be private or large, only its digest.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from rockai_transport.wire.prediction import TERMINAL_STATUSES, UNKNOWN, Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLEARED", "REFUSED", "STARTED", "UNANSWERED", "Record", "digest", "record_key"]

UNANSWERED = "unknown"
"""Sent, or about to be: whether a prediction exists is not known."""
STARTED = "started"
"""The service has answered with an id."""
REFUSED = "refused"
"""The service has refused it: nothing exists, and the same call may be sent again."""
CLEARED = "cleared"
"""A developer has found that nothing exists: the same call may be sent again."""


class Record(NamedTuple):
    """One start, as far as it is known. JSON can hold every field."""

    key: str
    scope: str
    model: str
    """The name of the `HostedModel`."""
    digest: str
    """Of the model reference and the input."""
    created: float
    """Seconds since 1970, by this machine's clock."""
    state: str = UNANSWERED
    prediction_id: str | None = None
    status: str = UNKNOWN
    """The prediction's, when it was last looked at."""
    predict_seconds: float | None = None
    """What the service measured, once it has ended."""
    files: tuple[str, ...] = ()
    """Where the output was saved."""
    note: str = ""
    """Why it is unknown, or was refused."""

    @property
    def is_running(self) -> bool:
        """Whether a prediction of it may be under way, and be paid for."""
        if self.state == STARTED:
            return self.status not in TERMINAL_STATUSES
        return self.state == UNANSWERED

    @property
    def counts(self) -> bool:
        """Whether it used up one of the scope's starts."""
        return self.state in (STARTED, UNANSWERED)

    @property
    def known(self) -> Prediction:
        """The prediction, as far as the record tells."""
        return Prediction(id=self.prediction_id, status=self.status)

    def seen(self, prediction: Prediction) -> Record:
        """The record after a look at its prediction."""
        measured = (prediction.metrics or {}).get("predict_time")
        return self._replace(
            state=STARTED,
            prediction_id=prediction.id or self.prediction_id,
            status=prediction.status,
            predict_seconds=float(measured) if isinstance(measured, int | float) else self.predict_seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """The record as a dict for any store."""
        return {**self._asdict(), "files": list(self.files)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Read one; fields of a later version are left out."""
        known = {name: data[name] for name in cls._fields if name in data}
        return cls(**{**known, "files": tuple(data.get("files", ()))})


def digest(model: str, model_input: Mapping[str, Any]) -> str:
    """A hash of a model reference and its input, the same in every process."""
    text = json.dumps([model, model_input], sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def record_key(scope: str, call: tuple[str, ...] | None, fingerprint: str) -> str:
    """The key under which one call's start is remembered.

    Args:
        scope: Whose start it is.
        call: What tells this call from every other: in LangGraph the task's id and the tool call's. None:
            nothing does, and every call is a new wish.
        fingerprint: The `digest` of model and input. Models repeat the ids of tool calls, and may do so with
            another input.
    """
    parts = [scope, fingerprint, *(call if call is not None else (uuid4().hex,))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
