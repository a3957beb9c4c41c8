"""Compare the arms of a study and write the report as HTML, Markdown, JSON, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from winnow.comparison.analysis import Comparison, analyze
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.comparison_logging import log_comparison
from winnow.comparison.metric_scores import compute_seed_scores
from winnow.comparison.next_steps import select_prompt, suggest_next_steps, suggest_repairs
from winnow.comparison.prompt_predictions import (
    BASE_MODEL_KEY,
    Fills,
    collect_fills,
    select_example_prompts,
)
from winnow.comparison.study_reader import StudySelection, read_results, select_runs
from winnow.errors import WinnowError
from winnow.formatting import join_names
from winnow.metrics.metric_registry import Metric
from winnow.reporting.comparison_figures import draw_comparison_figures, style_arms
from winnow.reporting.comparison_tables import build_comparison_tables
from winnow.reporting.endpoint_badges import build_badges
from winnow.reporting.factor_tables import build_factor_grids
from winnow.reporting.figure_rendering import Figure
from winnow.reporting.page_predictions import collect_predictions
from winnow.reporting.page_rendering import render_page
from winnow.reporting.plot_style import MARKER_CHARACTERS, ROLE_MARKS
from winnow.reporting.print_figures import save_print_figures
from winnow.tracking.mlflow_ui import FACTORS_VIEW_KEY, experiment_url
from winnow.tracking.store import Store
from winnow.untrusted_text import check_web_address

RECORDED_WORDS = 20
"""The number of words per prompt that every run records."""

PROVENANCE_LABELS = {
    "corpus": "corpus fingerprint",
    "tokenizer": "tokenizer fingerprint",
    "held_out": "held-out rows fingerprint",
    "probes": "probes fingerprint",
}


def compare(
    store_uri: str,
    study: str | Sequence[str],
    output: Path,
    metrics: Sequence[str] = (),
    ui_url: str = "http://127.0.0.1:5000",
    publish: bool = True,
    spool: str | None = None,
) -> Comparison:
    """Compare the arms of a study, write the report and log it to MLflow.

    Write ``comparison.json``, ``report.html``, ``report.md``, ``tables/`` (CSV, Markdown and LaTeX) and ``figures/``
    (SVG and PNG) into ``output``, and log all files to MLflow as a separate run.

    Args:
        store_uri: MLflow tracking URI of the store, such as ``sqlite:///outputs/mlflow.db``.
        study: Name of the study (its MLflow experiment), or names of several studies. The declaration of the first
            study determines what is compared.
        output: Output folder, created if missing.
        metrics: Undeclared metrics to include in the report. These metrics are marked as post hoc.
        ui_url: Address of the MLflow UI, for links to runs.
        publish: Whether to log the comparison to MLflow.
        spool: Folder for data that cannot be logged to the store. By default, ``unsent`` next to ``output``.

    Raises:
        WinnowError: If the study is unknown or has no finished run (key ``study``), if the store does not exist
            (``tracking.uri``), or if the folder is not writable (``output_dir``).
    """
    store = Store(uri=store_uri, artifacts=".", spool=spool or str(output.parent / "unsent")) if publish else None
    selection = select_runs(store_uri, *([study] if isinstance(study, str) else study))
    return compare_selection(selection, output, metrics, ui_url, store)[0]


def compare_selection(
    selection: StudySelection, output: Path, metrics: Sequence[str], ui_url: str, store: Store | None
) -> tuple[Comparison, str | None]:
    """Compare the selected runs and write the report. If a store is given, also log the comparison to MLflow.

    Returns:
        The comparison and the id of its MLflow run. The id is ``None`` if no store is given.
    """
    study = read_results(selection)
    comparison = analyze(study, extra_metrics=metrics)
    write_comparison_report(comparison, study, output, ui_url)
    return comparison, None if store is None else log_comparison(comparison, study, store, output)


def write_comparison_report(
    comparison: Comparison,
    study: CollectedStudy,
    output: Path,
    ui_url: str = "http://127.0.0.1:5000",
    print_figures: bool = False,
) -> list[Path]:
    """Write ``comparison.json``, ``report.html``, ``report.md``, ``tables/`` and ``figures/`` and return the paths.

    Args:
        comparison: The comparison.
        study: The study that was compared.
        output: Output folder, created if missing.
        ui_url: Address of the MLflow UI, for links to runs.
        print_figures: Whether to also save every panel one column wide, in color and in grayscale, in
            ``figures/print/``.

    Raises:
        WinnowError: If the folder is not writable (key ``output_dir``), or if ``ui_url`` is not an HTTP address.
    """
    try:
        check_web_address(ui_url)
    except ValueError as error:
        raise WinnowError(f"got {ui_url!r}. {error}.", "ui_url") from error
    try:
        output.mkdir(parents=True, exist_ok=True)
        fills = collect_fills(study, RECORDED_WORDS)
        figures = draw_comparison_figures(comparison, study, output / "figures", fills)
        context = _build_context(comparison, study, figures, fills, ui_url.rstrip("/"))
        numbers = json.dumps(comparison.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        texts = {"comparison.json": numbers + "\n"}
        texts |= {f"report.{ending}": render_page(f"comparison.{ending}", context) for ending in ("html", "md")}
        for name, text in texts.items():
            (output / name).write_text(text, encoding="utf-8")
        table_and_figure_files = [
            file for table in build_comparison_tables(comparison) for file in table.save(output / "tables")
        ]
    except OSError as error:
        reason = error.strerror or str(error)
        raise WinnowError(
            f"cannot write the report to {output}: {reason}. Choose a writable folder.", key="output_dir"
        ) from error
    if print_figures:
        table_and_figure_files += save_print_figures(figures.values(), output / "figures" / "print")
    table_and_figure_files += [file for figure in figures.values() for file in figure.files]
    return [*(output / name for name in texts), *table_and_figure_files]


def _build_context(
    comparison: Comparison,
    study: CollectedStudy,
    figures: dict[str, Figure],
    fills: dict[str, dict[str, Fills]],
    ui_url: str,
) -> dict[str, Any]:
    """Return the context for the templates. The templates themselves contain only text and layout."""
    declaration = study.declaration
    primary = comparison.primary
    styles = style_arms(comparison)
    versions = {
        declaration.baseline: "v1",
        declaration.filter: "v2",
        declaration.control: "random control",
        BASE_MODEL_KEY: "before training",
    }
    marks = {name: {"sign": MARKER_CHARACTERS[style.marker], "color": style.color} for name, style in styles.items()}
    dropped_rows = _list_dropped_rows(study)
    metrics = {finding.metric for finding in comparison.findings} | {
        entry["metric"] for entry in comparison.not_comparable
    }
    return {
        "c": comparison,
        "declaration": declaration,
        "primary": primary,
        "better": f"{primary.direction} is better" if primary.direction else "neither direction counts as better",
        "labels": {name: comparison.metric(name).label for name in metrics},
        "items": {"prompts": "prompts", "rows": "rows"}.get(primary.item_kind, "items"),
        "marks": marks,
        "versions": versions,
        "families": {
            family: [f for f in comparison.findings if f.family == family]
            for family in ("primary", "secondary", "descriptive")
        },
        "secondary_adjustment": _describe_secondary_adjustment(comparison),
        "badges": build_badges(comparison),
        "grids": build_factor_grids(comparison),
        "runs": _list_runs(study, primary),
        "refusals": _group_refusals(comparison, suggest_repairs(study, comparison.not_comparable)),
        "next_steps": suggest_next_steps(
            study, select_prompt(fills, primary.parsed_name.scope), comparison.only_word_frequencies is not None
        ),
        "compared": [entry for entry in comparison.slices if entry.change],
        "worse": [entry for entry in comparison.slices if entry.is_worse],
        "prompts": {prompt: _tabulate_fills(by_arm) for prompt, by_arm in select_example_prompts(fills).items()},
        "predictions": collect_predictions(study, fills, marks, versions) if fills else None,
        "filter": study.filter_summaries.get(declaration.filter or ""),
        "dropped": dropped_rows,
        "reasons": sorted({reason for row in dropped_rows for reason in row["reasons"]}),
        "links": {
            cell.run_id: f"{ui_url}/#/experiments/{cell.experiment_id}/runs/{cell.run_id}" for cell in study.runs
        },
        "charts": {
            experiment: experiment_url(ui_url, experiment, FACTORS_VIEW_KEY)
            for experiment in dict.fromkeys(cell.experiment_id for cell in study.runs)
        },
        "ui_url": ui_url,
        "provenance_labels": PROVENANCE_LABELS,
        "role_marks": ROLE_MARKS,
        "figures": figures,
        "methods": _describe_methods(comparison),
        "version": comparison.as_dict()["winnow_version"],
    }


def _list_runs(study: CollectedStudy, metric: Metric) -> list[dict[str, Any]]:
    """Return the arm, the factor levels, the seed, the score and the run id of every run."""
    runs = []
    for level, level_study in (study.levels or {"": study}).items():
        scores = {arm: compute_seed_scores(level_study, metric, arm) for arm in level_study.arms}
        runs += [
            {"arm": arm, "level": level, "seed": cell.seed, "score": scores[arm].get(cell.seed), "run_id": cell.run_id}
            for arm in level_study.arms
            for cell in level_study.get_cells(arm)
        ]
    return runs


def _group_refusals(comparison: Comparison, repairs: dict[str, str]) -> list[dict[str, Any]]:
    """Return each reason why arms cannot be compared once, with the affected contrasts and the command that helps."""
    contrasts: dict[str, list[str]] = {}
    for entry in comparison.not_comparable:
        label = comparison.metric(entry["metric"]).label
        arms = f"{entry['a'] or 'no filter'} and {entry['b']}"
        contrasts.setdefault(entry["reason"], []).append(f"{label} ({arms})")
    return [
        {"reason": reason, "contrasts": join_names(names), "command": repairs.get(reason, "")}
        for reason, names in contrasts.items()
    ]


def _tabulate_fills(by_arm: Fills) -> dict[str, Any]:
    """Return the fills of each arm as a table with one row per rank."""
    return {"arms": list(by_arm), "rows": list(zip_longest(*by_arm.values()))}


def _describe_methods(comparison: Comparison) -> str:
    """Return the methods paragraph with the numbers of this study."""
    primary = [finding.result for finding in comparison.findings if finding.family == "primary"]
    seeds = join_names([f"{arm.n} ({name})" for name, arm in comparison.arms.items()])
    items = {"prompts": "prompts", "rows": "held-out rows"}.get(comparison.primary.item_kind, "summary metrics")
    scored_on = f"{primary[0].items} {items}" if primary else items
    degrees = f" (here {join_names([f'{result.df:.1f}' for result in primary])})" if primary else ""
    return (
        f"Seeds per arm: {seeds}. Each run was scored on {scored_on}. Seeds are nested within arms, and {items} are "
        f"crossed with seeds. Seeds and {items} are random effects, so the conclusions extend beyond the seeds and "
        f"{items} used here. The variance of a difference between two means combines the variance between the seeds of "
        f"each arm with the variance of the difference over {items}, and subtracts the seed-by-item residual variance, "
        "because both variances include it. The difference divided by its standard error is compared with Student's t "
        f"distribution with Satterthwaite degrees of freedom{degrees}; the interval and the p-value both come from "
        f"this test. {_describe_adjustment(comparison)} The secondary contrasts are "
        f"{_describe_secondary_adjustment(comparison)}. Losses are means over masked tokens, with the same masks for "
        "every run. Perplexity is the "
        "exponential of the loss, and its standard error comes from the delta method. A crossed bootstrap and a "
        "permutation test of the seed means are reported as sensitivity checks. Each run is evaluated at its "
        "last checkpoint. The base model is shown but not tested."
    )


def _describe_adjustment(comparison: Comparison) -> str:
    """Describe how the p-values of the primary contrasts are adjusted."""
    ranking = comparison.filter_ranking
    if ranking is None or ranking.adjustment == "Holm":
        return "The primary contrasts are Holm-corrected."
    return (
        f"The {ranking.contrasts} primary contrasts of the {len(ranking.filters)} filters are adjusted by the "
        "step-down max-t method: their joint null distribution is simulated with the estimated correlations and "
        "variance components. Each of the other two endpoints is adjusted over the filters in the same way."
    )


def _describe_secondary_adjustment(comparison: Comparison) -> str:
    """Describe in a few words how the p-values of the secondary contrasts are adjusted."""
    ranking = comparison.filter_ranking
    if ranking is None:
        return "Holm-corrected separately"
    return f"adjusted for the {len(ranking.filters)} filters and for the number of secondary metrics"


def _list_dropped_rows(study: CollectedStudy, max_rows: int = 40) -> list[dict[str, Any]]:
    """Return examples of dropped rows, each with its text, the terms it failed and its other fields."""
    examples = (study.filter_summaries.get(study.declaration.filter or "") or {}).get("dropped") or []
    dropped_rows: list[dict[str, Any]] = []
    for example in examples[:max_rows]:
        if not isinstance(example, dict):
            dropped_rows.append({"text": str(example), "reasons": [], "more": ""})
            continue
        details = [
            f"{key} {join_names([str(entry) for entry in value]) if isinstance(value, list) else value}"
            for key, value in example.items()
            if key not in ("text", "row_id") and value not in (None, "", [])
        ]
        reasons = [str(reason) for reason in example.get("failed") or []]
        dropped_rows.append({"text": str(example.get("text", "")), "reasons": reasons, "more": ", ".join(details)})
    return dropped_rows
