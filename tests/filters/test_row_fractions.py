"""Filters that keep a given fraction of the training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.small_corpus import SHOES, CorpusOf
from winnow.errors import WinnowError
from winnow.filters import Filter, Length, NotNull, Verdicts

TEXTS = [f"{'shoes ' * (i % 2)}{'x' * (10 + i // 4)}" for i in range(42)]  # four texts have the same number of letters


def longest(fraction: str, **settings: Any) -> Filter:
    signals = {"length": Length(at_least=1), "product": SHOES}
    return Filter(
        **({"name": "longest", "signals": signals, "keep": "length", "sweep": {"length": fraction}} | settings)
    )


def kept_rows(verdicts: Verdicts) -> set[int]:
    return set(np.flatnonzero(verdicts.keep_mask()))


def test_the_rows_with_the_highest_scores_are_kept_and_smaller_fractions_are_subsets(
    corpus_of: CorpusOf, tmp_path: Path
) -> None:
    corpus = corpus_of(TEXTS)
    verdicts = {
        fraction: longest(fraction).compute_verdicts(corpus, tmp_path, progress=False)
        for fraction in ("10%", "25%", "50%", "90%")
    }
    counts = [int(v.keep_mask("train").sum()) for v in verdicts.values()]
    assert counts == [4, 10, 20, 36], "40 training rows; rows with equal scores are divided"
    kept = [kept_rows(v) for v in verdicts.values()]
    assert kept[0] < kept[1] < kept[2] < kept[3]
    lengths = np.array([len(text) for text in TEXTS])
    half = verdicts["50%"]
    assert half.thresholds == {"length": min(lengths[list(kept[2])])}
    assert lengths[~half.keep_mask()].max() <= half.thresholds["length"]
    assert half.summary()["thresholds"] == half.thresholds
    half.save(tmp_path / "saved")
    assert Verdicts.load(tmp_path / "saved").thresholds == half.thresholds


def test_rows_with_equal_scores_are_divided_in_every_split(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(["x"] * 90, ["train"] * 30 + ["validation"] * 30 + ["test"] * 30)
    verdicts = longest("50%").compute_verdicts(corpus, tmp_path, progress=False)
    assert verdicts.keep_mask("train").sum() == 15
    for split in ("validation", "test"):  # the row ids of the test split are all larger than those of the train split
        assert 5 <= verdicts.keep_mask(split).sum() <= 25


def test_the_fraction_refers_to_the_rows_that_the_filter_keeps(corpus_of: CorpusOf, tmp_path: Path) -> None:
    verdicts = longest("25%", keep="length & product").compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False)
    assert verdicts.keep_mask("train").sum() == 10
    inverted = longest("75%", keep="~length").compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False)
    assert inverted.keep_mask("train").sum() == 30


def test_a_fraction_that_the_other_signals_rule_out_is_an_error(corpus_of: CorpusOf, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"cannot keep 70% .* Choose a fraction between 0.0% and 50.0%") as caught:
        longest("70%", keep="length & product").compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False)
    assert caught.value.key == "sweep.length"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sweep": {"length": "0.3"}}, "expected a percentage between 0% and 100%, got '0.3'"),
        ({"sweep": {"given": "30%"}, "signals": {"given": NotNull(), "length": Length(at_least=1)}}, "Allowed: length"),
        ({"sweep": {"length": "30%", "product": "30%"}}, "expected one signal, got length, product"),
        ({"mode": "short_circuit"}, "requires the scores of all rows"),
    ],
)
def test_invalid_settings_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WinnowError, match=message):
        longest("30%", **settings)


def test_the_fraction_is_part_of_the_fingerprint() -> None:
    fingerprints = [longest("30%", sweep=sweep).fingerprint() for sweep in ({}, {"length": "30%"}, {"length": "50%"})]
    assert len(set(fingerprints)) == 3
