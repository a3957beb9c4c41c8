"""Declared interim looks: a study may be compared before its last seed without raising its type I error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.errors import WinnowError

FIRST_LOOK = 5
"""Fewest seeds per arm at the first look."""


@dataclass(frozen=True)
class Looks:
    """The looks of a study at its verdict, each after a declared number of seeds per arm.

    The level of the study is spent in proportion to the seeds: a look after n of N seeds may spend what brings the sum
    to ``alpha * n / N`` (Lan and DeMets 1983, Biometrika 70:659; the spending function ``alpha t``). The level of a
    look is its own share and not the boundary of a Brownian motion, so the type I error is at most alpha by
    Bonferroni's inequality, whatever the correlation between looks. Boundaries that use the correlation would assume
    that information grows with the seeds; the variance between templates does not shrink with them, and looks at the
    same templates are almost equal.

    Attributes:
        seeds: Seeds per arm at each look, ascending; the first is at least 5.
        alpha: Two-sided level of the study.
    """

    seeds: tuple[int, ...]
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.seeds or list(self.seeds) != sorted(set(self.seeds)):
            raise WinnowError(
                f"looks: expected ascending numbers of seeds, got {list(self.seeds)}. Example: [5, 10, 20].",
                key="looks",
            )
        if self.seeds[0] < FIRST_LOOK:
            raise WinnowError(
                f"looks: the first look needs at least {FIRST_LOOK} seeds per arm, got {self.seeds[0]}.", key="looks"
            )
        if not 0 < self.alpha < 1:
            raise WinnowError(f"alpha: expected a number between 0 and 1, got {self.alpha:g}.", key="alpha")

    @property
    def levels(self) -> tuple[float, ...]:
        """The level of the test at each look; they add up to ``alpha``.

        >>> Looks((5, 10, 20), alpha=0.05).levels
        (0.0125, 0.0125, 0.025)
        """
        steps = [after - before for before, after in zip((0, *self.seeds), self.seeds, strict=False)]
        return tuple(self.alpha * step / self.seeds[-1] for step in steps)

    def level(self, seeds: int) -> float:
        """Return the level of the test at a look.

        Raises:
            WinnowError: No look is declared after so many seeds.
        """
        if seeds not in self.seeds:
            declared = [str(n) for n in self.seeds]
            raise WinnowError(
                f"looks: no look is declared after {seeds} seeds. Declared looks: "
                f"{', '.join(declared)}. Run the seeds up to the next look, or report the result as post hoc.",
                key="looks",
            )
        return self.levels[self.seeds.index(seeds)]

    def confidence(self, seeds: int) -> float:
        """Return the coverage of the interval at a look; all intervals together cover with ``1 - alpha``."""
        return 1 - self.level(seeds)

    def first_rejection(self, p_values: Sequence[float]) -> int | None:
        """Return the number of seeds of the first look that rejects, given the p values of the looks so far.

        Args:
            p_values: One per look, the first look first; ``nan`` for a look that could not be made.

        Raises:
            WinnowError: There are more p values than looks.
        """
        if len(p_values) > len(self.seeds):
            raise WinnowError(f"looks: got {len(p_values)} p values for {len(self.seeds)} declared looks.", key="looks")
        for seeds, level, p in zip(self.seeds, self.levels, p_values, strict=False):
            if not math.isnan(p) and p <= level:
                return seeds
        return None
