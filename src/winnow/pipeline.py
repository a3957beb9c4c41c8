"""One run, from configuration to tracked scores; read it from top to bottom.

corpus -> verdicts -> training rows -> tokens -> base scores -> training -> scores -> record
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from rich.console import Console

from winnow import recording
from winnow.arithmetic import set_up_arithmetic
from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError
from winnow.fitting import drop_checkpoint, find_checkpoint, fit
from winnow.measurement import measure
from winnow.overview import print_overview
from winnow.parts import Parts, cell_folder, cell_id, check_parts, check_store, construct_parts
from winnow.preparation import Ready, prepare
from winnow.tracking import record, track

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def run_single(cell: Cell[TrainConfig], console: Console) -> dict[str, float]:
    """Run one cell on its own, outside any study, and return its final scores."""
    parts = construct_parts(cell.config)
    check_store(parts.store)
    scores = run_cell(cell, parts, console=console)
    primary = cell.config.study.primary_metric
    if primary in scores:
        console.print(f"\n{primary} {scores[primary]:+.3f}, test loss {scores['test/all/loss']:.3f}")
        console.print("See it beside other runs with: winnow ui")
    return scores


def run_cell(
    cell: Cell[TrainConfig], parts: Parts, parent: str | None = None, console: Console | None = None
) -> dict[str, float]:
    """Train and measure one cell, and keep it in the store.

    Args:
        cell: The configuration.
        parts: What :func:`construct_parts` made of it.
        parent: The study's run, where there is one.
        console: Where an overview and a progress bar are shown; `None` keeps quiet.

    Returns:
        The final scores by metric name.
    """
    config = cell.config
    if not _is_first_process():  # the others of a distributed training only train
        ready = prepare(config, parts)
        model = parts.model.load(ready.tokenizer, config.seed)
        set_up_arithmetic(config, parts, ready, model)
        fit(config, parts, ready, model, cell_id(cell, parts))
        return {}
    experiment = parts.store.experiment(config.study.name)
    tags = {
        record.KIND: "cell",
        record.STUDY: config.study.name,
        record.ARM: parts.filter.name,
        record.SEED: str(config.seed),
        record.MAX_STEPS: str(config.training.max_steps),
    }
    with track(parts.store, experiment, f"{parts.filter.name}, seed {config.seed}", tags, parent) as run:
        begun = time.monotonic()
        check_parts([parts])
        ready = prepare(config, parts)
        name = cell_id(cell, parts)
        model = _load_model(parts, ready, config.seed)
        find_checkpoint(config, model, name)  # a bad one is told of before any work
        recording.record_inputs(run, cell, parts, ready, name)
        recording.record_arithmetic(run, set_up_arithmetic(config, parts, ready, model))
        if console is not None:
            print_overview(console, config, parts, ready, model)
        before = measure(config, parts, ready, model)
        module = fit(config, parts, ready, model, name, run, progress=console is not None)
        after = measure(config, parts, ready, module.model)
        costs = {"tokens_seen": float(module.tokens_seen), "seconds": time.monotonic() - begun}
        folder = cell_folder(config, name)
        recording.record_results(run, ready, module.model, folder, before, after, costs)
    drop_checkpoint(config, name)
    return after.scores


def _load_model(parts: Parts, ready: Ready, seed: int) -> PreTrainedModel:
    try:
        return parts.model.load(ready.tokenizer, seed)
    except WinnowError as error:
        raise error.under("model") from error


def _is_first_process() -> bool:
    """Tell whether this process keeps the record."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
