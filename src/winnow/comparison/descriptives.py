"""What is told of a study without a test: its arms, slices, metrics and where they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from winnow.comparison.collected_study import Study
from winnow.comparison.metric_scores import base_score, by_seed, obstacle, scores
from winnow.comparison.statistics import Contrast, Summary, contrast, summarise
from winnow.metrics.metric_names import (
    ALL,
    EXTERNAL,
    SECONDS,
    SPLITS,
    TOKENS_SEEN,
    TRAIN_ROWS,
    at_stage,
    held_out_metric,
    of_stage,
)
from winnow.metrics.metric_registry import Metric
from winnow.tracking.keys import CORPUS, HELD_OUT, MAX_STEPS, PROBES, TOKENIZER


@dataclass(frozen=True)
class Arm:
    """One arm in the primary metric and what it cost per seed; ``values`` are in the order of ``seeds``."""

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
    seconds: float


@dataclass(frozen=True)
class Points(Summary):
    """A metric of one arm: its summary over seeds, and the number of each seed."""

    seeds: list[int]
    values: list[float]


@dataclass(frozen=True)
class Slice:
    """The loss of one held-out slice: mean per arm, and the filter against the baseline, unadjusted."""

    split: str
    name: str
    rows: int | None
    base: float
    arms: dict[str, float]
    change: Contrast | None

    @property
    def worse(self) -> bool:
        """Whether the whole interval of the change lies on the bad side."""
        return self.change is not None and self.change.ci_low > 0


def arms(study: Study, primary: Metric, confidence: float) -> dict[str, Arm]:
    """Return every arm in the primary metric, with what it cost."""
    declared = study.declaration
    roles = {declared.baseline: "baseline", declared.filter: "filter", declared.control: "control"}
    found = {}
    for name in study.arms:
        cells, values = study.of(name), by_seed(study, primary, name)
        found[name] = Arm(
            role=roles.get(name, "other"),
            **asdict(_summary(values.values(), confidence)),
            seeds=[cell.seed for cell in cells],
            values=[values.get(cell.seed, math.nan) for cell in cells],
            run_ids=[cell.run_id for cell in cells],
            train_rows=_mean(cell.metrics.get(TRAIN_ROWS, math.nan) for cell in cells),
            tokens=_mean(cell.metrics.get(at_stage("final", TOKENS_SEEN), math.nan) for cell in cells),
            seconds=_mean(cell.metrics.get(at_stage("final", SECONDS), cell.seconds) for cell in cells),
        )
    return found


def slices(study: Study, confidence: float) -> list[Slice]:
    """Return the losses of every slice of the test split, or of validation where nothing was tested.

    External sets follow, each as ``external/NAME``.
    """
    tested, baseline = study.declaration.filter, study.declaration.baseline
    final = [of_stage("final", cell.metrics) for cell in study.cells]
    logged = [study.registry.metric(name) for name in sorted({name for metrics in final for name in metrics})]
    losses = [m for m in logged if m.parts.kind == "held_out" and m.parts.score == "loss"]
    splits = [s for s in reversed(SPLITS) if any(m.parts.group == s for m in losses)]
    found = []
    for metric in losses:
        split, name = metric.parts.group, metric.parts.place
        if split not in (*splits[:1], EXTERNAL) or (split, name) == (EXTERNAL, ALL):
            continue
        comparable = tested is not None and obstacle(study, metric, tested, baseline) is None
        base = base_score(study, metric)
        counts = [metrics[key] for metrics in final if (key := held_out_metric(split, name, "rows")) in metrics]
        found.append(
            Slice(
                split=split,
                name=f"{EXTERNAL}/{name}" if split == EXTERNAL else name,
                rows=int(counts[0]) if counts else None,
                base=base.mean if base else math.nan,
                arms={arm: _mean(by_seed(study, metric, arm).values()) for arm in study.arms},
                change=contrast(
                    scores(study, metric, tested, baseline),
                    tested,
                    baseline,
                    confidence,
                    study.declaration.block_by_seed,
                )
                if comparable and tested
                else None,
            )
        )
    return sorted(found, key=lambda s: (s.split == EXTERNAL, s.name != ALL, s.name))


def metrics(study: Study, confidence: float) -> dict[str, dict[str, Points]]:
    """Return every final metric of every arm with the points of its seeds, described and not tested."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for cell in sorted(study.cells, key=lambda cell: cell.seed):
        for name, value in of_stage("final", cell.metrics).items():
            found.setdefault(name, {}).setdefault(cell.arm, {})[cell.seed] = value
    return {
        name: {arm: _points(by_seed, confidence) for arm, by_seed in by_arm.items()}
        for name, by_arm in sorted(found.items())
    }


def _points(by_seed: dict[int, float], confidence: float) -> Points:
    summary = summarise(list(by_seed.values()), confidence)
    return Points(**asdict(summary), seeds=list(by_seed), values=list(by_seed.values()))


def overlap(study: Study) -> dict[str, Any]:
    """Return the words that the filter and the probes both list, and how many each lists."""
    filter_words, probe_words = set(study.declaration.filter_words), set(study.declaration.probe_words)
    return {
        "shared": sorted(filter_words & probe_words),
        "filter_words": len(filter_words),
        "probe_words": len(probe_words),
    }


def provenance(study: Study) -> dict[str, Any]:
    """Return fingerprints, budget, commit and declaration; more than one value means that runs differ."""
    tags = {
        "corpus": CORPUS,
        "tokenizer": TOKENIZER,
        "held_out": HELD_OUT,
        "probes": PROBES,
        "max_steps": MAX_STEPS,
        "commit": "mlflow.source.git.commit",
    }
    found: dict[str, Any] = {
        name: sorted({cell.tags[tag] for cell in study.cells if tag in cell.tags}) for name, tag in tags.items()
    }
    found["max_steps"] = [f"{budget} steps" if budget.isdigit() else budget for budget in found["max_steps"]]
    found["uncommitted_changes"] = any(cell.tags.get("winnow.git.dirty") == "true" for cell in study.cells)
    found["declaration"] = asdict(study.declaration)
    return found


def _summary(values: Iterable[float], confidence: float) -> Summary:
    known = list(values)
    return summarise(known, confidence) if known else Summary(0, *[math.nan] * 4)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
