"""What a person reads when a run starts: a dozen lines that say what will happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from winnow.config import TrainConfig
    from winnow.parts import Parts
    from winnow.preparation import Ready


def print_overview(console: Console, config: TrainConfig, parts: Parts, ready: Ready, model: PreTrainedModel) -> None:
    """Print what matters of a run before its first step."""
    corpus, training = ready.corpus, config.training
    train, kept = corpus.split("train").num_rows, ready.train_rows.num_rows
    held_out = ", ".join(f"{name} {rows.num_rows:,}" for name, rows in ready.held_out.items())
    parameters = sum(weights.numel() for weights in model.parameters())
    options = parts.trainer.keywords
    devices = f"{options.get('accelerator', 'auto')}, devices {options.get('devices', 'auto')}"
    slices = ", ".join(f"{name}/kept, {name}/removed" for name in parts.slices)
    lines = {
        "corpus": f"{parts.dataset.name}: {funnel(corpus.funnel)}",
        "rows": f"train {train:,}, {held_out}",
        "filter": f"{parts.filter.name}: trains on {kept:,} of {train:,} rows ({kept / train:.0%})",
        "model": f"{type(model).__name__}, {parameters:,} parameters, vocabulary {len(ready.tokenizer):,}",
        "masking": f"{parts.masking.rate:.0%} of the tokens, new in every pass",
        "budget": f"{training.max_steps:,} steps of {training.batch_size} {training.batching}",
        "optimizer": f"{parts.optimizer.func.__name__} {arguments(parts.optimizer.keywords)}",
        "trainer": f"{devices}, precision {options.get('precision', '32-true')}",
        "measured on": f"all{', ' + slices if slices else ''}; masks fixed by seed {config.evaluation.mask_seed}",
        "probes": ", ".join(parts.probes),
        "tracking": f"{parts.store.uri}, experiment {config.study.name}",
        "seed": str(config.seed),
    }
    grid = Table.grid(padding=(0, 2))
    for name, told in lines.items():
        grid.add_row(f"[bold]{name}[/bold]", told)
    console.print(grid)


def print_verdicts(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what a filter did: each signal on the training rows, the funnel and what is kept of each split."""
    console.print(f"[bold]{summary['filter']}[/bold] keeps a row where {summary['keep']}")
    table = Table()
    table.add_column("signal")
    for heading in ("pass", "fail", "null"):
        table.add_column(heading, justify="right")
    for name, counts in summary["signals"].items():
        table.add_row(name, *(f"{counts[key]:,}" for key in ("pass", "fail", "null")))
    console.print(table)
    console.print(f"funnel  {funnel({stage['stage']: stage['rows'] for stage in summary['funnel']})}")
    for split, rows in summary["rows"].items():
        share = rows["kept"] / rows["total"] if rows["total"] else 0.0
        console.print(f"{split:<11} keeps {rows['kept']:>8,} of {rows['total']:>8,} ({share:.1%})")


def funnel(stages: Mapping[str, int]) -> str:
    """Return the rows left after each stage as one line.

    >>> funnel({"read": 25000, "with_text": 23750})
    'read 25,000 > with text 23,750'
    """
    return " > ".join(f"{name.replace('_', ' ')} {rows:,}" for name, rows in stages.items())


def arguments(keywords: Mapping[str, Any]) -> str:
    """Return keyword arguments as a person would write them.

    >>> arguments({"lr": 0.001, "weight_decay": 0.01})
    'lr 0.001, weight_decay 0.01'
    """
    return ", ".join(f"{name} {value}" for name, value in keywords.items())
