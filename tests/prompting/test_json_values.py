import contextlib
import json
import random
import time

import pytest

from rockai_transport.prompting.reply.json_values import ValueScanner, extract_json, read_value

VALUES = [
    '{"a": 1}',
    '{"a": "}\\"]{"}',
    "{'it': \"it's\"}",
    '[{"a": [1, {"b": []}]}]',
    '{"a": "\\\\"}',
    "{}",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_ends_at_its_last_bracket_at_every_split(value):
    """Brackets in strings do not count, and where the text is split does not matter."""
    text = value + " tail }"
    for at in range(1, len(text)):
        scanner = ValueScanner()
        end = scanner.scan(text[:at])
        if end is None:
            again = at - scanner.kept
            behind = scanner.scan(text[again:])
            assert behind is not None
            end = again + behind
        assert end == len(value)


def test_markup_ends_an_incomplete_value():
    """A closing tag or a fence cannot stand in JSON: it shows that a bracket was forgotten."""
    scanner = ValueScanner()
    assert scanner.scan('{"a": {"b": "<`"}</tool_call>') == len('{"a": {"b": "<`"}')
    assert scanner.missing == "}"


@pytest.mark.parametrize(
    "text", ['{"a": 1', '{"a": {"b": 1}, "c', '{"a": "x"', '{"a": [{"b": 1}', '{"a": "}']
)
def test_nothing_is_made_up_where_more_than_a_bracket_may_be_missing(text):
    """Only the outermost bracket, behind another's end, is known to be all that is missing."""
    scanner = ValueScanner()
    assert scanner.scan(text) is None
    assert scanner.missing == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [true, null, 1.5]}', {"a": [True, None, 1.5]}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ("{'a': true, 'b': null,}", {"a": True, "b": None}),
        ('{"a":\u202f1,\u2028\u200b"b":\xa02}\u3000', {"a": 1, "b": 2}),
        ("{'say': 'it is true'}", {"say": "it is true"}),
        ("{'a': \"it's\"}", {"a": "it's"}),
        ('{"a": "one\ntwo"}', {"a": "one\ntwo"}),
        ("{'a': 'one\ntwo'}", {"a": "one\ntwo"}),
        (r"{'a': '\d+\/\"'}", {"a": '\\d+/"'}),
        ("{'path': 'C:\\\\temp'}", {"path": "C:\\temp"}),
        ("(1, 2)", [1, 2]),
        ("{'名': '你好'}", {"名": "你好"}),
        ('{"a": 1,}', {"a": 1}),
        ("{1: 2}", {"1": 2}),
        ('{a:1,b:<|"|>,<|"|>}', {"a": 1, "b": ","}),
        (
            '{a:https://x.org/?b=1, or none<|"|>,b:[<|"|>c<|"|>]}',
            {"a": "https://x.org/?b=1, or none", "b": ["c"]},
        ),
    ],
)
def test_json_and_python_literals_are_read(text, value):
    """JSON, Python literals and mixtures say what they look like."""
    assert read_value(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a'}",
        "b'x'",
        "__import__('os')",
        "{'a': {1, 2}}",
        "1+2j",
        "[" * 100_000,
        "{" * 100_000,
        "'\\x'",
        "{'a': '\\ud8'}",
        "\x00",
        "[1, 2]" * 3,
        '{a:b, c: d<|"|>}',
        '{a:<|"|>b <|"|>c<|"|> d<|"|>}',
        "{" + "a:b " * 25_000 + '<|"|>}',
        "{'a': " * 5000 + "1" + "}" * 5000,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_neither_is_a_value_error(text):
    """Whatever a model writes, reading it raises nothing else."""
    with pytest.raises(ValueError, match=r"."):
        read_value(text)


@pytest.mark.parametrize("number", ["5in", "5.in", "0x1for", "1e5and", "1jor", "5is"])
def test_a_number_with_a_word_behind_it_is_refused_without_a_warning(number, recwarn):
    """Python would print one to the program's standard error, as of code."""
    with pytest.raises(ValueError, match="JSON"):
        read_value(f'{{"width": {number}}}')
    assert not recwarn.list
    assert read_value(f"{{'width': 'x {number}'}}") == {"width": f"x {number}"}


def test_random_text_raises_nothing_else():
    """Shuffled pieces of JSON and Python never break the reader."""
    dice = random.Random(7)  # noqa: S311 - shuffles, hides nothing
    pieces = [
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        ":",
        ",",
        "\\",
        "a",
        "1",
        "True",
        "null",
        "\n",
        "(",
        "-",
        "`",
        "<",
        "\u2028",
    ]
    for _ in range(5000):
        text = "".join(dice.choices(pieces, k=dice.randrange(14)))
        for read in (read_value, extract_json):
            with contextlib.suppress(ValueError):
                json.dumps(read(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('As in [1] and {x}: {"a": {"b": 2}} and {"c": 3}', {"a": {"b": 2}}),
        ("I'd say {'a': \"it's\"}.", {"a": "it's"}),
        ("The list is [1, 2].", [1, 2]),
        ('{see {"a": 1}}', {"a": 1}),
        ("42", 42),
    ],
)
def test_json_is_found_in_prose_and_fences(text, value):
    """The whole reply, else the first object, else the first array."""
    assert extract_json(text) == value


@pytest.mark.parametrize("text", ["", "no JSON here", "{", '{"a": 1', "{not json}"])
def test_a_reply_without_json_says_why(text):
    """The complaint is one that can be shown to the model."""
    with pytest.raises(ValueError, match=r"JSON"):
        extract_json(text)


def test_a_reply_full_of_brackets_takes_no_time():
    """Prose made of brackets is given up on, not searched from each of them."""
    start = time.thread_time()
    with pytest.raises(ValueError, match=r"JSON"):
        extract_json("{ " * 50_000)
    assert time.thread_time() - start < 5
