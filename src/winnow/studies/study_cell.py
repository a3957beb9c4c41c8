"""A cell of a study together with the objects that its configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from winnow.config import Cell, TrainConfig
from winnow.run.components import Components, build_components, cell_id
from winnow.run.corpora import Corpora

TrainCell = Cell[TrainConfig]


@dataclass(frozen=True)
class StudyCell:
    """One cell of a study.

    Attributes:
        cell: Its configuration.
        components: The objects that the configuration names.
    """

    cell: TrainCell
    components: Components

    @property
    def config(self) -> TrainConfig:
        """The typed configuration."""
        return self.cell.config

    @property
    def arm(self) -> str:
        """The name of the arm."""
        return self.components.filter.name

    @cached_property
    def id(self) -> str:
        """The cell's id; the first access loads the corpus."""
        return cell_id(self.cell, self.components)


def build_study_cells(cells: Sequence[TrainCell]) -> list[StudyCell]:
    """Construct the components of all cells of a study; cells with equal datasets share one corpus."""
    corpora = Corpora()
    return [StudyCell(cell, build_components(cell.config, corpora)) for cell in cells]
