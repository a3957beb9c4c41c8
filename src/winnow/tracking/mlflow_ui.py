"""What MLflow's pages show: what an experiment is, the columns that matter, and what a run is in a few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from winnow.metrics.metric_names import TRAIN_ROWS, stage_metric_name
from winnow.metrics.metric_registry import Metric
from winnow.tracking.keys import ARM, KIND, SEED

VIEW_KEY: Final = "winnow"
"""The key of the view that opens with the columns that matter."""

VIEW_TAG: Final = f"mlflow.sharedViewState.{VIEW_KEY}"

EXPERIMENT_TAGS: Final = {
    # Without it the pages open on those for chats and agents.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "Masked language models, trained on filtered and on unfiltered rows. The run of a study holds what was "
        "declared and, below it, a run for each cell (an arm and a seed). `final/...` are scores of the last "
        "checkpoint, `before/...` of the model before its first step; `test/all` are all held-out rows, and "
        "`FILTER/kept` and `FILTER/removed` slices of them. What differs between arms for certain is told by "
        "`winnow compare`."
    ),
}


def build_runs_view(metrics: Sequence[Metric]) -> str:
    """Return the state of the table of runs that shows cells alone, with arm, seed and scores as columns, best first.

    Args:
        metrics: Scores to show; the first decides the order, which also keeps cells from being
            folded away below their study.
    """
    scores = [f"metrics.`{stage_metric_name('final', metric.name)}`" for metric in metrics]
    tags = [f"tags.`{tag}`" for tag in (ARM, SEED)]
    columns = [*tags, *scores, f"metrics.`{TRAIN_ROWS}`", "attributes.`Duration`"]
    return json.dumps(
        {
            "searchFilter": f"tags.`{KIND}` = 'cell'",
            "orderByKey": scores[0],
            "orderByAsc": metrics[0].direction == "lower",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "selectedColumns": columns,
            "useGroupedValuesInCharts": True,
        }
    )


def experiment_url(server: str, experiment_id: str) -> str:
    """Return the address of an experiment's runs with the columns that matter.

    >>> experiment_url("http://127.0.0.1:5000", "1")
    'http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=winnow'
    """
    return f"{server}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}"


def describe_cell(
    facts: Mapping[str, Any], scores: Mapping[str, float] | None = None, before: Mapping[str, float] | None = None
) -> str:
    """Return what a cell is, and once it is known what it scored, as markdown.

    Args:
        facts: `arm`, `seed`, `rows`, `of`, `model`, `steps` and `metrics` (names of scores to tell).
        scores: Scores of the last checkpoint by name.
        before: The same before the first step.
    """
    lines = [
        f"**{facts['arm']}**, seed {facts['seed']}: {facts['model']}, trained for {facts['steps']:,} steps on "
        f"{facts['rows']:,} of {facts['of']:,} rows."
    ]
    if scores is not None:
        told = [
            f"| {name} | {_number((before or {}).get(name))} | {_number(scores[name])} |"
            for name in facts["metrics"]
            if name in scores
        ]
        lines += ["", "| score | before | after |", "|---|---:|---:|", *told]
        stages = " and ".join(f"`{stage_metric_name(stage, '...')}`" for stage in ("final", "before"))
        lines += ["", f"All scores are metrics: {stages}. Rows and prompts are artifacts."]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
