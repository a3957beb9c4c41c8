"""The results of `winnow evaluate`: tables for the terminal, for files, and for the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.config import EvaluateConfig
from winnow.evaluation.probes.probe_scores import top_k_rows
from winnow.formatting import format_number
from winnow.metrics.metric_names import ALL, parse_metric_name
from winnow.metrics.metric_registry import Metric
from winnow.reporting.model_figures import EvaluatedModel, draw_models
from winnow.reporting.tables import build_console_table, save_table
from winnow.tracking import Store, keys, track

SHOWN_OF_ALL = ("loss", "perplexity", "top1", "top5", "mrr", "ece", "pseudo_perplexity")
SHOWN_OF_SLICES = ("perplexity", "top1")
"""Metrics of held-out rows that the terminal shows; the files hold all."""

SHOWN_OF_PROBES = (
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


def by_tokenizer(results: Sequence[EvaluatedModel]) -> list[list[EvaluatedModel]]:
    """Part models by their tokenizers: losses over different tokens are no numbers of one column."""
    groups: dict[str, list[EvaluatedModel]] = {}
    for result in results:
        groups.setdefault(result.tokenizer, []).append(result)
    return list(groups.values())


def print_results(console: Console, results: Sequence[EvaluatedModel], split: str) -> None:
    """Print a table of held-out rows for each tokenizer, and one of all probes for all models."""
    groups = by_tokenizer(results) if any(_of_rows(result) for result in results) else []
    if len(groups) > 1:
        told = "; ".join(", ".join(result.label for result in group) for group in groups)
        console.print(
            f"[yellow]These models have {len(groups)} different tokenizers ({escape(told)}). Loss, perplexity and "
            "accuracy count other tokens under each, so they stand in tables of their own; the probes compare all."
        )
    for group in groups:
        names = _of_rows(group[0])
        shown = [
            name
            for name in names
            if (named := parse_metric_name(name)).score in (SHOWN_OF_ALL if named.scope == ALL else SHOWN_OF_SLICES)
        ]
        console.print(_table(f"held-out rows, {split}", shown, group, f"{split}/"))
        empty = [
            parse_metric_name(name)
            for name in names
            if parse_metric_name(name).score == "rows" and group[0].scores[name] == 0
        ]
        for one in empty:
            console.print(f"The slice {one.group}/{one.scope} is empty, so it has no averages.", style="yellow")
    names = _of_probes(results)
    shown = [name for name in names if parse_metric_name(name).score in SHOWN_OF_PROBES or not Metric(name).is_known]
    console.print(_table("probes", shown, results, "probe/"))


def _of_rows(result: EvaluatedModel) -> list[str]:
    return [name for name in result.scores if parse_metric_name(name).kind == "held_out"]


def _of_probes(results: Sequence[EvaluatedModel]) -> list[str]:
    return list(
        dict.fromkeys(name for result in results for name in result.scores if parse_metric_name(name).kind == "probe")
    )


def _table(title: str, names: Iterable[str], results: Sequence[EvaluatedModel], prefix: str) -> Table:
    table = build_console_table("", *(result.label for result in results), title=title)
    for name in names:
        table.add_row(name.removeprefix(prefix), *(format_number(result.scores.get(name)) for result in results))
    return table


def keep_results(config: EvaluateConfig, store: Store, results: Sequence[EvaluatedModel]) -> Path:
    """Keep all scores as tables in a folder and in the store, as one run with a run below it for each model."""
    experiment = store.experiment(config.name)
    title = ", ".join(result.label for result in results)
    with track(store, experiment, title, {keys.KIND: "evaluation"}) as run:
        folder = config.output_dir / config.name / run.run_id[:8]
        all_fills = [row for result in results for row in top_k_rows(result.label, result.probes)]
        save_table(score_rows_of(results), folder, "scores", "Scores of each model.")
        save_table(all_fills, folder, "probe_topk", "The likeliest words at each prompt.")
        for result in results:
            save_table(result.modules, folder / "structure", _file(result.label), f"The modules of {result.label}.")
        draw_models(results, folder / "figures")
        for result in results:
            tags = {keys.KIND: "evaluated", keys.ARM: result.label, keys.TOKENIZER: result.tokenizer}
            with track(store, experiment, result.label, tags, run.run_id) as child:
                child.log_params({"source": result.source, "run": result.run_id or ""})
                child.log_metrics(result.scores)
                child.log_columns(top_k_rows(result.label, result.probes), keys.TOPK)
        run.log_columns(all_fills, keys.TOPK)
        run.log_folder(folder, "evaluation")
    return folder


def score_rows_of(results: Sequence[EvaluatedModel]) -> list[dict[str, Any]]:
    """Return a row for each metric, a column for each model.

    Under each further tokenizer, metrics of held-out rows have lines of their own, so that no column mixes them.
    """
    rows: list[dict[str, Any]] = []
    groups = by_tokenizer(results)
    for group in groups:
        for name in dict.fromkeys(name for result in group for name in _of_rows(result)):
            row: dict[str, Any] = {"metric": name}
            if len(groups) > 1:
                row["tokenizer"] = group[0].tokenizer
            rows.append(row | {result.label: result.scores.get(name) for result in group})
    names = _of_probes(results)
    rows += [{"metric": name} | {result.label: result.scores.get(name) for result in results} for name in names]
    return rows


def _file(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label).strip("_")
