"""The schemas of all commands except `winnow train`: one class per command, one field per top-level key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass

from winnow.config.schema import FORBID_UNKNOWN_KEYS, EvaluationConfig, Length, Seed, TargetNode
from winnow.untrusted_text import SafeName, WebAddress


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class FilterConfig:
    """The configuration of `winnow filter`, which applies a filter without training."""

    dataset: TargetNode
    filter: TargetNode
    tracking: TargetNode
    data_dir: Path = Path("data")
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class CompareConfig:
    """The configuration of `winnow compare`.

    Attributes:
        study: The study to compare, or a list of studies to pool. The declaration of the first study applies to all
            pooled studies.
        tracking: The MLflow store.
        metrics: Additional metrics that the study did not declare; the report marks these metrics as post hoc.
        ui_url: URL of the MLflow UI, used in the report's links to the runs.
        output_dir: Folder for the results of all studies. The report is written to a subfolder named after the study.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    study: SafeName | Annotated[list[SafeName], Field(min_length=1)]
    tracking: TargetNode
    metrics: list[str] = Field(default_factory=list)
    ui_url: WebAddress = "http://127.0.0.1:5000"
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class PlanConfig:
    """The configuration of `winnow plan`.

    Attributes:
        study: The pilot: a study with at least 2 seeds per arm, or a list of studies to pool.
        tracking: The MLflow store.
        difference: The true difference in the primary metric that the planned study should detect. `null` uses the
            declared equivalence margin or, if there is none, the difference that the pilot observed.
        power: The probability with which the planned study detects the difference.
        max_seeds: The largest number of seeds per arm to consider.
        looks: Numbers of seeds per arm at which the planned study is compared and may stop. An empty list uses the
            looks that the pilot declared.
        parallel_cells: Number of cells that run at the same time, for the estimate of the training time.
        output_dir: Folder for the results of all studies. The plan is written to the subfolder `plan` of the study's
            folder.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    study: SafeName | Annotated[list[SafeName], Field(min_length=1)]
    tracking: TargetNode
    difference: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    power: Annotated[float, Field(gt=0, lt=1)] = 0.8
    max_seeds: Annotated[int, Field(ge=5, le=1000)] = 50
    looks: list[int] = Field(default_factory=list)
    parallel_cells: Annotated[int, Field(gt=0, le=1000)] = 1
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class SearchRange:
    """A range of numbers in a search space. If both bounds are integers, only integers are sampled.

    Attributes:
        low: The smallest value.
        high: The largest value.
        log: Whether values are sampled uniformly on a logarithmic scale.
    """

    low: int | float
    high: int | float
    log: bool = False


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class SearchConfig:
    """The configuration of `winnow search`. All other keys are keys of `winnow train`.

    Attributes:
        space: The search space: for each key of `winnow train`, a list of values or a range (`low`, `high`, `log`).
        objectives: The validation metric to optimize, the target. A second metric is the cost, and the report then
            shows the Pareto front. An empty list uses the validation counterpart of `study.primary_metric`.
        cost_margin: With two objectives, the trial with the best target is confirmed among those whose cost is at most
            this much worse than the lowest cost, in the unit of the cost. `null` uses `study.cost_margin`.
        choose: The number of the trial to confirm, as in the report, instead of the best one.
        trials: Number of settings to try.
        sampler: How settings are sampled: `tpe` prefers settings similar to those with good scores (tree-structured
            Parzen estimator), and `random` samples independently.
        sampler_seed: Seed of the sampler.
        trial_seeds: Seeds with which the settings of every trial are trained. The score of a trial is the mean.
        max_trial_seeds: Maximum number of seeds per trial. Trials whose score is close to the best score are trained
            with additional seeds.
        pruner: `median` stops a trial whose validation curve is worse than the median of the complete trials; `none`
            trains every trial to the end.
        confirmation_seeds: Seeds of the confirmation, which must differ from the seeds of the trials.
        confirm: Whether to confirm the best settings in a study with the baseline and a random control.
        storage: URL of Optuna's storage. `null` uses a SQLite file in the folder of the search.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    space: dict[str, SearchRange | Annotated[list[Any], Field(min_length=1)]]
    objectives: Annotated[list[str], Field(max_length=2)] = Field(default_factory=list)
    cost_margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    choose: Annotated[int, Field(gt=0)] | None = None
    trials: Annotated[int, Field(gt=0, le=10_000)] = 20
    sampler: Literal["tpe", "random"] = "tpe"
    sampler_seed: Seed = 0
    trial_seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [101, 102])
    max_trial_seeds: Annotated[int, Field(gt=0, le=100)] = 4
    pruner: Literal["none", "median"] = "none"
    confirmation_seeds: Annotated[list[Seed], Field(min_length=2)] = Field(default_factory=lambda: [1, 2, 3, 4, 5])
    confirm: bool = True
    storage: str | None = None
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class FillConfig:
    """The configuration of `winnow fill`.

    Attributes:
        models: The models, each given as a run (an id, the first characters of an id, or STUDY/ARM/SEED), a
            checkpoint, a model folder or a name on the Hub.
        tracking: The MLflow store that contains the runs.
        top_k: Number of words to show per mask.
        tokens: The tokens to rank: whole `words`, or `all` tokens, including word pieces and punctuation.
    """

    models: list[str]
    tracking: TargetNode
    top_k: Annotated[int, Field(gt=0, le=1000)] = 10
    tokens: Literal["words", "all"] = "words"
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class EvaluateConfig:
    """The configuration of `winnow evaluate`, which scores models on the same rows, masks and prompts.

    Attributes:
        models: The models, each given as a run (an id, the first characters of an id, or STUDY/ARM/SEED), a
            checkpoint, a model folder or a name on the Hub.
        tracking: The MLflow store that contains the runs. The evaluation is also logged to this store.
        dataset: The dataset with the held-out rows. The default is the dataset of the first run in `models`. If
            `models` contains no run, no rows are scored.
        probe: The probes, keyed by name. The default is the probes of the first run in `models`.
        name: Name of the MLflow experiment and of the folder in `output_dir`.
        split: The held-out split to score.
        max_length: Maximum tokens per row; longer rows are truncated.
        depth: Number of words to rank per mask, for the figure of the best and worst words.
        forward: Implementation of the forward pass used for scoring, with the same values as `training.forward`.
    """

    models: list[str]
    tracking: TargetNode
    dataset: TargetNode | None = None
    probe: dict[SafeName, TargetNode] = Field(default_factory=dict)
    name: SafeName = "evaluations"
    split: Literal["validation", "test", "external"] = "test"
    max_length: Length = 128
    depth: Annotated[int, Field(ge=20, le=10**6)] = 1000
    forward: Literal["auto", "efficient", "reference"] = "auto"
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    data_dir: Path = Path("data")
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class RerunConfig:
    """The configuration of `winnow rerun`.

    Attributes:
        run_id: The run: its id, the first characters of its id, STUDY/ARM/SEED, or its folder.
    """

    run_id: Annotated[str, StringConstraints(min_length=1)]
    tracking: TargetNode
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class RunsConfig:
    """The configuration of `winnow runs`.

    Attributes:
        study: The study whose runs are listed; `null` lists the studies.
        tracking: The MLflow store.
    """

    tracking: TargetNode
    study: SafeName | None = None
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class ExportConfig:
    """The configuration of `winnow export`.

    Attributes:
        study: The study to export.
        tracking: The MLflow store.
        folder: The output folder; the default is the subfolder `export` of the study's folder.
        output_dir: Folder that contains the results of all studies.
        allow_targets: Your own packages whose classes may be a `_target_`.
    """

    study: SafeName
    tracking: TargetNode
    folder: Path | None = None
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class UiConfig:
    """The configuration of `winnow ui`.

    Attributes:
        host: IP address that the server listens on. The default accepts only connections from the same machine.
        port: Port that the server listens on.
    """

    tracking: TargetNode
    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, lt=65536)] = 5000
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)


@dataclass(frozen=True, config=FORBID_UNKNOWN_KEYS)
class StoreConfig:
    """The configuration of `winnow doctor`, `winnow sync`, `winnow promote` and `winnow push`: the MLflow store."""

    tracking: TargetNode
    output_dir: Path = Path("outputs")
    allow_targets: list[str] = Field(default_factory=list)
