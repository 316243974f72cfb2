"""The event stream, byte by byte: `protocol.events` against the recordings and the line table."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from rockai_transport import Service
from rockai_transport.protocol.events import End, EventReader

WIRE = Path(__file__).parent.parent / "samples" / "wire"
EXPECTED = json.loads((WIRE / "expected.json").read_text("utf-8"))
ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


def read(*parts, service=None):
    """All pieces of a stream that arrives in these parts, and its reader."""
    reader = EventReader(service or Service())
    return [piece for part in parts for piece in reader.read(part)], reader


def pieces(*parts, service=None):
    return read(*parts, service=service)[0]


def end_of(*parts, service=None):
    return read(*parts, service=service)[1].end


def text_of(*parts):
    return "".join(pieces(*parts))


def recording(name, newline=b"\n"):
    return (WIRE / f"{name}.sse").read_bytes().replace(b"\n", newline)


@pytest.mark.parametrize("newline", ENDS)
@pytest.mark.parametrize("name", EXPECTED)
def test_recording_is_exact_whole_and_cut_at_every_byte(name, newline):
    """Each recording comes out equal to expected.json, wherever it is cut, with any of the three line ends."""  # noqa: E501
    data = recording(name, ENDS[newline])
    for cut in range(len(data) + 1):
        events, reader = read(data[:cut], data[cut:])
        assert "".join(events) == EXPECTED[name], cut
        assert reader.end == End()
        assert reader.end == End()


@pytest.mark.parametrize("newline", ENDS)
@pytest.mark.parametrize("name", EXPECTED)
def test_recording_is_exact_byte_by_byte(name, newline):
    """Each recording comes out equal to expected.json when every byte arrives alone."""
    data = recording(name, ENDS[newline])
    assert text_of(*(data[at : at + 1] for at in range(len(data)))) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_prefix_of_a_recording_hands_on_a_prefix_of_its_text(name):
    """What is handed on is never taken back: a cut stream's text is a prefix of the whole, and has no end."""
    data = recording(name)
    for cut in range(len(data)):
        events, reader = read(data[:cut])
        assert EXPECTED[name].startswith("".join(events))
        assert reader.end is None
        assert not reader.is_whole(framed=True)


DONE = b"event: done\ndata: {}\n\n"
OUTPUT = "event: output\ndata: "

TABLE = {
    # In an output event, after its first data: line.
    "another data: line is a line of the piece": (OUTPUT + "a\ndata: b\n\n", "a\nb"),
    "data: without a space": ("event: output\ndata:a\ndata:b\n\n", "a\nb"),
    "only one space is the standard's": ("event: output\ndata:   a\n\n", "  a"),
    "an id: line is a field": (OUTPUT + "a\nid: 7\n\n", "a"),
    "a retry: line is a field": (OUTPUT + "a\nretry: 7\n\n", "a"),
    "an event: line is a field, and renames the event": (OUTPUT + "a\nevent: logs\n\n", ""),
    "a bare line is a line break and the line": (OUTPUT + "a\nb\n\n", "a\nb"),
    "bare lines keep their indentation": (OUTPUT + "def f():\n    return 1\n\n", "def f():\n    return 1"),
    "a bare line that begins with a colon is text": (OUTPUT + "a\n: b\n\n", "a\n: b"),
    "a bare line with a colon inside is text": (OUTPUT + "a\nb: c\n\n", "a\nb: c"),
    "a bare line that is nearly a field is text": (OUTPUT + "a\ndata\nevents: x\n\n", "a\ndata\nevents: x"),
    # Right after the blank line.
    "one blank line more is one line break": (OUTPUT + "a\n\n\n", "a\n"),
    "three blank lines more are three line breaks": (OUTPUT + "a\n\n\n\n\n", "a\n\n\n"),
    "a bare line goes on with the piece": (OUTPUT + "a\n\nb\n\n", "a\n\nb"),
    "after k blank lines stand k + 1 line breaks": (OUTPUT + "a\n\n\n\nb\n\n", "a\n\n\n\nb"),
    "a data: line without event: goes on with the piece": (OUTPUT + "a\n\ndata: b\n\n", "a\n\ndata: b"),
    "a piece goes on twice": (OUTPUT + "a\n\nb\n\nc\n\n", "a\n\nb\n\nc"),
    "after it goes on, bare lines belong to it": (OUTPUT + "a\n\nb\nc\n\n", "a\n\nb\nc"),
    "any event: line begins the next event": (
        OUTPUT + "a\n\nevent: logs\ndata: x\n\n" + OUTPUT + "b\n\n",
        "ab",
    ),
    "held id: before event: is a field": (OUTPUT + "a\n\nid: 1\n" + OUTPUT + "b\n\n", "ab"),
    "held id: and retry: before event: are fields": (
        OUTPUT + "a\n\nid: 1\nretry: 2\n" + OUTPUT + "b\n\n",
        "ab",
    ),
    "held id: before a bare line is text": (OUTPUT + "a\n\nid: 1\nb\n\n", "a\n\nid: 1\nb"),
    "held retry: before a blank line is text": (OUTPUT + "a\n\nretry: 1\n\n", "a\n\nretry: 1"),
    "held id: and a comment and event:": (OUTPUT + "a\n\nid: 1\n: ping\n" + OUTPUT + "b\n\n", "ab"),
    "held id:, a comment, a blank line, event:": (OUTPUT + "a\n\nid: 1\n: ping\n\n" + OUTPUT + "b\n\n", "ab"),
    "a comment is no text": (OUTPUT + "a\n\n: ping\n" + OUTPUT + "b\n\n", "ab"),
    "a blank line right after a comment adds nothing": (OUTPUT + "a\n\n: ping\n\n" + OUTPUT + "b\n\n", "ab"),
    "heartbeats add nothing": (OUTPUT + "a\n\n" + ": ping\n\n" * 3 + OUTPUT + "b\n\n", "ab"),
    "a second blank line after a comment is text": (OUTPUT + "a\n\n: ping\n\n\n" + OUTPUT + "b\n\n", "a\nb"),
    # Text that other decoders lose.
    "U+2028, U+2029, U+0085, form feed, VT, FS end no line": (
        OUTPUT + "a\u2028b\u2029c\u0085d\fe\vf\x1cg\n\n",
        "a\u2028b\u2029c\u0085d\fe\vf\x1cg",
    ),
    "an empty piece": (OUTPUT + "\n\n", ""),
    "a piece of one line break": (OUTPUT + "\n\n\n", "\n"),
    "NUL and emoji": (OUTPUT + "\x00🙂\n\n", "\x00🙂"),
    "data: alone is an empty piece": ("event: output\ndata\n\n" + OUTPUT + "a\n\n", "a"),
    # Outside output events the standard holds.
    "frames without data are dropped": ("event: output\n\n" + OUTPUT + "a\n\n", "a"),
    "an id alone dispatches nothing": ("id: 1\n\n\n\n" + OUTPUT + "a\n\n", "a"),
    "bare lines of other events are ignored": (
        "event: logs\ndata: x\nbare\n\nbare\n\n" + OUTPUT + "a\n\n",
        "a",
    ),
    "unnamed events are ignored once there are named ones": (
        OUTPUT + "a\n\nevent: x\ndata: y\n\ndata: z\n\n",
        "a",
    ),
    "a bare line before the first data: is ignored": ("event: output\nbare\ndata: a\n\n", "a"),
    "data: before event:": ("data: a\nevent: output\n\n", "a"),
}


@pytest.mark.parametrize("case", TABLE)
def test_line_table(case):
    """Every row of the wire page's table, whole and byte by byte, with any of the three line ends."""
    source, expected = TABLE[case]
    for newline in ENDS.values():
        data = source.encode().replace(b"\n", newline) + DONE
        assert text_of(data) == expected
        found, reader = read(*(data[at : at + 1] for at in range(len(data))))
        assert "".join(found) == expected
        assert reader.end == End()


def test_byte_order_mark_is_stripped():
    """A byte order mark at the start is no part of the first field's name; elsewhere it is text."""
    data = b"\xef\xbb\xbf" + OUTPUT.encode() + b"a\xef\xbb\xbfb\n\n"
    assert text_of(data) == "a\ufeffb"
    assert text_of(*(data[at : at + 1] for at in range(len(data)))) == "a\ufeffb"


def test_invalid_utf8_becomes_replacement_characters():
    """The stream is UTF-8 whatever the header says; what is not comes out as U+FFFD and breaks nothing."""
    assert text_of(b"event: output\ndata: a\xffb\n\n") == "a\ufffdb"


def test_a_character_cut_between_two_chunks_is_whole():
    """A character of several bytes survives any cut."""
    data = (OUTPUT + "你🙂\n\n").encode()
    for cut in range(len(data)):
        assert text_of(data[:cut], data[cut:]) == "你🙂"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_piece_is_handed_on_when_its_frame_is_complete(newline):
    """The piece comes with the last byte of its blank line, not with the next event."""
    data = f"event: output{newline}data: a{newline}{newline}".encode()
    if newline == "\r\n":
        data = data[:-1]  # a CR ends a line already; an LF after it adds nothing
    reader = EventReader(Service())
    assert reader.read(data[:-1]) == []
    assert reader.read(data[-1:]) == ["a"]


@pytest.mark.parametrize("size", [100, 513, 5_000])
def test_an_event_of_any_length_that_comes_in_two_chunks(size):
    """What stands of it in the first chunk is kept, whichever of the two readers keeps it."""
    text = "x" * size
    whole = f"event: output\ndata: a\n\nevent: output\ndata: {text}\n\nevent: done\ndata: {{}}\n\n".encode()
    at = whole.index(text.encode()) + size - 3
    assert pieces(whole[:at], whole[at:]) == ["a", text]


def test_done_is_the_end_with_or_without_data_but_not_before_its_blank_line():
    """`event: done` ends a stream at its blank line, even without data."""
    for done in (b"event: done\n\n", b"event: done\ndata: {}\n\n", b"event: done\ndata: x\n\n"):
        reader = EventReader(Service())
        reader.read(OUTPUT.encode() + b"a\n\n")
        reader.read(done[:-1])
        assert reader.end is None
        assert reader.read(done[-1:]) == []
        assert reader.end == End()


@pytest.mark.parametrize("reason", ["canceled", "cancelled", "aborted", "CANCELED"])
def test_done_that_names_a_cancellation(reason):
    """A `done` whose data names a cancellation is no good end."""
    assert end_of(f'event: done\ndata: {{"reason": "{reason}"}}\n\n'.encode()).status == "canceled"


@pytest.mark.parametrize("data", ['{"reason": "error"}', '{"error": "boom"}', '{"status": "failed"}'])
def test_done_that_names_an_error(data):
    """A `done` whose data names an error is no good end."""
    assert end_of(f"event: done\ndata: {data}\n\n".encode()).status == "failed"


@pytest.mark.parametrize(
    "data", ["{}", '{"reason": ["x"]}', '{"status": {"a": 1}}', "[1]", "not json", "[" * 9000]
)
def test_done_with_odd_data_is_the_end(data):
    """Whatever else a `done` carries, it is the end."""
    assert end_of(f"event: done\ndata: {data}\n\n".encode()) == End()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("boom", "boom"),
        ('{"detail": "out of memory"}', "out of memory"),
        ('{"detail": {"a": 1}}', '{"a": 1}'),
    ],
)
def test_error_event(data, words):
    """An `error` event is the end; its data is a message, or JSON with `detail`."""
    assert end_of(f"event: error\ndata: {data}\n\n".encode()) == End("failed", words)


def test_an_error_event_without_data_is_one():
    """A `done` behind it makes no answer of what came before."""
    assert end_of(OUTPUT.encode() + b"a\n\nevent: error\n\nevent: done\ndata: {}\n\n") == End("failed", "")


def test_what_follows_the_end_says_nothing():
    """After the end nothing is output any more."""
    assert pieces(OUTPUT.encode() + b"a\n\n" + DONE + OUTPUT.encode() + b"b\n\n") == ["a"]


def test_unnamed_events_follow_the_standard():
    """Without event: lines each event's data is a piece, bare lines are unknown fields, [DONE] is the end."""
    events, reader = read(b"data: a\n\n\n\ndata: b\nbare\ndata: c\n\n: ping\n\ndata: [DONE]\n\n")
    assert events == ["a", "b\nc"]
    assert reader.end == End()


def test_unnamed_stream_ends_by_its_framing():
    """A body that ends by its own framing after an event is whole; cut by a close, or without event, it is not."""  # noqa: E501
    _, reader = read(b"data: a\n\n")
    assert reader.is_whole(framed=True)
    assert not reader.is_whole(framed=False)
    for begun in (b"data: b", b"data: b\n", b"event: x\n"):
        _, reader = read(b"data: a\n\n" + begun)
        assert not reader.is_whole(framed=True), begun
    for data in (b"", b": ping\n\n", b"\n\n"):
        _, reader = read(data)
        assert not reader.is_whole(framed=True), data


def test_the_first_output_event_switches_to_named_mode_for_good():
    """After one output event only an end event is the end, [DONE] and framing are not."""
    events, reader = read(b"data: a\n\nevent: output\ndata: b\n\nevent: x\ndata: y\n\ndata: [DONE]\n\n")
    assert events == ["a", "b"]
    assert not reader.is_whole(framed=True)


def test_an_event_is_an_output_event_by_its_last_name():
    """A first event that begins as an output event and gets another name is none, however it is cut."""
    data = b"event: output\ndata: a\nevent:\n\ndata: b\n\ndata: [DONE]\n\n"
    assert pieces(data) == pieces(*(bytes([byte]) for byte in data)) == ["a", "b"]
    assert end_of(data) == End()


def test_a_service_that_requires_no_end_event():
    """With requires_end_event=False a stream of output events may end by its framing."""
    _, reader = read(OUTPUT.encode() + b"a\n\n", service=Service(requires_end_event=False))
    assert reader.is_whole(framed=True)
    assert not reader.is_whole(framed=False)


def test_the_event_names_are_settings():
    """Other names of output, end and error events are read as such."""
    service = Service(output_event="token", end_events=("fin", "bye"), error_events=("oops",))
    data = b"event: token\ndata: a\nb\n\n\nevent: bye\n\n"
    assert pieces(data, service=service) == ["a\nb", "\n"]
    assert end_of(data, service=service) == End()
    assert end_of(b"event: oops\ndata: no\n\n", service=service) == End("failed", "no")


def test_heartbeats_and_frames_without_data_are_no_events():
    """The first event is one with data: heartbeats do not count as it."""
    _, reader = read(b": ping\n\nid: 1\n\nretry: 5\n\nevent: output\n\n")
    assert not reader.seen_event
    reader.read(b"event: logs\ndata: x\n\n")
    assert reader.seen_event


def seconds_for(mebibytes, body):
    chunk = body * (65536 // len(body))
    count = mebibytes * 1024**2 // len(chunk)
    reader = EventReader(Service())
    started = time.process_time()
    reader.read(b"event: output\ndata: ")
    for _ in range(count):
        reader.read(chunk)
    events = reader.read(b"\n\n")
    spent = time.process_time() - started
    assert sum(map(len, events)) >= count * len(chunk) - 1
    return spent


@pytest.mark.parametrize("body", [b"x", b"x" * 63 + b"\n"], ids=["one line", "lines"])
def test_one_huge_event_takes_linear_time(body):
    """An event of 32 MiB takes about eight times as long as one of 4 MiB, not sixty-four times."""
    seconds_for(1, body)
    small = min(seconds_for(4, body) for _ in range(3))
    # Four take 5 ms, to which new pages of memory add; joined at each chunk, 32 would take over three s.
    assert any(seconds_for(32, body) < 8 * small * 3 + 0.1 for _ in range(2))


def test_many_tiny_chunks_take_linear_time():
    """A line that comes byte by byte is joined once."""

    def spent(length):
        reader = EventReader(Service())
        reader.read(b"event: output\ndata: ")
        started = time.process_time()
        for _ in range(length):
            reader.read(b"x")
        reader.read(b"\n\n")
        return time.process_time() - started

    spent(1000)
    small = min(spent(20_000) for _ in range(3))
    assert spent(80_000) < 4 * small * 2.5 + 0.1


def test_random_cuts_of_random_text():
    """Any text without field-like lines comes back exactly from the server's way of writing it."""
    chance = random.Random(int(os.environ.get("ROCKAI_TEST_SEED", "7")))  # noqa: S311
    letters = ["a", " ", "\n", "\n\n", "é", "你", "🙂", "\u2028", "x:y", "\t", "{}"]
    for _ in range(300):
        said = ["".join(chance.choices(letters, k=chance.randint(0, 6))) for _ in range(chance.randint(1, 5))]
        data = "".join(f"event: output\ndata: {piece}\n\n" for piece in said).encode() + DONE
        parts = []
        while data:
            cut = chance.randint(1, 9)
            parts.append(data[:cut])
            data = data[cut:]
        assert text_of(*parts) == "".join(said), said


SERVICES = [
    Service(),
    Service(requires_end_event=False),
    *(Service(output_event=name) for name in ("a:b", " x", "x ", "", "data")),
]
ATOMS = [
    *(b"event: output\n", b"data: ", b"data:", b"x", b"\n", b"\n\n", b"\r", b"\r\n", b":c\n", b"id: 1\n"),
    *(b"event: output\ndata: hi\n\n", b"event: output\ndata: a\ndata: b\n\n", b"event: output\ndata:c\n\n"),
    *(b"event: output\ndata: \n\n", b"event: a:b\ndata: q\n\n", b"event:  x\ndata: q\n\n", b"event:output\n"),
    *(b"event: x\ndata: q\n\n", b"event: x\n", b"retry: 5\n", DONE, b"data: [DONE]\n\n", b"\x00", b"\xff"),
    *(b"q" * 600, "é\u2028".encode(), b"\xef\xbb\xbf", b'event: error\ndata: {"detail": 3}\n\n'),
]


def random_stream(chance):
    """A recording with any line ends, or a jumble that mostly begins like a stream."""
    if chance.random() < 0.2:
        return recording(chance.choice(list(EXPECTED)), chance.choice(list(ENDS.values())))
    jumble = b"".join(chance.choices(ATOMS, k=chance.randint(1, 14)))
    return b"event: output\ndata: s\n\n" + jumble if chance.random() < 0.6 else jumble


def test_cutting_out_whole_events_gives_what_reading_line_by_line_gives():
    """For every chunk of any stream, `EventReader` gives what `read_lines` gives, and knows as much."""
    chance = random.Random(int(os.environ.get("ROCKAI_TEST_SEED", "11")))  # noqa: S311
    for _ in range(4000):
        service, data = chance.choice(SERVICES), random_stream(chance)
        size = min(chance.choice([0, 1, 2, 3, 8, len(data)]), len(data))
        cuts = sorted(chance.sample(range(len(data) + 1), size))
        quick, slow = EventReader(service), EventReader(service)
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            chunk = data[start:end]
            assert quick.read(chunk) == slow.read_lines(chunk), (service, data, cuts)
            assert (quick.end, quick.seen_event) == (slow.end, slow.seen_event), (service, data, cuts)
        for framed in (True, False):
            assert quick.is_whole(framed=framed) == slow.is_whole(framed=framed), (service, data, cuts)
