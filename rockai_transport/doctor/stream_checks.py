"""What a recorded event stream says about the assumptions on event streams. Pure: bytes in, findings out.

The bytes are read both by the package's own `EventReader` and by httpx-sse, which follows the standard
exactly: if the two differ, the service does not escape newlines.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent

from rockai_transport.doctor.checks import TABLES, Finding, SuggestedSetting, with_settings
from rockai_transport.doctor.recording import Exchange
from rockai_transport.protocol.events import SIDE_EVENTS, EventReader
from rockai_transport.protocol.messages import EVENT_STREAM, Response
from rockai_transport.service import Service

_PATTERNS: dict[str, str] = TABLES["streams"]
_UNNAMED = "message"


def judge_type(exchange: Exchange, service: Service) -> Finding:
    """Check that it has the content type of an event stream."""
    kind = exchange.response.media_type
    read = "assumed" if kind == service.stream_content_type else "events" if _events(exchange) else "other"
    case = "encoded" if exchange.failure and "content-encoding" in exchange.response.headers else read
    return exchange.finding("stream-type", case, SuggestedSetting("stream_content_type", kind))


def judge_pieces(exchange: Exchange, service: Service) -> Finding:
    """Check that the pieces come in events with the assumed name."""
    counts = Counter(event.event for event in _events(exchange))
    named = "named" if service.output_event in counts else "other"
    case = "none" if not counts else "unnamed" if counts.keys() == {_UNNAMED} else named
    listed = ", ".join(f"{_name(exchange, name)} ×{count}" for name, count in counts.items())
    known = {*SIDE_EVENTS, *service.end_events, *service.error_events}
    # The most frequent name; if several, the first, because the end comes last.
    name = next((name for name, _ in counts.most_common() if name not in known), None)
    return exchange.finding("stream-pieces", case, SuggestedSetting("output_event", name), counts=listed)


def judge_end(exchange: Exchange, service: Service) -> Finding:
    """Check that an assumed end event ends the stream; else find the setting for its end."""
    events = _events(exchange)
    if not events:
        return exchange.finding("stream-end", "none")
    name, data = events[-1].event, events[-1].data
    last = f"{_name(exchange, name)} {exchange.redactor.text(data)[:40]}".rstrip()
    ended = is_told, is_whole = _end(exchange, service)
    if is_told or exchange.failure:
        return exchange.finding("stream-end", "told" if is_told else "broken", last=last)
    is_name = name not in (_UNNAMED, service.output_event, *SIDE_EVENTS)
    possible = [SuggestedSetting("end_events", (*service.end_events, name))] if is_name else []
    possible += [SuggestedSetting("end_marker", data)] if re.fullmatch(_PATTERNS["marker"], data) else []
    possible += [SuggestedSetting("requires_end_event", value=False)]
    # Either one reports the end, or is what makes the body complete.
    fixing = [each for each in possible if _end(exchange, with_settings(service, [each])) > ended][:1]
    case = "other" if fixing else "whole" if is_whole else "cut"
    return exchange.finding("stream-end", case, *fixing, last=last)


def judge_newlines(exchange: Exchange, service: Service) -> Finding:
    """Check whether newlines in the text are sent unescaped."""
    pieces = EventReader(service).read(bytes(exchange.body))
    text, redact = "".join(pieces), exchange.redactor.text
    if len(pieces) > 1 and all(isinstance(_decoded(piece), str | dict) for piece in pieces):
        return exchange.finding("stream-newlines", "json", piece=redact(pieces[0])[:60])
    named = any(event.event == service.output_event for event in _events(exchange))
    opening = f"event: ?{re.escape(service.output_event)}\n" if named else ""
    body, dropped = exchange.response.text.replace("\r\n", "\n"), _PATTERNS["dropped"]
    if broken := re.search(f"(?m)^{opening}{dropped}", body):
        first, breaks = redact(broken.group().replace("\n", "␊"))[:80], text.count("\n")
        return exchange.finding("stream-newlines", "plain", breaks=breaks, length=len(text), first=first)
    case = "by_standard" if "\n" in text else "backslash" if r"\n" in text else "none"
    return exchange.finding("stream-newlines", case)


def judge_framing(exchange: Exchange, _service: Service) -> Finding:
    """Check whether the body's framing marks its end."""
    headers, case = exchange.shown.headers, "framed" if exchange.response.is_framed else "unframed"
    names = [name for name in ("transfer-encoding", "content-length", "connection") if name in headers]
    listed = ", ".join(f"{name}: {headers[name]}" for name in names)
    return exchange.finding("stream-framing", case, headers=listed or "no length, no chunks")


STREAM_CHECKS = (judge_type, judge_pieces, judge_end, judge_newlines, judge_framing)
"""The checks of every stream, in the order in which the suggested settings build on each other."""


def ids_in(exchange: Exchange) -> list[str]:
    """Return possible prediction ids: in headers about predictions, in ``id:`` lines, in JSON."""
    headers, events = exchange.response.headers, _events(exchange)
    found = [headers[name] for name in headers if "prediction" in name or name == "location"]
    ids = [value.rpartition("/")[2] for value in found] + [event.id for event in events]
    for data in map(_decoded, (exchange.response.text, *(event.data for event in events))):
        inner = data["data"] if isinstance(data, dict) and isinstance(data.get("data"), dict) else data
        ids += [str(inner.get(key, "")) for key in ("id", "prediction_id")] if isinstance(inner, dict) else ()
    return [known for known in dict.fromkeys(ids) if re.fullmatch(_PATTERNS["id"], known)][:3]


def _events(exchange: Exchange) -> list[ServerSentEvent]:
    """Return the events of a body, according to the standard."""
    response = httpx.Response(200, headers={"content-type": EVENT_STREAM}, content=bytes(exchange.body))
    return list(EventSource(response).iter_sse())


def _end(exchange: Exchange, service: Service) -> tuple[bool, bool]:
    """Return what our own reader reports with these settings: whether an event ends it; if it is whole."""
    reader = EventReader(service)
    reader.read(bytes(exchange.body))
    return reader.end is not None, reader.is_whole(framed=exchange.response.is_framed)


def _name(exchange: Exchange, name: str) -> str:
    return "(unnamed)" if name == _UNNAMED else exchange.redactor.text(name)


def _decoded(text: str) -> Any:
    return Response(200, {}, 0.0, text.encode()).decoded
