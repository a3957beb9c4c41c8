"""Summarize a probe's words: their lexicon, their coverage by the vocabulary, and their overlap with the filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from winnow.filters import Selection

if TYPE_CHECKING:
    from winnow.evaluation import Probe, ProbeScores


def summarize_probe_words(probe: Probe, scores: ProbeScores, selection: Selection) -> dict[str, Any]:
    """Summarize a probe's words.

    The overlap matters because a filter that selects rows by the probe's words improves the probe's scores by
    construction. The summary also contains the words of the opinion lexicon that neither the filter uses nor the probe
    lists. The polarities of these words show whether an effect extends to other words.

    Args:
        probe: The probe.
        scores: The scores of a model on the probe.
        selection: The selection of training rows.
    """
    from winnow.evaluation.probes.lexicon import load_opinion_lexicon

    probe_words, lexicon = probe.words(), probe.loaded_lexicon
    source = (
        {"name": lexicon.name, "version": lexicon.version, "fingerprint": lexicon.fingerprint()} if lexicon else None
    )
    overlap = selection.find_word_overlap(probe_words)
    polarities = load_opinion_lexicon()
    listed_words = probe_words | selection.find_word_overlap(polarities).shared_words
    return {
        "lexicon": source,
        "coverage": scores.coverage(),
        "uncovered": scores.uncovered,
        "words": len(probe_words),
        "shared_with_filter": sorted(overlap.shared_words),
        "unknown_signals": list(overlap.unknown_signals),
        "filter_overlap": len(overlap.shared_words) / len(probe_words) if probe_words else 0.0,
        "unlisted_opinions": {word: value for word, value in polarities.items() if word not in listed_words},
    }
