"""Reading takes steps in proportion to the text, in pieces of any length: counted, not timed."""

import sys

import pytest

from rockai_transport.prompting.messages import Message
from rockai_transport.prompting.reply.json_values import ValueScanner, extract_json, read_value
from rockai_transport.prompting.reply.reader import ReplyReader
from rockai_transport.prompting.reply.schema_values import structured_value
from rockai_transport.prompting.request.build import ChatCall, ModelSettings
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

TOOLS = [ToolSpec("note", "", {"properties": {"text": {"type": "string"}}}), ToolSpec("now")]
BEGINNINGS = {
    "prose": ("", "Some words, and more. "),
    "blanks": ("", " "),
    "blanks behind text": ("a", " "),
    "line breaks": ("", "\n"),
    "blanks behind a brace": ("{", " "),
    "blanks behind a marker": ("<tool_call>", " "),
    "blanks behind a call": ('{"name": "now"}', " "),
    "blanks in reasoning": ("<think>", " "),
    "blanks behind reasoning": ("<think>x</think>", " "),
    "escaped quotes in a call": ('{"name": "note", "arguments": {"text": "', '\\"'),
    "quotes and backslashes in a call": ('<tool_call>{"name": "note", "arguments": {"text": ', '"\\'),
    "backslashes": ('<tool_call>{"name": "note", "arguments": {"text": "', "\\"),
    "brackets": ("", "{ "),
    "brackets in a call": ("<tool_call>", "{"),
    "lists": ("", "[\n"),
    "less than": ("", "<"),
    "backticks": ("", "`"),
    "fences": ("", "```json\n{"),
    "data": ("[", '{"id": 1, "title": "x"},'),
    "data with a call's keys": ("[", '{"id": 1, "type": "function"},'),
    "calls": ("", '{"name": "now"}\n'),
    "marked calls": ("", "<function=now></function>"),
    "closing tags": ('{"name": "now"}', "</tool_call>"),
    "tagged arguments": ("<function=note>", "<parameter=text>x</parameter>"),
    "one long argument": ("<function=note><parameter=text>", "<p"),
    "Python": ("[note(text='", "\\'("),
    "comments": ('<tool_call>{"name": "note", ', "/* *"),
    "struck-out text": ("", "<s></s>"),
    "near misses of a stop sequence": ("", "####!"),
    "half pairs": ("", "\ud83d"),
    "closing tags of reasoning": ("x", "`</think>`"),
    "opening tokens": ("", "<tool_call>"),
    "opening tokens that a name follows": ("", "<function="),
    "tokens behind a name": ("<tool_call>now ", "json "),
    "hints": ("", "<tool>"),
    "hints on lines": ("", "json\n"),
    "hints in fences": ("", "```\n<tool>"),
    "a tool's name": ("", "now\n"),
    "quotes of Gemma's": ("<|tool_call>call:note{text:", '<|"|><escape>'),
    "halves of such quotes": ("<|tool_call>call:note{text:", '<|"'),
    "tags with two parts": ("<tool_call>note", "<arg_key>a</arg_key> "),
    "names that are no Python": ("[note(", "a-b/c:"),
    "suffixes of tokens": ("<tool_call:a>note", "<tool_call:abc"),
    "one long suffix": ("<think:", "x"),
    "items of a list": ("", "- now {"),
    "elements": ("<note><text>", "<b>x"),
    "elements of a tool's name": ("", "<note><text>"),
    "elements in elements": ("<tool_call><invoke name=note><text>", "<a>"),
    "ends of elements": ("<note><text>x", "</text></text>"),
    "names of arguments": ("", "<parameter="),
    "keys without values": ("<tool_call>note", "<arg_key>a</arg_key>"),
    "one long id": ("[TOOL_CALLS]now[CALL_ID]", "x"),
    "recipients": ("", "<function=now>"),
}


class Counted(str):
    """Text that counts the characters that are copied where texts are put together or cut."""

    __slots__ = ()
    copied = 0

    def _counted(self, text):
        Counted.copied += len(text)
        return Counted(text)

    def __add__(self, other):
        return self._counted(str(self) + str(other))

    def __radd__(self, other):
        return self._counted(str(other) + str(self))

    def __getitem__(self, key):
        return self._counted(str(self)[key])

    def lstrip(self, *characters):
        return self._counted(str(self).lstrip(*characters))


def steps(work):
    """Lines of this package that are run, and characters that are copied."""
    lines = 0

    def count(_frame, event, _argument):
        nonlocal lines
        lines += event == "line"
        return count

    def begin(frame, _event, _argument):
        return count if "/prompting/" in frame.f_code.co_filename else None

    before, Counted.copied = sys.gettrace(), 0
    sys.settrace(begin)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines + Counted.copied


def reading(pieces, choice=None):
    call = ChatCall(
        ModelSettings("you/model", "llama-2", stop=("#####",)),
        [Message("user", "Hi")],
        set_up_tools(TOOLS, choice),
    )
    reader = ReplyReader(call.request().reading)
    for piece in pieces:
        reader.feed(Counted(piece))
    reader.flush()


@pytest.mark.parametrize("length", [1, 100_000], ids=["characters", "whole"])
@pytest.mark.parametrize("case", BEGINNINGS)
def test_twice_the_text_takes_twice_the_steps(case, length):
    """Whatever the text is made of, and however it comes."""
    begin, more = BEGINNINGS[case]

    def reply(characters):
        text = begin + more * (characters // len(more))
        return [text[at : at + length] for at in range(0, len(text), length)]

    once, twice = (steps(lambda n=n: reading(reply(n))) for n in (300, 600))
    assert twice <= 2.2 * once + 250


def test_a_hint_may_stand_before_hints_without_end():
    """A model that repeats a tag until it is cut off has written text."""
    reading(["<tool>" * 5000])


@pytest.mark.parametrize("text", ["<function=now>", "<function=x", '<invoke name="now">'])
def test_a_recipient_may_stand_before_recipients_without_end(text):
    """A model that repeats the beginning of a call until it is cut off has written text."""
    reading([text * 5000])


@pytest.mark.parametrize("text", ["{ ", "[", '{"a": ', '"\\', "{'a': \"", "/*", "a b ", '{"a": 1} '])
def test_finding_json_takes_steps_in_proportion(text):
    """Of brackets, quotes, comments and prose."""

    def find(characters):
        try:
            extract_json(text * (characters // len(text)))
        except ValueError:
            return

    once, twice = (steps(lambda n=n: find(n)) for n in (300, 600))
    assert twice <= 2.2 * once + 250


def test_the_text_around_json_is_put_together_once():
    """Not for each of the values that are found: the text before the last of them is long."""
    texts = (Counted('{"a": 1}\n' * count) for count in (100, 200))
    once, twice = (steps(lambda text=text: extract_json(text, lambda _: False)) for text in texts)
    assert twice <= 2.2 * once + 250


def test_an_allowed_text_is_not_compared_with_others_like_it():
    """A list of 2,000 of 300 labels took two seconds."""
    labels = [f"label {number}" for number in range(50)]
    schema = {"type": "array", "items": {"enum": labels}}
    exact, like = (
        steps(lambda given=given: structured_value([given] * 50, schema))
        for given in ("label 49", "Label 49")
    )
    assert exact <= like - 50 * 50


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ['"\\', "'\\", '\\"', "a:", "//", "/*", "{'", "a-"])
def test_what_is_no_json_is_given_up_at_once(text):
    """Of 400,000 characters of it, which a reader that looks back from each of them never finishes."""
    with pytest.raises(ValueError, match="JSON"):
        read_value('{"a": ' + text * (400_000 // len(text)))
    ValueScanner().scan("{" + text * (400_000 // len(text)))
