"""What is told of a call besides its text: metadata, tokens, reasoning, traces, profile."""

from functools import reduce
from operator import add

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately, trim_messages

from langchain_rockai import ChatRockAI, Dialect, RockAILLM, __version__
from rockai_sandbox import Sandbox

MODEL = "my/hermes"
MISTRAL = "mistralai/mistral-7b-instruct-v0.1"

beta = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


def merged(chunks):
    return reduce(add, chunks)


def test_the_metadata_name_the_model_of_the_call(scripted, llm):
    """A per-call model, too; status where it is known."""
    scripted("a")
    scripted("b", "c", model="my/other-hermes")
    known = {"model_name": MODEL, "model_provider": "rockai", "status": "succeeded", "finish_reason": "stop"}
    assert llm.invoke("Hi").response_metadata == known
    other = {**known, "model_name": "my/other-hermes"}
    assert llm.invoke("Hi", model="my/other-hermes").response_metadata == other
    assert merged(llm.stream("Hi", model="my/other-hermes")).response_metadata == other


@pytest.mark.parametrize(
    ("said", "reason"), [("a", "stop"), ('{"name": "f", "arguments": {}}', "tool_calls")]
)
async def test_tracers_find_the_reason_of_the_end(scripted, llm, said, reason):
    """OpenTelemetry's handler reads ``generation_info``, and else only Bedrock's ``stopReason``."""
    scripted(*[said] * 4)

    class Tracer(BaseCallbackHandler):
        def on_llm_end(self, response, **kwargs):
            reasons.append(response.generations[0][0].generation_info["finish_reason"])

    reasons, config = [], {"callbacks": [Tracer()]}
    llm = llm.bind_tools([{"title": "f", "description": "F.", "type": "object", "properties": {}}])
    list(llm.stream("Hi", config))
    [chunk async for chunk in llm.astream("Hi", config)]
    llm.invoke("Hi", config)
    await llm.ainvoke("Hi", config)
    assert reasons == [reason] * 4


def test_id_and_metrics_are_told_where_the_service_tells_them():
    """In a whole prediction they are; its id is the run's, not the message's."""
    with Sandbox(run_answer="prediction") as sandbox:
        llm = ChatRockAI(model=MISTRAL, base_url=sandbox.base_url, api_token=sandbox.api_token)
        metadata = llm.invoke("Hello").response_metadata
        assert metadata["id"] == sandbox.predictions[0].id
        assert metadata["metrics"]["predict_time"] >= 0


def test_tokens_are_not_made_up(scripted, llm):
    """A service that reports none gives no usage."""
    scripted("a", "b")
    assert llm.invoke("Hi").usage_metadata is None
    assert merged(llm.stream("Hi")).usage_metadata is None


def test_tokens_are_told_where_the_service_reports_them():
    """Of both runs, where a reply had to be asked for twice."""
    with Sandbox(reports_usage=True, run_answer="prediction") as sandbox:
        answers = iter(["No.", '{"name": "f", "arguments": {}}'])

        @sandbox.model(MODEL)
        def talk(input):
            return next(answers)

        llm = ChatRockAI(model=MISTRAL, base_url=sandbox.base_url, api_token=sandbox.api_token)
        message = llm.invoke("Hello")
        metrics = message.response_metadata["metrics"]
        assert message.usage_metadata == {
            "input_tokens": metrics["input_token_count"],
            "output_tokens": metrics["output_token_count"],
            "total_tokens": metrics["input_token_count"] + metrics["output_token_count"],
        }
        assert message.usage_metadata["output_tokens"] > 0
        f = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
        again = llm.bind_tools([f], tool_choice="any").invoke("Hi", model=MODEL)
        runs = [run.metrics for run in sandbox.predictions[1:]]
        assert again.usage_metadata["input_tokens"] == sum(run["input_token_count"] for run in runs)


def test_reasoning_is_a_content_block_of_its_own(scripted, llm):
    """Invoked and streamed; the text is the answer alone."""
    pieces = ["<thi", "nk>Hm", ", well.", "</think>", "\n\nYes", "."]
    scripted(pieces, pieces)
    for message in (llm.invoke("Is it?"), merged(llm.stream("Is it?"))):
        assert message.content == "Yes."
        assert message.content_blocks == [
            {"type": "reasoning", "reasoning": "Hm, well."},
            {"type": "text", "text": "Yes."},
        ]


@beta
def test_reasoning_is_streamed_apart_in_v3_events(scripted, llm):
    """stream_events v3 has a projection of its own for it."""
    scripted(["<think>", "Hm", "</think>", "Yes"])
    stream = llm.stream_events("Is it?", version="v3")
    assert "".join(stream.reasoning) == "Hm"
    assert "".join(stream.text) == "Yes"


def test_output_version_v1_stores_blocks(scripted, sandbox):
    """Core converts; reasoning, text and calls survive."""
    answer = '<think>Hm</think>Yes.<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    scripted(answer, list(answer))
    f = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
    llm = ChatRockAI(model=MODEL, output_version="v1").bind_tools([f])
    for message in (llm.invoke("Hi"), merged(llm.stream("Hi"))):
        kinds = [block["type"] for block in message.content_blocks]
        assert kinds == ["reasoning", "text", "tool_call"]
        assert message.tool_calls[0]["args"] == {"a": 1}


def test_reasoning_is_not_sent_back(llm):
    """Nor is it in the prompt when it comes as a block."""
    history = [
        HumanMessage("Is it?"),
        AIMessage([{"type": "reasoning", "reasoning": "Hm"}, {"type": "text", "text": "Yes."}]),
        HumanMessage("Sure?"),
    ]
    prompt = llm.preview(history)["input"]["prompt"]
    assert "Yes." in prompt
    assert "Hm" not in prompt


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_tokens_are_counted_without_transformers(cls):
    """Approximately; exactly where the user gives a tokenizer."""
    llm = cls(model=MISTRAL)
    assert llm.get_num_tokens("") == 0
    assert 5 <= llm.get_num_tokens("The quick brown fox jumps over the lazy dog") <= 15
    assert llm.get_num_tokens("你好世界") == 4
    assert llm.get_num_tokens_from_messages([HumanMessage("Hello there")]) > 0
    exact = cls(model=MISTRAL, custom_get_token_ids=lambda text: list(map(ord, text)))
    assert exact.get_num_tokens("Hello") == 5


def test_messages_can_be_trimmed_by_the_model():
    """`trim_messages` counts with the model itself."""
    llm = ChatRockAI(model=MISTRAL)
    messages = [HumanMessage("word " * 100), AIMessage("word " * 100), HumanMessage("Hi")]
    kept = trim_messages(messages, max_tokens=20, token_counter=llm, strategy="last")
    assert kept == messages[-1:]
    assert llm.get_num_tokens_from_messages(kept) < count_tokens_approximately(messages)


@pytest.mark.parametrize(("cls", "kind"), [(ChatRockAI, "chat"), (RockAILLM, "llm")])
def test_traces_name_provider_model_and_parameters(cls, kind):
    """LangSmith's standard parameters; a call's own model wins."""
    llm = cls(model=MISTRAL, temperature=0.0, max_tokens=5, stop=["x"])
    params = llm._get_ls_params()
    assert params["ls_provider"] == "rockai"
    assert params["ls_model_type"] == kind
    assert (params["ls_model_name"], params["ls_temperature"], params["ls_max_tokens"]) == (MISTRAL, 0.0, 5)
    assert llm._get_ls_params(model=MODEL)["ls_model_name"] == MODEL
    assert llm._get_ls_params(model_name=MODEL)["ls_model_name"] == MODEL
    assert params["ls_stop"] == ["x"]
    assert llm._get_ls_params(stop=["y"])["ls_stop"] == ["y"]


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_traces_name_the_versions(cls):
    """Ours beside core's, which a hook of pydantic's must not hide."""
    versions = cls(model=MISTRAL).metadata["lc_versions"]
    assert versions["langchain-rockai"] == __version__
    assert "langchain-core" in versions


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_the_identifying_parameters_are_those_that_were_set(cls):
    """Zero is set; headers and tokens are no parameters."""
    llm = cls(model=MISTRAL, temperature=0.0, default_headers={"X-Secret": "s"}, api_token="t0ken")  # noqa: S106 - none
    assert llm._identifying_params == {"model": MISTRAL, "temperature": 0.0}


def test_the_profile_is_read_off_the_dialect():
    """structured_output is not claimed: `bind_tools` takes no response_format."""
    profile = ChatRockAI(model=MISTRAL).profile
    assert profile["max_input_tokens"] == 8192
    assert profile["tool_calling"] is profile["tool_choice"] is True
    assert profile["image_inputs"] is False
    assert "structured_output" not in profile
    unknown = ChatRockAI(model="my/unknown").profile
    assert unknown["tool_calling"] is False
    assert "max_input_tokens" not in unknown
    seeing = Dialect(name="seeing", chat_template="chatml", image_key="image", context_window=10)
    assert ChatRockAI(model="my/unknown", dialect=seeing).profile["image_inputs"] is True
