"""The probes that start runs: one that is canceled at once, one that is followed, ``/run`` and ``/run_sse``.

Law of this module: each probe sends at most one call that starts a run. The one with a wrong key should be
refused; if it is not, its prediction takes the place of the one that is created to be canceled.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from rockai_transport.doctor.patient import Created, stream_ends
from rockai_transport.doctor.probes import RefusedError, UnavailableError
from rockai_transport.doctor.streams import ids_told
from rockai_transport.errors import RockAIError
from rockai_transport.protocol import requests as calls
from rockai_transport.protocol import responses as answers
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.requests import EVENT_STREAM, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.doctor.patient import Patient
    from rockai_transport.doctor.recording import Exchange
    from rockai_transport.protocol.references import ModelReference

__all__ = [
    "WRONG_KEY",
    "Canceled",
    "Followed",
    "Ran",
    "needs_create",
    "needs_direct",
    "send_canceled",
    "send_followed",
    "send_run",
    "send_run_stream",
    "send_wrong_key",
]

WRONG_KEY = "rockai_doctor_no_such_key"
_MOST_IDS = 3
_ID = r"[\w-]{6,80}"
_STREAMS = (
    # The one seen in `urls.stream` (docs/http-api.md, «The five calls»), and how peers write it.
    "/predictions/stream/{id}",
    "/predictions/{id}/stream",
    "/stream/predictions/{id}",
)


class Canceled(NamedTuple):
    """A prediction that was canceled as soon as it was created."""

    created: Created
    answer: Exchange | None
    """What cancel was answered; `None` without an id to cancel by."""
    looks: list[Created]


class Followed(NamedTuple):
    """A prediction that was followed to its end."""

    created: Created
    by: str
    """The keys it was created by."""
    refused: Exchange | None
    """The model's other form, where create did not take it."""
    stream: Exchange | None
    stream_path: str | None
    """Where its stream was found, though no answer named it."""
    looks: list[Created]

    @property
    def last(self) -> Created:
        """Its end."""
        return self.looks[-1]


class Ran(NamedTuple):
    """A run whose id nobody is believed to tell."""

    exchange: Exchange
    ids: list[str]
    """What it told that the service knows as a prediction's id."""


def needs_create(patient: Patient) -> str:
    """Why no prediction can be created; empty where one can."""
    if "create_path" in patient.missing:
        return "create does not exist, see create-route"
    return "the answer to create cannot be read, see shape" if patient.unreadable else ""


def needs_direct(field: str) -> Callable[[Patient], str]:
    """Why ``/run`` or ``/run_sse`` cannot be asked; empty where it can."""

    def obstacle(patient: Patient) -> str:
        if field in patient.missing:
            return "there is no such route"
        if patient.model is not None and patient.model.name is None:
            return "a bare version is for create only; give --model owner/name"
        return ""

    return obstacle


def send_wrong_key(patient: Patient) -> Exchange:
    """Create with one key too many, which should be refused."""
    call = calls.create_call(patient.service, _model(patient), {**patient.input, WRONG_KEY: 1}, {})
    try:
        patient.spare = patient.create(call)
    except RefusedError as refusal:
        if refusal.exchange.status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise
        return refusal.exchange
    return patient.spare.exchange


def send_canceled(patient: Patient) -> Canceled:
    """Create a prediction and cancel it at once; watch what becomes of it."""
    created = patient.spare
    if created is None:
        created = patient.create(calls.create_call(patient.service, _model(patient), patient.input, {}))
    if created.prediction.id is None:
        return Canceled(created, None, [])
    answer = patient.cancel(created.prediction)
    return Canceled(created, answer, patient.wait(created.prediction))


def send_followed(patient: Patient) -> Followed:
    """Create with a stream, by the model's other form where one is known, and follow it to its end."""
    created, by, refused = _create_otherwise(patient)
    if created.prediction.id is None:
        raise UnavailableError("its answer cannot be read. A run may be going on")
    early = patient.look(created.prediction)
    stream, path = (None, None) if patient.route == "run" else _follow(patient, created.prediction)
    looks = [early, *patient.wait(early.prediction)]
    patient.created_output = looks[-1].prediction.output
    return Followed(created, by, refused, stream, path, looks)


def send_run(patient: Patient) -> Ran:
    """Run and wait."""
    call = calls.run_call(patient.service, _model(patient), patient.input, stream=False)
    ran = _ran(patient, patient.run(call))
    known = _read(patient, ran.exchange)
    if known is not None and known.id and not known.is_terminal:
        patient.wait(patient.own(call, ran.exchange))
    return ran


def send_run_stream(patient: Patient) -> Ran:
    """Run and stream."""
    call = calls.run_call(patient.service, _model(patient), patient.input, stream=True)
    return _ran(patient, patient.run(call, stream_ends(patient.service)))


def _model(patient: Patient) -> ModelReference:
    assert patient.model is not None, "probes that start runs are sent with a model only"  # noqa: S101
    return patient.model


def _create_otherwise(patient: Patient) -> tuple[Created, str, Exchange | None]:
    """Create in the form that was not used yet; in the known one if that is refused, and nothing started."""
    options = {"stream": True} if patient.route != "run" else {}
    given, refused = _model(patient), None
    for reference in (patient.other_form, given):
        if reference is None:
            continue
        call = calls.create_call(patient.service, reference, patient.input, options)
        try:
            return patient.create(call), " and ".join(reference.body()), refused
        except RefusedError as refusal:
            if reference is given:
                raise
            refused = refusal.exchange
    raise AssertionError("the given form is always tried")


def _follow(patient: Patient, prediction: Prediction) -> tuple[Exchange | None, str | None]:
    """Read the prediction's stream where it is named; else look for it."""
    call = calls.stream_call(patient.service, prediction)
    if call is not None:
        return patient.follow(call), None
    for path in _STREAMS:
        exchange = patient.follow(Request("GET", path.format(id=prediction.id), accept=EVENT_STREAM))
        if exchange.reply is not None and exchange.reply.media_type == EVENT_STREAM:
            return exchange, path
    return None, None


def _ran(patient: Patient, exchange: Exchange) -> Ran:
    """Ask about every id that a run may have told: only one that is known as a prediction's is one."""
    ids = []
    for told in [told for told in ids_told(exchange) if re.fullmatch(_ID, told)][:_MOST_IDS]:
        seen = patient.look(Prediction(id=told))
        ids += [told] if patient.is_accepted(seen.exchange) else []
    return Ran(exchange, ids)


def _read(patient: Patient, exchange: Exchange) -> Prediction | None:
    if exchange.reply is None:
        return None
    try:
        return answers.read_output(patient.service, exchange.call, exchange.reply, Prediction())
    except RockAIError:
        return None
