"""Benchmark the CPU seconds that Winnow needs to reach the held-out loss of Hugging Face's `Trainer`.

    python benchmarks/time_to_loss.py --json benchmarks/results/NAME.json

Both train a model from scratch on the same rows, with the same architecture, initial weights, tokenizer and number of
threads, on two corpora: `demo`, the demo's corpus and model, and `wikitext`, the lines of WikiText-2 with the default
model. `Trainer` uses its collator, dynamic padding, AdamW and linear schedule, the batch size of Winnow's default, and
each learning rate of a grid. The rate with the lowest held-out loss after the last step is trained with all seeds. The
target is the mean of these losses. Winnow trains with the settings in `CORPORA` for the same number of steps or fewer;
its time is the CPU time at which the held-out loss first reaches the target, linearly interpolated between evaluations.

The held-out loss is the mean over all masked tokens of the test rows, with fixed masks, the same for both. Times count
from the start of training in one process and include collation, Lightning's loop and the first step, but not the
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
from dataclasses import asdict, dataclass
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
        shared: Overrides of the rows and the model.
        steps: Optimizer steps of `Trainer`.
        batch_size: Rows per step of `Trainer`.
        rates: Grid of learning rates of `Trainer`.
        recipe: Overrides of Winnow's run.
    """

    shared: tuple[str, ...]
    steps: int
    batch_size: int
    rates: tuple[float, ...]
    recipe: tuple[str, ...]


CORPORA = {
    "demo": Corpus(
        ("experiment=demo", "filter=full"),
        600,
        64,
        (1e-3, 2e-3, 4e-3, 8e-3),
        ("optimizer=muon",),
    ),
    "wikitext": Corpus(
        ("dataset=wikitext_2", "filter=full", "probe=[]", "study.primary_metric=test/all/loss", "model.dropout=0"),
        300,
        16,
        (1e-3, 2e-3, 4e-3, 8e-3),
        ("optimizer=muon", "training.batch_size=16"),
    ),
}

Curve = list[tuple[int, float, float]]
"""Step, CPU seconds since the start of training, and held-out loss of each evaluation."""


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


def load(corpus: str, overrides: tuple[str, ...], seed: int, data: str) -> RunInputs:
    """Return the rows, the tokenizer and a new model of a corpus."""
    arguments = [*CORPORA[corpus].shared, *overrides, f"seed={seed}", f"data_dir={data}", "training.max_length=128"]
    cells, _ = compose_cells("train", TrainConfig, [*arguments, "numerics.threads=1"])
    return load_inputs(cells[0], build_components(cells[0].config))


def train_with_transformers(corpus: str, rate: float, seed: int, data: str, split: str = "test") -> Curve:
    """Train with Hugging Face's `Trainer`, and return the evaluation after the last step."""

    class Evaluate(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            evaluations.start()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            state = args[1]
            if state.global_step == settings.steps:
                evaluations.evaluate(kwargs["model"], state.global_step)

    settings, inputs = CORPORA[corpus], load(corpus, (), seed, data)
    model = inputs.components.model.load(inputs.tokenizer, seed)
    evaluations = Evaluations(inputs.held_out[split].tokens)
    build_trainer(
        model,
        inputs.tokenizer,
        inputs.train_tokens,
        settings.steps,
        settings.batch_size,
        [Evaluate()],
        learning_rate=rate,
        seed=seed,
    ).train()
    return evaluations.curve


def train_with_winnow(
    corpus: str,
    recipe: Sequence[str],
    seed: int,
    data: str,
    target: float = -math.inf,
    every: int = 5,
    split: str = "test",
) -> Curve:
    """Train with Winnow, and return an evaluation every few steps, until one reaches the target."""

    class Evaluate(Callback):
        def on_train_start(self, *args: Any) -> None:
            evaluations.start()

        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            step = trainer.global_step
            if step % every == 0 or step == trainer.max_steps:
                trainer.should_stop |= evaluations.evaluate(module.model, step) <= target

    steps = f"training.max_steps={CORPORA[corpus].steps}"
    inputs = load(corpus, (steps, "training.validate_every_steps=1000000", *recipe), seed, data)
    remove_checkpoints(inputs.folder)
    evaluations = Evaluations(inputs.held_out[split].tokens)
    fit(inputs, callbacks=[Evaluate()])
    remove_checkpoints(inputs.folder)
    return evaluations.curve


def interpolate(curve: Curve, target: float) -> tuple[float, float] | None:
    """Return the CPU seconds and the step at which the loss first reaches the target, or `None` if it does not."""
    before: tuple[int, float, float] | None = None
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


def measure(name: str, pool: ProcessPoolExecutor, seeds: int, data: str) -> dict[str, Any]:
    """Return the losses and times of both methods on a corpus."""
    corpus = CORPORA[name]
    curves = {
        (rate, seed): pool.submit(train_with_transformers, name, rate, seed, data)
        for rate in corpus.rates
        for seed in range(1, min(seeds, 2) + 1)
    }
    finals = {key: future.result()[-1] for key, future in curves.items()}
    losses = {rate: [final[2] for (other, _), final in finals.items() if other == rate] for rate in corpus.rates}
    best = min(corpus.rates, key=lambda rate: statistics.mean(losses[rate]))
    more = {seed: pool.submit(train_with_transformers, name, best, seed, data) for seed in range(3, seeds + 1)}
    finals |= {(best, seed): future.result()[-1] for seed, future in more.items()}
    of_best = [finals[best, seed] for seed in range(1, seeds + 1)]
    target = statistics.mean(final[2] for final in of_best)
    runs = [
        pool.submit(train_with_winnow, name, corpus.recipe, seed, data, target).result for seed in range(1, seeds + 1)
    ]
    reached = [interpolate(run(), target) for run in runs]
    result: dict[str, Any] = {
        "settings": asdict(corpus),
        "trainer": {
            "rates": {f"{rate:g}": summarize(finals, rate) for rate in corpus.rates},
            "best_rate": best,
            "loss": target,
            "seconds": [final[1] for final in of_best],
        },
        "winnow": {
            "seconds": [time and time[0] for time in reached],
            "steps": [time and time[1] for time in reached],
        },
        "ratio": None,
    }
    if all(reached):
        seconds = [time[0] for time in reached if time]
        result["ratio"], result["interval"] = estimate_ratio(result["trainer"]["seconds"], seconds)
    return result


def summarize(finals: dict[tuple[float, int], tuple[int, float, float]], rate: float) -> dict[str, Any]:
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
    data = str(options.data_dir.resolve())
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
            results[name] = measure(name, pool, options.seeds, data)
            print(json.dumps({name: results[name]}, indent=2), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
