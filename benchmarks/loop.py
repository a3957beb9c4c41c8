"""Measure the overhead of the training loop: Lightning, tracking and the progress bar, on this machine.

    python benchmarks/loop.py --json benchmarks/results/NAME.json

A cell with the demo's defaults is trained in alternation by a bare loop (batch, forward, backward, clipping, optimizer,
scheduler) and by Winnow's loop: Lightning's trainer with all callbacks, a run in a SQLite store, and the progress bar.
Both run the same computation on the same rows. The time of a step is the CPU time of the whole process, including
background requests to the store but not validation and checkpoints. `share` is the relative overhead per step, as the
median over the repetitions. `scratch` is the demo's model; `distilbert_shape` has the layers and width of DistilBERT.
Both use the demo's tokenizer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback

from winnow.config import TrainConfig, compose_cells
from winnow.run.checkpoint_files import remove_checkpoints
from winnow.run.fit import fit
from winnow.run.run_components import build_components
from winnow.run.run_inputs import RunInputs, load_inputs
from winnow.tracking import track
from winnow.tracking.run_environment import describe_hardware
from winnow.training import TrainingBatches, masked_lm_loss_sum
from winnow.training.optimization import build_parameter_groups, build_schedule

MODELS = {
    "scratch": ([], 120, 0.10),
    "distilbert_shape": (["model.layers=6", "model.hidden_size=768", "model.heads=12"], 8, 0.03),
}
"""For each model: overrides, steps per repetition, and the allowed relative overhead."""


class StepTimer(Callback):
    """Records the CPU time at the end of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Record the current CPU time."""
        self.times.append(time.process_time())


def run_bare_loop(inputs: RunInputs, steps: int) -> list[float]:
    """Return the CPU seconds of each step of a bare loop."""
    config, components = inputs.config, inputs.components
    model = components.model.load(inputs.tokenizer, config.seed).train()
    batches = TrainingBatches(inputs.train_tokens, inputs.masking, config.seed, config.training.batch_size, steps)
    optimizer = components.optimizer(build_parameter_groups(model))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, build_schedule(config.training.scheduler, config.training.warmup_fraction, steps)
    )
    times = []
    for step in range(steps):
        loss, masked = masked_lm_loss_sum(model, batches[step], config.training.forward)
        (loss / masked).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.gradient_clip)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        times.append(time.process_time())
    return intervals(times)


def run_winnow_loop(inputs: RunInputs, steps: int) -> list[float]:
    """Return the CPU seconds of each step of a tracked run with a progress bar."""
    components, timer = inputs.components, StepTimer()
    fresh_inputs = replace(inputs, model=components.model.load(inputs.tokenizer, inputs.config.seed))
    with track(components.store, components.store.experiment("loop"), "loop", {}) as run:
        fit(fresh_inputs, run, callbacks=[timer], progress=True)
    remove_checkpoints(inputs.folder)
    return intervals(timer.times)


def intervals(times: list[float]) -> list[float]:
    """Return the seconds between consecutive times, without the first step, which is a warm-up."""
    return [end - start for start, end in itertools.pairwise(times[1:])]


def measure(overrides: list[str], steps: int, repetitions: int) -> dict[str, float]:
    """Run both loops in alternation; return their time per step."""
    budget = [f"training.max_steps={steps}", f"training.validate_every_steps={steps}", "training.max_minutes=null"]
    cells, _ = compose_cells("train", TrainConfig, ["filter=full", *budget, *overrides])
    inputs = load_inputs(cells[0], build_components(cells[0].config))
    means: dict[str, list[float]] = {"bare": [], "looped": []}
    for repetition in range(repetitions + 1):
        for name, run in (("bare", run_bare_loop), ("looped", run_winnow_loop)):
            seconds = run(inputs, steps)
            if repetition:  # the first repetition imports libraries
                # Use the mean, because the progress bar and the store are not active in the median step.
                means[name].append(statistics.mean(seconds))
    least = {name: min(values) for name, values in means.items()}
    typical = {name: statistics.median(values) for name, values in means.items()}
    return {
        "bare_ms": 1000 * typical["bare"],
        "looped_ms": 1000 * typical["looped"],
        "share": typical["looped"] / typical["bare"] - 1,
        "share_of_least": least["looped"] / least["bare"] - 1,
    }


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    target = options.json.resolve() if options.json else None
    os.chdir(tempfile.mkdtemp())
    results: dict[str, Any] = {"hardware": describe_hardware()}
    for name, (overrides, steps, goal) in MODELS.items():
        results[name] = {**measure(overrides, steps, options.turns), "goal_share": goal, "steps_in_a_turn": steps}
    print(json.dumps(results, indent=2))
    if target:
        target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
