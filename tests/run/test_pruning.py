"""The rule that stops a run, which Optuna's median pruner implements."""

import math

import pytest

from winnow.run.pruning import MIN_CURVES, Pruning

CURVES = [{10: 3.0, 20: 2.0 + 0.1 * number, 30: 1.0} for number in range(MIN_CURVES)]
"""Losses of complete trials; the median at step 20 is 2.2."""


@pytest.mark.parametrize(
    ("curve", "is_worse"),
    [
        ({10: 9.0, 20: 2.3}, True),
        ({10: 9.0, 20: 2.1}, False),
        ({10: 2.1, 20: 2.3}, False),  # the best value so far is compared
        ({10: math.nan, 20: math.nan}, True),
        ({9: 9.0}, False),  # the first third of the budget
        ({10: 9.0, 30: 9.0}, False),  # the budget is exhausted
        ({}, False),
    ],
)
def test_a_run_is_stopped_if_its_best_value_is_worse_than_the_median_at_the_same_step(
    curve: dict[int, float], is_worse: bool
) -> None:
    assert Pruning("validation/loss", maximize=False, curves=CURVES).is_worse(curve, max_steps=30) is is_worse


def test_a_run_is_not_stopped_without_enough_curves_or_if_higher_is_better() -> None:
    assert not Pruning("validation/loss", maximize=False, curves=CURVES[1:]).is_worse({20: 9.0}, max_steps=30)
    assert not Pruning("probe/nike/log_odds", maximize=True, curves=CURVES).is_worse({20: 9.0}, max_steps=30)
