"""From the source to the rows a model was trained on: every stage with its count and its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.fingerprint import fingerprint
from winnow.filters import Verdicts
from winnow.run.components import Parts
from winnow.tracking import TrackedRun, keys
from winnow.tracking.tracked_run import DatasetUsed

if TYPE_CHECKING:
    from winnow.run.inputs import Ready


def record_lineage(run: TrackedRun, parts: Parts, ready: Ready) -> None:
    """Store which rows went in: the training rows, each held-out split and each slice, under digests of their ids.

    Beside them the way there, and a manifest of the training rows that were left out, each with all its reasons.
    """
    stages = list(_stages(parts, ready))
    run.log_datasets(list(_datasets(parts, ready)))
    run.log_json({"stages": stages}, keys.LINEAGE)
    run.log_table(removed_rows(parts, ready), keys.REMOVED)


def removed_rows(parts: Parts, ready: Ready) -> pa.Table:
    """Return ``row_id``, ``source`` and ``reasons`` of each row of the train split that was not trained on.

    A row that the filter keeps may still be left out by a control, which draws as many rows as the filter keeps.
    """
    train = ready.corpus.split("train")
    left_out = pc.invert(pc.is_in(train["row_id"], value_set=ready.train_rows["row_id"].combine_chunks()))
    judged = ready.verdicts.get(parts.judge)
    if judged is not None and parts.judge == parts.filter.name:
        reasons = parts.filter.explained_by(judged).reasons("train")
    else:
        reasons = pa.array([["not drawn"]] * train.num_rows, pa.list_(pa.string()))
    manifest = pa.table({"row_id": train["row_id"], "source": train["source"], "reasons": reasons})
    return manifest.filter(left_out)


def _stages(parts: Parts, ready: Ready) -> Iterator[dict[str, Any]]:
    corpus = ready.corpus
    yield {"stage": "source", "sources": corpus.sources, "fingerprint": parts.dataset.fingerprint()}
    for name, rows in corpus.funnel.items():
        yield {"stage": f"clean: {name}", "rows": rows}
    counts = {name: corpus.split(name).num_rows for name in ("train", "validation", "test")}
    yield {"stage": "split", "rows": counts, "fingerprint": corpus.fingerprint}
    verdicts: Verdicts | None = ready.verdicts.get(parts.judge)
    if verdicts is not None:
        kept = verdicts.summary()["rows"]
        yield {"stage": f"verdicts of {parts.judge}", "rows": kept, "fingerprint": verdicts.fingerprint}
    rows = ready.train_rows
    yield {"stage": f"training rows of {parts.filter.name}", "rows": rows.num_rows, "fingerprint": _digest(rows)}


def _datasets(parts: Parts, ready: Ready) -> Iterator[DatasetUsed]:
    name = parts.dataset.name
    source = {"corpus": ready.corpus.fingerprint, "sources": ready.corpus.sources}
    rows = ready.train_rows
    yield DatasetUsed(f"{name} ({parts.filter.name})", _digest(rows), "train", rows.num_rows, source)
    for split, held_out in ready.held_out.items():
        for slice_name, inside in ready.members[split].items():
            members = held_out.filter(pa.array(np.asarray(inside)))
            told = split if slice_name == "all" else f"{split}, {slice_name}"
            context = split if slice_name == "all" else f"{split}/{slice_name}"
            yield DatasetUsed(f"{name} ({told})", _digest(members), context, members.num_rows, source)


def _digest(rows: pa.Table) -> str:
    return fingerprint(rows["row_id"].to_pylist())
