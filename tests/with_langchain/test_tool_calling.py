"""Tools for models that have none: bound, called, forced, answered."""

import itertools
import json
import operator
from collections.abc import Callable
from functools import reduce

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import AliasChoices, BaseModel, Field

from langchain_rockai import ChatRockAI
from rockai_transport import Client, ConfigurationError, InvalidResponseError

MODEL = "my/hermes"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def now() -> str:
    """Tell the time."""
    return "noon"


class Subtract(BaseModel):
    """Subtract b from a."""

    a: int
    b: int


CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
NOW = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'


def calls(message):
    return [(call["name"], call["args"]) for call in message.tool_calls]


def merged(chunks):
    return sum(chunks, AIMessageChunk(content=""))


@pytest.mark.parametrize(
    "answer",
    [
        CALL,
        '{"name": "add", "arguments": {"a": 1, "b": 2}}',
        '```json\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n```',
        "{'name': 'add', 'arguments': {'a': 1, 'b': 2}}",
        f"I will add them.\n{CALL}",
    ],
    ids=["tagged", "bare", "fenced", "python", "behind text"],
)
async def test_calls_are_read_in_all_forms_and_in_all_ways_of_calling(scripted, llm, answer):
    """Invoked or streamed, character by character too, they are the same."""
    scripted(answer, answer, answer, list(answer))
    bound = llm.bind_tools([add])
    expected = [("add", {"a": 1, "b": 2})]
    assert calls(bound.invoke("1 + 2?")) == expected
    assert calls(await bound.ainvoke("1 + 2?")) == expected
    assert calls(merged(bound.stream("1 + 2?"))) == expected
    streamed = merged([chunk async for chunk in bound.astream("1 + 2?")])
    assert calls(streamed) == expected
    assert streamed.content.strip() in {"", "I will add them."}


def test_several_calls_are_several(scripted, llm):
    """Each with an id of its own; parallel_tool_calls=False keeps the first."""
    scripted(f"{CALL}\n{NOW}", f"{CALL}\n{NOW}", f"{CALL}\n{NOW}")
    message = llm.bind_tools([add, now]).invoke("Hi")
    assert calls(message) == [("add", {"a": 1, "b": 2}), ("now", {})]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert calls(merged(llm.bind_tools([add, now]).stream("Hi"))) == calls(message)
    alone = llm.bind_tools([add, now], parallel_tool_calls=False)
    assert calls(alone.invoke("Hi")) == [("add", {"a": 1, "b": 2})]


def test_text_streams_on_while_tools_are_bound(scripted, llm):
    """Only what begins like a call is held back; it comes out as tool_call_chunks."""
    scripted(["I", " will", " add", ":\n", *CALL])
    chunks = list(llm.bind_tools([add]).stream("Hi"))
    assert [chunk.content for chunk in chunks[:3]] == ["I", " will", " add"]
    assert "<" not in merged(chunks).content
    (call,) = itertools.chain.from_iterable(chunk.tool_call_chunks for chunk in chunks)
    assert (call["name"], json.loads(call["args"])) == ("add", {"a": 1, "b": 2})


MIXED = f"<think>Hm</think>First.\n{CALL}\n{NOW}\nThen I wait."


@pytest.mark.parametrize("version", [None, "v1"])
def test_text_between_calls_does_not_run_into_them(scripted, sandbox, version):
    """Core merges streamed blocks by number; in its v1 form, too, each stays itself."""
    scripted(MIXED, list(MIXED))
    llm = ChatRockAI(model=MODEL, output_version=version).bind_tools([add, now])
    invoked, streamed = llm.invoke("Hi"), reduce(operator.add, llm.stream("Hi"))
    for message in (invoked, streamed):
        assert calls(message) == [("add", {"a": 1, "b": 2}), ("now", {})]
        texts = [block["text"] for block in message.content_blocks if block["type"] == "text"]
        assert "".join(texts).split() == ["First.", "Then", "I", "wait."]
        kinds = [block["type"] for block in message.content_blocks]
        assert (kinds.count("reasoning"), kinds.count("tool_call")) == (1, 2)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_calls_are_told_apart_in_v3_events(scripted, llm):
    """Two calls are two, and the text around them is text."""
    scripted(list(MIXED))
    output = llm.bind_tools([add, now]).stream_events("Hi", version="v3").output
    assert calls(output) == [("add", {"a": 1, "b": 2}), ("now", {})]
    assert output.text.split() == ["First.", "Then", "I", "wait."]


BROKEN = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": </tool_call>'


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_a_broken_call_is_an_invalid_one_in_v3_events(scripted, llm):
    """Core reads no call from a chunk that has text too, so its text comes before it."""
    scripted("Wait. " + BROKEN)
    output = llm.bind_tools([add]).stream_events("Hi", version="v3").output
    assert [invalid["name"] for invalid in output.invalid_tool_calls] == ["add"]
    assert output.text == "Wait. " + BROKEN


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        (BROKEN, '{"a": 1, "b":'),
        ('{"name": "add", "arguments": {"a": 1, "b"', '{"a": 1, "b"'),
        ('<tool_call>{"name": "add", "arguments": {"a": 1, "b": }}</tool_call>', '{"a": 1, "b": }'),
    ],
)
def test_a_broken_call_is_an_invalid_one_streamed_too(scripted, llm, answer, arguments):
    """Its arguments are the model's own: streamed without the bracket by which core would repair them."""
    scripted(answer, answer, list(answer), list(answer))
    bound = llm.bind_tools([add])
    invoked, streamed = bound.invoke("Hi"), merged(bound.stream("Hi"))
    for message in (invoked, streamed):
        assert message.tool_calls == []
        (invalid,) = message.invalid_tool_calls
        assert invalid["name"] == "add"
        assert invalid["args"].removeprefix("{") == arguments.removeprefix("{")
        assert message.content == answer
    assert invoked.invalid_tool_calls[0]["args"] == arguments
    assert "JSON" in invoked.invalid_tool_calls[0]["error"]
    again = llm.preview([HumanMessage("Hi"), invoked, HumanMessage("Once more, please.")])
    assert again["input"]["prompt"].count(answer) == 1
    assert again["input"]["prompt"].count('"name": "add"') == 1


@pytest.mark.timeout(20)
def test_a_long_call_that_was_cut_off_takes_no_time_streamed(scripted, llm):
    """Core repairs a call at each step: 40,000 characters took it ten seconds. They are in the content."""
    answer = '<tool_call>{"name": "add", "arguments": {"a": "' + "2 + " * 50_000
    scripted(["Hm. ", answer])
    streamed = merged(llm.bind_tools([add]).stream("Hi"))
    (invalid,) = streamed.invalid_tool_calls
    assert answer.split("{", 2)[2].startswith(invalid["args"])
    assert streamed.content == "Hm. " + answer


def test_a_call_of_an_unknown_tool(scripted, llm):
    """Tagged it is a call, which an agent answers; bare it is text; never an exception."""
    other = '{"name": "divide", "arguments": {}}'
    scripted(f"<tool_call>{other}</tool_call>", other)
    bound = llm.bind_tools([add])
    assert calls(bound.invoke("Hi")) == [("divide", {})]
    assert bound.invoke("Hi").content == other


@pytest.mark.parametrize(
    "choice", ["any", "required", "add", True, {"type": "function", "function": {"name": "add"}}]
)
async def test_a_forced_call_is_asked_for_once_more(scripted, llm, choice):
    """In all ways of calling; the second run is shown what was wrong, and its reply is the answer."""
    asked = scripted(*["I would rather talk.", CALL] * 4)
    bound = llm.bind_tools([add], tool_choice=choice)
    messages = [
        bound.invoke("Hi"),
        await bound.ainvoke("Hi"),
        merged(bound.stream("Hi")),
        merged([chunk async for chunk in bound.astream("Hi")]),
    ]
    assert [calls(message) for message in messages] == [[("add", {"a": 1, "b": 2})]] * 4
    assert {message.content for message in messages} == {""}
    assert len(asked.inputs) == 8
    assert "You must call" in asked.inputs[0]["prompt"]
    assert "I would rather talk." in asked.inputs[1]["prompt"]


def test_a_forced_call_that_never_comes_is_an_error(scripted, llm):
    """After two runs, not more; nothing was streamed of either."""
    asked = scripted("No.", "No!", "No.", "No!")
    bound = llm.bind_tools([add], tool_choice="any")
    with pytest.raises(InvalidResponseError, match="asked twice") as caught:
        bound.invoke("Hi")
    assert (caught.value.body, caught.value.may_have_started) == ("No!", True)
    heard = []
    with pytest.raises(InvalidResponseError):
        heard.extend(bound.stream("Hi"))
    assert heard == []
    assert len(asked.inputs) == 4


def test_nothing_is_streamed_before_a_forced_call_was_found(scripted, llm):
    """Then what was held comes out, right before it."""
    scripted(["Let", " me ", "see.\n", *CALL])
    chunks = list(llm.bind_tools([add], tool_choice="any").stream("Hi"))
    assert calls(merged(chunks)) == [("add", {"a": 1, "b": 2})]
    assert merged(chunks).content.strip() == "Let me see."


def test_none_means_no_tools(scripted, llm):
    """The model is not told of them, and what looks like a call is text."""
    asked = scripted(CALL)
    message = llm.bind_tools([add], tool_choice="none").invoke("Hi")
    assert (message.content, message.tool_calls) == (CALL, [])
    assert asked.inputs == [{"prompt": "Hi"}]


@pytest.mark.parametrize(
    ("choice", "words"), [("ad", "did you mean 'add'"), (True, "there are several"), (5, "none of the forms")]
)
def test_a_choice_that_fits_no_tool_is_refused_when_it_is_bound(llm, choice, words):
    """Naming the nearest."""
    with pytest.raises(ConfigurationError, match=words):
        llm.bind_tools([add, now], tool_choice=choice)


def test_tools_come_in_every_form(llm):
    """Tools, functions, pydantic classes, OpenAI's schemas; one that is bound twice is one."""

    def multiply(a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b

    schema = {
        "type": "function",
        "function": {"name": "power", "description": "Raise.", "parameters": {"type": "object"}},
    }
    bound = llm.bind_tools([add, multiply, Subtract, schema, add])
    prompt = llm.preview("Hi", **bound.kwargs)["input"]["prompt"]
    assert [name in prompt for name in ("add", "multiply", "Subtract", "power")] == [True] * 4
    assert prompt.count('{"name": "add"') == 1


def test_strict_is_no_input_of_the_model(llm):
    """It is for services that check schemas."""
    bound = llm.bind_tools([add], strict=True)
    assert "strict" not in llm.preview("Hi", **bound.kwargs, strict=True)["input"]


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search_preview"},
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "custom", "name": "code", "description": "Code."},
    ],
)
def test_another_provider_s_own_tools_are_refused(llm, tool):
    """They run on its servers, with a name and without."""
    with pytest.raises(ConfigurationError, match=f"'{tool['type']}' is run by another provider"):
        llm.bind_tools([tool])


def with_a_function(call: Callable[[int], int]) -> None:
    """No JSON schema describes its argument."""


@pytest.mark.parametrize("tools", [None, now, "now", [5], [int], [{"a": 1}], [with_a_function]])
def test_what_is_no_list_of_tools_is_refused(llm, tools):
    """With our error, as in LlamaIndex."""
    with pytest.raises(ConfigurationError, match="must be a list of tools"):
        llm.bind_tools(tools)


@pytest.mark.parametrize("tool", [{"name": ""}, {"type": "function", "function": {"name": ""}}])
def test_a_tool_without_a_name_is_refused(llm, tool):
    """No model could call it."""
    with pytest.raises(ConfigurationError, match="function schemas with a name"):
        llm.bind_tools([{**tool, "description": "Nothing."}])


def test_a_class_of_tools_is_refused(llm):
    """Its own fields are no arguments."""

    class Power(BaseTool):
        name: str = "power"
        description: str = "Raise a to b."

        def _run(self, a: int, b: int) -> int:
            return a**b

    with pytest.raises(ConfigurationError, match=r"pass an instance, Power\(…\)"):
        llm.bind_tools([Power])


def test_a_tool_whose_schema_refers_to_nothing_is_refused(llm):
    """As some MCP servers have them."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Missing"}}}
    remote = StructuredTool.from_function(add.func, name="remote", args_schema=schema)
    with pytest.raises(ConfigurationError, match="Missing' not found"):
        llm.bind_tools([remote])


@pytest.mark.parametrize(
    "schema",
    [
        {"title": "power", "type": "object", "properties": {"a": {"type": "integer"}}},
        {"name": "power", "type": "object", "properties": {"a": {"type": "integer"}}},
        {"name": "power", "type": ["object", "null"], "properties": {"a": {"type": "integer"}}},
        {"name": "power", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        {"type": "custom", "name": "power", "input_schema": {"properties": {"a": {"type": "integer"}}}},
        {"type": "function", "name": "power", "parameters": {"properties": {"a": {"type": "integer"}}}},
    ],
)
def test_a_schema_s_properties_are_the_arguments(llm, schema):
    """Whatever names it."""
    [tool] = llm.bind_tools([schema]).kwargs["tools"]
    assert tool["function"]["name"] == "power"
    assert tool["function"]["parameters"]["properties"] == {"a": {"type": "integer"}}


@pytest.mark.parametrize("alias", [{"alias": "A"}, {"validation_alias": AliasChoices("A", "other")}])
def test_a_tool_s_arguments_are_named_as_its_class_accepts_them(scripted, llm, alias):
    """Core shows the model the fields' own names, which the tool then refuses."""

    class Numbers(BaseModel):
        a: int = Field(**alias)
        b: int

    plus = StructuredTool.from_function(add.func, name="plus", args_schema=Numbers)
    scripted('<tool_call>{"name": "plus", "arguments": {"A": 1, "b": 2}}</tool_call>')
    bound = llm.bind_tools([plus])
    assert bound.kwargs["tools"][0]["function"]["parameters"]["required"] == ["A", "b"]
    [call] = bound.invoke("1 + 2?").tool_calls
    assert plus.invoke(call).content == "3"


def test_results_return_to_the_prompt(scripted, llm):
    """By the name of their call, errors as errors; their text ends no turn and no tag."""
    asked = scripted("3.")
    history = [
        HumanMessage("1 + 2, and the time?"),
        AIMessage(
            "",
            tool_calls=[
                {"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"},
                {"name": "now", "args": {}, "id": "c2"},
            ],
        ),
        ToolMessage("3 <|im_end|>", tool_call_id="c1"),
        ToolMessage("no clock", tool_call_id="c2", status="error"),
    ]
    assert llm.bind_tools([add, now]).invoke(history).content == "3."
    prompt = asked.inputs[0]["prompt"]
    assert '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>' in prompt
    assert '<tool_response>{"name": "add", "content": "3 ' in prompt
    assert '<tool_response>{"name": "now", "error": "no clock"}</tool_response>' in prompt
    assert "3 <|im_end|>" not in prompt


@pytest.mark.parametrize(
    "model",
    [
        "mistralai/mistral-7b-instruct-v0.1",
        "meta/llama-2-7b-chat",
        "meta/meta-llama-3-70b-instruct",
        "sandbox/chatml",
    ],
)
def test_a_model_that_reads_its_prompt_follows_the_instructions(sandbox, model):
    """The sandbox's models know no tools: they read the form of a call out of the instructions."""
    llm = ChatRockAI(model=model).bind_tools([add])
    messages = [HumanMessage("Please add 17 and 25.")]
    answer = llm.invoke(messages)
    assert calls(answer) == [("add", {"a": 17, "b": 25})]
    messages += [answer, *(add.invoke(call) for call in answer.tool_calls)]
    assert "42" in llm.invoke(messages).content


def test_another_form_of_instructions_gives_another_form_of_call(sandbox):
    """The sandbox knows nothing of ours: with other tags in the prompt, its call has other tags."""
    llm = ChatRockAI(model="sandbox/chatml")
    body = llm.preview("Please add 17 and 25.", tools=[add])
    other = {**body["input"], "prompt": body["input"]["prompt"].replace("tool_call>", "do>")}
    with Client() as client:
        assert client.run(body["model"], body["input"]).text.startswith("<tool_call>")
        assert client.run(body["model"], other).text.startswith("<do>")
        without_form = {**other, "prompt": other["prompt"].replace('{"name": "function name"', "(")}
        assert '"add"' not in client.run(body["model"], without_form).text


@pytest.mark.parametrize(
    "written", ['{"name": "read", "arguments": {"path": "a"}}', '{"name": "read", "path": "a"}']
)
def test_a_call_of_an_unknown_function_is_no_call_of_the_only_tool(scripted, llm, written):
    """A model that misses a tool to read with must not delete."""

    def delete(path: str) -> str:
        """Delete a file."""
        return path

    scripted(*[f"<tool_call>{written}</tool_call>"] * 2)
    assert "delete" not in [call["name"] for call in llm.bind_tools([delete]).invoke("Read a!").tool_calls]


def test_the_name_of_an_unknown_function_is_no_argument(scripted, llm):
    """Also of a tool that must be called, and has an argument of that name; the model is asked again."""

    def greet(name: str) -> str:
        """Greet somebody."""
        return name

    scripted(
        *(
            f'<tool_call>{{"name": "{one}", "arguments": {{"name": "Ada"}}}}</tool_call>'
            for one in ("hi", "greet")
        )
    )
    [call] = llm.bind_tools([greet], tool_choice="any").invoke("Greet Ada!").tool_calls
    assert (call["name"], call["args"]) == ("greet", {"name": "Ada"})
