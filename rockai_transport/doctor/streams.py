"""What a recorded event stream says of the beliefs about event streams. Pure: bytes in, judgements out.

The text itself is read by the package's own `EventReader`; here is only looked at what it was made of.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from rockai_transport.doctor.findings import Judgement, Mend, as_assumed, differs, unknown
from rockai_transport.protocol.events import EventReader, Piece
from rockai_transport.protocol.requests import EVENT_STREAM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rockai_transport.doctor.recording import Exchange
    from rockai_transport.service import Service

__all__ = [
    "Frame",
    "frames",
    "ids_told",
    "judge_content_type",
    "judge_end",
    "judge_framing",
    "judge_newlines",
    "judge_pieces",
]

_UNNAMED = ("", "message")
_SIDE_EVENTS = frozenset({"logs", "log", "ping", "heartbeat", "keepalive", "metadata", "start", "started"})
"""Events that say something beside the output, as peers name them."""
_MARKER = r"\[[A-Z_ ]+\]|<[^<>]*(?:end|eos|done)[^<>]*>"


class Frame(NamedTuple):
    """One event as it stands in the bytes."""

    name: str
    """Empty where there is no ``event:`` line."""
    data: tuple[str, ...]
    """The values of its ``data:`` lines."""
    bare: int
    """Lines after its first ``data:`` line that the standard drops: bare ones, and further blank ones."""
    raw: str
    """All its lines, their ends made visible."""


def frames(body: bytes) -> list[Frame]:
    """The events of a stream, told apart by their ``event:`` lines; without these, by blank lines."""
    found: list[Frame] = []
    blanks = 0
    for line in body.removeprefix(b"\xef\xbb\xbf").splitlines():
        text = line.decode("utf-8", "replace")
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            found.append(Frame(value, (), 0, ""))
        elif field == "data" and (blanks or not found):
            found.append(Frame("", (value,), 0, ""))
        elif field == "data":
            found[-1] = found[-1]._replace(data=(*found[-1].data, value))
        elif found and found[-1].data and _is_dropped(text, blanks):
            found[-1] = found[-1]._replace(bare=found[-1].bare + 1)
        if found:
            found[-1] = found[-1]._replace(raw=f"{found[-1].raw}{text}␊")
        blanks = 0 if text else blanks + 1
    return found


def judge_content_type(exchange: Exchange, _service: Service) -> Judgement:
    """Whether it is an event stream at all."""
    kind = exchange.reply.media_type if exchange.reply else ""
    if kind == EVENT_STREAM:
        return as_assumed(exchange.told(exchange.reply.headers["content-type"]) if exchange.reply else "")
    return differs(
        f"{exchange.told(kind) or 'no Content-Type'}; such an answer is read as one piece, like /run's"
    )


def judge_pieces(exchange: Exchange, service: Service) -> Judgement:
    """Whether the pieces come in events of the name that is believed."""
    seen = frames(exchange.body)
    counts = Counter(frame.name for frame in seen)
    told = ", ".join(f"{exchange.told(name) or '(unnamed)'} ×{count}" for name, count in counts.items())
    if not seen:
        return unknown("not a single event came")
    pace = f"{told}; first byte after {exchange.first_byte:.1f} s, last after {exchange.seconds:.1f} s"
    if service.output_event in counts:
        return as_assumed(pace)
    if all(name in _UNNAMED for name in counts):
        return as_assumed(f"{pace}; unnamed events are read by the standard")
    known = _SIDE_EVENTS.union(service.end_events, service.error_events)
    # The most frequent; of several the first, since the end comes last.
    name = max((name for name in counts if name not in known), key=lambda name: counts[name], default=None)
    return differs(pace, Mend("output_event", name) if name else Mend("output_event"))


def judge_end(exchange: Exchange, service: Service) -> Judgement:
    """Whether the end is told by an event that is believed to be one."""
    seen = frames(exchange.body)
    if not seen:
        return unknown("not a single event came")
    name, data = exchange.told(seen[-1].name), exchange.told("".join(seen[-1].data))
    told = f"the last event: {name or '(unnamed)'} {data[:40]}".rstrip()
    reader = EventReader(service)
    if any(not isinstance(event, Piece) for event in reader.feed(exchange.body)):
        return as_assumed(told)
    if exchange.failure:
        return unknown(f"it broke off: {exchange.failure}; {told}")
    framed = exchange.reply is not None and exchange.reply.is_framed
    mend = _end_of(seen[-1], service)
    if mend is None and reader.is_whole(framed=framed):
        return as_assumed(f"no end event; the body ends by its own framing, which is enough here; {told}")
    if mend is None and framed:
        mend = Mend("requires_end_event", value=False)
    elif mend is None:
        told = f"no end event, and the body ends with its connection: nothing tells a cut from an end; {told}"
    return differs(told, *([mend] if mend else []))


def _end_of(last: Frame, service: Service) -> Mend | None:
    """The setting by which a stream's last event would be its end; `None` where it looks like any other."""
    data = "".join(last.data)
    if last.name not in (*_UNNAMED, service.output_event, *_SIDE_EVENTS):
        return Mend("end_events", (*service.end_events, last.name))
    return Mend("end_marker", data) if re.fullmatch(_MARKER, data) else None


def judge_newlines(exchange: Exchange, service: Service) -> Judgement:
    """Whether the newlines of the text stand in the bytes as they are."""
    pieces = [event.text for event in EventReader(service).feed(exchange.body) if isinstance(event, Piece)]
    seen = [frame for frame in frames(exchange.body) if frame.name in (service.output_event, *_UNNAMED)]
    text = "".join(pieces)
    if len(pieces) > 1 and all(isinstance(_decoded(piece), str | dict) for piece in pieces):
        first = exchange.told(pieces[0])[:60]
        return differs(f"the pieces are JSON ({first}), and nothing here takes the text out of them")
    if broken := next((frame.raw for frame in seen if frame.bare), None):
        told = f"as they are: {text.count(chr(10))} line breaks in {len(text)} characters; the first: "
        return as_assumed(told + exchange.told(broken)[:80])
    if any(len(frame.data) > 1 for frame in seen):
        return as_assumed("escaped as the standard wants it, one data: line each; that is read too")
    if r"\n" in text:
        return differs(r"written as \n, backslash and letter, and nothing here turns them back")
    return unknown("no line break in the answer; give an --input that is answered in several lines")


def judge_framing(exchange: Exchange, _service: Service) -> Judgement:
    """Whether the body says itself where it ends."""
    headers = exchange.reply.headers if exchange.reply else {}
    names = ("transfer-encoding", "content-length", "connection")
    told = ", ".join(f"{name}: {exchange.told(headers[name])}" for name in names if name in headers)
    if exchange.reply is not None and exchange.reply.is_framed:
        return as_assumed(told)
    return differs(
        f"{told or 'neither'}: it ends with its connection, so only an end event tells a cut from an end"
    )


def ids_told(exchange: Exchange) -> list[str]:
    """What may be a prediction's id: in headers that speak of one, in ``id:`` lines, in JSON."""
    headers = exchange.reply.headers if exchange.reply else {}
    told = [
        value.rpartition("/")[2]
        for name, value in headers.items()
        if "prediction" in name or name == "location"
    ]
    told += re.findall(r"(?m)^id: ?(\S+)\s*$", exchange.body.decode("utf-8", "replace"))
    texts = [
        exchange.body.decode("utf-8", "replace"),
        *("\n".join(frame.data) for frame in frames(exchange.body)),
    ]
    for data in map(_decoded, texts):
        told += _ids_in(data) if isinstance(data, dict) else ()
    return list(dict.fromkeys(told))


def _ids_in(data: dict[str, Any]) -> Iterator[str]:
    inner = data["data"] if isinstance(data.get("data"), dict) else data
    return (inner[key] for key in ("id", "prediction_id") if isinstance(inner.get(key), str))


def _is_dropped(line: str, blanks: int) -> bool:
    """Whether a line after a frame's data is nothing to a decoder that follows the standard."""
    if not line:
        return blanks > 0
    return not line.startswith((":", "id:", "retry:"))


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
