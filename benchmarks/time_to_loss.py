"""Benchmark the CPU seconds that Winnow needs to reach the held-out loss of Hugging Face's `Trainer`.

    python benchmarks/time_to_loss.py --json benchmarks/results/NAME.json

Both train a model from scratch on the same rows, with the same architecture, initial weights, tokenizer and number of
threads, on two corpora: `demo`, the demo's corpus and model, and `wikitext`, the lines of WikiText-2 with the default
model. `Trainer` uses its collator, dynamic padding, AdamW and linear schedule, the batch size of Winnow's default, and
each learning rate of a grid. The rate with the lowest held-out loss after the last step is trained with all seeds. The
target is the mean of these losses. Winnow trains with its own settings (the demo's, or the defaults; `--recipe` adds
overrides) for the same number of steps; its time is the CPU time at which the held-out loss first reaches the target,
linearly interpolated between evaluations. Use `--split validation` to choose a recipe; the default is the test split.

The held-out loss is the mean over all masked tokens of the held-out rows, with fixed masks, the same for both. Times
count from the start of training in one process and include collation, Lightning's loop and the first step, but not the
evaluations, tokenization and the selection of matmul backends. `ratio` is the geometric mean over the seeds of the
time of `Trainer` divided by Winnow's, and `interval` its 95% t interval on the log scale. Requires the extra
`benchmarks`.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from pytorch_lightning.callbacks import Callback
from scipy.stats import t
from transformers import TrainerCallback

from training import build_trainer
from winnow.config import TrainConfig, compose_cells
from winnow.run.checkpoint_files import remove_checkpoints
from winnow.run.fit import fit
from winnow.run.run_components import build_components
from winnow.run.run_inputs import RunInputs, load_inputs
from winnow.tracking.run_environment import describe_hardware
from winnow.training import HeldOutBatches, Masking, TokenRows, masked_lm_loss_sum
from winnow.training.progress import silence_libraries


@dataclass(frozen=True)
class Corpus:
    """A corpus, its model and the settings of both methods.

    Attributes:
        overrides: Overrides of the configuration for the rows, the model and Winnow's run.
        steps: Optimizer steps of both methods.
        batch_size: Rows per step of `Trainer`.
        rates: Grid of learning rates of `Trainer`.
        recipe: Further overrides of Winnow's run.
        data: Folder that contains the files of the corpus.
        split: The held-out split that is evaluated.
    """

    overrides: tuple[str, ...]
    steps: int
    batch_size: int
    rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3)
    recipe: tuple[str, ...] = ()
    data: str = "data"
    split: str = "test"


LOSS = "test/all/loss"
CORPORA = {
    "demo": Corpus(("experiment=demo",), 600, 64),
    "wikitext": Corpus(
        ("dataset=wikitext_2", "training.batch_size=16", "model.dropout=0", "probe=[]", f"study.primary_metric={LOSS}"),
        300,
        16,
    ),
}

Evaluation = tuple[int, float, float]
"""The step, the CPU seconds since the start of training, and the held-out loss."""

Curve = list[Evaluation]
"""The evaluations of a run."""


class Evaluations:
    """Evaluates a model on held-out rows, and measures CPU time without the evaluations."""

    def __init__(self, rows: TokenRows) -> None:
        self.batches = list(HeldOutBatches(rows, Masking(), 0, 64))
        self.curve: Curve = []

    def start(self) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def evaluate(self, model: Any, step: int) -> float:
        """Add an evaluation to the curve, and return the held-out loss."""
        stopped = time.process_time()
        was_training = model.training
        model.eval()
        with torch.no_grad():
            sums = [masked_lm_loss_sum(model, batch) for batch in self.batches]
        model.train(was_training)
        loss = sum(float(loss) for loss, _ in sums) / sum(float(masked) for _, masked in sums)
        self.curve.append((step, stopped - self._start, loss))
        self._start += time.process_time() - stopped
        return loss


def load(corpus: Corpus, seed: int, overrides: Sequence[str] = ()) -> RunInputs:
    """Return the rows, the tokenizer and a new model of a corpus."""
    arguments = [*corpus.overrides, "filter=full", f"seed={seed}", f"data_dir={corpus.data}", "numerics.threads=1"]
    cells, _ = compose_cells("train", TrainConfig, [*arguments, *overrides])
    return load_inputs(cells[0], build_components(cells[0].config))


def train_with_transformers(corpus: Corpus, rate: float, seed: int) -> Curve:
    """Train with Hugging Face's `Trainer`, and return the evaluation after the last step."""

    class Evaluate(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            evaluations.start()

        def on_step_end(self, _: Any, state: Any, *args: Any, **kwargs: Any) -> None:
            if state.global_step == corpus.steps:
                evaluations.evaluate(kwargs["model"], state.global_step)

    inputs = load(corpus, seed)
    evaluations = Evaluations(inputs.held_out[corpus.split].tokens)
    settings = {"learning_rate": rate, "seed": seed}
    rows, batch_size, callbacks = inputs.train_tokens, corpus.batch_size, [Evaluate()]
    build_trainer(inputs.model, inputs.tokenizer, rows, corpus.steps, batch_size, callbacks, **settings).train()
    return evaluations.curve


def train_with_winnow(corpus: Corpus, seed: int, target: float = -math.inf, every: int = 5) -> Curve:
    """Train with Winnow, and return an evaluation every few steps, until one reaches the target."""

    class Evaluate(Callback):
        def on_train_start(self, *args: Any) -> None:
            evaluations.start()

        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            step = trainer.global_step
            if step % every == 0 or step == trainer.max_steps:
                trainer.should_stop |= evaluations.evaluate(module.model, step) <= target

    steps = (f"training.max_steps={corpus.steps}", "training.validate_every_steps=1000000")
    inputs = load(corpus, seed, (*steps, *corpus.recipe))
    evaluations = Evaluations(inputs.held_out[corpus.split].tokens)
    fit(inputs, callbacks=[Evaluate()])
    remove_checkpoints(inputs.folder)
    return evaluations.curve


def interpolate(curve: Curve, target: float) -> tuple[float, float] | None:
    """Return the CPU seconds and the step at which the loss first reaches the target, or `None` if it does not."""
    before: Evaluation | None = None
    for step, seconds, loss in curve:
        if loss <= target:
            if before is None:
                return seconds, step
            share = (before[2] - target) / (before[2] - loss)
            return before[1] + share * (seconds - before[1]), before[0] + share * (step - before[0])
        before = (step, seconds, loss)
    return None


def estimate_ratio(baseline: Sequence[float], winnow: Sequence[float]) -> tuple[float, list[float]]:
    """Return the geometric mean of the ratios of paired times, and its 95% interval."""
    logs = np.log(baseline) - np.log(winnow)
    if len(logs) < 2:
        return float(np.exp(logs.mean())), []
    half = t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return float(np.exp(logs.mean())), [float(np.exp(logs.mean() + sign * half)) for sign in (-1, 1)]


def measure(corpus: Corpus, pool: ProcessPoolExecutor, seeds: int) -> dict[str, Any]:
    """Return the losses and times of both methods on a corpus."""

    def train_baseline(rates: Sequence[float], seeds: Sequence[int]) -> dict[tuple[float, int], Evaluation]:
        curves = {
            (rate, seed): pool.submit(train_with_transformers, corpus, rate, seed) for rate in rates for seed in seeds
        }
        return {key: curve.result()[-1] for key, curve in curves.items()}

    finals = train_baseline(corpus.rates, range(1, min(seeds, 2) + 1))
    best = min(corpus.rates, key=lambda rate: summarize(finals, rate)["loss"])
    finals |= train_baseline([best], range(3, seeds + 1))
    target = summarize(finals, best)["loss"]
    baseline_seconds = [finals[best, seed][1] for seed in range(1, seeds + 1)]
    curves = [pool.submit(train_with_winnow, corpus, seed, target) for seed in range(1, seeds + 1)]
    reached = [interpolate(curve.result(), target) for curve in curves]
    result: dict[str, Any] = {
        "settings": asdict(corpus),
        "trainer": {
            "rates": {f"{rate:g}": summarize(finals, rate) for rate in corpus.rates},
            "best_rate": best,
            "loss": target,
            "seconds": baseline_seconds,
        },
        "winnow": {
            "seconds": [None if point is None else point[0] for point in reached],
            "steps": [None if point is None else point[1] for point in reached],
            "last_losses": [curve.result()[-1][2] for curve in curves],
        },
        "ratio": None,  # if a seed does not reach the target
    }
    if None not in reached:
        winnow_seconds = [point[0] for point in reached if point is not None]
        result["ratio"], result["interval"] = estimate_ratio(baseline_seconds, winnow_seconds)
    return result


def summarize(finals: dict[tuple[float, int], Evaluation], rate: float) -> dict[str, Any]:
    """Return the mean loss, the mean time and the number of seeds of a learning rate of `Trainer`."""
    runs = [final for (other, _), final in finals.items() if other == rate]
    return {
        "loss": statistics.mean(run[2] for run in runs),
        "seconds": statistics.mean(run[1] for run in runs),
        "seeds": len(runs),
    }


def start_worker(folder: str) -> None:
    """Prepare a worker process."""
    os.chdir(folder)
    torch.set_num_threads(1)
    silence_libraries()
    transformers.utils.logging.set_verbosity_error()


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="output file for the results")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument("--seeds", type=int, default=5, help="seeds per method; the grid uses the first two")
    parser.add_argument("--steps-factor", type=int, default=1, help="factor for the number of steps of both methods")
    parser.add_argument("--recipe", nargs="*", default=[], metavar="OVERRIDE", help="overrides of Winnow's runs")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="held-out split")
    parser.add_argument("--jobs", type=int, default=2, help="processes, with one thread each")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("../shared/data"),
        help="folder with wikitext-2/*.txt (default: %(default)s)",
    )
    options = parser.parse_args()
    if "wikitext" in options.corpora and not any((options.data_dir / "wikitext-2").glob("*.txt")):
        parser.error(
            f"{options.data_dir}/wikitext-2 contains no .txt file. Set --data-dir to a folder with the text files of "
            "WikiText-2, or measure only --corpora demo."
        )
    results: dict[str, Any] = {
        "hardware": describe_hardware(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.jobs, context, start_worker, (folder,)) as pool,
    ):
        for name in options.corpora:
            corpus = replace(
                CORPORA[name],
                steps=CORPORA[name].steps * options.steps_factor,
                recipe=tuple(options.recipe),
                data=str(options.data_dir.resolve()),
                split=options.split,
            )
            results[name] = measure(corpus, pool, options.seeds)
            print(json.dumps({name: results[name]}, indent=2), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
