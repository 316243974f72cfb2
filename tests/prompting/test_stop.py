import itertools
import random

import pytest

from rockai_transport.prompting.reply.stop import StopCutter


def cut(pieces, stop):
    cutter = StopCutter(stop)
    emitted = []
    for piece in pieces:
        emitted.append(cutter.feed(piece))
        if cutter.cut:
            break
    return "".join(emitted) + cutter.flush(), cutter


def expected(text, stop):
    """The rule itself: the sequence that is complete first wins, of two at one place the longest."""
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stop if s and text[:end].endswith(s)]
        if starts:
            return text[: min(starts)]
    return text


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("Thought: a\nObservation: b", ["Observation:"]),
        ("aaab", ["aab"]),
        ("abcabd", ["abd"]),
        ("one ENDtwo", ["ENDED", "END"]),
        ("ab", ["abcX", "b"]),
        ("xaby", ["ab", "b"]),
        ("春天在哪里", ["在哪"]),
        ("no stop here", ["###"]),
        ("ends with ##", ["###"]),
        ("###", ["###"]),
        ("", ["x"]),
        ("abc", []),
    ],
)
def test_the_text_is_cut_alike_at_every_split(text, stop):
    """However a text is split into two or three pieces, the same text comes out."""
    for first, second in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        got, cutter = cut([text[:first], text[first:second], text[second:]], stop)
        assert got == expected(text, stop)
        assert cutter.cut == (got != text)
    assert cut(text, stop)[0] == expected(text, stop)


def test_random_texts_are_cut_by_the_rule():
    """Over a small alphabet, where everything overlaps, the rule holds for any split."""
    dice = random.Random(5)  # noqa: S311 - shuffles, hides nothing
    for _ in range(3000):
        text = "".join(dice.choices("ab", k=dice.randrange(12)))
        stop = ["".join(dice.choices("ab", k=dice.randrange(4))) for _ in range(dice.randrange(4))]
        pieces, rest = [], text
        while rest:
            at = dice.randrange(1, len(rest) + 1)
            pieces.append(rest[:at])
            rest = rest[at:]
        assert cut(pieces, stop)[0] == expected(text, stop), (pieces, stop)


def test_only_what_could_begin_a_stop_sequence_is_held_back():
    """Text goes on at once, but for an end that may be the beginning of a stop sequence."""
    cutter = StopCutter(["###"])
    assert cutter.feed("a#b") == "a#b"
    assert cutter.feed("c##") == "c"
    assert cutter.feed("d") == "##d"
    assert cutter.flush() == ""


def test_it_says_which_stop_sequence_was_reached():
    """The stop sequence that cut is kept for the metadata, and nothing comes out behind it."""
    cutter = StopCutter(["b", "c"])
    assert cutter.feed("abc") == "a"
    assert (cutter.cut, cutter.stop) == (True, "b")
    assert cutter.feed("more") == ""
    assert cutter.flush() == ""
