"""What a reader sees above an error's words: where their own call was, not how ours works."""

import logging
import traceback
from pathlib import Path

import pytest
from support.drivers import TOKEN
from support.replies import MODEL
from support.wire_server import answer, frames, reset, silence, stream

from rockai_transport import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    Client,
    ConfigurationError,
    InvalidResponseError,
    RockAIError,
    Service,
    StreamInterruptedError,
)

RUN, SSE = "POST /v1/run", "POST /v1/run_sse"


def places(error):
    """The files of a traceback and of those of its causes, as far as they are ours."""
    found = set()
    while error is not None:
        paths = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        found |= {f"{path.parent.name}/{path.name}" for path in paths if "rockai" in str(path)}
        error = error.__cause__
    return found


def test_the_machinery_is_not_shown(client, server):
    """Flows and sockets are left out; the method that was called is there, and little below it."""
    server.route(RUN, answer(401, {"detail": "no"}))
    with pytest.raises(AuthenticationError) as caught:
        client.run(MODEL, {})
    shown = places(caught.value)
    assert not [place for place in shown if place.startswith("protocol/")]
    assert {place.partition("/")[2] for place in shown} & {"client.py", "async_client.py"}
    assert len(shown) <= 2


def test_settings_are_checked_out_of_sight():
    """The caller's own line is the last frame."""
    with pytest.raises(ConfigurationError) as caught:
        Client()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "Client()"


def test_who_looks_for_a_fault_sees_it_all(client, server, caplog):
    """With the logger at DEBUG every frame stays."""
    server.route(RUN, answer(401, {"detail": "no"}))
    with caplog.at_level(logging.DEBUG, logger="rockai"):
        with pytest.raises(AuthenticationError) as caught:
            client.run(MODEL, {})
        assert "protocol/exchange.py" in places(caught.value)
        with pytest.raises(ConfigurationError) as caught:
            Client()
        assert "rockai_transport/config.py" in places(caught.value)


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


def test_an_error_of_ours_in_a_callback_keeps_them_too(client, server):
    """A user's frame is never taken away, whatever it raises."""
    server.route(SSE, stream(frames("a")))

    def fails(piece):
        raise StreamInterruptedError(piece) from KeyError(piece)

    with pytest.raises(StreamInterruptedError) as caught:
        client.run(MODEL, {}, on_text=fails)
    assert any(frame.name == "fails" for frame in traceback.extract_tb(caught.value.__traceback__))


def test_a_hook_that_fails_shows_where(connect, server):
    """The line of `Service.read_prediction` that is wrong stands in the cause."""
    server.route(RUN, answer(200, ["x"]))

    def hook(data):
        return data["id"]

    with pytest.raises(InvalidResponseError) as caught:
        connect(service=Service(read_prediction=hook)).run(MODEL, {})
    assert traceback.extract_tb(caught.value.__cause__.__traceback__)[-1].name == "hook"


def test_time_that_runs_out_has_no_cause(connect, server):
    """By our own clock nothing has failed below; where a socket's ended it, that is the cause."""
    server.route(RUN, silence())
    with pytest.raises(APITimeoutError) as caught:
        connect().run(MODEL, {}, timeout=0.2)
    assert "rockai" not in type(caught.value.__cause__).__module__
    assert "CancelledError" not in "".join(traceback.format_exception(caught.value))


def test_a_cause_does_not_tell_the_token(client, server):
    """A server that says it back in a broken answer has it printed nowhere."""

    def echo(exchange):
        exchange.send(b"HTTP/1.1 oops " + exchange.request.headers["authorization"].encode() + b"\r\n\r\n")

    server.route(RUN, echo)
    with pytest.raises(APIConnectionError) as caught:
        client.run(MODEL, {})
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
