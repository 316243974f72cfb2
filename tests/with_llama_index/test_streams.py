"""Streams of `RockAI`: where they are cut, how they are left, and what is left behind."""

import asyncio
import inspect
import logging
import time
import tracemalloc

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from support.wire_server import WireServer, frames, stream
from with_llama_index.conformance_kit import STREAMED, collect, start, text_of

from llama_index_rockai import RockAI
from rockai_transport import AsyncClient, Client, StreamInterruptedError

STORY = PromptTemplate("Tell me a {kind}.")


@pytest.mark.parametrize("way", ["chat", "complete", "achat", "acomplete", *STREAMED])
async def test_a_stop_sequence_cuts_everywhere(backend, way):
    """Across pieces, no part of it comes out, and one of the call replaces the constructor's."""
    backend.says("Thought: a\nObser", "vation: b")
    llm = backend.llm(stop=["Observation:"])
    for response in await collect(llm, way):
        assert "Obser" not in (text_of(response) or "")
    assert text_of(response) == "Thought: a\n"
    [*_, response] = await collect(llm, way, stop="Thought")
    assert text_of(response) == ""


@pytest.mark.parametrize("way", STREAMED)
async def test_the_stream_is_left_at_the_cut(backend, way):
    """What the model would say behind it is not waited for, nor paid for longer than needed."""
    backend.hangs("one STOP")
    *_, response = await collect(backend.llm(stop="STOP"), way)
    assert text_of(response) == "one "
    await asyncio.to_thread(backend.wait_until_left, 1.0)


@pytest.mark.parametrize("way", ["stream_chat", "stream_complete"])
def test_leaving_cancels_the_prediction_where_its_id_is_known(backend, events, way):
    """By the route that gives one."""
    backend.hangs("Once")
    stream = start(backend.llm(route="predictions"), way)
    next(stream)
    stream.close()
    assert backend.sandbox.wait_for("canceled", 1.0).output == ["Once"]


async def test_leaving_an_async_stream_does_so_too(backend, events):
    """Within a second."""
    backend.hangs("Once")
    stream = await backend.llm(route="predictions").astream_complete("Hello")
    await anext(stream)
    await stream.aclose()
    await asyncio.to_thread(backend.sandbox.wait_for, "canceled", 1.0)


@pytest.mark.parametrize("way", STREAMED)
async def test_a_closed_stream_has_ended(backend, way):
    """It gives nothing more, and can be closed again."""
    backend.hangs("Once")
    stream = start(backend.llm(), way)
    if way[0] == "a":
        stream = await stream
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        assert [chunk async for chunk in stream] == []
    else:
        next(stream)
        stream.close()
        stream.close()
        assert list(stream) == []


def test_tokens_of_core_s_stream_can_be_dropped(backend, events):
    """``llm.stream`` wraps the stream once more."""
    backend.hangs("Once")
    for text in backend.llm().stream(STORY, kind="tale"):
        assert text == "Once"
        break
    backend.wait_until_left(1.0)


async def test_tokens_of_core_s_async_stream_can_be_dropped(backend, events):
    """And ``llm.astream``."""
    backend.hangs("Once")
    async for text in await backend.llm().astream(STORY, kind="tale"):
        assert text == "Once"
        break
    await asyncio.to_thread(backend.wait_until_left, 1.0)


@pytest.mark.parametrize("way", ["astream_chat", "astream_complete"])
def test_a_loop_that_ends_leaves_quietly(backend, caplog, way):
    """A stream that is still open when ``asyncio.run`` ends is closed by it, without «already running»."""
    backend.hangs("Once")
    llm, kept = backend.llm(), []

    async def main():
        stream = await start(llm, way)
        kept.append(stream)
        await anext(stream)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    backend.wait_until_left(1.0)
    assert caplog.records == []


@pytest.mark.parametrize("way", STREAMED)
async def test_a_stream_that_is_not_read_asks_nobody(backend, way):
    """Nothing is sent before the first chunk is asked for."""
    backend.says("fine")
    stream = start(backend.llm(), way)
    stream = await stream if way[0] == "a" else stream
    await stream.aclose() if way[0] == "a" else stream.close()
    assert backend.sandbox.requests == []


async def test_a_stream_that_breaks_off_is_no_short_answer(sandbox, backend):
    """The error has what was said."""

    @sandbox.model(backend.model)
    def talk(input):
        yield "Once"
        raise ValueError("out of memory")

    stream = await backend.llm().astream_chat([ChatMessage("Hello")])
    assert (await anext(stream)).delta == "Once"
    with pytest.raises(StreamInterruptedError) as caught:
        await anext(stream)
    assert caught.value.partial_text == "Once"


async def test_the_loop_keeps_ticking(sandbox, backend):
    """Three calls at once take less than half of what they take one after another."""

    @sandbox.model(backend.model)
    def talk(input, run):
        run.pause(0.2)
        yield "fine"

    llm = backend.llm()
    await llm.acomplete("Hello")  # the first call makes connection and SSL context
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    began = time.monotonic()
    for _ in range(3):
        await llm.acomplete("Hello")
    between = time.monotonic()
    await asyncio.gather(*(llm.acomplete("Hello") for _ in range(3)))
    ended = time.monotonic()
    ticking.cancel()
    assert ended - between < (between - began) / 2
    assert ticks > 10


@pytest.mark.parametrize("way", STREAMED)
async def test_a_long_answer_that_comes_at_once_is_not_held_once_for_each_piece(way):
    """Each response holds all of the text so far; it is made when it is asked for."""
    with WireServer() as server:
        server.script = stream(frames(*["0123456789" * 10] * 1000))  # some 500 pieces are read at a time
        client = Client("token", server.base_url)
        responses = start(
            RockAI(model="meta/llama-2-7b-chat", client=client, async_client=AsyncClient.like(client)), way
        )
        if inspect.isawaitable(responses):
            responses = await responses
        count = length = 0
        tracemalloc.start()
        try:
            if way.startswith("a"):
                async for response in responses:
                    count, length = count + 1, len(text_of(response))
            else:
                for response in responses:
                    count, length = count + 1, len(text_of(response))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (count, length) == (1001, 100_000)
    assert peak < 5_000_000
