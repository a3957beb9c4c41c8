"""Combine the levels of a study's factors, such as learning rates.

Each level is a complete study with its own arms and seeds. The average study has the mean scores of all levels: the
score of an arm, a seed and an item is the mean over the levels, so the usual contrasts estimate the average effect. The
intervals are valid even if runs of different levels with the same seed are correlated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.comparison.collected_study import CollectedCell, CollectedStudy
from winnow.metrics.metric_names import parse_metric_name, select_stage
from winnow.tracking.keys import HELD_OUT, TOKENIZER

if TYPE_CHECKING:
    import pandas as pd

TABLE_KEYS = {
    "prompts": ("arm", "seed", "stage", "probe", "prompt_id"),
    "rows": ("arm", "seed", "stage", "split", "row_id"),
    "probe_curves": ("arm", "seed", "step", "probe", "metric", "role", "word"),
    "loss_curves": ("arm", "seed", "metric", "step"),
}
"""The columns that identify a row of each table."""

INTEGER_COLUMNS = ("masked",)
"""Columns with the same value at every level."""


def average_levels(levels: Mapping[str, CollectedStudy]) -> CollectedStudy:
    """Return the study whose scores are the means over the levels.

    Only the runs of an arm and seed that finished at every level are included. Arms that are missing from a level are
    omitted, and a note names the excluded runs. Losses are omitted if the held-out rows or the tokenizers differ.

    Args:
        levels: The study at each level. All levels have the same declaration.
    """
    studies = list(levels.values())
    complete = set.intersection(*({(cell.arm, cell.seed) for cell in study.cells} for study in studies))
    notes = list(dict.fromkeys(note for study in studies for note in study.notes))
    if incomplete := sorted({(cell.arm, cell.seed) for study in studies for cell in study.cells} - complete):
        runs = ", ".join(f"{arm} seed {seed}" for arm, seed in incomplete)
        notes.append(f"Excluded from the average over the factor levels, because a level is missing: {runs}.")
    has_same_rows = all(_is_equal_at_all_levels(studies, tag) for tag in (HELD_OUT, TOKENIZER))
    cells = tuple(_average_cells(pair, studies, has_same_rows) for pair in sorted(complete))
    first = studies[0]
    tables: dict[str, Any] = {
        name: _average_tables([getattr(study, name) for study in studies], keys, complete)
        for name, keys in TABLE_KEYS.items()
    }
    if not has_same_rows:
        tables["rows"] = first.rows.iloc[:0]
        notes.append(
            "The held-out rows or the tokenizers differ between the factor levels, so losses are compared within each "
            "level only."
        )
    return dataclasses.replace(
        first,
        cells=cells,
        fills=_concatenate([study.fills for study in studies]),
        settings={arm: trees for arm, trees in first.settings.items() if any(cell.arm == arm for cell in cells)},
        notes=tuple(notes),
        levels=dict(levels),
        **tables,
    )


def select_levels(levels: Mapping[str, CollectedStudy], chosen: Mapping[tuple[str, int], str]) -> CollectedStudy:
    """Return the study that contains, for each arm and seed, only the run of one level.

    Args:
        levels: The study at each level.
        chosen: The level of each arm and seed.
    """
    studies = list(levels.values())
    first = studies[0]
    pairs = {name: [pair for pair, level in chosen.items() if level == name] for name in levels}
    tables: dict[str, Any] = {
        name: _concatenate([_select_pairs(getattr(study, name), pairs[level]) for level, study in levels.items()])
        for name in ("prompts", "rows", "fills", "loss_curves", "probe_curves")
    }
    cells = [cell for level, study in levels.items() for cell in study.cells if (cell.arm, cell.seed) in pairs[level]]
    return dataclasses.replace(
        first,
        cells=tuple(sorted(cells, key=lambda cell: (cell.arm, cell.seed))),
        notes=tuple(dict.fromkeys(note for study in studies for note in study.notes)),
        levels=dict(levels),
        selected_levels=dict(chosen),
        **tables,
    )


def group_levels(levels: Mapping[str, CollectedStudy], factor: str) -> dict[str, CollectedStudy]:
    """Return the study at each level of one factor, averaged over the levels of the other factors."""
    groups: dict[str, dict[str, CollectedStudy]] = {}
    for name, study in levels.items():
        groups.setdefault(study.level_values[factor], {})[name] = study
    return {
        level: next(iter(studies.values())) if len(studies) == 1 else average_levels(studies)
        for level, studies in groups.items()
    }


def _is_equal_at_all_levels(studies: Iterable[CollectedStudy], tag: str) -> bool:
    return len({cell.tags.get(tag) for study in studies for cell in study.cells}) == 1


def _average_cells(pair: tuple[str, int], studies: Sequence[CollectedStudy], with_losses: bool) -> CollectedCell:
    """Return the cell of the first level with the mean metrics and the mean time of all levels."""
    arm, seed = pair
    cells = [next(cell for cell in study.get_cells(arm) if cell.seed == seed) for study in studies]
    shared = set.intersection(*(set(cell.metrics) for cell in cells))
    if not with_losses:
        shared -= _find_loss_metrics(shared)
    metrics = {name: sum(cell.metrics[name] for cell in cells) / len(cells) for name in sorted(shared)}
    seconds = sum(cell.seconds for cell in cells) / len(cells)
    return dataclasses.replace(cells[0], metrics=metrics, seconds=seconds)


def _find_loss_metrics(names: Iterable[str]) -> set[str]:
    """Return the held-out metrics, which depend on the tokenizer and on the held-out rows."""
    names = list(names)
    held_out = {
        name for name in select_stage("final", dict.fromkeys(names, 0.0)) if parse_metric_name(name).kind == "held_out"
    }
    return {name for name in names if name.partition("/")[2] in held_out}


def _average_tables(
    tables: Sequence[pd.DataFrame], keys: Sequence[str], pairs: Iterable[tuple[str, int]]
) -> pd.DataFrame:
    """Return the mean of each number over the levels. Text comes from the first level.

    A mean is ``nan`` if the number is missing at a level. Rows that are missing from a level are omitted.
    """
    import pandas as pd

    if any(table.empty for table in tables):
        return tables[0].iloc[:0]
    index = [key for key in keys if key in tables[0]]
    first = tables[0]
    first = _select_pairs(first, pairs).reset_index(drop=True)
    positions = pd.MultiIndex.from_frame(first[index].astype(object).where(first[index].notna(), ""))
    others = []
    for table in tables[1:]:
        other = table.set_index(pd.MultiIndex.from_frame(table[index].astype(object).where(table[index].notna(), "")))
        others.append(other[~other.index.duplicated(keep="last")].reindex(positions))
    is_complete = np.all([other["arm"].notna() for other in others], axis=0)
    result = first.copy()
    for column in first.columns:
        if column in index or column in INTEGER_COLUMNS or not _is_number(first[column]):
            continue
        values = [first[column].to_numpy(dtype=float), *(other[column].to_numpy(dtype=float) for other in others)]
        result[column] = sum(values) / len(values)
    return result[is_complete].reset_index(drop=True)


def _select_pairs(table: pd.DataFrame, pairs: Iterable[tuple[str, int]]) -> pd.DataFrame:
    """Return the rows of the given arms and seeds."""
    import pandas as pd

    if table.empty:
        return table
    return table[pd.MultiIndex.from_frame(table[["arm", "seed"]].astype({"arm": object})).isin(list(pairs))]


def _is_number(column: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _concatenate(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables, and keep text columns categorical."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    filled = [table for table in tables if not table.empty]
    if not filled:
        return tables[0]
    categorical = [
        name
        for name in filled[0]
        if all(name in table and isinstance(table[name].dtype, pd.CategoricalDtype) for table in filled)
    ]
    result = pd.concat(filled, ignore_index=True)
    for name in categorical:
        result[name] = union_categoricals([table[name] for table in filled])
    return result
