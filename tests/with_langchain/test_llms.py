"""RockAILLM: text in, text out; files as addresses."""

import asyncio
import threading
import time

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate

from langchain_rockai import RockAILLM
from rockai_sandbox import Sandbox
from rockai_transport import ConfigurationError, PredictionFailedError, RockAIError

MODEL = "my/hermes"
PIECES = ["The", " sea", ",", "\n", "  the", " sea", "."]
TEXT = "".join(PIECES)


def paths(sandbox):
    return [request.path.removeprefix("/v1") for request in sandbox.requests]


async def test_all_four_ways_give_the_same_text(sandbox, scripted, text_llm):
    """/run serves invoke, the event stream serves streaming."""
    asked = scripted(PIECES, PIECES, PIECES, PIECES)
    assert text_llm.invoke("Hi") == TEXT
    assert await text_llm.ainvoke("Hi") == TEXT
    assert list(text_llm.stream("Hi")) == [*PIECES, ""]
    assert [text async for text in text_llm.astream("Hi")] == [*PIECES, ""]
    assert paths(sandbox) == ["/run", "/run", "/run_sse", "/run_sse"]
    assert asked.inputs == [{"prompt": "Hi"}] * 4


async def test_callbacks_hear_of_each_chunk_once(scripted, text_llm, tokens, async_tokens):
    """In stream and astream; core leaves the firing to `_stream` (BaseLLM.stream)."""
    scripted(PIECES, PIECES)
    list(text_llm.stream("Hi", {"callbacks": [tokens]}))
    _ = [text async for text in text_llm.astream("Hi", {"callbacks": [async_tokens]})]
    assert tokens.tokens == [*PIECES, ""] == async_tokens.tokens


async def test_streaming_is_invoked_through_the_stream(sandbox, scripted, tokens):
    """`streaming=True`: callbacks hear of each chunk in invoke too."""
    scripted(PIECES, PIECES)
    llm = RockAILLM(model=MODEL, streaming=True)
    assert llm.invoke("Hi", {"callbacks": [tokens]}) == TEXT
    assert await llm.ainvoke("Hi", {"callbacks": [tokens]}) == TEXT
    assert tokens.tokens == [*PIECES, ""] * 2
    assert paths(sandbox) == ["/run_sse", "/run_sse"]


async def test_a_subclass_may_stream_in_its_own_way(scripted):
    """Core asks for an iterator of chunks, so a generator will do; with `streaming=True`, in invoke too."""

    class Loud(RockAILLM):
        def _stream(self, prompt, stop=None, run_manager=None, **kwargs):
            for chunk in super()._stream(prompt=prompt, stop=stop, run_manager=run_manager, **kwargs):
                yield chunk.model_copy(update={"text": chunk.text.upper()})

        async def _astream(self, prompt, stop=None, run_manager=None, **kwargs):
            async for chunk in super()._astream(prompt=prompt, stop=stop, run_manager=run_manager, **kwargs):
                yield chunk.model_copy(update={"text": chunk.text.upper()})

    scripted(PIECES, PIECES)
    llm = Loud(model=MODEL, streaming=True)
    assert llm.invoke("Hi") == await llm.ainvoke("Hi") == TEXT.upper()


async def test_stop_sequences_are_cut(scripted, sandbox):
    """Across pieces, in all four ways; a call's own replace the constructor's."""
    scripted(*[["one", " EN", "D", " two"]] * 5)
    llm = RockAILLM(model=MODEL, stop="END")
    assert llm.invoke("Hi") == "one "
    assert await llm.ainvoke("Hi") == "one "
    assert list(llm.stream("Hi")) == ["one", " ", ""]
    assert [text async for text in llm.astream("Hi")] == ["one", " ", ""]
    assert llm.invoke("Hi", stop=["ne"]) == "o"


async def test_the_metadata_are_in_generation_info(scripted, text_llm):
    """Of each generation; of a stream in its last chunk."""
    scripted("one", "two", "three", ["<think>hm", "</think>", "four"])
    known = {"model_name": MODEL, "model_provider": "rockai", "status": "succeeded", "finish_reason": "stop"}
    assert text_llm.generate(["Hi"]).generations[0][0].generation_info == known
    assert (await text_llm.agenerate(["Hi"])).generations[0][0].generation_info == known
    last = list(text_llm._stream("Hi"))[-1]
    assert (last.text, last.generation_info) == ("", known)
    thought = text_llm.generate(["Hi"]).generations[0][0]
    assert (thought.text, thought.generation_info) == ("four", {**known, "reasoning": "hm"})


def test_a_prediction_s_id_and_metrics_are_known_where_the_service_tells_them():
    """Token counts too, if it reports any."""
    with Sandbox(reports_usage=True, run_answer="prediction") as sandbox:
        llm = RockAILLM(model="meta/llama-2-7b-chat", base_url=sandbox.base_url, api_token=sandbox.api_token)
        info = llm.generate(["Hello"]).generations[0][0].generation_info
        assert info["id"] == sandbox.predictions[0].id
        assert info["metrics"]["predict_time"] >= 0
        assert info["usage_metadata"]["total_tokens"] == sum(
            info["metrics"][key] for key in ("input_token_count", "output_token_count")
        )


async def test_batches_take_less_than_half_the_time(sandbox, text_llm):
    """Eight calls, against the same eight one after another."""

    @sandbox.model(MODEL)
    def talk(input, run):
        run.pause(0.1)
        return input["prompt"]

    prompts = [str(number) for number in range(8)]
    text_llm.invoke("warm up")
    began = time.perf_counter()
    assert [text_llm.invoke(prompt) for prompt in prompts] == prompts
    one_by_one, began = time.perf_counter() - began, time.perf_counter()
    assert text_llm.batch(prompts) == prompts
    batch, began = time.perf_counter() - began, time.perf_counter()
    assert await text_llm.abatch(prompts) == prompts
    abatch = time.perf_counter() - began
    assert batch < one_by_one / 2
    assert abatch < one_by_one / 2


async def test_prompts_given_together_run_at_once(sandbox, text_llm):
    """In generate and agenerate none ends before all have begun."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        gate.wait()
        return input["prompt"]

    prompts = [str(number) for number in range(6)]
    threading.Thread(target=lambda: (gate.wait_until_reached(12), gate.set())).start()
    task = asyncio.create_task(text_llm.agenerate(prompts))
    result = await asyncio.to_thread(text_llm.generate, prompts)
    for answers in (result, await task):
        assert [generations[0].text for generations in answers.generations] == prompts


async def test_a_failure_in_a_batch_is_that_prompt_s_alone(sandbox, text_llm):
    """What the others paid for is not lost."""

    @sandbox.model(MODEL)
    def talk(input):
        if input["prompt"] == "bad":
            raise RuntimeError("out of memory")
        return input["prompt"]

    for answers in (
        text_llm.batch(["a", "bad", "b"], return_exceptions=True),
        await text_llm.abatch(["a", "bad", "b"], return_exceptions=True),
    ):
        assert [answers[0], answers[2]] == ["a", "b"]
        assert isinstance(answers[1], RockAIError)


def test_a_batch_keeps_to_max_concurrency(sandbox, text_llm):
    """The second call begins when the first has ended."""
    running, most = [], []

    @sandbox.model(MODEL)
    def talk(input):
        running.append(1)
        most.append(len(running))
        running.pop()
        return input["prompt"]

    assert text_llm.batch(["a", "b", "c"], {"max_concurrency": 1}) == ["a", "b", "c"]
    assert most == [1, 1, 1]


def test_an_image_model_gives_the_address_of_its_image(sandbox):
    """In invoke and stream; parameters that it does not take are refused."""
    llm = RockAILLM(model="incomingflyingbrick/flux-1-schnell")
    assert llm.invoke("A cat").endswith(".png")
    assert "".join(llm.stream("A cat")).endswith(".png")
    with pytest.raises(ConfigurationError, match="takes no 'temperature'"):
        llm.invoke("A cat", temperature=1)


def test_a_video_model_that_fails_says_so(sandbox):
    """As every other model."""

    @sandbox.model("my/video")
    def film(input):
        raise RuntimeError("no frames")

    with pytest.raises(PredictionFailedError, match="no frames"):
        RockAILLM(model="my/video", route="predictions").invoke("A cat")


def test_an_empty_answer_is_one_chunk(sandbox, text_llm):
    """Core raises where a stream yields nothing."""

    @sandbox.model(MODEL)
    def say_nothing(input):
        return []

    assert text_llm.invoke("Hi") == ""
    assert list(text_llm.stream("Hi")) == [""]


def test_leaving_a_stream_early_leaves_at_once(sandbox, text_llm):
    """While the model is still talking."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield "one"
        gate.wait()

    stream = text_llm.stream("Hi")
    assert next(stream) == "one"
    stream.close()
    assert sandbox.wait_for("disconnect").path == "/v1/run_sse"


def test_a_cache_tells_settings_apart(scripted, sandbox):
    """The same call hits; another temperature, even zero, does not."""
    scripted("one", "two")
    cache = InMemoryCache()
    for temperature, text in ((None, "one"), (0.0, "two"), (None, "one"), (0.0, "two")):
        assert RockAILLM(model=MODEL, cache=cache, temperature=temperature).invoke("Hi") == text


@pytest.mark.parametrize(
    ("settings", "call", "text"),
    [
        ({"stop": ["b"]}, {}, "a"),
        ({"stop": ["c"]}, {}, "ab"),
        ({"stop": ["c"]}, {"stop": []}, "abc"),
        ({}, {"stop": "b"}, "a"),
        ({}, {"temperature": 0.5}, "abc"),
        ({"stop": ["c"]}, {"temperature": 0.5}, "ab"),
        ({}, {"model": "my/other"}, "other"),
    ],
)
async def test_a_cache_tells_stop_sequences_and_calls_apart(sandbox, settings, call, text):
    """Core's keys hold no parameter of a call, and its stop sequences in place of the model's."""
    sandbox.model(MODEL)(lambda input: "abc")
    sandbox.model("my/other")(lambda input: "other")
    cache = InMemoryCache()
    assert RockAILLM(model=MODEL, cache=cache, stop=["a"]).invoke("Hi") == ""
    assert RockAILLM(model=MODEL, cache=cache, temperature=0.1).invoke("Hi") == "abc"
    llm = RockAILLM(model=MODEL, cache=cache, **settings)
    assert llm.invoke("Hi", {"tags": ["x"]}, **call) == text
    assert await llm.ainvoke("Hi", {"metadata": {"x": 1}}, **call) == text
    assert len(sandbox.predictions) == 3


@pytest.mark.parametrize("prompt", [5, None, b"Hi", ["Hi"]])
async def test_a_prompt_is_a_text(sandbox, text_llm, prompt):
    """Core does not look at those of a list; bytes would have been sent as a file. No other one is sent."""
    with pytest.raises(ConfigurationError, match="A prompt must be a text, not"):
        text_llm.generate(["Hi", prompt])
    with pytest.raises(ConfigurationError, match="A prompt must be a text, not"):
        await text_llm.agenerate(["Hi", prompt])
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("kind", "says"),
    [("image", "RockAILLM takes text only.*Use ChatRockAI"), ("audio", "cannot be sent audio")],
)
async def test_a_file_in_a_message_is_refused_before_anything_is_sent(sandbox, text_llm, kind, says):
    """Core makes one text of messages, and leaves files out of it (langchain_core/messages/utils.py)."""
    file = {"type": kind, "base64": "AAAA", "mime_type": f"{kind}/x"}
    messages = [HumanMessage([{"type": "text", "text": "What is it?"}, file])]
    for attempt in (text_llm.invoke, text_llm.preview, lambda asked: next(text_llm.stream(asked))):
        with pytest.raises(ConfigurationError, match=says):
            attempt(messages)
    with pytest.raises(ConfigurationError, match=says):
        await text_llm.abatch([messages])
    assert not sandbox.requests
    assert text_llm.preview([HumanMessage(["one", " two"])])["input"] == {"prompt": "Human: one two"}


async def test_prompts_given_together_end_together(sandbox, text_llm):
    """Nothing goes on behind the error of one of them, with `await` as without."""
    gate = sandbox.hold()
    ended = []

    @sandbox.model(MODEL)
    def say(input):
        if input["prompt"] == "bad":
            raise RuntimeError("no")
        gate.wait()
        ended.append(input["prompt"])
        return "one"

    asyncio.get_running_loop().call_later(0.2, gate.set)
    with pytest.raises(RockAIError):
        await text_llm.agenerate(["bad", "good"])
    assert ended == ["good"]


def test_it_is_a_part_of_chains(scripted, text_llm):
    """As every Runnable."""
    asked = scripted("Paris.")
    chain = PromptTemplate.from_template("The capital of {country}?") | text_llm
    assert chain.invoke({"country": "France"}) == "Paris."
    assert asked.inputs == [{"prompt": "The capital of France?"}]
