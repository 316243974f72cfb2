"""What a reader sees above an error's words: where their own call was, not how ours works."""

import logging
import traceback
from pathlib import Path

import pytest
from support.replies import MODEL
from support.wire_server import answer, frames, reset, stream

from rockai_transport import APIConnectionError, AuthenticationError, RockAIError, StreamInterruptedError

RUN, SSE = "POST /v1/run", "POST /v1/run_sse"


def places(error):
    """The files of a traceback and of those of its causes, as far as they are ours."""
    found = set()
    while error is not None:
        paths = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        found |= {f"{path.parent.name}/{path.name}" for path in paths if "rockai" in str(path)}
        error = error.__cause__
    return found


def test_none_of_the_machinery_is_shown(client, server):
    """The flows and the sockets are left out; the method that was called is there."""
    server.route(RUN, answer(401, {"detail": "no"}))
    with pytest.raises(AuthenticationError) as caught:
        client.run(MODEL, {})
    assert not [place for place in places(caught.value) if place.startswith("wire/")]
    assert {place.partition("/")[2] for place in places(caught.value)} & {"client.py", "async_client.py"}


def test_who_looks_for_a_fault_sees_it_all(client, server, caplog):
    """With the logger at DEBUG every frame stays."""
    server.route(RUN, answer(401, {"detail": "no"}))
    with caplog.at_level(logging.DEBUG, logger="rockai"), pytest.raises(AuthenticationError) as caught:
        client.run(MODEL, {})
    assert "wire/exchange.py" in places(caught.value)


def test_the_cause_is_what_failed_below(client, server):
    """Not our own word for it, and without its fifty frames."""
    server.route(RUN, reset)
    with pytest.raises(APIConnectionError) as caught:
        client.run(MODEL, {})
    cause = caught.value.__cause__
    assert type(cause).__module__.partition(".")[0] in {"httpx", "httpcore"}
    assert cause.__traceback__ is None
    shown = "".join(traceback.format_exception(caught.value))
    assert "the direct cause" in shown
    assert len(shown.splitlines()) < 40


def test_a_cut_stream_names_its_cause_too(client, server):
    """As a call does."""
    server.route(SSE, stream(frames("a", end=False), finish=False))
    with pytest.raises(StreamInterruptedError) as caught:
        list(client.stream(MODEL, {}))
    assert "incomplete" in str(caught.value.__cause__)


def test_a_fault_in_a_callback_keeps_its_frames(client, server):
    """It is not our error: whoever wrote it wants to see where."""
    server.route(SSE, stream(frames("a")))

    def fails(piece):
        raise ZeroDivisionError(piece)

    with pytest.raises(ZeroDivisionError) as caught:
        client.run(MODEL, {}, on_text=fails)
    assert not isinstance(caught.value, RockAIError)
    assert any(frame.name == "fails" for frame in traceback.extract_tb(caught.value.__traceback__))
