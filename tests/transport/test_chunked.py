"""Reading past h11: the same content and the same verdict as h11's, whatever comes over the connection."""

import asyncio
from itertools import pairwise

import httpcore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rockai_transport.io.chunked import BaseStream, ChunkReader, read_past_h11

BOUNDED = settings(
    max_examples=600,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CUT = "incomplete chunked read"


class Line(httpcore.NetworkStream):
    """A connection over which these parts come; then its end."""

    def __init__(self, parts):
        self.parts = list(parts)

    def read(self, max_bytes, timeout=None):
        if not self.parts:
            return b""
        part = self.parts.pop(0)
        if part[max_bytes:]:
            self.parts.insert(0, part[max_bytes:])
        return part[:max_bytes]

    def write(self, buffer, timeout=None):
        pass

    def close(self):
        self.parts = []

    def get_extra_info(self, info):
        return None


class SplitLine(BaseStream, Line):
    """The same with its heads split off, as the sockets of both clients do it."""

    _stream = Line(())

    def read(self, max_bytes, timeout=None):
        return self.split(self.rest or Line.read(self, max_bytes))

    def read_body(self):
        rest, self.rest = self.rest, b""
        return rest or Line.read(self, 65536)

    def write(self, buffer, timeout=None):
        self.add(buffer)


class AsyncSplitLine(BaseStream, httpcore.AsyncNetworkStream):
    _stream = Line(())

    def __init__(self, parts):
        self.line = Line(parts)

    async def read(self, max_bytes, timeout=None):
        return self.split(self.rest or self.line.read(max_bytes))

    async def read_body(self):
        rest, self.rest = self.rest, b""
        return rest or self.line.read(65536)

    async def write(self, buffer, timeout=None):
        self.add(buffer)

    async def aclose(self):
        self.line.close()


REQUEST = ("GET", "http://here/", [(b"Host", b"here")])
ORIGIN = httpcore.Origin(b"http", b"here", 80)


def exchange(connection, look):
    """The content of an answer, and how it ended."""
    content = b""
    try:
        response = look(connection.handle_request(httpcore.Request(*REQUEST[:2], headers=REQUEST[2])))
        for part in response.stream:
            content += part
        response.close()
    except httpcore.RemoteProtocolError as error:
        return content, "cut" if CUT in str(error) else "broken"
    return content, "whole"


async def aexchange(connection):
    content = b""
    try:
        request = httpcore.Request(*REQUEST[:2], headers=REQUEST[2])
        response = read_past_h11(await connection.handle_async_request(request))
        async for part in response.stream:
            content += part
        await response.aclose()
    except httpcore.RemoteProtocolError as error:
        return content, "cut" if CUT in str(error) else "broken"
    return content, "whole"


async def both_of(parts):
    """Two answers, one after the other, over one asynchronous connection; the second if there can be one."""
    connection = httpcore.AsyncHTTP11Connection(ORIGIN, AsyncSplitLine(parts))
    first = await aexchange(connection)
    return first, await aexchange(connection) if connection.is_available() else None


def two(stream, look):
    """The same over a blocking connection."""
    connection = httpcore.HTTP11Connection(ORIGIN, stream)
    first = exchange(connection, look)
    return first, exchange(connection, look) if connection.is_available() else None


def chunk(content):
    return b"%x\r\n%b\r\n" % (len(content), content)


chunks = st.binary(min_size=1, max_size=40).map(chunk)
UNUSUAL = [
    *(b"5;name=value\r\nhello\r\n", b"5 \r\nhello\r\n", b"0005\r\nhello\r\n", b"A\r\n0123456789\r\n"),
    *(
        b"000000000001\r\na\r\n",
        b"5\nhello\n",
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"5\r\nhelloworld\r\n",
        b"5\r\nhello",
    ),
    *(b"\r", b"\n", b"5", b"5\r", b"0", b"data: a\n\n", b"ffffffff\r\n", b"5\r\nhello5\r\nhello\r\n"),
]
ENDS = [
    b"0\r\n\r\n",
    b"0\r\nTrailer: x\r\n\r\n",
    b"000\r\n\r\n",
    b"0;x=y\r\n\r\n",
    b"",
    b"0\r\n",
    b"0\r\nbad\r\n\r\n",
]


@st.composite
def connections(draw):
    """What comes over a connection, in parts: an answer, its chunks more or less right, and another."""
    body = draw(st.lists(chunks | st.sampled_from(UNUSUAL) if draw(st.booleans()) else chunks, max_size=12))
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]))
    data = interim + HEAD + b"".join(body) + draw(st.sampled_from(ENDS)) + NEXT
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12))
    if draw(st.booleans()):
        cuts.append(len(interim + HEAD))
    return [data[a:b] for a, b in pairwise(sorted({0, *cuts, len(data)})) if a < b]


@BOUNDED
@given(connections())
def test_content_and_verdict_are_h11_s(parts):
    """Whatever comes, at any cut: what is read, how it ended, and whether another answer can be read."""
    by_h11 = two(Line(parts), lambda response: response)
    assert two(SplitLine(parts), read_past_h11) == by_h11
    assert asyncio.run(both_of(parts)) == by_h11


def test_it_reads_what_real_servers_send():
    """Plain chunks are read without h11, at every cut: the test above does not compare h11 with itself."""
    body = chunk(b"data: a\n\n") + chunk(b"data: b\n\n") + b"0\r\n\r\n"
    data = HEAD + body
    for cut in range(1, len(data)):
        stream = SplitLine([data[:cut], data[cut:]])
        connection = httpcore.HTTP11Connection(ORIGIN, stream)
        response = read_past_h11(
            connection.handle_request(httpcore.Request(*REQUEST[:2], headers=REQUEST[2]))
        )
        assert b"".join(response.stream) == b"data: a\n\ndata: b\n\n"
        assert "rockai" in type(response.stream).__module__
        response.close()
        assert connection.is_idle()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_not_only_chunked_is_left_to_h11(head):
    """A body with a length, with both, or with neither; or a status that has none."""
    stream = SplitLine([head, b"5\r\nhello\r\n0\r\n\r\n"])
    response = httpcore.HTTP11Connection(ORIGIN, stream).handle_request(
        httpcore.Request(*REQUEST[:2], headers=REQUEST[2])
    )
    assert "httpcore" in type(read_past_h11(response).stream).__module__


@pytest.mark.parametrize("beyond", [b"", b"\r\n", NEXT, b'{"detail": "a body of 204"}'])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        HEAD + chunk(b"hello") + b"0\r\n\r\n",
        HEAD + b"5;name=value\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        + HEAD
        + chunk(b"hello")
        + b"0\r\n\r\n",
    ],
)
def test_what_follows_an_answer_is_no_answer_to_the_next_request(answer, beyond):
    """At any cut, the connection is used again only if nothing came beyond the end (RFC 9112, 9.2)."""
    for cut in range(1, len(answer)):
        parts = [answer[:cut], answer[cut:] + beyond]
        connection = httpcore.HTTP11Connection(ORIGIN, SplitLine(parts))
        assert exchange(connection, read_past_h11)[1] == "whole"
        assert bool(connection.has_expired()) is bool(beyond)
        other = httpcore.AsyncHTTP11Connection(ORIGIN, AsyncSplitLine(parts))
        assert asyncio.run(aexchange(other))[1] == "whole"
        assert bool(other.has_expired()) is bool(beyond)


def test_a_chunk_is_given_as_far_as_it_has_come():
    """A large chunk is not collected first, and nothing of it is kept."""
    reader = ChunkReader()
    assert reader.feed(b"F4240\r\nabc") == b"abc"
    assert reader.rest == b""
    assert reader.feed(b"d" * 10_000) == b"d" * 10_000
    assert not reader.ended


def test_a_head_that_trickles_takes_linear_time():
    """Each byte of a head is looked at once or twice, not again with each byte that follows."""
    splitter, longest = BaseStream(), 0
    splitter.add(b"")
    for _ in range(100_000):
        splitter.split(b"x")
        longest = max(longest, len(splitter._tail))
    assert longest <= 2
