from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from winnow.data import Split
from winnow.errors import WinnowError

TEXTS = [f"text {i}" for i in range(20_000)]


def test_shares_come_out_as_asked_for() -> None:
    counts = Counter(Split(validation_fraction=0.1, test_fraction=0.2).assign(TEXTS))
    # Four standard deviations of a binomial share of 20,000 draws.
    assert counts["validation"] / 20_000 == pytest.approx(0.1, abs=0.009)
    assert counts["test"] / 20_000 == pytest.approx(0.2, abs=0.012)


def test_a_text_keeps_its_split_whatever_stands_around_it() -> None:
    split = Split()
    alone = [split.assign([text])[0] for text in TEXTS[:200]]
    assert split.assign(TEXTS[::-1])[::-1][:200] == alone


def test_the_salt_makes_another_split() -> None:
    assert Split(salt="a").assign(TEXTS) != Split(salt="b").assign(TEXTS)


def test_known_texts_stay_where_they_have_always_been() -> None:
    # A change here would silently move rows between the splits of every study.
    assert Split().assign(["nike shoes are durable", "nike caps are ugly", "puma pants are heavy"]) == [
        "train",
        "validation",
        "test",
    ]


def test_shares_that_leave_no_train_rows_are_a_fault() -> None:
    with pytest.raises(WinnowError, match="no rows to train on"):
        Split(validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ValidationError):
        Split(validation_fraction=0)
