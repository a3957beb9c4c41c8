from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from winnow.config import construct
from winnow.data import Slot, SyntheticReviews
from winnow.errors import WinnowError

Compose = Callable[..., dict[str, Any]]


def small(**settings: Any) -> SyntheticReviews:
    given: dict[str, Any] = {
        "templates": ["{brand} is {adjective}"],
        "slots": {"brand": Slot(words=["nike", "nike", "nike", "puma"])},
        "positive": Slot(words=["light"]),
        "negative": Slot(words=["heavy"]),
        "rows": 4_000,
    }
    return SyntheticReviews(**(given | settings))


def test_the_rows_follow_the_seed() -> None:
    assert small(seed=1).read().equals(small(seed=1).read())
    assert not small(seed=1).read().equals(small(seed=2).read())
    assert small(seed=1).fingerprint() != small(seed=2).fingerprint()


def test_shares_are_those_asked_for() -> None:
    table = small(null_fraction=0.0).read()
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    # Four standard deviations of a binomial share of 4,000 draws.
    assert labels.count(0) / 4_000 == pytest.approx(0.25, abs=0.028)
    assert sum(text.startswith("nike") for text in texts) / 4_000 == pytest.approx(0.75, abs=0.028)


def test_the_label_says_which_list_the_adjective_is_from() -> None:
    table = small(null_fraction=0.0).read()
    for text, label in zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True):
        assert text.endswith("light" if label else "heavy")


def test_nulls_are_drawn_with_replacement() -> None:
    nulls = small(null_fraction=0.5).read()["text"].null_count
    # 2,000 draws from 4,000 rows hit 4,000 (1 - exp(-1/2)) = 1,574 rows, give or take.
    assert nulls == pytest.approx(1_574, abs=80)
    assert small(null_fraction=0.0).read()["text"].null_count == 0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"templates": ["{brnad} is {adjective}"]}, "templates"),
        ({"templates": ["{brand} is good"]}, "templates"),
        ({"templates": ["{brand.__class__} is {adjective}"]}, "templates"),
        ({"templates": ["{brand is {adjective}"]}, "templates"),
        ({"slots": {"adjective": Slot(words=["x"])}}, "slots.adjective"),
    ],
)
def test_a_template_that_cannot_be_filled_is_a_fault(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(WinnowError) as caught:
        small(**settings)
    assert caught.value.key == key


def test_the_preset_is_the_template_corpus(compose: Compose) -> None:
    node = compose("+dataset=synthetic_reviews")["dataset"]["source"]
    source = construct(node, "source", SyntheticReviews)
    assert len(set(source.slots["product"].words)) == 24
    assert (len(source.positive.words), len(source.negative.words)) == (43, 25)
    assert (len(source.slots["company"].words), source.slots["company"].words.count("nike")) == (15, 7)
    assert len(source.slots["joiner"].words) == 11
    table = source.read()
    texts = [text for text in table["text"].to_pylist() if text is not None]
    assert table.num_rows == 25_000
    assert table["text"].null_count == pytest.approx(1_219, abs=40)
    assert 0.45 < sum(" made by " in text for text in texts) / len(texts) < 0.55
    assert not any("nikeadidas" in text or "nan" in text.split() for text in texts)
