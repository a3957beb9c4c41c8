"""In which order to ask the signals, so that most rows are decided by the cheap ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

_PRIOR_ROWS = 4
SAMPLE_REPAYS = 50_000.0
"""Microseconds below which asking everything is no dearer than what a sample and a poor order could cost together."""
_SAMPLE_SHARE, _SAMPLE_ROWS, _RUNS = 1 / 64, (16, 256), 32


def sample_places(rows: int) -> Places:
    """Return the rows to look at before deciding in which order to ask: few, in short runs that are spread evenly.

    Runs, since one row of a memory-mapped table brings its neighbours into memory.
    """
    least, most = _SAMPLE_ROWS
    size = min(rows, most, max(least, round(rows * _SAMPLE_SHARE)))
    length = max(1, size // _RUNS)
    starts = np.linspace(0, rows - length, size // length)
    return (starts.astype(np.int64)[:, None] + np.arange(length)).ravel()


@dataclass(frozen=True)
class Step:
    """One term of the expression, in its turn.

    Attributes:
        term: The term.
        signals: The signals that it needs and no earlier step asked.
        microseconds: What these cost a row.
        reach: The share of the rows that is still undecided when its turn comes.
        passes: The share of these that it lets through.
    """

    term: str
    signals: list[str]
    microseconds: float
    reach: float
    passes: float

    def __str__(self) -> str:
        return f"{self.term} ({self.microseconds:.0f} µs, asked of {self.reach:.0%}, passes {self.passes:.0%})"


@dataclass(frozen=True)
class Plan:
    """The steps of an evaluation that stops at the first term a row fails.

    Attributes:
        steps: The terms, in order.
        full: What all signals cost a row, in microseconds.
    """

    steps: list[Step]
    full: float

    @property
    def expected(self) -> float:
        """What a row is expected to cost, in microseconds."""
        return sum(step.microseconds * step.reach for step in self.steps)

    @property
    def saving(self) -> float:
        """The share of the full price that is expected to be saved."""
        return 1 - self.expected / self.full if self.full else 0.0


def make_plan(
    needs: Mapping[str, frozenset[str]], passed: Mapping[str, Mask], microseconds: Mapping[str, float]
) -> Plan:
    """Order terms by price and selectivity, each step the best bargain for the rows that are left.

    The best is the one of least price per row that it drops, which is optimal where terms are independent
    (Hellerstein 1993).

    Args:
        needs: The signals that each term needs.
        passed: For each term, which rows of a sample it lets through.
        microseconds: The price of each signal a row.
    """
    left = np.ones(len(next(iter(passed.values()))), dtype=bool)
    asked: set[str] = set()
    steps: list[Step] = []
    waiting = dict(needs)

    def price(term: str) -> float:
        return sum(microseconds[signal] for signal in waiting[term] - asked)

    def bargain(term: str) -> tuple[float, float]:
        # Of the few rows that are left of a sample, all may pass by chance; all its rows count a little too.
        among = _PRIOR_ROWS * float(passed[term].mean()) + int((passed[term] & left).sum())
        drops = 1 - among / (_PRIOR_ROWS + int(left.sum()))
        return price(term) / drops if drops else float("inf"), price(term)

    while waiting:
        term = min(waiting, key=bargain)
        new = sorted(waiting[term] - asked)
        steps.append(Step(term, new, price(term), float(left.mean()), _share(passed[term], left)))
        asked |= waiting.pop(term)
        left &= passed[term]
    return Plan(steps, sum(microseconds.values()))


def _share(mask: Mask, among: Mask) -> float:
    return float(mask[among].mean()) if among.any() else 1.0
