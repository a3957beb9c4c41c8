"""The errors for unknown metric names."""

import pytest

from winnow.comparison.available_metrics import AvailableMetrics
from winnow.errors import WinnowError

CHOICES = AvailableMetrics(
    {"probe": {"nike": ["log_odds", "log_odds_of_{n}_tokens"]}, "test": {"all": ["loss"], "label/LABEL": ["loss"]}},
    ("seconds",),
)


@pytest.mark.parametrize(
    "name",
    ["probe/nike/log_odds", "probe/nike/log_odds_of_3_tokens", "test/all/loss", "test/label/torch/loss", "seconds"],
)
def test_an_available_name_is_not_an_error(name: str) -> None:
    assert CHOICES.find_error(name, "metrics") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("second", "unknown metric 'second'. Did you mean 'seconds'?"),
        (
            "probe/nick/log_odds",
            "unknown probe 'nick' in 'probe/nick/log_odds'. Did you mean 'nike'? Available:",
        ),
        ("test/al/loss", "unknown slice 'al' in 'test/al/loss'. Did you mean 'all'? Available: all, label/LABEL."),
        ("test/all/lass", "unknown score 'lass' of the slice 'all'. Did you mean 'loss'? Available: loss."),
        ("test/loss", "Available: probe/PROBE/SCORE (nike); test/SLICE/SCORE (all, label/LABEL); seconds."),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion_and_the_allowed_names(name: str, message: str) -> None:
    error = CHOICES.find_error(name, "metrics")
    assert isinstance(error, WinnowError)
    assert message in error.message
    assert error.key == "metrics"
