import pytest

from rockai_transport.prompting.reply.reasoning import ReasoningDelta, ReasoningSplitter, TextDelta


def split(pieces, *, inside=False):
    splitter = ReasoningSplitter(inside="</think>" if inside else "")
    parts = [part for piece in pieces for part in splitter.feed(piece)] + splitter.flush()
    assert all(part.text for part in parts)
    return (
        "".join(part.text for part in parts if isinstance(part, ReasoningDelta)),
        "".join(part.text for part in parts if isinstance(part, TextDelta)),
    )


@pytest.mark.parametrize(
    ("text", "inside", "reasoning", "answer"),
    [
        ("<think>hm</think>\n\nYes.", False, "hm", "Yes."),
        (" \n<think>\nhm\n</think>Yes. ", False, "\nhm\n", "Yes. "),
        ("<think>a < b </thin </think>x", False, "a < b </thin ", "x"),
        ("<think>never closed", False, "never closed", ""),
        ("<think>never closed </thi", False, "never closed </thi", ""),
        ("<think></think>x", False, "", "x"),
        ("Well. <think>no</think>", False, "", "Well. <think>no</think>"),
        ("<think>a</think><think>b</think>", False, "a", "<think>b</think>"),
        ("<thinking>no</thinking>", False, "", "<thinking>no</thinking>"),
        ("\n  indented", False, "", "\n  indented"),
        ("<thi", False, "", "<thi"),
        ("", False, "", ""),
        ("hm</think>\nYes", True, "hm", "Yes"),
        ("only reasoning", True, "only reasoning", ""),
    ],
)
def test_reasoning_is_told_from_the_answer_at_every_split(text, inside, reasoning, answer):
    """However a reply is split into two pieces, or into characters, its halves are the same."""
    for at in range(len(text) + 1):
        assert split([text[:at], text[at:]], inside=inside) == (reasoning, answer)
    assert split(text, inside=inside) == (reasoning, answer)


def test_both_stream():
    """Reasoning and answer are handed on as they come; only what may be a tag is held back."""
    splitter = ReasoningSplitter()
    assert splitter.feed("<think>one ") == [ReasoningDelta("one ")]
    assert splitter.feed("two</") == [ReasoningDelta("two")]
    assert splitter.feed("b>") == [ReasoningDelta("</b>")]
    assert splitter.feed("</think>A") == [TextDelta("A")]
    assert splitter.feed("B</think>") == [TextDelta("B</think>")]


def test_a_reply_without_reasoning_is_not_held_back():
    """The first character that is no tag's lets everything through."""
    assert ReasoningSplitter().feed("H") == [TextDelta("H")]


def test_a_code_block_streams_before_its_language_is_complete():
    """Only a fence that may close another one waits for what follows it."""
    splitter = ReasoningSplitter()
    assert splitter.feed("```py") == [TextDelta("```py")]
    assert splitter.feed("thon\n1\n```") == [TextDelta("thon\n1\n")]
    assert splitter.feed("\n") == [TextDelta("```\n")]
