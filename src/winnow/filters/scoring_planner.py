"""Order a filter's terms so that cheap signals drop most rows before expensive signals are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

_PASS_RATE_PRIOR_ROWS = 4
MIN_SAMPLED_COST = 50_000.0
"""The minimum total cost of scoring, in microseconds, at which timing a sample saves more time than it takes."""
_SAMPLE_FRACTION, _SAMPLE_SIZE_LIMITS, _SAMPLE_RUN_COUNT = 1 / 64, (16, 256), 32


def sample_row_indices(rows: int) -> Indices:
    """Return the indices of a small sample of rows, in short runs that are spaced evenly across the corpus.

    Runs are cheaper than single rows, because reading one row of a memory-mapped table also loads the adjacent rows.
    """
    smallest, largest = _SAMPLE_SIZE_LIMITS
    size = min(rows, largest, max(smallest, round(rows * _SAMPLE_FRACTION)))
    length = max(1, size // _SAMPLE_RUN_COUNT)
    starts = np.linspace(0, rows - length, size // length)
    return (starts.astype(np.int64)[:, None] + np.arange(length)).ravel()


@dataclass(frozen=True)
class PlanStep:
    """One term of the expression, and the signals that must be scored to evaluate it.

    Attributes:
        term: The term.
        signals: The signals in the term that are not scored in an earlier step.
        microseconds: The cost per row of scoring these signals.
        remaining_fraction: The fraction of rows that no earlier step dropped.
        pass_fraction: The fraction of the remaining rows that pass the term.
    """

    term: str
    signals: list[str]
    microseconds: float
    remaining_fraction: float
    pass_fraction: float

    def __str__(self) -> str:
        return (
            f"{self.term} ({self.microseconds:.0f} µs, scores {self.remaining_fraction:.0%} of rows, "
            f"passes {self.pass_fraction:.0%})"
        )


@dataclass(frozen=True)
class ScoringPlan:
    """The order of terms for short-circuit evaluation, which stops at the first term that a row fails.

    Attributes:
        steps: The terms, in order.
        full_cost: The cost of scoring all signals, in microseconds per row.
    """

    steps: list[PlanStep]
    full_cost: float

    @property
    def expected_cost(self) -> float:
        """The expected cost of short-circuit evaluation, in microseconds per row."""
        return sum(step.microseconds * step.remaining_fraction for step in self.steps)

    @property
    def saved_fraction(self) -> float:
        """The fraction of the full cost that short-circuit evaluation is expected to save."""
        return 1 - self.expected_cost / self.full_cost if self.full_cost else 0.0


def plan_scoring(
    signals_by_term: Mapping[str, frozenset[str]], pass_masks: Mapping[str, Mask], microseconds: Mapping[str, float]
) -> ScoringPlan:
    """Order terms by cost and selectivity.

    Each step selects the term with the lowest cost per dropped row among the remaining rows. This order is
    optimal if the terms are independent (Hellerstein 1993).

    Args:
        signals_by_term: The signals in each term.
        pass_masks: For each term, the mask of the sampled rows that pass it.
        microseconds: The cost per row of scoring each signal, in microseconds.
    """
    remaining = np.ones(len(next(iter(pass_masks.values()))), dtype=bool)
    scored_signals: set[str] = set()
    steps: list[PlanStep] = []
    remaining_terms = dict(signals_by_term)

    def cost(term: str) -> float:
        return sum(microseconds[signal] for signal in remaining_terms[term] - scored_signals)

    def cost_per_dropped_row(term: str) -> tuple[float, float]:
        # Few sampled rows may remain, so their pass rate is smoothed toward the pass rate of the full sample.
        passing = _PASS_RATE_PRIOR_ROWS * float(pass_masks[term].mean()) + int((pass_masks[term] & remaining).sum())
        dropped_fraction = 1 - passing / (_PASS_RATE_PRIOR_ROWS + int(remaining.sum()))
        return cost(term) / dropped_fraction if dropped_fraction else float("inf"), cost(term)

    while remaining_terms:
        term = min(remaining_terms, key=cost_per_dropped_row)
        new_signals = sorted(remaining_terms[term] - scored_signals)
        pass_fraction = float(pass_masks[term][remaining].mean()) if remaining.any() else 1.0
        steps.append(PlanStep(term, new_signals, cost(term), float(remaining.mean()), pass_fraction))
        scored_signals |= remaining_terms.pop(term)
        remaining &= pass_masks[term]
    return ScoringPlan(steps, sum(microseconds.values()))
