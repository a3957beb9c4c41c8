"""Builds and checks the objects of a training configuration, and computes the id of a cell."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow import __version__
from winnow.config import HARDWARE_TRAINER_ARGUMENTS, ComposedCell, TrainConfig, construct
from winnow.data import Corpus, Dataset
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter, LeaveOneOut, RandomMatched, Selection
from winnow.metrics import MetricDefinition
from winnow.metrics.metric_names import probe_metric_name
from winnow.metrics.metric_registry import MetricRegistry
from winnow.run.corpus_loader import CorpusLoader
from winnow.tracking import Store
from winnow.untrusted_text import check_name

if TYPE_CHECKING:
    import torch

    from winnow.evaluation import Probe
    from winnow.training import Masking, Model


@dataclass(frozen=True)
class RunComponents:
    """The objects that are built from a training configuration.

    Attributes:
        dataset: Defines the source and the processing of the corpus.
        filter: Selects the training rows.
        model: The model, whose weights have not been loaded yet.
        masking: The masking rule.
        optimizer: A partial of the optimizer class, without the model's parameters.
        trainer: A partial of Lightning's ``Trainer``, without the arguments that are set by `training`.
        store: The store that tracks the run.
        probes: The probes by name.
        slices: The filters that define slices of the held-out rows, by name.
        cache: The folder of cached data.
        corpus_loader: The loader of the corpus, shared by the cells of a study.
    """

    dataset: Dataset
    filter: Selection
    model: Model
    masking: Masking
    optimizer: functools.partial[Any]
    trainer: functools.partial[Any]
    store: Store
    probes: dict[str, Probe]
    slices: dict[str, Filter]
    cache: Path
    corpus_loader: CorpusLoader

    @property
    def corpus(self) -> Corpus:
        """The corpus, loaded on first access."""
        return self.corpus_loader.load(self.dataset, self.cache)

    @property
    def base_filter_name(self) -> str:
        """The name of the filter; for a control or an ablation, the name of the filter that it is based on."""
        base = _find_base_filter(self.filter)
        return self.filter.name if base is None else base.name

    @property
    def metrics(self) -> MetricRegistry:
        """The registry of all metrics, including the user-defined metrics of the probes."""
        definitions: dict[str, MetricDefinition] = {}
        for name, probe in self.probes.items():
            try:
                metrics = probe.user_metrics
            except WinnowError as error:
                raise error.with_prefix(f"probe.{name}") from error
            definitions |= {probe_metric_name(name, metric.name): metric.definition for metric in metrics}
        return MetricRegistry(definitions)

    def filter_key(self, name: str) -> str:
        """Return the configuration key of the slice filter with the given name."""
        return "filter" if name == self.base_filter_name else f"evaluation.slices.{name}"


class ComponentBuilder:
    """Constructs the objects that configurations describe. Equal nodes of several configurations share one object."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], Any] = {}

    def build(self, node: Mapping[str, Any], key: str, expected: Any, allow: Sequence[str]) -> Any:
        """Return the object that a node describes; see :func:`winnow.config.construct`."""
        identity = (key, repr(node))
        if identity not in self._objects:
            self._objects[identity] = construct(node, key, expected, allow)
        return self._objects[identity]


def build_components(
    config: TrainConfig, corpus_loader: CorpusLoader | None = None, builder: ComponentBuilder | None = None
) -> RunComponents:
    """Build every object of the configuration without reading files.

    Args:
        config: The configuration of a cell.
        corpus_loader: Loads the corpus. Cells that share a loader load equal datasets only once. Defaults to a new
            loader.
        builder: The builder that constructs the objects. Cells with the same builder share equal objects. The default
            is a new builder.
    """
    from winnow.evaluation import Probe
    from winnow.training import Masking, Model

    build = functools.partial((builder or ComponentBuilder()).build, allow=config.allow_targets)
    selection = build(config.filter, "filter", Selection)
    check_arm_name(selection)
    return RunComponents(
        dataset=build(config.dataset, "dataset", Dataset),
        filter=selection,
        model=build(config.model, "model", Model),
        masking=build(config.masking, "masking", Masking),
        optimizer=build(config.optimizer, "optimizer", None),
        trainer=build(config.trainer, "trainer", None),
        store=build(config.tracking, "tracking", Store),
        probes={name: build(node, f"probe.{name}", Probe) for name, node in config.probe.items()},
        slices=_build_slices(config, selection, build),
        cache=config.output_dir / "cache",
        corpus_loader=corpus_loader or CorpusLoader(),
    )


def check_arm_name(selection: Selection) -> None:
    """Check the name of an arm. A user-defined or derived selection may compute its name.

    Raises:
        WinnowError: If the name cannot be used for a folder (key ``filter.name``).
    """
    try:
        check_name(selection.name)
    except ValueError as error:
        raise WinnowError(f"the arm's name {selection.name!r} is not valid. {error}.", "filter.name") from error


def _build_slices(config: TrainConfig, selection: Selection, build: Callable[..., Any]) -> dict[str, Filter]:
    """Build the slice filters. The filter that selects the training rows is reused, not built again."""
    base_filter = _find_base_filter(selection)
    filter_configs = {**config.evaluation.slices, **extract_filters(config.filter)}
    return {
        name: base_filter
        if base_filter is not None and name == base_filter.name
        else build(node, f"evaluation.slices.{name}", Filter)
        for name, node in filter_configs.items()
    }


def _find_base_filter(selection: Selection) -> Filter | None:
    """Return the filter that a selection is based on, or `None` if it selects all rows."""
    if isinstance(selection, RandomMatched | LeaveOneOut):
        return selection.of
    return selection if isinstance(selection, Filter) else None


def extract_filters(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filter in a `filter` configuration, as a dict from its name to its configuration.

    For a control or an ablation, return its base filter. The dict is empty if the configuration selects all rows.
    """
    if "of" in node:
        return extract_filters(node["of"])
    return {str(node["name"]): dict(node)} if "keep" in node else {}


def check_components(components: Sequence[RunComponents]) -> None:
    """Check that the files, columns, packages and models that the cells need exist.

    Raises:
        WinnowErrors: If a required file, column, package or model is missing. The errors of all cells are reported
            together.
    """
    checked: dict[tuple[str, int], Any] = {}  # equal components, which a study's cells share, are checked once
    for cell_components in components:
        by_key = {
            "dataset": cell_components.dataset,
            "filter": cell_components.filter,
            "model": cell_components.model,
            **{f"probe.{name}": probe for name, probe in cell_components.probes.items()},
        }
        checked |= {(key, id(component)): component for key, component in by_key.items()}
    errors = [error.with_prefix(key) for (key, _), component in checked.items() for error in component.check()]
    if errors:
        raise WinnowErrors({str(error): error for error in errors}.values())


def check_store(store: Store) -> None:
    """Check that the store is writable, since even a failed run is tracked.

    Raises:
        WinnowErrors: If the store is not writable.
    """
    if errors := store.check():
        raise WinnowErrors(error.with_prefix("tracking") for error in errors)


def compute_cell_id(cell: ComposedCell[TrainConfig], components: RunComponents) -> str:
    """Return the id of a cell: a fingerprint of its recipe and seed. Cells with equal ids have equal results."""
    return fingerprint(compute_recipe_fingerprint(cell, components), cell.config.seed)


def compute_recipe_fingerprint(cell: ComposedCell[TrainConfig], components: RunComponents) -> str:
    """Return a fingerprint of everything that determines a cell's result, except the seed.

    The fingerprint covers the corpus, the filter, the model, the training and the evaluation. It excludes folders,
    tracking, display, the study's name and the hardware.
    """
    evaluation = cell.config.evaluation
    return fingerprint(
        {
            "version": __version__,
            "corpus": components.corpus.fingerprint,
            "arm": [components.filter.name, components.filter.fingerprint()],
            "slices": {name: filter_.fingerprint() for name, filter_ in components.slices.items()},
            "probes": {name: probe.fingerprint() for name, probe in components.probes.items()},
            "training": asdict(cell.config.training),
            "tf32": cell.config.numerics.tf32,  # all other numerics settings depend on the machine
            "held_out": [evaluation.mask_seed, evaluation.max_rows, evaluation.pseudo_likelihood_rows],
            **({"validation_only": True} if evaluation.validation_only else {}),
            "trainer": {
                key: value for key, value in cell.config.trainer.items() if key not in HARDWARE_TRAINER_ARGUMENTS
            },
            **{key: getattr(cell.config, key) for key in ("model", "masking", "optimizer")},
        }
    )


def cell_folder(config: TrainConfig, cell_id: str) -> Path:
    """Return the folder of a cell's checkpoints and model."""
    return config.output_dir / config.study.name / "cells" / cell_id


def select_device(components: RunComponents) -> torch.device:
    """Return the device that the trainer uses. `accelerator=auto` selects CUDA if it is available."""
    import torch

    allows_gpu = components.trainer.keywords["accelerator"] in ("auto", "gpu", "cuda")
    return torch.device("cuda" if allows_gpu and torch.cuda.is_available() else "cpu")
