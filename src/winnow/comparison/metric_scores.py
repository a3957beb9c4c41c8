"""Read the scores of a metric, and check whether arms are comparable in it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from winnow.comparison.collected_study import CollectedCell, CollectedStudy
from winnow.comparison.statistics import Summary, summarize
from winnow.errors import did_you_mean
from winnow.metrics.metric_catalog import Requirement
from winnow.metrics.metric_names import ALL, select_stage, stage_metric_name
from winnow.metrics.metric_registry import Metric
from winnow.tracking.keys import HELD_OUT, MAX_STEPS, NOT_COMPARABLE, PROBES, TOKENIZER

if TYPE_CHECKING:
    import pandas as pd

Stage = Literal["before", "after"]
TAGS: Final[dict[Requirement, tuple[str, str]]] = {
    "held_out": (HELD_OUT, "held-out rows and masks"),
    "tokenizer": (TOKENIZER, "tokenizer"),
    "probes": (PROBES, "probes"),
    "budget": (MAX_STEPS, "budget in steps or tokens"),
}
"""For each requirement of a metric the tag that holds its fingerprint, and a label."""


def find_incomparable_reason(study: CollectedStudy, metric: Metric, *arms: str) -> str | None:
    """Return why arms are not comparable in a metric, or ``None`` if they are."""
    for arm in arms:
        if not study.get_cells(arm):
            return f"{arm} has no finished run"
        if len(study.get_cells(arm)) < 2:
            return f"{arm} has only one finished seed, and at least 2 are needed"
        if reasons := {cell.tags[NOT_COMPARABLE] for cell in study.get_cells(arm) if NOT_COMPARABLE in cell.tags}:
            return f"{arm} was not trained for a comparison ({'; '.join(sorted(reasons))})"
    for tag, label in (TAGS[requirement] for requirement in metric.requires):
        by_arm = {arm: {cell.tags.get(tag, "not recorded") for cell in study.get_cells(arm)} for arm in arms}
        values = set().union(*by_arm.values())
        if len(values) > 1 or "not recorded" in values:
            listed = "; ".join(f"{arm}: {', '.join(sorted(v))}" for arm, v in by_arm.items())
            return f"the {label} must be recorded and equal for all runs ({listed})"
    for arm in arms:
        scored = compute_seed_scores(study, metric, arm)
        if len(scored) < 2:
            missing = [str(cell.seed) for cell in study.get_cells(arm) if cell.seed not in scored]
            logged = {name for cell in study.cells for name in select_stage("final", cell.metrics)}
            near = did_you_mean(metric.name, logged) if metric.name not in logged else ""
            return f"{arm} has no {metric.name} for seed {', '.join(missing)}{near and f' ({near.strip()})'}"
    if study.declaration.block_by_seed:
        shared = set.intersection(*(set(compute_seed_scores(study, metric, arm)) for arm in arms))
        if len(shared) < 2:
            return f"{' and '.join(arms)} share {len(shared)} seeds with scores, and pairing by seed needs at least 2"
    return None


def build_score_table(study: CollectedStudy, metric: Metric, *arms: str) -> pd.DataFrame:
    """Return the scores of the arms as a table for :func:`winnow.comparison.contrast`.

    The columns are ``arm``, ``seed``, ``item``, ``score`` and, for rows, ``weight``. Prompts also have the column
    ``factor:template`` and one column per slot, rows have ``cluster:source``; see
    :func:`winnow.comparison.crossed_design.pivot_scores`.

    A run whose scores per prompt or row are missing gets one row with a score of ``nan``, so that a contrast excludes
    and lists it. If fewer than 2 runs of an arm have scores per prompt or row, the only item is the summary metric of
    each run, and a contrast generalizes to new seeds only.
    """
    import pandas as pd

    cells = [cell for arm in arms for cell in study.get_cells(arm)]
    table = get_item_scores(study, metric)
    if table is not None:
        table = table[table["arm"].isin(arms)]
        scored_runs = _list_runs(table)
        if all(sum(arm == other for other, _ in scored_runs) > 1 for arm in arms):
            missing = [cell for cell in cells if (cell.arm, cell.seed) not in scored_runs]
            placeholders = table.iloc[[0] * len(missing)].assign(
                arm=[cell.arm for cell in missing], seed=[cell.seed for cell in missing], score=np.nan
            )
            return pd.concat([table, placeholders], ignore_index=True) if missing else table
    return pd.DataFrame(
        {
            "arm": [cell.arm for cell in cells],
            "seed": [cell.seed for cell in cells],
            "item": metric.name,
            "score": [cell.metrics.get(stage_metric_name("final", metric.name), np.nan) for cell in cells],
        }
    )


@lru_cache(maxsize=8)
def get_item_scores(study: CollectedStudy, metric: Metric, stage: Stage = "after") -> pd.DataFrame | None:
    """Return the scores of all runs per prompt or row, or ``None`` if no run has any.

    The weight of a row is its number of masked tokens, so that the weighted mean is the mean over tokens. Perplexity is
    linearized around the loss L of each run, ``exp(L) (1 + loss - L)`` per row. The weighted mean is exactly exp(L),
    and the variance over rows is that of the delta method (Cochran 1977, section 12.16).
    """
    table = {"prompts": study.prompts, "rows": study.rows}.get(metric.item_kind)
    if table is None or table.empty:
        return None
    select = _select_prompt_scores if metric.item_kind == "prompts" else _select_row_scores
    item_scores = select(table, metric, stage)
    return None if item_scores is None or item_scores.empty else item_scores


def _select_prompt_scores(table: pd.DataFrame, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    probe, column = metric.parsed_name.scope, metric.parsed_name.score
    if column not in table:
        return None
    prompts = table[(table["stage"] == stage) & (table["probe"] == probe)]
    factors = {f"factor:{name}": prompts[name] for name in _find_prompt_factors(prompts)}
    return _to_score_table(prompts, "prompt_id", prompts[column]).assign(**factors).dropna(subset="score")


def _find_prompt_factors(prompts: pd.DataFrame) -> list[str]:
    """Return the columns of the crossed factors of prompts: the template and the slots.

    The list is empty if the templates were not recorded, as in version 0.1: the slots alone do not determine which
    prompts are similar.
    """
    if "template" not in prompts or prompts["template"].isna().all():
        return []
    other = {"arm", "seed", "stage", "probe", "prompt_id", "prompt", "template"}
    slots = [name for name in prompts.columns if name not in other and _is_text(prompts[name])]
    return ["template", *slots]


def _is_text(column: pd.Series) -> bool:
    known = column.dropna()
    return not known.empty and isinstance(known.iloc[0], str)


def _select_row_scores(table: pd.DataFrame, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    split, name, column = metric.parsed_name.group, metric.parsed_name.scope, metric.parsed_name.score
    selected = (table["stage"] == stage) & (table["split"] == split) & (table["masked"] > 0)
    if name != ALL:
        if f"slice:{name}" not in table:
            return None
        selected &= table[f"slice:{name}"].eq(True)
    rows = table[selected]
    total = rows["loss_sum"] if column in ("loss", "perplexity") else rows[column]
    result = _to_score_table(rows, "row_id", total / rows["masked"]).assign(weight=rows["masked"].astype(float))
    if "source" in rows:
        result["cluster:source"] = rows["source"]
    if column == "perplexity":
        runs = result.assign(sum=total).groupby(["arm", "seed"], observed=True)
        loss = runs["sum"].transform("sum") / runs["weight"].transform("sum")
        result["score"] = np.exp(loss) * (1 + result["score"] - loss)
    return result


def _to_score_table(table: pd.DataFrame, item_column: str, score: pd.Series) -> pd.DataFrame:
    return table[["arm", "seed"]].assign(item=table[item_column], score=score.astype(float))


def _list_runs(table: pd.DataFrame) -> set[tuple[str, int]]:
    return {(str(arm), int(seed)) for arm, seed in table[["arm", "seed"]].drop_duplicates().itertuples(index=False)}


def compute_seed_scores(study: CollectedStudy, metric: Metric, arm: str) -> dict[int, float]:
    """Return the score of each seed of an arm; seeds without a finite score are omitted."""
    values = _read_logged(study.get_cells(arm), metric, "final")
    table = get_item_scores(study, metric)
    if table is not None:
        values |= _compute_weighted_means(table[table["arm"] == arm], "seed")
    return {seed: value for seed, value in values.items() if np.isfinite(value)}


def summarize_base_model(study: CollectedStudy, metric: Metric) -> Summary | None:
    """Return the score of the base model over seeds, before training.

    A pretrained model has the same score for every seed.
    """
    table = get_item_scores(study, metric, "before")
    values = _read_logged(study.cells, metric, "before") if table is None else _compute_weighted_means(table, "seed")
    return summarize(list(values.values())) if values else None


def _read_logged(cells: Iterable[CollectedCell], metric: Metric, stage: Literal["before", "final"]) -> dict[int, float]:
    """Return the logged score of each seed; seeds without a score are omitted."""
    name = stage_metric_name(stage, metric.name)
    return {cell.seed: cell.metrics[name] for cell in cells if name in cell.metrics}


def _compute_weighted_means(table: pd.DataFrame, by: str) -> dict[int, float]:
    weight = table.get("weight", 1.0)
    sums = table.assign(weight=weight, weighted=table["score"] * weight).groupby(by)[["weighted", "weight"]].sum()
    means = sums["weighted"] / sums["weight"]
    return dict(zip(means.index.tolist(), means.tolist(), strict=True))
