"""The public Python API: train studies, compare their arms, and read corpora in a notebook or a script."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.comparison import Comparison, analyze, collect_fills, collect_study
from winnow.errors import WinnowError

if TYPE_CHECKING:
    import pandas as pd

    from winnow.comparison import CollectedStudy


class Study:
    """The finished runs of one study, or of several joined studies. The runs are read from the store on first use.

    Args:
        store_uri: The MLflow tracking URI of the store.
        names: The names of the studies.
    """

    def __init__(self, store_uri: str, *names: str) -> None:
        self.store_uri = store_uri
        self.names = names

    @functools.cached_property
    def results(self) -> CollectedStudy:
        """The declaration, the runs and the scores of the study."""
        return collect_study(self.store_uri, *self.names)

    def compare(self, confidence: float = 0.95) -> Comparison:
        """Compare the arms according to the study's declaration.

        The ``headline`` of the result states the verdict, and ``paragraphs`` adds one text per endpoint.
        """
        return analyze(self.results, confidence)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run: its arm, seed and id, and the last value of each metric."""
        import pandas as pd

        rows = [
            {"study": "+".join(self.names), "arm": cell.arm, "seed": cell.seed, "run_id": cell.run_id, **cell.metrics}
            for cell in self.results.runs
        ]
        return pd.DataFrame(rows).sort_values(["arm", "seed"], ignore_index=True)

    def fills(self, probe: str, top_k: int = 5) -> pd.DataFrame:
        """Return the most likely words at each prompt of a probe: one column per arm, means over seeds.

        Args:
            probe: The name of the probe.
            top_k: The number of words per prompt.

        Raises:
            WinnowError: If the study has no probe of this name.
        """
        import pandas as pd

        prompts_by_probe = collect_fills(self.results, top_k)
        if probe not in prompts_by_probe:
            raise WinnowError(
                f"there is no probe {probe!r}. Available: {', '.join(prompts_by_probe) or 'none'}.", "probe"
            )
        columns = {
            (prompt, rank + 1): {arm: f"{words[rank][0]} {words[rank][1]:.1%}" for arm, words in fills.items()}
            for prompt, fills in prompts_by_probe[probe].items()
            for rank in range(min(map(len, fills.values())))
        }
        return pd.DataFrame(columns).T.rename_axis(["prompt", "rank"])

    def model(self, arm: str, seed: int) -> str:
        """Return the folder of a trained model, which ``transformers`` can load.

        Raises:
            WinnowError: If there is no finished run of this arm and seed, or if its model was not saved.
        """
        from winnow.tracking import Store, keys
        from winnow.tracking.run_queries import fetch_artifact

        runs = {(cell.arm, cell.seed): cell.run_id for cell in self.results.runs}
        if (arm, seed) not in runs:
            available = ", ".join(f"{name} {number}" for name, number in sorted(runs))
            raise WinnowError(f"there is no finished run of {arm} with seed {seed}. Available: {available}.", "arm")
        folder = fetch_artifact(Store(self.store_uri).client(), runs[arm, seed], keys.MODEL_FOLDER)
        if folder is None:
            raise WinnowError(f"the model of {arm} with seed {seed} was not saved. Train the run again.", "arm")
        return str(folder)

    def __repr__(self) -> str:
        return f"Study({', '.join(map(repr, self.names))}, store={self.store_uri!r})"


def study(*names: str, output_dir: str | Path = "outputs", store: str | None = None) -> Study:
    """Return a study by name.

    >>> study("demo")
    Study('demo', store='sqlite:///outputs/mlflow.db')

    Args:
        names: The name of the study, or the names of several studies to join.
        output_dir: The folder with the embedded store, as in the configuration.
        store: The MLflow tracking URI of the store; by default, the embedded store in ``output_dir``.

    Raises:
        TypeError: If no name is given.
    """
    if not names:
        raise TypeError("study() requires at least one name")
    return Study(store or f"sqlite:///{Path(output_dir).as_posix()}/mlflow.db", *names)


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

    from winnow.config import TrainConfig, compose_cells
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
    from winnow.config import FilterConfig, compose_cells, construct
    from winnow.data import Dataset

    cells, _ = compose_cells("filter", FilterConfig, overrides)
    config = cells[0].config
    dataset = construct(config.dataset, "dataset", Dataset, config.allow_targets)
    table: pd.DataFrame = dataset.load(config.output_dir / "cache").table.to_pandas()
    return table
