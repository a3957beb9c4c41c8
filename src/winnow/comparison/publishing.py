"""Keeping a comparison in the store: a run of its own that links what it compared, and the verdict with the study."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from winnow.comparison.analysis import Comparison
from winnow.comparison.collected_study import Study
from winnow.metrics.metric_names import contrast_metric
from winnow.tracking.keys import COMPARED, COMPARISON, KIND, OWNER, STUDY
from winnow.tracking.lifecycle import track
from winnow.tracking.offline.operations import NOTE
from winnow.tracking.process.ownership import Owner
from winnow.tracking.store import Store

LINKED = 60
"""Runs that a description links; all are in the artifact ``comparison/runs.json``."""


def publish(comparison: Comparison, study: Study, store: Store, output: Path) -> str:
    """Log a comparison to MLflow and return its run's id.

    The run stands below the study's own, holds every written file, each contrast as metrics, and in its description the
    verdict with links to the runs compared. The description of every compared study's run tells the verdict too.

    Args:
        comparison: The comparison.
        study: What it was made of.
        store: The store that the study came from; its experiment knows where artifacts go.
        output: The folder that the report was written to.
    """
    tags = {
        KIND: "comparison",
        STUDY: study.name,
        COMPARED: str(len(study.cells)),
        "winnow.verdict": comparison.verdict.word,
        NOTE: _description(comparison, study),
    }
    parent = study.parents[0] if study.parents else None
    with track(store, study.cells[0].experiment, f"{study.name} (comparison)", tags, parent) as run:
        run.log_metrics(dict(_numbers(comparison)))
        runs = [{"run_id": c.run_id, "experiment_id": c.experiment, "arm": c.arm, "seed": c.seed} for c in study.cells]
        run.log_json(runs, f"{COMPARISON}/runs.json")
        run.log_folder(output, COMPARISON)
    told = f"{comparison.headline}\n\n{_link('The comparison', study.cells[0].experiment, run.run_id)}"
    for one in study.parents:
        owned = {OWNER: Owner.this_process().to_tag()}
        writer = store.take_up(one, study.cells[0].experiment, study.name, owned, int(time.time() * 1000))
        writer.write({"do": "tags", "tags": {NOTE: told}})
    return run.run_id


def _numbers(comparison: Comparison) -> Iterator[tuple[str, float]]:
    """Yield the numbers of each contrast by name."""
    for finding in comparison.findings:
        r = finding.result
        named = {"difference": r.difference, "ci_low": r.ci_low, "ci_high": r.ci_high, "p_holm": finding.p_holm}
        for name, value in named.items():
            yield contrast_metric(finding.family, finding.metric, r.a, r.b, name), value


def _description(comparison: Comparison, study: Study) -> str:
    lines = [f"**{comparison.verdict.word.capitalize()}.** {' '.join(comparison.verdict.sentences)}", ""]
    lines += [
        f"- {_link(f'{cell.arm}, seed {cell.seed}', cell.experiment, cell.run_id)}" for cell in study.cells[:LINKED]
    ]
    if len(study.cells) > LINKED:
        lines.append(f"- and {len(study.cells) - LINKED} more, all in comparison/runs.json")
    return "\n".join(lines)


def _link(text: str, experiment: str, run_id: str) -> str:
    return f"[{text}](#/experiments/{experiment}/runs/{run_id})"
