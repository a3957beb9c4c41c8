"""The scores behind a metric, and when two arms may be compared in it at all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from winnow.comparison.collected_study import Cell, Study
from winnow.comparison.statistics import Summary, summarise
from winnow.errors import did_you_mean
from winnow.metrics.metric_catalog import Requirement
from winnow.metrics.metric_names import ALL, at_stage, of_stage
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
"""For each requirement of a metric the tag with its fingerprint, and what it is called."""


def obstacle(study: Study, metric: Metric, *arms: str) -> str | None:
    """Return why these arms may not be compared in a metric, or ``None`` where they may."""
    for arm in arms:
        if not study.of(arm):
            return f"{arm} has no finished run"
        if len(study.of(arm)) < 2:
            return f"{arm} has one finished seed, and one seed says nothing about other seeds"
        if reasons := {cell.tags[NOT_COMPARABLE] for cell in study.of(arm) if NOT_COMPARABLE in cell.tags}:
            return f"{arm} was trained to be used and not to be compared ({'; '.join(sorted(reasons))})"
    for tag, name in (TAGS[requirement] for requirement in metric.requires):
        found = {arm: {cell.tags.get(tag, "not recorded") for cell in study.of(arm)} for arm in arms}
        values = set().union(*found.values())
        if len(values) > 1 or "not recorded" in values:
            told = "; ".join(f"{arm}: {', '.join(sorted(v))}" for arm, v in found.items())
            return f"the {name} must be known and the same ({told})"
    for arm in arms:
        scored = by_seed(study, metric, arm)
        if len(scored) < 2:
            absent = [str(cell.seed) for cell in study.of(arm) if cell.seed not in scored]
            logged = {name for cell in study.cells for name in of_stage("final", cell.metrics)}
            near = did_you_mean(metric.name, logged) if metric.name not in logged else ""
            return f"{arm} has no {metric.name} for seed {', '.join(absent)}{near and f' ({near.strip()})'}"
    if study.declaration.block_by_seed:
        shared = set.intersection(*(set(by_seed(study, metric, arm)) for arm in arms))
        if len(shared) < 2:
            return f"seeds are blocks, and {' and '.join(arms)} share {len(shared)} seeds with scores; 2 are needed"
    return None


def scores(study: Study, metric: Metric, *arms: str) -> pd.DataFrame:
    """Return ``arm``, ``seed``, ``item``, ``score`` (and ``weight``) of the arms, ready for a contrast.

    Prompts come with a column ``factor:template`` and one for each slot, rows with ``cluster:source``; see
    :func:`winnow.comparison.crossed_design.cross`. A run whose scores per prompt or row are gone has one row with
    ``nan``, so that a contrast leaves it out by name. If fewer than 2 runs of an arm have such scores, the summary of
    each run is the one item, and the contrast is about new seeds only.
    """
    import pandas as pd

    cells = [cell for arm in arms for cell in study.of(arm)]
    found = per_item(study, metric)
    if found is not None:
        found = found[found["arm"].isin(arms)]
        known = _runs(found)
        if all(sum(arm == other for other, _ in known) > 1 for arm in arms):
            lost = [cell for cell in cells if (cell.arm, cell.seed) not in known]
            empty = found.iloc[[0] * len(lost)].assign(
                arm=[cell.arm for cell in lost], seed=[cell.seed for cell in lost], score=np.nan
            )
            return pd.concat([found, empty], ignore_index=True) if lost else found
    return pd.DataFrame(
        {
            "arm": [cell.arm for cell in cells],
            "seed": [cell.seed for cell in cells],
            "item": metric.name,
            "score": [cell.metrics.get(at_stage("final", metric.name), np.nan) for cell in cells],
        }
    )


@lru_cache(maxsize=8)
def per_item(study: Study, metric: Metric, stage: Stage = "after") -> pd.DataFrame | None:
    """Return every run's scores per prompt or row, or ``None`` if no run has any.

    Rows weigh as many tokens as were masked in them, so that the weighted mean is the token mean. Perplexity
    is linearised about each run's own loss L, ``exp(L) (1 + loss - L)`` a row: its weighted mean is exp(L)
    exactly, and its spread over rows is the delta method's (Cochran 1977, section 12.16).
    """
    table = {"prompts": study.prompts, "rows": study.rows}.get(metric.items)
    if table is None or table.empty:
        return None
    found = _of_prompts(table, metric, stage) if metric.items == "prompts" else _of_rows(table, metric, stage)
    return None if found is None or found.empty else found


def _of_prompts(table: pd.DataFrame, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    probe, column = metric.parts.place, metric.parts.score
    if column not in table:
        return None
    found = table[(table["stage"] == stage) & (table["probe"] == probe)]
    factors = {f"factor:{name}": found[name] for name in _prompt_factors(found)}
    return _named(found, "prompt_id", found[column]).assign(**factors).dropna(subset="score")


def _prompt_factors(prompts: pd.DataFrame) -> list[str]:
    """Return the columns that prompts are crossed by: the template and the slots.

    Without a template the slots are not enough: version 0.1 did not record which prompts share one.
    """
    if "template" not in prompts or prompts["template"].isna().all():
        return []
    other = {"arm", "seed", "stage", "probe", "prompt_id", "prompt", "template"}
    slots = [name for name in prompts.columns if name not in other and _is_text(prompts[name])]
    return ["template", *slots]


def _is_text(column: pd.Series) -> bool:
    known = column.dropna()
    return not known.empty and isinstance(known.iloc[0], str)


def _of_rows(table: pd.DataFrame, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    split, name, column = metric.parts.group, metric.parts.place, metric.parts.score
    chosen = (table["stage"] == stage) & (table["split"] == split) & (table["masked"] > 0)
    if name != ALL:
        if f"slice:{name}" not in table:
            return None
        chosen &= table[f"slice:{name}"].eq(True)
    found = table[chosen]
    total = found["loss_sum"] if column in ("loss", "perplexity") else found[column]
    result = _named(found, "row_id", total / found["masked"]).assign(weight=found["masked"].astype(float))
    if "source" in found:
        result["cluster:source"] = found["source"]
    if column == "perplexity":
        runs = result.assign(sum=total).groupby(["arm", "seed"], observed=True)
        loss = runs["sum"].transform("sum") / runs["weight"].transform("sum")
        result["score"] = np.exp(loss) * (1 + result["score"] - loss)
    return result


def _named(found: pd.DataFrame, item: str, score: pd.Series) -> pd.DataFrame:
    return found[["arm", "seed"]].assign(item=found[item], score=score.astype(float))


def _runs(found: pd.DataFrame) -> set[tuple[str, int]]:
    return {(str(arm), int(seed)) for arm, seed in found[["arm", "seed"]].drop_duplicates().itertuples(index=False)}


def by_seed(study: Study, metric: Metric, arm: str) -> dict[int, float]:
    """Return an arm's score of each seed, leaving out seeds without a finite one."""
    values = _logged(study.of(arm), metric, "final")
    found = per_item(study, metric)
    if found is not None:
        values |= _means(found[found["arm"] == arm], "seed")
    return {seed: value for seed, value in values.items() if np.isfinite(value)}


def base_score(study: Study, metric: Metric) -> Summary | None:
    """Return the base model's score before any step, over seeds (a pretrained model has the same at each)."""
    found = per_item(study, metric, "before")
    values = _logged(study.cells, metric, "before") if found is None or found.empty else _means(found, "seed")
    return summarise(list(values.values())) if values else None


def _logged(cells: Iterable[Cell], metric: Metric, stage: Literal["before", "final"]) -> dict[int, float]:
    """Return the logged score of each seed, leaving out seeds without one."""
    name = at_stage(stage, metric.name)
    return {cell.seed: cell.metrics[name] for cell in cells if name in cell.metrics}


def _means(found: pd.DataFrame, by: str) -> dict[int, float]:
    weight = found.get("weight", 1.0)
    sums = found.assign(weight=weight, weighted=found["score"] * weight).groupby(by)[["weighted", "weight"]].sum()
    means = sums["weighted"] / sums["weight"]
    return dict(zip(means.index.tolist(), means.tolist(), strict=True))
