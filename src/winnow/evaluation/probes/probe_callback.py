"""Run probes on the base model and at every validation run during training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytorch_lightning as pl

from winnow.evaluation.model_loading import ARCHITECTURE_KEY, serialize_architecture
from winnow.metrics.metric_names import probe_metric_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from winnow.evaluation.probes.probe import Probe
    from winnow.training.forward.masked_logits import ForwardMode

CURVE_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("role", pa.string()),
        ("word", pa.string()),
    ]
)
"""The schema of the table of probe scores during training.

Each row is either a probe score or the probability of a listed word. For a word, ``metric`` is ``probability``, and
``role`` and ``word`` are set.
"""


class ProbeCallback(pl.Callback):
    """Scores the prompts of validation templates before the first step and at every validation run.

    Scores are sent to the trainer's logger as ``probe/NAME/METRIC``, and :meth:`to_table` returns all scores.
    Checkpoints contain the scores so far, so that a resumed run has the full curves. Checkpoints also contain the
    model's configuration and tokenizer, so that a checkpoint can be loaded without its run.

    Args:
        probes: The probes by name.
        tokenizer: The model's tokenizer.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.
    """

    def __init__(
        self, probes: Mapping[str, Probe], tokenizer: PreTrainedTokenizerFast, forward: ForwardMode = "auto"
    ) -> None:
        self._probes, self._tokenizer, self._forward = dict(probes), tokenizer, forward
        self._rows: list[dict[str, Any]] = []

    @property
    def state_key(self) -> str:
        """The key of the callback's state in checkpoints, unchanged since version 0.1 so that older runs can resume."""
        return "ProbeFollower"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Run the probes on the base model, unless the scores were restored from a checkpoint."""
        if not self._rows:
            self._run_probes(trainer, pl_module, step=0)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Run the probes on the current model; Lightning calls this hook before it saves the checkpoint."""
        self._run_probes(trainer, pl_module, trainer.global_step)

    def to_table(self) -> pa.Table:
        """Return all scores so far, in step order."""
        return pa.Table.from_pylist(self._rows, CURVE_SCHEMA)

    def get_scores(self, step: int) -> dict[str, float]:
        """Return the probe scores at a step, by metric name."""
        return {
            probe_metric_name(row["probe"], row["metric"]): row["value"]
            for row in self._rows
            if row["step"] == step and row.get("word") is None
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the scores so far, to be saved in a checkpoint."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores of an interrupted run."""
        self._rows = list(state_dict.get("rows", []))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the model's configuration and tokenizer to the checkpoint."""
        checkpoint[ARCHITECTURE_KEY] = self._serialize_once(pl_module.model)

    @functools.cached_property
    def _serialize_once(self) -> Any:
        return functools.cache(lambda model: serialize_architecture(model, self._tokenizer))

    def _run_probes(self, trainer: pl.Trainer, pl_module: Any, step: int) -> None:
        if not trainer.is_global_zero or any(row["step"] == step for row in self._rows):
            return
        scores: dict[str, float] = {}
        for name, probe in self._probes.items():
            results = probe.run(
                pl_module.model,
                self._tokenizer,
                pl_module.device,
                forward=self._forward,
                skip_slow_scores=True,
                split="validation",
            )
            for metric, value in results.summary().items():
                self._rows.append({"step": step, "probe": name, "metric": metric, "value": value})
                scores[probe_metric_name(name, metric)] = value
            for word in results.words.to_pylist():
                value = word.pop("probability")
                self._rows.append({"step": step, "probe": name, "metric": "probability", "value": value} | word)
        if trainer.logger is not None:
            trainer.logger.log_metrics(scores, step - 1)  # loggers expect the zero-based index of the last step
