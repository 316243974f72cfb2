"""Sums in English and Chinese: their words as signs, and their values."""

from __future__ import annotations

import ast
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping

OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
SIGNS: Mapping[str, str] = {
    r"\bplus\b|加上|加": "+",
    r"\bminus\b|减去|减": "-",
    r"\btimes\b|\bmultiplied by\b|乘以|乘|\u00d7": "*",
    r"\bdivided by\b|除以|\u00f7": "/",
}
NUMBERS: Mapping[str, str] = {
    word: str(value)
    for words in (
        "零 一 二 三 四 五 六 七 八 九 十 十一 十二",
        "zero one two three four five six seven eight nine ten eleven twelve",
    )
    for value, word in enumerate(words.split())
}
NUMBER_WORD = "|".join(sorted((rf"\b{word}\b" if word.isascii() else word for word in NUMBERS), reverse=True))


def with_signs(text: str) -> str:
    """Return a text with signs in place of the words for them, and digits beside the signs."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", unicodedata.normalize("NFKC", text))
    for words, sign in SIGNS.items():
        text = re.sub(rf"\s*(?:{words})\s*", f" {sign} ", text, flags=re.IGNORECASE)
    beside = rf"({NUMBER_WORD})(?=\s*[-+*/])|(?<=[-+*/] )({NUMBER_WORD})"
    return re.sub(beside, lambda word: NUMBERS[word[0].lower()], text, flags=re.IGNORECASE)


def calculate(text: str) -> str | None:
    """Return the first sum of a text and its value, `None` without any."""
    for found in re.finditer(r"[\d(][\d.\s()*/+-]*[\d)]", with_signs(text)):
        try:
            value = _value(ast.parse(found[0], mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError):
            continue
        if re.search(r"[-+*/]", found[0]):
            return f"{found[0]} = {value:.12g}"
    return None


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("only + - * / on numbers")
