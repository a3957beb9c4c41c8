"""A study as read from the store: its declaration, its finished cells and their tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_registry import MetricRegistry
from winnow.tracking.keys import USER_METRICS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Declaration:
    """What was fixed before the first run: metrics, arms and their roles, seeds and budget.

    A study may be declared again, to add seeds or an arm: ``arms``, ``seeds`` and ``ablations`` (the signal that an arm
    leaves out of the filter) are those of all declarations, metrics and roles those of the newest that names them.
    ``post_hoc`` names the metrics, arms and seeds that came after the first run. ``equivalence_margin`` is only ever
    the first, since a margin chosen with the result in sight proves nothing. ``cells`` holds the cell ids of each
    declaration, the oldest first. ``block_by_seed`` tells whether equal seeds of two arms are pairs; like the margin it
    is only ever the first declaration's.
    """

    primary_metric: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    secondary_metrics: tuple[str, ...] = ()
    equivalence_margin: float | None = None
    baseline: str = "full"
    filter: str | None = None
    control: str | None = "random_matched"
    ablations: Mapping[str, str] = field(default_factory=dict)
    max_steps: int | None = None
    filter_words: tuple[str, ...] = ()
    probe_words: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    post_hoc: tuple[str, ...] = ()
    block_by_seed: bool = False


@dataclass(frozen=True)
class Cell:
    """One finished training: an arm and a seed, its tags and its last metrics. ``seconds`` is wall time."""

    run_id: str
    experiment: str
    arm: str
    seed: int
    tags: dict[str, str]
    metrics: dict[str, float]
    started: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Study:
    """All that is known of a study, ready to be compared.

    ``parents`` holds the run of each study that is compared, the newest where it was started several times.
    ``prompts``, ``fills`` and ``rows`` are the cells' tables with ``arm`` and ``seed`` in front (empty where no cell
    has them); ``histories`` holds the curves of the losses, ``curves`` those of the probes; ``missing`` the declared
    seeds without a finished run.
    """

    name: str
    parents: tuple[str, ...]
    declaration: Declaration
    cells: tuple[Cell, ...]
    prompts: pd.DataFrame
    fills: pd.DataFrame
    rows: pd.DataFrame
    histories: pd.DataFrame
    curves: pd.DataFrame
    filters: dict[str, dict[str, Any]]
    missing: dict[str, list[int]]
    notes: tuple[str, ...]

    def of(self, arm: str) -> list[Cell]:
        """Return an arm's cells in order of seed."""
        return sorted((cell for cell in self.cells if cell.arm == arm), key=lambda cell: cell.seed)

    @functools.cached_property
    def registry(self) -> MetricRegistry:
        """The metrics by name, with the user's own as the runs defined them."""
        return MetricRegistry.from_json(sorted({c.tags[USER_METRICS] for c in self.cells if USER_METRICS in c.tags}))

    @property
    def arms(self) -> list[str]:
        """Arms with a finished run: baseline, filter and control first, then the others by name."""
        roles = [self.declaration.baseline, self.declaration.filter, self.declaration.control]
        present = {cell.arm for cell in self.cells}
        return [arm for arm in dict.fromkeys(roles) if arm in present] + sorted(present.difference(roles))
