import pytest

from rockai_transport.prompting.tokens import approximate_token_count


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("word", 1), ("words", 2), ("你好吗", 3), ("你好 hello", 4), ("🌸", 1)],
)
def test_tokens_are_counted_roughly(text, tokens):
    """Four letters, or one dense character, are a token."""
    assert approximate_token_count(text) == tokens
