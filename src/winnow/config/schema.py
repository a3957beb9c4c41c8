"""The shape of each command's configuration: one class a command, one field a top-level key.

A group whose choice is a class (`dataset`, `filter`, `model`, ...) is a :data:`Node`, checked and completed from the
signature of its `_target_` by :mod:`winnow.config.resolve`; everything else is typed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

Node = dict[str, Any]
"""A part of the configuration that names a `_target_` and its arguments."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A name that may become a folder, an MLflow experiment and a column heading."""

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """How the model is trained; the budget is the same for every arm of a study.

    Attributes:
        batch_size: Rows an optimizer step sees, over all devices and accumulated batches together.
        accumulate_batches: Parts into which that batch is cut to save memory; the gradients stay the same.
        max_steps: Optimizer steps.
        total_tokens: Tokens, padding left out, after which training ends in place of `max_steps`; the rows and their
            order tell beforehand how many steps that takes.
        max_minutes: Minutes of training after which it ends before its budget. Such runs are not compared.
        scheduler: How the learning rate goes on after its climb: `linear` and `cosine` fall to 0, `constant` stays.
        warmup_fraction: Share of the steps in which the learning rate climbs to its value.
        freeze: Weights that are not trained, by name: a module as `distilbert.embeddings`, or a pattern as
            `*.layer.[0-3].*`.
        forward: `efficient` does only the arithmetic that the loss needs and gives the library's numbers; `reference`
            calls the model as the library does; `auto` is `efficient` for DistilBERT, BERT and RoBERTa.
        batching: `lines` takes `batch_size` rows as they are; `blocks` joins rows, cuts every `block_size` and takes
            `batch_size` blocks; `tokens` takes rows of like length, as many as fit into `max_tokens`.
        block_size: Tokens in a block.
        isolate_rows: Whether the rows in a block do not see each other; else a block is one text.
        max_tokens: Tokens an optimizer step sees at most, over all devices and accumulated batches together, under
            `batching=tokens`.
        max_length: Tokens after which a row is cut off.
        gradient_clip: Norm above which the gradients are scaled down; `null` leaves them.
        gradient_checkpointing: Forget what the layers computed and compute it again in the backward pass: the same
            numbers in less memory and more time.
        ema_decay: Share of the old average in the moving average of the weights; `null` keeps none. Where there is
            one, the held-out rows, the probes and the saved model see the average, and training goes on without it.
        validate_every_steps: Optimizer steps between two looks at the validation loss, each with a checkpoint.
        patience: Looks at the validation loss without a lower one after which training ends; `null` goes on. Such runs
            are not compared.
        keep: Whether the `last` weights are measured and kept, or those of the look with the `best` validation loss.
            Runs that keep the best are not compared.
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
        """The budget that arms must share to be compared: optimizer steps, or as `1000000 tokens`."""
        return str(self.max_steps) if self.total_tokens is None else f"{self.total_tokens} tokens"

    @property
    def not_comparable(self) -> dict[str, str]:
        """What makes a run one that is not compared, by key: a held-out look or the clock decides when it ends."""
        why = {
            "max_minutes": "the time that a machine takes decides when training ends",
            "patience": "the validation loss decides when training ends",
            "keep": "the validation loss decides which weights are kept",
        }
        chosen = (self.max_minutes is not None, self.patience is not None, self.keep == "best")
        return {key: told for (key, told), is_chosen in zip(why.items(), chosen, strict=True) if is_chosen}


@dataclass(frozen=True, config=STRICT)
class NumericsConfig:
    """How the numbers are computed; `trainer.precision=bf16-mixed` and `trainer.deterministic=true` belong here too.

    Attributes:
        linear: Who computes the products of linear layers on a CPU in float32: PyTorch's own library (`portable`),
            oneDNN (`onednn`), or for each the faster of the two, timed once on a machine (`auto`).
        tf32: On CUDA, round the factors of float32 products to 10 bits. Faster, and no longer the same numbers.
        compile: On CUDA, compile the layers.
    """

    linear: Literal["auto", "onednn", "portable"] = "auto"
    tf32: bool = False
    compile: bool = False


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """What every arm is measured on.

    Attributes:
        mask_seed: Seed of the fixed masks on held-out rows; one value for a whole study.
        batch_size: Rows scored at a time.
        max_rows: Held-out rows scored of each split, the first by hash; `null` takes all.
        pseudo_likelihood_rows: Rows scored by pseudo-log-likelihood in each held-out set except `validation`, selected
            by hash. A row of n tokens costs n forward passes; `null` disables it.
        slices: Filters whose verdicts name slices of the held-out rows, by name. A study adds its own filters.
    """

    mask_seed: int = 0
    batch_size: Annotated[int, Field(gt=0)] = 256
    max_rows: Annotated[int, Field(gt=0)] | None = None
    pseudo_likelihood_rows: Annotated[int, Field(gt=0)] | None = 50
    slices: dict[Name, Node] = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class StudyConfig:
    """What is declared before the first run, and stored with the study.

    Attributes:
        name: Names the MLflow experiment and the folder below `output_dir`.
        primary_metric: The metric that the verdict is about.
        secondary_metrics: Metrics that are tested too, with a correction of their own.
        equivalence_margin: Difference in the primary metric that would not matter, in its unit. Arms are told to be
            equal only where the interval lies within it; without one no arm is ever told to be equal to another.
        baseline: The arm with all data.
        block_by_seed: Whether runs of two arms with the same seed are compared as a pair. Such runs share initial
            weights, masks and batch order, so their scores are correlated, and only pairs are valid whatever the
            correlation is. `false` treats all runs as independent: more degrees of freedom, but too many false
            positives if the correlation is negative.
        compare: Whether the study ends in a comparison.
        rerun: Which cells to train from their beginning although a run of them is kept: `failed` takes those that broke
            off, which else go on from their checkpoint, `all` the finished ones too.
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
        dataset: Where the rows come from, and how they are cleaned and split.
        filter: Which training rows are kept.
        model: The model, pretrained or from scratch.
        masking: Which tokens are masked in training.
        optimizer: The optimizer and its settings.
        trainer: Arguments of Lightning's Trainer: devices, precision, determinism.
        tracking: The store that keeps the runs.
        launcher: Where and how many at a time the cells of a study run.
        probe: Sets of prompts, or probes of another kind, by name.
        seed: Seed of weights, order, masks and dropout; the arms of a study share their seeds.
        data_dir: Folder with the files of `dataset`.
        output_dir: Folder for the store, the cache and each study's results.
        allow_targets: Packages of the user's own whose classes `_target_` may name.
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
    """The configuration of `winnow filter`: a filter's verdicts, without any training."""

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
        study: One study, or several to be compared as one, the first of which declares what is compared.
        tracking: The store.
        metrics: Metrics that were not declared, to be described too and marked as post hoc.
        ui_url: Where MLflow's pages are, for the report's links to runs.
        output_dir: The report goes to the study's folder in it.
        allow_targets: Packages of the user's own whose classes `_target_` may name.
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
        models: MLflow run ids, checkpoints, folders and names on the Hub.
        tracking: The store that run ids are looked up in.
        top_k: Words shown for each mask.
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
        models: MLflow run ids, checkpoints, folders and names on the Hub.
        tracking: The store that run ids are looked up in, and that the evaluation is kept in.
        dataset: Whose held-out rows; left out, that of the first run named, and without a run none.
        probe: Probes by name; left out, those of the first run named.
        name: Names the MLflow experiment and the folder below `output_dir`.
        split: The held-out rows that are scored.
        max_length: Tokens after which a row is cut off.
        depth: Words ranked for the figure of the best and the worst.
        forward: Which forward pass scores the rows: see `training.forward` of `winnow train`.
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
        run_id: The run's id, or the beginning of one.
    """

    run_id: Annotated[str, StringConstraints(min_length=1)]
    tracking: Node
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class ExportConfig:
    """The configuration of `winnow export`.

    Attributes:
        study: The study.
        tracking: The store.
        folder: Where to write; `null` is the study's folder `export` in `output_dir`.
        output_dir: Where the study lies.
        allow_targets: Packages of the user's own whose classes `_target_` may name.
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
        host: Address to listen on; the default admits this machine only.
        port: Port to listen on.
    """

    tracking: Node
    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, lt=65536)] = 5000
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class StoreConfig:
    """The configuration of what needs a store alone: `winnow sync`, `winnow promote` and `winnow push`."""

    tracking: Node
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)
