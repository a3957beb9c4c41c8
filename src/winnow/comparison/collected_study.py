"""Data classes for a study that was read from the store: its declaration, finished runs and tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from winnow.config.factors import format_levels
from winnow.metrics.metric_names import ALL_ROWS_SLICE, held_out_metric_name
from winnow.metrics.metric_registry import MetricRegistry
from winnow.tracking.keys import USER_METRICS

if TYPE_CHECKING:
    import pandas as pd


TEST_LOSS = held_out_metric_name("test", ALL_ROWS_SLICE, "loss")


@dataclass(frozen=True)
class Declaration:
    """The metrics, arms with their roles, seeds and budget that a study declares before its first run.

    A study can be declared again to add seeds or arms. An instance contains the merged values of all declarations.

    Attributes:
        primary_metric: The name of the metric that the verdict is based on, from the newest declaration.
        arms: The names of the arms in all declarations.
        seeds: The seeds in all declarations.
        secondary_metrics: The names of the other metrics to test, from the newest declaration.
        equivalence_margin: The largest difference that counts as equivalent. It is read from the first declaration
            only, because a margin that is chosen after the result is known proves nothing.
        baseline: The arm that the filter is compared with, from the newest declaration.
        filter: The arm of the filter under test, from the newest declaration.
        control: The arm of the random control, from the newest declaration.
        controls: The control arm of each filter arm that has a control, from all declarations.
        ablations: The signal that each ablation arm omits from the filter, by arm, from all declarations.
        max_steps: The budget in optimizer steps.
        filter_words: The words that the filter searches for.
        probe_words: The words that the probes score.
        cells: The ids of the declared cells, as one tuple per declaration, in chronological order.
        post_hoc: Metrics, arms and seeds that were declared after the first run, and arms whose role was changed.
        changes: One phrase for each change after the first run that affects the verdict.
        block_by_seed: Whether runs of two arms with the same seed form a pair, from the first declaration.
        tested_filters: All filters under test, from all declarations. The main verdict is about ``filter``. The
            p-values of each endpoint are adjusted over all tested filters.
        specificity_metric: The metric of the specificity endpoint, from the first declaration. The text ``none`` means
            that the primary metric has no subject; ``None`` means that the declaration is from a version before 0.3.
        subjects: The subjects of the specificity metric's probe.
        comparison_subjects: The comparison subjects of the specificity metric's probe.
        guard_metric: The metric of the cost endpoint, from the first declaration.
        cost_margin: The smallest unacceptable cost, from the first declaration. If ``None``, the cost is not tested.
        looks: The declared interim looks, in seeds per arm, from the first declaration.
        factors: The levels of each factor, by setting, from all declarations.
        cell_levels: The level of each factor, by cell id, from all declarations.
        select: How the level of each factor is chosen, from the first declaration: ``validation``, or ``none`` for the
            average over the levels.
        search: The search that chose the settings of the filter: ``study``, ``objective``, ``trials``, ``seeds``,
            ``score`` and ``settings``; ``None`` if there was none.
    """

    primary_metric: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    secondary_metrics: tuple[str, ...] = ()
    equivalence_margin: float | None = None
    baseline: str = "full"
    filter: str | None = None
    control: str | None = "random_matched"
    controls: Mapping[str, str] = field(default_factory=dict)
    ablations: Mapping[str, str] = field(default_factory=dict)
    max_steps: int | None = None
    filter_words: tuple[str, ...] = ()
    probe_words: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    post_hoc: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    block_by_seed: bool = False
    tested_filters: tuple[str, ...] = ()
    specificity_metric: str | None = None
    subjects: tuple[str, ...] = ()
    comparison_subjects: tuple[str, ...] = ()
    guard_metric: str = TEST_LOSS
    cost_margin: float | None = None
    looks: tuple[int, ...] = ()
    factors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cell_levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    select: str = "none"
    search: Mapping[str, Any] | None = None

    def get_control(self, arm: str | None) -> str | None:
        """Return the random control of a filter arm, or ``None`` if there is none or if it is the baseline.

        Declarations of versions before 0.3 have a single control, which belongs to the main filter.
        """
        control = self.controls.get(arm or "", self.control if arm == self.filter else None)
        return None if control == self.baseline else control

    @property
    def filters(self) -> tuple[str, ...]:
        """All filters under test, starting with the filter that the main verdict is about."""
        names = (self.filter, *self.tested_filters)
        return tuple(name for name in dict.fromkeys(names) if name not in (None, self.baseline, self.control))


@dataclass(frozen=True)
class CollectedCell:
    """One finished run of a study.

    Attributes:
        run_id: The MLflow run id.
        experiment_id: The MLflow experiment id.
        arm: The label of the arm that was trained.
        seed: The random seed of the run.
        tags: The MLflow tags of the run.
        metrics: The last logged value of each metric, by metric name.
        start_time: The start time of the run, in milliseconds since the Unix epoch.
        seconds: The wall time of the run in seconds.
        levels: The level of each factor, by setting.
    """

    run_id: str
    experiment_id: str
    arm: str
    seed: int
    tags: dict[str, str]
    metrics: dict[str, float]
    start_time: int
    seconds: float
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The levels of all factors as text, such as ``optimizer.lr=1e-4``; empty if there are no factors."""
        return format_levels(self.levels)

    @property
    def title(self) -> str:
        """The arm, the factor levels and the seed as text."""
        return ", ".join(filter(None, (self.arm, self.level, f"seed {self.seed}")))


@dataclass(frozen=True, eq=False)
class CollectedStudy:
    """A study, or several joined studies, as read from the store.

    Attributes:
        name: The name of the study, or the names of the joined studies.
        parent_run_ids: The id of each study's MLflow parent run. If a study was started several times, the newest
            parent run is used.
        declaration: The merged declaration.
        cells: The finished runs to compare.
        prompts: Scores per prompt of all cells. The first columns are ``arm`` and ``seed``. The table is empty if no
            cell has scores per prompt.
        fills: Predicted words per prompt, with the same first columns as ``prompts``.
        rows: Losses per held-out row, with the same first columns as ``prompts``.
        loss_curves: Training and validation losses over steps.
        probe_curves: Probe scores over steps.
        filter_summaries: The filter summary of each arm that has one.
        probe_words: The summary of each probe's words and their overlap with the arm's filter, by arm and probe.
        settings: The distinct resolved configurations of each arm's runs. An arm without a readable configuration is
            omitted.
        overrides: The command-line overrides of the first run of each arm. An arm without a recorded file is omitted.
        missing_seeds: The declared seeds without a finished run, by arm.
        notes: Notes for the reader, for example about artifacts that could not be read.
        levels: If the study has factors, the study at each level, by level. The other attributes are then the means
            over the levels or, with ``selected_levels``, the values at the selected levels.
        selected_levels: The level that was selected for each arm and seed; empty if no level was selected.
    """

    name: str
    parent_run_ids: tuple[str, ...]
    declaration: Declaration
    cells: tuple[CollectedCell, ...]
    prompts: pd.DataFrame
    fills: pd.DataFrame
    rows: pd.DataFrame
    loss_curves: pd.DataFrame
    probe_curves: pd.DataFrame
    filter_summaries: dict[str, dict[str, Any]]
    probe_words: dict[str, dict[str, dict[str, Any]]]
    settings: dict[str, list[dict[str, Any]]]
    overrides: dict[str, list[str]]
    missing_seeds: dict[str, list[int]]
    notes: tuple[str, ...]
    levels: Mapping[str, CollectedStudy] = field(default_factory=dict)
    selected_levels: Mapping[tuple[str, int], str] = field(default_factory=dict)

    @property
    def level_values(self) -> Mapping[str, str]:
        """The level of each factor at which all runs were trained. Only valid for the study at one level."""
        return self.cells[0].levels

    @property
    def runs(self) -> tuple[CollectedCell, ...]:
        """All finished runs, including the runs at every level."""
        return tuple(cell for study in self.levels.values() for cell in study.cells) or self.cells

    def get_cells(self, arm: str) -> list[CollectedCell]:
        """Return the cells of an arm, sorted by seed."""
        return sorted((cell for cell in self.cells if cell.arm == arm), key=lambda cell: cell.seed)

    @functools.cached_property
    def registry(self) -> MetricRegistry:
        """The built-in metrics and the user-defined metrics that the runs recorded."""
        return MetricRegistry.from_json(sorted({c.tags[USER_METRICS] for c in self.cells if USER_METRICS in c.tags}))

    @property
    def arms(self) -> list[str]:
        """Arms with a finished run: baseline, filter and control first, then all other arms by name."""
        roles = [self.declaration.baseline, self.declaration.filter, self.declaration.control]
        finished_arms = {cell.arm for cell in self.cells}
        return [arm for arm in dict.fromkeys(roles) if arm in finished_arms] + sorted(finished_arms.difference(roles))
