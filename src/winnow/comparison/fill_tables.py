"""What the models put at the masks: each arm's likeliest words for every prompt."""

from __future__ import annotations

from winnow.comparison.collected_study import Study

BASE = "base"
"""The model before training, beside the arms."""

Fills = dict[str, list[tuple[str, float]]]
"""The fills of one prompt: arm, or ``base``, to its words with their probability, the likeliest first."""


def fills_by_prompt(study: Study, most: int = 10) -> dict[str, dict[str, Fills]]:
    """Return the likeliest words by probe, prompt and arm, the base model first.

    Probabilities are means over seeds. A word that a seed does not list counts as 0 there, so that no mean is too high.

    Args:
        study: The study, with the fills of its cells.
        most: Words an arm.
    """
    table = study.fills
    if table.empty:
        return {}
    arm = table["arm"].astype(str)
    table = table.assign(who=arm.where(table["stage"] == "after", BASE))
    runs = table.drop_duplicates(["arm", "seed", "who"]).groupby("who").size()
    keys = ["probe", "prompt", "who", "word"]
    sums = table.groupby(keys, observed=True, sort=False)["probability"].sum().reset_index()
    sums["share"] = sums["probability"] / sums["who"].map(runs)
    sums = sums.sort_values("share", ascending=False, kind="stable")
    top = sums.groupby(keys[:3], observed=True, sort=False).head(most)
    order = {who: place for place, who in enumerate([BASE, *study.arms])}
    # The prompts in the order of the probe, and of each the arms in the study's.
    prompts = table[["probe", "prompt"]].drop_duplicates().itertuples(index=False)
    found: dict[str, dict[str, Fills]] = {}
    for probe, prompt in prompts:
        found.setdefault(str(probe), {})[str(prompt)] = {}
    ordered = top.assign(place=top["who"].map(order)).sort_values("place", kind="stable")
    columns = (ordered[column].tolist() for column in ("probe", "prompt", "who", "word", "share"))
    for probe, prompt, who, word, share in zip(*columns, strict=True):
        found[probe][prompt].setdefault(who, []).append((word, share))
    return {probe: found[probe] for probe in sorted(found)}


def prompt_scores(study: Study) -> dict[tuple[str, str], dict[str, float]]:
    """Return the mean log odds over seeds by probe and prompt, for each arm and the base model."""
    table = study.prompts
    if table.empty or "log_odds" not in table:
        return {}
    who = table["arm"].astype(str).where(table["stage"] == "after", BASE)
    keyed = table.assign(who=who).dropna(subset="log_odds")
    means = keyed.groupby(["probe", "prompt", "who"], observed=True)["log_odds"].mean()
    found: dict[tuple[str, str], dict[str, float]] = {}
    for (probe, prompt, name), mean in zip(means.index.tolist(), means.tolist(), strict=True):
        found.setdefault((probe, prompt), {})[name] = mean
    return found


def short_list(found: dict[str, dict[str, Fills]], most: int = 8) -> dict[str, Fills]:
    """Return the first prompts of the probe with the fewest prompts: few enough to be read at once."""
    if not found:
        return {}
    probe = min(found, key=lambda name: len(found[name]))
    return dict(list(found[probe].items())[:most])
