"""What the life of a prediction says of the beliefs about predictions. Pure: evidence in, judgements out."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rockai_transport.doctor.findings import (
    Judgement,
    Mend,
    OutputUnder,
    as_assumed,
    differs,
    unknown,
)
from rockai_transport.doctor.paid_probes import WRONG_KEY
from rockai_transport.errors import RockAIError
from rockai_transport.protocol import responses as answers
from rockai_transport.protocol.prediction import TERMINAL_STATUSES, Prediction, is_prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.doctor.paid_probes import Canceled, Followed, Ran
    from rockai_transport.doctor.patient import Patient
    from rockai_transport.doctor.recording import Exchange
    from rockai_transport.service import Service

__all__ = [
    "judge_cancel",
    "judge_created",
    "judge_fields",
    "judge_get",
    "judge_ids",
    "judge_other_form",
    "judge_output",
    "judge_run",
    "judge_shape",
    "judge_statuses",
    "judge_stream_address",
    "judge_times",
    "judge_wrong_key",
    "on_run",
    "on_stream",
]

_FIELDS = frozenset(
    {
        "completed_at",
        "created_at",
        "error",
        "id",
        "input",
        "logs",
        "metrics",
        "model",
        "output",
        "started_at",
        "status",
        "stream",
        "urls",
        "version",
        "webhook",
        "webhook_events_filter",
    }
)
_NEEDED = frozenset({"id", "status", "output", "urls", "logs", "error"})
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?"
_JSON_KINDS = {str: "a string", list: "a list", int: "a number", float: "a number", bool: "true or false"}
_NO_ID = "no prediction can be known by its id, see shape"


def judge_wrong_key(exchange: Exchange, patient: Patient) -> Judgement:
    """In which form a wrong key is refused."""
    if patient.spare is not None:
        return differs(
            f"{exchange.answer}: taken (and canceled at once): a wrong key is found out late, or never"
        )
    said = exchange.reply.decoded if exchange.reply else None
    detail = said.get("detail") if isinstance(said, dict) else None
    named = isinstance(detail, list) and any(WRONG_KEY in str(item) for item in detail)
    if exchange.status == HTTPStatus.UNPROCESSABLE_ENTITY and named:
        return as_assumed(exchange.answer)
    return differs(exchange.answer)


def judge_created(canceled: Canceled, _patient: Patient) -> Judgement:
    """Whether create takes the model as it was given."""
    exchange = canceled.created.exchange
    return as_assumed(f"{exchange.status} in {exchange.seconds:.2f} s", exchange)


def judge_shape(canceled: Canceled, patient: Patient) -> Judgement:
    """In which shape a prediction comes."""
    exchange = canceled.created.exchange
    if patient.hook is not None:
        seen = f"the prediction stands under {patient.told(patient.hook.key)!r}"
        return differs(seen, Mend("read_prediction", patient.hook), exchange=exchange)
    if canceled.created.prediction.id is None:
        return differs(
            f"no prediction with an id: {exchange.answer}", Mend("read_prediction"), exchange=exchange
        )
    if patient.service.read_prediction is not None:
        return as_assumed("as Service.read_prediction reads it", exchange)
    data = exchange.reply.decoded if exchange.reply else None
    return as_assumed("flat" if is_prediction(data) else "enveloped", exchange)


def judge_fields(canceled: Canceled, patient: Patient) -> Judgement:
    """Which fields a prediction has."""
    raw = canceled.created.prediction.raw
    if not isinstance(raw, dict):
        return unknown(_NO_ID)
    missing, new = _FIELDS - raw.keys(), patient.told(sorted(raw.keys() - _FIELDS))
    told = "; ".join(
        f"{word}: {', '.join(sorted(names))}" for word, names in (("without", missing), ("new", new)) if names
    )
    if _NEEDED & missing:
        return differs(told, exchange=canceled.created.exchange)
    return as_assumed(told or "all of them", canceled.created.exchange)


def judge_get(canceled: Canceled, patient: Patient) -> Judgement:
    """Whether a prediction can be looked at, and whether it then says its own id."""
    if not canceled.looks:
        return unknown(_NO_ID)
    look = canceled.looks[0]
    raw = look.prediction.raw
    if patient.is_accepted(look.exchange) and look.prediction is not canceled.created.prediction:
        carries = isinstance(raw, dict) and "id" in raw
        return as_assumed("it carries the id" if carries else "it carries no id", look.exchange)
    path = _template(patient, canceled.created.prediction, "get")
    mend = Mend("get_path", path) if path and path != patient.service.get_path else Mend("get_path")
    return differs(look.exchange.answer, mend, exchange=look.exchange)


def judge_cancel(canceled: Canceled, patient: Patient) -> Judgement:
    """Whether cancel works, and what becomes of the prediction."""
    if canceled.answer is None:
        return unknown(_NO_ID)
    answer, last = canceled.answer, canceled.looks[-1]
    if patient.is_missing(answer):
        path = _template(patient, canceled.created.prediction, "cancel")
        return differs(
            answer.answer, Mend("cancel_path", path) if path else Mend("cancel_path"), exchange=answer
        )
    if not patient.is_accepted(answer):
        return differs(answer.answer, exchange=answer)
    meaning = patient.meaning(last.prediction)
    told = f"{answer.status}, then {patient.told(last.prediction.status)}"
    if meaning == "canceled":
        return as_assumed(told, answer)
    if meaning in TERMINAL_STATUSES:
        return as_assumed(f"{told}: it had ended before", answer)
    return differs(f"{told}: it goes on", exchange=answer)


def judge_other_form(followed: Followed, _patient: Patient) -> Judgement:
    """Whether create takes a version alone, and a model's name, alike."""
    if followed.refused is not None:
        return differs(f"refused: {followed.refused.answer}", exchange=followed.refused)
    return as_assumed(
        f"created by {followed.by} ({followed.created.exchange.status})", followed.created.exchange
    )


def judge_statuses(followed: Followed, patient: Patient) -> Judgement:
    """Which words the service has for a status."""
    seen = patient.words_seen
    told = ", ".join(map(patient.told, seen))
    strange = {word: patient.meaning(prediction) for word, prediction in seen.items()}
    strange = {word: ours for word, ours in strange.items() if word not in patient.service.statuses}
    if not strange:
        return as_assumed(told, followed.last.exchange)
    if None in strange.values():
        return differs(told, Mend("statuses"), exchange=followed.last.exchange)
    mended = {**patient.service.statuses, **strange}
    return differs(told, Mend("statuses", mended), exchange=followed.last.exchange)


def judge_times(followed: Followed, patient: Patient) -> Judgement:
    """How times are written."""
    last = followed.last.prediction
    times = [time for time in (last.created_at, last.started_at, last.completed_at) if time]
    if not times:
        return unknown("no time came")
    if all(re.fullmatch(_TIME, time) for time in times):
        return as_assumed(times[-1])
    seen = patient.told(times[-1])
    return differs(f"{seen}; nothing in this package reads times, they are handed on as they are")


def judge_output(followed: Followed, patient: Patient) -> Judgement:
    """What an output is."""
    last = followed.last.prediction
    if patient.meaning(last) != "succeeded":
        why = f": {patient.told(last.error)[:200]}" if last.error else ""
        return unknown(f"last seen {patient.told(last.status)}{why}", followed.last.exchange)
    metrics = ", ".join(patient.told(list(last.metrics or ()))) or "none"
    return as_assumed(f"{_kind(patient.told(last.output))}; metrics: {metrics}", followed.last.exchange)


def judge_stream_address(followed: Followed, patient: Patient) -> Judgement:
    """Where the stream of a prediction that was created is."""
    url = followed.created.prediction.urls.get("stream", "")
    if followed.stream_path is not None:
        found = Mend("stream_path", followed.stream_path, ours=True)
        return differs("urls names none, but it is there", found)
    if followed.stream is None:
        told = "urls names none, so it comes as one piece"
        direct = patient.route == "auto" and "run_stream_path" not in patient.missing
        mends = [Mend("route", "run", ours=True)] if direct else []
        return differs(told, *mends, exchange=followed.created.exchange)
    if not followed.stream.is_success:
        told = f"{patient.told(url)}: {followed.stream.answer}"
        return differs(told, Mend("stream_path"), exchange=followed.stream)
    if patient.service.stream_path is not None:
        return as_assumed(f"by Service.stream_path: {followed.stream.status}", followed.stream)
    origin = "://".join(urlsplit(url)[:2])
    if origin and origin != patient.wire.settings.origin:
        told = (
            f"at {patient.told(origin)}; asked at the base URL's origin, the only one that gets the token, "
        )
        return differs(f"{told}it is there too", exchange=followed.stream)
    path = _template(patient, followed.created.prediction, "stream")
    return as_assumed(f"at the base URL's origin: {patient.told(path)}")


def on_stream(judge: Callable[[Exchange, Service], Judgement]) -> Callable[[Followed, Patient], Judgement]:
    """A judgement of event streams, of the stream of a prediction that was created."""

    def judge_stream(followed: Followed, patient: Patient) -> Judgement:
        stream = followed.stream
        if stream is None or not stream.is_success:
            return unknown("there is no stream, see stream-address")
        return judge(stream, patient.service)

    return judge_stream


def on_run(judge: Callable[[Exchange, Service], Judgement]) -> Callable[[Ran, Patient], Judgement]:
    """A judgement of event streams, of the one of ``/run_sse``."""
    return lambda ran, patient: judge(ran.exchange, patient.service)


def judge_run(ran: Ran, patient: Patient) -> Judgement:
    """What ``/run`` answers."""
    exchange = ran.exchange
    if exchange.reply is None:
        return unknown(exchange.failure)
    try:
        prediction = answers.read_output(patient.service, exchange.call, exchange.reply, Prediction())
    except RockAIError as error:
        return differs(patient.told(error.message))
    kind = _kind(patient.told(exchange.reply.decoded))
    told = f"{kind}, after {exchange.seconds:.1f} s{'; it tells the id' if ran.ids else ''}"
    output = prediction.output
    if isinstance(output, dict) and isinstance(patient.created_output, str | list):
        kind = _kind(patient.created_output)
        key = next((key for key, value in output.items() if _kind(value) == kind), None)
        known = key is not None and patient.service.read_prediction is None
        mend = Mend("read_prediction", OutputUnder(str(key))) if known else Mend("read_prediction")
        return differs(f"{told}, where create gives {kind}", mend)
    return as_assumed(told)


def judge_ids(ran: Ran, patient: Patient) -> Judgement:
    """Whether a run tells its prediction's id."""
    if not ran.ids:
        return as_assumed("none in headers or events")
    return differs(
        f"it does: {patient.told(ran.ids[0])}. Please tell the authors: leaving early could then cancel"
    )


def _template(patient: Patient, prediction: Prediction, kind: str) -> str | None:
    """The path below the base URL of an address that the service names for a prediction."""
    url, prediction_id = prediction.urls.get(kind, ""), prediction.id or ""
    base = urlsplit(patient.wire.base_url).path
    path = urlsplit(url).path
    if not prediction_id or prediction_id not in path or not path.startswith(f"{base}/"):
        return None
    return path.removeprefix(base).replace(prediction_id, "{id}")


def _kind(value: Any) -> str:
    """What a value is, in the words of docs/http-api.md."""
    match value:
        case list() if value and all(isinstance(item, str) for item in value):
            return "a list of strings"
        case {"status": str()} | {"data": {"status": str()}}:
            return "a prediction"
        case {"code": int(), "data": data}:
            return f"an envelope of {_kind(data)}"
        case dict():
            return f"an object with {', '.join(map(str, list(value)[:8]))}"
    return _JSON_KINDS.get(type(value), "null")
