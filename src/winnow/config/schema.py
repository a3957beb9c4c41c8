"""The schema of `winnow train`, with one field per top-level key, and the types that all schemas share.

A config group that configures an object, such as `dataset`, `filter` or `model`, has the type :data:`TargetNode`.
:mod:`winnow.config.target_defaults` validates each node against the signature of its `_target_` and fills in the
defaults. All other fields have their types in this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.untrusted_text import SafeName

TargetNode = dict[str, Any]
"""A configuration dict that describes an object: a `_target_` and its arguments."""

FORBID_UNKNOWN_KEYS = ConfigDict(extra="forbid")

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed, in the range that NumPy and Lightning accept."""

Steps = Annotated[int, Field(gt=0, le=10**9)]
"""A number of optimizer steps."""

Rows = Annotated[int, Field(gt=0, le=10**6)]
"""A number of rows or micro-batches that are processed together."""

Length = Annotated[int, Field(gt=2, le=10**6)]
"""A maximum number of tokens per row."""


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class TrainingConfig:
    """Settings for the training loop. Every arm of a study has the same training budget.

    Attributes:
        batch_size: Rows per optimizer step, summed over all devices and accumulated batches.
        accumulate_batches: Number of micro-batches per optimizer step. More micro-batches use less memory; the
            gradients are the same.
        max_steps: Number of optimizer steps.
        total_tokens: Number of tokens to train on, not counting padding; overrides `max_steps`. Before training starts,
            the number of steps is computed from the rows and their order.
        max_passes: Number of passes over the training rows (epochs), possibly fractional; takes precedence over
            `max_steps` and `total_tokens`. The number of steps depends on the number of rows that the filter keeps.
        max_minutes: Time limit for training, in minutes. Runs with a time limit are not compared.
        scheduler: Learning rate schedule after warmup: `linear` and `cosine` decay to 0; `constant` does not decay.
        warmup_fraction: Fraction of the steps used for warmup, during which the learning rate increases to its maximum.
        freeze: Modules and parameters that are not trained, each given as a name such as `distilbert.embeddings` or a
            pattern such as `*.layer.[0-3].*`.
        forward: Implementation of the forward pass: `efficient` skips computation that the loss does not need, with the
            same results; `reference` calls the transformers model; `auto` uses `efficient` for DistilBERT, BERT and
            RoBERTa, and `reference` for other models.
        batching: Composition of batches: `lines` uses `batch_size` rows per batch; `blocks` concatenates rows, splits
            the result into blocks of `block_size` tokens and uses `batch_size` blocks per batch; `tokens` groups rows
            of similar length, up to `max_tokens` per batch.
        block_size: Tokens per block.
        isolate_rows: Whether each token in a block attends only to tokens of the same row. If false, tokens attend to
            the entire block.
        max_tokens: Maximum tokens per optimizer step with `batching=tokens`, summed over all devices and accumulated
            batches.
        max_length: Maximum tokens per row; longer rows are truncated.
        gradient_clip: Maximum norm of the gradients; `null` disables clipping.
        gradient_checkpointing: Whether to recompute activations in the backward pass. Recomputation saves memory but
            takes longer; the results are the same.
        ema_decay: Decay of the exponential moving average (EMA) of the weights; `null` disables the EMA. The averaged
            weights are evaluated and saved; training continues with the current weights.
        validate_every_steps: Number of optimizer steps between validation runs. Each validation run saves a checkpoint.
        patience: Number of validation runs without a lower loss after which training stops early; `null` disables early
            stopping. Runs with early stopping are not compared.
        keep: Weights to evaluate and save: the `last` weights, or the weights with the `best` validation loss.
            Runs that keep the best weights are not compared.
    """

    batch_size: Rows = 64
    accumulate_batches: Rows = 1
    max_steps: Steps = 300
    total_tokens: Annotated[int, Field(gt=0, le=10**15)] | None = None
    max_passes: Annotated[float, Field(gt=0, le=10**7)] | None = None
    max_minutes: Annotated[float, Field(gt=0, le=10**7)] | None = None
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    freeze: list[str] = Field(default_factory=list)
    forward: Literal["auto", "efficient", "reference"] = "auto"
    batching: Literal["lines", "blocks", "tokens"] = "lines"
    block_size: Length = 128
    isolate_rows: bool = True
    max_tokens: Annotated[int, Field(gt=2, le=10**8)] = 4096
    max_length: Length = 128
    gradient_clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    gradient_checkpointing: bool = False
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    validate_every_steps: Steps = 100
    patience: Steps | None = None
    keep: Literal["last", "best"] = "last"

    @property
    def budget(self) -> str:
        """The training budget as text, such as `300` (optimizer steps), `1000 tokens` or `2 passes`.

        All compared arms must have the same budget.
        """
        if self.max_passes is not None:
            return f"{self.max_passes:g} {'pass' if self.max_passes == 1 else 'passes'}"
        return str(self.max_steps) if self.total_tokens is None else f"{self.total_tokens} tokens"

    @property
    def not_comparable(self) -> dict[str, str]:
        """The reasons why a comparison excludes the run, keyed by setting. Empty if the run is comparable."""
        reasons = {
            "max_minutes": "the speed of the machine decides when training ends",
            "patience": "the validation loss decides when training ends",
            "keep": "the validation loss decides which weights are kept",
        }
        is_set = (self.max_minutes is not None, self.patience is not None, self.keep == "best")
        return {key: reason for (key, reason), applies in zip(reasons.items(), is_set, strict=True) if applies}


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class NumericsConfig:
    """Numerical backend and precision. See also `trainer.precision` and `trainer.deterministic`.

    Attributes:
        linear: Backend of float32 linear layers on a CPU: PyTorch's default (`portable`), oneDNN (`onednn`), or the
            faster backend for each layer, measured once per machine (`auto`).
        tf32: Whether float32 matmuls on CUDA use TF32, which is faster but less precise.
        compile: Whether to compile the layers on CUDA.
        onednn_matmuls: The matmuls that use oneDNN if `linear` is `auto`, as recorded with a run. `winnow rerun` and
            `remake.py` set this key to repeat a run exactly; `null` selects the faster backends.
        threads: Threads per cell on a CPU. `null` uses one thread for small models. For other models, it divides the
            cores among the cells of a study, and uses all cores in a single run. The number is stored with the run, and
            resumed and repeated runs use the same number, since it changes the last digits of the results.
    """

    linear: Literal["auto", "onednn", "portable"] = "auto"
    tf32: bool = False
    compile: bool = False
    onednn_matmuls: list[str] | None = None
    threads: Annotated[int, Field(gt=0, le=4096)] | None = None


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class EvaluationConfig:
    """Settings for the evaluation of every arm on held-out rows.

    Attributes:
        validation_only: Whether to evaluate only on the validation split and on the validation templates of the probes.
            Nothing is scored on the test split. Such runs are not compared. `winnow search` sets this key for its
            trials.
        mask_seed: Seed for the fixed masks of held-out rows. All cells of a study use the same seed.
        batch_size: Rows per batch.
        max_rows: Maximum number of rows to score per held-out split, selected by hash; `null` scores all rows.
        pseudo_likelihood_rows: Number of rows per held-out set for which the pseudo-log-likelihood is computed;
            `null` disables this metric. The rows are selected by hash. A row of n tokens requires n forward passes. The
            `validation` split is not scored.
        slices: Filters that divide the held-out rows into slices, keyed by name. A study adds the filters of its arms.
        cluster_by: Column that defines clusters of similar held-out rows, such as `product`. A comparison generalizes
            to new clusters. `null` uses the column `template`, the columns of `dataset.split.group_by`, or groups of
            near-duplicates, whichever comes first.
    """

    validation_only: bool = False
    mask_seed: Seed = 0
    batch_size: Rows = 256
    max_rows: Annotated[int, Field(gt=0)] | None = None
    pseudo_likelihood_rows: Annotated[int, Field(gt=0)] | None = 50
    slices: dict[SafeName, TargetNode] = Field(default_factory=dict)
    cluster_by: str | None = None


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class StudyConfig:
    """The study declaration (metrics, baseline and analysis), which is stored before the first run.

    Attributes:
        name: Name of the MLflow experiment and of the folder in `output_dir`.
        primary_metric: The metric of the target endpoint.
        secondary_metrics: Additional metrics to test, Holm-corrected separately from the primary metric.
        equivalence_margin: The largest difference in the primary metric that is negligible in practice, in the unit of
            the metric; `null` disables the equivalence test. Two arms are equivalent only if the confidence interval of
            their difference lies within the margin.
        specificity_metric: The metric of the specificity endpoint. `null` selects it by the primary metric's probe: the
            difference to the comparison subjects if the probe has any, the corrected log odds if it has subjects only,
            and no metric if it has no subjects.
        guard_metric: The metric of the cost endpoint.
        cost_margin: The smallest unacceptable cost, in the unit of the guard metric. If it is `null`, the cost
            is not tested, so the verdict is never green.
        looks: Numbers of seeds per arm at which the arms are compared, in ascending order; the first is at least 5.
            Seeds up to the last number can be added without making the comparison post hoc. An empty list means one
            comparison, after all declared seeds.
        controls: Random controls to add to the study: `auto` adds one control of the same size for each filter that has
            no control yet, `stratified` also matches source, label and length, and `none` adds no control. Filters that
            keep the same number of rows share a control.
        select: How to choose the level of each factor: `validation` selects, for each arm, the level with the best
            primary metric on the validation prompts or rows, and the verdict reports this level on the test prompts or
            rows, marked as selected. With `none`, the verdict is about the average over the levels.
        baseline: The arm that trains on all data.
        block_by_seed: Whether runs of two arms with the same seed are compared as a pair. Such runs have the same
            initial weights, masks and batch order, so their scores are correlated. The paired analysis is valid for any
            correlation. With `false`, all runs are treated as independent, which gives more degrees of freedom but too
            many false positives if the correlation is negative.
        compare: Whether to run the comparison at the end of the study.
        rerun: Cells to train again from scratch even if they have a run: `none`, `failed` or `all`. With `none`,
            interrupted runs resume from their last checkpoint, and finished runs are kept.
    """

    name: SafeName = "scratchpad"
    primary_metric: str = "test/all/loss"
    secondary_metrics: list[str] = Field(default_factory=lambda: ["test/all/loss"])
    equivalence_margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    specificity_metric: str | None = None
    guard_metric: str = "test/all/loss"
    cost_margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 0.05
    looks: list[int] = Field(default_factory=list)
    controls: Literal["none", "auto", "stratified"] = "none"
    select: Literal["none", "validation"] = "none"
    baseline: SafeName = "full"
    block_by_seed: bool = True
    compare: bool = True
    rerun: Literal["none", "failed", "all"] = "none"


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class TrainConfig:
    """The configuration of `winnow train`: one cell of a study.

    Attributes:
        dataset: The source of the rows, and the cleaning, integrity checks and split of the rows.
        filter: The filter that selects the training rows.
        model: The model, pretrained or from scratch.
        masking: The masking strategy, which selects the tokens to mask during training.
        optimizer: The optimizer and its settings.
        trainer: Arguments of Lightning's Trainer: devices, precision, determinism.
        tracking: The MLflow store for the runs.
        launcher: The launcher that runs the cells of a study, in sequence or in parallel.
        probe: Prompt sets and other probes, keyed by name.
        factors: The level of each factor of the study, keyed by setting, such as `{optimizer.lr: 1e-4}`. A sweep over
            settings outside the filter sets it. Declare a level yourself only to train the levels with several
            commands. Arms are compared within each level.
        seed: Seed for initial weights, batch order, masks and dropout. All arms of a study use the same seeds.
        data_dir: Folder that contains the files of the dataset.
        output_dir: Folder for the store, the cache and the results of each study.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    dataset: TargetNode
    filter: TargetNode
    model: TargetNode
    masking: TargetNode
    optimizer: TargetNode
    trainer: TargetNode
    tracking: TargetNode
    launcher: TargetNode
    probe: dict[SafeName, TargetNode] = Field(default_factory=dict)
    factors: dict[str, str] = Field(default_factory=dict)
    seed: Seed = 1
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    numerics: NumericsConfig = Field(default_factory=NumericsConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    study: StudyConfig = Field(default_factory=StudyConfig)
    data_dir: Path = Path("data")
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)
