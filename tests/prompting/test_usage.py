import pytest

from rockai_transport.prompting.usage import reported_usage


@pytest.mark.parametrize(
    ("metrics", "usage"),
    [
        ([{"input_token_count": 1, "output_token_count": 2}], (1, 2)),
        ([{"input_token_count": 1, "output_token_count": 2}] * 2, (2, 4)),
        ([{"input_token_count": 1, "output_token_count": 2}, None], None),
        ([{"input_token_count": 1}, {"output_token_count": 2}], None),
        ([{}], None),
        ([], None),
    ],
)
def test_the_usage_of_all_runs_is_added_up_or_not_known(metrics, usage):
    """A reply that took two runs took the tokens of both."""
    assert reported_usage(metrics) == usage
