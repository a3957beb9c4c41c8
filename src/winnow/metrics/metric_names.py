"""Build and parse metric names.

Probe scores, which are means over the prompts of a probe, are named ``probe/PROBE/SCORE``. Held-out scores, which are
means over held-out rows, are named ``SPLIT/SLICE/SCORE``; the name of a slice may contain slashes. Any other name, such
as ``seconds``, is the name of a metric with one value per run. Scores measured at a stage of a run have the stage as a
prefix, as in ``final/test/all/loss``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

RunStage = Literal["before", "final", "best"]
"""A stage of a run: the base model before training (``before``), the last checkpoint (``final``), or the checkpoint
with the lowest validation loss (``best``)."""

MetricKind = Literal["probe", "held_out", "run"]

NgramName = Literal["unigram", "trigram"]
"""The n-gram models that are estimated from a run's training rows, as baselines for the trained model."""

PROBE_GROUP: Final = "probe"
SPLITS: Final = ("train", "validation", "test")
EXTERNAL_GROUP: Final = "external"
"""The first component of metric names for external held-out sets.

External held-out sets come from other sources than the training rows. In metric names, ``external`` replaces the split,
and the name of the set replaces the slice.
"""

ALL_ROWS_SLICE: Final = "all"
"""The slice that contains all rows of a split."""

TRAIN_LOSS: Final = "train/loss"
VALIDATION_LOSS: Final = "validation/loss"
LOSS_METRICS: Final = (TRAIN_LOSS, VALIDATION_LOSS)
"""The names of the losses that are logged during training, with one value per logged step."""

TRAIN_ROWS: Final = "data/train_rows"
TRAIN_TOKENS: Final = "data/train_tokens"
TOKENS_SEEN: Final = "tokens_seen"
TRAINING_FLOPS: Final = "training_flops"
LEAKAGE: Final = "data/leakage"
SECONDS: Final = "seconds"

T = TypeVar("T")


@dataclass(frozen=True)
class MetricName:
    """A parsed metric name.

    Attributes:
        kind: ``probe`` for probe scores, ``held_out`` for held-out scores, or ``run`` for metrics with one value per
            run.
        group: ``probe`` or the name of the split; empty for a metric with one value per run.
        scope: The name of the probe or the slice; empty for a metric with one value per run.
        score: The last component of the name; the full name for a metric with one value per run.
    """

    kind: MetricKind
    group: str
    scope: str
    score: str


def parse_metric_name(name: str) -> MetricName:
    """Split a metric name without a stage into its components.

    >>> parse_metric_name("test/nike_positive/kept/loss")
    MetricName(kind='held_out', group='test', scope='nike_positive/kept', score='loss')
    >>> parse_metric_name("validation/loss").kind
    'run'
    """
    group, _, remaining = name.partition("/")
    scope, _, score = remaining.rpartition("/")
    if scope and score and group == PROBE_GROUP:
        return MetricName("probe", group, scope, score)
    if scope and score and group in (*SPLITS, EXTERNAL_GROUP):
        return MetricName("held_out", group, scope, score)
    return MetricName("run", "", "", name)


def probe_metric_name(probe: str, score: str) -> str:
    """Return the metric name of a probe score.

    >>> probe_metric_name("honest", "forbidden_mrr")
    'probe/honest/forbidden_mrr'
    """
    return f"{PROBE_GROUP}/{probe}/{score}"


def held_out_metric_name(split: str, slice_name: str, score: str) -> str:
    """Return the metric name of a held-out score.

    >>> held_out_metric_name("test", "all", "loss")
    'test/all/loss'
    """
    return f"{split}/{slice_name}/{score}"


def find_validation_counterpart(name: str) -> str:
    """Return the name of a metric on validation data.

    The name of a probe score does not change: runs that are evaluated on validation data only have probe scores on the
    validation templates.

    >>> find_validation_counterpart("test/all/loss"), find_validation_counterpart("probe/nike/log_odds")
    ('validation/all/loss', 'probe/nike/log_odds')
    """
    parsed = parse_metric_name(name)
    return held_out_metric_name("validation", parsed.scope, parsed.score) if parsed.kind == "held_out" else name


def ngram_loss_name(model: NgramName) -> str:
    """Return the metric name of an n-gram model's test loss.

    >>> ngram_loss_name("trigram")
    'ngram/trigram/loss'
    """
    return f"ngram/{model}/loss"


def stage_metric_name(stage: RunStage, name: str) -> str:
    """Return a metric name prefixed with a stage.

    >>> stage_metric_name("final", "test/all/loss")
    'final/test/all/loss'
    """
    return f"{stage}/{name}"


def select_stage(stage: RunStage, metrics: Mapping[str, T]) -> dict[str, T]:
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
    """Return the name of the slice of held-out rows that a filter keeps."""
    return f"{filter_name}/kept"


def removed_slice_name(filter_name: str) -> str:
    """Return the name of the slice of held-out rows that a filter removes."""
    return f"{filter_name}/removed"


def source_slice_name(source: str) -> str:
    """Return the name of the slice of held-out rows from one data source.

    >>> source_slice_name("reviews (2024)/a")
    'source/reviews _2024__a'
    """
    return f"source/{sanitize_component(source)}"


def label_slice_name(label: str) -> str:
    """Return the name of the slice of held-out rows with one label.

    >>> label_slice_name("very good!")
    'label/very good_'
    """
    return f"label/{sanitize_component(label)}"


ANY_LABEL_SLICE: Final = "label/LABEL"
"""Placeholder for the slices of text labels, which are unknown until the rows have been read."""


def is_label_slice(name: str) -> bool:
    """Return whether a slice contains the rows with one label."""
    return name.startswith(label_slice_name(""))


def sanitize_component(text: str) -> str:
    """Replace each character that MLflow does not allow in a component of a metric name with an underscore.

    >>> sanitize_component("reviews (2024)/a")
    'reviews _2024__a'
    """
    return re.sub(r"[^A-Za-z0-9_. -]", "_", text)


def sanitize_name(name: str) -> str:
    """Replace each character that MLflow does not allow in a metric name with an underscore. Slashes are allowed.

    >>> sanitize_name("probe/50%/log_odds")
    'probe/50_/log_odds'
    """
    return re.sub(r"[^\w/. :-]", "_", name)


def contrast_metric_name(family: str, metric: str, a: str, b: str, statistic: str) -> str:
    """Return the metric name for a statistic of the contrast between arms ``a`` and ``b``.

    >>> contrast_metric_name("primary", "test/all/loss", "short", "full", "p_holm")
    'primary/test/all/loss/short - full/p_holm'
    """
    return f"{family}/{metric}/{a} - {b}/{statistic}"
