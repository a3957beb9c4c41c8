"""Time the training step beside the trainer that a user would pick instead, on this machine.

    python benchmarks/training.py --json benchmarks/results/NAME.json

Hugging Face's `Trainer` with its collator and Winnow take turns at the same rows, with the same model, dropout,
clipping and fused AdamW, each in its own loop and its own process. A step is timed from the end of the one before, so
it holds all that the loop does for it: collation, forward, backward, optimizer. The model has DistilBERT-base's shape
and random weights. A ratio is the median CPU time of a step of `Trainer` in float32 by Winnow's (wall time on CUDA);
the least wall time stands beside it as a witness. `fp32_portable` is float32 with PyTorch's own linear layers, `fp32`
float32 with each product where it is fastest here.

Beside the ratios it gives how many operations the products of a step take and at what rates this processor does them,
so that one sees what could be reached: `limit` is the ratio of a step that was nothing but its products, all at the
highest of these rates. The peak memory is that of processes which train one workload in one way. On CUDA it adds TF32,
compiled layers and steps of 16 times as many rows; that part has not been run yet. Needs the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
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

from winnow.tracking.environment import hardware
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

VOCABULARY, LONGEST, CLIP, RATE = 30_522, 512, 1.0, 5e-5
STEPS, WARM_UP = 8, 2
"""Steps in a turn, and how many of them warm up and are not counted: optimizer and allocator have to ask for memory."""
PEAK_STEPS = 24
"""Steps after which the peak memory is read: it grows over the first of them, as batches of other sizes come."""


@dataclass(frozen=True)
class Workload:
    """Rows, and how many a step sees."""

    rows: TokenRows
    batch_size: int


@dataclass
class Clock:
    """Notes the time at the end of each step; both trainers call it."""

    cpu: list[float]
    wall: list[float]

    def tick(self) -> None:
        """Note the time now."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())

    def steps(self) -> Steps:
        """Return CPU and wall seconds of each step after those that warm up."""
        cpu, wall = (np.diff(times[WARM_UP - 1 :]).tolist() for times in (self.cpu, self.wall))
        return list(zip(cpu, wall, strict=True))


Steps = list[tuple[float, float]]
"""CPU and wall seconds of each step."""

Contestant = Callable[[Any, Any, Workload, int, int], Steps]
"""Takes a turn with a model and tokenizer at a workload, from a step on and of so many steps."""


def library(model: Any, tokenizer: Any, work: Workload, first: int, steps: int) -> Steps:
    """Take a turn with Hugging Face's `Trainer`, on the rows that Winnow sees in these steps."""

    class Tick(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    clock = Clock([], [])
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, first + steps)
    chosen = work.rows.take(np.concatenate([batches.select_rows(first + step)[0] for step in range(steps)]))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=work.batch_size,
            train_sampling_strategy="sequential",
            learning_rate=RATE,
            weight_decay=0.01,
            optim="adamw_torch_fused",
            max_grad_norm=CLIP,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=[{"input_ids": ids.tolist()} for ids in np.split(chosen.ids, chosen.offsets[1:-1])],
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            callbacks=[Tick()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.steps()


def winnow(
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
    """Take a turn with Winnow's module in Lightning's trainer; fails where the efficient forward cannot run."""

    class Tick(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            clock.tick()

    clock = Clock([], [])
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, first + steps)
    batches.load_state_dict({"next": first})
    tokens = round(work.rows.lengths.mean() * work.batch_size)
    cache = Path(tempfile.gettempdir()) / f"winnow-benchmark-{os.getppid()}"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numerics.configure_numerics(model, device, tokens, round(0.15 * tokens), cache, linear, tf32, compiled)
    optimizer = functools.partial(torch.optim.AdamW, lr=RATE, weight_decay=0.01, fused=True)
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
        callbacks=[Tick()],
    ).fit(MaskedLanguageModule(model, optimizer, forward="efficient"), train_dataloaders=batches)
    return clock.steps()


CONTESTANTS: dict[str, Contestant] = {
    "baseline": library,
    "fp32_portable": functools.partial(winnow, linear="portable"),
    "fp32": functools.partial(winnow, linear="auto"),
    "bf16": functools.partial(winnow, precision="bf16-mixed"),
}
ON_CUDA: dict[str, Contestant] = {
    "tf32": functools.partial(winnow, tf32=True),
    "fp32_compiled": functools.partial(winnow, compiled=True),
    "tf32_compiled": functools.partial(winnow, tf32=True, compiled=True),
    "bf16_compiled": functools.partial(winnow, precision="bf16-mixed", compiled=True),
}
if torch.cuda.is_available():
    CONTESTANTS |= ON_CUDA


def new_model(quick: bool) -> Any:
    """Return a model of DistilBERT-base's shape with random weights; small, where it is only to be seen to run."""
    torch.manual_seed(0)
    small = {"n_layers": 2, "dim": 32, "hidden_dim": 64, "n_heads": 2} if quick else {}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=VOCABULARY, **small))


def play(quick: bool, threads: int, tokenizer: Any, works: dict[str, Workload], pipe: Any) -> None:
    """Take turns when told, in a process of its own, and tell at last what memory that took."""
    torch.set_num_threads(threads)
    silence_libraries()
    transformers.utils.logging.set_verbosity_error()
    model = new_model(quick)
    while (told := pipe.recv()) is not None:
        name, work, first, steps = told
        pipe.send(CONTESTANTS[name](model, tokenizer, works[work], first, steps))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def start_player(quick: bool, threads: int, tokenizer: Any, works: dict[str, Workload]) -> Any:
    """Start a process that takes turns; return a pipe to it."""
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    context.Process(target=play, args=(quick, threads, tokenizer, works, end), daemon=True).start()
    end.close()  # so that a process that dies is noticed
    return pipe


def peak_memory(name: str, quick: bool, threads: int, tokenizer: Any, works: dict[str, Workload]) -> dict[str, int]:
    """Return the MB that a contestant's process held at most in a long turn, each workload in a process of its own."""
    peaks = {}
    for work, rows in works.items():
        pipe = start_player(quick, threads, tokenizer, {work: rows})
        pipe.send((name, work, 0, STEPS if quick else PEAK_STEPS))
        pipe.recv()
        pipe.send(None)
        peaks[work] = round(pipe.recv())
    return peaks


def limits(found: dict[str, Any], rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the ratios of steps that would be nothing but their products at the highest rate seen."""
    fastest = {"fp32": max(max(by["portable"], by["onednn"]) for by in rates.values())}
    fastest["bf16"] = max(by["bf16"] for by in rates.values())
    seconds = found["baseline"]["cpu_seconds"]
    return {name: round(seconds * rate / found["gflop"]["winnow"], 2) for name, rate in fastest.items()}


def measure(name: str, work: Workload, pipes: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Let all contestants take turns at a workload; the first turn, in which batches have new sizes, does not count."""
    seen: dict[str, Steps] = {one: [] for one in CONTESTANTS}
    for turn in range(rounds + 1):
        for one in CONTESTANTS:
            pipe = pipes["baseline" if one == "baseline" else "winnow"]
            pipe.send((one, name, turn * STEPS, STEPS))
            steps = pipe.recv()
            seen[one] += steps if turn else []
    mean_tokens = float(work.rows.lengths.mean())
    found: dict[str, Any] = {}
    for one, steps in seen.items():
        cpu, wall = statistics.median(step[0] for step in steps), min(step[1] for step in steps)
        against = found.get("baseline", {"cpu_seconds": cpu, "wall_seconds": wall})
        by_cpu, by_wall = against["cpu_seconds"] / cpu, against["wall_seconds"] / wall
        found[one] = {
            "cpu_seconds": cpu,
            "least_cpu_seconds": min(step[0] for step in steps),
            "wall_seconds": wall,
            "ratio": by_wall if torch.cuda.is_available() else by_cpu,
            "wall_ratio": by_wall,
            "tokens_per_second": work.batch_size * mean_tokens / wall,
        }
    return {"rows_per_step": work.batch_size, "mean_tokens": mean_tokens, **found}


def products(work: Workload, quick: bool, steps: int = 6) -> dict[str, float]:
    """Return 10**9 operations in the products of a mean step of either; nothing is computed."""
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
    return {name: round(statistics.mean(each), 1) for name, each in counts.items()}


def product_rates(tokens: int = 512, guessed: int = 96) -> dict[str, dict[str, float]]:
    """Return 10**9 operations a second of the products of a step: in float32 by MKL and by oneDNN, and in bf16."""
    from winnow.training.forward.linear_backend import MATMULS, is_onednn_usable, time_matmul

    shapes = {"attention": (tokens, 768, 768), "feed_forward": (tokens, 3072, 768), "head": (guessed, VOCABULARY, 768)}
    found = {}
    for name, (rows, outputs, inputs) in shapes.items():
        factors = [torch.ones(size).bfloat16() for size in ((rows, inputs), (outputs, inputs), (rows, outputs))]
        for product, ways in MATMULS.items():
            in_float32 = time_matmul((product, outputs, inputs), rows) if is_onednn_usable() else {}
            portable, _ = ways(*factors)
            portable()
            begun = time.perf_counter()
            portable()
            bf16 = 2e-9 * rows * outputs * inputs / (time.perf_counter() - begun)
            found[f"{name} {product}"] = {**in_float32, "bf16": round(bf16, 1)}
    return found


def workloads(prose: Sequence[str], quick: bool) -> tuple[Any, dict[str, Workload]]:
    """Return a tokenizer over all texts, and the workloads."""
    draw = random.Random(0)
    words = [f"{start}{end}" for start in ("ka", "lo", "mi", "nu", "per", "sol") for end in ("ra", "ten", "vis", "x")]
    short = [" ".join(draw.choices(words, k=draw.randint(4, 11))) for _ in range(25_000)]
    tokenizer = train_wordpiece([*short, *prose], VOCABULARY, LONGEST)
    with tempfile.TemporaryDirectory() as cache:

        def tokens(texts: Sequence[str], max_length: int | None) -> TokenRows:
            table = pa.table({"row_id": [f"{i:016x}" for i in range(len(texts))], "text": texts})
            return tokenize(table, tokenizer, max_length, Path(cache))

        made = {
            "short": Workload(tokens(short, LONGEST), 64),
            "blocks": Workload(pack_into_blocks(tokens(prose, None), 128, isolate_rows=False), 2 if quick else 8),
            "lines": Workload(tokens(prose, LONGEST), 2 if quick else 8),
        }
        if torch.cuda.is_available():
            made |= {f"{name}_large": Workload(one.rows, 16 * one.batch_size) for name, one in made.items()}
    return tokenizer, made


def prose_of(data_dir: Path) -> tuple[str, list[str]]:
    """Return the lines of WikiText-2 that are not blank, or lines made up with lengths like theirs."""
    file = data_dir / "wikitext-2" / "valid.txt"
    if file.exists():
        return "WikiText-2", [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    draw = random.Random(1)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("ar", "el", "in", "os", "um") for c in ("a", "eth", "ior")]
    lengths = [min(round(draw.lognormvariate(4.0, 1.2)) + 1, 400) for _ in range(2500)]
    return "made up", [" ".join(draw.choices(words, k=length)) for length in lengths]


def main() -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument(
        "--rounds", type=int, default=4, help=f"turns of {STEPS} steps for each, after one that does not count"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"), help="holds wikitext-2/valid.txt")
    parser.add_argument("--quick", action="store_true", help="a small model, one round: only to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    silence_libraries()
    text, prose = prose_of(options.data_dir)
    tokenizer, works = workloads(prose, options.quick)
    found: dict[str, Any] = {
        "hardware": hardware(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "settings": {
            "parameters": new_model(options.quick).num_parameters(),
            "text": text,
            "steps": (1 if options.quick else options.rounds) * (STEPS - WARM_UP),
        },
        "gflops": {} if options.quick else product_rates(),
    }
    start = functools.partial(start_player, options.quick, options.threads, tokenizer, works)
    pipes = {"baseline": start(), "winnow": start()}
    for name, work in works.items():
        found[name] = measure(name, work, pipes, 1 if options.quick else options.rounds)
        found[name]["gflop"] = products(work, options.quick)
        print(f"{name}: {work.batch_size} rows a step, {found[name]['mean_tokens']:.1f} tokens a row")
        counts = found[name]["gflop"]
        if found["gflops"] and options.threads == 1 and "onednn" in next(iter(found["gflops"].values())):
            found[name]["limit"] = limits(found[name], found["gflops"])
            print(f"  no more than {found[name]['limit']} could be reached")
        print(f"  products: {counts['baseline']:,} GFLOP a step in the library, {counts['winnow']:,} in Winnow")
        for one in CONTESTANTS:
            figures = found[name][one]
            print(
                f"  {one:14} {figures['cpu_seconds']:7.3f} s CPU, {figures['ratio']:5.2f}x; least wall "
                f"{figures['wall_seconds']:7.3f} s, {figures['wall_ratio']:5.2f}x",
                flush=True,
            )
        write(found, options.json)  # what is measured is not lost with what is not
    for pipe in pipes.values():
        pipe.send(None)
        pipe.recv()
    found["peak_memory_mb"] = {}
    for one in CONTESTANTS:
        peaks = peak_memory(one, options.quick, options.threads, tokenizer, works)
        found["peak_memory_mb"][one] = peaks
        print(f"peak memory of {one:14}", ", ".join(f"{work} {peak:,} MB" for work, peak in peaks.items()), flush=True)
    write(found, options.json)


def write(found: dict[str, Any], file: Path | None) -> None:
    """Write the figures, where a file is wanted."""
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
