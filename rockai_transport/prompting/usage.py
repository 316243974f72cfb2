"""The token counts of a run, if the service reports them.

It is not known to report any: the names are those of a similar service (Replicate), *assumed*. Nothing is
ever estimated here; counts that are not reported are unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

_INPUT_KEY: Final = "input_token_count"
_OUTPUT_KEY: Final = "output_token_count"
_REASON_KEYS: Final = ("finish_reason", "stop_reason")
_LENGTH: Final = frozenset({"length", "max_tokens", "max_length"})


class Usage(NamedTuple):
    """Tokens of one or more runs."""

    input_tokens: int
    output_tokens: int

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


def reported_usage(metrics: Iterable[Mapping[str, Any] | None]) -> Usage | None:
    """Add up the tokens that the service reports.

    Args:
        metrics: The ``metrics`` of each run of a reply.

    Returns:
        The sum over all runs; None if any of them did not report its tokens.
    """
    counts = [(run or {}).get(key) for run in metrics for key in (_INPUT_KEY, _OUTPUT_KEY)]
    known = [count for count in counts if isinstance(count, int)]
    if not counts or len(known) < len(counts):
        return None
    return Usage(sum(known[0::2]), sum(known[1::2]))


def reported_length_end(metrics: Mapping[str, Any]) -> bool:
    """Return whether the service reports that a run ended at its length limit.

    Args:
        metrics: The run's ``metrics``.

    Returns:
        Whether it does, in one of the terms of similar services.
    """
    return any(str(metrics.get(key)).lower() in _LENGTH for key in _REASON_KEYS)
