"""Prints summaries of a run, a filter and a scoring plan to the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.metrics.metric_names import ALL_ROWS_SLICE, held_out_metric_name
from winnow.reporting.table_rendering import build_console_table

if TYPE_CHECKING:
    from winnow.config.schema import TrainingConfig
    from winnow.evaluation import ProbeScores
    from winnow.filters.scoring_planner import ScoringPlan
    from winnow.run.evaluate import EvaluationResult
    from winnow.run.run_inputs import RunInputs

PRINTED_PROMPTS_PER_PROBE = 2
"""The number of prompts per probe whose fills a run prints."""


def print_overview(console: Console, inputs: RunInputs) -> None:
    """Print the main settings of a run before it starts."""
    config, components, corpus = inputs.config, inputs.components, inputs.corpus
    training = config.training
    train_count, kept_count = corpus.split("train").num_rows, inputs.train_rows.num_rows
    held_out = ", ".join(f"{name} {split.rows.num_rows:,}" for name, split in inputs.held_out.items())
    parameters = sum(weights.numel() for weights in inputs.model.parameters())
    options = components.trainer.keywords
    devices = f"{options['accelerator']}, devices {options['devices']}"
    slices = ", ".join(f"{name}/kept, {name}/removed" for name in components.slices)
    lines = {
        "corpus": f"{components.dataset.name}: {format_funnel(corpus.funnel)}",
        "rows": f"train {train_count:,}, {held_out}",
        "filter": f"{components.filter.name}: trains on {kept_count:,} of {train_count:,} rows "
        f"({kept_count / train_count:.0%})",
        "model": f"{type(inputs.model).__name__}, {parameters:,} parameters, vocabulary {len(inputs.tokenizer):,}",
        "masking": f"{components.masking.rate:.0%} of the tokens, resampled in every epoch",
        "budget": f"{format_budget(training)} of {training.batch_size} {training.batching}",
        "optimizer": f"{components.optimizer.func.__name__} {format_arguments(components.optimizer.keywords)}",
        "trainer": f"{devices}, precision {options['precision'] or '32-true'}",
        "evaluated on": f"all{', ' + slices if slices else ''}; masks fixed by seed {config.evaluation.mask_seed}",
        "probes": ", ".join(components.probes),
        "tracking": f"{components.store.uri}, experiment {config.study.name}",
        "seed": str(config.seed),
    }
    grid = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        grid.add_row(f"[bold]{name}[/bold]", escape(text))
    console.print(grid)


def print_fills(console: Console, before: Mapping[str, ProbeScores], after: Mapping[str, ProbeScores]) -> None:
    """Print the most likely words at the first prompts of each probe, before and after training."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, scores in after.items():
        for prompt in list(dict.fromkeys(scores.fills["prompt"].to_pylist()))[:PRINTED_PROMPTS_PER_PROBE]:
            grid.add_row("", "")
            grid.add_row("prompt", f"[bold]{escape(prompt)}[/bold]  [dim]({escape(name)})[/dim]")
            grid.add_row("  before", escape(format_top_words(before[name], prompt)))
            grid.add_row("  after", escape(format_top_words(scores, prompt)))
    if grid.row_count:
        console.print(grid)


def format_top_words(scores: ProbeScores, prompt: str, count: int = 6) -> str:
    """Return the most likely words at a prompt with their probabilities, such as `durable 12.3%, light 4.0%`."""
    fills = [fill for fill in scores.fills.to_pylist() if fill["prompt"] == prompt and fill["rank"] <= count]
    return ", ".join(f"{fill['word']} {fill['probability']:.1%}" for fill in fills)


def print_run_result(
    console: Console, run_name: str, run_id: str, primary_metric: str, result: EvaluationResult
) -> None:
    """Print a finished run's main scores, its id, and commands that use the run."""
    loss_names = {split: held_out_metric_name(split, ALL_ROWS_SLICE, "loss") for split in ("test", "validation")}
    split = next(name for name, metric in loss_names.items() if metric in result.scores)
    loss, primary = result.scores[loss_names[split]], result.scores.get(primary_metric)
    is_loss = primary is None or primary_metric == loss_names[split]
    scores = f"{split} loss {loss:.3f}" if is_loss else f"{primary_metric} {primary:+.3f}, {split} loss {loss:.3f}"
    console.print(f"\n[bold]{escape(scores)}[/bold]", soft_wrap=True)
    console.print(escape(f"Run {run_id} ({run_name})"), soft_wrap=True)
    for command in (f'winnow fill "TEXT WITH [MASK]" {run_id[:8]}', f"winnow rerun {run_id[:8]}", "winnow ui"):
        console.print(escape(f"  {command}"), soft_wrap=True)


def format_budget(training: TrainingConfig) -> str:
    """Return the limits of a training run as text.

    >>> from winnow.config.schema import TrainingConfig
    >>> format_budget(TrainingConfig(max_steps=2000, max_minutes=5, patience=3))
    '2,000 steps, 5 minutes or 3 validations without improvement, whichever comes first,'
    """
    limit = f"{training.max_steps:,} steps"
    if training.max_passes is not None:
        limit = f"{training.budget} in steps"
    elif training.total_tokens is not None:
        limit = f"{training.total_tokens:,} tokens in steps"
    limits = [limit]
    if training.max_minutes is not None:
        limits.append(f"{training.max_minutes:g} minutes")
    if training.patience is not None:
        limits.append(f"{training.patience} validations without improvement")
    return limit if len(limits) == 1 else f"{', '.join(limits[:-1])} or {limits[-1]}, whichever comes first,"


def print_verdicts(console: Console, summary: Mapping[str, Any], statistics: Mapping[str, Any]) -> None:
    """Print a filter's effect on the rows: counts per signal, per term and per split."""
    console.print(f"[bold]{escape(summary['filter'])}[/bold] keeps a row if {escape(summary['keep'])}", highlight=False)
    signals = build_console_table(
        "signal", "pass", "fail", "null", "more kept without", "fewer kept without", "rows per second"
    )
    for name, counts in summary["signals"].items():
        effects = statistics.get("signals", {}).get(name, {})
        numbers = [counts[key] for key in ("pass", "fail", "null")]
        numbers += [effects.get(key) for key in ("gain", "lose", "rows_per_second")]
        signals.add_row(escape(name), *map(_format_count, numbers))
    console.print(signals)
    terms = build_console_table("term", "drops", "drops alone")
    for name, counts in statistics["terms"].items():
        terms.add_row(escape(name), _format_count(counts["drops"]), _format_count(counts.get("only")))
    console.print(terms)
    for sentence in statistics.get("redundant", []):
        console.print(escape(sentence), style="yellow", highlight=False)
    stages = " > ".join(f"{stage['stage']} {stage['rows']:,}" for stage in summary["funnel"])
    console.print(f"funnel  {escape(stages)}", highlight=False)
    for split, rows in summary["rows"].items():
        fraction = rows["kept"] / rows["total"] if rows["total"] else 0.0
        console.print(f"{split:<11} keeps {rows['kept']:>8,} of {rows['total']:>8,} ({fraction:.1%})")
    if statistics.get("labels"):
        console.print(escape(format_labels(statistics["labels"])))


def format_labels(statistics: Mapping[str, Any]) -> str:
    """Format the number of kept rows per label as one line.

    >>> format_labels({"kept": {"1": {"total": 60, "kept": 30}}, "precision": 1.0, "recall": 0.5})
    'label 1 keeps 30 of 60: precision 1.000, recall 0.500'
    """
    kept_text = ", ".join(
        f"label {label} keeps {rows['kept']:,} of {rows['total']:,}" for label, rows in statistics["kept"].items()
    )
    measures = [
        f"{name} {statistics[name]:.3f}" for name in ("precision", "recall") if statistics.get(name) is not None
    ]
    return f"{kept_text}: {', '.join(measures)}" if measures else kept_text


def print_scoring_plan(console: Console, plan: ScoringPlan, short_circuit: bool) -> None:
    """Print the cheapest order of the terms, and how much time short-circuit evaluation is expected to save."""
    if not plan.full_cost:
        console.print("all scores are cached")
        return
    console.print("cheapest order  " + escape(" > ".join(map(str, plan.steps))), highlight=False)
    saving = f"{plan.expected_cost:,.0f} of {plan.full_cost:,.0f} µs per row, {plan.saved_fraction:.0%} saved"
    text = (
        f"mode short_circuit: expected {saving}" if short_circuit else f"mode full; short_circuit would take {saving}"
    )
    console.print(text, highlight=False)


def _format_count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def format_funnel(stages: Mapping[str, int]) -> str:
    """Format the row count after each stage as one line.

    >>> format_funnel({"read": 25000, "with_text": 23750})
    'read 25,000 > with text 23,750'
    """
    return " > ".join(f"{name.replace('_', ' ')} {rows:,}" for name, rows in stages.items())


def format_arguments(keywords: Mapping[str, Any]) -> str:
    """Format keyword arguments as text, and omit disabled and unset options.

    >>> format_arguments({"lr": 0.001, "weight_decay": 0.01, "amsgrad": False, "foreach": None})
    'lr 0.001, weight_decay 0.01'
    """
    return ", ".join(f"{name} {value}" for name, value in keywords.items() if value is not None and value is not False)
