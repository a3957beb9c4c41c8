"""Select the metrics that a run logs to MLflow, and read and write the table of all other metrics.

A run has hundreds of scores. MLflow shows every metric as a chart and a column, so a run logs only the scores that
its study declares, and the curves of its losses. All other scores are rows of the artifact ``metrics.json``, which
MLflow displays as a table. Runs of versions before 0.3 have no such table: all their scores are metrics.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from winnow.metrics.metric_catalog import SPECIFIC_PREFIX
from winnow.metrics.metric_names import (
    find_validation_counterpart,
    parse_metric_name,
    probe_metric_name,
    sanitize_name,
    strip_stage,
)
from winnow.tracking.keys import LOGGED_TABLES, METRIC_TABLE

COST_METRICS: Final = ("test/all/loss", "test/all/perplexity", "test/all/top1", "tokens_seen")
"""Scores that every run logs to MLflow, next to the declared metrics of its study."""

PROBE_COLUMNS: Final = ("wanted_mass", "unwanted_mass")
"""Scores of a declared probe metric's probe that a run logs to MLflow next to it."""

TABULATED_GROUPS: Final = ("data/leakage/", "data/integrity/", "drift/")
"""Prefixes of metrics with one value per run that are never logged to MLflow."""

STAGE_COLUMNS: Final = ("before", "final")


def list_shown_scores(metrics: Iterable[str]) -> list[str]:
    """Return the scores that MLflow shows for a study with the given declared metrics, most important first.

    >>> list_shown_scores(["probe/nike/log_odds"])[:3]
    ['probe/nike/log_odds', 'probe/nike/wanted_mass', 'probe/nike/unwanted_mass']
    """
    names = list(metrics)
    probes = [parsed.scope for parsed in map(parse_metric_name, names) if parsed.kind == "probe"]
    names += [probe_metric_name(probe, score) for probe in dict.fromkeys(probes) for score in PROBE_COLUMNS]
    return list(dict.fromkeys([*names, *COST_METRICS]))


def select_logged_scores(metrics: Iterable[str]) -> frozenset[str]:
    """Return the scores that a run logs to MLflow, given the declared metrics of its study.

    These are the shown scores, the same scores on validation data, and the specific score of each probe metric.
    """
    shown = list_shown_scores(metrics)
    parsed_names = [parsed for parsed in map(parse_metric_name, shown) if parsed.kind == "probe"]
    specific = [
        probe_metric_name(parsed.scope, f"{SPECIFIC_PREFIX}{parsed.score}")
        for parsed in parsed_names
        if parsed.score not in PROBE_COLUMNS and not parsed.score.startswith(SPECIFIC_PREFIX)
    ]
    return frozenset(map(sanitize_name, [*shown, *specific, *map(find_validation_counterpart, shown)]))


def is_tabulated(name: str, logged_scores: Collection[str]) -> bool:
    """Return whether a metric belongs in the table instead of MLflow.

    >>> is_tabulated("final/test/all/loss", {"test/all/loss"}), is_tabulated("before/test/all/loss", {"test/all/loss"})
    (False, True)
    """
    base = strip_stage(name)
    if name.startswith("before/"):
        return True
    if parse_metric_name(base).kind != "run":
        return base not in logged_scores
    return base.startswith(TABULATED_GROUPS) or (base.startswith("filter/") and base.count("/") > 1)


def build_metric_rows(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the rows of the table: first one row per score with a column per stage, then one row per other metric.

    >>> build_metric_rows({"drift/text": 0.1, "final/test/all/ece": 0.5})[0]
    {'metric': 'test/all/ece', 'before': None, 'final': 0.5, 'value': None}
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, value in metrics.items():
        stage, _, base = name.partition("/")
        column, base = (stage, base) if stage in STAGE_COLUMNS else ("value", name)
        row = rows.setdefault(base, {"metric": base, **dict.fromkeys((*STAGE_COLUMNS, "value"))})
        row[column] = value
    return [rows[name] for name in sorted(rows, key=lambda name: (rows[name]["value"] is not None, name))]


def parse_metric_table(table: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a table in MLflow's format, by name."""
    metrics: dict[str, float] = {}
    for row in table.get("data", ()):
        fields = dict(zip(table["columns"], row, strict=True))
        name = str(fields.pop("metric"))
        metrics |= {
            (f"{stage}/{name}" if stage in STAGE_COLUMNS else name): float(value)
            for stage, value in fields.items()
            if value is not None
        }
    return metrics


def has_metric_table(tags: Mapping[str, str]) -> bool:
    """Return whether a run has a table of metrics."""
    return any(entry.get("path") == METRIC_TABLE for entry in json.loads(tags.get(LOGGED_TABLES, "[]")))


def format_logged_tables(paths: Sequence[str]) -> str:
    """Return the tag with which MLflow recognizes tables among the artifacts of a run."""
    return json.dumps([{"path": path, "type": "table"} for path in paths])
