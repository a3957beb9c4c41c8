"""Logs the inputs of a run before training and its results after training."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from winnow.config import ComposedCell
from winnow.data import Corpus
from winnow.data.cache import is_intact, publish_folder
from winnow.data.fingerprint import fingerprint
from winnow.evaluation.probes.probe_scores import top_k_rows
from winnow.filters import Filter, Verdicts, compute_filter_statistics, save_kept, save_statistics
from winnow.metrics.metric_names import (
    TOKENS_SEEN,
    TRAIN_ROWS,
    TRAIN_TOKENS,
    TRAINING_FLOPS,
    NgramName,
    ngram_loss_name,
    stage_metric_name,
)
from winnow.reporting import write_filter_report
from winnow.run.evaluate import EvaluationResult
from winnow.run.fit import FitResult
from winnow.run.lineage import log_lineage
from winnow.run.ngram_evaluation import NgramResult
from winnow.run.run_inputs import RunInputs
from winnow.tracking import TrackedRun, keys
from winnow.tracking.mlflow_ui import describe_cell
from winnow.tracking.offline.run_operations import RUN_DESCRIPTION
from winnow.tracking.run_environment import (
    describe_hardware,
    list_installed_packages,
    list_untracked_files,
    read_git_diff,
)

MAX_DROPPED_EXAMPLES = 40
"""The maximum number of example dropped rows in a run's filter summary."""


def log_inputs(run: TrackedRun, inputs: RunInputs) -> None:
    """Log the configuration, code, packages, hardware, data and verdicts of a run."""
    cell, components = inputs.cell, inputs.components
    held_out = [split.rows["row_id"].to_pylist() for split in inputs.held_out.values()]
    run.set_tags(
        {
            keys.CELL_ID: inputs.cell_id,
            keys.RECIPE: inputs.recipe,
            keys.CORPUS: inputs.corpus.fingerprint,
            keys.TOKENIZER: inputs.vocabulary_fingerprint,
            keys.HELD_OUT: fingerprint(
                held_out,
                inputs.vocabulary_fingerprint,
                cell.config.evaluation.mask_seed,
                cell.config.training.max_length,
            ),
            keys.PROBES: fingerprint({name: probe.fingerprint() for name, probe in components.probes.items()}),
            RUN_DESCRIPTION: describe_cell(_summarize_inputs(inputs)),
            **({keys.USER_METRICS: components.metrics.to_json()} if components.metrics.user_metrics else {}),
        }
    )
    log_configuration(run, cell)
    if "name" not in cell.config.filter:  # the name of a control or an ablation is derived from its filter
        run.log_params({"filter.name": components.filter.name})
    run.log_params({keys.ARM_PARAMETER: components.filter.display_name})
    # These must be the first metrics: MLflow's run comparison initially shows the metric that was logged first.
    run.log_metrics({TRAIN_ROWS: inputs.train_rows.num_rows, TRAIN_TOKENS: len(inputs.train_tokens.ids)})
    run.log_json(describe_hardware(), "environment/hardware.json")
    log_corpus(run, inputs.corpus)
    log_lineage(run, inputs)
    _log_filter(run, inputs)
    run.log_json(inputs.numerics, keys.NUMERICS)
    numerics_summary = (
        f"{inputs.numerics['precision']} on {inputs.numerics['device']}, oneDNN for {len(inputs.numerics['onednn'])}"
    )
    run.set_tags({keys.NUMERICS_SUMMARY: numerics_summary})


def _log_filter(run: TrackedRun, inputs: RunInputs) -> None:
    """Log the verdicts that select the training rows, the filter report, and the selected rows."""
    components, base = inputs.components, inputs.base_verdicts
    if base is None:
        return
    verdicts = components.filter.derive_verdicts(base)
    folder = _write_filter_statistics(
        verdicts, inputs.corpus, components.slices[components.base_filter_name], components.cache
    )
    statistics = json.loads((folder / "statistics.json").read_text("utf-8"))
    log_verdicts(run, verdicts, inputs.corpus, statistics)
    run.log_file(folder / "report.html", "filter")
    with tempfile.TemporaryDirectory() as temporary:
        save_kept(inputs.train_rows, Path(temporary))
        run.log_folder(Path(temporary), "filter")


def _summarize_inputs(inputs: RunInputs) -> dict[str, Any]:
    cell, study = inputs.cell, inputs.config.study
    return {
        "arm": inputs.components.filter.display_name,
        "seed": cell.config.seed,
        "rows": inputs.train_rows.num_rows,
        "of": inputs.corpus.split("train").num_rows,
        "model": cell.config.model.get("name") or "a small model from scratch",
        "steps": cell.config.training.max_steps,
        "metrics": [study.primary_metric, *study.secondary_metrics],
    }


def log_configuration(run: TrackedRun, cell: ComposedCell[Any]) -> None:
    """Log the configuration, the overrides, the packages and the uncommitted changes."""
    config = cell.config_dict
    run.log_params(select_logged_parameters(config))
    run.log_text(dump_yaml(config), keys.RESOLVED_CONFIG)
    run.log_text("\n".join(cell.overrides) + "\n", keys.OVERRIDES)
    run.log_text(list_installed_packages() + "\n", "environment/packages.txt")
    if changes := read_git_diff():
        run.log_text(changes, "environment/uncommitted.patch")
    if files := list_untracked_files():
        run.log_text(files + "\n", "environment/untracked.txt")


def log_corpus(run: TrackedRun, corpus: Corpus) -> None:
    """Log the sources, the row count after each stage, the leakage, and the fraction of rows that fail each check."""
    fields = {name: name for name in ("funnel", "sources", "fingerprint", "integrity", "leakage")}
    fields["faults"] = "record_errors"  # keep the key that earlier versions wrote to this file
    run.log_json({name: getattr(corpus, field) for name, field in fields.items()}, "data/corpus.json")
    for split, fractions in corpus.leakage.items():
        run.log_metrics({f"data/leakage/{split}/{kind}": value for kind, value in fractions.items() if kind != "rows"})
    for check, counts in corpus.integrity.items():
        run.log_metrics({f"data/integrity/{check}": counts["failed"] / max(1, counts["rows"])})
    for rows_read, failed_rows in corpus.cumulative_failures:
        run.log_metrics({"rows/failing_integrity": failed_rows / rows_read}, rows_read)


def log_verdicts(run: TrackedRun, verdicts: Verdicts, corpus: Corpus, statistics: Mapping[str, Any]) -> None:
    """Log a filter's verdict counts and statistics, and examples of dropped rows."""
    summary = verdicts.summary()
    run.log_json(
        {**summary, "statistics": statistics, "dropped": _sample_dropped_rows(corpus, verdicts)}, keys.FILTER_SUMMARY
    )
    run.set_tags({keys.CORPUS: corpus.fingerprint, keys.VERDICTS: verdicts.fingerprint})
    train = summary["rows"]["train"]
    run.log_metrics({"filter/kept": train["kept"], "filter/dropped": train["total"] - train["kept"]})
    for name, counts in summary["signals"].items():
        run.log_metrics({f"filter/{name}/{outcome}": count for outcome, count in counts.items()})
    for name, drift in statistics.get("drift", {}).items():
        psi = {f"drift/{name}/{other}/psi": numbers["psi"] for other, numbers in drift.items()}
        run.log_metrics({metric: value for metric, value in psi.items() if value is not None})


def log_results(
    run: TrackedRun,
    inputs: RunInputs,
    fit_result: FitResult,
    baseline: EvaluationResult,
    results: EvaluationResult,
    ngrams: Mapping[NgramName, NgramResult],
) -> None:
    """Log the model's scores before and after training, the scores of the n-gram models, the tables and the model."""
    run.log_metrics(fit_result.best_metrics)
    final = {**results.scores, TOKENS_SEEN: float(fit_result.tokens_seen), TRAINING_FLOPS: fit_result.flops}
    run.log_metrics({stage_metric_name("before", metric): value for metric, value in baseline.scores.items()})
    run.log_metrics({stage_metric_name("final", metric): value for metric, value in final.items()})
    run.log_metrics({ngram_loss_name(name): scores.loss for name, scores in ngrams.items() if scores.loss is not None})
    _log_tables(run, {"before": baseline, "after": results}, ngrams)
    run.log_json(results.words, keys.PROBE_WORDS)
    run.log_columns(top_k_rows(run.run_id, results.probes), keys.TOP_WORDS)
    folder = inputs.folder / keys.MODEL_FOLDER
    fit_result.model.save_pretrained(folder)
    inputs.tokenizer.save_pretrained(folder)
    run.log_folder(folder, keys.MODEL_FOLDER)
    run.log_table(fit_result.curves, keys.PROBE_CURVES)
    run.set_tags({RUN_DESCRIPTION: describe_cell(_summarize_inputs(inputs), results.scores, baseline.scores)})


def _log_tables(
    run: TrackedRun, stages: Mapping[str, EvaluationResult], ngrams: Mapping[NgramName, NgramResult]
) -> None:
    """Log tables of row scores, prompt scores and fills.

    All tables include the model before and after training. The row and prompt scores also include the n-gram models.
    """
    results: dict[str, EvaluationResult | NgramResult] = {**stages, **{str(name): ngrams[name] for name in ngrams}}
    run.log_table(_stack_stages({stage: result.rows for stage, result in results.items()}), keys.ROW_SCORES)
    run.log_table(_stack_probe_tables("prompts", results), keys.PROMPT_RESULTS)
    run.log_table(_stack_probe_tables("fills", stages), keys.PREDICTED_WORDS)


def _stack_probe_tables(attribute: str, results: Mapping[str, EvaluationResult | NgramResult]) -> pa.Table:
    """Concatenate the tables of all probes and stages, with `stage` and `probe` as the first columns."""
    return _stack_stages(
        {
            stage: _stack_tables("probe", {name: getattr(scores, attribute) for name, scores in result.probes.items()})
            for stage, result in results.items()
        }
    )


def _write_filter_statistics(verdicts: Verdicts, corpus: Corpus, filter_: Filter, cache: Path) -> Path:
    """Write a filter's statistics and report to a folder shared by all runs with this filter. Return the folder."""
    key = [verdicts.filter, verdicts.keep, verdicts.parts]
    folder = cache / "explained" / fingerprint(corpus.fingerprint, verdicts.fingerprint, key)
    if not is_intact(folder):
        with publish_folder(folder) as draft:
            statistics = compute_filter_statistics(verdicts, corpus)
            save_statistics(statistics, draft)
            write_filter_report(verdicts, corpus, statistics, filter_.signals, draft, save_figures=False)
    return folder


def _sample_dropped_rows(corpus: Corpus, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the first dropped training rows in row-id order, with the terms that each row fails."""
    first_rows = verdicts.dropped_rows(corpus).sort_by("row_id").slice(0, MAX_DROPPED_EXAMPLES)
    examples: list[dict[str, Any]] = first_rows.select(["text", "failed"]).to_pylist()
    return examples


def _stack_stages(tables: Mapping[str, pa.Table]) -> pa.Table:
    return _stack_tables("stage", tables)


def _stack_tables(column: str, tables: Mapping[str, pa.Table]) -> pa.Table:
    """Concatenate tables, and insert a first column with the name of the table that each row comes from."""
    labeled_tables = [
        table.add_column(0, column, pa.array([name] * table.num_rows, pa.string())) for name, table in tables.items()
    ]
    return pa.concat_tables(labeled_tables, promote_options="default")


def dump_yaml(data: Any) -> str:
    """Return plain data as YAML. The libyaml dumper is used if available, because it is ten times faster."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True))


def select_logged_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are logged as MLflow parameters.

    Lists, unset options (`null`), disabled flags of Lightning and PyTorch, `_partial_`, and the settings of the store
    and the launcher are excluded, so that all parameters fit into one request. `config/resolved.yaml` contains all
    settings.
    """
    values = dict(
        flatten_scalars({group: node for group, node in config.items() if group not in ("tracking", "launcher")})
    )
    switches = ("trainer.", "optimizer.")
    return {
        key: value
        for key, value in values.items()
        if not (value is None or key.endswith("._partial_") or (value is False and key.startswith(switches)))
    }


def flatten_scalars(config: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and value of every scalar in a composed config.

    The key of a `_target_` is the key of its group, for example `filter` instead of `filter._target_`.
    """
    for name, value in config.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping):
            yield from flatten_scalars(value, path)
        elif not isinstance(value, list):
            yield path.removesuffix("._target_"), value
