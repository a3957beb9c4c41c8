"""What the probes say while a model trains, from the base model on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytorch_lightning as pl

from winnow.evaluation.loading import ARCHITECTURE, architecture
from winnow.metrics.metric_names import probe_metric

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from winnow.evaluation.probes.probe import Probe
    from winnow.training.forward.masked_logits import ForwardMode

SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("role", pa.string()),
        ("word", pa.string()),
    ]
)
"""A row is a score, or a followed word: then ``metric`` is ``probability``, and ``role`` and ``word`` say whose."""


class ProbeFollower(pl.Callback):
    """Asks the probes before the first step and at every look at the held-out rows.

    Scores go to the trainer's logger as ``probe/NAME/METRIC`` by step, and all of it into :meth:`table`. What was seen
    so far is kept in the checkpoint, so a training that is taken up again has the whole story; and with it the model's
    configuration and tokenizer, so that the checkpoint opens on its own.

    Args:
        probes: The probes by name.
        tokenizer: The model's tokenizer.
        forward: How the model is called.
    """

    def __init__(
        self, probes: Mapping[str, Probe], tokenizer: PreTrainedTokenizerFast, forward: ForwardMode = "auto"
    ) -> None:
        self._probes, self._tokenizer, self._forward = dict(probes), tokenizer, forward
        self._rows: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Ask the base model, unless a checkpoint has brought what it said."""
        if not self._rows:
            self._ask(trainer, pl_module, step=0)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Ask the model as it stands; this comes before the checkpoint is written."""
        self._ask(trainer, pl_module, trainer.global_step)

    def table(self) -> pa.Table:
        """Return all that the probes said, in order of steps."""
        return pa.Table.from_pylist(self._rows, SCHEMA)

    def state_dict(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an earlier attempt had seen."""
        self._rows = list(state_dict.get("rows", []))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add what the model is beside its weights."""
        checkpoint[ARCHITECTURE] = self._architecture(pl_module.model)

    @functools.cached_property
    def _architecture(self) -> Any:
        return functools.cache(lambda model: architecture(model, self._tokenizer))

    def _ask(self, trainer: pl.Trainer, pl_module: Any, step: int) -> None:
        if not trainer.is_global_zero or any(row["step"] == step for row in self._rows):
            return
        scores: dict[str, float] = {}
        for name, probe in self._probes.items():
            found = probe.run(pl_module.model, self._tokenizer, pl_module.device, forward=self._forward, brief=True)
            for metric, value in found.summary().items():
                self._rows.append({"step": step, "probe": name, "metric": metric, "value": value})
                scores[probe_metric(name, metric)] = value
            for word in found.words.to_pylist():
                value = word.pop("probability")
                self._rows.append({"step": step, "probe": name, "metric": "probability", "value": value} | word)
        if trainer.logger is not None:
            trainer.logger.log_metrics(scores, step - 1)  # a logger is told the number of the last step, from 0
