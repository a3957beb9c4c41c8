"""Compare the trained models with n-gram models that were estimated from the same training rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import Contrast, contrast
from winnow.comparison.metric_scores import compute_seed_scores, get_item_scores
from winnow.formatting import format_number
from winnow.metrics.metric_names import ALL_ROWS_SLICE, NgramName, held_out_metric_name
from winnow.metrics.metric_registry import Metric

if TYPE_CHECKING:
    import pandas as pd

MAX_FILL_OVERLAP: Final = 0.9
"""The mean fraction of shared top 10 words from which the predictions count as nearly the same for every prompt."""

UNIGRAM_REASON: Final = "the test loss is no lower than that of a unigram model"
"""The start of the reason if the models have not even learned the word frequencies of their training rows."""

TOP_WORDS: Final = 10
NGRAMS: Final[tuple[NgramName, ...]] = get_args(NgramName)


@dataclass(frozen=True)
class PredictorScores:
    """The scores of a trained model or of an n-gram model, averaged over seeds.

    Attributes:
        loss: The loss on all test rows, in nats per masked token; ``nan`` if it was not recorded.
        score: The primary metric; ``nan`` if it was not recorded or cannot be computed for n-gram models.
    """

    loss: float
    score: float


@dataclass(frozen=True)
class NgramBaselines:
    """The scores of one arm's trained models, and of n-gram models estimated from the arm's training rows.

    Attributes:
        unigram: The scores of the unigram model.
        trigram: The scores of the trigram model.
        model: The scores of the trained models, over the same seeds.
        fill_overlap: The mean fraction of the top 10 words that two prompts of the primary metric's probe share;
            ``nan`` if the primary metric is not a score of a probe with at least two prompts.
    """

    unigram: PredictorScores
    trigram: PredictorScores
    model: PredictorScores
    fill_overlap: float


@dataclass(frozen=True)
class EffectBeyondNgrams:
    """The part of an effect that n-gram counts do not explain: the models' contrast minus the n-gram models' contrast.

    Attributes:
        ngram: The type of the n-gram models.
        result: The contrast of ``score of the model - score of the n-gram model`` in the primary metric. The
            contrast is reported but not tested.
    """

    ngram: NgramName
    result: Contrast


def compare_with_ngrams(study: CollectedStudy, primary: Metric) -> dict[str, NgramBaselines]:
    """Return the scores of each arm's trained models and n-gram models. Omit arms without n-gram scores."""
    baselines = {}
    for arm in study.arms:
        unigram, trigram, model = _average_over_shared_seeds(study, arm, primary)
        if not math.isnan(trigram.loss) or not math.isnan(trigram.score):
            baselines[arm] = NgramBaselines(unigram, trigram, model, compute_fill_overlap(study, primary, arm))
    return baselines


def _average_over_shared_seeds(study: CollectedStudy, arm: str, primary: Metric) -> list[PredictorScores]:
    """Return the mean scores of the unigram, trigram and trained models over the seeds that have all three."""
    means = []
    for metric in (study.registry.metric(held_out_metric_name("test", ALL_ROWS_SLICE, "loss")), primary):
        by_stage = [compute_seed_scores(study, metric, arm, stage) for stage in NGRAMS]
        by_stage.append(compute_seed_scores(study, metric, arm))
        shared_seeds = set.intersection(*map(set, by_stage))
        means.append([_mean(scores[seed] for seed in sorted(shared_seeds)) for scores in by_stage])
    return [PredictorScores(loss, score) for loss, score in zip(*means, strict=True)]


def compute_fill_overlap(study: CollectedStudy, primary: Metric, arm: str) -> float:
    """Return the mean fraction of the top 10 words that two prompts share, averaged over pairs of prompts and seeds.

    If the study is averaged over the levels of a factor, the fractions of the levels are averaged.
    """
    if study.levels and not study.selected_levels:
        fractions = [compute_fill_overlap(level, primary, arm) for level in study.levels.values()]
        return _mean(fraction for fraction in fractions if not math.isnan(fraction))
    fills = study.fills
    if primary.parsed_name.kind != "probe" or fills.empty:
        return math.nan
    is_selected = (fills["stage"] == "after") & (fills["probe"] == primary.parsed_name.scope) & (fills["arm"] == arm)
    overlaps = [_compute_mean_overlap(run) for _, run in fills[is_selected].groupby("seed")]
    return _mean(overlap for overlap in overlaps if not math.isnan(overlap))


def _compute_mean_overlap(fills: pd.DataFrame) -> float:
    """Return the mean overlap between the prompts of one run.

    A word that is predicted for n prompts is shared by n (n - 1) / 2 pairs of prompts.
    """
    ranked = fills.sort_values("probability", ascending=False, kind="stable")
    top = ranked.groupby("prompt", observed=True).head(TOP_WORDS)
    prompts = top["prompt"].nunique()
    if prompts < 2:
        return math.nan
    counts = top["word"].value_counts().to_numpy(dtype=np.float64)
    return float((counts * (counts - 1)).sum() / (len(top) * (prompts - 1)))


def measure_effects_beyond_ngrams(
    study: CollectedStudy, primary: Metric, pairs: Iterable[tuple[str, str]], confidence: float
) -> list[EffectBeyondNgrams]:
    """Return the effects that n-gram counts do not explain, for each pair of arms and each type of n-gram model.

    :func:`winnow.comparison.contrast` is applied to the difference between the score of the trained model and the
    score of the n-gram model for each run and item. A pair is omitted if fewer than two seeds of an arm
    have these differences.
    """
    effects = []
    for a, b in pairs:
        for ngram in reversed(NGRAMS):
            table = _build_difference_table(study, primary, ngram, a, b)
            if table is not None:
                result = contrast(table, a, b, confidence, study.declaration.block_by_seed)
                effects.append(EffectBeyondNgrams(ngram, result))
    return effects


def _build_difference_table(study: CollectedStudy, metric: Metric, ngram: NgramName, *arms: str) -> pd.DataFrame | None:
    scores, ngram_scores = get_item_scores(study, metric), get_item_scores(study, metric, ngram)
    if scores is None or ngram_scores is None:
        return None
    keys = ["arm", "seed", "item"]
    subtracted = ngram_scores[[*keys, "score"]].rename(columns={"score": "ngram"})
    table = scores[scores["arm"].isin(arms)].merge(subtracted, on=keys)
    table = table.assign(score=table["score"] - table["ngram"]).drop(columns="ngram")
    table = table[np.isfinite(table["score"])]
    seeds = [set(table.loc[table["arm"] == arm, "seed"]) for arm in arms]
    if study.declaration.block_by_seed:
        seeds = [set.intersection(*seeds)]
    return table if min(map(len, seeds)) > 1 else None


def find_word_frequency_reason(baselines: Mapping[str, NgramBaselines], arms: Iterable[str | None]) -> str | None:
    """Return why the models have learned at most word frequencies, or ``None`` if they have learned more.

    The reason starts with :data:`UNIGRAM_REASON` if the mean test loss of an arm is no lower than even that of unigram
    models: these models have not learned the word frequencies. Otherwise, the models have learned only word frequencies
    if the mean test loss of an arm is no lower than that of trigram models trained on the same rows, or if the mean
    overlap of the words predicted for two prompts is at least :data:`MAX_FILL_OVERLAP`.

    Args:
        baselines: The scores of each arm; see :func:`compare_with_ngrams`.
        arms: The arms of the contrast that decides the verdict. Arms without scores of n-gram models are ignored.

    Returns:
        A clause that can follow a colon, without a period at the end.
    """
    selected = {arm: baselines[arm] for arm in arms if arm is not None and arm in baselines}
    unigram_losses = [
        _format_losses(arm, scores.model, scores.unigram)
        for arm, scores in selected.items()
        if scores.model.loss >= scores.unigram.loss
    ]
    trigram_losses = [
        _format_losses(arm, scores.model, scores.trigram)
        for arm, scores in selected.items()
        if scores.trigram.loss <= scores.model.loss and not scores.model.loss >= scores.unigram.loss
    ]
    overlaps = [
        f"{arm}: {scores.fill_overlap:.0%}"
        for arm, scores in selected.items()
        if scores.fill_overlap >= MAX_FILL_OVERLAP
    ]
    reasons = []
    if unigram_losses:
        reasons.append(f"{UNIGRAM_REASON} trained on the same rows ({', '.join(unigram_losses)})")
    if trigram_losses:
        reasons.append(
            "the test loss is no lower than that of a trigram model trained on the same rows "
            f"({', '.join(trigram_losses)})"
        )
    if overlaps:
        reasons.append(
            f"the top {TOP_WORDS} words are nearly the same for every prompt (mean overlap: {', '.join(overlaps)})"
        )
    return "; ".join(reasons) or None


def state_word_frequencies(reason: str) -> str:
    """Return what the models have learned, as a sentence, for a reason of :func:`find_word_frequency_reason`."""
    return f"The models {name_word_frequency_result(reason)}: {reason.rstrip('.')}."


def name_word_frequency_result(reason: str) -> str:
    """Return what the models have learned, as a verb phrase, for a reason of :func:`find_word_frequency_reason`."""
    if reason.startswith(UNIGRAM_REASON):
        return "have not learned the word frequencies of their rows"
    return "learned only word frequencies"


def _format_losses(arm: str, model: PredictorScores, ngram: PredictorScores) -> str:
    return f"{arm}: {format_number(model.loss)} vs. {format_number(ngram.loss)}"


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else math.nan
