import json
import random

import pytest

from rockai_transport.prompting.messages import InvalidToolCall, ToolCall
from rockai_transport.prompting.reply.reasoning import TextDelta
from rockai_transport.prompting.reply.tool_reader import ToolCallReader, new_call_id
from rockai_transport.prompting.reply.tools import Tools

NAMES = {"weather": {}, "now": {}}
CALL = '{"name": "weather", "arguments": {"city": "Köln"}}'
W = ("weather", {"city": "Köln"})


def read(pieces, names=NAMES, *, parallel=True, **settings):
    """Text, calls and invalid calls of a reply."""
    reader = ToolCallReader(Tools(names, **settings), parallel=parallel)
    parts = [part for piece in pieces for part in reader.feed(piece)] + reader.flush()
    return (
        "".join(part.text for part in parts if isinstance(part, TextDelta)),
        [(part.name, part.arguments) for part in parts if isinstance(part, ToolCall)],
        [(part.name, part.arguments) for part in parts if isinstance(part, InvalidToolCall)],
    )


def encoded(value, times):
    """JSON in a string, in a string again."""
    return encoded(json.dumps(value), times - 1) if times else value


CALLS = {
    "bare": (CALL, "", [W]),
    "bare with white space": (f" \n{CALL}\n ", "", [W]),
    "bare at a line's beginning": (f"Let me see.\n  {CALL}\nDone.", "Let me see.\n  \nDone.", [W]),
    "bare, after each other": (f"{CALL}\n{CALL}", "", [W, W]),
    "bare, on one line": (f"{CALL}{CALL}", "", [W, W]),
    "a list": (f"[{CALL}, {CALL}]", "", [W, W]),
    "a list, spread": (f"[\n  {CALL}\n]", "", [W]),
    "fenced": (f"```json\n{CALL}\n```", "", [W]),
    "fenced without info": (f"```\n{CALL}\n```", "", [W]),
    "fenced as tool_call": (f"```tool_call\n{CALL}\n```", "", [W]),
    "fenced, several": (f"```json\n{CALL}\n{CALL}\n```", "", [W, W]),
    "fenced within prose": (f"I ask:\n```json\n{CALL}\n```\nok", "I ask:\n\nok", [W]),
    "fenced, never closed": (f"```json\n{CALL}", "", [W]),
    "fenced, with a comment": (f"```json\n{CALL}\n# so\n```", "\n# so\n```", [W]),
    "tagged": (f"<tool_call>{CALL}</tool_call>", "", [W]),
    "tagged, spread": (f"<tool_call>\n{CALL}\n</tool_call>", "", [W]),
    "tagged within a line": (f"So: <tool_call>{CALL}</tool_call>!", "So: !", [W]),
    "tagged, several": (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", "", [W, W]),
    "tagged, several in one": (f"<tool_call>{CALL}\n{CALL}</tool_call>x", "x", [W, W]),
    "tagged, never closed": (f"<tool_call>{CALL} bye", " bye", [W]),
    "tagged, a bracket forgotten": (f"<tool_call>{CALL[:-1]}</tool_call> x", " x", [W]),
    "Mistral's": (f"[TOOL_CALLS] [{CALL}]", "", [W]),
    "Mistral's, then text": (f"[TOOL_CALLS][{CALL}]\n\n[1] x", "\n\n[1] x", [W]),
    "Llama's": (f"<|python_tag|>{CALL}; {CALL}", "", [W, W]),
    "a Python literal": ("{'name': 'weather', 'arguments': {'city': 'Köln'}}", "", [W]),
    "a Python literal with constants": (
        "{'name': 'weather', 'arguments': {'a': True, 'b': None, 'c': false,}}",
        "",
        [("weather", {"a": True, "b": None, "c": False})],
    ),
    "parameters": ('{"name": "weather", "parameters": {"city": "Köln"}}', "", [W]),
    "tool and args": ('{"tool": "weather", "args": {"city": "Köln"}}', "", [W]),
    "function as a name": ('{"function": "weather", "arguments": {"city": "Köln"}}', "", [W]),
    "arguments first": ('{"arguments": {"city": "Köln"}, "name": "weather"}', "", [W]),
    "OpenAI's": (f'{{"id": "x", "type": "function", "function": {CALL}}}', "", [W]),
    "OpenAI's list": (f'{{"tool_calls": [{{"type": "function", "function": {CALL}}}]}}', "", [W]),
    "arguments as a string": (
        json.dumps({"name": "weather", "arguments": '{"city": "Köln"}'}),
        "",
        [W],
    ),
    "arguments as an empty string": ('{"name": "now", "arguments": ""}', "", [("now", {})]),
    "arguments as white space": ('{"name": "now", "arguments": " \\n"}', "", [("now", {})]),
    "encoded three times": (
        json.dumps({"name": "weather", "arguments": encoded({"city": "Köln"}, 3)}),
        "",
        [W],
    ),
    "arguments null": ('{"name": "now", "arguments": null}', "", [("now", {})]),
    "no arguments": ('{"name": "now"}', "", [("now", {})]),
    "brackets and quotes in strings": (
        '{"name": "weather", "arguments": {"city": "}]\\"{ </tool_call> ```"}}',
        "",
        [("weather", {"city": '}]"{ </tool_call> ```'})],
    ),
    "raw line breaks in strings": (
        '{"name": "weather", "arguments": {"city": "a\nb"}}',
        "",
        [("weather", {"city": "a\nb"})],
    ),
    "after an object that is text": (f'{{"name": "Bob"}}\n{CALL}', '{"name": "Bob"}\n', [W]),
    "after a fence that is text": (
        f'```json\n{{"name": "Bob"}}\n```\n{CALL}',
        '```json\n{"name": "Bob"}\n```\n',
        [W],
    ),
    "after a code fence": (f"```python\nx = {{}}\n```\n{CALL}", "```python\nx = {}\n```\n", [W]),
    "of an escaped surrogate": (
        '{"name": "weather", "arguments": {"city": "\\ud83c\\udf38"}}',
        "",
        [("weather", {"city": "🌸"})],
    ),
}

TEXTS = [
    "",
    "Plain text.",
    "  \n",
    "\n\nindented\n    code\n",
    "a < b, [1], {x}, `code`, <b>, <tool",
    '{"name": "Bob", "age": 3}',
    '[{"name": "Bob"}]',
    '{"name": "weather", "version": 2}',
    '{"setup": "a", "punchline": "b"}',
    f"Within a line: {CALL}",
    '```json\n{"name": "Bob"}\n```',
    '```json\n{"name": "Bob"}\n```\n{"name": "Ann"}\n```\n[]\n```',
    "```python\nprint({'name': 1})\n```",
    "```\n{not json}\n```",
    "Write `<tool_call>` and `</tool_call>` around it.",
    "<tool_call>see?",
    "<|python_tag|>print(1)",
    "[TOOL_CALLS] are markers",
    "[link](x) and\n[{unquoted: 1}]",
    "{",
    "```",
    "``",
    "```js",
    "<tool_cal",
    '{"nam',
    '{"name": "Bo',
    "{'name': 'it's",
    "{" + " " * 500 + '"name": 1}',
    "春天\u2028在\u0085哪里\x0c<",
    "{}\n[]\n{}",
    f'{{"name": "Bob"}} {CALL}',
]

INVALID = {
    "no JSON": ("<tool_call>{city: Köln}</tool_call>", "", [(None, "{city: Köln}")]),
    "no name": ('<tool_call>{"arguments": {}}</tool_call>', "", [(None, '{"arguments": {}}')]),
    "an empty list": ("[TOOL_CALLS][]", "", [(None, "[]")]),
    "not complete": (
        '{"name": "weather", "arguments": {"city": "K',
        "",
        [("weather", '{"city": "K')],
    ),
    "arguments that are a list": ('{"name": "weather", "arguments": [1]}', "", [("weather", "[1]")]),
    "arguments that are no JSON": (
        '{"name": "weather", "arguments": "city=K"}',
        "",
        [("weather", "city=K")],
    ),
    "broken, but naming a tool": (
        'Hm.\n{"name": "weather", "arguments": {"city": Köln}}.',
        "Hm.\n.",
        [("weather", '{"city": Köln}')],
    ),
    "an object's place": ("<tool_call>[3]</tool_call>", "", [(None, "3")]),
    "encoded four times": (
        json.dumps({"name": "weather", "arguments": encoded({"city": "K"}, 4)}),
        "",
        [("weather", encoded({"city": "K"}, 4))],
    ),
    "a tag left open": (
        '<tool_call>{"name": "weather", "arguments": {"a": "x',
        "",
        [("weather", '{"a": "x')],
    ),
}


def every_split(text):
    for at in range(len(text) + 1):
        yield [text[:at], text[at:]]
    yield list(text)


@pytest.mark.parametrize("case", CALLS)
def test_calls_are_found_at_every_split(case):
    """However a reply is split, the same calls are read and the same text is left."""
    text, left, calls = CALLS[case]
    for pieces in every_split(text):
        assert read(pieces) == (left, calls, []), pieces


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_what_is_no_call_comes_out_unaltered(text):
    """Text is never lost, altered or taken for a call, however it is split."""
    for pieces in every_split(text):
        assert read(pieces) == (text, [], []), pieces


@pytest.mark.parametrize("case", INVALID)
def test_what_was_meant_as_a_call_is_an_invalid_one(case):
    """A call that cannot be read keeps its text and is no exception."""
    text, left, invalid = INVALID[case]
    for pieces in every_split(text):
        assert read(pieces) == (left, [], invalid), pieces


def test_an_invalid_call_says_what_is_wrong():
    """Where a call is demanded, the error names the nearest tool, for the model to correct itself."""
    reader = ToolCallReader(Tools(NAMES, demanded=True))
    (part,) = reader.feed('<tool_call>{"name": "wether", "arguments": {}}</tool_call>') + reader.flush()
    assert isinstance(part, InvalidToolCall)
    assert "did you mean 'weather'" in part.error


# These go on in what follows by their own syntax: an open string or bracket, half a marker.
OPEN_ENDED = ("```", "<tool_cal", '{"nam', '{"name": "Bo', "{'name': 'it's", "``", "{")


@pytest.mark.parametrize("text", [text for text in TEXTS if text and text not in OPEN_ENDED])
@pytest.mark.parametrize("call", [CALL, f"<tool_call>{CALL}</tool_call>"], ids=["bare", "tagged"])
def test_a_call_between_texts_leaves_both(text, call):
    """Text before and behind a call stays exactly as it is."""
    assert read([f"A.{text}\n{call}\nZ."]) == (f"A.{text}\n\nZ.", [W], [])


def test_text_streams_while_tools_are_bound():
    """Only what begins like a call is held back; other text goes on piece by piece."""
    reader = ToolCallReader(Tools(NAMES))
    assert reader.feed("Let ") == [TextDelta("Let ")]
    assert reader.feed("me <b>see</b>: a[0]") == [TextDelta("me <b>see</b>: a[0]")]
    assert reader.feed("\n{") == [TextDelta("\n")]
    assert reader.feed('"na') == []
    assert reader.feed('tion": 1}') == [TextDelta('{"nation": 1}')]
    assert reader.feed(" <tool") == [TextDelta(" ")]
    assert reader.feed("s>") == [TextDelta("<tools>")]
    assert reader.feed("[TOOL") == []
    assert reader.flush() == [TextDelta("[TOOL")]


@pytest.mark.parametrize(
    ("data", "held"),
    [
        ('[{"id": 1, "title": "x", "text": "…"}, {"id": 2}]', 20),
        ('[{"id": 1}, {"id": 2}]', 10),
        ('{"name": "Ada", "age": 36, "songs": ["…"]}', 14),
        ('{"type": "FeatureCollection", "features": [{"x": 1}]}', 28),
        ('```json\n{"name": "Ada", "age": 36}\n```', 22),
        ('{"description": "…", "title": "x"}', 31),
        ("[link](x) [1] {x} <b>", 5),
        ("<tool_call>see? It goes on.", 14),
        ("[weathers(1)]", 10),
        ("Words, and more words. `code`", 1),
    ],
)
def test_what_cannot_be_a_call_any_more_is_handed_on_at_once(data, held):
    """At the key, name or value that rules it out; the longest that is held back is measured."""
    reader = ToolCallReader(Tools(NAMES))
    most = waiting = 0
    for character in data:
        waiting += 1 - sum(len(part.text) for part in reader.feed(character))
        most = max(most, waiting)
    assert most <= held


def test_a_call_comes_out_as_soon_as_it_is_complete():
    """The last bracket of a bare call, or the closing tag, is enough."""
    reader = ToolCallReader(Tools(NAMES))
    assert reader.feed(CALL[:-1]) == []
    for rest in ("}", f"<tool_call>{CALL}</tool_call>"):
        (call,) = reader.feed(rest)
        assert call == ToolCall(call.id, *W)


def test_without_parallel_calls_the_first_one_counts():
    """Further calls are invalid, with a reason; they are not made, and not lost."""
    text = f"a\n{CALL}\nb\n{CALL}\nc"
    said, calls, invalid = read([text], parallel=False)
    assert (said, calls) == ("a\n\nb\n\nc", [W])
    assert [(name, json.loads(arguments)) for name, arguments in invalid] == [W]


def test_a_call_of_a_tool_that_may_not_be_called():
    """Bare it is text; marked it is a call, which the frameworks answer, unless another is demanded."""
    tagged = f"<tool_call>{CALL}</tool_call>"
    assert read([CALL], {"now": {}}) == (CALL, [], [])
    assert read([tagged], {"now": {}}) == ("", [W], [])
    assert read([tagged], {"now": {}}, demanded=True)[1:] == ([], [("weather", '{"city": "Köln"}')])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("functions.add_commentary", "add_commentary"),
        ("addCommentary", "add_commentary"),
        ("functions.setcommentary", "set"),
        ("set_commentary", None),
    ],
)
def test_a_name_that_ends_as_gpt_oss_s_channel(written, meant):
    """Without its tokens, the channel stands right behind a tool's name, but a tool may be called so."""
    assert Tools({"add": {}, "add_commentary": {}, "set": {}}).resolve(written) == meant


def test_ids_are_unique():
    """Each call has an id of its own, by which its result refers to it."""
    reader = ToolCallReader(Tools(NAMES))
    ids = {part.id for part in reader.feed(CALL * 50)}
    assert len(ids) == 50
    assert all(identifier.startswith("call_") for identifier in ids)
    assert new_call_id() != new_call_id()


def test_random_replies_never_lose_text_or_raise():
    """Shuffled pieces of calls, fences and prose: every split gives the same, and no text goes missing."""
    dice = random.Random(11)  # noqa: S311 - shuffles, hides nothing
    pieces = [CALL, "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "```", "```json\n", "\n", "text", " "]
    pieces += ["{", "}", "[", "]", '"', "'", ",", "<", "`", '{"name": "', '{"name": "Bob"}']
    for _ in range(1500):
        text = "".join(dice.choices(pieces, k=dice.randrange(9)))
        whole = read([text])
        assert read(list(text)) == whole, text
        if not whole[1] and not whole[2]:
            assert whole[0] == text
