"""The cluster of each held-out row: a declared column, the template, the columns of the split, or near-duplicates."""

from __future__ import annotations

import pyarrow as pa
import pytest

from winnow.data.near_duplicates import group_near_duplicates
from winnow.errors import WinnowError
from winnow.run.held_out_clusters import NEAR_DUPLICATE_KIND, assign_clusters

LONG = "one two three four five six seven eight nine ten eleven twelve"
TEXTS = [LONG, f"{LONG} thirteen", "a short text", "nike shoes are good", "nike caps are bad"]


def build_rows(**columns: list[str | None]) -> pa.Table:
    ids = [f"id{i}" for i in range(len(TEXTS))]
    return pa.table({"row_id": ids, "text": TEXTS, "split": ["test"] * len(TEXTS), "source": ["x"] * 5, **columns})


def test_rows_without_columns_are_clustered_with_their_near_duplicates() -> None:
    clusters = assign_clusters(build_rows())
    assert clusters.labels.to_pylist() == ["id0", "id0", "id2", "id3", "id4"]
    assert set(clusters.kinds.to_pylist()) == {NEAR_DUPLICATE_KIND}


def test_the_template_comes_before_near_duplicates() -> None:
    clusters = assign_clusters(build_rows(template=[None, None, None, "{p} are {a}", "{p} are {a}"]))
    assert clusters.labels.to_pylist() == ["id0", "id0", "id2", *["template: {p} are {a}"] * 2]
    assert clusters.kinds.to_pylist() == [*[NEAR_DUPLICATE_KIND] * 3, "template", "template"]


def test_the_columns_of_the_split_form_one_label() -> None:
    columns = {"brand": ["a", "a", "a", "b", None], "product": ["p", "p", "q", "q", "q"]}
    clusters = assign_clusters(build_rows(**columns), group_by=["brand", "product"])
    assert clusters.labels[0] == clusters.labels[1]
    assert len(set(clusters.labels.to_pylist())) == 4
    assert clusters.kinds.to_pylist() == [*["brand, product"] * 4, NEAR_DUPLICATE_KIND]


def test_a_declared_column_comes_first_and_must_exist() -> None:
    rows = build_rows(template=["t"] * 5, product=["p", "p", "q", "q", "q"])
    assert assign_clusters(rows, "product").labels.to_pylist() == [f"product: {name}" for name in "ppqqq"]
    with pytest.raises(WinnowError, match=r"no column named 'produkt'.*Did you mean 'product'") as caught:
        assign_clusters(rows, "produkt")
    assert caught.value.key == "evaluation.cluster_by"


def test_chains_of_near_duplicates_form_one_group() -> None:
    chain = [f"{LONG} a b c", f"{LONG} a b", f"{LONG} a", "other", LONG.upper()]
    assert group_near_duplicates(chain) == [0, 0, 0, 3, 0]
