"""A study cell with the components that are built from the cell's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from winnow.config import ComposedCell, TrainConfig
from winnow.config.factors import format_levels
from winnow.run.corpus_loader import CorpusLoader
from winnow.run.run_components import ComponentBuilder, RunComponents, build_components, compute_cell_id

TrainCell = ComposedCell[TrainConfig]


@dataclass(frozen=True)
class StudyCell:
    """One cell of a study.

    Attributes:
        cell: The cell's composed configuration.
        components: The components that were built from the configuration.
        tags: Additional tags of the cell's run.
    """

    cell: TrainCell
    components: RunComponents
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> TrainConfig:
        """The cell's typed configuration."""
        return self.cell.config

    @property
    def arm(self) -> str:
        """The name of the cell's arm, which is the filter's name."""
        return self.components.filter.name

    @property
    def label(self) -> str:
        """The label of the arm, as displayed."""
        return self.components.filter.display_name

    @property
    def levels(self) -> dict[str, str]:
        """The level of each factor, by setting."""
        return self.config.factors

    @property
    def title(self) -> str:
        """The label of the arm, followed by the level of each factor, as displayed."""
        return ", ".join(filter(None, (self.label, format_levels(self.levels))))

    @cached_property
    def id(self) -> str:
        """The cell's id; the first access loads the corpus."""
        return compute_cell_id(self.cell, self.components)


def build_study_cells(cells: Sequence[TrainCell]) -> list[StudyCell]:
    """Build the components of every cell in a study. Cells share equal components and the corpora of their datasets."""
    corpus_loader, builder = CorpusLoader(), ComponentBuilder()
    return [StudyCell(cell, build_components(cell.config, corpus_loader, builder)) for cell in cells]
