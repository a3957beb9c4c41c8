"""What one run leaves in the store: its inputs before the first step, its results after the last."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from winnow.config import Cell, TrainConfig
from winnow.data import Corpus
from winnow.data.fingerprint import fingerprint
from winnow.filters import Verdicts, filter_statistics, save_kept
from winnow.parts import Parts, recipe
from winnow.tracking import TrackedRun, record
from winnow.tracking.environment import hardware, packages, uncommitted_changes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from winnow.measurement import Measured
    from winnow.preparation import Ready

EXAMPLES = 40
"""Dropped rows that a run's summary quotes."""


def record_inputs(run: TrackedRun, cell: Cell[TrainConfig], parts: Parts, ready: Ready, name: str) -> None:
    """Store what a run is made of: configuration, code, packages, machine, data and verdicts."""
    vocabulary = ready.tokens["test"].vocabulary.fingerprint
    held_out = [rows["row_id"].to_pylist() for rows in ready.held_out.values()]
    run.set_tags(
        {
            record.CELL: name,
            record.RECIPE: recipe(cell, parts),
            record.CORPUS: ready.corpus.fingerprint,
            record.TOKENIZER: vocabulary,
            record.HELD_OUT: fingerprint(
                held_out, vocabulary, cell.config.evaluation.mask_seed, cell.config.training.max_length
            ),
            record.PROBES: fingerprint({probe: one.fingerprint() for probe, one in parts.probes.items()}),
        }
    )
    run.log_params(dict(_scalars(cell.tree)))
    run.log_text(yaml.safe_dump(cell.tree, sort_keys=False, allow_unicode=True), "config/resolved.yaml")
    run.log_text("\n".join(cell.overrides) + "\n", "config/overrides.txt")
    run.log_text(packages() + "\n", "environment/packages.txt")
    run.log_json(hardware(), "environment/hardware.json")
    if changes := uncommitted_changes():
        run.log_text(changes, "environment/uncommitted.patch")
    run.log_json(
        {
            "funnel": ready.corpus.funnel,
            "sources": ready.corpus.sources,
            "fingerprint": ready.corpus.fingerprint,
            "integrity": ready.corpus.integrity,
            "faults": ready.corpus.faults,
        },
        "data/corpus.json",
    )
    run.log_dataset(
        f"{parts.dataset.name} ({parts.filter.name})",
        fingerprint(ready.train_rows["row_id"].to_pylist()),
        "train",
        ready.train_rows.num_rows,
        {"corpus": ready.corpus.fingerprint, "sources": ready.corpus.sources},
    )
    if parts.judge in ready.verdicts:
        _record_verdicts(run, ready, parts.filter.explained_by(ready.verdicts[parts.judge]))
    for check, counts in ready.corpus.integrity.items():
        run.log_metrics({f"data/integrity/{check}": counts["failed"] / max(1, counts["rows"])})
    run.log_metrics({"data/train_rows": ready.train_rows.num_rows, "data/train_tokens": len(ready.tokens["train"].ids)})


def record_results(
    run: TrackedRun,
    ready: Ready,
    model: PreTrainedModel,
    folder: Path,
    before: Measured,
    after: Measured,
    costs: Mapping[str, float],
) -> None:
    """Store the scores of both stages, the rows and prompts behind them, the figures and the model."""
    for prefix, measured in ((record.BEFORE, before), (record.FINAL, after)):
        run.log_metrics({f"{prefix}{metric}": value for metric, value in measured.scores.items()})
    run.log_metrics({f"{record.FINAL}{name}": value for name, value in costs.items()})
    stages = {"before": before, "after": after}
    run.log_table(_staged({stage: measured.rows for stage, measured in stages.items()}), record.ROWS)
    for path, part in ((record.PROMPTS, "prompts"), (record.FILLS, "fills")):
        tables = {
            stage: _with("probe", {name: getattr(scores, part) for name, scores in measured.probes.items()})
            for stage, measured in stages.items()
        }
        run.log_table(_staged(tables), path)
    uncovered = {name: scores.uncovered for name, scores in after.probes.items()}
    run.log_json(uncovered, "evaluation/uncovered.json")
    model.save_pretrained(folder / record.MODEL)
    ready.tokenizer.save_pretrained(folder / record.MODEL)
    run.log_folder(folder / record.MODEL, record.MODEL)


def _record_verdicts(run: TrackedRun, ready: Ready, verdicts: Verdicts) -> None:
    """Store what the filter did, the rows it kept as CSV and JSON, and examples of those it dropped."""
    summary = verdicts.summary()
    derived = {"statistics": filter_statistics(verdicts, ready.corpus), "dropped": _dropped(ready.corpus, verdicts)}
    run.log_json({**summary, **derived}, record.FILTER_SUMMARY)
    run.set_tags({record.VERDICTS: verdicts.fingerprint})
    train = summary["rows"]["train"]
    run.log_metrics({"filter/kept": train["kept"], "filter/dropped": train["total"] - train["kept"]})
    for name, counts in summary["signals"].items():
        run.log_metrics({f"filter/{name}/{outcome}": count for outcome, count in counts.items()})
    with tempfile.TemporaryDirectory() as folder:
        save_kept(ready.train_rows, Path(folder))
        run.log_folder(Path(folder), "filter")


def _dropped(corpus: Corpus, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the first dropped training rows by row id, a fixed sample, each with the terms it failed."""
    first = verdicts.dropped(corpus).sort_by("row_id").slice(0, EXAMPLES)
    examples: list[dict[str, Any]] = first.select(["text", "failed"]).to_pylist()
    return examples


def _staged(tables: Mapping[str, pa.Table]) -> pa.Table:
    return _with("stage", tables)


def _with(column: str, tables: Mapping[str, pa.Table]) -> pa.Table:
    """Put tables below one another, with a first column that says which each row came from."""
    named = [
        table.add_column(0, column, pa.array([name] * table.num_rows, pa.string())) for name, table in tables.items()
    ]
    return pa.concat_tables(named, promote_options="default")


def _scalars(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what can be a column of MLflow's table: single values, not lists of words."""
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping):
            yield from _scalars(value, path)
        elif not isinstance(value, list):
            yield path, value
