"""Aggregate the words that each arm's models predict for the masked tokens in the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.metric_scores import select_test_prompts

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


def collect_word_roles(study: CollectedStudy) -> dict[str, dict[str, str]]:
    """Return the wanted and unwanted words of each probe with their roles, by probe and word."""
    table = study.probe_curves
    if "role" not in table:
        return {}
    listed = table[table["role"].isin(["wanted", "unwanted"])][["probe", "word", "role"]].drop_duplicates()
    roles: dict[str, dict[str, str]] = {}
    for probe, word, role in listed.itertuples(index=False):
        roles.setdefault(str(probe), {})[str(word)] = str(role)
    return roles


def compute_word_probabilities(study: CollectedStudy, probe: str) -> dict[str, dict[str, float]]:
    """Return the mean probability of each recorded word over a probe's test prompts and over seeds, by arm.

    If a word was not recorded for a prompt, its probability counts as 0, so the mean is a lower bound. The result is
    empty if the probe's predicted words were not recorded.
    """
    table = study.fills
    if table.empty:
        return {}
    prompts = study.prompts
    if not prompts.empty:
        prompts = select_test_prompts(prompts[(prompts["stage"] == "after") & (prompts["probe"] == probe)])
        table = table[table["prompt"].isin(prompts["prompt"].unique())]
    table = table[(table["stage"] == "after") & (table["probe"] == probe)]
    probabilities: dict[str, dict[str, float]] = {}
    for arm, rows in table.groupby("arm", observed=True, sort=False):
        count = len(rows[["seed", "prompt"]].drop_duplicates())
        means = rows.groupby("word", observed=True)["probability"].sum() / count
        probabilities[str(arm)] = {str(word): float(mean) for word, mean in means.items()}
    return probabilities


def sort_by_change(
    fills: dict[str, Fills], scores: Mapping[str, Mapping[str, float]], arms: tuple[str, str]
) -> dict[str, Fills]:
    """Return the prompts of a probe, those whose log odds differ most between two arms first.

    Prompts without a score follow, those whose word probabilities differ most first.

    Args:
        fills: The predicted words by prompt.
        scores: The log odds of each prompt, by arm.
        arms: The two arms.
    """
    before, after = arms

    def measure_change(prompt: str) -> tuple[bool, float]:
        by_arm = scores.get(prompt, {})
        if before in by_arm and after in by_arm:
            return True, abs(by_arm[after] - by_arm[before])
        old, new = (dict(fills[prompt].get(arm, ())) for arm in arms)
        return False, sum(abs(new.get(word, 0.0) - old.get(word, 0.0)) for word in {*old, *new})

    return {prompt: fills[prompt] for prompt in sorted(fills, key=measure_change, reverse=True)}


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
