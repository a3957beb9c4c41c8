"""Selects the held-out rows on which every model is evaluated, and defines slices of the rows by source and filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data import Corpus
from winnow.data.corpus import EXTERNAL_SPLIT, SplitName
from winnow.errors import WinnowError, did_you_mean
from winnow.filters import Selection, Verdicts
from winnow.metrics.metric_names import (
    ALL_ROWS_SLICE,
    is_label_slice,
    kept_slice_name,
    label_slice_name,
    parse_metric_name,
    removed_slice_name,
    sanitize_component,
    source_slice_name,
)
from winnow.run.held_out_clusters import RowClusters

if TYPE_CHECKING:
    from winnow.training import TokenRows

MAX_LABEL_SLICES: Final = 10
"""The maximum number of text labels that define slices; the most frequent labels are used."""

HELD_OUT_SPLITS: Final[tuple[SplitName, ...]] = ("validation", "test")


@dataclass(frozen=True)
class HeldOutSplit:
    """A held-out split with its slices and tokens.

    Attributes:
        name: The name of the split, which is the prefix of its metric names.
        rows: The rows, which are the same for every arm.
        slices: Boolean row masks by slice name.
        tokens: The tokens of each row.
        clusters: The cluster of each row; `None` if no per-row scores are stored.
    """

    name: str
    rows: pa.Table
    slices: dict[str, npt.NDArray[np.bool_]]
    tokens: TokenRows
    clusters: RowClusters | None = None


def apply_filter(selection: Selection, corpus: Corpus, cache: Path, key: str) -> Verdicts:
    """Return a filter's verdicts on all rows. Error keys start with the filter's configuration key."""
    try:
        verdicts = selection.compute_verdicts(corpus, cache)
    except WinnowError as error:
        raise error.with_prefix(key) from error
    assert verdicts is not None, "only the filter `full` has no verdicts, and `full` is never a slice"
    return verdicts


def select_held_out_rows(corpus: Corpus, limit: int | None, validation_only: bool = False) -> dict[str, pa.Table]:
    """Return the rows on which models are evaluated, by split name. The rows are the same for every arm.

    Args:
        corpus: The corpus.
        limit: The maximum number of rows per split; `None` selects all rows.
        validation_only: Whether to return only the validation split.
    """
    if validation_only:
        return {"validation": _take_first_rows(corpus.split("validation"), limit)}
    rows: dict[str, pa.Table] = {name: _take_first_rows(corpus.split(name), limit) for name in HELD_OUT_SPLITS}
    external = corpus.split(EXTERNAL_SPLIT)
    external_sets = [
        external.filter(pc.equal(external["source"], name)) for name in external["source"].unique().to_pylist()
    ]
    return (
        {**rows, EXTERNAL_SPLIT: pa.concat_tables([_take_first_rows(table, limit) for table in external_sets])}
        if external_sets
        else rows
    )


def _take_first_rows(rows: pa.Table, limit: int | None) -> pa.Table:
    """Return the first rows in row-id order. Ids are hashes of the texts, so these rows are a fixed random sample."""
    if limit is None or rows.num_rows <= limit:
        return rows
    order = np.argsort(rows["row_id"].to_numpy())
    return rows.take(np.sort(order[:limit]))


def build_slice_masks(rows: pa.Table, verdicts: Mapping[str, Verdicts]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the row masks of the slices: `all`, each source, each text label, and each filter's kept and removed rows.

    A single source gets no slice, because that slice would equal `all`. Each external set is a slice with the name of
    the set.
    """
    masks = {ALL_ROWS_SLICE: np.ones(rows.num_rows, dtype=bool)}
    sources = pc.unique(rows["source"]).to_pylist()
    external = rows["split"].unique().to_pylist() == [EXTERNAL_SPLIT]
    if len(sources) > 1 or external:
        format_slice_name = sanitize_component if external else source_slice_name
        masks |= {format_slice_name(name): pc.equal(rows["source"], name).to_numpy() for name in sorted(sources)}
    if not external:
        masks |= _build_label_masks(rows)
    for name, filter_verdicts in verdicts.items():
        table = filter_verdicts.table
        kept_ids = table.filter(table["keep"])["row_id"].combine_chunks()
        is_kept = pc.is_in(rows["row_id"], value_set=kept_ids).to_numpy()
        masks |= {kept_slice_name(name): is_kept, removed_slice_name(name): ~is_kept}
    return masks


def check_label_slices(metrics: Iterable[str], held_out: Mapping[str, HeldOutSplit]) -> None:
    """Check that each declared metric of a label's slice has such a slice. Other metrics are checked earlier.

    Metrics of splits that this run does not evaluate are not checked.

    Raises:
        WinnowError: If there is no such slice.
    """
    for name in metrics:
        metric = parse_metric_name(name)
        if metric.group not in held_out or not is_label_slice(metric.scope):
            continue
        labels = [other for other in held_out[metric.group].slices if is_label_slice(other)]
        if metric.scope not in labels:
            raise WinnowError(
                f"unknown slice {metric.scope!r} in {name!r}.{did_you_mean(metric.scope, labels)} The "
                f"{MAX_LABEL_SLICES} most frequent text labels are slices. Available: {', '.join(labels) or 'none'}.",
                "study",
            )


def _build_label_masks(rows: pa.Table) -> dict[str, npt.NDArray[np.bool_]]:
    """Return a row mask for each of the most frequent text labels. Integer labels define no slices."""
    if "label" not in rows.column_names or not pa.types.is_string(rows["label"].type):
        return {}
    counts = Counter(label for label in rows["label"].to_pylist() if label is not None)
    frequent = sorted(counts, key=lambda label: (-counts[label], label))[:MAX_LABEL_SLICES]
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for label in sorted(frequent):
        mask = pc.fill_null(pc.equal(rows["label"], label), False).to_numpy()
        name = label_slice_name(label)  # labels that differ only in special characters share a slice
        masks[name] = masks[name] | mask if name in masks else mask
    return masks
