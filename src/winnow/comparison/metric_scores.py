"""Look up the scores of a metric, and check whether arms are comparable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from winnow.comparison.collected_study import CollectedCell, CollectedStudy
from winnow.comparison.contrast_statistics import Summary, summarize
from winnow.comparison.setting_differences import find_level_differences, find_setting_differences
from winnow.comparison.table_cache import cache_tables
from winnow.errors import did_you_mean
from winnow.metrics.metric_catalog import SPECIFIC_PREFIX, Requirement
from winnow.metrics.metric_names import ALL_ROWS_SLICE, select_stage, stage_metric_name
from winnow.metrics.metric_registry import Metric
from winnow.tracking.keys import CORPUS, HELD_OUT, MAX_STEPS, NOT_COMPARABLE, PROBES, TOKENIZER

if TYPE_CHECKING:
    import pandas as pd

Stage = Literal["before", "after", "unigram", "trigram"]
"""A value of the column ``stage``: the model before or after training, or an n-gram model of the training rows."""

REQUIREMENT_TAGS: Final[dict[Requirement, tuple[str, str]]] = {
    "held_out": (HELD_OUT, "held-out rows and masks"),
    "tokenizer": (TOKENIZER, "tokenizer"),
    "corpus": (CORPUS, "corpus"),
    "probes": (PROBES, "probes"),
    "budget": (MAX_STEPS, "budget in steps or tokens"),
}
"""For each requirement of a metric: the tag that records a run's value, and the label of that value in messages."""


def find_incomparable_reason(study: CollectedStudy, metric: Metric, *arms: str) -> str | None:
    """Return why a metric cannot be compared between the arms, or ``None`` if it can.

    If the study has factors, the arms must be comparable at every level.
    """
    for level, level_study in study.levels.items():
        if reason := find_incomparable_reason(level_study, metric, *arms):
            return f"{reason} (at {level})"
    if reason := find_level_differences(study, arms):
        return reason
    for arm in arms:
        if not study.get_cells(arm):
            return f"{arm} has no finished run"
        if len(study.get_cells(arm)) < 2:
            return f"{arm} has only one finished seed, and at least 2 are needed"
        if reasons := {cell.tags[NOT_COMPARABLE] for cell in study.get_cells(arm) if NOT_COMPARABLE in cell.tags}:
            return f"{arm} was not trained for a comparison ({'; '.join(sorted(reasons))})"
    if differences := find_setting_differences(study, arms, "probes" in metric.requires):
        return differences
    # The settings of levels may differ. They were compared within each level, and so was the budget.
    requirements = [name for name in metric.requires if not (study.levels and name == "budget")]
    for tag, label in (REQUIREMENT_TAGS[requirement] for requirement in requirements):
        by_arm = {arm: {cell.tags.get(tag, "not recorded") for cell in study.get_cells(arm)} for arm in arms}
        values = set().union(*by_arm.values())
        if len(values) > 1 or "not recorded" in values:
            values_by_arm = "; ".join(f"{arm}: {', '.join(sorted(v))}" for arm, v in by_arm.items())
            return f"the {label} must be recorded and equal for all runs ({values_by_arm})"
    for arm in arms:
        seed_scores = compute_seed_scores(study, metric, arm)
        if len(seed_scores) < 2:
            missing_seeds = [str(cell.seed) for cell in study.get_cells(arm) if cell.seed not in seed_scores]
            logged_metrics = {name for cell in study.cells for name in select_stage("final", cell.metrics)}
            hint = did_you_mean(metric.name, logged_metrics) if metric.name not in logged_metrics else ""
            return f"{arm} has no {metric.name} for seed {', '.join(missing_seeds)}{hint and f' ({hint.strip()})'}"
    if study.declaration.block_by_seed:
        shared_seeds = set.intersection(*(set(compute_seed_scores(study, metric, arm)) for arm in arms))
        if len(shared_seeds) < 2:
            return f"{' and '.join(arms)} share {len(shared_seeds)} seeds with scores, but pairing requires at least 2"
    return None


def build_score_table(study: CollectedStudy, metric: Metric, *arms: str) -> pd.DataFrame:
    """Build the table of the arms' scores for :func:`winnow.comparison.contrast`.

    The columns are ``arm``, ``seed``, ``item`` and ``score``. If the items are prompts, the table also has the column
    ``factor:template`` and one column per slot. If the items are rows, it also has the columns ``weight``,
    ``cluster:source`` and, if the runs recorded the rows' clusters, ``cluster:KIND``. See
    :func:`winnow.comparison.crossed_design.pivot_scores`.

    If a run has no scores per prompt or row, the table contains a placeholder row with the score ``nan``, so that a
    contrast lists the run as excluded. If fewer than 2 runs of an arm have scores per prompt or row, the table has a
    single item, which is scored by the summary metric of each run. A contrast then generalizes to new seeds only.
    """
    import pandas as pd

    cells = [cell for arm in arms for cell in study.get_cells(arm)]
    table = get_item_scores(study, metric)
    if table is not None:
        table = table[table["arm"].isin(arms)]
        scored_runs = _list_runs(table)
        if all(sum(arm == run_arm for run_arm, _ in scored_runs) > 1 for arm in arms):
            unscored_cells = [cell for cell in cells if (cell.arm, cell.seed) not in scored_runs]
            placeholders = table.iloc[[0] * len(unscored_cells)].assign(
                arm=[cell.arm for cell in unscored_cells], seed=[cell.seed for cell in unscored_cells], score=np.nan
            )
            return pd.concat([table, placeholders], ignore_index=True) if unscored_cells else table
    return pd.DataFrame(
        {
            "arm": [cell.arm for cell in cells],
            "seed": [cell.seed for cell in cells],
            "item": metric.name,
            "score": [cell.metrics.get(stage_metric_name("final", metric.name), np.nan) for cell in cells],
        }
    )


@cache_tables(max_bytes=64_000_000, max_tables=64)
def get_item_scores(study: CollectedStudy, metric: Metric, stage: Stage = "after") -> pd.DataFrame | None:
    """Return the scores of all runs per prompt or row, or ``None`` if no such scores were recorded.

    The weight of a row is its number of masked tokens, so that the weighted mean is the mean over tokens. Perplexity is
    linearized around each run's loss L: the score of a row is ``exp(L) (1 + loss - L)``. The weighted mean of these
    scores is exactly exp(L), and their variance over rows is the delta-method variance (Cochran 1977, section 12.16).
    """
    table = {"prompts": study.prompts, "rows": study.rows}.get(metric.item_kind)
    if table is None or table.empty:
        return None
    select = _select_prompt_scores if metric.item_kind == "prompts" else _select_row_scores
    item_scores = select(table, metric, stage)
    return None if item_scores is None or item_scores.empty else item_scores


def _select_prompt_scores(table: pd.DataFrame, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    probe, column = metric.parsed_name.scope, metric.parsed_name.score
    is_specific = column.startswith(SPECIFIC_PREFIX) and column not in table
    column = column.removeprefix(SPECIFIC_PREFIX) if is_specific else column
    if column not in table or (is_specific and "pair_id" not in table):
        return None
    # Filtering rows copies every column, and the table has a column per score.
    columns = [name for name in table.columns if name == column or table[name].dtype != np.float64]
    all_prompts = table.loc[(table["stage"] == stage) & (table["probe"] == probe), columns]
    prompts = select_test_prompts(all_prompts)
    scores = (
        prompts[column] - _average_comparison_scores(all_prompts, prompts, column) if is_specific else prompts[column]
    )
    factors = {f"factor:{name}": prompts[name] for name in _find_prompt_factors(prompts)}
    return _to_score_table(prompts, "prompt_id", scores).assign(**factors).dropna(subset="score")


def _average_comparison_scores(table: pd.DataFrame, prompts: pd.DataFrame, column: str) -> pd.Series:
    """Return, for each prompt, the mean score of the comparison subjects in the same prompt of the same run.

    All runs use the same comparison subjects. The mean is ``nan`` if a prompt has no
    comparison prompts, or if one of them has no score.
    """
    import pandas as pd

    keys = ["arm", "seed", "pair_id"]
    comparison = table[table["role"].isin(["comparison"])]
    groups = comparison.groupby(keys, observed=True)
    # Unlike groupby().mean(), a sum in the order of the rows gives the same result as Series.mean().
    sums = np.bincount(groups.ngroup(), comparison[column].to_numpy(dtype=float), minlength=groups.ngroups)
    means = pd.Series(sums, groups.size().index) / groups.size()
    return prompts[keys].join(means.rename("mean"), on=keys)["mean"]


def select_test_prompts(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts of the test templates, without comparison prompts.

    If the split was not recorded, all prompts are returned: older versions used all of them for the verdict.
    """
    if "split" not in prompts:
        return prompts
    return prompts[~prompts["split"].isin(["validation"]) & ~prompts["role"].isin(["comparison"])]


def _find_prompt_factors(prompts: pd.DataFrame) -> list[str]:
    """Return the columns of the crossed factors of prompts: the template and the slots.

    The list is empty if the templates were not recorded, as in version 0.1, because the slots alone do not show which
    prompts are similar.
    """
    if "template" not in prompts or prompts["template"].isna().all():
        return []
    other_columns = {"arm", "seed", "stage", "probe", "prompt_id", "prompt", "template"}
    other_columns |= {"split", "role", "subject", "pair_id"}
    slots = [name for name in prompts.columns if name not in other_columns and _is_text(prompts[name])]
    return ["template", *slots]


def _is_text(column: pd.Series) -> bool:
    values = column.dropna()
    return not values.empty and isinstance(values.iloc[0], str)


def _select_row_scores(table: pd.DataFrame, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    split, name, column = metric.parsed_name.group, metric.parsed_name.scope, metric.parsed_name.score
    if stage in ("unigram", "trigram") and column not in ("loss", "perplexity"):
        return None  # n-gram models have no other row scores
    value_column = "loss_sum" if column in ("loss", "perplexity") else column
    is_selected = (table["stage"] == stage) & (table["split"] == split) & (table["masked"] > 0)
    if name != ALL_ROWS_SLICE:
        if f"slice:{name}" not in table:
            return None
        is_selected &= table[f"slice:{name}"].eq(True)
    # Filtering rows copies every column, and the table has a column per slice.
    columns = ["arm", "seed", "row_id", "masked", value_column, "source", "cluster", "cluster_kind"]
    rows = table.loc[is_selected, [name for name in columns if name in table]]
    total = rows[value_column]
    result = _to_score_table(rows, "row_id", total / rows["masked"]).assign(weight=rows["masked"].astype(float))
    for kind, labels in _find_row_clusters(rows).items():
        result[f"cluster:{kind}"] = labels
    if column == "perplexity":
        runs = result.assign(sum=total).groupby(["arm", "seed"], observed=True)
        loss = runs["sum"].transform("sum") / runs["weight"].transform("sum")
        result["score"] = np.exp(loss) * (1 + result["score"] - loss)
    return result


def _find_row_clusters(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the labels of the rows' clusters by kind: the recorded clusters and the sources of the rows.

    Versions before 0.3 recorded only the source.
    """
    clusters: dict[str, pd.Series] = {}
    if "cluster" in rows and len(kinds := sorted(rows["cluster_kind"].dropna().unique())):
        clusters[" or ".join(kinds)] = rows["cluster"]
    return clusters | ({"source": rows["source"]} if "source" in rows else {})


def _to_score_table(table: pd.DataFrame, item_column: str, score: pd.Series) -> pd.DataFrame:
    return table[["arm", "seed"]].assign(item=table[item_column], score=score.astype(float))


def _list_runs(table: pd.DataFrame) -> set[tuple[str, int]]:
    return {(str(arm), int(seed)) for arm, seed in table[["arm", "seed"]].drop_duplicates().itertuples(index=False)}


def compute_seed_scores(
    study: CollectedStudy, metric: Metric, arm: str, stage: Literal["after", "unigram", "trigram"] = "after"
) -> dict[int, float]:
    """Return the score of each seed of an arm; seeds without a finite score are omitted.

    The scores of n-gram models are only available if the runs recorded scores per prompt or row.
    """
    values = _get_logged_scores(study.get_cells(arm), metric, "final") if stage == "after" else {}
    means = _average_items(study, metric, stage)
    if means is not None:
        means_of_arm = means[means["arm"] == arm]
        values |= dict(zip(means_of_arm["seed"].tolist(), means_of_arm["mean"].tolist(), strict=True))
    return {seed: value for seed, value in values.items() if np.isfinite(value)}


@cache_tables(max_bytes=8_000_000, max_tables=256)
def _average_items(study: CollectedStudy, metric: Metric, stage: Stage) -> pd.DataFrame | None:
    """Return the columns ``arm``, ``seed`` and ``mean``: the weighted mean over the items of each run.

    A comparison reads the scores of the same metric many times, so all arms are averaged at once.
    """
    table = get_item_scores(study, metric, stage)
    return None if table is None else _compute_weighted_means(table, ["arm", "seed"]).reset_index(name="mean")


def summarize_base_model(study: CollectedStudy, metric: Metric) -> Summary | None:
    """Summarize the score of the base model, before training, over seeds.

    A pretrained model has the same score for every seed.
    """
    table = get_item_scores(study, metric, "before")
    if table is None:
        values = list(_get_logged_scores(study.cells, metric, "before").values())
    else:
        values = _compute_weighted_means(table, ["seed"]).tolist()
    return summarize(values) if values else None


def _get_logged_scores(
    cells: Iterable[CollectedCell], metric: Metric, stage: Literal["before", "final"]
) -> dict[int, float]:
    """Return the logged score of each seed; seeds without a score are omitted."""
    name = stage_metric_name(stage, metric.name)
    return {cell.seed: cell.metrics[name] for cell in cells if name in cell.metrics}


def _compute_weighted_means(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    weight = table.get("weight", 1.0)
    weighted = table.assign(weight=weight, weighted=table["score"] * weight)
    sums = weighted.groupby(keys, observed=True)[["weighted", "weight"]].sum()
    return sums["weighted"] / sums["weight"]
