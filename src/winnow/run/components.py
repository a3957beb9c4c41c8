"""The objects that a configuration names, and the identity of the cell they make."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow import __version__
from winnow.config import Cell, TrainConfig, construct
from winnow.data import Corpus, Dataset
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter, LeaveOneOut, RandomMatched, Selection
from winnow.metrics.metric_names import probe_metric_name
from winnow.metrics.metric_registry import MetricRegistry
from winnow.run.corpora import Corpora
from winnow.tracking import Store

if TYPE_CHECKING:
    import torch

    from winnow.evaluation import Probe
    from winnow.training import Masking, Model


MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "profiler")
"""Arguments of the trainer that say where a run computes, and are no part of what it computes."""


@dataclass(frozen=True)
class Components:
    """The objects that the groups of a training configuration name.

    Attributes:
        dataset: Where the corpus comes from.
        filter: Which rows to train on.
        model: The model, not loaded yet.
        masking: How tokens are masked.
        optimizer: The optimizer, without its parameters.
        trainer: Lightning's trainer, without what `training` decides.
        store: Where the run is tracked.
        probes: The probes by name.
        slices: The filters whose verdicts name slices of the held-out rows: those of the study and the cell's own.
        cache: The folder of the corpus and all that is derived from it.
        corpora: Loads the corpus; shared by the cells of a study.
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
    corpora: Corpora

    @property
    def corpus(self) -> Corpus:
        """The corpus; the first cell of a study that uses it loads it for all."""
        return self.corpora.load(self.dataset, self.cache)

    @property
    def base_filter(self) -> str:
        """The name of the filter whose verdicts select the training rows; a control has that of the filter it is of."""
        base = _base_filter(self.filter)
        return self.filter.name if base is None else base.name

    @property
    def metrics(self) -> MetricRegistry:
        """The metrics by name, with the user's own metrics of the probes."""
        return MetricRegistry(
            {
                probe_metric_name(name, one.name): one.definition
                for name, probe in self.probes.items()
                for one in probe.user_metrics
            }
        )

    def key_of(self, name: str) -> str:
        """Return the configuration key of a filter among the slices."""
        return "filter" if name == self.base_filter else f"evaluation.slices.{name}"


def build_components(config: TrainConfig, corpora: Corpora | None = None) -> Components:
    """Construct every object that the configuration names; no file is read yet.

    Args:
        config: The configuration of a cell.
        corpora: Loads the corpus; cells that share it load equal datasets once. A new one if `None`.
    """
    from winnow.evaluation import Probe
    from winnow.training import Masking, Model

    make = functools.partial(construct, allow=config.allow_targets)
    selection = make(config.filter, "filter", Selection)
    return Components(
        dataset=make(config.dataset, "dataset", Dataset),
        filter=selection,
        model=make(config.model, "model", Model),
        masking=make(config.masking, "masking", Masking),
        optimizer=make(config.optimizer, "optimizer"),
        trainer=make(config.trainer, "trainer"),
        store=make(config.tracking, "tracking", Store),
        probes={name: make(node, f"probe.{name}", Probe) for name, node in config.probe.items()},
        slices=_build_slices(config, selection),
        cache=config.output_dir / "cache",
        corpora=corpora or Corpora(),
    )


def _build_slices(config: TrainConfig, selection: Selection) -> dict[str, Filter]:
    """Construct the filters that name slices; the cell's own is the one that selects its rows."""
    own = _base_filter(selection)
    nodes = {**config.evaluation.slices, **filters_in(config.filter)}
    return {
        name: own
        if own is not None and name == own.name
        else construct(node, f"evaluation.slices.{name}", Filter, config.allow_targets)
        for name, node in nodes.items()
    }


def _base_filter(selection: Selection) -> Filter | None:
    """Return the filter whose verdicts a selection uses, if there is one."""
    if isinstance(selection, RandomMatched | LeaveOneOut):
        return selection.of
    return selection if isinstance(selection, Filter) else None


def filters_in(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return by name the configuration of the filter in a `filter` group: itself, or the one that a control is of."""
    if "of" in node:
        return filters_in(node["of"])
    return {str(node["name"]): dict(node)} if "keep" in node else {}


def check_components(components: Sequence[Components]) -> None:
    """Check that the files, columns, packages and models of some cells exist, and raise all errors together."""
    faults: list[WinnowError] = []
    for one in components:
        for key, component in (("dataset", one.dataset), ("filter", one.filter), ("model", one.model)):
            faults += [fault.under(key) for fault in component.check()]
        faults += [fault.under(f"probe.{name}") for name, probe in one.probes.items() for fault in probe.check()]
    if faults:
        raise WinnowErrors({str(fault): fault for fault in faults}.values())


def check_store(store: Store) -> None:
    """Raise where the store cannot be written, since then not even a failure can be kept."""
    if faults := store.check():
        raise WinnowErrors(fault.under("tracking") for fault in faults)


def cell_id(cell: Cell[TrainConfig], components: Components) -> str:
    """Return the name of a cell, its recipe and its seed: equal names mean equal results."""
    return fingerprint(recipe(cell, components), cell.config.seed)


def recipe(cell: Cell[TrainConfig], components: Components) -> str:
    """Return a fingerprint of what decides a cell's result but for its seed.

    That is the corpus, the filter, the model, the training and the evaluation. Folders, tracking, display, the study's
    name and which device computes are left out.
    """
    return fingerprint(
        {
            "version": __version__,
            "corpus": components.corpus.fingerprint,
            "arm": [components.filter.name, components.filter.fingerprint()],
            "slices": {name: filter_.fingerprint() for name, filter_ in components.slices.items()},
            "probes": {name: probe.fingerprint() for name, probe in components.probes.items()},
            "training": asdict(cell.config.training),
            "tf32": cell.config.arithmetic.tf32,  # who multiplies and what is compiled is about the machine
            "held_out": [getattr(cell.config.evaluation, key) for key in ("mask_seed", "max_rows", "pseudo_rows")],
            "trainer": {key: value for key, value in cell.config.trainer.items() if key not in MACHINE},
            **{key: getattr(cell.config, key) for key in ("model", "masking", "optimizer")},
        }
    )


def cell_folder(config: TrainConfig, name: str) -> Path:
    """Return where a cell keeps its checkpoint and its model."""
    return config.output_dir / config.study.name / "cells" / name


def device_of(components: Components) -> torch.device:
    """Return where the trainer will compute: `accelerator=auto` takes a CUDA device where there is one."""
    import torch

    wants_gpu = components.trainer.keywords["accelerator"] in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")
