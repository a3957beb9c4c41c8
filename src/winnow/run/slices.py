"""The held-out rows that every model is evaluated on, and the slices of them that filters and sources name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data import Corpus
from winnow.data.corpus import EXTERNAL, SplitName
from winnow.errors import WinnowError
from winnow.filters import Selection, Verdicts
from winnow.metrics.metric_names import ALL, kept_slice_name, removed_slice_name, sanitize_component, source_slice_name

if TYPE_CHECKING:
    from winnow.training import TokenRows

HELD_OUT: Final[tuple[SplitName, ...]] = ("validation", "test")


@dataclass(frozen=True)
class HeldOutSplit:
    """Held-out rows, tokenized and cut into slices.

    Attributes:
        name: The split's name, which metric names begin with.
        rows: The rows, the same for every arm.
        slices: By slice name, the mask of the rows that belong to it.
        tokens: The tokens of each row.
    """

    name: str
    rows: pa.Table
    slices: dict[str, npt.NDArray[np.bool_]]
    tokens: TokenRows


def apply_filter(selection: Selection, corpus: Corpus, cache: Path, key: str) -> Verdicts:
    """Return the verdicts of a filter on all rows; errors are raised under its key."""
    try:
        verdicts = selection.compute_verdicts(corpus, cache)
    except WinnowError as error:
        raise error.under(key) from error
    assert verdicts is not None, "only `full` has no verdicts, and it names no slice"
    return verdicts


def held_out_rows(corpus: Corpus, limit: int | None) -> dict[str, pa.Table]:
    """Return the rows that models are evaluated on, by the name of their split; the same for every arm."""
    rows: dict[str, pa.Table] = {name: _first_rows(corpus.split(name), limit) for name in HELD_OUT}
    external = corpus.split(EXTERNAL)
    sets = [external.filter(pc.equal(external["source"], name)) for name in external["source"].unique().to_pylist()]
    return {**rows, EXTERNAL: pa.concat_tables([_first_rows(one, limit) for one in sets])} if sets else rows


def _first_rows(rows: pa.Table, limit: int | None) -> pa.Table:
    """Return the first rows by row id: a fixed sample, since the id is a hash of the text."""
    if limit is None or rows.num_rows <= limit:
        return rows
    order = np.argsort(rows["row_id"].to_numpy())
    return rows.take(np.sort(order[:limit]))


def slices_of(rows: pa.Table, verdicts: Mapping[str, Verdicts]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each slice which of the rows belong to it: all, each source, and what each filter keeps and removes.

    A single source is no slice, since it is the same as `all`; an external set is one by its bare name.
    """
    members = {ALL: np.ones(rows.num_rows, dtype=bool)}
    sources = pc.unique(rows["source"]).to_pylist()
    external = rows["split"].unique().to_pylist() == [EXTERNAL]
    if len(sources) > 1 or external:
        name_of = sanitize_component if external else source_slice_name
        members |= {name_of(name): pc.equal(rows["source"], name).to_numpy() for name in sorted(sources)}
    for name, judged in verdicts.items():
        kept = judged.table.filter(judged.table["keep"])["row_id"].combine_chunks()
        inside = pc.is_in(rows["row_id"], value_set=kept).to_numpy()
        members |= {kept_slice_name(name): inside, removed_slice_name(name): ~inside}
    return members
