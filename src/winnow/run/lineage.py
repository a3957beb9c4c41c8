"""Logs the data lineage of a run: the row count and fingerprint of each stage, from the source to training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.fingerprint import fingerprint
from winnow.run.run_inputs import RunInputs
from winnow.tracking import TrackedRun, keys
from winnow.tracking.tracked_run import LoggedDataset


def log_lineage(run: TrackedRun, inputs: RunInputs) -> None:
    """Log the datasets, the stages and the removed rows of a run.

    The datasets are the training rows, each held-out split and each slice. Each dataset is identified by a digest of
    its row ids.
    """
    stages = list(_list_stages(inputs))
    run.log_datasets(list(_list_datasets(inputs)))
    run.log_json({"stages": stages}, keys.DATA_LINEAGE)
    run.log_table(list_removed_rows(inputs), keys.REMOVED_ROWS)


def list_removed_rows(inputs: RunInputs) -> pa.Table:
    """Return a table of the train split's rows that are not used for training.

    The table has the columns ``row_id``, ``source`` and ``reasons``. A control samples as many rows as the filter
    keeps, so it can remove rows that the filter would keep.
    """
    train = inputs.corpus.split("train")
    is_removed = pc.invert(pc.is_in(train["row_id"], value_set=inputs.train_rows["row_id"].combine_chunks()))
    selection, verdicts = inputs.components.filter, inputs.base_verdicts
    if verdicts is not None and inputs.components.base_filter_name == selection.name:
        reasons = selection.derive_verdicts(verdicts).reasons("train")
    else:
        reasons = pa.array([["not drawn"]] * train.num_rows, pa.list_(pa.string()))
    manifest = pa.table({"row_id": train["row_id"], "source": train["source"], "reasons": reasons})
    return manifest.filter(is_removed)


def _list_stages(inputs: RunInputs) -> Iterator[dict[str, Any]]:
    corpus = inputs.corpus
    yield {"stage": "source", "sources": corpus.sources, "fingerprint": corpus.dataset_fingerprint}
    for name, rows in corpus.funnel.items():
        yield {"stage": f"clean: {name}", "rows": rows}
    counts = {name: corpus.split(name).num_rows for name in ("train", "validation", "test")}
    yield {"stage": "split", "rows": counts, "fingerprint": corpus.fingerprint}
    verdicts = inputs.base_verdicts
    if verdicts is not None:
        kept_counts, filter_name = verdicts.summary()["rows"], inputs.components.base_filter_name
        yield {"stage": f"verdicts of {filter_name}", "rows": kept_counts, "fingerprint": verdicts.fingerprint}
    rows = inputs.train_rows
    yield {
        "stage": f"training rows of {inputs.components.filter.name}",
        "rows": rows.num_rows,
        "fingerprint": _compute_row_id_digest(rows),
    }


def _list_datasets(inputs: RunInputs) -> Iterator[LoggedDataset]:
    name = inputs.components.dataset.name
    source = {"corpus": inputs.corpus.fingerprint, "sources": inputs.corpus.sources}
    rows = inputs.train_rows
    yield LoggedDataset(
        f"{name} ({inputs.components.filter.name})", _compute_row_id_digest(rows), "train", rows.num_rows, source
    )
    for split, held_out in inputs.held_out.items():
        for slice_name, mask in held_out.slices.items():
            slice_rows = held_out.rows.filter(pa.array(np.asarray(mask)))
            title = split if slice_name == "all" else f"{split}, {slice_name}"
            context = split if slice_name == "all" else f"{split}/{slice_name}"
            yield LoggedDataset(
                f"{name} ({title})", _compute_row_id_digest(slice_rows), context, slice_rows.num_rows, source
            )


def _compute_row_id_digest(rows: pa.Table) -> str:
    return fingerprint(rows["row_id"].to_pylist())
