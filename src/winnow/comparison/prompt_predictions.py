"""Aggregate the words that each arm's models predict for the masked tokens in the prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from winnow.comparison.collected_study import CollectedStudy

if TYPE_CHECKING:
    import pandas as pd

BASE_MODEL_KEY = "base"
"""The key of the base model (before training) in dicts that are otherwise keyed by arm."""

Fills = dict[str, list[tuple[str, float]]]
"""The predicted words for one prompt with their probabilities, by arm or ``base``. The most probable word is first."""


def collect_fills(study: CollectedStudy, top_k: int = 10) -> dict[str, dict[str, Fills]]:
    """Return the most probable words for each probe, prompt and arm. The base model precedes the arms.

    Probabilities are means over seeds. If a word was not recorded for a seed, its probability counts as 0 for that
    seed, so the mean is a lower bound.

    Args:
        study: The study, as read from the store.
        top_k: The maximum number of words per prompt and arm.
    """
    table = study.fills
    if table.empty:
        return {}
    table = table[["arm", "seed", "probe", "prompt", "word", "probability"]].assign(model=_label_models(table))
    run_counts = table.drop_duplicates(["arm", "seed", "model"]).groupby("model", observed=True).size()
    keys = ["probe", "prompt", "model", "word"]
    means = table.groupby(keys, observed=True, sort=False)["probability"].sum().reset_index()
    means["model"] = means["model"].astype(str)
    means["probability"] /= means["model"].map(run_counts)
    means = means.sort_values("probability", ascending=False, kind="stable")
    top = means.groupby(keys[:3], observed=True, sort=False).head(top_k)
    # Keep the prompts in the order of the probe and the arms in the order of the study.
    positions = {model: position for position, model in enumerate([BASE_MODEL_KEY, *study.arms])}
    top = top.assign(position=top["model"].map(positions)).sort_values("position", kind="stable")
    fills: dict[str, dict[str, Fills]] = {}
    for probe, prompt in table[["probe", "prompt"]].drop_duplicates().itertuples(index=False):
        fills.setdefault(str(probe), {})[str(prompt)] = {}
    columns = (top[column].tolist() for column in (*keys, "probability"))
    for probe, prompt, model, word, probability in zip(*columns, strict=True):
        fills[probe][prompt].setdefault(model, []).append((word, probability))
    return {probe: fills[probe] for probe in sorted(fills)}


def compute_mean_prompt_scores(study: CollectedStudy) -> dict[tuple[str, str], dict[str, float]]:
    """Return the mean log odds over seeds for each (probe, prompt) pair, by arm or ``base``."""
    table = study.prompts
    if table.empty or "log_odds" not in table:
        return {}
    table = table[table["stage"].isin(["before", "after"])]  # omit the n-gram models
    scored_prompts = table.assign(model=_label_models(table)).dropna(subset="log_odds")
    means = scored_prompts.groupby(["probe", "prompt", "model"], observed=True)["log_odds"].mean()
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for (probe, prompt, name), mean in zip(means.index.tolist(), means.tolist(), strict=True):
        scores.setdefault((probe, prompt), {})[name] = mean
    return scores


def _label_models(table: pd.DataFrame) -> pd.Series:
    """Return each row's model as a category: the arm, or the key of the base model for rows before training."""
    arm = table["arm"].astype("category")
    arm = arm.cat.set_categories(sorted({*arm.cat.categories, BASE_MODEL_KEY}))
    return arm.where(table["stage"] == "after", BASE_MODEL_KEY)


def select_example_prompts(fills: dict[str, dict[str, Fills]], max_prompts: int = 8) -> dict[str, Fills]:
    """Return the predicted words for the first ``max_prompts`` prompts of the probe with the fewest prompts."""
    if not fills:
        return {}
    probe = min(fills, key=lambda name: len(fills[name]))
    return dict(list(fills[probe].items())[:max_prompts])
