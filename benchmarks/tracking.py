"""What it costs to track a training, beside Lightning's own `MLFlowLogger`, on this machine.

    python benchmarks/tracking.py --json benchmarks/results/NAME.json

A training that does next to nothing logs three values at every step. It runs in turns without a logger, with
Winnow's, and with Lightning's own, each into a sqlite store of its own in WAL mode. A turn is timed in CPU seconds of
the whole process, sending in the background and the last flush included; each figure is the median over the turns, less
the median of turns that log nothing. `per_step_ms` logs as `winnow.training.MaskedLanguageModule` does: the values are
read from tensors and go through `winnow.training.step_logging.log_step`. `by_self_log_per_step_ms` is Winnow's logger
behind three calls of Lightning's `self.log`; `lightning_per_step_ms` is Lightning's logger behind the same calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import MLFlowLogger
from torch.utils.data import DataLoader

from winnow.tracking import Store, track
from winnow.tracking.environment import hardware
from winnow.tracking.lightning_logger import RunLogger
from winnow.training.progress import silence_libraries
from winnow.training.step_logging import log_step

STEPS, VALUES = 2000, ("train/loss", "train/tokens", "train/learning_rate")
Contestant = Callable[[Store], AbstractContextManager[Any]]
Way = Literal["nothing", "log_step", "self.log"]


class Idle(pl.LightningModule):
    """Trains one weight and logs three values at every step."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.way = way
        self.values = torch.zeros(len(VALUES), dtype=torch.float64)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return a loss."""
        return self.weight.sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log, where the real module does."""
        self.values += 1
        if self.way == "log_step":
            log_step(self.trainer, dict(zip(VALUES, self.values.tolist(), strict=True)), self.global_step)
        elif self.way == "self.log":
            for name, value in zip(VALUES, self.values, strict=True):
                self.log(name, value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain descent."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


@contextmanager
def winnow(store: Store) -> Any:
    """Winnow's logger on a run that it begins and ends."""
    with track(store, store.experiment("winnow"), "run", {}) as run:
        yield RunLogger(run)


def lightning(store: Store) -> AbstractContextManager[Any]:
    """Lightning's own logger on the same kind of store."""
    store.client()
    return nullcontext(MLFlowLogger("lightning", tracking_uri=store.tracking_uri))


def turn(contestant: Contestant | None, way: Way, steps: int) -> float:
    """Return the CPU milliseconds of one step."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder, spool=f"{folder}/unsent")
        store.experiment("made before the clock starts")
        data = DataLoader(torch.zeros(steps, 1), batch_size=1)
        begun = time.process_time()
        with contestant(store) if contestant else nullcontext(False) as logger:
            trainer = pl.Trainer(
                max_steps=steps,
                logger=logger,
                log_every_n_steps=1,
                accelerator="cpu",
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(Idle(way), data)
        return (time.process_time() - begun) / steps * 1000


def measure(turns: int, steps: int) -> dict[str, Any]:
    """Let the contestants take turns and return what each adds to a step."""
    contestants: dict[str, tuple[Contestant | None, Way]] = {
        "no logger": (None, "nothing"),
        "winnow": (winnow, "log_step"),
        "winnow by self.log": (winnow, "self.log"),
        "lightning": (lightning, "self.log"),
    }
    turn(None, "nothing", 50)  # the first training of a process loads libraries
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, (contestant, way) in contestants.items():
            times[name].append(turn(contestant, way, steps))
    added = {name: statistics.median(found) - statistics.median(times["no logger"]) for name, found in times.items()}
    return {
        "per_step_ms": added["winnow"],
        "by_self_log_per_step_ms": added["winnow by self.log"],
        "lightning_per_step_ms": added["lightning"],
        "ratio": added["lightning"] / added["winnow"],
        "goal_per_step_ms": 0.5,
        "steps": steps,
        "values_per_step": len(VALUES),
        "turns_per_step_ms": times,
        "machine": hardware(),
    }


def main() -> None:
    """Measure, print and, where asked, write a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    silence_libraries()
    found = measure(options.turns, options.steps)
    for name in ("per_step_ms", "by_self_log_per_step_ms", "lightning_per_step_ms"):
        print(f"{name:<26} {found[name]:8.3f}")
    print(f"goal                       {found['goal_per_step_ms']:8.3f}    ratio to Lightning's {found['ratio']:.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
