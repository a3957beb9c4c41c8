"""Train studies and read corpora from a notebook or a script, with the settings of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api import Study, study
from winnow.config import FilterConfig, TrainConfig, compose_cells, construct
from winnow.data import Dataset
from winnow.errors import WinnowError

if TYPE_CHECKING:
    import pandas as pd


def train(*overrides: str, config_dirs: Sequence[Path] = ()) -> Study:
    """Train the runs of a study that are not finished, compare its arms, and return the study.

    Example::

        study = winnow.train("filter=full,nike_positive,random_matched", "seed=1,2,3", "study.name=mine")
        print(study.compare().headline)

    Args:
        overrides: The arguments of ``winnow train -m``. Several values of a key define a sweep.
        config_dirs: Folders to search for configuration files, in addition to ``./conf``.

    Raises:
        WinnowErrors: If a setting is invalid. All errors are reported together, before any training.
        WinnowError: If a run fails.
    """
    from rich.console import Console

    from winnow.studies import run_study

    cells, _ = compose_cells("train", TrainConfig, overrides, multirun=True, config_dirs=config_dirs)
    config = cells[0].config
    if failures := run_study(cells, Console(highlight=False)):
        raise WinnowError(
            f"{failures} runs of the study {config.study.name!r} failed, as printed above. Fix the cause, and call "
            "this function again: finished runs are not repeated.",
            "study",
        )
    return study(config.study.name, output_dir=config.output_dir, store=config.tracking.get("uri"))


def read_corpus(*overrides: str) -> pd.DataFrame:
    """Return the clean, unique rows of a dataset, with the split of each row.

    Args:
        overrides: The dataset and its settings as on the command line, such as ``dataset=uptrain_reviews``.

    Raises:
        WinnowErrors: If a setting is invalid.
        WinnowError: If the data cannot be read.
    """
    cells, _ = compose_cells("filter", FilterConfig, overrides)
    config = cells[0].config
    dataset = construct(config.dataset, "dataset", Dataset, config.allow_targets)
    table: pd.DataFrame = dataset.load(config.output_dir / "cache").table.to_pandas()
    return table
