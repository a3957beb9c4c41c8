"""What a person reads when a run starts: a dozen lines that say what will happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from winnow.reporting.tables import build_console_table

if TYPE_CHECKING:
    from winnow.config.schema import Training
    from winnow.filters.planner import ScoringPlan
    from winnow.run.inputs import Inputs


def print_overview(console: Console, inputs: Inputs) -> None:
    """Print what matters of a run before its first step."""
    config, components, corpus = inputs.config, inputs.components, inputs.corpus
    training = config.training
    train, kept = corpus.split("train").num_rows, inputs.train_rows.num_rows
    held_out = ", ".join(f"{name} {split.rows.num_rows:,}" for name, split in inputs.held_out.items())
    parameters = sum(weights.numel() for weights in inputs.model.parameters())
    options = components.trainer.keywords
    devices = f"{options['accelerator']}, devices {options['devices']}"
    slices = ", ".join(f"{name}/kept, {name}/removed" for name in components.slices)
    lines = {
        "corpus": f"{components.dataset.name}: {funnel(corpus.funnel)}",
        "rows": f"train {train:,}, {held_out}",
        "filter": f"{components.filter.name}: trains on {kept:,} of {train:,} rows ({kept / train:.0%})",
        "model": f"{type(inputs.model).__name__}, {parameters:,} parameters, vocabulary {len(inputs.tokenizer):,}",
        "masking": f"{components.masking.rate:.0%} of the tokens, new in every pass",
        "budget": f"{budget(training)} of {training.batch_size} {training.batching}",
        "optimizer": f"{components.optimizer.func.__name__} {arguments(components.optimizer.keywords)}",
        "trainer": f"{devices}, precision {options['precision'] or '32-true'}",
        "measured on": f"all{', ' + slices if slices else ''}; masks fixed by seed {config.evaluation.mask_seed}",
        "probes": ", ".join(components.probes),
        "tracking": f"{components.store.uri}, experiment {config.study.name}",
        "seed": str(config.seed),
    }
    grid = Table.grid(padding=(0, 2))
    for name, told in lines.items():
        grid.add_row(f"[bold]{name}[/bold]", told)
    console.print(grid)


def budget(training: Training) -> str:
    """Return what ends a training, in words.

    >>> from winnow.config.schema import Training
    >>> budget(Training(max_steps=2000, max_minutes=5, patience=3))
    '2,000 steps, 5 minutes or 3 looks without a lower validation loss, whichever is first,'
    """
    in_tokens = training.total_tokens is not None
    whole = f"{training.total_tokens:,} tokens in steps" if in_tokens else f"{training.max_steps:,} steps"
    ends = [whole]
    if training.max_minutes is not None:
        ends.append(f"{training.max_minutes:g} minutes")
    if training.patience is not None:
        ends.append(f"{training.patience} looks without a lower validation loss")
    return whole if len(ends) == 1 else f"{', '.join(ends[:-1])} or {ends[-1]}, whichever is first,"


def print_verdicts(console: Console, summary: Mapping[str, Any], statistics: Mapping[str, Any]) -> None:
    """Print what a filter did to the training rows, what its signals and terms are worth, and what it keeps."""
    console.print(f"[bold]{summary['filter']}[/bold] keeps a row where {summary['keep']}", highlight=False)
    signals = build_console_table("signal", "pass", "fail", "null", "gain without", "lose without", "rows a second")
    for name, counts in summary["signals"].items():
        worth = statistics.get("signals", {}).get(name, {})
        numbers = [counts[key] for key in ("pass", "fail", "null")]
        numbers += [worth.get(key) for key in ("gain", "lose", "rows_per_second")]
        signals.add_row(name, *map(_number, numbers))
    console.print(signals)
    terms = build_console_table("term", "drops", "only it drops")
    for name, counts in statistics["terms"].items():
        terms.add_row(name, _number(counts["drops"]), _number(counts.get("only")))
    console.print(terms)
    for sentence in statistics.get("redundant", []):
        console.print(sentence, style="yellow", highlight=False)
    stages = " > ".join(f"{stage['stage']} {stage['rows']:,}" for stage in summary["funnel"])
    console.print(f"funnel  {stages}", highlight=False)
    for split, rows in summary["rows"].items():
        share = rows["kept"] / rows["total"] if rows["total"] else 0.0
        console.print(f"{split:<11} keeps {rows['kept']:>8,} of {rows['total']:>8,} ({share:.1%})")
    if statistics.get("labels"):
        console.print(labels(statistics["labels"]))


def labels(found: Mapping[str, Any]) -> str:
    """Return what is kept of each label as one line.

    >>> labels({"kept": {"1": {"total": 60, "kept": 30}}, "precision": 1.0, "recall": 0.5})
    'label 1 keeps 30 of 60: precision 1.000, recall 0.500'
    """
    kept = ", ".join(
        f"label {label} keeps {rows['kept']:,} of {rows['total']:,}" for label, rows in found["kept"].items()
    )
    measures = [f"{name} {found[name]:.3f}" for name in ("precision", "recall") if found.get(name) is not None]
    return f"{kept}: {', '.join(measures)}" if measures else kept


def print_plan(console: Console, plan: ScoringPlan, short: bool) -> None:
    """Print in which order the terms are cheapest asked, and what stopping at the first that fails saves."""
    if not plan.full_cost:
        console.print("all scores are on disk already")
        return
    console.print("cheapest order  " + " > ".join(map(str, plan.steps)), highlight=False)
    saved = f"{plan.expected_cost:,.0f} of {plan.full_cost:,.0f} µs a row, {plan.saved_fraction:.0%} saved"
    told = f"mode short_circuit: expects {saved}" if short else f"mode full; short_circuit would take {saved}"
    console.print(told, highlight=False)


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def funnel(stages: Mapping[str, int]) -> str:
    """Return the rows left after each stage as one line.

    >>> funnel({"read": 25000, "with_text": 23750})
    'read 25,000 > with text 23,750'
    """
    return " > ".join(f"{name.replace('_', ' ')} {rows:,}" for name, rows in stages.items())


def arguments(keywords: Mapping[str, Any]) -> str:
    """Return keyword arguments as a person would write them, without options that are off or not set.

    >>> arguments({"lr": 0.001, "weight_decay": 0.01, "amsgrad": False, "foreach": None})
    'lr 0.001, weight_decay 0.01'
    """
    return ", ".join(f"{name} {value}" for name, value in keywords.items() if value is not None and value is not False)
