"""The bytes of the event stream are the real model server's own."""

import json
import re
from pathlib import Path

import pytest

from rockai_sandbox import Event

SAMPLES = Path(__file__).parents[1] / "samples" / "wire"
EXPECTED = json.loads((SAMPLES / "expected.json").read_text("utf-8"))


def recorded_pieces(recording: bytes) -> list[str]:
    """Cut a recording at its events, without the rules of any parser: no piece in it holds an event line."""
    frames = re.split(rb"^event: (?=output$|done$)", recording, flags=re.MULTILINE)[1:]
    assert frames.pop() == b"done\ndata: {}\n\n"
    return [frame.removeprefix(b"output\ndata: ").removesuffix(b"\n\n").decode() for frame in frames]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_scripted_model_says_is_sent_byte_for_byte_as_recorded(sandbox, api, name):
    """Given the recorded pieces, the whole body of /run_sse equals the recording."""
    recording = (SAMPLES / f"{name}.sse").read_bytes()
    pieces = recorded_pieces(recording)
    assert "".join(pieces) == EXPECTED[name]

    @sandbox.model("recorded/model")
    def say(given):
        yield from pieces

    answer = api.post("/run_sse", json={"model": "recorded/model", "input": {}})

    assert answer.content == recording
    assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("name", EXPECTED)
def test_a_prediction_s_own_stream_has_the_same_bytes_however_late_it_is_asked_for(sandbox, api, name):
    """GET urls.stream replays a finished prediction from its beginning."""
    recording = (SAMPLES / f"{name}.sse").read_bytes()

    @sandbox.model("recorded/model")
    def say(given):
        yield from recorded_pieces(recording)

    created = api.post("/predictions", json={"model": "recorded/model", "input": {}, "stream": True}).json()
    sandbox.wait_for("succeeded")

    assert api.get(created["urls"]["stream"]).content == recording


def test_newlines_are_not_escaped():
    """A piece with line breaks goes out as it is, where the SSE standard wants one `data:` for each line."""
    assert Event("output", "a\n\nb\n").frame() == b"event: output\ndata: a\n\nb\n\n\n"
