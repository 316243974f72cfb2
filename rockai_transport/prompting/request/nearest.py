"""The nearest correct name, for every error about a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rockai_transport.prompting.data import read_table

_SYNONYMS: Final = {
    wrong: right.split()
    for right, wrongs in read_table("request/synonyms.json")["names"].items()
    for wrong in wrongs.split()
}
"""Other services' names → ours: difflib cannot know that they mean the same."""
_TOKEN_NAME: Final = re.compile(r"(?i)(api|access|auth|bearer|secret)_?(key|token)$")


def meant_by(name: str) -> list[str] | None:
    """Return what another service's name is called here, the best first; None if it is not known."""
    known = _SYNONYMS.get(name.casefold())
    return ["api_token"] if known is None and _TOKEN_NAME.search(name) else known


def nearest(name: str, candidates: Iterable[str], cutoff: float = 0.75) -> str | None:
    """Find the candidate that a misspelled name most likely meant.

    Args:
        name: The name as written.
        candidates: The correct names.
        cutoff: Minimum similarity, as difflib's ratio.

    Returns:
        The nearest candidate, or None if none is similar enough.
    """
    from difflib import get_close_matches

    right = {candidate.casefold(): candidate for candidate in candidates}
    wrong = name.casefold()
    meant = meant_by(name)
    if meant is not None:
        known = next((right[one] for one in meant if one in right), None)
        if known or not meant:
            return known
    matches = get_close_matches(wrong, right, n=1, cutoff=cutoff)
    return right[matches[0]] if matches else None


def unknown_name(what: str, name: str, candidates: Iterable[str], cutoff: float = 0.5) -> str:
    """Return the error message for an unknown name.

    Args:
        what: What kind of name, with its article: ``"an argument of ChatRockAI"``.
        name: The name as written.
        candidates: The correct names.
        cutoff: As for `nearest`; lower, because function names are short.

    Returns:
        A sentence with the nearest correct name, or with all of them if none is similar.
    """
    names = sorted(candidates)
    match = nearest(name, names, cutoff)
    if match is not None:
        return f"{name!r:.200} is not {what}; did you mean {match!r}?"
    return f"{name!r:.200} is not {what}; there are: {', '.join(names) or 'none'}."
