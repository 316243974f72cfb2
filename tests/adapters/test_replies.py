"""The driving of a reply: what comes out, when the next run begins, how it is left."""

import ast
import asyncio
import inspect
import re
import textwrap
from types import SimpleNamespace

import pytest

from langchain_rockai import should_retry
from rockai_sandbox import Sandbox
from rockai_transport import AsyncClient, BadRequestError, Client, InvalidResponseError, RateLimitError
from rockai_transport.adapters import AsyncChunks, Chunks, ReplyBuilder, arun, run, tool_setup
from rockai_transport.prompting import ChatCall, Message
from rockai_transport.prompting.request.build import ModelSettings

MODEL = "my/hermes"
SYNC_NAMES = {
    "AsyncChunks": "Chunks",
    "AsyncClient": "Client",
    "AsyncGenerator": "Generator",
    "StopAsyncIteration": "StopIteration",
    "__anext__": "__next__",
    "aclose": "close",
    "anext": "next",
    "arun": "run",
    "asend": "send",
    "athrow": "throw",
}
ADD = {"name": "add", "parameters": {"type": "object"}}
CALL = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'


class Words(ReplyBuilder[str, str]):
    """A framework whose chunks are plain texts."""

    def chunks(self, parts):
        return [getattr(part, "text", None) or part.name for part in parts]

    def last_chunk(self):
        return f"({len(self.runs)})"

    def result(self):
        reply = self.reply()
        return reply.text + "".join(call.name for call in reply.tool_calls)


def asked(parser=None, *, stop=(), extra=None, **tools):
    settings = ModelSettings(MODEL, stop=stop, extra=extra or {})
    setup = tool_setup([ADD] if tools else [], tools)
    return Words(ChatCall(settings, (Message("user", "Hi"),), tools=setup), parser)


def without_await(thing):
    """A function's or class's source without its docstrings, as its synchronous twin would have it."""
    source = textwrap.dedent(inspect.getsource(thing)).replace("async ", "").replace("await ", "")
    tree = ast.parse(re.sub(r"\w+", lambda word: SYNC_NAMES.get(word[0], word[0]), source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
        if isinstance(node, ast.ClassDef):
            node.bases = []  # a generator has three type arguments, an asynchronous one two
    return ast.dump(tree)


@pytest.mark.parametrize(
    ("sync", "asynchronous"), [(run, arun), (Chunks, AsyncChunks)], ids=lambda thing: thing.__name__
)
def test_sync_and_async_differ_in_await_alone(sync, asynchronous):
    """What one of them decides, the other decides likewise."""
    assert without_await(sync) == without_await(asynchronous)


@pytest.fixture
def client(rockai_sandbox):
    with Client() as client:
        yield client


@pytest.fixture
def says(rockai_sandbox):
    def script(*answers):
        left = iter(answers)

        @rockai_sandbox.model(MODEL)
        def talk(input):
            yield from next(left)

    return script


async def everything(builders, client):
    """What a reply comes to in each of the four ways."""
    async with AsyncClient() as async_client:
        made = [run(next(builders), client), await arun(next(builders), async_client)]
        chunks = list(Chunks(next(builders), client))
        return made, [chunks, [chunk async for chunk in AsyncChunks(next(builders), async_client)]]


async def test_a_reply_is_the_same_in_all_four_ways(client, says):
    """Run or streamed, with and without await; the last chunk comes behind everything."""
    says(*[["The", " sea", "."]] * 4)
    made, streamed = await everything(iter([asked() for _ in range(4)]), client)
    assert made == ["The sea."] * 2
    assert streamed == [["The", " sea", ".", "(1)"]] * 2


async def test_the_second_run_follows_the_first(client, says):
    """Nothing of a reply that is refused comes out; the metadata are of both runs."""
    says(*[["No."], [CALL]] * 4)
    made, streamed = await everything(iter([asked(tool_choice="required") for _ in range(4)]), client)
    assert made == ["add"] * 2
    assert streamed == [["add", "(2)"]] * 2


def test_a_further_run_that_fails_was_preceded_by_a_paid_one(client, rockai_sandbox):
    """No error of it says that nothing was started: a second call would pay for the first run again."""

    @rockai_sandbox.model(MODEL)
    def talk(input):
        rockai_sandbox.answer_next(429, "{}", headers={"Retry-After": "99"}, method="POST")
        return "No."

    for ask in (run, lambda *given: list(Chunks(*given))):
        with pytest.raises(RateLimitError) as caught:
            ask(asked(tool_choice="required"), client)
        assert caught.value.may_have_started
        assert caught.value.prediction.text == "No."
        assert not should_retry(caught.value)
    assert len(rockai_sandbox.predictions) == 2


def test_pieces_that_came_together_are_taken_together():
    """All that one read brought; what is behind a stop sequence is not looked at."""
    builder = asked(stop=["STOP"])
    assert list(builder.feed(["a", "b ", "c STOP d", "e"])) == ["a", "b ", "c "]
    assert builder.dialogue.cut
    assert list(builder.end(None)) == ["(1)"]


def test_a_listener_hears_of_each_chunk_before_it_is_handed_on(client, says):
    """What it raises ends the stream."""
    says(["a", "b"], ["a", "b"])
    heard = []
    assert list(Chunks(asked(), client, heard.append)) == heard == ["a", "b", "(1)"]

    def refuse(chunk):
        raise ValueError(chunk)

    chunks = Chunks(asked(), client, refuse)
    with pytest.raises(ValueError, match="a"):
        next(chunks)
    assert list(chunks) == []


def test_nothing_is_sent_before_the_first_chunk_is_asked_for(client, rockai_sandbox):
    """A stream that nobody reads costs nothing."""
    Chunks(asked(), client).close()
    assert rockai_sandbox.requests == []


@pytest.mark.parametrize("how", ["close", "throw", "drop"])
def test_leaving_leaves_the_transport_s_stream(client, rockai_sandbox, how):
    """However it is left, the connection is closed, and nothing more comes."""
    gate = rockai_sandbox.hold()

    @rockai_sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()

    chunks = Chunks(asked(), client)
    assert next(chunks) == "one"
    if how == "throw":
        with pytest.raises(KeyError):
            chunks.throw(KeyError("x"))
    elif how == "close":
        chunks.close()
    if how == "drop":
        del chunks
    else:
        assert list(chunks) == []
    assert rockai_sandbox.wait_for("disconnect").path == "/v1/run_sse"


@pytest.mark.parametrize("how", ["aclose", "athrow", "drop"])
async def test_leaving_an_async_stream_does_so_too(rockai_sandbox, how):
    """Likewise."""
    gate = rockai_sandbox.hold()

    @rockai_sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()

    async with AsyncClient() as client:
        chunks = AsyncChunks(asked(), client)
        assert await anext(chunks) == "one"
        if how == "athrow":
            with pytest.raises(KeyError):
                await chunks.athrow(KeyError("x"))
        elif how == "aclose":
            await chunks.aclose()
        if how == "drop":
            del chunks
        else:
            assert [chunk async for chunk in chunks] == []
        assert (await asyncio.to_thread(rockai_sandbox.wait_for, "disconnect")).path == "/v1/run_sse"


def test_an_async_stream_whose_loop_is_gone_awaits_nothing_more():
    """Its coroutine gets a `GeneratorExit`; the stream of the transport then leaves by itself."""

    class Waiting:
        async def __anext__(self):
            await asyncio.sleep(0)

        async def aclose(self):
            await asyncio.sleep(0)

    client = SimpleNamespace(stream=lambda *_, **__: Waiting())
    reading = AsyncChunks(asked(), client).__anext__()
    reading.send(None)
    reading.close()


async def test_an_error_tells_what_mends_it():
    """In all four ways: a key that the model rejected, and the one that was meant."""
    with Sandbox() as sandbox, Client(sandbox.api_token, sandbox.base_url) as client:
        async with AsyncClient(sandbox.api_token, sandbox.base_url) as async_client:

            def wrong():
                settings = ModelSettings("meta/llama-2-7b-chat", extra={"temprature": 1})
                return Words(ChatCall(settings, (Message("user", "Hi"),)))

            with pytest.raises(BadRequestError, match="Did you mean 'temperature'"):
                run(wrong(), client)
            with pytest.raises(BadRequestError, match="Did you mean 'temperature'"):
                await arun(wrong(), async_client)
            with pytest.raises(BadRequestError, match="Did you mean 'temperature'"):
                list(Chunks(wrong(), client))
            with pytest.raises(BadRequestError, match="Did you mean 'temperature'"):
                await anext(AsyncChunks(wrong(), async_client))


def test_a_refused_reply_can_be_read(client, says):
    """As far as it goes, with the calls that it held."""
    says([CALL], [CALL])
    parser = SimpleNamespace(by_call=True, validation_error=lambda reply: "I do not like it.")
    builder = asked(parser, tool_choice="add")
    with pytest.raises(InvalidResponseError) as caught:
        run(builder, client)
    assert [call.name for call in builder.refused(caught.value.body).tool_calls] == ["add"]
