"""Build descriptions of runs, views of the runs table and a chart of the factors for the MLflow UI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from winnow.metrics.metric_names import TRAIN_ROWS, stage_metric_name
from winnow.metrics.metric_registry import Metric
from winnow.tracking.keys import (
    ARM,
    ARM_PARAMETER,
    COMPARISON_FOLDER,
    FACTOR_PARAMETER_PREFIX,
    FACTOR_PREFIX,
    KIND,
    METRIC_TABLE,
    SEED,
)
from winnow.tracking.metric_table import list_shown_scores

RUNS_VIEW_KEY: Final = "winnow"
"""Key of the shared view that lists each cell's arm, seed and scores."""

ARMS_VIEW_KEY: Final = "winnow-arms"
"""Key of the shared view that groups the cells by arm."""

FACTORS_VIEW_KEY: Final = "winnow-factors"
"""Key of the shared view that shows the arms, the factor levels and the primary metric as parallel coordinates."""

RUNS_VIEW_TAG: Final = f"mlflow.sharedViewState.{RUNS_VIEW_KEY}"
ARMS_VIEW_TAG: Final = f"mlflow.sharedViewState.{ARMS_VIEW_KEY}"
FACTORS_VIEW_TAG: Final = f"mlflow.sharedViewState.{FACTORS_VIEW_KEY}"

CHART_SECTION: Final = "Arms, factors and scores"
"""The heading of the section of MLflow's chart page that contains the parallel coordinates."""

CHART_HEIGHT: Final = 400
"""The height of the chart in pixels."""

EXPERIMENT_DESCRIPTION: Final = "mlflow.note.content"
"""Tag: the description of an experiment, as Markdown."""

DESCRIPTION: Final = (
    "Masked language models, trained on filtered and on unfiltered rows. The parent run of a study contains its "
    "declaration and one child run per cell (an arm and a seed). `final/...` are scores of the last checkpoint; "
    "`test/all` is the full set of held-out rows. All other scores, including those of the model before its first step "
    f"(`before`), are in the table `{METRIC_TABLE}` among the artifacts of each run. Use `winnow compare` to test "
    "differences between arms."
)

EXPERIMENT_TAGS: Final = {
    # Without this tag, the MLflow UI opens its GenAI pages instead of the runs table.
    "mlflow.experimentKind": "custom_model_development",
    EXPERIMENT_DESCRIPTION: DESCRIPTION,
}


def build_view_tags(metrics: Sequence[Metric], factors: Sequence[str] = ()) -> dict[str, str]:
    """Return the experiment tags that define the shared views of the runs table.

    The first view lists the cells, best score first. The second view groups the cells by arm and averages their scores.
    The third view has a chart of parallel coordinates, one line per cell.

    Args:
        metrics: Scores to show.
        factors: Factors of the study, whose levels are columns.
    """
    groups = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": ARM}]}
    return {
        RUNS_VIEW_TAG: json.dumps(_build_runs_view(metrics, factors)),
        ARMS_VIEW_TAG: json.dumps(_build_runs_view(metrics, factors) | {"groupBy": groups}),
        FACTORS_VIEW_TAG: json.dumps(_build_runs_view(metrics, factors) | _build_factor_chart(metrics[0], factors)),
    }


def _build_factor_chart(metric: Metric, factors: Sequence[str]) -> dict[str, Any]:
    """Return the charts of the view: parallel coordinates of arm, factor levels, training rows and one score.

    The chart draws only runs that have a value on every axis, so the axes are parameters and metrics that every cell
    has. MLflow colors the lines by the last axis. It adds its own charts of all metrics below this section.
    """
    section = {
        "uuid": CHART_SECTION,
        "name": CHART_SECTION,
        "display": True,
        "isReordered": True,
        "columns": 1,
        "cardHeight": CHART_HEIGHT,
    }
    chart = {
        "uuid": FACTORS_VIEW_KEY,
        "type": "PARALLEL",
        "metricSectionId": CHART_SECTION,
        "selectedParams": [ARM_PARAMETER, *(f"{FACTOR_PARAMETER_PREFIX}{key}" for key in factors)],
        "selectedMetrics": [TRAIN_ROWS, stage_metric_name("final", metric.name)],
        "showAllRuns": True,  # by default, a chart shows only the first ten runs
    }
    options = {"deleted": False, "isGenerated": False}
    return {
        "compareRunCharts": [chart | options],
        "compareRunSections": [section | options],
        "isAccordionReordered": True,  # otherwise, MLflow sorts the sections by name
        "runListHidden": True,  # the list leaves too little space for the axes; a button shows it
    }


def _build_runs_view(metrics: Sequence[Metric], factors: Sequence[str]) -> dict[str, Any]:
    """Return a view of the runs table that lists only cells, with arm, factor levels, seed and scores.

    The table is sorted by the first score; sorting also prevents the UI from collapsing cells under their study.
    """
    names = list_shown_scores(metric.name for metric in metrics)
    scores = [f"metrics.`{stage_metric_name('final', name)}`" for name in names]
    tags = [f"tags.`{tag}`" for tag in (ARM, *(f"{FACTOR_PREFIX}{key}" for key in factors), SEED)]
    column_names = [*tags, *scores, f"metrics.`{TRAIN_ROWS}`", "attributes.`Duration`"]
    return {
        "searchFilter": f"tags.`{KIND}` = 'cell'",
        "orderByKey": scores[0],
        "orderByAsc": metrics[0].direction == "lower",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "selectedColumns": column_names,
        "useGroupedValuesInCharts": True,
    }


def experiment_url(server: str, experiment_id: str, view: str = ARMS_VIEW_KEY) -> str:
    """Return the URL that shows an experiment's runs in one of Winnow's views of the runs table.

    Without the workflow type, MLflow opens a page for generative models.

    >>> experiment_url("http://127.0.0.1:5000", "1")
    'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=winnow-arms'
    """
    options = f"workflowType=machine_learning&viewStateShareKey={view}"
    mode = "&compareRunsMode=CHART" if view == FACTORS_VIEW_KEY else ""
    return f"{server}/#/experiments/{experiment_id}/runs?{options}{mode}"


def describe_experiment(verdict: Sequence[str], experiment_id: str, comparison_run_id: str) -> str:
    """Return the description of a study's experiment: the verdict, links to the report and the chart, and the runs.

    Args:
        verdict: The sentences of the verdict.
        experiment_id: The id of the experiment.
        comparison_run_id: The id of the run that has the report as an artifact.
    """
    report = f"#/experiments/{experiment_id}/runs/{comparison_run_id}/artifacts/{COMPARISON_FOLDER}/report.html"
    report += "?workflowType=machine_learning"
    chart = experiment_url("", experiment_id, FACTORS_VIEW_KEY).removeprefix("/")
    links = f"[Open the report]({report}), [show arms, factors and scores as parallel coordinates]({chart})"
    headline, *sentences = verdict
    return "\n\n".join([f"**{headline}**", *sentences, links, DESCRIPTION])


def describe_cell(
    cell: Mapping[str, Any], scores: Mapping[str, float] | None = None, before: Mapping[str, float] | None = None
) -> str:
    """Return a Markdown description of a cell and, if available, its scores.

    Args:
        cell: A dictionary with the keys `arm`, `seed`, `rows` (training rows), `of` (rows before filtering), `model`,
            `steps` and `metrics` (names of the scores to show).
        scores: Scores of the last checkpoint, by metric name.
        before: Scores before the first step, by metric name.
    """
    lines = [
        f"**{cell['arm']}**, seed {cell['seed']}: {cell['model']}, trained for {cell['steps']:,} steps on "
        f"{cell['rows']:,} of {cell['of']:,} rows."
    ]
    if scores is not None:
        rows = [
            f"| {name} | {_format_score((before or {}).get(name))} | {_format_score(scores[name])} |"
            for name in cell["metrics"]
            if name in scores
        ]
        lines += ["", "| score | before | after |", "|---|---:|---:|", *rows]
        lines += ["", f"All other scores are in the artifact `{METRIC_TABLE}`."]
    return "\n".join(lines)


def _format_score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
