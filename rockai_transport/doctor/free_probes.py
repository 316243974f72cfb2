"""The probes that start nothing: who answers, which token, which routes. Sending and judging, side by side.

Law of this module: every call is a look at an id that does not exist, an empty body, or a model that does not
exist. None of them can start a run.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from rockai_transport.doctor.findings import Mend, as_assumed, differs, unknown
from rockai_transport.doctor.probes import ObstacleError
from rockai_transport.doctor.recording import Credentials
from rockai_transport.io.network import environment_proxy
from rockai_transport.protocol import requests as calls
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.requests import EVENT_STREAM, JSON, Request
from rockai_transport.protocol.responses import is_missing_route, status_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.doctor.findings import Judgement
    from rockai_transport.doctor.patient import Patient
    from rockai_transport.doctor.recording import Exchange

__all__ = [
    "PLACES",
    "UNKNOWN_ID",
    "UNKNOWN_MODEL",
    "Place",
    "Routes",
    "Shown",
    "judge_no_token",
    "judge_nowhere",
    "judge_reach",
    "judge_route",
    "judge_token",
    "judge_unknown_id",
    "judge_unknown_model",
    "judge_wrong_token",
    "send_anonymous",
    "send_nowhere",
    "send_routes",
    "send_token",
    "send_unknown_model",
    "send_wrong_token",
]

UNKNOWN_ID = "0" * 24
UNKNOWN_MODEL = "rockai-doctor/no-such-model"
_NOWHERE = "rockai-doctor-no-such-route"
_WRONG_TOKEN = "rockai-doctor-wrong-token"  # noqa: S105 - that is the point of it

_SCHEMES = (
    # What peers use, and the service might: Replicate's older one, API gateways, plain.
    ("Authorization", "Bearer"),
    ("Authorization", "Token"),
    ("Authorization", ""),
    ("Authorization", "Key"),
    ("X-API-Key", ""),
    ("Api-Key", ""),
    ("X-Auth-Token", ""),
)
_IN_THE_WAY = frozenset(
    {
        *(301, 302, 303, 307, 308),
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED,
    }
)
_REFUSALS = frozenset({400, 401, 402, 403, 422, 429})
"""Statuses that say no to a call whose route exists: they cannot mean a missing route too."""
_BASES = ("/v1", "/api/v1", "/api")


class Place(NamedTuple):
    """A route, and where else it might be."""

    field: str
    """The field of `Service`."""
    method: str
    accept: str
    elsewhere: tuple[str, ...]


PLACES = (
    Place("get_path", "GET", JSON, ("/prediction/{id}", "/predictions/get/{id}")),
    Place("create_path", "POST", JSON, ("/prediction", "/predictions/create")),
    Place("cancel_path", "POST", JSON, ("/prediction/{id}/cancel", "/predictions/cancel/{id}")),
    Place("run_path", "POST", JSON, ("/predictions/run", "/run/sync")),
    # `/stream/predictions` is the model server's own (docs/http-api.md, «A self-hosted model server»).
    Place(
        "run_stream_path",
        "POST",
        EVENT_STREAM,
        ("/run/sse", "/run-sse", "/run_stream", "/stream/predictions"),
    ),
)
_DIRECT = frozenset({"run_path", "run_stream_path"})


class Shown(NamedTuple):
    """What came of the token, and which header was taken in the end."""

    exchange: Exchange
    found: Credentials | None


class Routes(NamedTuple):
    """What each route answered, and where the missing ones were found."""

    answers: dict[str, Exchange]
    found: dict[str, str]


# Who answers.


def send_anonymous(patient: Patient) -> Exchange:
    """Look at an unknown id without a token: whoever may be in the way has not seen it yet."""
    exchange = patient.ask(calls.get_call(patient.service, UNKNOWN_ID), anonymous=True)
    if exchange.reply is None:
        raise ObstacleError(f"No answer from {patient.address}: {exchange.failure}. {_way(patient)}")
    kind, status = exchange.reply.media_type, exchange.status
    if status in _IN_THE_WAY:
        raise ObstacleError(f"Something is in the way: {exchange.answer or status}. {_way(patient)}")
    if kind == "text/html" and not patient.is_missing(exchange):
        raise ObstacleError(
            f"A page of HTML came in place of JSON ({exchange.answer}): the page of a proxy, of a network's "
            f"log-in, of a gateway whose service is down, or of a web site. {_way(patient)}"
        )
    return exchange


def judge_reach(exchange: Exchange, patient: Patient) -> Judgement:
    """Whether it is the API that answers."""
    scheme = patient.wire.base_url.partition(":")[0]
    return as_assumed(f"{scheme}, answered within {exchange.seconds:.2f} s")


def judge_no_token(exchange: Exchange, patient: Patient) -> Judgement:
    """How a call without a token is refused."""
    if patient.is_missing(exchange):
        return unknown(f"{exchange.answer}: this route does not exist, see get-route")
    return _judge_refusal(exchange)


def _way(patient: Patient) -> str:
    """What may lie between here and there. A proxy's address may hold a password: it is not told."""
    url = patient.wire.url_of(calls.get_call(patient.service, UNKNOWN_ID))
    if environment_proxy(url) is not None:
        return (
            "Your environment names a proxy (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY): try without it, "
            "or name the service's host in NO_PROXY."
        )
    return (
        f"Check base_url ({patient.address}), and the network you are in. "
        "Your environment names no proxy for it."
    )


# Which token.


def send_token(patient: Patient) -> Shown:
    """Show the token as is believed; where that is refused, in the ways that peers know."""
    door, exchange = _open_door(patient)
    if _is_let_in(exchange):
        return Shown(exchange, None)
    if not _is_refused(exchange):
        raise ObstacleError(f"The service cannot answer now: {exchange.answer}. Try again later.")
    token = patient.wire.settings.api_token
    believed = (patient.service.auth_header, patient.service.auth_scheme)
    for header, scheme in _SCHEMES:
        other = Credentials(header, scheme, token)
        if (header, scheme) != believed and _is_let_in(patient.ask(door, credentials=other)):
            return Shown(exchange, other)
    raise ObstacleError(
        f"The token is not accepted. {patient.explain(exchange)} It was shown in other ways too. If it is "
        "right, the service takes it in a header not known here: Service(auth_header=…, auth_scheme=…)."
    )


def judge_token(shown: Shown, patient: Patient) -> Judgement:
    """In which header the token is taken."""
    header, scheme = patient.service.auth_header, patient.service.auth_scheme
    found = shown.found
    if found is None:
        return as_assumed(_spelt(header, scheme))
    other = found.header.lower() != header.lower()
    mends = [Mend("auth_header", found.header, ours=True)] if other else []
    mends += [Mend("auth_scheme", found.scheme, ours=True)] if found.scheme != scheme else []
    told = f"refused ({shown.exchange.answer}), but taken as {_spelt(found.header, found.scheme)}"
    return differs(told, *mends, exchange=shown.exchange)


def send_wrong_token(patient: Patient) -> Exchange:
    """Show a wrong token; a look may be free to everybody, so create is asked too."""
    service = patient.service
    wrong = Credentials(service.auth_header, service.auth_scheme, _WRONG_TOKEN)
    exchange = patient.ask(calls.get_call(service, UNKNOWN_ID), credentials=wrong)
    if _is_refused(exchange):
        return exchange
    return patient.ask(Request("POST", service.create_path, body=b"{}"), credentials=wrong)


def judge_wrong_token(exchange: Exchange, patient: Patient) -> Judgement:
    """How a wrong token is refused."""
    if patient.is_missing(exchange):
        return unknown(f"{exchange.answer}: these routes do not exist")
    return _judge_refusal(exchange)


def _open_door(patient: Patient) -> tuple[Request, Exchange]:
    """A call whose route exists, and its answer."""
    service = patient.service
    doors = (
        calls.get_call(service, UNKNOWN_ID),
        Request("POST", service.create_path, body=b"{}"),
        Request("POST", service.run_path, body=b"{}"),
        Request("POST", service.run_stream_path, body=b"{}"),
    )
    for door in doors:
        exchange = patient.ask(door)
        if not patient.is_missing(exchange):
            return door, exchange
    for base in _BASES:
        door = Request("GET", base + doors[0].target, below_base=False)
        if not patient.is_missing(patient.ask(door, anonymous=True)):
            raise ObstacleError(
                f"No route exists below base_url, but one does below {base}: end base_url with it."
            )
    raise ObstacleError(
        f"None of the API's routes exists below {patient.address} ({exchange.answer}). Check base_url. "
        "If it is right, the paths have changed: Service(create_path=…, get_path=…, run_path=…)."
    )


def _is_refused(exchange: Exchange) -> bool:
    return exchange.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def _is_let_in(exchange: Exchange) -> bool:
    """Whether the answer is about the call itself, and no longer about the token."""
    busy = (
        exchange.status >= HTTPStatus.INTERNAL_SERVER_ERROR or exchange.status == HTTPStatus.TOO_MANY_REQUESTS
    )
    return exchange.reply is not None and not busy and not _is_refused(exchange)


def _judge_refusal(exchange: Exchange) -> Judgement:
    said = exchange.answer
    return as_assumed(said) if exchange.status == HTTPStatus.UNAUTHORIZED else differs(said)


def _spelt(header: str, scheme: str) -> str:
    return f"{header}: {f'{scheme} <token>'.lstrip()}"


# Which routes.


def send_nowhere(patient: Patient) -> Exchange:
    """Ask for a route that nobody has."""
    exchange = patient.ask(Request("POST", f"/{_NOWHERE}", body=b"{}"))
    if exchange.status >= HTTPStatus.NOT_FOUND and exchange.status not in _REFUSALS:
        patient.nowhere = exchange
    return exchange


def judge_nowhere(exchange: Exchange, patient: Patient) -> Judgement:
    """How a missing route is told from other refusals."""
    if exchange.reply is None:
        return unknown(exchange.failure)
    error = status_error(patient.service, exchange.call, exchange.reply, exchange.status)
    if is_missing_route(patient.service, error):
        return as_assumed(exchange.answer)
    if exchange.status in _REFUSALS or exchange.status < HTTPStatus.BAD_REQUEST:
        return differs(f"{exchange.answer}, which means other things too: route='auto' will not fall back")
    statuses = tuple(sorted({*patient.service.missing_route_statuses, exchange.status}))
    return differs(exchange.answer, Mend("missing_route_statuses", statuses))


def send_routes(patient: Patient) -> Routes:
    """Ask for each route with an unknown id or an empty body; for a missing one, where it might be too."""
    routes = Routes({}, {})
    for place in PLACES:
        if patient.route == "predictions" and place.field in _DIRECT:
            continue
        path: str = getattr(patient.service, place.field)
        routes.answers[place.field] = exchange = patient.ask(_knock(place, path))
        if not patient.is_missing(exchange):
            continue
        if found := _find(patient, place):
            routes.found[place.field] = found
        else:
            patient.missing.add(place.field)
    return routes


def judge_route(field: str) -> Callable[[Routes, Patient], Judgement]:
    """Whether one of the routes exists."""

    def judge(routes: Routes, patient: Patient) -> Judgement:
        exchange = routes.answers[field]
        if exchange.reply is None:
            return unknown(exchange.failure, exchange)
        if found := routes.found.get(field):
            return differs(
                f"no such route, but there is {found}", Mend(field, found, ours=True), exchange=exchange
            )
        if field not in patient.missing:
            return as_assumed(f"{exchange.call}: {exchange.answer}", exchange)
        told = f"no such route: {exchange.answer}"
        if patient.missing >= _DIRECT and field in _DIRECT:
            # The newer generation: the service's later page no longer mentions the two.
            told += (
                ". route='auto' creates and waits instead, and route='predictions' saves it the question; "
                f"if it has only moved, {field} says where to"
            )
            return differs(told, Mend("route", "predictions", ours=True), Mend(field), exchange=exchange)
        return differs(told, Mend(field), exchange=exchange)

    return judge


def judge_unknown_id(routes: Routes, patient: Patient) -> Judgement:
    """How an id that does not exist is answered."""
    exchange = routes.answers["get_path"]
    if "get_path" in patient.missing or "get_path" in routes.found:
        return unknown("see get-route", exchange)
    if exchange.status == HTTPStatus.NOT_FOUND and exchange.reply is not None and exchange.reply.is_json:
        return as_assumed(exchange.answer, exchange)
    return differs(exchange.answer, exchange=exchange)


def send_unknown_model(patient: Patient) -> Exchange:
    """Create a prediction of a model that does not exist."""
    reference = ModelReference.parse(UNKNOWN_MODEL)
    call = calls.create_call(patient.service, reference, patient.input, {})
    exchange = patient.ask(call)
    if patient.is_accepted(exchange):
        patient.own(call, exchange)  # so that it is canceled in the end
    return exchange


def judge_unknown_model(exchange: Exchange, patient: Patient) -> Judgement:
    """Whether the refusal of a model can be told from a missing route."""
    if patient.is_missing(exchange):
        return differs(f"{exchange.answer}: as a missing route is, so a wrong name reads as one")
    refused = HTTPStatus.BAD_REQUEST <= patient.status(exchange) < HTTPStatus.INTERNAL_SERVER_ERROR
    return as_assumed(exchange.answer) if refused else differs(exchange.answer)


def _find(patient: Patient, place: Place) -> str | None:
    """Where a missing route is instead: a path that is there, while one beside it that nobody has is not."""
    for path in place.elsewhere:
        own = [part for part in path.split("/") if part != "{id}"][-1]
        neighbour = _NOWHERE.join(path.rsplit(own, 1))
        if not patient.is_missing(patient.ask(_knock(place, path))) and patient.is_missing(
            patient.ask(_knock(place, neighbour))
        ):
            return path
    return None


def _knock(place: Place, path: str) -> Request:
    """A call that starts nothing, whatever the route does."""
    has_id = "{id}" in path
    body = None if has_id else b"{}"
    return Request(place.method, path.format(id=UNKNOWN_ID), body=body, accept=place.accept)
