"""The bridge from Lightning's training to a tracked run."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from winnow.tracking.tracked_run import TrackedRun


class RunLogger(Logger):
    """A Lightning logger that buffers metrics into a :class:`TrackedRun` and does nothing else.

    The run's life, its parameters and its artifacts stay with the harness. So does sending, which happens in the
    background, so that no step waits for a store.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        """The name of the harness."""
        return "winnow"

    @property
    def version(self) -> str:
        """The id of the run."""
        return self._run.run_id

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Buffer metrics at the number of optimizer steps taken, where Lightning gives the number of the last one.

        Its own `epoch` means nothing under a budget of steps.
        """
        kept = {name: value for name, value in metrics.items() if name != "epoch"}
        self._run.log_metrics(kept, 0 if step is None else step + 1)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: parameters are stored with the run's run_start."""


class BufferedMetrics(pl.Callback):
    """Keeps a run's buffered metrics in its checkpoint.

    A resumed training repeats the steps after its checkpoint and none before it: what those had logged and a killed
    process still held would be lost. To write it to the store first would let training wait for the store.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def state_dict(self) -> dict[str, Any]:
        """Return what is not written yet."""
        return {"values": [list(value) for value in self._run.buffered()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Buffer again what was not written when the checkpoint was."""
        self._run.restore([tuple(value) for value in state_dict.get("values", [])])
