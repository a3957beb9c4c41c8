"""The schema of each command's configuration: one class per command, one field per top-level key.

A group whose choices are classes (`dataset`, `filter`, `model`, ...) is a :data:`Node`. :mod:`winnow.config.resolve`
validates each node against the signature of its `_target_` and adds defaults. All other fields are typed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

Node = dict[str, Any]
"""A configuration node: a `_target_` and its arguments."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A name that can be used for a folder, an MLflow experiment and a column heading."""

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """How the model is trained. The budget is the same for every arm of a study.

    Attributes:
        batch_size: Rows per optimizer step, summed over all devices and accumulated batches.
        accumulate_batches: Number of micro-batches per optimizer step. More micro-batches use less memory; the
            gradients are the same.
        max_steps: Number of optimizer steps.
        total_tokens: Number of tokens to train on, not counting padding. It replaces `max_steps`. The number of steps
            is computed from the rows and their order before training starts.
        max_minutes: Time limit for training, in minutes. Runs with a time limit are not compared.
        scheduler: Learning rate schedule after warmup: `linear` and `cosine` decay to 0; `constant` does not decay.
        warmup_fraction: Fraction of the steps used for warmup, in which the learning rate increases to its full value.
        freeze: Names of weights that are not trained: a module such as `distilbert.embeddings`, or a pattern such as
            `*.layer.[0-3].*`.
        forward: `efficient` skips computation the loss does not need and gives the same results as transformers;
            `reference` calls the model as transformers does; `auto` uses `efficient` for DistilBERT, BERT and RoBERTa
            and `reference` for other models.
        batching: `lines` makes batches of `batch_size` rows; `blocks` concatenates rows, splits them every `block_size`
            tokens and makes batches of `batch_size` blocks; `tokens` groups rows of similar length up to `max_tokens`.
        block_size: Tokens per block.
        isolate_rows: Whether each token in a block attends only to tokens of the same row. If false, a block is treated
            as one text.
        max_tokens: Maximum tokens per optimizer step with `batching=tokens`, summed over all devices and accumulated
            batches.
        max_length: Maximum tokens per row; longer rows are truncated.
        gradient_clip: Maximum norm of the gradients; `null` disables clipping.
        gradient_checkpointing: Recompute activations in the backward pass. Training uses less memory but takes longer;
            the results are the same.
        ema_decay: Decay of the exponential moving average of the weights; `null` disables it. The average is used for
            evaluation, probes and the saved model; training continues with the current weights.
        validate_every_steps: Number of optimizer steps between validation runs. Each validation run saves a checkpoint.
        patience: Number of validation runs without improvement of the loss before training stops early; `null` disables
            early stopping. Runs with early stopping are not compared.
        keep: Which weights are evaluated and saved: the `last` weights, or the weights with the `best` validation loss.
            Runs that keep the best weights are not compared.
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
        """The training budget: the number of optimizer steps, or a number of tokens such as `1000000 tokens`.

        All compared arms must have the same budget.
        """
        return str(self.max_steps) if self.total_tokens is None else f"{self.total_tokens} tokens"

    @property
    def not_comparable(self) -> dict[str, str]:
        """The reasons why the run cannot be compared, by key. Empty if the run can be compared."""
        reasons = {
            "max_minutes": "the speed of the machine decides when training ends",
            "patience": "the validation loss decides when training ends",
            "keep": "the validation loss decides which weights are kept",
        }
        is_set = (self.max_minutes is not None, self.patience is not None, self.keep == "best")
        return {key: reason for (key, reason), applies in zip(reasons.items(), is_set, strict=True) if applies}


@dataclass(frozen=True, config=STRICT)
class NumericsConfig:
    """Numerical backend and precision. See also `trainer.precision` and `trainer.deterministic`.

    Attributes:
        linear: Backend of float32 linear layers on a CPU: PyTorch's default (`portable`), oneDNN (`onednn`), or
            whichever is faster for each layer, measured once per machine (`auto`).
        tf32: Use TF32 for float32 matmuls on CUDA, which is faster but changes the results.
        compile: Compile the layers on CUDA.
    """

    linear: Literal["auto", "onednn", "portable"] = "auto"
    tf32: bool = False
    compile: bool = False


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """What every arm is evaluated on.

    Attributes:
        mask_seed: Seed for the fixed masks of held-out rows. It is the same for all cells of a study.
        batch_size: Rows per batch.
        max_rows: Maximum number of rows to score per held-out split, selected by hash; `null` scores all rows.
        pseudo_likelihood_rows: Number of rows, selected by hash, to score by pseudo-log-likelihood in each held-out set
            except `validation`. A row of n tokens requires n forward passes. `null` disables this metric.
        slices: Filters that divide the held-out rows into slices, by name. A study adds the filters of its arms.
    """

    mask_seed: int = 0
    batch_size: Annotated[int, Field(gt=0)] = 256
    max_rows: Annotated[int, Field(gt=0)] | None = None
    pseudo_likelihood_rows: Annotated[int, Field(gt=0)] | None = 50
    slices: dict[Name, Node] = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class StudyConfig:
    """The declaration of the study, which is stored before the first run.

    Attributes:
        name: Name of the MLflow experiment and of the folder in `output_dir`.
        primary_metric: The metric on which the verdict is based.
        secondary_metrics: Additional metrics to test. They are Holm-corrected separately from the primary metric.
        equivalence_margin: The largest difference in the primary metric that does not matter, in the metric's unit. Two
            arms are called equivalent only if the confidence interval lies within the margin. `null` disables the
            equivalence test.
        baseline: The arm that trains on all data.
        block_by_seed: Whether two arms' runs with the same seed are compared as a pair. Such runs have the same initial
            weights, masks and batch order, so their scores are correlated, and only the paired analysis is valid for
            any correlation. `false` treats all runs as independent, which gives more degrees of freedom but too many
            false positives if the correlation is negative.
        compare: Whether to run the comparison at the end of the study.
        rerun: Which cells to train from scratch even if a run exists: `none`, `failed` or `all`. With `none`,
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
        masking: The rule that selects which tokens to mask in training.
        optimizer: The optimizer and its settings.
        trainer: Arguments of Lightning's Trainer: devices, precision, determinism.
        tracking: The MLflow store for the runs.
        launcher: How the cells of a study are run, and how many run at a time.
        probe: Prompt sets and other probes, by name.
        seed: Seed for initial weights, batch order, masks and dropout. All arms of a study use the same seeds.
        data_dir: Folder that contains the dataset's files.
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
        study: The study to compare, or a list of studies to pool. Pooled studies use the declaration of the first
            study.
        tracking: The MLflow store.
        metrics: Undeclared metrics to report in addition. They are marked as post hoc.
        ui_url: URL of the MLflow UI, for the links from the report to the runs.
        output_dir: Folder for the results of all studies. The report is written to a subfolder named after the study.
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
        models: The models, each given as an MLflow run id, a checkpoint, a model folder or a name on the Hub.
        tracking: The MLflow store that contains the runs.
        top_k: Number of words to show per mask.
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
        models: The models, each given as an MLflow run id, a checkpoint, a model folder or a name on the Hub.
        tracking: The MLflow store that contains the runs. The evaluation is also logged to this store.
        dataset: The dataset with the held-out rows. By default, the dataset of the first run in `models` is used, or no
            dataset if `models` has no runs.
        probe: The probes, by name. By default, the probes of the first run are used.
        name: Name of the MLflow experiment and of the folder in `output_dir`.
        split: The held-out split to score.
        max_length: Maximum tokens per row; longer rows are truncated.
        depth: Number of words to rank for the figure that shows the best and worst words.
        forward: The forward pass used to score the rows. See `training.forward` of `winnow train`.
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
        run_id: The run's id, or a unique prefix of the id.
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
        folder: The output folder; `null` uses the subfolder `export` of the study's folder.
        output_dir: Folder that contains the results of all studies.
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
        host: Address to listen on. The default accepts only connections from the same machine.
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
