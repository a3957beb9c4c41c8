"""List the cautions about a comparison: limitations that weaken its conclusions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.descriptive_statistics import describe_leakage
from winnow.comparison.findings import Finding
from winnow.comparison.item_factors import MIN_LEVELS
from winnow.formatting import format_p_value
from winnow.metrics.metric_names import parse_metric_name
from winnow.tracking.keys import TOKENIZER

PROTOCOL_SEEDS = 5
"""The number of seeds per arm that the protocol requires. With fewer seeds, the verdict is provisional."""

MAX_SIMILAR_ROWS = 0.2
"""The report contains a caution if at least this fraction of the test rows differs from a training row in at most one
word."""


def list_cautions(study: CollectedStudy, findings: Iterable[Finding]) -> list[str]:
    """Return the cautions about a comparison, each as one or two sentences, without duplicates."""
    findings = list(findings)
    cautions = [*_check_seed_counts(study, findings), *_check_leakage(study), *_check_tokenizers(study)]
    cautions += _check_template_halves(study, findings)
    for finding in findings:
        limitations = list_limitations(finding.result, finding.family != "descriptive")
        limitations += _describe_earlier_look(finding)
        cautions += [f"{finding.metric}: {limitation}" for limitation in limitations]
    return list(dict.fromkeys(cautions))


def _describe_earlier_look(finding: Finding) -> list[str]:
    """Return a sentence if an earlier interim look decided the outcome, or had a different outcome."""
    look, pair = finding.earlier_look, f"{finding.result.a} - {finding.result.b}"
    if look is None:
        return []
    name = f"the interim look after {look.seeds} seeds per arm ({format_p_value(look.p)}, level {look.level:.3g})"
    if look.outcome == finding.outcome:
        return [f"the outcome '{look.outcome}' of {pair} is that of {name}. This comparison alone is not significant."]
    return [f"{pair} is {finding.outcome} in this comparison, but {name} had the outcome '{look.outcome}'."]


def _check_seed_counts(study: CollectedStudy, findings: Sequence[Finding]) -> list[str]:
    """Return a caution if an arm that enters the verdict has few seeds."""
    primary = [finding.result for finding in findings if finding.family == "primary"]
    tested = {arm for result in primary for arm in (result.a, result.b)}
    counts = {arm: len(study.get_cells(arm)) for arm in study.arms if arm in tested or not tested}
    if arms := [f"{arm} ({count})" for arm, count in counts.items() if count < PROTOCOL_SEEDS]:
        return [
            f"Fewer than {PROTOCOL_SEEDS} seeds: {', '.join(arms)}. The protocol requires {PROTOCOL_SEEDS} seeds per "
            "arm, so the verdict is provisional."
        ]
    return []


def _check_leakage(study: CollectedStudy) -> list[str]:
    """Return a caution if many test rows are nearly identical to a training row."""
    leakage = describe_leakage(study).get("test", {})
    if leakage.get("one_word", 0.0) < MAX_SIMILAR_ROWS:
        return []
    return [
        f"{leakage['one_word']:.1%} of the test rows differ from a training row in at most one word, and "
        f"{leakage['two_words']:.1%} in at most two words. The test loss therefore partly measures memorization "
        "rather than generalization."
    ]


def _check_template_halves(study: CollectedStudy, findings: Sequence[Finding]) -> list[str]:
    """Return a caution for each tested probe that has too few templates for a validation half and a test half."""
    if "split" not in study.prompts:
        return []
    names = [parse_metric_name(finding.metric) for finding in findings if finding.family != "descriptive"]
    probes = dict.fromkeys(name.scope for name in names if name.kind == "probe")
    cautions = []
    for probe in probes:
        prompts = study.prompts[study.prompts["probe"] == probe]
        if prompts["split"].isin(["both"]).any():
            cautions.append(
                f"{probe} has too few templates for a separate validation half ({prompts['template'].nunique()}), so "
                "its scores during training are computed on the same prompts as the verdict."
            )
    return cautions


def _check_tokenizers(study: CollectedStudy) -> list[str]:
    by_arm = {arm: {cell.tags.get(TOKENIZER, "not recorded") for cell in study.get_cells(arm)} for arm in study.arms}
    if len(set().union(*by_arm.values())) > 1:
        tokenizers = "; ".join(f"{arm}: {', '.join(sorted(names))}" for arm, names in by_arm.items())
        return [
            f"More than one tokenizer ({tokenizers}). Scores with different tokenizers are not on the same scale, so "
            "they are reported but not tested against each other."
        ]
    return []


def list_limitations(result: Contrast, tested: bool = True) -> list[str]:
    """Return the limitations of a contrast, one sentence each.

    Args:
        result: The contrast.
        tested: Whether the contrast is tested. Excluded items, imputed scores and assumed independence are only listed
            for tested contrasts.
    """
    limitations = []
    if result.seeds_left_out:
        limitations.append(f"excluded from {result.a} - {result.b}: {', '.join(result.seeds_left_out)}.")
    if result.items_left_out and tested:
        limitations.append(
            f"{result.items_left_out} items were excluded: at least half of an arm's runs have no score for them."
        )
    if result.missing and tested:
        limitations.append(f"{result.missing} missing scores were imputed by an additive fit of run and item effects.")
    if factors := [f"{name} ({levels} levels)" for name, levels in result.fixed.items() if levels > 1]:
        limitations.append(
            f"{', '.join(factors)}: treated as fixed, because estimating a variance requires at least "
            f"{MIN_LEVELS} levels."
        )
    if result.items == 1:
        limitations.append("no scores per prompt or row were recorded, so the interval generalizes to new seeds only.")
    elif not result.levels:
        limitations.append("every item factor is treated as fixed, so the interval generalizes to new seeds only.")
    if result.assumed_independent and tested:
        limitations.append("items assumed independent: the runs did not record which items are similar.")
    return limitations
