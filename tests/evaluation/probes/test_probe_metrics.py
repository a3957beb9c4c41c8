import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.evaluation.probes.prompt_score_formulas import (
    log_odds,
    log_probability_sum,
    precision_at_k,
    probability_sum,
)


def test_scores_match_a_hand_computed_case() -> None:
    wanted, unwanted = np.log([[0.3, 0.1], [0.05, 0.05]]), np.log([[0.1, 0.05, 0.05], [0.2, 0.1, 0.1]])
    assert log_odds(wanted, unwanted) == pytest.approx([math.log(0.4 / 0.2), math.log(0.1 / 0.4)])
    assert probability_sum(wanted) == pytest.approx([0.4, 0.1])
    assert precision_at_k(["a", "b", "c", "d"], {"b", "d", "x"}, 2) == 0.5
    assert precision_at_k(["a", "b"], {"b"}, 10) == 0.1


def test_small_probabilities_do_not_underflow() -> None:
    assert log_probability_sum(np.array([-1000.0, -1000.0])) == pytest.approx(-1000 + math.log(2))
    assert log_odds(np.array([-2000.0]), np.array([-3000.0])) == pytest.approx(1000)


@settings(suppress_health_check=[HealthCheck.too_slow])  # generating examples may be slow on a busy machine
@given(st.lists(st.floats(-50, 0), min_size=1, max_size=6), st.lists(st.floats(-50, 0), min_size=1, max_size=6))
def test_log_odds_change_sign_when_the_lists_are_swapped(wanted: list[float], unwanted: list[float]) -> None:
    good, bad = np.array(wanted), np.array(unwanted)
    assert log_odds(good, bad) == pytest.approx(-log_odds(bad, good), abs=1e-9)
