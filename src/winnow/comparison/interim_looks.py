"""Interim looks: compare a study before all seeds have finished, without increasing the type I error."""

from __future__ import annotations

from dataclasses import dataclass

from winnow.errors import WinnowError

MIN_FIRST_LOOK_SEEDS = 5
"""The smallest number of seeds per arm at the first look."""


@dataclass(frozen=True)
class LookResult:
    """A significant result of an earlier interim look.

    Attributes:
        seeds: Seeds per arm at the look.
        outcome: The outcome at the look, for example ``better``.
        p: The p-value at the look, adjusted like that of the current comparison.
        level: The significance level of the look.
    """

    seeds: int
    outcome: str
    p: float
    level: float


@dataclass(frozen=True)
class InterimLooks:
    """The interim looks of a study, each after a declared number of seeds per arm.

    The level is spent in proportion to the number of seeds: after n of N seeds, the levels of all looks so far sum to
    ``alpha * n / N`` (the spending function ``alpha t`` of Lan and DeMets 1983, Biometrika 70:659). Each look is tested
    at its own share of the level, so by Bonferroni's inequality the type I error is at most alpha for any correlation
    between looks. Boundaries that exploit the correlation assume that information grows with the number of seeds. That
    assumption does not hold here: the variance between templates does not shrink with more seeds, and all looks share
    the templates. The bound covers a rejection at any look, so a rejection stays valid if a later look does not reject.

    Attributes:
        seeds: Seeds per arm at each look, ascending; the first number is at least 5.
        alpha: Two-sided level of the study.
    """

    seeds: tuple[int, ...]
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.seeds or list(self.seeds) != sorted(set(self.seeds)):
            raise WinnowError(
                f"expected seed counts in strictly ascending order, got {list(self.seeds)}. Example: [5, 10, 20].",
                key="looks",
            )
        if self.seeds[0] < MIN_FIRST_LOOK_SEEDS:
            raise WinnowError(
                f"expected at least {MIN_FIRST_LOOK_SEEDS} seeds per arm at the first look, got {self.seeds[0]}. "
                "Increase the first number.",
                key="looks",
            )
        if not 0 < self.alpha < 1:
            raise WinnowError(f"expected a number between 0 and 1, got {self.alpha:g}. Example: 0.05.", key="alpha")

    @property
    def levels(self) -> tuple[float, ...]:
        """The level of the test at each look. The levels sum to ``alpha``.

        >>> InterimLooks((5, 10, 20), alpha=0.05).levels
        (0.0125, 0.0125, 0.025)
        """
        steps = [current - previous for previous, current in zip((0, *self.seeds), self.seeds, strict=False)]
        return tuple(self.alpha * step / self.seeds[-1] for step in steps)

    def get_level(self, seeds: int) -> float:
        """Return the significance level of the interim look at the given number of seeds.

        Raises:
            WinnowError: If no look is declared after this number of seeds (key ``looks``).
        """
        if seeds not in self.seeds:
            raise WinnowError(
                f"no look is declared after {seeds} seeds. Available: {', '.join(map(str, self.seeds))}. Run "
                "more seeds until the next look, or report the result as post hoc.",
                key="looks",
            )
        return self.levels[self.seeds.index(seeds)]

    def get_confidence(self, seeds: int) -> float:
        """Return the coverage of the interval at a look. The joint coverage of all looks is ``1 - alpha``."""
        return 1 - self.get_level(seeds)
