"""Descriptive statistics of a study: arms, slices, metrics, word overlap and provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from winnow.comparison.collected_study import CollectedCell, CollectedStudy
from winnow.comparison.contrast_families import compute_contrast
from winnow.comparison.contrast_statistics import Contrast, Summary, summarize
from winnow.comparison.metric_scores import compute_seed_scores, summarize_base_model
from winnow.metrics.metric_names import (
    ALL_ROWS_SLICE,
    EXTERNAL_GROUP,
    LEAKAGE,
    SECONDS,
    SPLITS,
    TOKENS_SEEN,
    TRAIN_ROWS,
    TRAIN_TOKENS,
    held_out_metric_name,
    select_stage,
    stage_metric_name,
)
from winnow.metrics.metric_registry import Metric
from winnow.tracking.keys import CORPUS, HELD_OUT, MAX_STEPS, PROBES, TOKENIZER


@dataclass(frozen=True)
class ArmSummary:
    """One arm's primary metric, summarized over seeds, and the arm's mean cost per run.

    ``values`` and ``run_ids`` have the same order as ``seeds``. ``passes`` is the mean number of passes over the
    training rows: the number of tokens processed divided by the number of training tokens.
    """

    role: str
    n: int
    mean: float
    std: float
    ci_low: float
    ci_high: float
    seeds: list[int]
    values: list[float]
    run_ids: list[str]
    train_rows: float
    tokens: float
    passes: float
    seconds: float


@dataclass(frozen=True)
class PerSeedSummary(Summary):
    """A summary of one arm's metric over seeds, with the value for each seed."""

    seeds: list[int]
    values: list[float]


@dataclass(frozen=True)
class SliceLoss:
    """The loss on one held-out slice.

    ``arms`` contains the mean loss of each arm. ``change`` is the contrast between the filter and the baseline, not
    adjusted for multiple comparisons. It is ``None`` if the two arms are not comparable.
    """

    split: str
    name: str
    rows: int | None
    base: float
    arms: dict[str, float]
    change: Contrast | None

    @property
    def is_worse(self) -> bool:
        """Whether the confidence interval of ``change`` lies entirely above 0."""
        return self.change is not None and self.change.ci_low > 0


def describe_arms(study: CollectedStudy, primary: Metric, confidence: float) -> dict[str, ArmSummary]:
    """Summarize the primary metric and the cost of each arm."""
    declaration = study.declaration
    roles = {declaration.baseline: "baseline", declaration.filter: "filter", declaration.control: "control"}
    summaries = {}
    for name in study.arms:
        cells, values = study.get_cells(name), compute_seed_scores(study, primary, name)
        summaries[name] = ArmSummary(
            role=roles.get(name, "other"),
            **asdict(_summarize_or_nan(values.values(), confidence)),
            seeds=[cell.seed for cell in cells],
            values=[values.get(cell.seed, math.nan) for cell in cells],
            run_ids=[cell.run_id for cell in cells],
            train_rows=_mean_ignoring_nan(cell.metrics.get(TRAIN_ROWS, math.nan) for cell in cells),
            tokens=_mean_ignoring_nan(
                cell.metrics.get(stage_metric_name("final", TOKENS_SEEN), math.nan) for cell in cells
            ),
            passes=_mean_ignoring_nan(_count_passes(cell) for cell in cells),
            seconds=_mean_ignoring_nan(
                cell.metrics.get(stage_metric_name("final", SECONDS), cell.seconds) for cell in cells
            ),
        )
    return summaries


def _count_passes(cell: CollectedCell) -> float:
    tokens = cell.metrics.get(stage_metric_name("final", TOKENS_SEEN), math.nan)
    return tokens / (cell.metrics.get(TRAIN_TOKENS) or math.nan)


def describe_leakage(study: CollectedStudy) -> dict[str, dict[str, float]]:
    """Return the recorded leakage of each held-out split: the fractions of its rows that resemble a training row.

    The inner keys are ``exact`` (duplicates), ``near`` (near-duplicates), and ``one_word`` and ``two_words`` (rows that
    differ from a training row in at most one or two words). Runs of versions before 0.3 recorded only ``exact`` and
    ``near``.
    """
    leakage: dict[str, dict[str, float]] = {}
    for cell in study.cells:
        for name, value in cell.metrics.items():
            if name.startswith(f"{LEAKAGE}/"):
                split, _, kind = name.removeprefix(f"{LEAKAGE}/").rpartition("/")
                leakage.setdefault(split, {})[kind] = value
    return leakage


def describe_slices(study: CollectedStudy, confidence: float) -> list[SliceLoss]:
    """Return the loss on each slice of the test split, or of the validation split if there are no test losses.

    Slices of external data sets come last, with names of the form ``external/NAME``.
    """
    filter_arm, baseline = study.declaration.filter, study.declaration.baseline
    final = [select_stage("final", cell.metrics) for cell in study.cells]
    logged_metrics = [study.registry.metric(name) for name in sorted({name for metrics in final for name in metrics})]
    losses = [m for m in logged_metrics if m.parsed_name.kind == "held_out" and m.parsed_name.score == "loss"]
    splits = [s for s in reversed(SPLITS) if any(m.parsed_name.group == s for m in losses)]
    slice_losses = []
    for metric in losses:
        split, name = metric.parsed_name.group, metric.parsed_name.scope
        if split not in (*splits[:1], EXTERNAL_GROUP) or (split, name) == (EXTERNAL_GROUP, ALL_ROWS_SLICE):
            continue
        change = compute_contrast(study, metric, filter_arm, baseline, confidence) if filter_arm else ""
        base = summarize_base_model(study, metric)
        counts = [metrics[key] for metrics in final if (key := held_out_metric_name(split, name, "rows")) in metrics]
        slice_losses.append(
            SliceLoss(
                split=split,
                name=f"{EXTERNAL_GROUP}/{name}" if split == EXTERNAL_GROUP else name,
                rows=int(counts[0]) if counts else None,
                base=base.mean if base else math.nan,
                arms={arm: _mean_ignoring_nan(compute_seed_scores(study, metric, arm).values()) for arm in study.arms},
                change=change if isinstance(change, Contrast) else None,
            )
        )
    return sorted(slice_losses, key=lambda s: (s.split == EXTERNAL_GROUP, s.name != ALL_ROWS_SLICE, s.name))


def describe_metrics(study: CollectedStudy, confidence: float) -> dict[str, dict[str, PerSeedSummary]]:
    """Summarize every final metric of every arm, and include the value for each seed."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for cell in sorted(study.cells, key=lambda cell: cell.seed):
        for name, value in select_stage("final", cell.metrics).items():
            values.setdefault(name, {}).setdefault(cell.arm, {})[cell.seed] = value
    return {
        name: {arm: _summarize_seeds(by_seed, confidence) for arm, by_seed in by_arm.items()}
        for name, by_arm in sorted(values.items())
    }


def _summarize_seeds(by_seed: dict[int, float], confidence: float) -> PerSeedSummary:
    summary = summarize(list(by_seed.values()), confidence)
    return PerSeedSummary(**asdict(summary), seeds=list(by_seed), values=list(by_seed.values()))


def collect_provenance(study: CollectedStudy) -> dict[str, Any]:
    """Return the declaration and the distinct fingerprints, budgets and commits of the compared runs."""
    tags = {
        "corpus": CORPUS,
        "tokenizer": TOKENIZER,
        "held_out": HELD_OUT,
        "probes": PROBES,
        "max_steps": MAX_STEPS,
        "commit": "mlflow.source.git.commit",
    }
    values: dict[str, Any] = {
        name: sorted({cell.tags[tag] for cell in study.cells if tag in cell.tags}) for name, tag in tags.items()
    }
    values["max_steps"] = [f"{budget} steps" if budget.isdigit() else budget for budget in values["max_steps"]]
    values["uncommitted_changes"] = any(cell.tags.get("winnow.git.dirty") == "true" for cell in study.cells)
    values["declaration"] = asdict(study.declaration)
    return values


def _summarize_or_nan(values: Iterable[float], confidence: float) -> Summary:
    numbers = list(values)
    return summarize(numbers, confidence) if numbers else Summary(0, *[math.nan] * 4)


def _mean_ignoring_nan(values: Iterable[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
