"""The probes: requests to the service, and what the responses say about the assumptions in ``checks.toml``.

Invariants of this module: the first six probes start nothing: they name an id or a model that does not exist,
or send an empty body. Each of the others starts at most one run. The request with a wrong key should be
refused; if it is not, its prediction replaces the one that is created to be canceled.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from rockai_transport import ConfigurationError, InvalidResponseError, Prediction
from rockai_transport.doctor.checks import TABLES, AnswerKey, Finding, SuggestedSetting, changes
from rockai_transport.doctor.recording import Exchange, RecordingIO
from rockai_transport.doctor.session import DoctorSession, ObstacleError, UnavailableError
from rockai_transport.doctor.stream_checks import STREAM_CHECKS, ids_in
from rockai_transport.io.network import environment_proxy
from rockai_transport.protocol.io import IO
from rockai_transport.protocol.operations import Operations
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.requests import stream_request
from rockai_transport.protocol.streams import RunStream, StreamState

_ASKED: dict[str, str] = TABLES["asked"]
_STATUSES: dict[str, Any] = TABLES["statuses"]
_TEXTS: dict[str, str] = TABLES["obstacles"]
_PEERS = TABLES["peers"]
_DIRECT = frozenset({"run_path", "run_stream_path"})


def connection(session: DoctorSession) -> Iterator[Finding]:
    """Get an unknown id without the token, so that no proxy or login page in between can see it."""
    asked = session.probe("get_path", **session.anonymous)
    exchange, url = asked.exchange, session.settings.base_url
    is_page = exchange.response.media_type == "text/html" and session.answer(asked) != "no_route"
    if not exchange.status or exchange.status in _STATUSES["in_the_way"] or is_page:
        # A proxy's address may contain a password, so it is not shown.
        advice = _TEXTS["by_proxy" if environment_proxy(httpx.URL(url)) else "straight"]
        text = _TEXTS["in_the_way" if exchange.status else "no_answer"] + advice
        raise ObstacleError(text.format(address=session.report.base_url, x=exchange))
    yield exchange.finding("reach", "answered")
    yield exchange.finding("no-token", session.answer(asked))


def authentication(session: DoctorSession) -> Iterator[Finding]:
    """Send the token as assumed; if it is refused, in the ways that similar services use."""
    field, asked = _existing_route(session)
    exchange, assumed = asked.exchange, session.service
    if not _is_let_in(asked) and session.answer(asked) not in _STATUSES["token_refused"]:
        raise ObstacleError(_TEXTS["busy"].format(x=exchange))
    others = (replace(assumed, auth_header=name, auth_scheme=scheme) for name, scheme in _PEERS["auth"])
    taken = (other for other in others if _is_let_in(session.probe(field, service=other)))
    found = assumed if _is_let_in(asked) else next(taken, None)
    if found is None:
        raise ObstacleError(_TEXTS["token_refused"].format(error=session.redact(str(asked.error))))
    changed = [SuggestedSetting(*pair, ours=True) for pair in changes(assumed, found).items()]
    header = f"{found.auth_header}: {f'{found.auth_scheme} <token>'.lstrip()}"
    yield exchange.finding("token", "otherwise" if changed else "accepted", *changed, header=header)


def wrong_token(session: DoctorSession) -> Iterator[Finding]:
    """Send a wrong token. Getting a prediction may need no token, so try create too."""
    asked = session.probe("get_path", api_token=_ASKED["token"])
    if session.answer(asked) not in _STATUSES["token_refused"]:
        asked = session.probe("create_path", api_token=_ASKED["token"])
    yield asked.exchange.finding("wrong-token", session.answer(asked))


def unknown_route(session: DoctorSession) -> Iterator[Finding]:
    """Request an unknown route: its response shows how a missing route differs from other refusals."""
    asked = session.probe("create_path", f"/{_ASKED['route']}")
    exchange, status = asked.exchange, asked.exchange.status
    is_known = session.answer(asked) == "no_route"
    is_clear = re.fullmatch(_STATUSES["clear"], str(status)) is not None
    case = "other_status" if is_clear else "ambiguous" if status else "no_answer"
    session.missing_route_response = exchange if is_known or is_clear else None
    statuses = tuple(sorted({*session.service.missing_route_statuses, status}))
    fix = SuggestedSetting("missing_route_statuses", statuses)
    yield exchange.finding("missing-route", "as_assumed" if is_known else case, fix)


def routes(session: DoctorSession) -> Iterator[Finding]:
    """Request each route; if it is missing, also its possible other paths."""
    unused = _DIRECT if session.settings.route == "predictions" else ()
    asked = {field: session.probe(field) for field in TABLES["routes"] if field not in unused}
    answers = {field: session.answer(answered) for field, answered in asked.items()}
    found = {field: _find(session, field, asked[field]) for field in asked if answers[field] == "no_route"}
    session.obstacles |= {each: each if each in _TEXTS else "no_route" for each in found if not found[each]}
    for field, answered in asked.items():
        yield _route(field, answered.exchange, answers[field], found)
    yield asked["get_path"].exchange.finding("unknown-id", answers["get_path"])


def unknown_model(session: DoctorSession) -> Iterator[Finding]:
    """Create a prediction with a model that does not exist."""
    asked = session.create(reference=ModelReference.parse(_ASKED["model"]))
    if asked.error and asked.exchange.response.is_success:  # what it started could not be canceled
        session.obstacles["create_path"] = "unreadable"
    yield asked.exchange.finding("unknown-model", session.answer(asked))


def wrong_key(session: DoctorSession) -> Iterator[Finding]:
    """Create a prediction with one unknown key, which should be refused."""
    asked = session.create(input={**session.request.input, _ASKED["key"]: 1})
    status, body = session.answer(asked), asked.exchange.response.decoded
    if status not in ("400", "422"):
        session.accepted_by_mistake, status = session.require(asked), "accepted"
    is_named = isinstance(body, dict) and isinstance(body.get("detail"), list) and _ASKED["key"] in str(body)
    yield asked.exchange.finding("wrong-key", status if is_named or status == "accepted" else "other")


def canceled(session: DoctorSession) -> Iterator[Finding]:
    """Create a prediction, cancel it at once, and check its final status."""
    created = session.accepted_by_mistake or session.require(session.create())
    session.example = prediction = created.prediction
    cancel = session.perform(Operations.cancel, prediction) if prediction.id else None
    yield created.exchange.finding("create", "accepted")
    if cancel is None:
        session.obstacles["create_path"] = "unreadable"
        yield created.exchange.finding("shape", "no_id", SuggestedSetting("read_prediction"))
        raise UnavailableError(_TEXTS["no_id"])
    yield from _form(session, created)
    fetched = session.perform(Operations.get, prediction)
    case = "failed" if fetched.error else "with_id" if "id" in fetched.prediction.raw else "without_id"
    yield fetched.exchange.finding("get", case, _suggested_path(session, prediction, "get"))
    fetched = session.perform(Operations.get, prediction) if fetched.error else fetched
    last = cancel.prediction if fetched.error else _ended(session, fetched)
    case = session.answer(cancel) if cancel.error else last.status if last.is_terminal else "goes_on"
    status = session.redact(str(last.raw and last.raw["status"]))
    fix = _suggested_path(session, prediction, "cancel")
    yield cancel.exchange.finding("cancel", case, fix, status=status)


def followed(session: DoctorSession) -> Iterator[Finding]:
    """Create with a stream, using the model's other form if it is known, and read the stream to its end."""
    options: dict[str, Any] = {"stream": True} if session.settings.route != "run" else {}
    given = session.request.reference
    other = _other_form(session, given)
    first = created = session.create(reference=other, options=options)
    if other != given and first.refusal and session.answer(first) in _STATUSES["refused_for_all"]:
        created = session.create(options=options)
    prediction = session.require(created).prediction
    if prediction.id is None:
        raise UnavailableError(_TEXTS["unreadable_run"])
    fetched = session.perform(Operations.get, prediction)
    stream = _follow(session, prediction) if options else None
    session.example = last = prediction if fetched.error else _ended(session, fetched)
    form = " and ".join(other.body())
    yield first.exchange.finding("create-by", "accepted" if first is created else "refused", form=form)
    yield from _contents(session, last, fetched.exchange)
    yield _address(session, created, stream)
    if stream is None or not stream.exchange.response.is_success:
        raise UnavailableError(_TEXTS["no_stream"])
    for judge in STREAM_CHECKS:
        yield judge(stream.exchange, session.service)


def run(session: DoctorSession) -> Iterator[Finding]:
    """Run and wait."""
    ran = session.require(session.perform(Operations.run, session.request, None, route="run"))
    exchange, output, created = ran.exchange, ran.prediction.output, session.example.output
    kinds = {"kind": _kind(session.redact(exchange.response.decoded)), "other": _kind(created)}
    if isinstance(ran.error, InvalidResponseError):
        yield exchange.finding("run", "unreadable", error=session.redact(ran.error.message))
    elif isinstance(output, dict) and isinstance(created, str | list):
        alike = (AnswerKey(key, is_output=True) for key in output if _kind(output[key]) == kinds["other"])
        found = next(alike, None) if session.assumed.read_prediction is None else None
        yield exchange.finding("run", "in_object", SuggestedSetting("read_prediction", found), **kinds)
    else:
        yield exchange.finding("run", "with_id" if _known_ids(session, exchange) else "answered", **kinds)


def run_stream(session: DoctorSession) -> Iterator[Finding]:
    """Run and stream."""
    ran = session.perform(_read, Operations.stream, session.request, None, route="run")
    exchange = session.require(ran).exchange
    for judge in STREAM_CHECKS:
        finding = judge(exchange, session.service)
        yield replace(finding, check=finding.check.replace("stream", "run-sse"))
    ids = session.redact(_known_ids(session, exchange))
    yield exchange.finding("run-sse-id", "told" if ids else "none", id=", ".join(ids))


def _existing_route(session: DoctorSession) -> tuple[str, RecordingIO]:
    """Return a route that exists, and its response."""
    for field in ("get_path", "create_path", "run_path", "run_stream_path"):
        asked = session.probe(field)
        if session.answer(asked) != "no_route":
            return field, asked
    for path in _PEERS["bases"]:
        other = f"{session.settings.origin}{path}"
        if session.answer(session.probe("get_path", base_url=other, **session.anonymous)) != "no_route":
            raise ObstacleError(_TEXTS["other_base"].format(path=path, base=session.redact(other)))
    raise ObstacleError(_TEXTS["no_routes"].format(address=session.report.base_url, x=asked.exchange))


def _is_let_in(asked: RecordingIO) -> bool:
    """Return whether the response is about the request itself, not about the token."""
    return re.fullmatch(_STATUSES["let_in"], str(asked.exchange.status)) is not None


def _route(field: str, exchange: Exchange, answer: str, found: dict[str, str]) -> Finding:
    """Return the finding on whether a route exists."""
    setting = SuggestedSetting(field, found.get(field) or None, ours=True)
    # Both are missing: the newer generation, because the service's later page no longer mentions them.
    is_newer = field in _DIRECT and not any(found.get(each, "here") for each in _DIRECT)
    missing = "moved" if setting.is_known else "newer" if is_newer else "no_route"
    fixes = [SuggestedSetting("route", "predictions", ours=True)] if missing == "newer" else []
    case = missing if field in found else answer
    return exchange.finding(TABLES["routes"][field], case, *fixes, setting, path=setting.value)


def _find(session: DoctorSession, field: str, asked: RecordingIO) -> str:
    """Return the actual path of a missing route: it exists, and an unknown one next to it does not."""
    moved = Prediction(id=TABLES["asked"]["id"], urls=asked.exchange.response.headers)
    for path in filter(None, (_template(session, moved, "location"), *map(str, _PEERS["paths"][field]))):
        own = [part for part in path.split("/") if part not in ("", "{id}")][-1]
        beside = _ASKED["route"].join(path.rsplit(own, 1))
        there, answer = (session.answer(session.probe(field, each)) for each in (path, beside))
        if there != answer == "no_route":
            return path
    return ""


def _ended(session: DoctorSession, fetched: RecordingIO) -> Prediction:
    """Return the prediction at its end, or as last seen at the timeout."""
    return session.perform(Operations.wait, fetched.prediction, None, None).prediction


async def _read(operations: Operations, io: IO, begin: Callable[..., RunStream], *arguments: Any) -> None:
    """Read a stream to its end."""
    stream = begin(operations, io, *arguments, StreamState())
    while await stream.next_batch():
        pass


def _follow(session: DoctorSession, prediction: Prediction) -> RecordingIO | None:
    """Read the prediction's stream at its given address; else find the address, and use it from then on."""
    going_on = replace(prediction, status="processing")  # read it although the prediction may have ended
    is_named = stream_request(session.service, prediction) is not None
    for path in [session.service.stream_path] if is_named else _PEERS["paths"]["stream_path"]:
        service = replace(session.service, stream_path=path)
        stream = session.perform(_read, Operations.stream_prediction, going_on, service=service)
        if is_named or stream.exchange.response.media_type == service.stream_content_type:
            session.assume([SuggestedSetting("stream_path", path)])
            return stream
    return None


def _other_form(session: DoctorSession, given: ModelReference) -> ModelReference:
    """Return the model in the other form that create accepts: only its version, or its name too."""
    seen = session.example
    with contextlib.suppress(ConfigurationError):  # the service's version may be invalid
        return ModelReference.combine(None if given.name else seen.model, seen.version or "")
    return given


def _form(session: DoctorSession, created: RecordingIO) -> Iterator[Finding]:
    """Return the findings on a prediction's shape and fields."""
    exchange, raw, table = created.exchange, created.prediction.raw, TABLES["prediction"]
    hook, given = session.assumed.read_prediction, session.settings.service.read_prediction
    own = "by_hook" if hook else "flat" if raw == exchange.response.decoded else "enveloped"
    fix, key = SuggestedSetting("read_prediction", hook), session.redact(getattr(hook, "key", ""))
    yield exchange.finding("shape", own if hook is given else "under_key", fix, key=key)
    names, fields = set(raw), set(table["fields"])
    differences = {"without": sorted(fields - names), "new": session.redact(sorted(names - fields))}
    listed = "; ".join(f"{word}: {', '.join(names)}" for word, names in differences.items() if names)
    case = "missing" if not names.issuperset(table["needed"]) else "most" if listed else "all"
    yield exchange.finding("fields", case, listed=listed)


def _contents(session: DoctorSession, last: Prediction, exchange: Exchange) -> Iterator[Finding]:
    """Return the findings on a prediction's statuses, time format and output."""
    known, shown = session.settings.service.statuses, session.redact(last)
    new = {word: ours for word, ours in session.statuses.items() if word not in known}
    is_told = all(word != ours for word, ours in new.items())
    fix = SuggestedSetting("statuses", {**known, **new} if is_told else None)
    statuses = ", ".join(session.redact(list(session.statuses)))
    yield exchange.finding("statuses", "new" if new else "known", fix, statuses=statuses)
    times = [time for time in (last.completed_at, last.started_at, last.created_at) if time]
    is_assumed = all(re.fullmatch(TABLES["prediction"]["time"], time) for time in times)
    case = "none" if not times else "as_assumed" if is_assumed else "other"
    yield exchange.finding("times", case, times=session.redact(times))
    case = "failed" if last.error and last.status != "succeeded" else last.status
    kind, metrics = _kind(shown.output), ", ".join(shown.metrics or ["none"])
    yield exchange.finding("output", case, last=shown, kind=kind, metrics=metrics)


def _address(session: DoctorSession, created: RecordingIO, stream: RecordingIO | None) -> Finding:
    """Return the finding on the stream address of a created prediction."""
    url, settings = created.prediction.urls.get("stream", ""), session.settings
    if stream is None:
        is_direct = settings.route == "auto" and session.obstacles.get("run_stream_path") != "no_route"
        fixes = [SuggestedSetting("route", "run", ours=True)] if is_direct else []
        return created.exchange.finding("stream-address", "none", *fixes)
    path, origin = session.service.stream_path, "://".join(urlsplit(url)[:2])
    is_other = "://" in url and origin != settings.origin
    named = "by_setting" if path else "other_origin" if is_other else "named"
    known = named if stream.exchange.response.is_success else "refused"
    case = known if path == settings.service.stream_path else "unnamed"
    fix = SuggestedSetting("stream_path", path if case == "unnamed" else None, ours=True)
    url, origin, template = session.redact((url, origin, _template(session, created.prediction, "stream")))
    return stream.exchange.finding("stream-address", case, fix, url=url, origin=origin, template=template)


def _known_ids(session: DoctorSession, exchange: Exchange) -> list[str]:
    """Return ids in a run's response that the service knows as predictions."""
    return [known for known in ids_in(exchange) if not session.perform(Operations.get, known).error]


def _suggested_path(session: DoctorSession, prediction: Prediction, kind: str) -> SuggestedSetting:
    """Return the setting for the path in the service's response, if it differs from the assumed one."""
    path, assumed = _template(session, prediction, kind), getattr(session.service, f"{kind}_path")
    return SuggestedSetting(f"{kind}_path", path if "{id}" in path and path != assumed else None)


def _template(session: DoctorSession, prediction: Prediction, kind: str) -> str:
    """Return the path of an address in a prediction, relative to the base URL; empty if it is elsewhere."""
    base, path = (urlsplit(url).path for url in (session.settings.base_url, prediction.urls.get(kind, "")))
    own = path.removeprefix(base).replace(prediction.id or " ", "{id}")
    return own if path.startswith(f"{base}/") else ""


def _kind(value: Any) -> str:
    """Describe a value's type in the words of docs/http-api.md."""
    match value:
        case list() if value and all(isinstance(item, str) for item in value):
            return "a list of strings"
        case {"status": str()} | {"data": {"status": str()}}:
            return "a prediction"
        case {"code": int(), "data": data}:
            return f"an envelope of {_kind(data)}"
        case dict():
            return f"an object with {', '.join(map(str, list(value)[:8]))}"
    return str(TABLES["kinds"].get(type(value).__name__, "null"))
