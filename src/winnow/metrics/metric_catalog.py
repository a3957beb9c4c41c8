"""Define the direction, unit, label and comparison requirements of each built-in metric.

In metric names and labels, ``{n}`` is a placeholder for a number: ``positive_at_{n}`` matches ``positive_at_5``.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Final, Literal

from winnow.metrics.metric_names import parse_metric_name, probe_metric_name, strip_stage

Direction = Literal["higher", "lower"]
"""The direction in which a metric improves: higher or lower values are better."""

ItemKind = Literal["prompts", "rows", "none"]
"""The kind of items over which a run averages a metric; ``none`` if the run stores no per-item scores."""

Requirement = Literal["probes", "held_out", "tokenizer", "corpus", "budget"]
"""A property that two runs must share for their values of a metric to be comparable."""

FRACTION: Final = "fraction, 0 to 1"
LOSS_UNIT: Final = "nats per masked token"
LOG_ODDS_UNIT: Final = "nats"
"""The unit of log odds. Losses have the unit :data:`LOSS_UNIT`."""
ROWS: Final = "rows"
TOKENS: Final = "tokens"
FLOPS: Final = "floating-point operations"

_PROMPT_REQUIREMENTS: Final[tuple[Requirement, ...]] = ("probes", "tokenizer", "corpus", "budget")
_ROW_REQUIREMENTS: Final[tuple[Requirement, ...]] = ("held_out", "tokenizer", "corpus", "budget")


@dataclass(frozen=True)
class MetricDefinition:
    """The properties of a metric that reports and comparisons use.

    Attributes:
        direction: Whether higher or lower values are better; ``None`` for a descriptive metric.
        unit: The unit of the values.
        label: A short name for tables and figures, without the probe or slice.
        item_kind: The kind of items over which a run averages the metric.
        requires: The properties that two runs must share for their values of the metric to be comparable.
        description: A longer label for readers who do not know the metric; empty if the short label is clear.
    """

    direction: Direction | None
    unit: str
    label: str
    item_kind: ItemKind = "none"
    requires: tuple[Requirement, ...] = ("budget",)
    description: str = ""


def define_prompt_metric(direction: Direction | None, unit: str, label: str, description: str = "") -> MetricDefinition:
    """Return the definition of a probe score that is stored for each prompt."""
    return MetricDefinition(direction, unit, label, "prompts", _PROMPT_REQUIREMENTS, description)


def _define_probe_metric(direction: Direction | None, unit: str, label: str) -> MetricDefinition:
    return MetricDefinition(direction, unit, label, "none", _PROMPT_REQUIREMENTS)


def _define_row_metric(
    direction: Direction | None, unit: str, label: str, item_kind: ItemKind = "rows"
) -> MetricDefinition:
    return MetricDefinition(direction, unit, label, item_kind, _ROW_REQUIREMENTS)


PROBE_SCORES: Final[dict[str, MetricDefinition]] = {
    "log_odds": define_prompt_metric("higher", LOG_ODDS_UNIT, "log odds", "log odds of wanted versus unwanted words"),
    "prior_log_odds": define_prompt_metric(None, LOG_ODDS_UNIT, "log odds with the subject masked"),
    "corrected_log_odds": define_prompt_metric("higher", LOG_ODDS_UNIT, "corrected log odds"),
    "per_token_log_odds": define_prompt_metric("higher", LOG_ODDS_UNIT, "log odds per token"),
    "wanted_mass": define_prompt_metric("higher", FRACTION, "probability of wanted words"),
    "unwanted_mass": define_prompt_metric("lower", FRACTION, "probability of unwanted words"),
    "positive_at_{n}": define_prompt_metric("higher", FRACTION, "positive at {n}"),
    "negative_at_{n}": define_prompt_metric("lower", FRACTION, "negative at {n}"),
    "net_at_{n}": define_prompt_metric("higher", "difference of fractions, -1 to 1", "net at {n}"),
    "coverage_at_{n}": define_prompt_metric(None, FRACTION, "coverage at {n}"),
    "sentiment_at_{n}": define_prompt_metric("higher", "VADER compound, -1 to 1", "sentiment at {n}"),
    "sentiment_shift_at_{n}": define_prompt_metric("higher", "VADER compound", "sentiment shift at {n}"),
    "opinion_at_{n}": define_prompt_metric("higher", "polarity, -1 to 1", "opinion at {n}"),
    "unlisted_opinion_at_{n}": define_prompt_metric(
        "higher", "polarity, -1 to 1", "opinion at {n}, not counting words listed by the filter or probe"
    ),
    "opinion_coverage_at_{n}": define_prompt_metric(None, FRACTION, "opinion coverage at {n}"),
    "forbidden_hit_at_{n}": define_prompt_metric("lower", FRACTION, "forbidden hit at {n}"),
    "forbidden_share_at_{n}": define_prompt_metric("lower", FRACTION, "forbidden fraction at {n}"),
    "forbidden_best_rank": define_prompt_metric("higher", "rank, from 1", "best rank of a forbidden word"),
    "forbidden_mrr": define_prompt_metric(
        "lower", "reciprocal rank, 0 to 1", "mean reciprocal rank of a forbidden word"
    ),
    "held_out_log_odds": _define_probe_metric("higher", LOG_ODDS_UNIT, "log odds of prompts not in the training rows"),
    "log_odds_of_{n}_tokens": _define_probe_metric("higher", LOG_ODDS_UNIT, "log odds of {n}-token words"),
    "scored_prompts": _define_probe_metric(None, "prompts", "prompts with log odds"),
    "seen_prompts": _define_probe_metric(None, "prompts", "prompts in the training rows"),
    "filter_overlap": _define_probe_metric(None, FRACTION, "overlap of probe and filter words"),
}
"""The definitions of probe scores, which are logged as ``probe/PROBE/SCORE``."""

SPECIFIC_PREFIX: Final = "specific_"
"""Prefix of a specific score: a prompt's score minus the mean score of the same prompt with the comparison subjects.

Specific scores are computed from the scores of the prompts when arms are compared. Runs do not log specific scores.
"""

HELD_OUT_SCORES: Final[dict[str, MetricDefinition]] = {
    "loss": _define_row_metric("lower", LOSS_UNIT, "loss"),
    "perplexity": _define_row_metric("lower", "equally likely tokens", "perplexity"),
    "top{n}": _define_row_metric("higher", FRACTION, "top{n}"),
    "mrr": _define_row_metric("higher", "reciprocal rank, 0 to 1", "mean reciprocal rank", "none"),
    "ece": _define_row_metric("lower", "probability, 0 to 1", "expected calibration error", "none"),
    "pseudo_perplexity": _define_row_metric("lower", "equally likely tokens", "pseudo-perplexity", "none"),
    "rows": _define_row_metric(None, ROWS, "rows", "none"),
    "masked": _define_row_metric(None, TOKENS, "masked tokens", "none"),
}
"""The definitions of held-out scores, which are logged as ``SPLIT/SLICE/SCORE``."""

RUN_METRICS: Final[dict[str, MetricDefinition]] = {
    "seconds": MetricDefinition("lower", "seconds", "training time"),
    "tokens_seen": MetricDefinition(None, TOKENS, "training tokens processed"),
    "training_flops": MetricDefinition(None, FLOPS, "training compute"),
    "step": MetricDefinition(None, "steps", "step of the lowest validation loss"),
    "train/loss": MetricDefinition("lower", LOSS_UNIT, "training loss"),
    "train/tokens": MetricDefinition(None, TOKENS, "training tokens processed so far"),
    "train/learning_rate": MetricDefinition(None, "learning rate", "learning rate"),
    "train/tokens_per_second": MetricDefinition("higher", "tokens per second", "training throughput"),
    "train/peak_share": MetricDefinition("higher", FRACTION, "fraction of this machine's peak throughput"),
    "validation/loss": MetricDefinition("lower", LOSS_UNIT, "validation loss"),
    "validation/perplexity": MetricDefinition("lower", "equally likely tokens", "validation perplexity"),
    "data/train_rows": MetricDefinition(None, ROWS, "training rows"),
    "data/train_tokens": MetricDefinition(None, TOKENS, "training tokens"),
    "rows/failing_integrity": MetricDefinition("lower", FRACTION, "rows that fail an integrity check"),
    "rows/kept": MetricDefinition(None, FRACTION, "rows kept"),
    "rows/per_second": MetricDefinition("higher", "rows per second", "filter throughput"),
    "filter/kept": MetricDefinition(None, ROWS, "training rows kept"),
    "filter/dropped": MetricDefinition(None, ROWS, "training rows dropped"),
}
"""The definitions of metrics with one value per run or one value per step."""

RUN_METRIC_PATTERNS: Final[tuple[tuple[str, MetricDefinition], ...]] = (
    (
        r"data/leakage/[^/]+/(exact|near|one_word|two_words)",
        MetricDefinition("lower", FRACTION, "held-out rows that are also training rows"),
    ),
    (r"data/integrity/.+", MetricDefinition("lower", FRACTION, "rows that fail the check")),
    (r"filter/.+/(pass|fail|null)", MetricDefinition(None, ROWS, "rows by outcome of the signal")),
    (
        r"drift/.+/psi",
        MetricDefinition(None, "population stability index", "drift of the signal relative to the training rows"),
    ),
    (
        r"ngram/(unigram|trigram)/loss",
        MetricDefinition("lower", LOSS_UNIT, "test loss of an n-gram model", requires=("held_out", "tokenizer")),
    ),
    (r"system/.+_percent", MetricDefinition(None, "percent", "system load")),
    (r"system/.+_mib", MetricDefinition(None, "MiB", "system memory")),
)
"""Pairs of a regular expression and the definition of all metrics whose names match the expression.

The names contain variable components, such as the name of a data source or a signal.
"""


def score_template(score: str) -> str:
    """Return a score name with each number replaced by the placeholder ``{n}``.

    >>> score_template("forbidden_hit_at_10")
    'forbidden_hit_at_{n}'
    """
    return re.sub(r"\d+", "{n}", score)


def find_definition(name: str) -> MetricDefinition | None:
    """Return the definition of a built-in metric, or ``None`` if no built-in metric has the name.

    Args:
        name: The metric's name, with or without a stage.

    >>> find_definition("final/test/all/ece").direction
    'lower'
    """
    parsed = parse_metric_name(strip_stage(name))
    if parsed.kind == "probe" and parsed.score.startswith(SPECIFIC_PREFIX):
        return _define_specific_score(probe_metric_name(parsed.scope, parsed.score.removeprefix(SPECIFIC_PREFIX)))
    if parsed.kind == "run":
        matches = (definition for pattern, definition in RUN_METRIC_PATTERNS if re.fullmatch(pattern, parsed.score))
        return RUN_METRICS.get(parsed.score) or next(matches, None)
    scores = PROBE_SCORES if parsed.kind == "probe" else HELD_OUT_SCORES
    definition = scores.get(score_template(parsed.score))
    if definition is None or not (number := re.search(r"\d+", parsed.score)):
        return definition
    return dataclasses.replace(definition, label=definition.label.replace("{n}", number[0]))


def _define_specific_score(name: str) -> MetricDefinition | None:
    """Define the specific score derived from a probe score; ``None`` if the score has no direction or no prompts."""
    definition = find_definition(name)
    if definition is None or definition.direction is None or definition.item_kind != "prompts":
        return None
    return dataclasses.replace(definition, label=f"specific {definition.label}", description="")
