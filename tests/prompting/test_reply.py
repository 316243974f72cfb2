import itertools
from uuid import UUID

import pytest

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply import tool_reader
from rockai_transport.prompting.reply.reader import ModelReply, Reading, ReplyReader, gather, read_reply
from rockai_transport.prompting.reply.reasoning import ReasoningDelta, TextDelta
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

TOOLS = [ToolSpec("now"), ToolSpec("weather")]
CALL = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
SHORT_CALL = '<tool_call>{"name": "now"}</tool_call>'
ID = f"call_{'0' * 32}"
NOW = ToolCall(ID, "now", {})


@pytest.fixture(autouse=True)
def _the_same_id(monkeypatch):
    monkeypatch.setattr(tool_reader, "uuid4", lambda: UUID(int=0))


def reader(choice=None, **settings):
    return ReplyReader(Reading(tools=set_up_tools(TOOLS, choice), **settings))


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Hello", ModelReply("Hello")),
        ("<think>hm</think>\nHello", ModelReply("Hello", "hm")),
        (f"<think>{SHORT_CALL}</think>{SHORT_CALL}", ModelReply("", SHORT_CALL, (NOW,))),
        (f"<think>hm</think>\n{SHORT_CALL}\n", ModelReply("", "hm", (NOW,))),
        (f"So: {SHORT_CALL} END {SHORT_CALL}", ModelReply("So:  ", "", (NOW,))),
        ("<think>hm END no</think>no", ModelReply("", "hm ")),
        ("ab EN", ModelReply("ab EN")),
        (
            "<tool_call>{oops}</tool_call>",
            ModelReply("", "", (), (InvalidToolCall(ID, None, "{oops}", ""),)),
        ),
    ],
)
def test_the_stages_work_together_at_every_split(text, reply):
    """Stop sequences cut first, then reasoning is told apart, then calls are read, however it is split."""
    for first, second in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        got = reader(stop=("END",))
        parts = [p for piece in (text[:first], text[first:second], text[second:]) for p in got.feed(piece)]
        whole = gather(parts + got.flush())
        assert whole.text == reply.text
        assert whole.reasoning == reply.reasoning
        assert whole.tool_calls == reply.tool_calls
        assert [c.arguments for c in whole.invalid_tool_calls] == [
            c.arguments for c in reply.invalid_tool_calls
        ]
        assert got.cut == ("END" in text)


@pytest.mark.parametrize("exact", [True, False])
def test_the_markers_of_an_answer_are_left_out_at_every_split(exact):
    """Of Command A's and R7B's, in a completion too."""
    text = "<|START_RESPONSE|>It is 4.<|END_RESPONSE|>\nYes."
    for first, second in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        got = ReplyReader(Reading(exact=exact))
        parts = [p for piece in (text[:first], text[first:second], text[second:]) for p in got.feed(piece)]
        assert gather(parts + got.flush()).text == "It is 4.\nYes."


def test_parts_come_as_soon_as_they_are_decided():
    """Reasoning, text and calls stream; no part is empty."""
    got = reader()
    assert got.feed("<think>a") == [ReasoningDelta("a")]
    assert got.feed("</think>b") == [TextDelta("b")]
    assert got.feed("") == []
    assert got.feed(CALL) == [NOW]
    assert got.flush() == []


def test_a_pair_of_surrogates_that_comes_in_two_pieces_is_one_character():
    """Some services cut a text in UTF-16; half a pair is none, and waits for the other."""
    got = reader()
    parts = [part for piece in ("x\ud83d", "\ude00b") for part in got.feed(piece)]
    assert [part.text for part in parts + got.flush()] == ["x", "😀b"]


def test_the_cut_ends_the_reply():
    """Behind a stop sequence nothing comes, whatever is fed."""
    got = reader(stop=("END",))
    assert got.feed("a END b") == [TextDelta("a ")]
    assert got.cut
    assert got.feed(CALL) == []
    assert got.flush() == []


def test_without_tools_a_call_is_text():
    """Nobody asked for calls: with no tools, or with ``tool_choice="none"``, text is text."""
    for got in (Reading(), Reading(tools=set_up_tools(TOOLS, "none"))):
        assert read_reply(CALL, got) == ModelReply(CALL)


def test_a_prompt_that_opened_the_reasoning():
    """A template that ends with ``<think>`` makes a reply that begins inside it."""
    assert read_reply("hm</think>Yes", Reading(inside_reasoning="</think>")) == ModelReply("Yes", "hm")
