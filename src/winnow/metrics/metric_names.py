"""How metric names are built and parsed; no other module does either.

A score of the model is named ``probe/PROBE/SCORE`` (a mean over the prompts of a probe) or ``SPLIT/SLICE/SCORE`` (a
mean over held-out rows; a slice may contain slashes). Any other name, such as ``seconds``, is one number per run. A
score that belongs to a stage of a run has the stage in front: ``final/test/all/loss``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

Stage = Literal["before", "final", "best"]
"""The base model before the first step, the last checkpoint, and the checkpoint with the lowest validation loss."""

Kind = Literal["probe", "held_out", "run"]

PROBE: Final = "probe"
SPLITS: Final = ("train", "validation", "test")
EXTERNAL: Final = "external"
"""What held-out sets of another origin have in place of a split; a slice is a set."""

ALL: Final = "all"
"""The slice with all rows of a split."""

TRAIN_LOSS: Final = "train/loss"
VALIDATION_LOSS: Final = "validation/loss"
LOSSES: Final = (TRAIN_LOSS, VALIDATION_LOSS)
"""The losses that are logged by step."""

TRAIN_ROWS: Final = "data/train_rows"
TRAIN_TOKENS: Final = "data/train_tokens"
TOKENS_SEEN: Final = "tokens_seen"
SECONDS: Final = "seconds"

T = TypeVar("T")


@dataclass(frozen=True)
class MetricName:
    """A metric name, parsed.

    Attributes:
        kind: What the metric is measured on.
        group: ``probe`` or the split; empty for a number per run.
        place: The probe or the slice; empty for a number per run.
        score: The last part; for a number per run the whole name.
    """

    kind: Kind
    group: str
    place: str
    score: str


def parse(name: str) -> MetricName:
    """Return the parts of a name without a stage.

    >>> parse("test/nike_positive/kept/loss")
    MetricName(kind='held_out', group='test', place='nike_positive/kept', score='loss')
    >>> parse("validation/loss").kind
    'run'
    """
    group, _, rest = name.partition("/")
    place, _, score = rest.rpartition("/")
    if place and score and group == PROBE:
        return MetricName("probe", group, place, score)
    if place and score and group in (*SPLITS, EXTERNAL):
        return MetricName("held_out", group, place, score)
    return MetricName("run", "", "", name)


def probe_metric(probe: str, score: str) -> str:
    """Return the name of a score of a probe.

    >>> probe_metric("honest", "forbidden_mrr")
    'probe/honest/forbidden_mrr'
    """
    return f"{PROBE}/{probe}/{score}"


def held_out_metric(split: str, slice_name: str, score: str) -> str:
    """Return the name of a score of held-out rows.

    >>> held_out_metric("test", "all", "loss")
    'test/all/loss'
    """
    return f"{split}/{slice_name}/{score}"


def at_stage(stage: Stage, name: str) -> str:
    """Return the name under which a metric of a stage is logged.

    >>> at_stage("final", "test/all/loss")
    'final/test/all/loss'
    """
    return f"{stage}/{name}"


def of_stage(stage: Stage, metrics: Mapping[str, T]) -> dict[str, T]:
    """Return the metrics of a stage by their names without it.

    >>> of_stage("final", {"final/seconds": 5.5, "before/test/all/loss": 7.0})
    {'seconds': 5.5}
    """
    prefix = at_stage(stage, "")
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def without_stage(name: str) -> str:
    """Return a logged name without its stage.

    >>> without_stage("before/probe/nike/log_odds"), without_stage("train/loss")
    ('probe/nike/log_odds', 'train/loss')
    """
    return re.sub(r"^(before|final|best)/", "", name)


def kept_slice(filter_name: str) -> str:
    """Return the name of the slice of rows that a filter keeps."""
    return f"{filter_name}/kept"


def removed_slice(filter_name: str) -> str:
    """Return the name of the slice of rows that a filter removes."""
    return f"{filter_name}/removed"


def source_slice(source: str) -> str:
    """Return the name of the slice of rows of one source.

    >>> source_slice("reviews (2024)/a")
    'source/reviews _2024__a'
    """
    return f"source/{safe_part(source)}"


def safe_part(text: str) -> str:
    """Return a text in the characters that MLflow allows in one part of a metric name.

    >>> safe_part("reviews (2024)/a")
    'reviews _2024__a'
    """
    return re.sub(r"[^A-Za-z0-9_. -]", "_", text)


def safe_name(name: str) -> str:
    """Return a name with slashes in the characters that MLflow allows.

    >>> safe_name("probe/50%/log_odds")
    'probe/50_/log_odds'
    """
    return re.sub(r"[^\w/. :-]", "_", name)


def contrast_metric(family: str, metric: str, a: str, b: str, number: str) -> str:
    """Return the name under which a comparison logs a number of a contrast.

    >>> contrast_metric("primary", "test/all/loss", "short", "full", "p_holm")
    'primary/test/all/loss/short - full/p_holm'
    """
    return f"{family}/{metric}/{a} - {b}/{number}"
