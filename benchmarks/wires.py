"""The bytes that the server sends: each peer's own protocol, on each kind of wire. Pure.

A wire is named by a word and numbers, such as ``burst-2000`` or ``crowd-300-50``. The name is part of the
client's address, so every client can be sent to every wire, whatever its protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

SAMPLES = Path(__file__).resolve().parents[1] / "tests" / "samples" / "wire"
RECORDED: dict[str, str] = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
"""The model server's output in each recording, by the recording's name."""

LAST_CHUNK = b"0\r\n\r\n"
EVENTS_IN_A_CHUNK = 100
"""Number of events per chunk on a coalesced wire."""
EVENTS_IN_A_TURN = 10
"""Number of events per turn when many streams are written in turns."""
PACE = 0.001
"""Seconds between two events on a paced wire."""


class Format(NamedTuple):
    """One protocol."""

    content_type: str
    frame: Callable[[int, str], str]
    """Returns the frame of a piece, from its number and its text."""
    end: str
    """The frames after the last piece."""
    answer: Callable[[str], Any]
    """Returns the JSON response to a call that is not streamed, from its text."""


def _openai(delta: dict[str, str], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


def _openai_answer(text: str) -> Any:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def _ollama(text: str, **more: Any) -> Any:
    message = {"role": "assistant", "content": text}
    return {"model": "m", "created_at": "2026-11-27T00:00:00Z", "message": message, "done": False, **more}


def _prediction(text: str) -> Any:
    return {"id": "p", "status": "succeeded", "output": text, "error": None, "logs": "", "input": {}}


def _event(_number: int, piece: str) -> str:
    return f"event: output\ndata: {piece}\n\n"


_ENDED = {"done": True, "done_reason": "stop"}
_ROCKAI = Format("text/event-stream", _event, "event: done\ndata: {}\n\n", _prediction)
FORMATS = {
    "rockai": _ROCKAI,
    "sdk": _ROCKAI,  # it wants a prediction in an envelope, see the server
    "replicate": _ROCKAI._replace(frame=lambda n, piece: f"event: output\nid: {n}\ndata: {piece}\n\n"),
    "openai": Format(
        "text/event-stream",
        lambda _, piece: _openai({"role": "assistant", "content": piece}),
        _openai({}, "stop") + "data: [DONE]\n\n",
        _openai_answer,
    ),
    "ollama": Format(
        "application/x-ndjson",
        lambda _, piece: json.dumps(_ollama(piece)) + "\n",
        json.dumps(_ollama("", **_ENDED)) + "\n",
        lambda text: _ollama(text, **_ENDED),
    ),
}


class Delivery(NamedTuple):
    """What is written to a connection, after the head."""

    parts: list[bytes]
    """The parts; each is one write."""
    pause: float = 0.0
    """Seconds between two parts."""
    at_once: int = 1
    """Number of streams that begin together, once all have connected, and are written in turns."""
    breaks: bool = False
    """Whether the connection is then broken. If not, and the last chunk is missing, it stays open."""


def chunk(data: bytes) -> bytes:
    """Wrap a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def pieces(wire: str) -> list[str]:
    """Return the pieces of the model's output on a wire."""
    kind, *numbers = wire.split("-")
    if not numbers or not numbers[-1].isdigit():
        return ["half of "]
    words = [f" word{number % 10}" for number in range(int(numbers[-1]))]
    if kind == "reasoning":
        half = len(words) // 2
        return ["<think>", *words[:half], "</think>", *("word" for _ in words[half:])]
    return words


def said(wire: str) -> str:
    """Return the text of the answer on a wire, without the reasoning before it."""
    return RECORDED.get(wire.removeprefix("recorded-")) or "".join(pieces(wire)).rpartition("</think>")[2]


@lru_cache
def delivery(protocol: str, wire: str) -> Delivery:
    """Return what to write."""
    kind, *numbers = wire.split("-")
    form = FORMATS[protocol]
    frames = [form.frame(number, piece).encode() for number, piece in enumerate(pieces(wire))]
    return _KINDS.get(kind, _burst)(frames, chunk(form.end.encode()) + LAST_CHUNK, numbers)


def _grouped(parts: list[bytes], size: int) -> list[bytes]:
    return [b"".join(parts[at : at + size]) for at in range(0, len(parts), size)]


def _chunks(frames: list[bytes]) -> list[bytes]:
    return [chunk(frame) for frame in frames]


def _burst(frames: list[bytes], end: bytes, _: list[str]) -> Delivery:
    return Delivery([b"".join(_chunks(frames)) + end])


def _recorded(_: list[bytes], __: bytes, names: list[str]) -> Delivery:
    return Delivery([chunk((SAMPLES / f"{names[0]}.sse").read_bytes()) + LAST_CHUNK])


def _crowd(frames: list[bytes], end: bytes, numbers: list[str]) -> Delivery:
    return Delivery([*_grouped(_chunks(frames), EVENTS_IN_A_TURN), end], at_once=int(numbers[0]))


_KINDS: dict[str, Callable[[list[bytes], bytes, list[str]], Delivery]] = {
    "recorded": _recorded,
    "crowd": _crowd,
    "coalesced": lambda frames, end, _: Delivery(
        [b"".join(_chunks(_grouped(frames, EVENTS_IN_A_CHUNK))) + end]
    ),
    "paced": lambda frames, end, _: Delivery([*_chunks(frames), end], pause=PACE),
    "held": lambda frames, _, __: Delivery(_chunks(frames)),
    "cut": lambda frames, _, __: Delivery(_chunks(frames), breaks=True),
    "short": lambda frames, _, __: Delivery([*_chunks(frames), LAST_CHUNK]),
}
"""Called with the frames, the bytes that end a stream, and the rest of the wire's name. Others are bursts."""
