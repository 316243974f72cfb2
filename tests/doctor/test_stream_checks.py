"""What recorded bytes say of the assumptions about event streams."""

from __future__ import annotations

import pytest

from rockai_transport import Service
from rockai_transport.doctor import SuggestedSetting, Verdict
from rockai_transport.doctor.recording import Exchange, Redactor
from rockai_transport.doctor.stream_checks import (
    judge_end,
    judge_framing,
    judge_newlines,
    judge_pieces,
    judge_type,
)
from rockai_transport.protocol.messages import Request, ResponseHead

FRAMED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


def recorded(body, headers=FRAMED, **more):
    head = ResponseHead(200, headers, 0.0)
    return Exchange(Request("POST", "/run_sse"), Redactor("a-long-token"), head, bytearray(body), **more)


@pytest.mark.parametrize("name", ["poem", "code", "multi", "cjk"])
def test_the_recordings(samples, name):
    """The real model server's streams are as assumed: names, end, and newlines as they are."""
    exchange = recorded((samples / "wire" / f"{name}.sse").read_bytes())
    for judge in (
        judge_pieces,
        judge_end,
        judge_newlines,
        judge_framing,
    ):
        assert judge(exchange, Service()).verdict is Verdict.AS_ASSUMED


def test_an_encoding_that_nobody_can_read():
    """No stream can be read, which differs; a stream that breaks off shows nothing of its type."""
    headers = {**FRAMED, "content-encoding": "br"}
    finding = judge_type(recorded(b"", headers, failure="A response came with 'br'"), Service())
    assert (finding.verdict, finding.observed) == (
        Verdict.DIFFERS,
        "text/event-stream; A response came with 'br'",
    )
    assert judge_type(recorded(b"", failure="reset"), Service()).verdict is Verdict.AS_ASSUMED


def test_no_newlines_to_look_at(samples):
    """A text without line breaks tells nothing about them."""
    exchange = recorded((samples / "wire" / "plain.sse").read_bytes())
    assert judge_newlines(exchange, Service()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b"event: output\ndata: a\ndata: b\n\n", Verdict.AS_ASSUMED),
        (b'event: output\ndata: "a\\n"\n\nevent: output\ndata: "b"\n\n', Verdict.DIFFERS),
        (b'data: {"text": "a"}\n\ndata: {"text": "b"}\n\n', Verdict.DIFFERS),
        (b"event: output\ndata: a\\nb\n\n", Verdict.DIFFERS),
    ],
)
def test_escaped_newlines(body, verdict):
    """By the standard they are read too; JSON and backslashes are not."""
    assert judge_newlines(recorded(body), Service()).verdict is verdict


def test_a_cut_stream_is_no_evidence_of_its_end():
    """A stream that broke off does not show that there is no end event."""
    exchange = recorded(b"event: output\ndata: a\n\n", failure="the connection broke")
    assert judge_end(exchange, Service()).verdict is Verdict.UNKNOWN


def test_a_body_that_ends_with_its_connection():
    """Without framing and end event, no setting can tell a cut from an end."""
    exchange = recorded(b"event: output\ndata: a\n\n", {"content-type": "text/event-stream"})
    judgement = judge_end(exchange, Service())
    assert (judgement.verdict, judgement.suggestions) == (Verdict.DIFFERS, ())
    assert judge_framing(exchange, Service()).verdict is Verdict.DIFFERS


def test_one_piece_and_an_end():
    """With one event of each name, the first is the output's."""
    exchange = recorded(b"event: token\ndata: a\n\nevent: end\ndata: {}\n\n")
    assert judge_pieces(exchange, Service()).suggestions == (SuggestedSetting("output_event", "token"),)


def test_logs_are_neither_output_nor_end():
    """Events beside the output are not proposed for it."""
    body = b"event: logs\ndata: 1\n\nevent: logs\ndata: 2\n\nevent: token\ndata: a\n\n"
    exchange = recorded(body)
    assert judge_pieces(exchange, Service()).suggestions == (SuggestedSetting("output_event", "token"),)
    assert judge_end(exchange, Service(output_event="token")).suggestions == (
        SuggestedSetting("requires_end_event", value=False),
    )


def test_the_frame_shows_line_ends():
    """Line feeds and carriage returns can be told apart, and a long body says its length."""
    frame = recorded(b"data: a\r\n\n" + b"x" * 1000).frame()
    assert "data: a␍␊\n␊\n" in frame
    assert frame.endswith("(1010 bytes in all)")
