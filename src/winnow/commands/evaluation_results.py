"""Print and save the results of `winnow evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from winnow.config import EvaluateConfig
from winnow.evaluation.probes.probe_scores import top_k_rows
from winnow.formatting import format_number, shorten_middle
from winnow.metrics.metric_names import ALL_ROWS_SLICE, parse_metric_name, probe_metric_name
from winnow.metrics.metric_registry import Metric
from winnow.reporting.model_figures import EvaluatedModel, draw_models
from winnow.reporting.table_rendering import build_console_table, save_table
from winnow.tracking import Store, keys, track
from winnow.tracking.metric_table import select_logged_scores
from winnow.untrusted_text import sanitize_file_name

MIN_LABEL_WIDTH = 12
COLUMN_PADDING = 4
"""The minimum width of a model's column in a printed table, and the number of spaces around each column."""

PRINTED_FULL_SPLIT_METRICS = ("loss", "perplexity", "top1", "top5", "mrr", "ece", "pseudo_perplexity")
PRINTED_SLICE_METRICS = ("perplexity", "top1")
"""Held-out metrics that are printed for each slice. The saved tables contain all metrics."""

PRINTED_PROBE_METRICS = (
    "log_odds",
    "corrected_log_odds",
    "wanted_mass",
    "unwanted_mass",
    "positive_at_10",
    "negative_at_10",
    "net_at_10",
    "sentiment_at_10",
    "opinion_at_10",
    "forbidden_hit_at_10",
)


def group_by_tokenizer(results: Sequence[EvaluatedModel]) -> list[list[EvaluatedModel]]:
    """Return lists of models with the same tokenizer, since losses are not comparable across tokenizers."""
    groups: dict[str, list[EvaluatedModel]] = {}
    for result in results:
        groups.setdefault(result.tokenizer, []).append(result)
    return list(groups.values())


def print_results(console: Console, results: Sequence[EvaluatedModel], split: str) -> None:
    """Print one table of held-out metrics per tokenizer, and one table of probe metrics for all models."""
    groups = group_by_tokenizer(results) if any(_held_out_metrics(result) for result in results) else []
    if len(groups) > 1:
        labels = "; ".join(", ".join(result.label for result in group) for group in groups)
        console.print(
            f"[yellow]These models have {len(groups)} different tokenizers ({escape(labels)}). Loss, perplexity and "
            "accuracy are not comparable across tokenizers, so each tokenizer has its own table. "
            "Probes compare all models."
        )
    for group in groups:
        names = _held_out_metrics(group[0])
        printed_names = [
            name
            for name in names
            if (metric := parse_metric_name(name)).score
            in (PRINTED_FULL_SPLIT_METRICS if metric.scope == ALL_ROWS_SLICE else PRINTED_SLICE_METRICS)
        ]
        _print_tables(console, f"held-out rows, {split}", printed_names, group, f"{split}/")
        empty_slices = [
            parse_metric_name(name)
            for name in names
            if parse_metric_name(name).score == "rows" and group[0].scores[name] == 0
        ]
        for metric in empty_slices:
            slice_name = escape(f"{metric.group}/{metric.scope}")
            console.print(f"The slice {slice_name} is empty, so it has no scores.", style="yellow")
    names = _probe_metrics(results)
    printed_names = [
        name for name in names if parse_metric_name(name).score in PRINTED_PROBE_METRICS or not Metric(name).is_known
    ]
    _print_tables(console, "probes", printed_names, results, "probe/")


def _held_out_metrics(result: EvaluatedModel) -> list[str]:
    return [name for name in result.scores if parse_metric_name(name).kind == "held_out"]


def _probe_metrics(results: Sequence[EvaluatedModel]) -> list[str]:
    return list(
        dict.fromkeys(name for result in results for name in result.scores if parse_metric_name(name).kind == "probe")
    )


def _print_tables(
    console: Console, title: str, names: Sequence[str], results: Sequence[EvaluatedModel], prefix: str
) -> None:
    """Print a row per metric and a column per model, in several tables if the models do not fit side by side."""
    row_names = [name.removeprefix(prefix) for name in names]
    available = console.width - max(map(len, row_names), default=0) - COLUMN_PADDING
    models_per_table = min(len(results), max(1, available // (MIN_LABEL_WIDTH + COLUMN_PADDING)))
    label_width = max(MIN_LABEL_WIDTH, available // models_per_table - COLUMN_PADDING)
    headings = [shorten_middle(result.label, label_width) for result in results]
    if len(set(headings)) < len(headings):
        headings = [f"({number})" for number in range(1, len(results) + 1)]
        legend = ", ".join(f"{heading} {result.label}" for heading, result in zip(headings, results, strict=True))
        console.print(escape(f"{title}: {legend}"))
    for start in range(0, len(results), models_per_table):
        columns = slice(start, start + models_per_table)
        table = build_console_table("", *headings[columns], title=title)
        for name, row_name in zip(names, row_names, strict=True):
            table.add_row(escape(row_name), *(format_number(result.scores.get(name)) for result in results[columns]))
        console.print(table)


def save_results(config: EvaluateConfig, store: Store, results: Sequence[EvaluatedModel]) -> Path:
    """Save tables and figures of all scores, and log the scores as an MLflow run with one child run per model.

    Returns:
        The folder that contains the tables and figures.
    """
    experiment = store.experiment(config.name)
    title = ", ".join(result.label for result in results)
    with track(store, experiment, title, {keys.KIND: "evaluation"}) as run:
        folder = config.output_dir / config.name / run.run_id[:8]
        fill_rows = [row for result in results for row in top_k_rows(result.label, result.probes)]
        save_table(build_score_rows(results), folder, "scores", "Scores of each model.")
        save_table(fill_rows, folder, "probe_topk", "The most likely words at each prompt.")
        for result in results:
            save_table(
                result.modules,
                folder / "structure",
                sanitize_file_name(result.label),
                f"The modules of {result.label}.",
            )
        draw_models(results, folder / "figures")
        for result in results:
            tags = {keys.KIND: "evaluated", keys.ARM: result.label, keys.TOKENIZER: result.tokenizer}
            with track(store, experiment, result.label, tags, run.run_id) as child_run:
                child_run.log_params({"source": result.source, "run": result.run_id or ""})
                child_run.log_only(select_logged_scores(probe_metric_name(name, "log_odds") for name in result.probes))
                child_run.log_metrics(result.scores)
                child_run.log_columns(top_k_rows(result.label, result.probes), keys.TOP_WORDS)
        run.log_columns(fill_rows, keys.TOP_WORDS)
        run.log_folder(folder, "evaluation")
    return folder


def build_score_rows(results: Sequence[EvaluatedModel]) -> list[dict[str, Any]]:
    """Return a table of scores with one row per metric and one column per model.

    Held-out metrics are not comparable across tokenizers, so each tokenizer has separate rows for these metrics.
    """
    rows: list[dict[str, Any]] = []
    groups = group_by_tokenizer(results)
    for group in groups:
        for name in dict.fromkeys(name for result in group for name in _held_out_metrics(result)):
            row: dict[str, Any] = {"metric": name}
            if len(groups) > 1:
                row["tokenizer"] = group[0].tokenizer
            rows.append(row | {result.label: result.scores.get(name) for result in group})
    names = _probe_metrics(results)
    rows += [{"metric": name} | {result.label: result.scores.get(name) for result in results} for name in names]
    return rows
