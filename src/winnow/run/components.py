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
from winnow.filters import Filter, RandomMatched, Selection, Without
from winnow.tracking import Store

if TYPE_CHECKING:
    import torch

    from winnow.evaluation import Probe
    from winnow.training import Masking, Model


DECIDED_BY_TRAINING = {
    "max_steps": "training.max_steps",
    "max_epochs": "training.max_steps, since the budget is in steps",
    "accumulate_grad_batches": "training.accumulate_batches",
    "gradient_clip_val": "training.gradient_clip",
    "val_check_interval": "training.validate_every_steps",
    "check_val_every_n_epoch": "training.validate_every_steps",
    "max_time": "training.max_steps, since every arm has the same budget",
    "min_steps": "training.max_steps, since every arm has the same budget",
    "min_epochs": "training.max_steps, since every arm has the same budget",
    "fast_dev_run": "debug=fast_dev_run",
    "log_every_n_steps": "training.validate_every_steps",
    "num_sanity_val_steps": "Winnow, which needs none",
    "use_distributed_sampler": "Winnow, whose batches are shared out already",
    "enable_model_summary": "Winnow, which prints the model's size itself",
    "enable_progress_bar": "Winnow, which draws one for a single run",
    "default_root_dir": "output_dir",
    "callbacks": "Winnow itself",
    "plugins": "Winnow, which writes checkpoints whole; precision and strategy have keys of their own",
    "logger": "the group tracking",
}
"""Arguments of Lightning's trainer that are not the user's to give, each with what decides instead."""

MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "profiler")
"""Arguments of the trainer that say where a run computes, and are no part of what it computes."""


@dataclass(frozen=True)
class Parts:
    """What the groups of a training configuration become.

    `slices` holds the filters whose verdicts name slices of the held-out rows: those of the study, and this cell's own.
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

    @property
    def judge(self) -> str:
        """The name of the filter whose verdicts choose the training rows; a control goes by the one it is of."""
        return self.filter.of.name if isinstance(self.filter, RandomMatched | Without) else self.filter.name

    def key_of(self, name: str) -> str:
        """Return where in the configuration a filter among the slices stands."""
        return "filter" if name == self.judge else f"evaluation.slices.{name}"


def construct_parts(config: TrainConfig) -> Parts:
    """Make every object that the configuration names; no file is read yet."""
    from winnow.evaluation import Probe
    from winnow.training import Masking, Model

    _refuse_what_training_decides(config.trainer)
    make = functools.partial(construct, allow=config.allow_targets)
    slices = {**config.evaluation.slices, **filters_in(config.filter)}
    return Parts(
        dataset=make(config.dataset, "dataset", Dataset),
        filter=make(config.filter, "filter", Selection),
        model=make(config.model, "model", Model),
        masking=make(config.masking, "masking", Masking),
        optimizer=make({**config.optimizer, "_partial_": True}, "optimizer"),
        trainer=make({**config.trainer, "_partial_": True}, "trainer"),
        store=make(config.tracking, "tracking", Store),
        probes={name: make(node, f"probe.{name}", Probe) for name, node in config.probe.items()},
        slices={name: make(node, f"evaluation.slices.{name}", Filter) for name, node in slices.items()},
    )


def _refuse_what_training_decides(trainer: Mapping[str, Any]) -> None:
    """Raise where `trainer` sets what `training` decides: Lightning would follow one and the user read the other."""
    faults = [
        WinnowError(f"this is decided by {instead}. Set that, and leave this out.", f"trainer.{name}")
        for name, instead in DECIDED_BY_TRAINING.items()
        if name in trainer
    ]
    if faults:
        raise WinnowErrors(faults)


def filters_in(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return by name the filter that judges rows for a `filter` group: itself, or the one that a control matches."""
    if "of" in node:
        return filters_in(node["of"])
    return {str(node["name"]): dict(node)} if "keep" in node else {}


def check_parts(parts: Sequence[Parts]) -> None:
    """Look at the world that the parts need (files, columns, models) and raise all that is wrong with it at once."""
    faults: list[WinnowError] = []
    for one in parts:
        for key, part in (("dataset", one.dataset), ("filter", one.filter), ("model", one.model)):
            faults += [fault.under(key) for fault in part.check()]
        faults += [fault.under(f"probe.{name}") for name, probe in one.probes.items() for fault in probe.check()]
    if faults:
        raise WinnowErrors({str(fault): fault for fault in faults}.values())


def check_store(store: Store) -> None:
    """Raise where the store cannot be written, since then not even a failure can be kept."""
    if faults := store.check():
        raise WinnowErrors(fault.under("tracking") for fault in faults)


def load_corpus(dataset: Dataset, cache: Path) -> Corpus:
    """Return the corpus of a dataset, made once per cache."""
    try:
        return dataset.load(cache)
    except WinnowError as error:
        raise error.under("dataset") from error


def cell_id(cell: Cell[TrainConfig], parts: Parts) -> str:
    """Return the name of a cell, its recipe and its seed: equal names mean equal results."""
    return fingerprint(recipe(cell, parts), cell.config.seed)


def recipe(cell: Cell[TrainConfig], parts: Parts) -> str:
    """Return a fingerprint of what decides a cell's result but for its seed.

    That is the corpus, the filter, the model, the training and the evaluation. Folders, tracking, display, the study's
    name and which device computes are left out.
    """
    corpus = load_corpus(parts.dataset, cell.config.output_dir / "cache")
    return fingerprint(
        {
            "version": __version__,
            "corpus": corpus.fingerprint,
            "arm": [parts.filter.name, parts.filter.fingerprint()],
            "slices": {name: filter_.fingerprint() for name, filter_ in parts.slices.items()},
            "probes": {name: probe.fingerprint() for name, probe in parts.probes.items()},
            "training": asdict(cell.config.training),
            "tf32": cell.config.arithmetic.tf32,  # who multiplies and what is compiled is about the machine
            "held_out": [getattr(cell.config.evaluation, key) for key in ("mask_seed", "max_rows", "pseudo_rows")],
            "trainer": {key: value for key, value in cell.tree["trainer"].items() if key not in MACHINE},
            **{key: cell.tree[key] for key in ("model", "masking", "optimizer")},
        }
    )


def cell_folder(config: TrainConfig, name: str) -> Path:
    """Return where a cell keeps its checkpoint and its model."""
    return config.output_dir / config.study.name / "cells" / name


def device_of(parts: Parts) -> torch.device:
    """Return where the trainer will compute: `accelerator=auto` takes a CUDA device where there is one."""
    import torch

    wants_gpu = parts.trainer.keywords.get("accelerator", "auto") in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")
