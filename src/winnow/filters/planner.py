"""Order the terms of a filter so that cheap signals decide most rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

_PRIOR_ROWS = 4
MIN_SAMPLED_COST = 50_000.0
"""Total cost of scoring all rows, in microseconds, below which timing a sample cannot pay off."""
_SAMPLE_FRACTION, _SAMPLE_ROWS, _SAMPLE_RUNS = 1 / 64, (16, 256), 32


def sample_row_indices(rows: int) -> Indices:
    """Return the indices of a small sample of rows, in short runs that are spread evenly over the corpus.

    Runs are cheaper than single rows, because reading one row of a memory-mapped table also loads its neighbors.
    """
    smallest, largest = _SAMPLE_ROWS
    size = min(rows, largest, max(smallest, round(rows * _SAMPLE_FRACTION)))
    length = max(1, size // _SAMPLE_RUNS)
    starts = np.linspace(0, rows - length, size // length)
    return (starts.astype(np.int64)[:, None] + np.arange(length)).ravel()


@dataclass(frozen=True)
class PlanStep:
    """One term of the expression and the signals that it adds to the work.

    Attributes:
        term: The term.
        signals: The signals that the term needs and that no earlier step scores.
        microseconds: The cost of these signals per row.
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
        """The expected cost with short-circuit evaluation, in microseconds per row."""
        return sum(step.microseconds * step.remaining_fraction for step in self.steps)

    @property
    def saved_fraction(self) -> float:
        """The fraction of the full cost that short-circuit evaluation is expected to save."""
        return 1 - self.expected_cost / self.full_cost if self.full_cost else 0.0


def plan_scoring(
    needs: Mapping[str, frozenset[str]], passed: Mapping[str, Mask], microseconds: Mapping[str, float]
) -> ScoringPlan:
    """Order terms by cost and selectivity.

    Each step takes the term with the lowest cost per dropped row, among the rows that remain. This order is optimal
    if the terms are independent (Hellerstein 1993).

    Args:
        needs: The signals that each term needs.
        passed: For each term, the mask of the sample's rows that pass it.
        microseconds: The cost of each signal per row.
    """
    remaining = np.ones(len(next(iter(passed.values()))), dtype=bool)
    scored: set[str] = set()
    steps: list[PlanStep] = []
    unplanned = dict(needs)

    def cost(term: str) -> float:
        return sum(microseconds[signal] for signal in unplanned[term] - scored)

    def cost_per_dropped_row(term: str) -> tuple[float, float]:
        # A small remaining sample may pass a term by coincidence, so the pass rate of the full sample is a weak prior.
        passing = _PRIOR_ROWS * float(passed[term].mean()) + int((passed[term] & remaining).sum())
        dropped_fraction = 1 - passing / (_PRIOR_ROWS + int(remaining.sum()))
        return cost(term) / dropped_fraction if dropped_fraction else float("inf"), cost(term)

    while unplanned:
        term = min(unplanned, key=cost_per_dropped_row)
        new_signals = sorted(unplanned[term] - scored)
        pass_fraction = float(passed[term][remaining].mean()) if remaining.any() else 1.0
        steps.append(PlanStep(term, new_signals, cost(term), float(remaining.mean()), pass_fraction))
        scored |= unplanned.pop(term)
        remaining &= passed[term]
    return ScoringPlan(steps, sum(microseconds.values()))
