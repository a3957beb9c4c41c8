"""Benchmark Winnow's training step against Hugging Face's `Trainer` on this machine.

    python benchmarks/training.py --json benchmarks/results/NAME.json

Hugging Face's `Trainer` with its collator and Winnow run in alternation on the same rows, with the same model, dropout,
gradient clipping and fused AdamW, each in a separate process. The time of a step is measured from the end of the
previous step, so it includes collation, forward, backward and optimizer. The model has the shape of DistilBERT-base and
random weights. A ratio is the median CPU time per step of `Trainer` in float32 divided by Winnow's (wall time on CUDA);
the minimum wall time is reported as a check. `fp32_portable` is float32 with PyTorch's linear layers; `fp32` is float32
with the fastest backend per matmul on this machine.

The benchmark also reports the number of operations in the matmuls of a step and the rates of this processor. `limit` is
the ratio for a step that consists only of matmuls at the highest of these rates. `share_of_floor` of a method is the
CPU time of these matmuls divided by the CPU time of its step. Peak memory is measured in processes that train one
workload with one method. On CUDA the benchmark adds TF32, compiled layers and steps with 16 times as many rows; that
part has not been run yet. Requires the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl
import torch
import transformers
from pytorch_lightning.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    DataCollatorForLanguageModeling,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from winnow.tracking.run_environment import describe_hardware
from winnow.training import (
    MaskedLanguageModule,
    Masking,
    TokenRows,
    TrainingBatches,
    masked_lm_loss_sum,
    pack_into_blocks,
    tokenize,
)
from winnow.training.forward import numerics
from winnow.training.progress import silence_libraries
from winnow.training.wordpiece import train_wordpiece

VOCABULARY, MAX_LENGTH, CLIP, LEARNING_RATE = 30_522, 512, 1.0, 5e-5
STEPS, WARM_UP = 8, 2
"""Steps per repetition, and the number of warm-up steps that are not counted, because they allocate memory."""
PEAK_STEPS = 24
"""Steps before the peak memory is read, since memory grows during the first steps with batches of new sizes."""


@dataclass(frozen=True)
class Workload:
    """Training rows and a batch size."""

    rows: TokenRows
    batch_size: int


@dataclass
class StepTimer:
    """Records the time at the end of each step, for both trainers."""

    cpu: list[float]
    wall: list[float]

    def record(self) -> None:
        """Record the current time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())

    def steps(self) -> Steps:
        """Return the CPU and wall seconds of each step after the warm-up."""
        cpu, wall = (np.diff(times[WARM_UP - 1 :]).tolist() for times in (self.cpu, self.wall))
        return list(zip(cpu, wall, strict=True))


Steps = list[tuple[float, float]]
"""CPU and wall seconds of each step."""

Method = Callable[[Any, Any, Workload, int, int], Steps]
"""Trains a model with a tokenizer on a workload; the last arguments are the first step and the number of steps."""


def train_with_transformers(model: Any, tokenizer: Any, work: Workload, first: int, steps: int) -> Steps:
    """Train with Hugging Face's `Trainer` on the rows that Winnow uses in these steps."""

    class RecordStep(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            timer.record()

    timer = StepTimer([], [])
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, first + steps)
    rows = work.rows.take(np.concatenate([batches.select_rows(first + step)[0] for step in range(steps)]))
    settings = {"train_sampling_strategy": "sequential", "learning_rate": LEARNING_RATE, "weight_decay": 0.01}
    build_trainer(model, tokenizer, rows, steps, work.batch_size, [RecordStep()], **settings).train()
    return timer.steps()


def build_trainer(
    model: Any,
    tokenizer: Any,
    rows: TokenRows,
    steps: int,
    batch_size: int,
    callbacks: Sequence[TrainerCallback],
    **settings: Any,
) -> Trainer:
    """Return Hugging Face's `Trainer` with its collator, dynamic padding, gradient clipping and fused AdamW.

    Args:
        model: The model, which is trained in place.
        tokenizer: The tokenizer of the collator.
        rows: The training rows.
        steps: Number of optimizer steps.
        batch_size: Rows per step.
        callbacks: Callbacks to add.
        **settings: Further arguments of `TrainingArguments`.
    """
    arguments = TrainingArguments(
        tempfile.gettempdir(),  # nothing is written
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        optim="adamw_torch_fused",
        max_grad_norm=CLIP,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=[{"input_ids": ids.tolist()} for ids in np.split(rows.ids, rows.offsets[1:-1])],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train_with_winnow(
    model: Any,
    tokenizer: Any,
    work: Workload,
    first: int,
    steps: int,
    precision: str = "32-true",
    linear: Any = "auto",
    tf32: bool = False,
    compiled: bool = False,
) -> Steps:
    """Train with Winnow's module in Lightning's trainer; raise if the efficient forward is unsupported."""

    class RecordStep(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            timer.record()

    timer = StepTimer([], [])
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, first + steps)
    batches.load_state_dict({"next": first})
    tokens = round(work.rows.lengths.mean() * work.batch_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    numerics.configure_numerics(model, device, tokens, round(0.15 * tokens), linear, tf32, compiled, threads=threads)
    optimizer = functools.partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    pl.Trainer(
        max_steps=steps,
        accelerator="auto",
        devices=1,
        precision=precision,
        gradient_clip_val=CLIP,
        log_every_n_steps=10,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        callbacks=[RecordStep()],
    ).fit(MaskedLanguageModule(model, optimizer, forward="efficient"), train_dataloaders=batches)
    return timer.steps()


METHODS: dict[str, Method] = {
    "baseline": train_with_transformers,
    "fp32_portable": functools.partial(train_with_winnow, linear="portable"),
    "fp32": functools.partial(train_with_winnow, linear="auto"),
    "bf16": functools.partial(train_with_winnow, precision="bf16-mixed"),
}
ON_CUDA: dict[str, Method] = {
    "tf32": functools.partial(train_with_winnow, tf32=True),
    "fp32_compiled": functools.partial(train_with_winnow, compiled=True),
    "tf32_compiled": functools.partial(train_with_winnow, tf32=True, compiled=True),
    "bf16_compiled": functools.partial(train_with_winnow, precision="bf16-mixed", compiled=True),
}
if torch.cuda.is_available():
    METHODS |= ON_CUDA


def new_model(quick: bool) -> Any:
    """Return a model with the shape of DistilBERT-base and random weights, or a small one for `--quick`."""
    torch.manual_seed(0)
    small = {"n_layers": 2, "dim": 32, "hidden_dim": 64, "n_heads": 2} if quick else {}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=VOCABULARY, **small))


def serve_requests(quick: bool, threads: int, tokenizer: Any, works: dict[str, Workload], pipe: Any) -> None:
    """Run the training requests of a pipe in this process; send the peak memory in MB at the end."""
    torch.set_num_threads(threads)
    silence_libraries()
    transformers.utils.logging.set_verbosity_error()
    model = new_model(quick)
    while (request := pipe.recv()) is not None:
        name, work, first, steps = request
        pipe.send(METHODS[name](model, tokenizer, works[work], first, steps))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def start_worker(quick: bool, threads: int, tokenizer: Any, works: dict[str, Workload]) -> Any:
    """Start a worker process; return a pipe to it."""
    context = multiprocessing.get_context("spawn")
    pipe, worker_end = context.Pipe()
    context.Process(target=serve_requests, args=(quick, threads, tokenizer, works, worker_end), daemon=True).start()
    worker_end.close()  # so that the death of the worker raises an error
    return pipe


def peak_memory(name: str, quick: bool, threads: int, tokenizer: Any, works: dict[str, Workload]) -> dict[str, int]:
    """Return the peak memory of a method in MB for each workload, each measured in a separate process."""
    peaks = {}
    for work, rows in works.items():
        pipe = start_worker(quick, threads, tokenizer, {work: rows})
        pipe.send((name, work, 0, STEPS if quick else PEAK_STEPS))
        pipe.recv()
        pipe.send(None)
        peaks[work] = round(pipe.recv())
    return peaks


def limits(results: dict[str, Any], rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the ratios of steps that consist only of matmuls at the highest measured rate."""
    fastest = {"fp32": max(max(by["portable"], by["onednn"]) for by in rates.values())}
    fastest["bf16"] = max(by["bf16"] for by in rates.values())
    seconds = results["baseline"]["cpu_seconds"]
    return {name: round(seconds * rate / results["gflop"]["winnow"], 2) for name, rate in fastest.items()}


def add_shares_of_floor(results: dict[str, Any]) -> None:
    """Add to each method of Winnow the fraction of its CPU time that the matmuls take at the highest measured rate."""
    for method, figures in results.items():
        precision = "bf16" if method.startswith("bf16") else "fp32"
        if method != "baseline" and method in METHODS:
            figures["share_of_floor"] = round(figures["ratio"] / results["limit"][precision], 3)


def measure(name: str, work: Workload, pipes: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Run all methods in alternation on a workload; the first repetition is a warm-up with new batch sizes."""
    measured: dict[str, Steps] = {method: [] for method in METHODS}
    for repetition in range(rounds + 1):
        for method in METHODS:
            pipe = pipes["baseline" if method == "baseline" else "winnow"]
            pipe.send((method, name, repetition * STEPS, STEPS))
            steps = pipe.recv()
            measured[method] += steps if repetition else []
    mean_tokens = float(work.rows.lengths.mean())
    results: dict[str, Any] = {}
    for method, steps in measured.items():
        cpu, wall = statistics.median(step[0] for step in steps), min(step[1] for step in steps)
        baseline = results.get("baseline", {"cpu_seconds": cpu, "wall_seconds": wall})
        by_cpu, by_wall = baseline["cpu_seconds"] / cpu, baseline["wall_seconds"] / wall
        results[method] = {
            "cpu_seconds": cpu,
            "least_cpu_seconds": min(step[0] for step in steps),
            "wall_seconds": wall,
            "ratio": by_wall if torch.cuda.is_available() else by_cpu,
            "wall_ratio": by_wall,
            "tokens_per_second": work.batch_size * mean_tokens / wall,
        }
    return {"rows_per_step": work.batch_size, "mean_tokens": mean_tokens, **results}


def count_operations(work: Workload, quick: bool, steps: int = 6) -> dict[str, float]:
    """Return the mean GFLOP per step in the matmuls of both methods, counted on the meta device."""
    model = new_model(quick).to("meta")
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, steps)
    counts: dict[str, list[float]] = {"baseline": [], "winnow": []}
    for step in range(steps):
        rows = work.rows.take(batches.select_rows(step)[0])
        padded = torch.empty(len(rows), int(rows.lengths.max()), dtype=torch.long, device="meta")
        with FlopCounterMode(display=False) as counter:
            logits = model(input_ids=padded).logits
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), padded.flatten()).backward()
        counts["baseline"].append(counter.get_total_flops() / 1e9)
        with FlopCounterMode(display=False) as counter:
            masked_lm_loss_sum(model, batches[step].to("meta"), "efficient")[0].backward()
        counts["winnow"].append(counter.get_total_flops() / 1e9)
    return {name: round(statistics.mean(values), 1) for name, values in counts.items()}


def measure_rates(tokens: int = 512, masked: int = 96) -> dict[str, dict[str, float]]:
    """Return the GFLOP/s of the matmuls of a step: in float32 with MKL and oneDNN, and in bfloat16."""
    from winnow.training.forward.linear_backend import MATMUL_FUNCTIONS, is_onednn_usable, time_matmul

    shapes = {"attention": (tokens, 768, 768), "feed_forward": (tokens, 3072, 768), "head": (masked, VOCABULARY, 768)}
    rates = {}
    for name, (rows, outputs, inputs) in shapes.items():
        factors = [torch.ones(size).bfloat16() for size in ((rows, inputs), (outputs, inputs), (rows, outputs))]
        for product, ways in MATMUL_FUNCTIONS.items():
            in_float32 = time_matmul((product, outputs, inputs), rows) if is_onednn_usable() else {}
            portable, _ = ways(*factors)
            bf16 = 2e-9 * rows * outputs * inputs / least_seconds(portable)
            rates[f"{name} {product}"] = {**in_float32, "bf16": round(bf16, 1)}
    return rates


def least_seconds(compute: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least time of several calls, after a call that is not timed."""
    compute()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        compute()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def workloads(prose: Sequence[str], quick: bool) -> tuple[Any, dict[str, Workload]]:
    """Return the tokenizer and the workloads."""
    draw = random.Random(0)
    words = [f"{start}{end}" for start in ("ka", "lo", "mi", "nu", "per", "sol") for end in ("ra", "ten", "vis", "x")]
    short = [" ".join(draw.choices(words, k=draw.randint(4, 11))) for _ in range(25_000)]
    tokenizer = train_wordpiece([*short, *prose], VOCABULARY, MAX_LENGTH)
    with tempfile.TemporaryDirectory() as cache:

        def tokens(texts: Sequence[str], max_length: int | None) -> TokenRows:
            table = pa.table({"row_id": [f"{i:016x}" for i in range(len(texts))], "text": texts})
            return tokenize(table, tokenizer, max_length, Path(cache))

        loads = {
            "short": Workload(tokens(short, MAX_LENGTH), 64),
            "blocks": Workload(pack_into_blocks(tokens(prose, None), 128, isolate_rows=False), 2 if quick else 8),
            "lines": Workload(tokens(prose, MAX_LENGTH), 2 if quick else 8),
        }
        if torch.cuda.is_available():
            loads |= {f"{name}_large": Workload(load.rows, 16 * load.batch_size) for name, load in loads.items()}
    return tokenizer, loads


def read_prose(data_dir: Path) -> tuple[str, list[str]]:
    """Return the non-blank lines of WikiText-2, or synthetic lines with similar lengths."""
    file = data_dir / "wikitext-2" / "valid.txt"
    if file.exists():
        return "WikiText-2", [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    draw = random.Random(1)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("ar", "el", "in", "os", "um") for c in ("a", "eth", "ior")]
    lengths = [min(round(draw.lognormvariate(4.0, 1.2)) + 1, 400) for _ in range(2500)]
    return "synthetic", [" ".join(draw.choices(words, k=length)) for length in lengths]


def main() -> None:
    """Measure, print a table, and write the results to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="output file for the results")
    parser.add_argument(
        "--rounds", type=int, default=4, help=f"repetitions of {STEPS} steps per method, after a warm-up"
    )
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("../shared/data"), help="folder with wikitext-2/valid.txt"
    )
    parser.add_argument("--quick", action="store_true", help="smoke test with a small model and one round")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    silence_libraries()
    text, prose = read_prose(options.data_dir)
    tokenizer, works = workloads(prose, options.quick)
    results: dict[str, Any] = {
        "hardware": describe_hardware(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "settings": {
            "parameters": new_model(options.quick).num_parameters(),
            "text": text,
            "steps": (1 if options.quick else options.rounds) * (STEPS - WARM_UP),
        },
        "gflops": {} if options.quick else measure_rates(),
    }
    start = functools.partial(start_worker, options.quick, options.threads, tokenizer, works)
    pipes = {"baseline": start(), "winnow": start()}
    for name, work in works.items():
        results[name] = measure(name, work, pipes, 1 if options.quick else options.rounds)
        results[name]["gflop"] = count_operations(work, options.quick)
        print(f"{name}: {work.batch_size} rows per step, {results[name]['mean_tokens']:.1f} tokens per row")
        counts = results[name]["gflop"]
        if results["gflops"] and options.threads == 1 and "onednn" in next(iter(results["gflops"].values())):
            results[name]["limit"] = limits(results[name], results["gflops"])
            add_shares_of_floor(results[name])
            print(f"  upper limit: {results[name]['limit']}")
        print(f"  matmuls: {counts['baseline']:,} GFLOP per step in transformers, {counts['winnow']:,} in Winnow")
        for method in METHODS:
            figures = results[name][method]
            share = f", {figures['share_of_floor']:.0%} of the limit" if "share_of_floor" in figures else ""
            print(
                f"  {method:14} {figures['cpu_seconds']:7.3f} s CPU, {figures['ratio']:5.2f}x{share}; minimum wall "
                f"{figures['wall_seconds']:7.3f} s, {figures['wall_ratio']:5.2f}x",
                flush=True,
            )
        write(results, options.json)  # keep partial results if a later workload fails
    for pipe in pipes.values():
        pipe.send(None)
        pipe.recv()
    results["peak_memory_mb"] = {}
    for method in METHODS:
        peaks = peak_memory(method, options.quick, options.threads, tokenizer, works)
        results["peak_memory_mb"][method] = peaks
        print(
            f"peak memory of {method:14}", ", ".join(f"{work} {peak:,} MB" for work, peak in peaks.items()), flush=True
        )
    write(results, options.json)


def write(results: dict[str, Any], file: Path | None) -> None:
    """Write the results to a file if one is given."""
    if file is not None:
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
