"""A model reads what has come by batches; its user sees the same chunks, one for each piece."""

import pytest
from support.wire_server import WireServer, frames, stream

PIECES = ["one", " two", " three", "\n", "four"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_pieces_that_come_together_are_a_chunk_each(framework, kind):
    """Five events in one write give five chunks, with nothing put together and nothing lost."""
    with WireServer() as server:
        server.route("POST /v1/run_sse", stream(frames(*PIECES)))
        llm = framework.make(base_url=server.base_url, api_token="t")  # noqa: S106 - none
        heard = framework.pieces(llm, "Hi", kind)
    assert [piece for piece in heard if piece] == PIECES


def test_leaving_behind_the_first_of_them_hands_on_no_more(framework):
    """What was left is not made up for by the others of its batch."""
    with WireServer() as server:
        server.route("POST /v1/run_sse", stream(frames(*PIECES)))
        llm = framework.make(base_url=server.base_url, api_token="t")  # noqa: S106 - none
        chunks = framework.chunks(llm, "Hi")
        first = next(chunks)
        chunks.close()
        assert framework.said(first) == PIECES[0]
        assert list(chunks) == []
