"""Log a comparison to MLflow as a separate run, and add the verdict to the study's description."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from winnow.comparison.analysis import Comparison
from winnow.comparison.arm_labels import map_labels_to_names
from winnow.comparison.collected_study import CollectedStudy
from winnow.metrics.metric_names import contrast_metric_name
from winnow.tracking.keys import COMPARED_RUN_COUNT, COMPARISON_FOLDER, KIND, RUN_OWNER, STUDY
from winnow.tracking.mlflow_ui import describe_experiment
from winnow.tracking.offline.run_operations import RUN_DESCRIPTION
from winnow.tracking.process.run_ownership import RunOwner
from winnow.tracking.run_lifecycle import track
from winnow.tracking.store import Store

MAX_LINKS = 60
"""The maximum number of runs that a description links to. The artifact ``comparison/runs.json`` lists all runs."""


def log_comparison(comparison: Comparison, study: CollectedStudy, store: Store, output: Path) -> str:
    """Log a comparison to MLflow and return the id of its run.

    The run is nested under the study's parent run. All report files are logged as artifacts, and the contrasts are
    logged as metrics. The run's description contains the verdict and links to the compared runs. The verdict is also
    added to the descriptions of each study's parent run and, with a link to the report, of the study's experiment.

    Args:
        comparison: The comparison.
        study: The study that was compared.
        store: The store that the study was read from.
        output: The folder that contains the report files.
    """
    tags = {
        KIND: "comparison",
        STUDY: study.name,
        COMPARED_RUN_COUNT: str(len(study.runs)),
        "winnow.verdict": comparison.verdict.word,
        RUN_DESCRIPTION: _build_description(comparison, study),
    }
    parent = study.parent_run_ids[0] if study.parent_run_ids else None
    with track(store, study.cells[0].experiment_id, f"{study.name} (comparison)", tags, parent) as run:
        run.log_metrics(dict(_iter_metrics(comparison, map_labels_to_names(study))))
        runs = [
            {
                "run_id": cell.run_id,
                "experiment_id": cell.experiment_id,
                "arm": cell.arm,
                "levels": dict(cell.levels),
                "seed": cell.seed,
            }
            for cell in study.runs
        ]
        run.log_json(runs, f"{COMPARISON_FOLDER}/runs.json")
        run.log_folder(output, COMPARISON_FOLDER)
    for parent_run_id in study.parent_run_ids:
        experiment_id = study.cells[0].experiment_id
        describe_study_run(store, parent_run_id, experiment_id, study.name, comparison.paragraphs, run.run_id)
    if len(study.parent_run_ids) == 1:  # a comparison of several studies is not about one experiment
        experiment_id = study.cells[0].experiment_id
        description = describe_experiment(comparison.paragraphs[:2], experiment_id, run.run_id)
        store.describe_experiment(experiment_id, description)
    return run.run_id


def describe_study_run(
    store: Store, run_id: str, experiment_id: str, study: str, paragraphs: Sequence[str], comparison_run_id: str
) -> None:
    """Set the description of a study's parent run to the verdict and a link to the run of the comparison."""
    description = "\n\n".join([*paragraphs, _format_link("The comparison", experiment_id, comparison_run_id)])
    owner_tags = {RUN_OWNER: RunOwner.this_process().to_tag()}
    writer = store.resume_run(run_id, experiment_id, study, owner_tags, int(time.time() * 1000))
    writer.write({"do": "tags", "tags": {RUN_DESCRIPTION: description}})


def _iter_metrics(comparison: Comparison, names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield the metric names and values of all contrasts. Metric names contain the names of arms, not their labels."""
    for finding in comparison.findings:
        r = finding.result
        values = {"difference": r.difference, "ci_low": r.ci_low, "ci_high": r.ci_high, "p_holm": finding.p_holm}
        a, b = names.get(r.a, r.a), names.get(r.b, r.b)
        for name, value in values.items():
            yield contrast_metric_name(finding.family, finding.metric, a, b, name), value


def _build_description(comparison: Comparison, study: CollectedStudy) -> str:
    lines = [f"**{comparison.verdict.sentence}**", "", *comparison.verdict.sentences, ""]
    lines += [f"- {_format_link(cell.title, cell.experiment_id, cell.run_id)}" for cell in study.runs[:MAX_LINKS]]
    if len(study.runs) > MAX_LINKS:
        lines.append(f"- and {len(study.runs) - MAX_LINKS} more, listed in comparison/runs.json")
    return "\n".join(lines)


def _format_link(text: str, experiment: str, run_id: str) -> str:
    return f"[{text}](#/experiments/{experiment}/runs/{run_id})"
