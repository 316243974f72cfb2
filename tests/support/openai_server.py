"""Responses of OpenAI's service, for the packages that our users know from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from support.wire_server import Exchange, answer, stream

USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
IMAGE = "iVBORw0KGgo="
"""The image in the response of `_drawing`."""


def openai_service(text: str, size: int = 5) -> Any:
    """Answer every chat request with a text, in pieces; if there is a tool, as the tool's arguments.

    Requests to the newer API get an image.
    """

    def script(exchange: Exchange) -> None:
        body = exchange.request.json
        if exchange.request.path.endswith("/responses"):
            answer(200, _drawing())(exchange)
        else:
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            events = [f"data: {json.dumps(one)}\n\n".encode() for one in _chunks(body, pieces)]
            stream(*events, b"data: [DONE]\n\n")(exchange)

    return script


def _chunks(body: dict[str, Any], pieces: list[str]) -> Iterator[dict[str, Any]]:
    about = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    tools = body.get("tools")
    for number, piece in enumerate(pieces):
        delta: dict[str, Any] = {"role": "assistant", "content": None if tools else piece}
        if tools:
            begins = {} if number else {"id": "call-1", "type": "function"}
            named = {} if number else {"name": tools[0]["function"]["name"]}
            delta["tool_calls"] = [{"index": 0, **begins, "function": {**named, "arguments": piece}}]
        yield {**about, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    ended = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if tools else "stop"}
    yield {**about, "choices": [ended]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**about, "choices": [], "usage": USAGE}


def _drawing() -> dict[str, Any]:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    image = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": IMAGE}
    text = {"type": "output_text", "text": "Here.", "annotations": []}
    said = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": [{**image, "output_format": "png"}, said],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, **details},
    }
