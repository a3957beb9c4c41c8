"""What is wrong with a metric name that is none of the choices."""

import pytest

from winnow.comparison.metric_choices import MetricChoices
from winnow.errors import WinnowError

CHOICES = MetricChoices(
    {"probe": {"nike": ["log_odds", "log_odds_of_{n}_tokens"]}, "test": {"all": ["loss"]}}, ("seconds",)
)


@pytest.mark.parametrize("name", ["probe/nike/log_odds", "probe/nike/log_odds_of_3_tokens", "test/all/loss", "seconds"])
def test_a_choice_is_no_error(name: str) -> None:
    assert CHOICES.error(name, "metrics") is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("second", "there is no metric 'second'. Did you mean 'seconds'?"),
        (
            "probe/nick/log_odds",
            "there is no probe 'nick' for 'probe/nick/log_odds'. Did you mean 'nike'? Allowed:",
        ),
        ("test/al/loss", "there is no slice 'al' for 'test/al/loss'. Did you mean 'all'? Allowed: all."),
        ("test/all/lass", "there is no score 'lass' for the slice 'all'. Did you mean 'loss'? Allowed: loss."),
        ("test/loss", "Allowed: probe/PROBE/SCORE (nike); test/SLICE/SCORE (all); seconds."),
    ],
)
def test_a_wrong_name_is_reported_with_the_nearest_and_all_allowed(name: str, told: str) -> None:
    error = CHOICES.error(name, "metrics")
    assert isinstance(error, WinnowError)
    assert told in error.message
    assert error.key == "metrics"
