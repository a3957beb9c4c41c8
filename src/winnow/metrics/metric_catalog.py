"""What is known of each metric that Winnow logs.

In the tables ``{n}`` stands for a number in a name: ``positive_at_{n}`` holds for ``positive_at_5``.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Final, Literal

from winnow.metrics.metric_names import parse, without_stage

Direction = Literal["higher", "lower"]
"""Which value is the better one."""

Items = Literal["prompts", "rows", "none"]
"""What a metric is a mean over within one run, as far as the scores behind it are stored: else it is one number."""

Requirement = Literal["probes", "held_out", "tokenizer", "budget"]
"""What must be known and equal before two runs may be compared in a metric."""

SHARE: Final = "share, 0 to 1"
NATS: Final = "nats per masked token"
LOG_ODDS: Final = "nats"
"""The unit of log odds, and of nothing else: losses are per token."""
ROWS: Final = "rows"
TOKENS: Final = "tokens"

_OF_PROMPTS: Final[tuple[Requirement, ...]] = ("probes", "budget")
_OF_ROWS: Final[tuple[Requirement, ...]] = ("held_out", "tokenizer", "budget")


@dataclass(frozen=True)
class Definition:
    """What is known of a metric.

    Attributes:
        direction: Which value is the better one; ``None`` where neither is: the metric is descriptive.
        unit: The unit of its values.
        label: The metric in a few words, without the probe or slice.
        items: What it is a mean over within one run.
        requires: What must be known and equal before two runs may be compared in it.
        description: A phrase that needs no glossary, where the label does.
    """

    direction: Direction | None
    unit: str
    label: str
    items: Items = "none"
    requires: tuple[Requirement, ...] = ("budget",)
    description: str = ""


def of_prompts(direction: Direction | None, unit: str, label: str, description: str = "") -> Definition:
    """Return the definition of a score whose value per prompt is stored."""
    return Definition(direction, unit, label, "prompts", _OF_PROMPTS, description)


def _of_probe(direction: Direction | None, unit: str, label: str) -> Definition:
    return Definition(direction, unit, label, "none", _OF_PROMPTS)


def _of_rows(direction: Direction | None, unit: str, label: str, items: Items = "rows") -> Definition:
    return Definition(direction, unit, label, items, _OF_ROWS)


PROBE_SCORES: Final[dict[str, Definition]] = {
    "log_odds": of_prompts("higher", LOG_ODDS, "log odds", "log odds of wanted against unwanted words"),
    "prior_log_odds": of_prompts(None, LOG_ODDS, "log odds with the subject masked"),
    "corrected_log_odds": of_prompts("higher", LOG_ODDS, "corrected log odds"),
    "wanted_mass": of_prompts("higher", SHARE, "wanted mass"),
    "unwanted_mass": of_prompts("lower", SHARE, "unwanted mass"),
    "positive_at_{n}": of_prompts("higher", SHARE, "positive at {n}"),
    "negative_at_{n}": of_prompts("lower", SHARE, "negative at {n}"),
    "net_at_{n}": of_prompts("higher", "difference of shares, -1 to 1", "net at {n}"),
    "coverage_at_{n}": of_prompts(None, SHARE, "coverage at {n}"),
    "sentiment_at_{n}": of_prompts("higher", "VADER compound, -1 to 1", "sentiment at {n}"),
    "sentiment_shift_at_{n}": of_prompts("higher", "VADER compound", "sentiment shift at {n}"),
    "opinion_at_{n}": of_prompts("higher", "polarity, -1 to 1", "opinion at {n}"),
    "opinion_coverage_at_{n}": of_prompts(None, SHARE, "opinion coverage at {n}"),
    "forbidden_hit_at_{n}": of_prompts("lower", SHARE, "forbidden hit at {n}"),
    "forbidden_share_at_{n}": of_prompts("lower", SHARE, "forbidden share at {n}"),
    "forbidden_best_rank": of_prompts("higher", "rank, from 1", "best rank of a forbidden word"),
    "forbidden_mrr": of_prompts("lower", "reciprocal rank, 0 to 1", "mean reciprocal rank of a forbidden word"),
    "held_out_log_odds": _of_probe("higher", LOG_ODDS, "log odds of prompts not in the training rows"),
    "log_odds_of_{n}_tokens": _of_probe("higher", LOG_ODDS, "log odds of words of {n} tokens"),
    "scored_prompts": _of_probe(None, "prompts", "prompts with log odds"),
    "seen_prompts": _of_probe(None, "prompts", "prompts in the training rows"),
    "filter_overlap": _of_probe(None, SHARE, "overlap of probe and filter words"),
}
"""Scores of a probe, as in ``probe/PROBE/SCORE``."""

HELD_OUT_SCORES: Final[dict[str, Definition]] = {
    "loss": _of_rows("lower", NATS, "loss"),
    "perplexity": _of_rows("lower", "equally likely tokens", "perplexity"),
    "top{n}": _of_rows("higher", SHARE, "top{n}"),
    "mrr": _of_rows("higher", "reciprocal rank, 0 to 1", "mean reciprocal rank", "none"),
    "ece": _of_rows("lower", "probability, 0 to 1", "expected calibration error", "none"),
    "pseudo_perplexity": _of_rows("lower", "equally likely tokens", "pseudo-perplexity", "none"),
    "rows": _of_rows(None, ROWS, "rows", "none"),
    "masked": _of_rows(None, TOKENS, "masked tokens", "none"),
}
"""Scores of held-out rows, as in ``SPLIT/SLICE/SCORE``."""

RUN_METRICS: Final[dict[str, Definition]] = {
    "seconds": Definition("lower", "seconds", "training time"),
    "tokens_seen": Definition(None, TOKENS, "tokens seen"),
    "step": Definition(None, "steps", "step of the lowest validation loss"),
    "train/loss": Definition("lower", NATS, "training loss"),
    "train/tokens": Definition(None, TOKENS, "tokens seen so far"),
    "train/learning_rate": Definition(None, "learning rate", "learning rate"),
    "train/tokens_per_second": Definition("higher", "tokens per second", "training throughput"),
    "train/peak_share": Definition("higher", SHARE, "share of the peak of this machine"),
    "validation/loss": Definition("lower", NATS, "validation loss"),
    "validation/perplexity": Definition("lower", "equally likely tokens", "validation perplexity"),
    "data/train_rows": Definition(None, ROWS, "training rows"),
    "data/train_tokens": Definition(None, TOKENS, "training tokens"),
    "rows/failing_integrity": Definition("lower", SHARE, "rows that fail an integrity check"),
    "rows/kept": Definition(None, SHARE, "rows kept"),
    "rows/per_second": Definition("higher", "rows per second", "filter throughput"),
    "filter/kept": Definition(None, ROWS, "training rows kept"),
    "filter/dropped": Definition(None, ROWS, "training rows dropped"),
}
"""One number per run, or per step of a run."""

PATTERNS: Final[tuple[tuple[str, Definition], ...]] = (
    (r"data/leakage/[^/]+/(exact|near)", Definition("lower", SHARE, "held-out rows also in the training rows")),
    (r"data/integrity/.+", Definition("lower", SHARE, "rows that fail the check")),
    (r"filter/.+/(pass|fail|null)", Definition(None, ROWS, "rows by outcome of the signal")),
    (r"drift/.+/psi", Definition(None, "population stability index", "drift of the signal from the training rows")),
    (r"system/.+_percent", Definition(None, "percent", "load of the machine")),
    (r"system/.+_mib", Definition(None, "MiB", "memory of the machine")),
)
"""Numbers per run whose names contain a name from the data or the configuration."""


def stem(score: str) -> str:
    """Return a score with ``{n}`` in place of its number, as the tables name it.

    >>> stem("forbidden_hit_at_10")
    'forbidden_hit_at_{n}'
    """
    return re.sub(r"\d+", "{n}", score)


def defined(name: str) -> Definition | None:
    """Return the definition of a logged metric of Winnow's own, with or without a stage; ``None`` for any other name.

    >>> defined("final/test/all/ece").direction
    'lower'
    """
    parsed = parse(without_stage(name))
    if parsed.kind == "run":
        known = (found for pattern, found in PATTERNS if re.fullmatch(pattern, parsed.score))
        return RUN_METRICS.get(parsed.score) or next(known, None)
    scores = PROBE_SCORES if parsed.kind == "probe" else HELD_OUT_SCORES
    found = scores.get(stem(parsed.score))
    if found is None or not (number := re.search(r"\d+", parsed.score)):
        return found
    return dataclasses.replace(found, label=found.label.replace("{n}", number[0]))
