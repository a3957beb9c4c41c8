"""What the loop around a training step costs: Lightning, tracking and the progress bar together, on this machine.

    python benchmarks/loop.py --json benchmarks/results/NAME.json

A cell with the demo's defaults is trained in turns by a bare loop (batch, forward, backward, clipping, optimizer,
schedule) and by `winnow` as it trains a cell: Lightning's trainer with all of its callbacks, a run in a sqlite store,
and the bar. Both do the same arithmetic on the same rows. A step is timed in CPU seconds of the whole process, what is
sent to the store in the background included; looks at the validation loss and checkpoints are not steps and are left
out. `share` is what the loop adds to a bare step, in the median turn. `scratch` is the demo's own model,
`distilbert_shape` one with DistilBERT's layers and width; the tokenizer is the demo's.
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
from winnow.run.components import build_components
from winnow.run.fit import fit
from winnow.run.inputs import RunInputs, load_inputs
from winnow.tracking import track
from winnow.tracking.environment import hardware
from winnow.training import TrainingBatches, masked_lm_loss_sum
from winnow.training.optimization import build_schedule, parameter_groups

MODELS = {
    "scratch": ([], 120, 0.10),
    "distilbert_shape": (["model.layers=6", "model.hidden_size=768", "model.heads=12"], 8, 0.03),
}
"""For each model: overrides, steps in a turn, and the share that the loop may add."""


class Ticks(Callback):
    """Notes the CPU time at the end of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Note the time now."""
        self.times.append(time.process_time())


def bare(inputs: RunInputs, steps: int) -> list[float]:
    """Return the CPU seconds of each step of a loop that does nothing else."""
    config, components = inputs.config, inputs.components
    model = components.model.load(inputs.tokenizer, config.seed).train()
    batches = TrainingBatches(inputs.train_tokens, inputs.masking, config.seed, config.training.batch_size, steps)
    optimizer = components.optimizer(parameter_groups(model))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, build_schedule(config.training.scheduler, config.training.warmup_fraction, steps)
    )
    times = []
    for step in range(steps):
        loss, masked = masked_lm_loss_sum(model, batches[step], config.training.forward)
        (loss / masked).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.gradient_clip)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        times.append(time.process_time())
    return intervals(times)


def looped(inputs: RunInputs, steps: int) -> list[float]:
    """Return the CPU seconds of each step of a tracked training with a bar."""
    components, ticks = inputs.components, Ticks()
    fresh = replace(inputs, model=components.model.load(inputs.tokenizer, inputs.config.seed))
    with track(components.store, components.store.experiment("loop"), "loop", {}) as run:
        fit(fresh, run, callbacks=[ticks], progress=True)
    remove_checkpoints(inputs.folder)
    return intervals(ticks.times)


def intervals(times: list[float]) -> list[float]:
    """Return the seconds between moments, the first of which warms up."""
    return [later - sooner for sooner, later in itertools.pairwise(times[1:])]


def measure(overrides: list[str], steps: int, turns: int) -> dict[str, float]:
    """Let both take turns; return their seconds a step."""
    budget = [f"training.max_steps={steps}", f"training.validate_every_steps={steps}", "training.max_minutes=null"]
    cells, _ = compose_cells("train", TrainConfig, ["filter=full", *budget, *overrides])
    inputs = load_inputs(cells[0], build_components(cells[0].config))
    seen: dict[str, list[float]] = {"bare": [], "looped": []}
    for turn in range(turns + 1):
        for name, run in (("bare", bare), ("looped", looped)):
            found = run(inputs, steps)
            if turn:  # the first turn loads libraries
                # The mean, for the bar and the store are at work now and then rather than in the median step.
                seen[name].append(statistics.mean(found))
    least = {name: min(each) for name, each in seen.items()}
    typical = {name: statistics.median(each) for name, each in seen.items()}
    return {
        "bare_ms": 1000 * typical["bare"],
        "looped_ms": 1000 * typical["looped"],
        "share": typical["looped"] / typical["bare"] - 1,
        "share_of_least": least["looped"] / least["bare"] - 1,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    target = options.json.resolve() if options.json else None
    os.chdir(tempfile.mkdtemp())
    found: dict[str, Any] = {"hardware": hardware()}
    for name, (overrides, steps, goal) in MODELS.items():
        found[name] = {**measure(overrides, steps, options.turns), "goal_share": goal, "steps_in_a_turn": steps}
    print(json.dumps(found, indent=2))
    if target:
        target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
