"""A little of what `make soak` does at length: nothing that was left keeps running."""

import signal

import pytest
from faults import soak


def test_streams_that_are_left_in_each_way_are_canceled():
    """Thirteen ways, three times each."""
    left = soak.leave(3)
    assert len(left) == 13
    assert left == dict.fromkeys(left, "0 of 3")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no interval timer on Windows")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning"
)
def test_ctrl_c_at_a_random_moment_leaves_nothing_running_and_hangs_nowhere():
    """Four kinds of call, twenty-five times each; a lock that httpcore never released blocks nobody."""
    left = soak.interrupt(25)
    assert left == dict.fromkeys(left, "0 of 25")
