"""The overlap between the words of the filter and of the probes, and the polarity of the other predicted words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import Contrast, contrast
from winnow.comparison.metric_scores import build_score_table, find_incomparable_reason
from winnow.formatting import format_confidence, format_interval, format_number, join_names
from winnow.metrics.metric_names import probe_metric_name

if TYPE_CHECKING:
    import pandas as pd

UNLISTED_TOP_K: Final = 10
UNLISTED_SCORE: Final = f"unlisted_opinion_at_{UNLISTED_TOP_K}"
"""The mean polarity of the predicted words, not counting words that the filter uses or that the probe scores."""

MAX_LISTED_WORDS: Final = 8


@dataclass(frozen=True)
class ProbeOverlap:
    """The overlap between the words of one probe and the words that the filter uses.

    Attributes:
        shared: The probe's words that affect a signal of the filter.
        word_count: The number of words in the probe's lists; ``None`` if it was not recorded.
        unknown_signals: The signals whose words are unknown, such as classifiers. The filter may use more of the
            probe's words than ``shared``.
        is_complete: Whether all signals were considered. Versions before 0.3 considered only the lists of ``Mentions``.
        unlisted: The filter-minus-baseline difference in the mean polarity of the predicted words, not counting words
            that the filter uses or that are in the probe's lists; ``None`` if it was not computed.
    """

    shared: tuple[str, ...]
    word_count: int | None
    unknown_signals: tuple[str, ...] = ()
    is_complete: bool = True
    unlisted: Contrast | None = None

    @property
    def fraction(self) -> str:
        """The number of shared words out of the number of the probe's words, as text; ``unknown`` if it may be any."""
        is_lower_bound = bool(self.unknown_signals) or not self.is_complete
        if is_lower_bound and not self.shared:
            return "unknown"
        count = f"{len(self.shared)} of {self.word_count}" if self.word_count is not None else str(len(self.shared))
        return f"at least {count}" if is_lower_bound else count


def find_word_overlaps(study: CollectedStudy, confidence: float) -> dict[str, ProbeOverlap]:
    """Return the overlap of the filter with each probe, by probe, from the summaries that the runs recorded.

    If the runs recorded no summaries, the declared word lists are compared, and the only key is ``all probes``.
    """
    declaration = study.declaration
    summaries = study.probe_words.get(declaration.filter or "", {})
    if not summaries and declaration.filter_words and declaration.probe_words:
        shared_words = sorted(set(declaration.filter_words) & set(declaration.probe_words))
        return {"all probes": ProbeOverlap(tuple(shared_words), len(declaration.probe_words), is_complete=False)}
    return {probe: _build_overlap(study, probe, summary, confidence) for probe, summary in summaries.items()}


def _build_overlap(study: CollectedStudy, probe: str, summary: Mapping[str, Any], confidence: float) -> ProbeOverlap:
    return ProbeOverlap(
        shared=tuple(summary.get("shared_with_filter") or ()),
        word_count=summary.get("words"),
        unknown_signals=tuple(summary.get("unknown_signals") or ()),
        is_complete="unknown_signals" in summary,
        unlisted=_compare_unlisted_words(study, probe, confidence),
    )


def _compare_unlisted_words(study: CollectedStudy, probe: str, confidence: float) -> Contrast | None:
    declaration = study.declaration
    metric = study.registry.metric(probe_metric_name(probe, UNLISTED_SCORE))
    if declaration.filter is None or find_incomparable_reason(study, metric, declaration.filter, declaration.baseline):
        return None
    table = build_score_table(study, metric, declaration.filter, declaration.baseline)
    return contrast(table, declaration.filter, declaration.baseline, confidence, declaration.block_by_seed)


def summarize_overlaps(overlaps: Mapping[str, ProbeOverlap], study: CollectedStudy) -> dict[str, Any]:
    """Return the overlaps as the entry ``overlap`` of ``comparison.json``."""
    return {
        "shared": sorted({word for overlap in overlaps.values() for word in overlap.shared}),
        "filter_words": len(set(study.declaration.filter_words)),
        "probe_words": len(set(study.declaration.probe_words)),
        "probes": dict(overlaps),
    }


def describe_overlaps(overlaps: Mapping[str, ProbeOverlap], confidence: float) -> list[str]:
    """Return a note on each probe that shares words with the filter, with the effect on the other predicted words."""
    return [
        text for probe, overlap in overlaps.items() for text in (_describe_overlap(probe, overlap, confidence),) if text
    ]


def _describe_overlap(probe: str, overlap: ProbeOverlap, confidence: float) -> str:
    unknown = (
        f" The words that {join_names(list(overlap.unknown_signals))} depends on are unknown."
        if overlap.unknown_signals
        else ""
    )
    if not overlap.shared:
        return f"{probe}: whether the filter and the probe share words is unknown.{unknown}" if unknown else ""
    words = ", ".join(overlap.shared[:MAX_LISTED_WORDS]) + (", ..." if len(overlap.shared) > MAX_LISTED_WORDS else "")
    text = (
        f"{probe}: the filter uses {overlap.fraction} words that the probe scores ({words}), so the result is partly "
        f"circular.{unknown}"
    )
    if not overlap.is_complete:
        text += " Only the filter's word lists were considered, because the runs are from a version before 0.3."
    if overlap.unlisted is not None:
        text += f" {describe_unlisted_effect(overlap.unlisted, confidence)}"
    return text


def describe_unlisted_effect(result: Contrast, confidence: float) -> str:
    """Describe the effect on predicted words that the filter does not use and that are not in the probe's lists."""
    interval = "no interval available"
    if not math.isnan(result.ci_low):
        interval = f"{format_confidence(confidence)} interval {format_interval(result.ci_low, result.ci_high)}"
    return (
        "The mean polarity of the predicted words, not counting words in the filter's or the probe's lists, changes by "
        f"{format_number(result.difference)} ({interval}; scale -1 to 1)."
    )


def add_unlisted_polarities(
    prompts: pd.DataFrame, fills: pd.DataFrame, probe_words: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Add the mean polarity of the other predicted words after training to the table of prompts.

    The score of a prompt is the mean polarity of its most likely words. Words that the filter uses, that are in
    the probe's lists or that are not in the opinion lexicon count as 0.

    Args:
        prompts: The scores per prompt of all runs.
        fills: The predicted words per prompt, the most likely word first.
        probe_words: The recorded summary of each probe's words, with the polarities of the other words.
    """
    import numpy as np

    keys = ["arm", "seed", "stage", "prompt"]
    if prompts.empty or fills.empty or not probe_words:
        return prompts
    scores = np.full(len(prompts), np.nan)
    for probe, summary in probe_words.items():
        polarities, is_probe = summary.get("unlisted_opinions"), (prompts["probe"] == probe).to_numpy()
        if not polarities or summary.get("unknown_signals") or not is_probe.any():
            continue
        words = fills[(fills["probe"] == probe) & (fills["stage"] == "after")]
        words = words[words.groupby(keys, observed=True, sort=False).cumcount() < UNLISTED_TOP_K]
        values = _look_up_polarities(words["word"], polarities)
        means = values.groupby([words[key] for key in keys], observed=True).sum() / UNLISTED_TOP_K
        probe_prompts = prompts.loc[is_probe, keys]
        probe_scores = probe_prompts.join(means.rename("score"), on=keys)["score"].to_numpy(dtype=float)
        scores[is_probe] = np.where(_has_word_lists(prompts[is_probe]), probe_scores, np.nan)
    return prompts.assign(**{UNLISTED_SCORE: scores})


def _look_up_polarities(words: pd.Series, polarities: Mapping[str, float]) -> pd.Series:
    """Return the polarity of each word, or 0. Each distinct word is looked up once."""
    import numpy as np
    import pandas as pd

    categories = words.astype("category")
    values = np.array([polarities.get(str(word).casefold(), 0.0) for word in categories.cat.categories])
    return pd.Series(values[categories.cat.codes.to_numpy()], index=words.index, dtype=float)


def _has_word_lists(prompts: pd.DataFrame) -> Any:
    """Return a mask of the prompts that have word lists. Other prompts have no polarity scores."""
    column = f"opinion_at_{UNLISTED_TOP_K}"
    return prompts[column].notna() if column in prompts else prompts["scored"].astype(bool)
