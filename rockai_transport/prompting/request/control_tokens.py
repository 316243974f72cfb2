"""Keep the text of a message from ending its turn or opening another.

A model's server turns ``[/INST]``, ``<|im_end|>`` or ``<|eot_id|>`` into control tokens wherever they stand
in the prompt: between turns, and as well in a user's text, in a page that a tool fetched, in a tool's name.

**The rule**: a zero-width space (U+200B) is put behind the first character of every control token that a
message's text holds. A reader sees the text unchanged, and taking the zero-width spaces out again gives it
back; the tokenizer no longer sees the token. It is done

* to the final text of each turn, after merging and after the tool calls and results were written into it, so
  that a token which only comes together by joining is found as well;
* at *every* place where a token begins, overlapping ones too, and by inserting only, never by removing, so
  that no token can come together by the neutralising itself;
* in single turns too, where the model's own server puts the text into its template;
* with the tokens of every template known here, whichever the dialect, since a dialect told from a model's
  name may be the wrong one; for a Jinja template, with whatever looks like a token in its source besides.

It is not done to a completion's prompt or to a prompt that the caller formatted: there the text *is* the
prompt, and its control tokens are the caller's own.

**Placeholders.** ``{prompt}`` or ``{system_prompt}`` in a message is sent as it is. Servers of this kind fill
``prompt_template`` in with one ``str.format`` (Replicate's do), which does not look at the values it puts in,
so such text arrives exactly; doubled braces would arrive doubled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import re

NEUTRAL_BREAK: Final = "\u200b"
# Whatever a reader, or a model, takes for the end of a line.
_LINE_ENDS: Final = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"


def neutralise(text: str, tokens: tuple[str, ...], labels: tuple[str, ...] = ()) -> str:
    """Break every control token in a text.

    Args:
        text: What a message says.
        tokens: Control tokens, or beginnings of them, at least one: what begins like one is broken.
        labels: Words that open a turn at the beginning of a line (``"User:"``).

    Returns:
        The text with a zero-width space inside each.
    """
    return _pattern(tokens, labels).sub(_with_break, text)


def _with_break(match: re.Match[str]) -> str:
    return match[0] + NEUTRAL_BREAK


@lru_cache(maxsize=32)
def _pattern(tokens: tuple[str, ...], labels: tuple[str, ...]) -> re.Pattern[str]:
    """Match the first character of each token and label, so that overlapping ones are found too."""
    import re

    first = "".join(sorted({re.escape(token[0]) for token in tokens}))
    # The class first: most characters begin no token, and are passed over at once.
    alternatives = [f"(?=[{first}])(?={'|'.join(map(re.escape, tokens))})"]
    if labels:
        begin_of_line = f"(?<![^{_LINE_ENDS}])[^\\S{_LINE_ENDS}]*"
        alternatives.append(f"{begin_of_line}(?=(?i:{'|'.join(map(re.escape, labels))}))")
    return re.compile(f"(?:{'|'.join(alternatives)}).", re.DOTALL)
