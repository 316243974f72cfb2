"""What an agent reads: short texts that say how things stand and what can be done next.

Law of this module: an id, a status, how far, how long, and a URL or a file; never a traceback, never JSON,
never the bytes of a file.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from rockai_transport.errors import APIStatusError, ConfigurationError, RockAIError
from rockai_transport.protocol.downloads import file_addresses
from rockai_transport.protocol.prediction import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rockai_transport.jobs.hosted_models import HostedModel
    from rockai_transport.jobs.records import Record
    from rockai_transport.protocol.prediction import Prediction

__all__ = [
    "PredictionView",
    "ToolAnswer",
    "canceled",
    "duration",
    "listing",
    "looked",
    "not_started",
    "reason",
    "refusal",
    "unseen",
]

_MOST_TEXT = 4000
_MOST_REASON = 500
_COLD_AFTER = 10.0
_MINUTE = 60
_HOUR = 3600


class ToolAnswer(NamedTuple):
    """What one tool call comes to: words for the agent, values for the program."""

    text: str
    result: Prediction | list[Prediction] | None = None
    """The prediction that the call was about; a list for ``list_predictions``."""
    is_error: bool = False
    files: tuple[Path, ...] = ()


class PredictionView(NamedTuple):
    """A prediction as it was just seen, and what only this side knows of it."""

    prediction: Prediction
    model: HostedModel | None = None
    elapsed: float | None = None
    """Seconds since it was started here."""
    files: tuple[Path, ...] = ()
    trouble: str = ""
    """What went wrong besides: a file that could not be saved, a look that failed."""

    @property
    def name(self) -> str:
        """What an agent knows it by."""
        model = f" ({self.model.name})" if self.model else ""
        return f"Prediction {self.prediction.id or 'without id'}{model}"


def looked(seen: PredictionView, *, just_started: bool = False) -> ToolAnswer:
    """How a prediction stands."""
    text = _standing(seen, just_started=just_started)
    if seen.trouble:
        text = f"{text}\n{seen.trouble}"
    return ToolAnswer(text, seen.prediction, seen.prediction.status == "failed", seen.files)


def canceled(seen: PredictionView) -> ToolAnswer:
    """What became of a wish to cancel."""
    prediction = seen.prediction
    if prediction.status == "canceled":
        return ToolAnswer(f"{seen.name} is canceled. Nothing of it runs any more.", prediction)
    if prediction.is_terminal:
        return ToolAnswer(f"It was too late to cancel. {_standing(seen)}", prediction)
    return ToolAnswer(
        f"{seen.name} was asked to stop; the service still says {prediction.status}. "
        f"Look once more with get_prediction.",
        prediction,
    )


def listing(seen: Sequence[PredictionView], unknown: Sequence[Record]) -> ToolAnswer:
    """All that this conversation has started."""
    lines = [f"- {_line(one)}" for one in seen]
    lines += [
        f"- {record.model}: unknown whether it started (record {record.key}); it is not started again."
        for record in unknown
    ]
    text = "\n".join(lines) or "No predictions were started in this conversation."
    return ToolAnswer(text, [one.prediction for one in seen])


def refusal(text: str) -> ToolAnswer:
    """A call that was not carried out."""
    return ToolAnswer(text, is_error=True)


def not_started(model: HostedModel, key: str, error: RockAIError | None) -> ToolAnswer:
    """A start that failed, or of which no answer is known."""
    if error is not None and not error.may_have_started:
        hint = "Tell the user." if not _is_about_input(error) else "Correct the input and try again."
        return refusal(f"{model.name}: nothing was started and nothing is charged. {reason(error)} {hint}")
    why = f" {reason(error)}" if error is not None else ""
    return refusal(
        f"{model.name}: it is unknown whether this started.{why} A prediction may be running and be charged, "
        "so it is not started again. Do not repeat the call; tell the user that record "
        f"{key} must be resolved."
    )


def unseen(seen: PredictionView, error: RockAIError) -> ToolAnswer:
    """A prediction that the service could not be asked about."""
    return ToolAnswer(
        f"{seen.name} could not be asked about. {reason(error)} It may go on: ask again later, and do not "
        "start it again.",
        seen.prediction,
        is_error=True,
    )


def reason(error: RockAIError) -> str:
    """Why something failed, in the error's own words, cut to a length."""
    text = " ".join(error.message.split()) or type(error).__name__
    return text if len(text) <= _MOST_REASON else f"{text[: _MOST_REASON - 1]}…"


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(200)
        '3 min 20 s'
    """
    whole = round(max(seconds, 0))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def _is_about_input(error: RockAIError) -> bool:
    return isinstance(error, ConfigurationError) or (
        isinstance(error, APIStatusError) and error.status_code in (400, 422)
    )


def _standing(seen: PredictionView, *, just_started: bool = False) -> str:
    prediction = seen.prediction
    match prediction.status:
        case "succeeded":
            return _succeeded(seen)
        case "failed":
            why = _cut(prediction.error or "the model gave no reason", _MOST_REASON)
            return (
                f"{seen.name} failed{_after(seen)}: {why.rstrip('.')}. The same input will likely fail "
                "again: change it, or tell the user."
            )
        case "canceled":
            return f"{seen.name} was canceled. Start a new one only if the user wants it."
        case _ if just_started:
            return (
                f"{seen.name} is {prediction.status}. It runs by itself: tell the user, or wait for it with "
                "wait_for_prediction. Do not start it again."
            )
        case _:
            return (
                f"{seen.name} is still {_how_far(seen)}. It goes on by itself: wait again with "
                "wait_for_prediction, or end it with cancel_prediction. Do not start it again."
            )


def _succeeded(seen: PredictionView) -> str:
    """Each address stands alone at the end of its line: a model copies what it reads, a full stop too."""
    lines = [f"{seen.name} succeeded{_after(seen)}."]
    addresses = file_addresses(seen.prediction.output)
    if addresses and (seen.model is None or seen.model.output != "text"):
        lines += [
            "Output: a file inside the answer" if address.startswith("data:") else f"Output: {address}"
            for address in addresses
        ]
    else:
        lines.append(f"Output: {_cut(seen.prediction.text, _MOST_TEXT) or 'none'}")
    lines += [f"Saved as: {path}" for path in seen.files]
    return "\n".join(lines)


def _how_far(seen: PredictionView) -> str:
    prediction, elapsed = seen.prediction, seen.elapsed
    if prediction.status == "starting" and elapsed is not None and elapsed >= _COLD_AFTER:
        usual = seen.model.usual_cold_start if seen.model else None
        usually = f", usually under {_limit(usual)}" if usual else ""
        return f"starting for {duration(elapsed)}{usually}"
    parts = ["under way, as far as is known" if prediction.status == UNKNOWN else prediction.status]
    if prediction.progress is not None:
        parts.append(f"{prediction.progress:.0%}".replace("%", " %"))
    if elapsed is not None:
        parts.append(f"for {duration(elapsed)}")
    return ", ".join(parts)


def _limit(seconds: float) -> str:
    return f"{seconds / _MINUTE:.0f} min" if seconds >= _MINUTE else f"{seconds:.0f} s"


def _after(seen: PredictionView) -> str:
    took = _took(seen.prediction)
    return f" after {duration(took)}" if took is not None else ""


def _took(prediction: Prediction) -> float | None:
    """Seconds from its creation to its end, by the service's clock alone."""
    try:
        began = datetime.fromisoformat(prediction.created_at or "")
        ended = datetime.fromisoformat(prediction.completed_at or "")
        return (ended - began).total_seconds()
    except (TypeError, ValueError):  # one is missing, or only one names its zone
        return None


def _line(seen: PredictionView) -> str:
    prediction = seen.prediction
    text = f"{seen.name}: {_how_far(seen) if not prediction.is_terminal else prediction.status}"
    shown = [address for address in file_addresses(prediction.output) if not address.startswith("data:")]
    for where in (*shown, *map(str, seen.files)):
        text += f", {where}"
    return text


def _cut(text: str, length: int) -> str:
    text = text.strip()
    return text if len(text) <= length else f"{text[: length - 1]}…"
