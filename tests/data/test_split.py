from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from winnow.data import NearDuplicates, Split
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
    with pytest.raises(WinnowError, match="sum of validation_fraction and test_fraction to be below 1"):
        Split(validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ValidationError):
        Split(validation_fraction=0)


SLOTS = {"product": [f"product {i % 97}" for i in range(3_000)], "colour": [f"colour {i % 7}" for i in range(3_000)]}


def test_rows_with_the_same_slots_stay_together() -> None:
    by_product = Split(group_by=["product"]).assign(TEXTS[:3_000], SLOTS)
    where: dict[str, set[str]] = {}
    for product, name in zip(SLOTS["product"], by_product, strict=True):
        where.setdefault(product, set()).add(name)
    assert all(len(names) == 1 for names in where.values())
    assert Counter(by_product)["train"] == pytest.approx(2_400, abs=450)
    # A cluster keeps its split when other rows come and go.
    assert Split(group_by=["product"]).assign(TEXTS[:200], {"product": SLOTS["product"][:200]}) == by_product[:200]
    both = Split(group_by=["product", "colour"]).assign(TEXTS[:3_000], SLOTS)
    assert both != by_product
    pairs = Counter(zip(SLOTS["product"], SLOTS["colour"], both, strict=True))
    assert len(pairs) == len({pair[:2] for pair in pairs})


def test_a_row_without_a_slot_goes_its_own_way() -> None:
    slots = {"product": [f"product {i % 40}" if i % 2 else None for i in range(3_000)]}
    together = Split(group_by=["product"]).assign(TEXTS[:3_000], slots)
    assert together[::2] == Split().assign(TEXTS[:3_000:2])


def chains(count: int) -> list[str]:
    """Texts in threes, each nearly the one before: the first and the third only by way of the second."""
    texts = []
    for one in range(count):
        words = [f"w{one}x{i}" for i in range(40)]
        texts += [" ".join(words), " ".join([*words[2:], "new"]), " ".join([*words[4:], "new", "newer", "newest"])]
    return texts


def test_near_duplicates_stay_together_and_so_do_theirs() -> None:
    pytest.importorskip("datasketch")
    texts = chains(120)
    split = Split(0.3, 0.3, near_duplicates=NearDuplicates(threshold=0.7, permutations=256)).assign(texts)
    triples = [set(split[place : place + 3]) for place in range(0, len(texts), 3)]
    assert sum(len(names) == 1 for names in triples) >= 118  # hashing may miss a pair
    assert {name for names in triples for name in names} == {"train", "validation", "test"}
    alone = Split(0.3, 0.3).assign(texts)
    assert sum(len(set(alone[place : place + 3])) == 1 for place in range(0, len(texts), 3)) < 60


def test_one_giant_cluster_is_an_error_that_says_why() -> None:
    pytest.importorskip("datasketch")
    texts = [f"nike shoes are known for being very {word} indeed" for word in map(str, range(200))]
    with pytest.raises(WinnowError, match=r"of 200 rows are near-duplicates.*templates") as caught:
        Split(near_duplicates=NearDuplicates(threshold=0.4, words=2)).assign(texts)
    assert caught.value.key == "near_duplicates.threshold"
    with pytest.raises(
        WinnowError, match=r"same values.*The values: \[\".*columns with more distinct values"
    ) as caught:
        Split(group_by=["colour"]).assign(TEXTS[:3_000], SLOTS)
    assert caught.value.key == "group_by"


def test_an_unknown_column_to_stay_together_by_is_an_error() -> None:
    with pytest.raises(WinnowError, match=r"no column 'produkt'.*Did you mean 'product'"):
        Split(group_by=["produkt"]).assign(TEXTS[:3_000], SLOTS)
