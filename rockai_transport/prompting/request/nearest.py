"""The nearest right name, for every error about a wrong one."""

from __future__ import annotations

from collections.abc import Iterable

# What other services call it; difflib cannot know that these mean the same.
_KNOWN_SYNONYMS = {
    wrong: tuple(right.split())
    for right, wrongs in {
        "api_token": "apikey openai_api_key replicate_api_token replicate_api_key rockai_api_key token",
        "base_url": "api_url endpoint endpoint_url host openai_api_base server_url url",
        "context_window": "context_length n_ctx num_ctx",
        "default_headers": "extra_headers headers",
        "max_tokens max_new_tokens": "max_completion_tokens max_length max_new_tokens max_output_tokens"
        " max_tokens_to_sample n_predict num_predict",
        "model": "deployment_name engine model_id modelname repo_id",
        "model_kwargs additional_kwargs": "additional_kwargs extra_body generation_kwargs input model_kwargs",
        "repetition_penalty": "frequency_penalty presence_penalty repeat_penalty",
        "stop": "stop_sequences stop_words stopping_strings",
        "temperature": "temp",
        "timeout": "request_timeout",
        "": "verbosity",  # a model's input elsewhere, and not `verbose`
    }.items()
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
    synonyms = _KNOWN_SYNONYMS.get(wrong)
    for synonym in synonyms or ():
        if synonym in right:
            return right[synonym]
    if synonyms == ():
        return None
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
