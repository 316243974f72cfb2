"""The nearest right name, for every error about a wrong one."""

from __future__ import annotations

from collections.abc import Iterable

# What other services call it; difflib cannot know that these mean the same.
_KNOWN_SYNONYMS = {
    "frequency_penalty": ("repetition_penalty",),
    "max_completion_tokens": ("max_tokens",),
    "max_length": ("max_tokens", "max_new_tokens"),
    "max_output_tokens": ("max_tokens", "max_new_tokens"),
    "num_ctx": ("context_window",),
    "num_predict": ("max_tokens", "max_new_tokens"),
    "presence_penalty": ("repetition_penalty",),
    "repeat_penalty": ("repetition_penalty",),
    "request_timeout": ("timeout",),
    "stop_sequences": ("stop",),
    "stop_words": ("stop",),
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
    for synonym in _KNOWN_SYNONYMS.get(wrong, ()):
        if synonym in right:
            return right[synonym]
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
