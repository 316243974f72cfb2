"""Prevents the text of a message from ending its turn or opening another.

A model's server converts ``[/INST]``, ``<|im_end|>`` or ``<|eot_id|>`` to control tokens anywhere in the
prompt: between turns, but also in a user's text, in a page that a tool fetched, or in a tool's name.

**The rule**: a zero-width space (U+200B) is inserted after the first character of every control token in a
message's text. A reader sees the text unchanged, and removing the zero-width spaces restores it; the
tokenizer no longer sees the token. This is done

* to the final text of each turn, after merging, and after tool calls and results were added, so that a token
  that only joining creates is found too;
* at *every* position where a token begins, even overlapping ones, and only by inserting, never by removing,
  so that this cannot create a token itself;
* in single turns too, where the model's own server puts the text into its template;
* with the tokens of every known template, and those of published templates (``jinja_tokens.json``), whatever
  the dialect: one derived from a model's name may be wrong; for a Jinja template, also with everything in its
  source, or in a prompt that it renders, that looks like a token.

It is not done to a completion's prompt or to a prompt that the caller formatted: there the text *is* the
prompt, and its control tokens are the caller's own.

**Placeholders.** ``{prompt}`` or ``{system_prompt}`` in a message is sent unchanged. Such servers fill
``prompt_template`` with one ``str.format`` (Replicate's do), which does not interpret the inserted values, so
the text arrives exactly; doubled braces would arrive doubled.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rockai_transport.prompting.reply.token_set import one_of

NEUTRAL_BREAK: Final = "\u200b"
# All line separators of readers and models.
_LINE_ENDS: Final = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"


def neutralise(text: str, tokens: tuple[str, ...], labels: tuple[str, ...] = ()) -> str:
    """Break every control token in a text.

    Args:
        text: A message's text.
        tokens: At least one control token, or a beginning of one: everything that begins like it is broken.
        labels: Words that open a turn at the start of a line (``"User:"``).

    Returns:
        The text with a zero-width space inside each.
    """
    return _pattern(tokens, labels).sub(_broken, text)


def _broken(first: re.Match[str]) -> str:  # `sub` with a template is slow for texts without tokens
    return first[0] + NEUTRAL_BREAK


@lru_cache(maxsize=32)
def _pattern(tokens: tuple[str, ...], labels: tuple[str, ...]) -> re.Pattern[str]:
    """Match the first character of each token and label, so that overlapping ones are found too."""
    first = "".join(sorted({re.escape(token[0]) for token in tokens}))
    # The class comes first: most characters begin no token, and are skipped at once.
    alternatives = [f"(?=[{first}])(?={one_of(tokens)})"]
    if labels:
        begin_of_line = f"(?<![^{_LINE_ENDS}])[^\\S{_LINE_ENDS}]*"
        alternatives.append(f"{begin_of_line}(?=(?i:{'|'.join(map(re.escape, labels))}))")
    return re.compile(f"(?:{'|'.join(alternatives)}).", re.DOTALL)
