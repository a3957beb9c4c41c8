"""The schema of each command's configuration: one class per command, one field per top-level key.

A group whose choice is a class (`dataset`, `filter`, `model`, ...) is a :data:`Node`. :mod:`winnow.config.resolve`
checks and completes it from the signature of its `_target_`. Everything else is typed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

Node = dict[str, Any]
"""A configuration node: a `_target_` and its arguments."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A name that can be used as a folder, an MLflow experiment and a column heading."""

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """How the model is trained. The budget is the same for every arm of a study.

    Attributes:
        batch_size: Rows per optimizer step, summed over all devices and accumulated batches.
        accumulate_batches: Number of micro-batches per optimizer step. More of them save memory; the gradients are the
            same.
        max_steps: Optimizer steps.
        total_tokens: Tokens without padding to train on, in place of `max_steps`. The number of steps is computed from
            the rows and their order before training starts.
        max_minutes: Time limit for training, in minutes. Runs with a time limit are not compared.
        scheduler: Learning rate schedule after the warmup: `linear` and `cosine` decay to 0, `constant` does not decay.
        warmup_fraction: Fraction of the steps in which the learning rate increases to its value.
        freeze: Weights that are not trained, by name: a module such as `distilbert.embeddings`, or a pattern such as
            `*.layer.[0-3].*`.
        forward: `efficient` skips computation the loss does not need, with the same results as transformers;
            `reference` calls the model as transformers does; `auto` is `efficient` for DistilBERT, BERT and RoBERTa.
        batching: `lines` makes batches of `batch_size` rows; `blocks` concatenates rows, splits them every `block_size`
            tokens and makes batches of `batch_size` blocks; `tokens` groups rows of similar length up to `max_tokens`.
        block_size: Tokens per block.
        isolate_rows: Whether attention in a block is limited to tokens of the same row. If false, a block is one text.
        max_tokens: Maximum tokens per optimizer step with `batching=tokens`, summed over all devices and accumulated
            batches.
        max_length: Maximum tokens per row; longer rows are truncated.
        gradient_clip: Maximum norm of the gradients; `null` disables clipping.
        gradient_checkpointing: Recompute activations in the backward pass. The results are the same, with less memory
            and more time.
        ema_decay: Decay of the exponential moving average of the weights; `null` disables it. The average is used for
            evaluation, probes and the saved model; training continues with the current weights.
        validate_every_steps: Optimizer steps between two validation runs. Each validation run saves a checkpoint.
        patience: Validation runs without a lower loss after which training ends early; `null` disables early stopping.
            Runs with early stopping are not compared.
        keep: Which weights are evaluated and saved: the `last`, or those with the `best` validation loss. Runs that
            keep the best weights are not compared.
    """

    batch_size: Annotated[int, Field(gt=0)] = 64
    accumulate_batches: Annotated[int, Field(gt=0)] = 1
    max_steps: Annotated[int, Field(gt=0)] = 300
    total_tokens: Annotated[int, Field(gt=0)] | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    freeze: list[str] = Field(default_factory=list)
    forward: Literal["auto", "efficient", "reference"] = "auto"
    batching: Literal["lines", "blocks", "tokens"] = "lines"
    block_size: Annotated[int, Field(gt=2)] = 128
    isolate_rows: bool = True
    max_tokens: Annotated[int, Field(gt=2)] = 4096
    max_length: Annotated[int, Field(gt=2)] = 128
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    gradient_checkpointing: bool = False
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    validate_every_steps: Annotated[int, Field(gt=0)] = 100
    patience: Annotated[int, Field(gt=0)] | None = None
    keep: Literal["last", "best"] = "last"

    @property
    def budget(self) -> str:
        """The budget, which must be equal for all compared arms: optimizer steps, or tokens as `1000000 tokens`."""
        return str(self.max_steps) if self.total_tokens is None else f"{self.total_tokens} tokens"

    @property
    def not_comparable(self) -> dict[str, str]:
        """The reason why the run cannot be compared, by key. Empty if it can be compared."""
        reasons = {
            "max_minutes": "the speed of the machine decides when training ends",
            "patience": "the validation loss decides when training ends",
            "keep": "the validation loss decides which weights are kept",
        }
        is_set = (self.max_minutes is not None, self.patience is not None, self.keep == "best")
        return {key: reason for (key, reason), applies in zip(reasons.items(), is_set, strict=True) if applies}


@dataclass(frozen=True, config=STRICT)
class NumericsConfig:
    """Backend and precision of the computation. See also `trainer.precision` and `trainer.deterministic`.

    Attributes:
        linear: Backend of float32 linear layers on a CPU: PyTorch's default (`portable`), oneDNN (`onednn`), or the
            faster one for each layer, timed once per machine (`auto`).
        tf32: Use TF32 for float32 matmuls on CUDA: faster, but with different results.
        compile: Compile the layers on CUDA.
    """

    linear: Literal["auto", "onednn", "portable"] = "auto"
    tf32: bool = False
    compile: bool = False


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """What every arm is evaluated on.

    Attributes:
        mask_seed: Seed of the fixed masks on held-out rows, the same for all cells of a study.
        batch_size: Rows per batch.
        max_rows: Maximum rows scored per held-out split, selected by hash; `null` scores all.
        pseudo_likelihood_rows: Rows scored by pseudo-log-likelihood in each held-out set except `validation`, selected
            by hash. A row of n tokens costs n forward passes; `null` disables it.
        slices: Filters that divide the held-out rows into slices, by name. A study adds the filters of its arms.
    """

    mask_seed: int = 0
    batch_size: Annotated[int, Field(gt=0)] = 256
    max_rows: Annotated[int, Field(gt=0)] | None = None
    pseudo_likelihood_rows: Annotated[int, Field(gt=0)] | None = 50
    slices: dict[Name, Node] = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class StudyConfig:
    """The study's declaration, which is stored before the first run.

    Attributes:
        name: Name of the MLflow experiment and of the folder in `output_dir`.
        primary_metric: The metric on which the verdict is based.
        secondary_metrics: Further metrics to test, Holm-corrected separately.
        equivalence_margin: The largest difference in the primary metric that does not matter, in the metric's unit. Two
            arms are called equivalent only if the interval lies within the margin; without a margin, never.
        baseline: The arm with all data.
        block_by_seed: Whether runs of two arms with the same seed are compared as a pair. Such runs have the same
            initial weights, masks and batch order, so their scores are correlated, and only the paired analysis is
            valid for any correlation. `false` treats all runs as independent: more degrees of freedom, but too many
            false positives if the correlation is negative.
        compare: Whether to run the comparison at the end of the study.
        rerun: Which cells to train from scratch although a run exists: `none`, `failed` or `all`. By default,
            interrupted runs resume from their last checkpoint and finished runs are kept.
    """

    name: Name = "scratchpad"
    primary_metric: str = "test/all/loss"
    secondary_metrics: list[str] = Field(default_factory=lambda: ["test/all/loss"])
    equivalence_margin: Annotated[float, Field(gt=0)] | None = None
    baseline: Name = "full"
    block_by_seed: bool = True
    compare: bool = True
    rerun: Literal["none", "failed", "all"] = "none"


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """The configuration of `winnow train`: one cell of a study.

    Attributes:
        dataset: The source of the rows, and how they are cleaned and split.
        filter: The filter that selects the training rows.
        model: The model, pretrained or from scratch.
        masking: The rule that selects the masked tokens in training.
        optimizer: The optimizer and its settings.
        trainer: Arguments of Lightning's Trainer: devices, precision, determinism.
        tracking: The MLflow store for the runs.
        launcher: How the cells of a study are run, and how many at a time.
        probe: Prompt sets and other probes, by name.
        seed: Seed of weights, batch order, masks and dropout. All arms of a study use the same seeds.
        data_dir: Folder with the files of `dataset`.
        output_dir: Folder for the store, the cache and the results of each study.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    dataset: Node
    filter: Node
    model: Node
    masking: Node
    optimizer: Node
    trainer: Node
    tracking: Node
    launcher: Node
    probe: dict[str, Node] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] = 1
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    numerics: NumericsConfig = Field(default_factory=NumericsConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    study: StudyConfig = Field(default_factory=StudyConfig)
    data_dir: Path = Path("data")
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class FilterConfig:
    """The configuration of `winnow filter`, which applies a filter without training."""

    dataset: Node
    filter: Node
    tracking: Node
    data_dir: Path = Path("data")
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class CompareConfig:
    """The configuration of `winnow compare`.

    Attributes:
        study: The study, or several studies to pool; the declaration of the first one applies.
        tracking: The MLflow store.
        metrics: Undeclared metrics to describe as well, marked as post hoc.
        ui_url: URL of the MLflow UI, for the links from the report to the runs.
        output_dir: Folder of the results. The report is written to the study's folder in it.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    study: Name | list[Name]
    tracking: Node
    metrics: list[str] = Field(default_factory=list)
    ui_url: str = "http://127.0.0.1:5000"
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class FillConfig:
    """The configuration of `winnow fill`.

    Attributes:
        models: MLflow run ids, checkpoints, model folders and names on the Hub.
        tracking: The MLflow store with the runs.
        top_k: Words to show per mask.
    """

    models: list[str]
    tracking: Node
    top_k: Annotated[int, Field(gt=0, le=1000)] = 10
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class EvaluateConfig:
    """The configuration of `winnow evaluate`: any number of models on the same rows, masks and prompts.

    Attributes:
        models: MLflow run ids, checkpoints, model folders and names on the Hub.
        tracking: The MLflow store with the runs. The evaluation is logged to it, too.
        dataset: The dataset with the held-out rows. The default is the dataset of the first run, or none without a run.
        probe: Probes by name. The default is the probes of the first run.
        name: Name of the MLflow experiment and of the folder in `output_dir`.
        split: The held-out split to score.
        max_length: Maximum tokens per row; longer rows are truncated.
        depth: Words to rank for the figure of the best and worst words.
        forward: The forward pass that scores the rows: see `training.forward` of `winnow train`.
    """

    models: list[str]
    tracking: Node
    dataset: Node | None = None
    probe: dict[str, Node] = Field(default_factory=dict)
    name: Name = "evaluations"
    split: Literal["validation", "test", "external"] = "test"
    max_length: Annotated[int, Field(gt=2)] = 128
    depth: Annotated[int, Field(ge=20)] = 1000
    forward: Literal["auto", "efficient", "reference"] = "auto"
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    data_dir: Path = Path("data")
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class RerunConfig:
    """The configuration of `winnow rerun`.

    Attributes:
        run_id: The run's id, or a unique prefix of it.
    """

    run_id: Annotated[str, StringConstraints(min_length=1)]
    tracking: Node
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class ExportConfig:
    """The configuration of `winnow export`.

    Attributes:
        study: The study to export.
        tracking: The MLflow store.
        folder: The output folder; `null` means the folder `export` in the study's folder.
        output_dir: Folder of the results of all studies.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    study: Name
    tracking: Node
    folder: Path | None = None
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class UiConfig:
    """The configuration of `winnow ui`.

    Attributes:
        host: Address to listen on. The default accepts connections from this machine only.
        port: Port to listen on.
    """

    tracking: Node
    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, lt=65536)] = 5000
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class StoreConfig:
    """The configuration of commands that need only a store: `winnow sync`, `winnow promote` and `winnow push`."""

    tracking: Node
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)
