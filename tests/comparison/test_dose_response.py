"""The effect of a filter against the fraction of rows that it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from winnow.comparison import Comparison, analyze, collect_study
from winnow.comparison.collected_study import Declaration

FRACTIONS = (10, 50, 90)
DOSES = {f"mild[mood={fraction}%]": 0.9 - fraction / 100 for fraction in FRACTIONS}
CONTROLS = {f"{arm} random": -0.05 for arm in DOSES}


@pytest.fixture(scope="module")
def compared(planted_store: Any) -> Comparison:
    arms = list(DOSES)
    declaration = {
        "filter": arms[0],
        "control": f"{arms[0]} random",
        "controls": {arm: f"{arm} random" for arm in arms},
        "tested_filters": arms,
        "guard_metric": "test/all/loss",
        "cost_margin": 0.05,
    }
    rows = {arm: 80 * fraction for arm, fraction in zip(arms, FRACTIONS, strict=True)}
    planted_store.build(
        "dose-series",
        {"full": 0.0, **DOSES, **CONTROLS},
        declaration=declaration,
        train_rows=rows | {f"{arm} random": count for arm, count in rows.items()},
        seeds=(1, 2, 3),
        secondary=(),
    )
    return analyze(collect_study(planted_store.uri, "dose-series"))


def test_each_dose_is_compared_with_the_baseline_and_with_its_own_control(compared: Comparison) -> None:
    (response,) = compared.doses
    assert (response.filter, response.setting) == ("mild", "mood")
    assert [point.fraction for point in response.points] == pytest.approx([0.1, 0.5, 0.9])
    for point in response.points:
        mean, control = compared.arms[point.arm].mean, compared.arms[f"{point.arm} random"].mean
        assert point.control == f"{point.arm} random"
        assert point.effect.estimate == pytest.approx(mean - compared.arms["full"].mean)
        assert point.effect_of_selection is not None
        assert point.effect_of_selection.estimate == pytest.approx(mean - control)
        assert point.cost is not None


def test_the_trend_and_the_best_doses(compared: Comparison) -> None:
    (response,) = compared.doses
    effects = [point.effect.estimate for point in response.points]
    slope = np.polyfit([point.fraction for point in response.points], effects, 1)[0]
    assert response.trend.estimate == pytest.approx(slope)
    assert response.trend.ci_low < -1.0 < response.trend.ci_high
    assert response.best_doses[0] == "10%"
    assert "90%" not in response.best_doses
    assert response.sentences[1].startswith("The effect of mild decreases with the fraction of rows kept")
    assert compared.as_dict()["doses"][0]["points"][0]["value"] == "10%"


def test_the_control_of_each_filter() -> None:
    declaration = Declaration("m", ("full", "a", "b"), (1,), filter="a", control="a random", controls={"b": "b random"})
    assert [declaration.get_control(arm) for arm in ("a", "b", "c", None)] == ["a random", "b random", None, None]
