"""invoke, stream, their async halves, and who is told of what."""

import asyncio
import threading

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk

from langchain_rockai import ChatRockAI, RockAILLM
from rockai_sandbox import Sandbox
from rockai_transport import StreamInterruptedError

MODEL = "my/hermes"
PIECES = ["The", " sea", ",", "\n", "  the", " sea", "."]
TEXT = "".join(PIECES)

# stream_events v3 warns of being beta, once in a process.
beta = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


def paths(sandbox):
    return [request.path.removeprefix("/v1") for request in sandbox.requests]


async def test_run_serves_invoke_and_the_event_stream_serves_streams(sandbox, scripted, llm):
    """A call is one request, whichever way it is made; the text is exact."""
    scripted(PIECES, PIECES, PIECES, PIECES)
    assert llm.invoke("Hi").content == TEXT
    assert (await llm.ainvoke("Hi")).content == TEXT
    assert "".join(chunk.text for chunk in llm.stream("Hi")) == TEXT
    assert "".join([chunk.text async for chunk in llm.astream("Hi")]) == TEXT
    assert paths(sandbox) == ["/run", "/run", "/run_sse", "/run_sse"]


@pytest.mark.parametrize("generation", ["old", "new"])
@pytest.mark.parametrize("shape", ["flat", "enveloped"])
@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
async def test_both_generations_of_the_service_and_both_shapes_are_served(generation, shape, cls):
    """Where there is no /run, a prediction is created; the text is the same."""
    with Sandbox(generation=generation, shape=shape) as sandbox:

        @sandbox.model(MODEL)
        def talk(input):
            yield from PIECES

        llm = cls(model=MODEL, base_url=sandbox.base_url, api_token=sandbox.api_token)
        answers = [llm.invoke("Hi"), await llm.ainvoke("Hi")]
        streams = [list(llm.stream("Hi")), [chunk async for chunk in llm.astream("Hi")]]
        assert [getattr(answer, "content", answer) for answer in answers] == [TEXT, TEXT]
        texts = [[getattr(chunk, "content", chunk) for chunk in chunks] for chunks in streams]
        assert texts == [[*PIECES, ""]] * 2
        assert len(sandbox.predictions) == 4


def test_each_piece_is_a_chunk_and_the_last_one_has_the_metadata(scripted, llm):
    """Nothing is joined, nothing is split; exactly one chunk names the model."""
    scripted(PIECES)
    *texts, last = llm.stream("Hi")
    assert [chunk.content for chunk in texts] == PIECES
    assert (last.content, last.chunk_position) == ("", "last")
    named = [chunk for chunk in (*texts, last) if chunk.response_metadata]
    assert [chunk.response_metadata["model_name"] for chunk in named] == [MODEL]
    assert {chunk.id for chunk in (*texts, last)} == {last.id}


def test_callbacks_hear_of_each_chunk_once_in_stream(scripted, llm, tokens):
    """on_llm_new_token: core fires it, and nobody fires it again."""
    scripted(PIECES)
    list(llm.stream("Hi", {"callbacks": [tokens]}))
    assert tokens.tokens == [*PIECES, ""]


async def test_callbacks_hear_of_each_chunk_once_in_astream(scripted, llm, async_tokens):
    """on_llm_new_token, async."""
    scripted(PIECES)
    _ = [chunk async for chunk in llm.astream("Hi", {"callbacks": [async_tokens]})]
    assert async_tokens.tokens == [*PIECES, ""]


async def test_streaming_is_invoked_through_the_stream(sandbox, scripted, tokens):
    """`streaming=True`: callbacks hear of each chunk once, in invoke and ainvoke too."""
    scripted(PIECES, PIECES)
    llm = ChatRockAI(model=MODEL, streaming=True)
    assert llm.invoke("Hi", {"callbacks": [tokens]}).content == TEXT
    assert tokens.tokens == [*PIECES, ""]
    tokens.tokens.clear()
    assert (await llm.ainvoke("Hi", {"callbacks": [tokens]})).content == TEXT
    assert tokens.tokens == [*PIECES, ""]
    assert paths(sandbox) == ["/run_sse", "/run_sse"]


@beta
def test_callbacks_hear_of_each_chunk_once_in_v3_events(scripted, llm, tokens):
    """stream_events v3 leaves the firing to `_stream` (langchain_core, `_iter_v2_events`)."""
    scripted(PIECES)
    stream = llm.stream_events("Hi", {"callbacks": [tokens]}, version="v3")
    assert "".join(stream.text) == TEXT
    assert stream.output.response_metadata["model_name"] == MODEL
    assert tokens.tokens == [*PIECES, ""]


@beta
async def test_callbacks_hear_of_each_chunk_once_in_async_v3_events(scripted, llm, async_tokens):
    """astream_events v3, likewise."""
    scripted(PIECES)
    stream = await llm.astream_events("Hi", {"callbacks": [async_tokens]}, version="v3")
    assert "".join([text async for text in stream.text]) == TEXT
    assert async_tokens.tokens == [*PIECES, ""]


async def test_an_empty_answer_is_one_chunk(sandbox, llm):
    """Core raises where a stream yields nothing at all."""

    @sandbox.model(MODEL)
    def say_nothing(input):
        return []

    assert llm.invoke("Hi").content == ""
    assert [chunk.content for chunk in llm.stream("Hi")] == [""]
    assert [chunk.content async for chunk in llm.astream("Hi")] == [""]


async def test_a_subclass_streams_as_with_any_chat_model(scripted):
    """The prompt is called `messages`, as in core; with `streaming=True`, invoke uses that stream too."""

    class Loud(ChatRockAI):
        def _stream(self, messages, stop=None, run_manager=None, **kwargs):
            for chunk in super()._stream(messages=messages, stop=stop, run_manager=run_manager, **kwargs):
                yield ChatGenerationChunk(message=AIMessageChunk(chunk.text.upper()))

        async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
            async for chunk in super()._astream(
                messages=messages, stop=stop, run_manager=run_manager, **kwargs
            ):
                yield ChatGenerationChunk(message=AIMessageChunk(chunk.text.upper()))

    scripted("sea", "sea")
    llm = Loud(model=MODEL, streaming=True)
    assert llm.invoke("Hi").text == (await llm.ainvoke("Hi")).text == "SEA"


async def test_nothing_comes_behind_an_error(sandbox, llm):
    """A broken stream does not end well when it is asked once more."""

    @sandbox.model(MODEL)
    def talk(input):
        yield "half"
        raise RuntimeError("broken")

    chunks, async_chunks = llm._stream([HumanMessage("Hi")]), llm._astream([HumanMessage("Hi")])
    assert (next(chunks).text, (await anext(async_chunks)).text) == ("half", "half")
    with pytest.raises(StreamInterruptedError):
        next(chunks)
    with pytest.raises(StreamInterruptedError):
        await anext(async_chunks)
    assert list(chunks) == []
    assert [chunk async for chunk in async_chunks] == []


def test_a_callback_that_raises_ends_the_stream(sandbox, llm, tokens):
    """The model is not listened to any longer."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()

    class Refuses(type(tokens)):
        raise_error = True

        def on_llm_new_token(self, token, **kwargs):
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(llm.stream("Hi", {"callbacks": [Refuses()]}))
    assert sandbox.wait_for("disconnect").path == "/v1/run_sse"


def test_leaving_a_stream_early_leaves_at_once(sandbox, llm):
    """close() closes the connection while the model is still talking."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()
        yield "two"

    stream = llm.stream("Hi")
    assert next(stream).content == "one"
    stream.close()
    assert sandbox.wait_for("disconnect").path == "/v1/run_sse"


@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_leaving_an_async_stream_early_leaves_at_once(sandbox, llm, how):
    """aclose(), or canceling the task that reads."""
    gate, read = sandbox.hold(), asyncio.Event()

    @sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()

    stream = llm.astream("Hi")

    async def follow():
        async for _ in stream:
            read.set()

    if how == "aclose":
        await anext(stream)
        await stream.aclose()
    else:
        task = asyncio.create_task(follow())
        await read.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await asyncio.to_thread(sandbox.wait_for, "disconnect")).path == "/v1/run_sse"


def test_a_prediction_that_has_an_id_is_canceled_on_leaving(sandbox, llm):
    """route="predictions" gives one."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()

    stream = ChatRockAI(model=MODEL, route="predictions").stream("Hi")
    next(stream)
    stream.close()
    assert sandbox.wait_for("canceled").model == MODEL


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_a_stream_that_is_left_as_its_event_loop_ends_is_canceled_all_the_same(sandbox, cls):
    """The last thing that `asyncio.run` runs: core closes no generator that it reads from."""

    @sandbox.model(MODEL)
    def talk(input, run):
        while True:
            yield "x"
            run.pause(0.01)

    llm = cls(model=MODEL, route="predictions")

    async def main():
        async for _ in llm.astream("Hi"):
            break

    asyncio.run(main())
    assert sandbox.wait_for("canceled").model == MODEL


async def test_cancelling_ainvoke_ends_the_request(sandbox, llm):
    """The connection is closed, not left to a thread."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        gate.wait()
        return "late"

    task = asyncio.create_task(llm.ainvoke("Hi"))
    await asyncio.to_thread(gate.wait_until_reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(sandbox.wait_for, "disconnect")).path == "/v1/run"


def test_a_cold_model_is_waited_for(sandbox, llm):
    """It is asked once, however long it takes to start."""
    cold = sandbox.hold()

    @sandbox.model(MODEL, cold_start=cold)
    def talk(input):
        return "awake"

    stream = llm.stream("Hi")
    threading.Thread(target=lambda: (cold.wait_until_reached(), cold.set())).start()
    assert next(stream).content == "awake"
    stream.close()
    assert paths(sandbox) == ["/run_sse"]


def test_the_stop_sequence_is_cut_across_pieces_and_the_stream_is_left(sandbox):
    """No part of it comes out, and the model is not listened to any longer."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield from ("one", " EN", "D", " two")
        gate.wait()

    llm = ChatRockAI(model=MODEL, stop=["END"])
    assert [chunk.content for chunk in llm.stream("Hi")] == ["one", " ", ""]
    assert sandbox.wait_for("disconnect").path == "/v1/run_sse"


async def test_a_stop_sequence_of_a_call_replaces_the_model_s(scripted, sandbox):
    """In all four ways, given as a list or as one string."""
    scripted(*[["a1b", "2c"]] * 5)
    llm = ChatRockAI(model=MODEL, stop="1")
    assert llm.invoke("Hi").content == "a"
    assert llm.invoke("Hi", stop=["2"]).content == "a1b"
    assert llm.invoke("Hi", stop="2").content == "a1b"
    assert (await llm.ainvoke("Hi", stop=["2"])).content == "a1b"
    assert llm.invoke("Hi", stop=[]).content == "a1b2c"


async def test_batches_run_at_once(sandbox, llm):
    """None of four calls ends before all have begun."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        gate.wait()
        return "done"

    threading.Thread(target=lambda: (gate.wait_until_reached(8), gate.set())).start()
    calls = asyncio.create_task(llm.abatch(["a", "b", "c", "d"]))
    answers = await asyncio.to_thread(llm.batch, ["e", "f", "g", "h"])
    assert [answer.content for answer in (*answers, *await calls)] == ["done"] * 8


def test_chunks_add_up_to_the_message_that_invoke_gives(scripted, llm):
    """Metadata, ids and text are the same."""
    scripted(PIECES, PIECES)
    whole = sum(llm.stream("Hi"), AIMessageChunk(content=""))
    invoked = llm.invoke("Hi")
    assert whole.content == invoked.content
    assert whole.response_metadata == invoked.response_metadata
