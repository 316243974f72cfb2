"""The texts that an agent reads: the status of predictions, the possible next steps, and the files.

Invariants of this module: a text has an id, a status, the progress, times, and a URL or a file; never a
traceback, JSON, or the bytes of a file; and less than 2,000 characters, whatever the agent or a model wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from rockai_transport.errors import BadRequestError, ConfigurationError, RockAIError
from rockai_transport.jobs.budget import shown, shown_left
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.records import GONE, Record, what_is_left
from rockai_transport.protocol.downloads import DATA_URI, file_addresses
from rockai_transport.protocol.inputs import check_input
from rockai_transport.protocol.prediction import UNKNOWN, Prediction, is_unfetched
from rockai_transport.protocol.responses import is_gone

ALREADY_RUNNING = "It was already running with the same input: no second one was started."
STARTED_BEFORE = "This same call had started it before: nothing new was started."

_MOST_CHARACTERS = 1999  # of an answer
_MOST_TEXT = 1500  # characters of a model's text, or of an answer's first line
_MOST_ID = 100  # characters of an id that an agent has made up
_MOST_REASON = 500  # characters of an error's message
_COLD_AFTER = 10.0  # seconds of starting after which the usual time of a cold start is mentioned
_MINUTE = 60
_HOUR = 3600


class ToolAnswer(NamedTuple):
    """The result of one tool call: text for the agent, values for the program."""

    text: str
    result: Prediction | list[Prediction] | None = None
    """The prediction of the call; a list for ``list_predictions``."""
    is_error: bool = False
    files: tuple[Path, ...] = ()
    sleeps: bool = False
    """Whether to suspend the call, and repeat it once the prediction has ended."""


class PredictionView(NamedTuple):
    """A prediction in its last known state, with local data about it."""

    prediction: Prediction
    model: HostedModel | None = None
    elapsed: float | None = None
    """Seconds since it was started here."""
    files: tuple[Path, ...] = ()
    trouble: str = ""
    """Other problems: a file that could not be saved, a poll that failed."""

    @property
    def name(self) -> str:
        """The name by which an agent knows it."""
        model = f" ({self.model.name})" if self.model else ""
        return f"Prediction {self.prediction.id or 'without id'}{model}"

    @property
    def has_files(self) -> bool:
        """Whether the output is files: by the developer's setting, otherwise by addresses in the output."""
        output = self.model.output if self.model else None
        return output != "text" and (output is not None or bool(file_addresses(self.prediction.output)))


def describe_prediction(view: PredictionView, remark: str = "", *, just_started: bool = False) -> ToolAnswer:
    """Describe a prediction's status, with an optional remark about its start."""
    prediction = view.prediction
    match prediction.status:
        case "succeeded":
            text = _succeeded(view)
        case "failed":
            why = _cut(prediction.error or "the model gave no reason", _MOST_REASON)
            text = (
                f"{view.name} failed{_after(view)}: {why.rstrip('.')}. The same input will likely fail "
                "again: change it, or tell the user."
            )
        case "canceled":
            text = f"{view.name} was canceled. Start a new one only if the user wants it."
        case _ if just_started:
            text = (
                f"{view.name} is {prediction.status}. It runs by itself: tell the user, or wait for it with "
                "wait_for_prediction. Do not start it again."
            )
        case _:
            text = (
                f"{view.name} is still {_how_far(view)}. It goes on by itself: wait again with "
                "wait_for_prediction, or end it with cancel_prediction. Do not start it again."
            )
    text = f"{text}\n{view.trouble}" if view.trouble else text
    if remark:
        first, newline, rest = text.partition("\n")
        text = f"{first} {remark}{newline}{rest}"
    return ToolAnswer(text, prediction, prediction.status == "failed", view.files)


def describe_canceled(view: PredictionView) -> ToolAnswer:
    """Describe the result of canceling a prediction."""
    prediction = view.prediction
    if prediction.status == "canceled":
        text = f"{view.name} is canceled. It is no longer running."
    elif prediction.is_terminal:
        text = f"It was too late to cancel. {describe_prediction(view).text}"
    else:
        how = f"was asked to stop; the service still says {prediction.status}"
        text = f"{view.name} {how}. Look once more with get_prediction."
    return ToolAnswer(text, prediction)


def describe_list(
    views: Sequence[PredictionView], unknown: Sequence[Record], starting: Collection[str] = ()
) -> ToolAnswer:
    """Describe all predictions of this conversation; ``starting`` has the keys being started here."""
    more = [_unknown_line(one, is_starting=one.key in starting) for one in unknown]
    text = "\n".join([*map(_line, views), *more]) or "No predictions were started in this conversation."
    if len(text) > _MOST_CHARACTERS:  # ids and statuses matter most: of what runs or may run, then the newest
        ordered = sorted(views, key=lambda one: not one.prediction.is_terminal)
        text = "\n".join([*more, *(_line(view, with_files=False) for view in reversed(ordered))])
    return ToolAnswer(text, [one.prediction for one in views])


def refusal(text: str) -> ToolAnswer:
    """Describe a refused call."""
    return ToolAnswer(text, is_error=True)


def describe_not_started(model: HostedModel, key: str, error: RockAIError | None = None) -> ToolAnswer:
    """Describe a start that failed, or whose response was lost."""
    if error is not None and not error.may_have_started:
        # An agent's own input is never a file.
        is_refused = isinstance(error, ConfigurationError) and not check_input(model.defaults)
        is_about_input = is_refused or isinstance(error, BadRequestError)
        hint = "Correct the input and try again." if is_about_input else "Tell the user."
        return refusal(f"{model.name}: nothing was started and nothing is charged. {reason(error)} {hint}")
    why = f" {reason(error)}" if error is not None else ""
    return refusal(
        f"{model.name}: it is unknown whether this started.{why} A prediction may be running and be charged, "
        "so it is not started again. Do not repeat the call; tell the user that record "
        f"{key} must be resolved by the developer: resolve({key!r}, prediction_id=…)."
    )


def describe_too_many(running: Sequence[Record], ahead: int, most: int) -> ToolAnswer:
    """Describe the limit of predictions: how many are running, and how many others are being started."""
    known = [one.prediction_id for one in running if one.prediction_id]
    unknown = [one.key for one in running if not one.prediction_id]
    names = [*known, *(f"record {key}" for key in unknown), *["one that is being started"] * ahead]
    listed = ", ".join(names)
    text = f"Not started: {len(names)} predictions are running ({listed}), and {most} are allowed at once."
    if unknown:
        of_these = " and ".join(f"record {key}" for key in unknown)
        text += (
            f" It is unknown whether {of_these} started: tell the user that the developer must resolve "
            f"this, with resolve({unknown[0]!r}, prediction_id=…)."
        )
    if known or ahead:
        text += " Wait for one or cancel one, then try again."
    return refusal(text)


def describe_over_budget(record: Record, records: Sequence[Record], max_cost: Decimal) -> ToolAnswer | None:
    """Say that a start exceeds the budget of its conversation; None: it does not."""
    counted = [one for one in records if one.counts and one.key != record.key]
    for one in counted:
        if one.is_exceeded:
            return refusal(
                f"Not started: prediction {one.prediction_id} has cost {shown(one.cost or Decimal(0))}, more "
                f"than the {shown(one.reserved or Decimal(0))} reserved for it, so nothing more is started "
                "in this conversation. Tell the user."
            )
    left = what_is_left(max_cost, counted)
    asked_for = record.reserved or Decimal(0)
    if asked_for <= left:
        return None
    return refusal(
        f"Not started: {record.model} may cost {shown(asked_for)}, and this conversation's budget of "
        f"{shown(max_cost)} has only {shown(max(left, Decimal(0)))} left. Tell the user."
    )


def describe_order(model: HostedModel, records: Iterable[Record], max_cost: Decimal | None) -> str:
    """Return the approval question for a start, given the other starts of its conversation."""
    cost = f"{shown(model.price.reserved)} at most" if model.price else "money"
    left = "" if max_cost is None else f"; {shown_left(max_cost, what_is_left(max_cost, records))}"
    return f"Start {model.name}? It costs {cost}{left}."


def describe_unreachable(view: PredictionView, error: RockAIError) -> ToolAnswer:
    """Describe a prediction about which the service did not answer."""
    if is_gone(error):
        advice = "The service knows no such prediction: do not ask for it again; tell the user."
    else:
        advice = "It may go on: try again later, and do not start it again."
    text = f"{view.name} could not be asked about. {reason(error)} {advice}"
    return ToolAnswer(text, view.prediction, is_error=True)


def fitted(answer: ToolAnswer) -> ToolAnswer:
    """Shorten an answer to less than 2,000 characters: as many whole lines as fit, the first one cut."""
    if len(answer.text) <= _MOST_CHARACTERS:
        return answer
    first, *rest = answer.text.split("\n")
    lines = [_cut(first, _MOST_TEXT)]
    room = _MOST_CHARACTERS - len(lines[0]) - len(_more(len(rest)))
    for line in rest:
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    return answer._replace(text="\n".join(lines) + _more(len(rest) + 1 - len(lines)))


def shortened(text: str) -> str:
    """Return an agent's text for quoting: shortened, without control characters."""
    return repr(_cut(text, _MOST_ID))


def reason(error: RockAIError) -> str:
    """Return an error's message, shortened."""
    return _cut(" ".join(error.message.split()) or type(error).__name__, _MOST_REASON)


def duration(seconds: float) -> str:
    """Return a duration as text.

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


def _succeeded(view: PredictionView) -> str:
    """Put each address at the end of its own line: a model would copy a full stop after it."""
    text = f"{view.name} succeeded{_after(view)}."
    addresses = file_addresses(view.prediction.output)
    if not addresses or (view.model and view.model.output == "text"):
        is_lost = view.prediction.id is None and is_unfetched(view.prediction) and not view.files
        none = "not kept: only the first answer had it, because the service gave no id" if is_lost else "none"
        text += f"\nOutput: {_cut(view.prediction.text, _MOST_TEXT) or none}"
    else:
        for address in addresses:
            text += f"\nOutput: {'a file inside the answer' if DATA_URI.match(address) else address}"
    for path in view.files:
        text += f"\nSaved as: {path}"
    return text


def _how_far(view: PredictionView) -> str:
    prediction, elapsed = view.prediction, view.elapsed
    if prediction.status == GONE:
        return "the service does not know it any more"
    if prediction.status == "starting" and elapsed is not None and elapsed >= _COLD_AFTER:
        usual = float(view.model.usual_cold_start) if view.model else 0.0
        limit = f"{usual / _MINUTE:.0f} min" if usual >= _MINUTE else f"{usual:.0f} s"
        return f"starting for {duration(elapsed)}{f', usually under {limit}' if usual else ''}"
    parts = ["under way, as far as is known" if prediction.status == UNKNOWN else prediction.status]
    if prediction.progress is not None:
        parts.append(f"{prediction.progress:.0%}".replace("%", " %"))
    if elapsed is not None:
        parts.append(f"for {duration(elapsed)}")
    return ", ".join(parts)


def _after(view: PredictionView) -> str:
    """Return the time from its creation to its end, by the service's clock only."""
    try:
        began = datetime.fromisoformat(view.prediction.created_at or "")
        ended = datetime.fromisoformat(view.prediction.completed_at or "")
        return f" after {duration((ended - began).total_seconds())}"
    except (TypeError, ValueError):  # one is missing, or only one has a time zone
        return ""


def _line(view: PredictionView, *, with_files: bool = True) -> str:
    prediction = view.prediction
    how = prediction.status if prediction.is_terminal else _how_far(view)
    shown = [address for address in file_addresses(prediction.output) if not DATA_URI.match(address)]
    files = [*shown, *map(str, view.files)] if with_files else []
    return ", ".join([f"- {view.name}: {how}", *files])


def _unknown_line(record: Record, *, is_starting: bool) -> str:
    if is_starting:
        return f"- {record.model}: being started, unknown whether it started yet. Do not start it again."
    return f"- {record.model}: unknown whether it started (record {record.key}); it is not started again."


def _more(count: int) -> str:
    return f"\n… and {count} more line{'s' if count > 1 else ''}." if count else ""


def _cut(text: str, length: int) -> str:
    text = text.strip()
    return text if len(text) <= length else f"{text[: length - 1]}…"
