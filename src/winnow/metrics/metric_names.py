"""Build and parse metric names.

A model's score is named ``probe/PROBE/SCORE`` (a mean over the prompts of a probe) or ``SPLIT/SLICE/SCORE`` (a mean
over held-out rows). The name of a slice may contain slashes. Any other name, such as ``seconds``, refers to a metric
with one value per run. The names of scores at a stage of a run are prefixed with the stage, as in
``final/test/all/loss``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

Stage = Literal["before", "final", "best"]
"""The stages of a run: the base model before the first step, the last checkpoint, and the checkpoint with the lowest
validation loss."""

Kind = Literal["probe", "held_out", "run"]

PROBE: Final = "probe"
SPLITS: Final = ("train", "validation", "test")
EXTERNAL: Final = "external"
"""The group of held-out sets from other sources. It replaces the split in metric names, and each set is a slice."""

ALL: Final = "all"
"""The slice that contains all rows of a split."""

TRAIN_LOSS: Final = "train/loss"
VALIDATION_LOSS: Final = "validation/loss"
LOSSES: Final = (TRAIN_LOSS, VALIDATION_LOSS)
"""The losses that are logged per step."""

TRAIN_ROWS: Final = "data/train_rows"
TRAIN_TOKENS: Final = "data/train_tokens"
TOKENS_SEEN: Final = "tokens_seen"
SECONDS: Final = "seconds"

T = TypeVar("T")


@dataclass(frozen=True)
class MetricName:
    """A parsed metric name.

    Attributes:
        kind: Whether the metric is measured on the prompts of a probe, on held-out rows, or once per run.
        group: ``probe`` or the split; empty for a metric with one value per run.
        scope: The probe or the slice; empty for a metric with one value per run.
        score: The last component of the name, or the full name for a metric with one value per run.
    """

    kind: Kind
    group: str
    scope: str
    score: str


def parse_metric_name(name: str) -> MetricName:
    """Parse a metric name without a stage.

    >>> parse_metric_name("test/nike_positive/kept/loss")
    MetricName(kind='held_out', group='test', scope='nike_positive/kept', score='loss')
    >>> parse_metric_name("validation/loss").kind
    'run'
    """
    group, _, remaining = name.partition("/")
    scope, _, score = remaining.rpartition("/")
    if scope and score and group == PROBE:
        return MetricName("probe", group, scope, score)
    if scope and score and group in (*SPLITS, EXTERNAL):
        return MetricName("held_out", group, scope, score)
    return MetricName("run", "", "", name)


def probe_metric_name(probe: str, score: str) -> str:
    """Return the metric name of a probe score.

    >>> probe_metric_name("honest", "forbidden_mrr")
    'probe/honest/forbidden_mrr'
    """
    return f"{PROBE}/{probe}/{score}"


def held_out_metric_name(split: str, slice_name: str, score: str) -> str:
    """Return the metric name of a held-out score.

    >>> held_out_metric_name("test", "all", "loss")
    'test/all/loss'
    """
    return f"{split}/{slice_name}/{score}"


def stage_metric_name(stage: Stage, name: str) -> str:
    """Return a metric name prefixed with a stage.

    >>> stage_metric_name("final", "test/all/loss")
    'final/test/all/loss'
    """
    return f"{stage}/{name}"


def select_stage(stage: Stage, metrics: Mapping[str, T]) -> dict[str, T]:
    """Select the metrics of one stage and strip the stage from their names.

    >>> select_stage("final", {"final/seconds": 5.5, "before/test/all/loss": 7.0})
    {'seconds': 5.5}
    """
    prefix = stage_metric_name(stage, "")
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def strip_stage(name: str) -> str:
    """Remove the stage from a metric name, if it has one.

    >>> strip_stage("before/probe/nike/log_odds"), strip_stage("train/loss")
    ('probe/nike/log_odds', 'train/loss')
    """
    return re.sub(r"^(before|final|best)/", "", name)


def kept_slice_name(filter_name: str) -> str:
    """Return the name of the slice that contains the rows a filter keeps."""
    return f"{filter_name}/kept"


def removed_slice_name(filter_name: str) -> str:
    """Return the name of the slice that contains the rows a filter removes."""
    return f"{filter_name}/removed"


def source_slice_name(source: str) -> str:
    """Return the name of the slice that contains the rows of one source.

    >>> source_slice_name("reviews (2024)/a")
    'source/reviews _2024__a'
    """
    return f"source/{sanitize_component(source)}"


def sanitize_component(text: str) -> str:
    """Replace all characters that MLflow does not allow in one component of a metric name.

    >>> sanitize_component("reviews (2024)/a")
    'reviews _2024__a'
    """
    return re.sub(r"[^A-Za-z0-9_. -]", "_", text)


def sanitize_name(name: str) -> str:
    """Replace all characters that MLflow does not allow in a full metric name; slashes are kept.

    >>> sanitize_name("probe/50%/log_odds")
    'probe/50_/log_odds'
    """
    return re.sub(r"[^\w/. :-]", "_", name)


def contrast_metric_name(family: str, metric: str, a: str, b: str, statistic: str) -> str:
    """Return the metric name under which a comparison logs a statistic of a contrast.

    >>> contrast_metric_name("primary", "test/all/loss", "short", "full", "p_holm")
    'primary/test/all/loss/short - full/p_holm'
    """
    return f"{family}/{metric}/{a} - {b}/{statistic}"
