"""What one run leaves in the store: its inputs before the first step, its results after the last."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from winnow.config import Cell
from winnow.data import Corpus
from winnow.data.cache import intact, published
from winnow.data.fingerprint import fingerprint
from winnow.evaluation.probes.probe_scores import top_k_rows
from winnow.filters import Filter, Verdicts, compute_filter_statistics, save_kept, save_statistics
from winnow.metrics.metric_names import TOKENS_SEEN, TRAIN_ROWS, TRAIN_TOKENS, stage_metric_name
from winnow.reporting import write_filter_report
from winnow.run.evaluate import EvaluationResult
from winnow.run.fit import Fitted
from winnow.run.inputs import Inputs
from winnow.run.lineage import log_lineage
from winnow.tracking import TrackedRun, keys
from winnow.tracking.environment import hardware, packages, uncommitted_changes, untracked_files
from winnow.tracking.mlflow_ui import describe_cell
from winnow.tracking.offline.operations import NOTE

EXAMPLES = 40
"""Dropped rows that a run's summary quotes."""


def log_inputs(run: TrackedRun, inputs: Inputs) -> None:
    """Log what a run is made of: configuration, code, packages, machine, data and verdicts."""
    cell, components = inputs.cell, inputs.components
    held_out = [split.rows["row_id"].to_pylist() for split in inputs.held_out.values()]
    run.set_tags(
        {
            keys.CELL: inputs.cell_id,
            keys.RECIPE: inputs.recipe,
            keys.CORPUS: inputs.corpus.fingerprint,
            keys.TOKENIZER: inputs.vocabulary,
            keys.HELD_OUT: fingerprint(
                held_out, inputs.vocabulary, cell.config.evaluation.mask_seed, cell.config.training.max_length
            ),
            keys.PROBES: fingerprint({probe: one.fingerprint() for probe, one in components.probes.items()}),
            NOTE: describe_cell(_facts(inputs)),
            **({keys.USER_METRICS: components.metrics.to_json()} if components.metrics.user_metrics else {}),
        }
    )
    record_configuration(run, cell)
    if "name" not in cell.config.filter:  # an arm whose name is derived
        run.log_params({"filter.name": components.filter.name})
    # First of all metrics: where runs lie side by side, MLflow's pages choose the one that was stored first.
    run.log_metrics({TRAIN_ROWS: inputs.train_rows.num_rows, TRAIN_TOKENS: len(inputs.train_tokens.ids)})
    run.log_json(hardware(), "environment/hardware.json")
    record_corpus(run, inputs.corpus)
    log_lineage(run, inputs)
    _log_filter(run, inputs)
    run.log_json(inputs.numerics, keys.ARITHMETIC)
    how = f"{inputs.numerics['precision']} on {inputs.numerics['device']}, oneDNN for {len(inputs.numerics['onednn'])}"
    run.set_tags({keys.COMPUTED: how})


def _log_filter(run: TrackedRun, inputs: Inputs) -> None:
    """Log the verdicts that selected the training rows, their report, and the rows."""
    components, base = inputs.components, inputs.base_verdicts
    if base is None:
        return
    verdicts = components.filter.derive_verdicts(base)
    explained = _explained(verdicts, inputs.corpus, components.slices[components.base_filter], components.cache)
    statistics = json.loads((explained / "statistics.json").read_text("utf-8"))
    record_verdicts(run, verdicts, inputs.corpus, statistics)
    run.log_file(explained / "report.html", "filter")
    with tempfile.TemporaryDirectory() as folder:
        save_kept(inputs.train_rows, Path(folder))
        run.log_folder(Path(folder), "filter")


def _facts(inputs: Inputs) -> dict[str, Any]:
    cell, study = inputs.cell, inputs.config.study
    return {
        "arm": inputs.components.filter.name,
        "seed": cell.config.seed,
        "rows": inputs.train_rows.num_rows,
        "of": inputs.corpus.split("train").num_rows,
        "model": cell.config.model.get("name") or "a small model from scratch",
        "steps": cell.config.training.max_steps,
        "metrics": [study.primary_metric, *study.secondary_metrics],
    }


def record_configuration(run: TrackedRun, cell: Cell[Any]) -> None:
    """Store what was asked for, and on what code and packages."""
    tree = cell.tree
    run.log_params(parameters(tree))
    run.log_text(to_yaml(tree), keys.CONFIG)
    run.log_text("\n".join(cell.overrides) + "\n", "config/overrides.txt")
    run.log_text(packages() + "\n", "environment/packages.txt")
    if changes := uncommitted_changes():
        run.log_text(changes, "environment/uncommitted.patch")
    if files := untracked_files():
        run.log_text(files + "\n", "environment/untracked.txt")


def record_corpus(run: TrackedRun, corpus: Corpus) -> None:
    """Store where rows came from, how many were left after each stage, and what share failed integrity checks."""
    facts = ("funnel", "sources", "fingerprint", "integrity", "faults", "leakage")
    run.log_json({fact: getattr(corpus, fact) for fact in facts}, "data/corpus.json")
    for split, shares in corpus.leakage.items():
        run.log_metrics({f"data/leakage/{split}/{kind}": shares[kind] for kind in ("exact", "near")})
    for check, counts in corpus.integrity.items():
        run.log_metrics({f"data/integrity/{check}": counts["failed"] / max(1, counts["rows"])})
    for read, failing in corpus.failing:
        run.log_metrics({"rows/failing_integrity": failing / read}, read)


def record_verdicts(run: TrackedRun, verdicts: Verdicts, corpus: Corpus, statistics: Mapping[str, Any]) -> None:
    """Store what a filter did: its verdicts counted, what they tell, and examples of the rows it dropped."""
    summary = verdicts.summary()
    run.log_json({**summary, "statistics": statistics, "dropped": _dropped(corpus, verdicts)}, keys.FILTER_SUMMARY)
    run.set_tags({keys.CORPUS: corpus.fingerprint, keys.VERDICTS: verdicts.fingerprint})
    train = summary["rows"]["train"]
    run.log_metrics({"filter/kept": train["kept"], "filter/dropped": train["total"] - train["kept"]})
    for name, counts in summary["signals"].items():
        run.log_metrics({f"filter/{name}/{outcome}": count for outcome, count in counts.items()})
    for name, moved in statistics.get("drift", {}).items():
        psi = {f"drift/{name}/{other}/psi": numbers["psi"] for other, numbers in moved.items()}
        run.log_metrics({metric: value for metric, value in psi.items() if value is not None})


def log_results(
    run: TrackedRun, inputs: Inputs, fitted: Fitted, baseline: EvaluationResult, results: EvaluationResult
) -> None:
    """Log the scores before and after training, the rows and prompts behind them, the model and a description."""
    run.log_metrics(fitted.best)
    final = {**results.scores, TOKENS_SEEN: float(fitted.tokens_seen)}
    run.log_metrics({stage_metric_name("before", metric): value for metric, value in baseline.scores.items()})
    run.log_metrics({stage_metric_name("final", metric): value for metric, value in final.items()})
    _log_tables(run, {"before": baseline, "after": results})
    run.log_json(results.words, keys.WORDS)
    run.log_columns(top_k_rows(run.run_id, results.probes), keys.TOPK)
    folder = inputs.folder / keys.MODEL
    fitted.model.save_pretrained(folder)
    inputs.tokenizer.save_pretrained(folder)
    run.log_folder(folder, keys.MODEL)
    run.log_table(fitted.curves, keys.CURVES)
    run.set_tags({NOTE: describe_cell(_facts(inputs), results.scores, baseline.scores)})


def _log_tables(run: TrackedRun, stages: Mapping[str, EvaluationResult]) -> None:
    """Log the scores of each row, prompt and filled word, before and after training in one table each."""
    run.log_table(_staged({stage: result.rows for stage, result in stages.items()}), keys.ROWS)
    for path, part in ((keys.PROMPTS, "prompts"), (keys.FILLS, "fills")):
        tables = {
            stage: _with("probe", {name: getattr(scores, part) for name, scores in result.probes.items()})
            for stage, result in stages.items()
        }
        run.log_table(_staged(tables), path)


def _explained(verdicts: Verdicts, corpus: Corpus, filter_: Filter, cache: Path) -> Path:
    """Return the folder with a filter's statistics and report, made once for all runs that it chooses rows for."""
    asked = [verdicts.filter, verdicts.keep, verdicts.parts]
    folder = cache / "explained" / fingerprint(corpus.fingerprint, verdicts.fingerprint, asked)
    if not intact(folder):
        with published(folder) as draft:
            statistics = compute_filter_statistics(verdicts, corpus)
            save_statistics(statistics, draft)
            write_filter_report(verdicts, corpus, statistics, filter_.signals, draft, save_figures=False)
    return folder


def _dropped(corpus: Corpus, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the first dropped training rows by row id, a fixed sample, each with the terms it failed."""
    first = verdicts.dropped_rows(corpus).sort_by("row_id").slice(0, EXAMPLES)
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


def to_yaml(data: Any) -> str:
    """Return plain data as YAML, by libyaml where it is there, which is ten times as fast."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True))


def parameters(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what becomes a parameter in MLflow, few enough for one request.

    Left out are lists, options that are not set (`null`), switches of Lightning and PyTorch that are off, and the store
    itself. `config/resolved.yaml` holds everything.
    """
    found = dict(scalars({group: node for group, node in tree.items() if group != "tracking"}))
    switches = ("trainer.", "optimizer.")
    return {
        key: value
        for key, value in found.items()
        if not (value is None or (value is False and key.startswith(switches)))
    }


def scalars(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what can be a column of MLflow's table: single values, not lists of words.

    A class stands under the name of its group: `filter` and not `filter._target_`.
    """
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping):
            yield from scalars(value, path)
        elif not isinstance(value, list):
            yield path.removesuffix("._target_"), value
