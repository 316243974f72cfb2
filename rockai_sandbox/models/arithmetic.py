"""Sums in English and Chinese: replacing words with signs, and computing values."""

from __future__ import annotations

import ast
import contextlib
import operator
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

SUM = re.compile(r"[\d(][\d.\s()*/+-]*[-+*/][\d.\s()*/+-]*[\d)]")
OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
SIGN_OF: Mapping[type[ast.operator], str] = dict(zip(OPERATORS, "+-*/", strict=True))
SIGNS: Mapping[str, str] = {
    r"\bplus\b|加上|加": "+",
    r"\bminus\b|减去|减": "-",
    r"\btimes\b|\bmultiplied by\b|乘以|乘|\u00d7|(?<=[\d)])x(?=[\d(])|(?<=[\d)] )x(?= [\d(])": "*",
    r"(?<=\d)(?:%| percent) of\b": "/ 100 *",
    r"\bdivided by\b|除以|\u00f7": "/",
}
ONES = re.findall(
    r"\w+",
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen
    """,
)
TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
CHINESE = re.findall(r"\w+", "零 一 二 三 四 五 六 七 八 九 十 十一 十二")
NUMBERS: Mapping[str, str] = {
    **{word: str(value) for value, word in enumerate(CHINESE)},
    **{word: str(value) for value, word in enumerate(ONES)},
    **{word: str(20 + 10 * at) for at, word in enumerate(TENS)},
    **{
        f"{ten}{joint}{one}": str(20 + 10 * at + value)
        for at, ten in enumerate(TENS)
        for value, one in enumerate(ONES[1:10], 1)
        for joint in " -"
    },
}
LONGEST_FIRST = sorted(NUMBERS, key=len, reverse=True)
NUMBER_WORD = "|".join(rf"\b{word}\b" if word.isascii() else word for word in LONGEST_FIRST)


def with_signs(text: str) -> str:
    """Return a text with signs instead of their words, and digits next to the signs."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", unicodedata.normalize("NFKC", text))
    for words, sign in SIGNS.items():
        text = re.sub(rf"\s*(?:{words})\s*", f" {sign} ", text, flags=re.IGNORECASE)
    beside = rf"({NUMBER_WORD})(?=\s*[-+*/])|(?<=[-+*/] )({NUMBER_WORD})"
    return re.sub(beside, lambda word: NUMBERS[word[0].lower()], text, flags=re.IGNORECASE)


def calculate(text: str) -> str | None:
    """Return the first sum in a text with its value; `None` if there is none."""
    for written, tree in _sums(text):
        try:
            return f"{written} = {_value(tree):.12g}"
        except (ValueError, ZeroDivisionError):
            continue
    return None


def operations(text: str) -> list[str]:
    """Return the operations of a text's first sum, inner ones first: «1 + 2» and «3 * 5» of «(1 + 2) * 5»."""
    tree = next((tree for _, tree in _sums(text)), None)
    done = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)][::-1] if tree else []
    try:
        return [
            f"{_value(node.left):.12g} {SIGN_OF[type(node.op)]} {_value(node.right):.12g}" for node in done
        ]
    except (KeyError, ValueError, ZeroDivisionError):
        return []


def _sums(text: str) -> Iterator[tuple[str, ast.expr]]:
    for found in SUM.finditer(with_signs(text)):
        with contextlib.suppress(SyntaxError):
            yield found[0], ast.parse(found[0], mode="eval").body


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("only + - * / on numbers")
