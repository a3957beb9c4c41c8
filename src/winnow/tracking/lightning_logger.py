"""Lightning logger that writes to a tracked run, and a callback that saves buffered metrics in checkpoints."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from winnow.tracking.tracked_run import TrackedRun


class RunLogger(Logger):
    """A Lightning logger that only buffers metrics in a :class:`TrackedRun`.

    Winnow itself manages the run's lifecycle, parameters and artifacts. A background thread sends the metrics, so
    training steps never wait for the store.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "winnow"

    @property
    def version(self) -> str:
        """The id of the run."""
        return self._run.run_id

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Buffer metrics at `step + 1`, the number of completed optimizer steps; Lightning counts steps from zero.

        Lightning's `epoch` metric is dropped, because Winnow measures progress in steps.
        """
        step_metrics = {name: value for name, value in metrics.items() if name != "epoch"}
        self._run.log_metrics(step_metrics, 0 if step is None else step + 1)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; parameters are logged at the start of the run."""


class BufferedMetrics(pl.Callback):
    """Saves a run's buffered metrics in its checkpoint.

    A resumed run repeats only the steps after its checkpoint. Without this callback, metrics from earlier steps that
    had not been sent when the process was killed would be lost. Flushing the metrics before each checkpoint would make
    training wait for the store.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics that have not been written yet."""
        return {
            "values": [list(value) for value in self._run.buffered_metrics()],
            "table": self._run.tabulated_metrics,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the metrics that had not been written when the checkpoint was saved."""
        self._run.restore_metrics([tuple(value) for value in state_dict.get("values", [])])
        self._run.restore_tabulated_metrics(state_dict.get("table", {}))
