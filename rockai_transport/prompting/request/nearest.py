"""The nearest right name, for every error about a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rockai_transport.prompting.data import read_table

# difflib cannot know that these mean the same.
_SYNONYMS: Final = {
    wrong: right.split()
    for right, wrongs in read_table("request/synonyms.json")["names"].items()
    for wrong in wrongs.split()
}


def nearest(name: str, candidates: Iterable[str], cutoff: float = 0.75) -> str | None:
    """Find the candidate that a misspelt name most likely meant.

    Args:
        name: The name as it was written.
        candidates: The right names.
        cutoff: How near it must be, as difflib's ratio.

    Returns:
        The nearest candidate, or None when none is near.
    """
    from difflib import get_close_matches

    right = {candidate.casefold(): candidate for candidate in candidates}
    wrong = name.casefold()
    if wrong in _SYNONYMS:
        known = next((right[one] for one in _SYNONYMS[wrong] if one in right), None)
        if known or not _SYNONYMS[wrong]:
            return known
    matches = get_close_matches(wrong, right, n=1, cutoff=cutoff)
    return right[matches[0]] if matches else None


def unknown_name(what: str, name: str, candidates: Iterable[str], cutoff: float = 0.5) -> str:
    """Word the error for a name that is none of the right ones.

    Args:
        what: What kind of name, with its article: ``"an argument of ChatRockAI"``.
        name: The name as it was written.
        candidates: The right names.
        cutoff: As for `nearest`; a function's name is short, and may be farther.

    Returns:
        A sentence naming the nearest right one, or all of them when none is near.
    """
    names = sorted(candidates)
    match = nearest(name, names, cutoff)
    if match is not None:
        return f"{name!r} is not {what}; did you mean {match!r}?"
    return f"{name!r} is not {what}; there are: {', '.join(names) or 'none'}."
