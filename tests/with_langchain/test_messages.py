"""LangChain's messages to the conversation a prompt is written from."""

import json
from functools import partial

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_rockai.messages import to_conversation
from rockai_transport import ConfigurationError
from rockai_transport.prompting.messages import InvalidToolCall, Message, ToolCall


def converted(message):
    (only,) = to_conversation([message], model="my/model")
    return only


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SystemMessage("a"), Message("system", "a")),
        (HumanMessage("a", name="Ada"), Message("user", "a", name="Ada")),
        (AIMessage("a"), Message("assistant", "a")),
        (ToolMessage("a", tool_call_id="1"), Message("tool", "a", tool_call_id="1")),
        (
            ToolMessage("a", tool_call_id="1", name="f", status="error"),
            Message("tool", "a", tool_call_id="1", name="f", is_error=True),
        ),
        (FunctionMessage("a", name="f"), Message("tool", "a", name="f")),
        (ChatMessage("a", role="user"), Message("user", "a")),
        (ChatMessage("a", role="Assistant"), Message("assistant", "a")),
        (ChatMessage("a", role="developer"), Message("system", "a")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_role(message, expected):
    """Its text, and what belongs to it."""
    assert converted(message) == expected


def test_roles_that_no_template_has_are_refused():
    """Rather than told as somebody else's words."""
    for message in (ChatMessage("a", role="critic"), RemoveMessage(id="1")):
        with pytest.raises(ConfigurationError, match="there are: system, user, assistant and tool"):
            converted(message)


def test_text_in_blocks_is_joined():
    """A user's blocks stand on lines of their own; a model's are one text, as it streamed them."""
    blocks = ["a", {"type": "text", "text": "b"}]
    assert converted(HumanMessage(blocks)).text == "a\nb"
    assert converted(AIMessage(blocks)).text == "ab"
    assert converted(ToolMessage(blocks, tool_call_id="1")).text == "a\nb"


def test_calls_are_told_once():
    """Also where another provider repeats them in the content."""
    message = AIMessage(
        [{"type": "text", "text": "Hm."}, {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}],
        tool_calls=[{"name": "f", "args": {"a": 1}, "id": "1"}],
        invalid_tool_calls=[{"name": None, "args": "{", "id": "2", "error": "broken"}],
    )
    assert converted(message) == Message(
        "assistant",
        "Hm.",
        tool_calls=(ToolCall("1", "f", {"a": 1}), InvalidToolCall("2", None, "{", "broken")),
    )


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ('{"a": 1}', ToolCall("", "f", {"a": 1})),
        *((text, InvalidToolCall("", "f", text, "")) for text in ("{", "[1]", "null", "[" * 99_999)),
        ('{"a": 1, "a": 2}', InvalidToolCall("", "f", '{"a": 1, "a": 2}', "")),
    ],
    ids=["object", "cut", "list", "null", "deep", "twice"],
)
def test_a_call_from_before_there_were_tools_is_told(arguments, call):
    """OpenAI's ``function_call``, whose result is a FunctionMessage; core does not read it."""
    extra = {"function_call": {"name": "f", "arguments": arguments}}
    assert converted(AIMessage("", additional_kwargs=extra)).tool_calls == (call,)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "reasoning_content", "reasoning_content": {"text": "hm"}},
        {"type": "function_call_signature", "signature": "s", "index": 0},
    ],
)
def test_the_reasoning_of_any_provider_is_left_out(block):
    """A conversation may have begun with another model."""
    assert converted(AIMessage([block, {"type": "text", "text": "Yes."}])).text == "Yes."


def test_json_in_a_tool_s_result_is_text():
    """A block type of tools."""
    message = ToolMessage([{"type": "json", "json": {"a": 1}}], tool_call_id="1")
    assert converted(message).text == '{"a": 1}'


@pytest.mark.parametrize("provider", ["anthropic", "bedrock_converse", "groq", "openai", None])
def test_no_provider_s_text_is_lost(provider):
    """Core's translations leave out plain strings in a list, and for Groq the whole list."""
    metadata = {"model_provider": provider} if provider else {}
    message = AIMessage(["Yes, ", {"type": "text", "text": "it is."}], response_metadata=metadata)
    assert converted(message).text == "Yes, it is."


@pytest.mark.parametrize("cls", [HumanMessage, AIMessage, partial(ToolMessage, tool_call_id="1")])
def test_bedrock_s_cache_points_are_no_content(cls):
    """They are for its service, as in LlamaIndex's messages."""
    assert converted(cls(["Yes.", {"cachePoint": {"type": "default"}}])).text == "Yes."


def test_openai_s_image_of_its_newer_api_is_an_image():
    """Its block has the address as a plain string; one without is refused as every image is."""
    block = {"type": "input_image", "image_url": "https://a/b.png", "detail": "auto"}
    assert converted(HumanMessage([block])).images == ("https://a/b.png",)
    with pytest.raises(ConfigurationError, match="image \\(by file_id, or empty\\)"):
        converted(HumanMessage([{"type": "input_image", "file_id": "f"}]))


@pytest.mark.parametrize("cls", [HumanMessage, AIMessage, partial(ToolMessage, tool_call_id="1")])
@pytest.mark.parametrize(
    "block",
    [
        {"type": "text-plain", "text": "hi", "mime_type": "text/plain"},
        {"type": "text-plain", "base64": "aGk=", "mime_type": "text/plain"},
        {"type": "document", "source": {"type": "text", "data": "hi", "media_type": "text/plain"}},
        {"type": "input_text", "text": "hi"},
        {"type": "output_text", "text": "hi", "annotations": []},
        {"type": "refusal", "refusal": "hi"},
        {"type": "compaction", "content": "hi", "signature": "s"},
    ],
)
def test_a_block_s_text_is_text(cls, block):
    """Whatever kind it is of, and whoever writes such blocks."""
    assert converted(cls([block])).text == "hi"


def test_what_was_found_is_told_whole():
    """The block types of tools that look something up, or answer in the form of another provider."""
    found = {"type": "text", "text": "The sea is salty."}
    for block in (
        {"type": "search_result", "title": "Sea", "source": "https://a", "content": [found]},
        {"type": "document", "title": "Sea", "source": {"type": "content", "content": [found]}},
        {"type": "custom_tool_call_output", "output": "The sea is salty."},
    ):
        assert json.loads(converted(ToolMessage([block], tool_call_id="1")).text) == block


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "image", "url": "https://a/b.png"}, "[image: https://a/b.png]"),
        ({"type": "image_url", "image_url": {"url": "https://a/b.png"}}, "[image: https://a/b.png]"),
        ({"type": "image_url", "image_url": "https://a/b.png"}, "[image: https://a/b.png]"),
        ({"type": "image", "base64": "aGk=", "mime_type": "image/png"}, "[image]"),
        ({"type": "image", "url": "DATA:image/png;base64,aGk="}, "[image]"),
        ({"type": "image", "file_id": "f"}, "[image]"),
        ({"type": "audio", "url": "https://a/b.wav"}, "[audio: https://a/b.wav]"),
        ({"type": "video", "url": "https://a/b.mp4"}, "[video: https://a/b.mp4]"),
        (
            {"type": "file", "url": "https://a/b.pdf", "mime_type": "application/pdf"},
            "[file: https://a/b.pdf]",
        ),
    ],
)
def test_media_in_a_tool_s_result_are_told_in_words(block, words):
    """An agent's result must not end its run, whatever the model takes."""
    message = ToolMessage([{"type": "text", "text": "done"}, block], tool_call_id="1")
    assert converted(message) == Message("tool", f"done\n{words}", tool_call_id="1")


@pytest.mark.parametrize(
    ("provider", "content", "text"),
    [
        (
            "google_genai",
            [{"type": "image_url", "image_url": "https://a/b.png"}, "Yes."],
            "[image: https://a/b.png]Yes.",
        ),
        ("anthropic", [{"type": "text"}, "Yes."], "Yes."),
        ("openai", [{"type": "web_search_call"}, {"type": "text", "text": "Yes."}], "[web_search_call]Yes."),
    ],
)
def test_what_core_cannot_translate_is_read_as_it_is(provider, content, text):
    """Core demands keys that a saved or shortened message may lack."""
    message = AIMessage(content, response_metadata={"model_provider": provider})
    assert converted(message).text == text


@pytest.mark.parametrize("metadata", [{}, {"output_version": "v1"}])
@pytest.mark.parametrize(
    "block",
    [
        {"type": "non_standard"},
        {"type": "non_standard", "value": "x"},
        {"type": "text-plain", "base64": "x"},
        {"type": "text-plain", "base64": {"a": 1}},
        {"type": "image", "source": "x"},
    ],
)
def test_a_block_that_says_nothing_does_not_end_a_conversation(block, metadata):
    """It is told by its type, in an answer and in a tool's result; of a user it is refused."""
    spoken = converted(AIMessage(["Yes. ", block], response_metadata=metadata)).text
    assert spoken == f"Yes. [{block.get('type')}]"
    assert converted(ToolMessage([block], tool_call_id="1")).text == f"[{block.get('type')}]"
    with pytest.raises(ConfigurationError, match="content"):
        converted(HumanMessage([block]))


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"city": "Paris", "degrees": 3}, '{"city": "Paris", "degrees": 3}'),
        ({"json": {"degrees": 3}}, '{"degrees": 3}'),
        ({"text": "warm"}, "warm"),
        ({"image": {"format": "png", "source": {"bytes": b"x"}}}, "[image]"),
        ({"video": {"format": "mp4", "source": {"bytes": b"x"}}}, "[video]"),
    ],
)
def test_a_tool_s_data_without_a_type_are_told_whole(block, text):
    """A list of plain dicts, and Bedrock's blocks; media are described as always."""
    assert converted(ToolMessage([block], tool_call_id="1")).text == text


def test_a_user_s_block_without_a_type_is_refused_by_its_key():
    """The error named it None."""
    with pytest.raises(ConfigurationError, match="cannot be sent guardContent content"):
        converted(HumanMessage([{"guardContent": {"text": {"text": "a"}}}]))


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (
            {"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Paris"}},
            {"type": "tool_result", "tool_use_id": "1", "content": "warm"},
        ),
        (
            {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"city": "Paris"}'},
            {"type": "function_call_output", "call_id": "1", "output": "warm"},
        ),
        (
            {"type": "tool_call", "id": "1", "name": "weather", "args": {"city": "Paris"}},
            {"type": "text", "text": "warm"},
        ),
    ],
)
def test_a_call_that_only_a_block_has_is_told_and_so_is_its_result(call, result):
    """A stored history in another provider's own form: the call was left out, and the result was its type."""
    message = AIMessage([{"type": "text", "text": "Well."}, call])
    wanted = (ToolCall("1", "weather", {"city": "Paris"}),)
    assert converted(message).tool_calls == wanted
    assert "warm" in converted(ToolMessage([result], tool_call_id="1")).text
    told = {"name": "weather", "args": {"city": "Paris"}, "id": "1"}
    assert converted(AIMessage([call], tool_calls=[told])).tool_calls == wanted
    broken = call | ({"input": "{", "args": "{", "arguments": "{"})
    assert isinstance(converted(AIMessage([broken])).tool_calls[0], InvalidToolCall)


def test_what_openai_s_model_refused_is_told():
    """Its refusal stands beside an empty text; the model was shown an answer without words."""
    assert converted(AIMessage("", additional_kwargs={"refusal": "I can't."})).text == "I can't."
    assert converted(AIMessage("No.", additional_kwargs={"refusal": None})).text == "No."


def test_a_message_of_another_provider_is_read_by_its_text():
    """Core would translate plain text by the provider that wrote it, which may not be installed."""
    message = AIMessage("Yes.", response_metadata={"model_provider": "openai"})
    assert converted(message) == Message("assistant", "Yes.")
