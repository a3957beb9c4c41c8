"""A Lightning callback that stops a run of a search according to a pruning rule."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from winnow.errors import RunPruned
from winnow.evaluation.probes.probe_callback import ProbeCallback
from winnow.run.pruning import Pruning


class PruningCallback(pl.Callback):
    """Stops training after a validation run if the rule applies. The checkpoint of this step is saved before.

    Args:
        pruning: The rule.
        probes: The callback that scores the probes, which precedes this callback.
    """

    def __init__(self, pruning: Pruning, probes: ProbeCallback) -> None:
        self._pruning, self._probes = pruning, probes
        self._curve: dict[int, float] = {}
        self._stops = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Record the value of this step, and decide whether to stop."""
        metric, step = self._pruning.metric, trainer.global_step
        scores = self._probes.get_scores(step) | {name: float(v) for name, v in trainer.callback_metrics.items()}
        if metric in scores:
            self._curve[step] = scores[metric]
            self._stops = self._pruning.is_worse(self._curve, trainer.max_steps)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Raise an exception that stops training. Earlier hooks run before the checkpoint is saved."""
        if self._stops:
            raise RunPruned(trainer.global_step, self._pruning.metric)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve, to be saved in a checkpoint."""
        return {"curve": self._curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curve of an interrupted run."""
        self._curve = dict(state_dict.get("curve", {}))
