"""Time the training step beside the trainer that a user would pick instead, on this machine.

    python benchmarks/training.py --json benchmarks/results/NAME.json

Hugging Face's `Trainer` with its collator and Winnow take turns at the same rows, with the same model, dropout,
clipping and fused AdamW, each in its own loop. A step is timed from the end of the one before, so it holds all that the
loop does for it: collation, forward, backward, optimizer. The model has DistilBERT-base's shape and random weights.
A ratio is the median CPU time of a step of `Trainer` in float32 by Winnow's; the least wall time stands beside it as
a witness. `fp32_portable` is float32 with PyTorch's own linear layers and `fp32` what Winnow runs on this machine;
today they are one. Needs the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
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
from winnow.training import MaskedLanguageModule, Masking, TokenRows, TrainingBatches, to_blocks, tokenize
from winnow.training.progress import quieten_libraries
from winnow.training.wordpiece import train_wordpiece

VOCABULARY, LONGEST, CLIP, RATE = 30_522, 512, 1.0, 5e-5
STEPS = 3
"""Steps in a turn; the first warms up and is not counted."""


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

    def steps(self) -> list[tuple[float, float]]:
        """Return CPU and wall seconds of each step after the first."""
        return list(zip(np.diff(self.cpu).tolist(), np.diff(self.wall).tolist(), strict=True))


Contestant = Callable[[Any, Any, Workload, int], list[tuple[float, float]]]
"""Takes a turn with a model and tokenizer at a workload from a step on."""


def library(model: Any, tokenizer: Any, work: Workload, first: int) -> list[tuple[float, float]]:
    """Take a turn with Hugging Face's `Trainer`, on the rows that Winnow sees in these steps."""

    class Tick(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    clock = Clock([], [])
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, first + STEPS)
    chosen = work.rows.take(np.concatenate([batches.draw(first + step)[0] for step in range(STEPS)]))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=STEPS,
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


def winnow(precision: str, model: Any, tokenizer: Any, work: Workload, first: int) -> list[tuple[float, float]]:
    """Take a turn with Winnow's module in Lightning's trainer; fails where the efficient forward cannot run."""

    class Tick(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            clock.tick()

    clock = Clock([], [])
    batches = TrainingBatches(work.rows, Masking(), 0, work.batch_size, first + STEPS)
    batches.load_state_dict({"next": first})
    optimizer = functools.partial(torch.optim.AdamW, lr=RATE, weight_decay=0.01, fused=True)
    pl.Trainer(
        max_steps=STEPS,
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
    "fp32": functools.partial(winnow, "32-true"),
    "bf16": functools.partial(winnow, "bf16-mixed"),
}


def measure(work: Workload, model: Any, tokenizer: Any, rounds: int) -> dict[str, Any]:
    """Let all contestants take turns."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
    for turn in range(rounds):
        for name, contestant in CONTESTANTS.items():
            seen[name] += contestant(model, tokenizer, work, turn * STEPS)
    found: dict[str, Any] = {}
    for name, steps in seen.items():
        cpu, wall = statistics.median(step[0] for step in steps), min(step[1] for step in steps)
        against = found.get("baseline", {"cpu_seconds": cpu, "wall_seconds": wall})
        found[name] = {
            "cpu_seconds": cpu,
            "wall_seconds": wall,
            "ratio": against["cpu_seconds"] / cpu,
            "wall_ratio": against["wall_seconds"] / wall,
        }
    found["fp32_portable"] = found["fp32"]
    return {"rows_per_step": work.batch_size, "mean_tokens": float(work.rows.lengths.mean()), **found}


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
            "blocks": Workload(to_blocks(tokens(prose, None), 128), 2 if quick else 8),
            "lines": Workload(tokens(prose, LONGEST), 2 if quick else 8),
        }
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
    parser.add_argument("--rounds", type=int, default=4, help=f"turns of {STEPS} steps for each")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"), help="holds wikitext-2/valid.txt")
    parser.add_argument("--quick", action="store_true", help="a small model, one round: only to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quieten_libraries()
    transformers.utils.logging.set_verbosity_error()
    small = {"n_layers": 2, "dim": 32, "hidden_dim": 64, "n_heads": 2} if options.quick else {}
    torch.manual_seed(0)
    model = DistilBertForMaskedLM(DistilBertConfig(vocab_size=VOCABULARY, **small))
    text, prose = prose_of(options.data_dir)
    tokenizer, made = workloads(prose, options.quick)
    found: dict[str, Any] = {
        "hardware": hardware(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "settings": {"parameters": model.num_parameters(), "text": text, "steps": options.rounds * (STEPS - 1)},
    }
    for name, work in made.items():
        found[name] = measure(work, model, tokenizer, 1 if options.quick else options.rounds)
        print(f"{name}: {work.batch_size} rows a step, {found[name]['mean_tokens']:.1f} tokens a row")
        for contestant in CONTESTANTS:
            figures = found[name][contestant]
            print(
                f"  {contestant:14} {figures['cpu_seconds']:7.3f} s CPU, {figures['ratio']:5.2f}x; least wall "
                f"{figures['wall_seconds']:7.3f} s, {figures['wall_ratio']:5.2f}x",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
