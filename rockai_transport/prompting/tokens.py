"""How many tokens a text has, roughly, without any tokenizer."""

from __future__ import annotations

_CHARACTERS_PER_TOKEN = 4
_DENSE_FROM = 0x2E80  # CJK radicals: from here on a character is about one token


def approximate_token_count(text: str) -> int:
    """Estimate a text's number of tokens.

    Approximate by design: four characters of an alphabetic script, or one character of Chinese, Japanese,
    Korean or an emoji, count as one token. Real tokenizers differ from this by a third either way, and from
    each other as much.

    Args:
        text: Any text.

    Returns:
        The estimate; 0 for the empty text only.
    """
    dense = sum(character >= chr(_DENSE_FROM) for character in text)
    return dense + -(-(len(text) - dense) // _CHARACTERS_PER_TOKEN)
