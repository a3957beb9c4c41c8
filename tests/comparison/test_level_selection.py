"""Selecting a level of a factor on validation scores."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from winnow.comparison.level_selection import expect_best, select_level_per_seed
from winnow.errors import WinnowError


def test_the_best_level_of_each_seed_is_selected() -> None:
    validation = np.array([[1.0, 2.0, 9.0], [4.0, 3.0, 4.5], [2.0, np.nan, 8.0]])
    assert select_level_per_seed(validation).tolist() == [1, 1, 0]
    assert select_level_per_seed(validation, higher_is_better=False).tolist() == [0, 0, 1]
    with pytest.raises(WinnowError, match="at least one finite score"):
        select_level_per_seed(np.full((2, 3), np.nan))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_expected_best_is_the_mean_over_all_subsets(higher_is_better: bool) -> None:
    rng = np.random.default_rng(0)
    validation, test = rng.normal(size=6), rng.normal(size=6)
    pick = np.argmax if higher_is_better else np.argmin
    for runs, observed in enumerate(expect_best(validation, test, higher_is_better), start=1):
        subsets = [list(subset) for subset in combinations(range(6), runs)]
        assert observed == pytest.approx(np.mean([test[subset][pick(validation[subset])] for subset in subsets]))
    assert len(expect_best([1.0, np.nan, 2.0])) == 2
    assert len(expect_best([])) == 0
