"""Describe the limitations of a study in one paragraph, from what its runs recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.descriptive_statistics import ArmSummary
from winnow.comparison.findings import Finding
from winnow.comparison.word_overlap import ProbeOverlap
from winnow.formatting import format_number, join_names
from winnow.metrics.metric_names import parse_metric_name
from winnow.tracking.keys import TOKENIZER

MIN_PASS_RATIO = 1.5
"""Passes over the training rows are mentioned if the arms differ by at least this factor."""

FEW_LEVELS = 10
"""A random factor with fewer levels is mentioned."""

SYNTHETIC_SOURCE = "Grammar"
"""The class of the data source that generates rows from templates."""


def describe_limitations(
    study: CollectedStudy,
    arms: Mapping[str, ArmSummary],
    findings: Sequence[Finding],
    overlaps: Mapping[str, ProbeOverlap],
) -> str:
    """Return the limitations that apply to this study as one paragraph; it is empty if none is known.

    Args:
        study: The study.
        arms: The summary of each arm.
        findings: All findings of the comparison.
        overlaps: The words that each probe shares with the filter.
    """
    sentences = [
        _describe_corpus(study),
        _describe_passes(study, arms),
        _describe_shared_words(study, overlaps),
        _describe_tokenizer(study),
        _describe_levels(findings),
    ]
    return " ".join(filter(None, sentences))


def _describe_corpus(study: CollectedStudy) -> str:
    datasets = [tree.get("dataset") or {} for trees in study.settings.values() for tree in trees]
    sources = [str((dataset.get("source") or {}).get("_target_", "")) for dataset in datasets]
    if sources and all(source.rpartition(".")[2] == SYNTHETIC_SOURCE for source in sources):
        return "The corpus is synthetic (rows generated from templates), so the effect on natural text is unknown."
    return ""


def _describe_passes(study: CollectedStudy, arms: Mapping[str, ArmSummary]) -> str:
    declaration = study.declaration
    names = (declaration.filter or "", declaration.baseline)
    passes = {name: arms[name].passes for name in names if name in arms}
    if len(passes) < 2 or not all(math.isfinite(count) and count > 0 for count in passes.values()):
        return ""
    if max(passes.values()) < MIN_PASS_RATIO * min(passes.values()):
        return ""
    counts = join_names([f"{format_number(count)} times by {name}" for name, count in passes.items()])
    return (
        f"With this training budget, each training row was seen {counts} on average, so part of a difference can come "
        "from repetition."
    )


def _describe_shared_words(study: CollectedStudy, overlaps: Mapping[str, ProbeOverlap]) -> str:
    probe = parse_metric_name(study.declaration.primary_metric).scope
    if probe not in overlaps or not overlaps[probe].shared:
        return ""
    return (
        f"The filter uses {overlaps[probe].fraction} words that {probe} scores, so the effect on these words is partly "
        "circular."
    )


def _describe_tokenizer(study: CollectedStudy) -> str:
    if len({cell.tags.get(TOKENIZER) for cell in study.cells}) != 1:
        return ""
    return "All runs use one tokenizer and one model architecture; the results may differ for other models."


def _describe_levels(findings: Sequence[Finding]) -> str:
    primary = next((finding.result for finding in findings if finding.family == "primary"), None)
    if primary is None:
        return ""
    few = [f"{count} levels of {name}" for name, count in primary.levels.items() if count < FEW_LEVELS]
    fixed = list(primary.fixed)
    sentences = []
    if few:
        sentences.append(f"The interval of the primary metric rests on only {join_names(few)}.")
    if fixed:
        sentences.append(f"It does not generalize to other values of {join_names(fixed)}.")
    return " ".join(sentences).replace("It does", "It does" if few else "The interval of the primary metric does")
