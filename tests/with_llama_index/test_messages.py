"""LlamaIndex's messages in plain values."""

import base64
import io
import os

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.llms.llm import ToolSelection

from llama_index_rockai.messages import to_messages
from rockai_transport import ConfigurationError
from rockai_transport.prompting.messages import InvalidToolCall, Message, ToolCall
from rockai_transport.prompting.request.dialects import CHATML

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
DATA_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
URL = "https://example.com/heron.png"
ARGUMENTS = {"city": "Paris"}


def plain(**kwargs):
    [message] = to_messages([ChatMessage(**kwargs)], model="a/b")
    return message


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("chatbot", "assistant"),
        ("model", "assistant"),
        ("tool", "tool"),
        ("function", "tool"),
    ],
)
def test_every_role_has_its_place(role, expected):
    """All eight of core's, one added later would be seen."""
    assert plain(role=role, content="x").role == expected
    assert len(MessageRole) == 8


def test_texts_are_joined_as_core_joins_them():
    """With a line break, also those inside citations; reasoning and cache points are not for the model."""
    blocks = [
        ThinkingBlock(content="hm"),
        TextBlock(text="one"),
        CachePoint(cache_control={"type": "ephemeral"}),
        CitableBlock(title="t", source="s", content=[TextBlock(text="two")]),
        CitationBlock(
            cited_content=TextBlock(text="three"), source="s", title="t", additional_location_info={}
        ),
    ]
    assert plain(blocks=blocks).text == "one\ntwo\nthree"


def test_calls_are_read_from_blocks():
    """Arguments may be JSON, as other services give them."""
    blocks = [
        ToolCallBlock(tool_call_id="1", tool_name="weather", tool_kwargs=ARGUMENTS),
        ToolCallBlock(tool_call_id="2", tool_name="weather", tool_kwargs='{"city": "Paris"}'),
        ToolCallBlock(tool_call_id="3", tool_name="weather", tool_kwargs='{"city'),
    ]
    message = plain(role="assistant", blocks=blocks)
    assert message.tool_calls[:2] == (
        ToolCall("1", "weather", ARGUMENTS),
        ToolCall("2", "weather", ARGUMENTS),
    )
    assert isinstance(message.tool_calls[2], InvalidToolCall)


@pytest.mark.parametrize(
    "legacy",
    [
        {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}},
        {"id": "1", "type": "tool_use", "name": "weather", "input": ARGUMENTS},
        {"id": 1, "function": {"name": "weather", "arguments": ARGUMENTS}},
        ToolSelection(tool_id="1", tool_name="weather", tool_kwargs=ARGUMENTS),
    ],
)
def test_calls_are_read_from_where_they_used_to_be(legacy):
    """In ``additional_kwargs``, but not twice where there are blocks."""
    message = ChatMessage(role="assistant", additional_kwargs={"tool_calls": [legacy]})
    assert to_messages([message], model="a/b")[0].tool_calls == (ToolCall("1", "weather", ARGUMENTS),)
    message.blocks.append(ToolCallBlock(tool_call_id="1", tool_name="weather", tool_kwargs=ARGUMENTS))
    assert len(to_messages([message], model="a/b")[0].tool_calls) == 1


def test_a_call_from_before_there_were_tools_is_read():
    """OpenAI's ``function_call`` had no id; its result is in a message of the role function."""
    old = {"name": "weather", "arguments": '{"city": "Paris"}'}
    message = plain(role="assistant", additional_kwargs={"function_call": old})
    assert message.tool_calls == (ToolCall("", "weather", {"city": "Paris"}),)


def test_what_openai_s_model_refused_is_told():
    """Its refusal stands beside an empty text; the model was shown an answer without words."""
    assert plain(role="assistant", additional_kwargs={"refusal": "I can't."}).text == "I can't."
    assert plain(content="No.", role="assistant", additional_kwargs={"refusal": None}).text == "No."


def test_a_call_that_used_to_be_there_and_cannot_be_read():
    """It stays as it was written, as one in a block does."""
    legacy = {"id": "1", "function": {"name": 3, "arguments": ["Paris"]}}
    (call,) = plain(role="assistant", additional_kwargs={"tool_calls": [legacy]}).tool_calls
    assert isinstance(call, InvalidToolCall)
    assert (call.name, call.arguments) == ("3", "['Paris']")


def test_a_text_in_the_place_of_calls_is_none():
    """As a store leaves it that writes values as JSON: its letters were taken for calls without a name."""
    assert plain(role="assistant", additional_kwargs={"tool_calls": "[]"}).tool_calls == ()


def test_a_tool_s_result_knows_its_call():
    """By id, as FunctionAgent writes it (agent/workflow/function_agent.py:157)."""
    for call_id in ("1", 1):  # a stored id may be a number, as that of a call may be
        message = plain(role="tool", content="sunny", additional_kwargs={"tool_call_id": call_id})
        assert message == Message("tool", "sunny", tool_call_id="1")


def test_media_in_a_tool_s_result_are_told_in_words():
    """An agent's result must not end its run, whatever the model takes."""
    blocks = [TextBlock(text="done"), VideoBlock(url="https://example.com/a.mp4"), ImageBlock(image=PNG)]
    assert plain(role="tool", blocks=blocks).text == "done\n[video: https://example.com/a.mp4]\n[image]"
    assert plain(role="tool", blocks=[ImageBlock(url=DATA_URI)]).text == "[image]"


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (AudioBlock(url="https://example.com/a.wav"), "audio"),
        (VideoBlock(url="https://example.com/a.mp4"), "video"),
        (DocumentBlock(url="https://example.com/a.pdf"), "document"),
    ],
)
def test_what_no_prompt_can_carry_is_an_error(block, kind):
    """It names the model and the kind."""
    with pytest.raises(ConfigurationError, match=f"a/b cannot be sent {kind} content"):
        plain(blocks=[block])


def test_an_image_s_file_that_cannot_be_read_is_an_error():
    """With our error, whatever the file raises."""
    closed = io.BytesIO(PNG)
    closed.close()
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        for file in (closed, pipe, io.StringIO("x")):
            with pytest.raises(ConfigurationError, match="file of an ImageBlock cannot be read"):
                plain(blocks=[ImageBlock.model_construct(image=file)])


def test_an_image_without_an_image_is_an_error():
    """It says what to give."""
    with pytest.raises(ConfigurationError, match="url=, path= or image="):
        plain(blocks=[ImageBlock()])


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "heron.png"
    path.write_bytes(PNG)
    return {
        "url": (ImageBlock(url=URL), URL),
        "data uri": (ImageBlock(url=DATA_URI), DATA_URI),
        "path": (ImageBlock(path=path), DATA_URI),
        "bytes": (ImageBlock(image=PNG), DATA_URI),
        "file": (ImageBlock(image=io.BytesIO(PNG)), DATA_URI),
    }


@pytest.mark.parametrize("kind", ["url", "data uri", "path", "bytes", "file"])
async def test_an_image_goes_to_the_dialect_s_key(sandbox, backend, images, kind):
    """As an address, or as a data URI, in blocking and async calls."""
    backend.model = "someone/seeing"
    backend.says("A heron.")
    block, sent = images[kind]
    llm = backend.llm(dialect=CHATML.replace(image_key="photo"), context_window=4096)
    asked = [ChatMessage(blocks=[TextBlock(text="What is this?"), block])]
    llm.chat(asked)
    await llm.achat(asked)
    assert [given["photo"] for given in backend.inputs] == [sent, sent]


def test_a_model_that_takes_no_images_says_so(backend):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="takes no images"):
        backend.llm().chat([ChatMessage(blocks=[TextBlock(text="x"), ImageBlock(url=URL)])])
    assert backend.runs == 0


async def test_messages_may_come_one_by_one(backend):
    """They are read once; core's event has them too."""
    backend.says("Yes.")
    llm = backend.llm()
    assert llm.chat(ChatMessage(text) for text in ("first", "second")).message.content == "Yes."
    assert (await llm.achat(messages=map(ChatMessage, ["first", "second"]))).message.content == "Yes."
    assert all("first" in given["prompt"] and "second" in given["prompt"] for given in backend.inputs)


WRONG = [
    "Hi",
    ["Hi"],
    ChatMessage("Hi"),
    {"role": "user", "content": "Hi"},
    [{"content": "Hi"}],
    None,
    [None],
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
@pytest.mark.parametrize("way", ["chat", "stream_chat", "achat", "astream_chat"])
async def test_messages_must_be_a_list_of_messages(backend, way, wrong):
    """What other libraries take is no message here; the error shows one, and nothing is sent."""
    call = getattr(backend.llm(), way)
    with pytest.raises(ConfigurationError, match=r"list of ChatMessage objects, .* \[ChatMessage\(role="):
        await call(wrong) if way[0] == "a" else call(wrong)
    assert backend.runs == 0


def test_a_preview_needs_messages_too(backend):
    """A single one is refused as `chat` does; a text is a prompt."""
    with pytest.raises(ConfigurationError, match="list of ChatMessage objects"):
        backend.llm().preview(ChatMessage("Hi"))
