"""Measure the cost of tracking a training run, compared with Lightning's `MLFlowLogger`, on this machine.

    python benchmarks/tracking.py --json benchmarks/results/NAME.json

A minimal training run logs three values per step. It is repeated in alternation without a logger, with Winnow's logger
and with Lightning's logger, each with a separate SQLite store in WAL mode. The time of a repetition is the CPU time of
the whole process, including background sending and the last flush. Each result is the median over the repetitions,
minus the median without logging. `per_step_ms` logs like `winnow.training.MaskedLanguageModule`: the values are read
from tensors and passed to `winnow.training.step_logging.log_step`. `by_self_log_per_step_ms` uses Winnow's logger with
three calls of Lightning's `self.log`; `lightning_per_step_ms` uses Lightning's logger with the same calls.
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
from winnow.tracking.lightning_logger import RunLogger
from winnow.tracking.run_environment import describe_hardware
from winnow.training.progress import silence_libraries
from winnow.training.step_logging import log_step

STEPS, VALUES = 2000, ("train/loss", "train/tokens", "train/learning_rate")
LoggerFactory = Callable[[Store], AbstractContextManager[Any]]
LogMethod = Literal["nothing", "log_step", "self.log"]


class MinimalModule(pl.LightningModule):
    """Trains one weight and logs three values per step."""

    def __init__(self, method: LogMethod) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.method = method
        self.values = torch.zeros(len(VALUES), dtype=torch.float64)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return a loss."""
        return self.weight.sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the values in the same hook as the real module."""
        self.values += 1
        if self.method == "log_step":
            log_step(self.trainer, dict(zip(VALUES, self.values.tolist(), strict=True)), self.global_step)
        elif self.method == "self.log":
            for name, value in zip(VALUES, self.values, strict=True):
                self.log(name, value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


@contextmanager
def winnow_logger(store: Store) -> Any:
    """Yield Winnow's logger for a new tracked run."""
    with track(store, store.experiment("winnow"), "run", {}) as run:
        yield RunLogger(run)


def lightning_logger(store: Store) -> AbstractContextManager[Any]:
    """Return Lightning's logger for the same kind of store."""
    store.client()
    return nullcontext(MLFlowLogger("lightning", tracking_uri=store.tracking_uri))


def run_training(create_logger: LoggerFactory | None, method: LogMethod, steps: int) -> float:
    """Return the CPU milliseconds per step."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder, spool=f"{folder}/unsent")
        store.experiment("created before the measurement")
        data = DataLoader(torch.zeros(steps, 1), batch_size=1)
        started = time.process_time()
        with create_logger(store) if create_logger else nullcontext(False) as logger:
            trainer = pl.Trainer(
                max_steps=steps,
                logger=logger,
                log_every_n_steps=1,
                accelerator="cpu",
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(MinimalModule(method), data)
        return (time.process_time() - started) / steps * 1000


def measure(repetitions: int, steps: int) -> dict[str, Any]:
    """Run all loggers in alternation; return the time that each adds per step."""
    loggers: dict[str, tuple[LoggerFactory | None, LogMethod]] = {
        "no logger": (None, "nothing"),
        "winnow": (winnow_logger, "log_step"),
        "winnow by self.log": (winnow_logger, "self.log"),
        "lightning": (lightning_logger, "self.log"),
    }
    run_training(None, "nothing", 50)  # the first run of a process imports libraries
    times: dict[str, list[float]] = {name: [] for name in loggers}
    for _ in range(repetitions):
        for name, (create_logger, method) in loggers.items():
            times[name].append(run_training(create_logger, method, steps))
    added = {name: statistics.median(values) - statistics.median(times["no logger"]) for name, values in times.items()}
    return {
        "per_step_ms": added["winnow"],
        "by_self_log_per_step_ms": added["winnow by self.log"],
        "lightning_per_step_ms": added["lightning"],
        "ratio": added["lightning"] / added["winnow"],
        "goal_per_step_ms": 0.5,
        "steps": steps,
        "values_per_step": len(VALUES),
        "turns_per_step_ms": times,
        "machine": describe_hardware(),
    }


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="output file for the results")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    silence_libraries()
    results = measure(options.turns, options.steps)
    for name in ("per_step_ms", "by_self_log_per_step_ms", "lightning_per_step_ms"):
        print(f"{name:<26} {results[name]:8.3f}")
    print(
        f"goal                       {results['goal_per_step_ms']:8.3f}    ratio to Lightning's {results['ratio']:.1f}"
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
