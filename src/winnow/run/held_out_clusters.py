"""Assign each held-out row to a cluster of similar rows, so that comparisons can generalize to new clusters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from winnow.data.near_duplicates import group_near_duplicates
from winnow.errors import WinnowError, did_you_mean

TEMPLATE_COLUMN: Final = "template"
NEAR_DUPLICATE_KIND: Final = "near-duplicate group"

MAX_GROUPED_ROWS: Final = 20_000
"""The maximum number of unlabeled rows per split for which near-duplicates are grouped."""


@dataclass(frozen=True)
class RowClusters:
    """The cluster of each held-out row.

    Attributes:
        labels: The label of each row's cluster. A row that is not similar to any other row forms its own cluster.
        kinds: How each row's cluster was formed: the name of the column, if the cluster's rows have the same value in
            this column, or ``near-duplicate group``.
    """

    labels: pa.Array
    kinds: pa.Array


def assign_clusters(rows: pa.Table, cluster_by: str | None = None, group_by: Sequence[str] = ()) -> RowClusters:
    """Return the cluster of each row.

    If ``cluster_by`` is given, the cluster is the row's value in this column. Otherwise, it is the row's value in the
    column ``template`` or, if there is none, in the columns ``group_by``. Rows without such a value are clustered with
    their near-duplicates.

    Args:
        rows: The rows of one split.
        cluster_by: The declared cluster column.
        group_by: The columns by which the split groups rows. The values in these columns together form one label.

    Raises:
        WinnowError: If the declared column does not exist (key ``evaluation.cluster_by``).
    """
    if error := find_cluster_error(rows.column_names, cluster_by):
        raise error
    candidates = [(cluster_by,)] if cluster_by is not None else [(TEMPLATE_COLUMN,), tuple(group_by)]
    labels: list[str | None] = [None] * rows.num_rows
    kinds: list[str | None] = [None] * rows.num_rows
    for columns_of_label in candidates:
        if columns_of_label and all(name in rows.column_names for name in columns_of_label):
            kind = ", ".join(columns_of_label)
            values = list(zip(*(rows[name].to_pylist() for name in columns_of_label), strict=True))
            for position, row_values in enumerate(values):
                if labels[position] is None and None not in row_values:
                    labels[position] = f"{kind}: {_format_label(row_values)}"
                    kinds[position] = kind
    _label_near_duplicates(rows, labels, kinds)
    return RowClusters(pa.array(labels, pa.string()), pa.array(kinds, pa.string()))


def find_cluster_error(columns: Sequence[str], cluster_by: str | None) -> WinnowError | None:
    """Return an error if the declared cluster column is not among the columns of the corpus."""
    if cluster_by is None or cluster_by in columns:
        return None
    names = [name for name in columns if name not in ("row_id", "text", "split")]
    return WinnowError(
        f"the corpus has no column named {cluster_by!r}.{did_you_mean(cluster_by, names)} Available: "
        f"{', '.join(names)}. Correct the name, or add the column to `columns` of the source.",
        "evaluation.cluster_by",
    )


def _format_label(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else json.dumps(values, ensure_ascii=False, default=str)


def _label_near_duplicates(rows: pa.Table, labels: list[str | None], kinds: list[str | None]) -> None:
    """Label the rows that have no label yet with the id of the first row in their group of near-duplicates."""
    positions = [position for position, label in enumerate(labels) if label is None]
    texts, row_ids = rows["text"].to_pylist(), rows["row_id"].to_pylist()
    groups = (
        group_near_duplicates([texts[position] for position in positions])
        if len(positions) <= MAX_GROUPED_ROWS
        else range(len(positions))
    )
    for position, group in zip(positions, groups, strict=True):
        labels[position], kinds[position] = row_ids[positions[group]], NEAR_DUPLICATE_KIND
